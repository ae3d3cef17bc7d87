"""The 20 classes of picto-5i, two kinds each, drawn with a `Pen` in the box [-1, 1] x [-1, 1].

Every drawing faces one fixed way, so that a caption without a word for direction is not ambiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from picto.pen import Pen

Drawing = Callable[[Pen], None]


def sailing_boat(p: Pen) -> None:
    h, w = p.vary(0.85, 1.0), p.vary(0.8, 0.95)
    p.box(-0.06, -h, 0.06, 0.45, "dark")
    p.polygon([(0.1, -h + 0.05), (0.1, 0.3), (w * 0.85, 0.3)], "light")
    p.polygon([(-0.1, -h + 0.3), (-0.1, 0.3), (-w * 0.7, 0.3)], "grey")
    p.polygon([(-w, 0.42), (w, 0.42), (w * 0.62, 0.9), (-w * 0.7, 0.9)])


def tug_boat(p: Pen) -> None:
    w, f = p.vary(0.88, 1.0), p.vary(0.2, 0.3)
    p.box(0.05, -0.9, 0.05 + f, -0.2, "dark")
    p.box(0.05, -0.72, 0.05 + f, -0.58, "light")
    p.box(-0.5, -0.35, 0.55, 0.3, "light")
    p.box(-0.38, -0.2, -0.12, 0.06, "dark")
    p.polygon([(-w, 0.1), (-0.6, 0.25), (w, 0.25), (w * 0.85, 0.8), (-w * 0.7, 0.8)])


def wine_bottle(p: Pen) -> None:
    w, n = p.vary(0.34, 0.42), p.vary(0.12, 0.15)
    p.box(-n, -0.98, n, -0.3)
    p.box(-n - 0.02, -1.0, n + 0.02, -0.78, "contrast")
    p.polygon([(-n, -0.4), (n, -0.4), (w, -0.05), (w, 1.0), (-w, 1.0), (-w, -0.05)])
    p.box(-w, 0.25, w, 0.68, "contrast")


def milk_bottle(p: Pen) -> None:
    w, n = p.vary(0.55, 0.65), p.vary(0.3, 0.36)
    p.box(-n - 0.06, -0.95, n + 0.06, -0.68, "grey")
    p.polygon([(-n, -0.7), (n, -0.7), (n, -0.5), (w, -0.1), (w, 0.95), (-w, 0.95), (-w, -0.1), (-n, -0.5)])
    p.ellipse(0, 0.38, 0.3, 0.3, "contrast")


def swallowtail_butterfly(p: Pen) -> None:
    w = p.vary(0.9, 1.0)
    for side in (-1, 1):
        p.polygon([(0, 0.0), (side * w, -0.95), (side * w * 0.92, -0.15), (0, 0.25)])
        p.polygon([(0, 0.05), (side * 0.75, 0.1), (side * 0.7, 0.98), (side * 0.42, 0.55), (0, 0.4)], "shade")
        p.ellipse(side * 0.64, -0.38, 0.15, 0.15, "contrast")
    p.ellipse(0, 0.05, 0.1, 0.58, "dark")


def round_butterfly(p: Pen) -> None:
    r = p.vary(0.46, 0.52)
    for side in (-1, 1):
        p.ellipse(side * 0.5, 0.45, r * 0.82, r * 0.82, "shade")
        p.ellipse(side * 0.52, -0.35, r, r)
        p.ellipse(side * 0.54, -0.35, 0.2, 0.2, "contrast")
        p.stroke([(0, -0.55), (side * 0.25, -0.98)], 0.09, "dark")
    p.ellipse(0, 0.05, 0.12, 0.7, "dark")


def sports_car(p: Pen) -> None:
    h = p.vary(0.3, 0.42)
    p.polygon([(-0.55, -0.02), (-0.25, -h), (0.3, -h), (0.62, 0.0)], "shade")
    p.polygon([(-0.36, -0.04), (-0.18, -h + 0.1), (0.24, -h + 0.1), (0.42, -0.04)], "light")
    p.polygon([(-1.0, 0.15), (-0.6, -0.04), (0.75, -0.04), (0.98, 0.05), (0.98, 0.4), (-1.0, 0.4)])
    for x in (-0.55, 0.55):
        p.ellipse(x, 0.42, 0.25, 0.25, "dark")
        p.ellipse(x, 0.42, 0.1, 0.1, "light")


def camper_car(p: Pen) -> None:
    h = p.vary(0.62, 0.75)
    p.polygon([(-0.98, 0.05), (-0.72, -h), (0.95, -h), (0.95, 0.5), (-0.98, 0.5)])
    p.polygon([(-0.82, -0.02), (-0.64, -h + 0.15), (-0.34, -h + 0.15), (-0.34, -0.02)], "light")
    p.box(-0.18, -h + 0.15, 0.2, -0.02, "light")
    p.box(0.36, -h + 0.15, 0.76, -0.02, "light")
    p.box(-0.98, 0.12, 0.95, 0.24, "shade")
    for x in (-0.52, 0.52):
        p.ellipse(x, 0.52, 0.25, 0.25, "dark")
        p.ellipse(x, 0.52, 0.1, 0.1, "light")


def kitchen_chair(p: Pen) -> None:
    w, s = p.vary(0.5, 0.6), p.vary(0.0, 0.12)
    p.box(-w, -0.98, -w + 0.2, 0.98)
    p.box(w - 0.2, s, w, 0.98, "shade")
    p.box(-w, s - 0.05, w + 0.08, s + 0.2)
    p.box(-w + 0.2, s + 0.5, w - 0.2, s + 0.62, "shade")


def arm_chair(p: Pen) -> None:
    w = p.vary(0.58, 0.66)
    p.box(-0.8, 0.7, -0.58, 0.98, "dark")
    p.box(0.58, 0.7, 0.8, 0.98, "dark")
    p.ellipse(0, -0.45, w, 0.5)
    p.box(-w, -0.45, w, 0.4)
    p.box(-0.66, 0.12, 0.66, 0.42, "tint")
    p.box(-0.9, 0.4, 0.9, 0.75, "shade")
    for side in (-1, 1):
        p.box(side * 0.98, -0.05, side * 0.62, 0.75)
        p.ellipse(side * 0.8, -0.05, 0.18, 0.15)


def wall_clock(p: Pen) -> None:
    r, a, b = p.vary(0.88, 0.98), p.vary(190, 350), p.vary(0, 360)
    p.ellipse(0, 0, r, r)
    p.ellipse(0, 0, r - 0.24, r - 0.24, "light" if p.vary(0, 1) < 0.7 else "grey")
    for angle, length, width in ((a, 0.38, 0.15), (b, 0.55, 0.11)):
        end = (length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle)))
        p.stroke([(0, 0), end], width, "dark")


def alarm_clock(p: Pen) -> None:
    a = p.vary(190, 350)
    for side in (-1, 1):
        p.ellipse(side * 0.5, -0.68, 0.34, 0.26, "grey", turn=side * 30)
        p.stroke([(side * 0.4, 0.6), (side * 0.6, 0.92)], 0.17, "dark")
    p.ellipse(0, 0.1, 0.76, 0.76)
    p.ellipse(0, 0.1, 0.54, 0.54, "light")
    p.stroke([(0, 0.1), (0.32 * math.cos(math.radians(a)), 0.1 + 0.32 * math.sin(math.radians(a)))], 0.14, "dark")
    p.stroke([(0, 0.1), (0, -0.3)], 0.11, "dark")


def tea_cup(p: Pen) -> None:
    w = p.vary(0.64, 0.72)
    p.ellipse(w - 0.02, 0.0, 0.3, 0.3)
    p.ellipse(w - 0.02, 0.0, 0.14, 0.14, "hole")
    p.ellipse(-0.08, 0.72, 0.9, 0.18, "shade")
    p.polygon([(-w - 0.08, -0.5), (w - 0.08, -0.5), (w - 0.14, 0.1), (0.3, 0.66), (-0.44, 0.66), (-w, 0.1)])
    p.ellipse(-0.08, -0.5, w, 0.15, "tint")


def paper_cup(p: Pen) -> None:
    w, b = p.vary(0.56, 0.64), p.vary(0.36, 0.42)
    p.box(-w + 0.12, -0.98, w - 0.12, -0.8, "light")
    p.box(-w - 0.06, -0.84, w + 0.06, -0.62, "grey")
    p.polygon([(-w, -0.62), (w, -0.62), (b, 0.98), (-b, 0.98)])
    m = (w + b) / 2
    p.polygon([(-m - 0.05, -0.15), (m + 0.05, -0.15), (m - 0.05, 0.45), (-m + 0.05, 0.45)], "shade")


def round_fish(p: Pen) -> None:
    h = p.vary(0.52, 0.62)
    p.polygon([(0.3, 0), (0.98, -0.52), (0.84, 0.0), (0.98, 0.52)], "shade")
    p.polygon([(-0.4, -0.4), (0.0, -h - 0.32), (0.35, -0.3)], "shade")
    p.ellipse(-0.22, 0, 0.72, h)
    p.ellipse(-0.58, -0.15, 0.14, 0.14, "contrast")
    p.polygon([(-0.15, 0.05), (0.2, 0.2), (-0.05, 0.35)], "shade")


def long_fish(p: Pen) -> None:
    h = p.vary(0.26, 0.32)
    p.polygon([(0.45, 0), (1.0, -0.45), (0.78, 0), (1.0, 0.45)])
    p.polygon([(-0.2, -0.15), (0.12, -0.68), (0.25, -0.1)], "shade")
    p.ellipse(-0.2, 0, 0.8, h)
    p.polygon([(-0.96, 0.05), (-0.5, 0.26), (0.2, 0.24), (0.5, 0.06)], "tint")
    p.ellipse(-0.68, -0.07, 0.1, 0.1, "contrast")


def daisy_flower(p: Pen) -> None:
    p.box(-0.07, 0.0, 0.07, 1.0, "dark")
    p.ellipse(0.28, 0.7, 0.26, 0.13, "dark", turn=-30)
    for i in range(6):
        a = math.radians(60 * i + 30)
        p.ellipse(0.42 * math.cos(a), -0.35 + 0.42 * math.sin(a), 0.27, 0.2, "main", turn=60 * i + 30)
    r = p.vary(0.2, 0.25)
    p.ellipse(0, -0.35, r, r, "contrast")


def tulip_flower(p: Pen) -> None:
    w = p.vary(0.4, 0.48)
    p.box(-0.07, 0.0, 0.07, 1.0, "dark")
    p.polygon([(0, 0.95), (-0.5, 0.2), (-0.36, 0.62)], "dark")
    p.polygon([(0, 0.95), (0.5, 0.2), (0.36, 0.62)], "dark")
    p.polygon([(-w, -0.95), (-w / 2, -0.5), (0, -1.0), (w / 2, -0.5), (w, -0.95), (w, -0.25), (0.18, 0.12),
               (-0.18, 0.12), (-w, -0.25)])
    p.polygon([(0, -0.9), (0.18, -0.4), (0, 0.1), (-0.18, -0.4)], "shade")


def acoustic_guitar(p: Pen) -> None:
    r = p.vary(0.46, 0.52)
    p.box(-0.11, -0.85, 0.11, 0.2, "dark")
    p.box(-0.19, -1.0, 0.19, -0.72, "dark")
    p.ellipse(0, 0.05, r * 0.72, 0.32)
    p.ellipse(0, 0.52, r, 0.46)
    p.ellipse(0, 0.2, 0.16, 0.16, "contrast")
    p.box(-0.22, 0.6, 0.22, 0.72, "contrast")


def electric_guitar(p: Pen) -> None:
    w = p.vary(0.55, 0.65)
    p.box(-0.1, -0.85, 0.1, 0.2, "dark")
    p.polygon([(-0.12, -0.7), (-0.12, -1.0), (0.32, -0.9), (0.12, -0.65)], "dark")
    p.polygon([(-0.14, -0.05), (0.14, -0.05), (w, 0.98), (0.32, 0.98), (0, 0.62), (-0.32, 0.98), (-w, 0.98)])
    p.box(-0.16, 0.18, 0.16, 0.3, "contrast")
    p.box(-0.16, 0.4, 0.16, 0.52, "contrast")


def gable_house(p: Pen) -> None:
    e, t = p.vary(-0.15, -0.02), p.vary(0.85, 0.98)
    p.box(0.38, -0.8, 0.62, -0.2, "dark")
    p.polygon([(-0.98, e), (0, -t), (0.98, e)], "shade")
    p.box(-0.78, e, 0.78, 0.92)
    p.box(-0.2, 0.35, 0.18, 0.92, "dark")
    p.box(0.32, 0.2, 0.64, 0.5, "light")
    p.box(-0.64, 0.2, -0.34, 0.5, "light")


def tower_house(p: Pen) -> None:
    w = p.vary(0.42, 0.5)
    p.box(-w, -0.55, w, 1.0)
    p.box(-w - 0.14, -0.75, w + 0.14, -0.45, "shade")
    for x in (-0.46, 0.0, 0.46):
        p.box(x - 0.14, -0.98, x + 0.14, -0.7, "shade")
    p.box(-0.14, -0.25, 0.14, 0.08, "contrast")
    p.box(-0.17, 0.5, 0.17, 1.0, "contrast")


def door_key(p: Pen) -> None:
    r = p.vary(0.38, 0.44)
    p.box(-0.35, -0.11, 0.98, 0.11)
    p.box(0.78, 0.0, 0.98, 0.42)
    p.box(0.42, 0.0, 0.6, 0.36)
    p.ellipse(-0.56, 0, r, r)
    p.ellipse(-0.56, 0, r * 0.48, r * 0.48, "hole")


def car_key(p: Pen) -> None:
    h = p.vary(0.38, 0.46)
    p.polygon([(0.0, -0.15), (0.86, -0.15), (1.0, 0.0), (0.86, 0.15), (0.0, 0.15)], "grey")
    for x in (0.3, 0.58):
        p.box(x, 0.1, x + 0.14, 0.27, "grey")
    p.polygon([(-0.98, -h * 0.7), (-0.8, -h), (-0.12, -h * 0.8), (0.12, -0.2), (0.12, 0.2), (-0.12, h * 0.8),
               (-0.8, h), (-0.98, h * 0.7)])
    p.ellipse(-0.66, 0, 0.14, 0.16, "contrast")


def table_lamp(p: Pen) -> None:
    w, t = p.vary(0.62, 0.72), p.vary(0.28, 0.36)
    p.box(-0.09, -0.1, 0.09, 0.85, "grey")
    p.polygon([(-0.4, 0.95), (0.4, 0.95), (0.25, 0.74), (-0.25, 0.74)], "grey")
    p.polygon([(-t, -0.95), (t, -0.95), (w, 0.08), (-w, 0.08)])
    p.polygon([(-w + 0.06, -0.1), (w - 0.06, -0.1), (w, 0.08), (-w, 0.08)], "tint")


def desk_lamp(p: Pen) -> None:
    e = p.vary(0.42, 0.55)
    p.stroke([(-0.1, 0.85), (e, 0.05), (-0.1, -0.62)], 0.16, "grey")
    p.polygon([(-0.55, 0.98), (0.35, 0.98), (0.25, 0.76), (-0.45, 0.76)], "dark")
    p.polygon([(0.1, -0.92), (-0.22, -0.95), (-0.9, -0.4), (-0.35, 0.05), (0.18, -0.5)])
    p.polygon([(-0.9, -0.4), (-0.35, 0.05), (-0.5, 0.12), (-0.98, -0.28)], "light")


def cap_mushroom(p: Pen) -> None:
    w = p.vary(0.88, 0.98)
    p.polygon([(-0.24, 0.0), (0.24, 0.0), (0.34, 0.95), (-0.34, 0.95)], "light")
    p.ellipse(0, 0.1, w, 0.95, "main", start=180, stop=360)
    p.ellipse(-0.4, -0.25, 0.17, 0.15, "contrast")
    p.ellipse(0.1, -0.5, 0.17, 0.15, "contrast")
    p.ellipse(0.48, -0.16, 0.17, 0.14, "contrast")


def tall_mushroom(p: Pen) -> None:
    w = p.vary(0.5, 0.6)
    p.box(-0.17, -0.2, 0.17, 0.98, "light")
    p.box(-0.27, 0.2, 0.27, 0.33, "grey")
    p.polygon([(0, -1.0), (w * 0.55, -0.55), (w, 0.0), (-w, 0.0), (-w * 0.55, -0.55)])
    p.polygon([(-w, 0.0), (w, 0.0), (w * 0.8, -0.2), (-w * 0.8, -0.2)], "shade")


def jet_plane(p: Pen) -> None:
    w = p.vary(0.85, 0.98)
    p.polygon([(-0.14, -0.2), (0.14, -0.2), (w, 0.35), (w, 0.55), (0, 0.2), (-w, 0.55), (-w, 0.35)], "shade")
    p.polygon([(0, 0.55), (0.42, 0.85), (0.42, 1.0), (0, 0.9), (-0.42, 1.0), (-0.42, 0.85)], "shade")
    p.ellipse(0, 0.0, 0.19, 0.98)
    p.ellipse(0, -0.62, 0.1, 0.15, "contrast")


def propeller_plane(p: Pen) -> None:
    h = p.vary(0.26, 0.32)
    p.polygon([(0.55, -0.1), (0.72, -0.68), (0.98, -0.68), (0.98, 0.0)], "shade")
    p.box(-0.98, -0.55, -0.86, 0.6, "dark")
    p.polygon([(-0.88, -h), (0.1, -h - 0.06), (0.98, -0.12), (0.98, 0.06), (0.1, h + 0.06), (-0.88, h)])
    p.polygon([(-0.32, -0.28), (-0.2, -0.54), (0.14, -0.54), (0.26, -0.28)], "light")
    p.box(-0.5, 0.0, 0.36, 0.16, "contrast")
    p.ellipse(-0.4, 0.58, 0.17, 0.17, "dark")
    p.box(-0.44, 0.2, -0.34, 0.5, "dark")


def moon_rocket(p: Pen) -> None:
    w = p.vary(0.28, 0.34)
    p.polygon([(-0.3, 0.25), (-0.78, 0.95), (-0.2, 0.68)], "shade")
    p.polygon([(0.3, 0.25), (0.78, 0.95), (0.2, 0.68)], "shade")
    p.polygon([(-0.2, 0.62), (0.2, 0.62), (0.13, 0.9), (-0.13, 0.9)], "dark")
    p.polygon([(0, -1.0), (w * 0.8, -0.55), (w, -0.1), (w * 0.9, 0.7), (-w * 0.9, 0.7), (-w, -0.1), (-w * 0.8, -0.55)])
    p.ellipse(0, -0.22, 0.17, 0.17, "contrast")


def shuttle_rocket(p: Pen) -> None:
    w = p.vary(0.2, 0.25)
    p.polygon([(-0.2, -0.1), (0.2, -0.1), (0.85, 0.6), (0.85, 0.78), (-0.85, 0.78), (-0.85, 0.6)], "shade")
    p.ellipse(0, -0.55, w + 0.03, 0.43)
    p.box(-w - 0.03, -0.55, w + 0.03, 0.78)
    p.box(-0.09, 0.2, 0.09, 0.95, "contrast")
    p.ellipse(0, -0.62, 0.14, 0.14, "contrast")


def garden_snail(p: Pen) -> None:
    r = p.vary(0.55, 0.62)
    p.stroke([(-0.6, 0.62), (-0.82, -0.2)], 0.2, "grey")
    p.stroke([(-0.82, -0.2), (-0.95, -0.55)], 0.09, "grey")
    p.stroke([(-0.8, -0.2), (-0.7, -0.58)], 0.09, "grey")
    p.polygon([(-0.75, 0.5), (0.6, 0.55), (1.0, 0.8), (-0.7, 0.8)], "grey")
    p.ellipse(0.18, 0.05, r, r)
    p.ellipse(0.2, 0.08, r * 0.64, r * 0.64, "contrast")
    p.ellipse(0.22, 0.1, r * 0.36, r * 0.36)


def cone_snail(p: Pen) -> None:
    t = p.vary(0.8, 0.98)
    p.stroke([(-0.6, 0.66), (-0.86, 0.05)], 0.2, "grey")
    p.stroke([(-0.86, 0.05), (-0.94, -0.32)], 0.1, "grey")
    p.polygon([(-0.8, 0.55), (0.6, 0.6), (1.0, 0.84), (-0.7, 0.84)], "grey")
    p.polygon([(-0.5, 0.6), (0.32, -t), (0.72, 0.6)])
    for y in (0.25, -0.15):
        f0 = (0.6 - y) / (0.6 + t)
        f1 = (0.6 - y + 0.17) / (0.6 + t)
        p.polygon([(-0.5 + 0.82 * f0, y), (0.72 - 0.4 * f0, y), (0.72 - 0.4 * f1, y - 0.17),
                   (-0.5 + 0.82 * f1, y - 0.17)], "contrast")


def _rays(p: Pen, n: int, outer: float, inner: float, colour: str) -> None:
    points = []
    for i in range(2 * n):
        r, a = (outer if i % 2 == 0 else inner), math.pi * i / n - math.pi / 2
        points.append((r * math.cos(a), r * math.sin(a)))
    p.polygon(points, colour)


def sharp_star(p: Pen) -> None:
    _rays(p, 5, 1.0, p.vary(0.4, 0.48), "main")
    _rays(p, 5, 0.5, 0.22, "tint")


def burst_star(p: Pen) -> None:
    _rays(p, 8, 0.98, p.vary(0.58, 0.66), "main")
    r = p.vary(0.28, 0.34)
    p.ellipse(0, 0, r, r, "contrast")


def pine_tree(p: Pen) -> None:
    w = p.vary(0.62, 0.74)
    p.box(-0.13, 0.6, 0.13, 1.0, "dark")
    p.polygon([(0, -0.3), (w, 0.7), (-w, 0.7)], "shade")
    p.polygon([(0, -0.65), (w * 0.82, 0.22), (-w * 0.82, 0.22)])
    p.polygon([(0, -1.0), (w * 0.6, -0.25), (-w * 0.6, -0.25)], "shade")


def round_tree(p: Pen) -> None:
    r = p.vary(0.5, 0.56)
    p.polygon([(-0.14, 0.2), (0.14, 0.2), (0.2, 1.0), (-0.2, 1.0)], "dark")
    p.ellipse(-0.36, 0.0, r * 0.86, r * 0.8)
    p.ellipse(0.36, 0.0, r * 0.86, r * 0.8)
    p.ellipse(0, -0.42, r, r)
    p.ellipse(0.15, -0.05, 0.3, 0.24, "shade")


def open_umbrella(p: Pen) -> None:
    h = p.vary(0.8, 0.92)
    p.box(-0.06, -0.1, 0.06, 0.8, "dark")
    p.arc(0.17, 0.78, 0.17, 0.16, 0, 180, 0.12, "dark")
    p.ellipse(0, 0.02, 0.97, h + 0.04, "main", start=180, stop=360)
    p.ellipse(0, 0.02, 0.36, h + 0.04, "shade", start=180, stop=360)
    for x in (-0.66, 0.0, 0.66):
        p.ellipse(x, 0.04, 0.3, 0.13, "hole", start=180, stop=360)
    p.box(-0.06, -0.12, 0.06, 0.2, "dark")


def folded_umbrella(p: Pen) -> None:
    w = p.vary(0.26, 0.33)
    p.box(-0.06, -0.9, 0.06, 0.98, "dark")
    p.arc(0.2, -0.72, 0.2, 0.2, 180, 360, 0.13, "dark")
    p.polygon([(-w, -0.42), (w, -0.42), (w * 0.85, 0.0), (0.07, 0.88), (-0.07, 0.88), (-w * 0.85, 0.0)])
    p.polygon([(-w, -0.2), (w, -0.2), (w * 0.92, 0.0), (-w * 0.92, 0.0)], "contrast")


FOLD_CLASSES: dict[str, dict[str, Drawing]] = {
    "boat": {"sailing boat": sailing_boat, "tug boat": tug_boat},
    "bottle": {"wine bottle": wine_bottle, "milk bottle": milk_bottle},
    "butterfly": {"swallowtail butterfly": swallowtail_butterfly, "round butterfly": round_butterfly},
    "car": {"sports car": sports_car, "camper car": camper_car},
    "chair": {"kitchen chair": kitchen_chair, "arm chair": arm_chair},
    "clock": {"wall clock": wall_clock, "alarm clock": alarm_clock},
    "cup": {"tea cup": tea_cup, "paper cup": paper_cup},
    "fish": {"round fish": round_fish, "long fish": long_fish},
    "flower": {"daisy flower": daisy_flower, "tulip flower": tulip_flower},
    "guitar": {"acoustic guitar": acoustic_guitar, "electric guitar": electric_guitar},
    "house": {"gable house": gable_house, "tower house": tower_house},
    "key": {"door key": door_key, "car key": car_key},
    "lamp": {"table lamp": table_lamp, "desk lamp": desk_lamp},
    "mushroom": {"cap mushroom": cap_mushroom, "tall mushroom": tall_mushroom},
    "plane": {"jet plane": jet_plane, "propeller plane": propeller_plane},
    "rocket": {"moon rocket": moon_rocket, "shuttle rocket": shuttle_rocket},
    "snail": {"garden snail": garden_snail, "cone snail": cone_snail},
    "star": {"sharp star": sharp_star, "burst star": burst_star},
    "tree": {"pine tree": pine_tree, "round tree": round_tree},
    "umbrella": {"open umbrella": open_umbrella, "folded umbrella": folded_umbrella},
}
"""Class -> kind -> drawing. Alphabetical; fold i of picto-5i holds out classes 5i+1 to 5i+5."""
