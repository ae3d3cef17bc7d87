"""40 further everyday classes, two kinds each, that pretrain a backbone and share no class with picto-5i.

Drawn like `picto.things`: in the box [-1, 1] x [-1, 1], every kind facing one fixed way, with the role "main" covering
the largest part.
"""

from __future__ import annotations

import math

from picto.pen import Pen
from picto.things import Drawing


def whole_apple(p: Pen) -> None:
    r = p.vary(0.52, 0.58)
    p.stroke([(0, -0.4), (0.08, -0.9)], 0.14, "dark")
    p.ellipse(0.36, -0.78, 0.32, 0.15, "shade", turn=-25)
    for side in (-1, 1):
        p.ellipse(side * 0.36, 0.08, r, 0.66)
        p.ellipse(side * 0.26, 0.45, 0.42, 0.48)
    p.ellipse(-0.5, -0.15, 0.13, 0.22, "tint", turn=20)


def eaten_apple(p: Pen) -> None:
    w = p.vary(0.2, 0.27)
    p.stroke([(0, -0.6), (0.14, -0.92)], 0.14, "dark")
    p.polygon([(-0.6, -0.4), (0.6, -0.4), (w, 0.1), (0.56, 0.6), (-0.56, 0.6), (-w, 0.1)], "light")
    for side in (-1, 1):
        p.ellipse(side * 0.36, -0.38, 0.44, 0.3)
        p.ellipse(side * 0.28, 0.68, 0.4, 0.3)
    p.box(-0.4, -0.62, 0.4, -0.22)
    p.box(-0.4, 0.5, 0.4, 0.92)
    p.ellipse(0, 0.12, 0.1, 0.18, "dark")


def curved_banana(p: Pen) -> None:
    d = p.vary(0.62, 0.72)
    outer = [(0.98 * math.cos(math.radians(a)), -0.45 + 1.15 * math.sin(math.radians(a))) for a in range(0, 181, 12)]
    inner = [(0.78 * math.cos(math.radians(a)), -0.5 + d * math.sin(math.radians(a))) for a in range(180, -1, -12)]
    ridge = [(0.6 * x, 0.55 * y + 0.16) for x, y in outer[2:-2]]
    p.polygon(outer + inner)
    p.stroke(ridge, 0.1, "shade")
    p.box(0.78, -0.72, 0.98, -0.42, "dark")
    p.ellipse(-0.88, -0.46, 0.13, 0.11, "dark")


def peeled_banana(p: Pen) -> None:
    w = p.vary(0.24, 0.3)
    p.box(-w, -0.7, w, 0.1, "light")
    p.ellipse(0, -0.7, w, 0.28, "light")
    p.box(-0.12, 0.8, 0.12, 1.0, "dark")
    p.polygon([(-w - 0.1, -0.05), (w + 0.1, -0.05), (0.32, 0.6), (0.14, 0.9), (-0.14, 0.9), (-0.32, 0.6)])
    for side in (-1, 1):
        p.polygon([(side * 0.1, 0.2), (side * w, -0.4), (side * 0.72, -0.15), (side * 0.92, 0.5), (side * 0.5, 0.22)])
    p.polygon([(-0.2, -0.05), (0.2, -0.05), (0, 0.6)], "shade")


def church_bell(p: Pen) -> None:
    w = p.vary(0.44, 0.52)
    p.ellipse(0, -0.8, 0.2, 0.2, "dark")
    p.ellipse(0, 0.74, 0.22, 0.24, "dark")
    p.ellipse(0, -0.3, w, 0.46)
    p.polygon([(-w, -0.3), (w, -0.3), (w + 0.08, 0.25), (0.9, 0.7), (-0.9, 0.7), (-w - 0.08, 0.25)])
    p.polygon([(-w - 0.08, 0.25), (w + 0.08, 0.25), (w + 0.24, 0.44), (-w - 0.24, 0.44)], "shade")
    p.polygon([(-w + 0.12, -0.35), (-w + 0.28, -0.35), (-w + 0.22, 0.18), (-w + 0.04, 0.18)], "tint")


def jingle_bell(p: Pen) -> None:
    r = p.vary(0.72, 0.78)
    p.ellipse(0, -0.74, 0.26, 0.25, "grey")
    p.ellipse(0, -0.74, 0.12, 0.11, "hole")
    p.ellipse(0, 0.2, r, r)
    p.box(-r, 0.02, r, 0.18, "shade")
    p.stroke([(0, 0.42), (0, 0.78)], 0.13, "dark")
    for x in (-0.34, 0.34):
        p.ellipse(x, 0.4, 0.14, 0.14, "dark")


def open_book(p: Pen) -> None:
    h, d = p.vary(0.55, 0.66), p.vary(0.16, 0.24)
    for side in (-1, 1):
        p.polygon([(0, -h + d + 0.05), (side * 1.0, -h), (side * 1.0, h - 0.05), (0, h + d + 0.02)], "dark")
        p.polygon([(0, -h + d - 0.1), (side * 0.9, -h - 0.15), (side * 0.9, h - 0.22), (0, h + d - 0.2)])
        for y in (-0.28, 0.0, 0.28):
            p.stroke([(side * 0.24, y + d * 0.7 - 0.1), (side * 0.7, y - 0.1)], 0.1, "contrast")
    p.box(-0.06, -h + d - 0.1, 0.06, h + d - 0.1, "shade")


def closed_book(p: Pen) -> None:
    w = p.vary(0.62, 0.74)
    p.box(-w, -0.98, w, 0.98, "dark")
    p.box(-w + 0.1, 0.68, w, 0.88, "light")
    p.box(-w, -0.98, w, 0.7)
    p.box(-w, -0.98, -w + 0.22, 0.98, "shade")
    p.box(-w + 0.42, -0.7, w - 0.2, -0.25, "contrast")
    p.box(-w + 0.5, 0.2, w - 0.28, 0.34, "tint")


def school_bus(p: Pen) -> None:
    h = p.vary(0.58, 0.68)
    p.box(-0.6, -h, 0.98, 0.5)
    p.polygon([(-0.98, 0.02), (-0.55, -0.08), (-0.55, 0.5), (-0.98, 0.5)])
    for x in (-0.5, -0.12, 0.26, 0.64):
        p.box(x, -h + 0.15, x + 0.26, -0.08, "contrast")
    p.box(-0.98, 0.2, 0.98, 0.31, "contrast")
    for x in (-0.55, 0.55):
        p.ellipse(x, 0.5, 0.23, 0.23, "dark")
        p.ellipse(x, 0.5, 0.1, 0.1, "grey")


def decker_bus(p: Pen) -> None:
    w = p.vary(0.84, 0.96)
    p.box(-w, -0.88, w, 0.74)
    p.box(-w + 0.1, -0.68, w - 0.1, -0.34, "contrast")
    p.box(-w + 0.1, 0.0, w - 0.5, 0.34, "contrast")
    p.box(w - 0.36, 0.0, w - 0.1, 0.74, "tint")
    p.box(-w, -0.2, w, -0.1, "tint")
    for x in (-w * 0.3, w * 0.3):
        p.box(x - 0.06, -0.68, x + 0.06, -0.34)
    for x in (-0.5, 0.3):
        p.ellipse(x, 0.72, 0.22, 0.22, "dark")


def desert_cactus(p: Pen) -> None:
    a, b = p.vary(-0.1, 0.1), p.vary(0.15, 0.35)
    p.stroke([(0, -0.72), (0, 0.72)], 0.5)
    p.stroke([(0, b), (-0.74, b), (-0.74, b - 0.55)], 0.32)
    p.stroke([(0, a), (0.74, a), (0.74, a - 0.45)], 0.32)
    p.stroke([(0, -0.7), (0, 0.75)], 0.12, "tint")
    p.box(-0.75, 0.82, 0.75, 1.0, "dark")


def barrel_cactus(p: Pen) -> None:
    r = p.vary(0.56, 0.66)
    p.ellipse(0, -0.15, r + 0.06, 0.62)
    p.ellipse(0, -0.15, r * 0.62, 0.62, "shade")
    p.ellipse(0, -0.15, r * 0.3, 0.62)
    p.ellipse(0, -0.76, 0.24, 0.2, "contrast")
    p.polygon([(-0.52, 0.5), (0.52, 0.5), (0.38, 0.98), (-0.38, 0.98)], "dark")
    p.box(-0.62, 0.32, 0.62, 0.54, "grey")


def stick_candle(p: Pen) -> None:
    w, t = p.vary(0.3, 0.36), p.vary(-0.42, -0.34)
    p.ellipse(0, t - 0.32, 0.16, 0.25, "light")
    p.polygon([(-0.13, t - 0.4), (0.13, t - 0.4), (0, -0.98)], "light")
    p.box(-0.05, t - 0.25, 0.05, t, "dark")
    p.arc(0.62, 0.72, 0.2, 0.15, 0, 360, 0.11, "grey")
    p.ellipse(0, 0.82, 0.62, 0.14, "grey")
    p.box(-w, t, w, 0.76)
    p.box(w - 0.14, t, w, 0.76, "shade")


def stub_candle(p: Pen) -> None:
    w = p.vary(0.58, 0.7)
    p.polygon([(0, -0.98), (0.2, -0.58), (0.12, -0.4), (-0.12, -0.4), (-0.2, -0.58)], "light")
    p.box(-0.06, -0.55, 0.06, -0.2, "dark")
    p.box(-w, -0.2, w, 0.95)
    p.ellipse(0, -0.2, w, 0.16, "tint")
    for x, y in ((-0.78, 0.2), (-0.25, 0.4), (0.3, 0.1), (0.72, 0.32)):
        p.stroke([(x * w, -0.08), (x * w, y)], 0.18, "tint")
    p.box(-w - 0.14, 0.82, w + 0.14, 0.98, "dark")


def sitting_cat(p: Pen) -> None:
    w = p.vary(0.48, 0.56)
    p.stroke([(0.3, 0.86), (0.7, 0.8), (0.72, 0.36)], 0.18, "shade")
    p.ellipse(0, 0.55, w, 0.44)
    p.polygon([(-0.3, -0.2), (0.3, -0.2), (w, 0.6), (-w, 0.6)])
    for side in (-1, 1):
        p.polygon([(side * 0.52, -1.0), (side * 0.52, -0.4), (side * 0.06, -0.72)])
    p.ellipse(0, -0.38, 0.54, 0.42)
    for side in (-1, 1):
        p.ellipse(side * 0.22, -0.44, 0.1, 0.12, "contrast")
        p.ellipse(side * 0.16, 0.88, 0.16, 0.11, "tint")
    p.polygon([(-0.11, -0.26), (0.11, -0.26), (0, -0.12)], "contrast")


def walking_cat(p: Pen) -> None:
    t = p.vary(0.7, 0.95)
    p.stroke([(0.62, 0.1), (0.86, -0.2), (t, -0.72)], 0.17)
    for x, colour in ((-0.18, "shade"), (0.3, "shade"), (-0.38, "main"), (0.56, "main")):
        p.box(x - 0.1, 0.2, x + 0.1, 0.92, colour)
    p.ellipse(0.1, 0.2, 0.64, 0.3)
    for x in (-0.92, -0.5):
        p.polygon([(x - 0.06, -0.1), (x + 0.06, -0.68), (x + 0.26, -0.1)])
    p.ellipse(-0.62, -0.1, 0.37, 0.32)
    p.ellipse(-0.78, -0.14, 0.1, 0.1, "contrast")
    for x in (0.0, 0.26):
        p.polygon([(x, -0.1), (x + 0.14, -0.1), (x + 0.07, 0.25)], "shade")


def beach_crab(p: Pen) -> None:
    w = p.vary(0.56, 0.64)
    for side in (-1, 1):
        p.stroke([(side * 0.4, 0.2), (side * 0.82, -0.15), (side * 0.76, -0.5)], 0.16, "shade")
        p.ellipse(side * 0.72, -0.64, 0.27, 0.28)
        p.polygon([(side * 0.7, -0.55), (side * 0.5, -1.0), (side * 0.8, -1.0)], "hole")
        for y in (0.3, 0.5):
            p.stroke([(side * 0.4, y), (side * 0.84, y - 0.02), (side * 0.94, y + 0.24)], 0.12, "shade")
        p.stroke([(side * 0.2, 0.0), (side * 0.2, -0.3)], 0.12, "shade")
    p.ellipse(0, 0.3, w, 0.42)
    for side in (-1, 1):
        p.ellipse(side * 0.2, -0.32, 0.12, 0.12, "contrast")
    p.arc(0, 0.3, 0.24, 0.16, 20, 160, 0.1, "contrast")


def spider_crab(p: Pen) -> None:
    r = p.vary(0.4, 0.48)
    for side in (-1, 1):
        for y, e in ((-0.15, -0.5), (0.1, 0.02), (0.3, 0.5), (0.45, 0.96)):
            p.stroke([(side * 0.2, y), (side * 0.62, (y + e) / 2 - 0.16), (side * 0.94, e)], 0.13)
        p.stroke([(side * 0.2, -0.2), (side * 0.36, -0.6)], 0.15)
        p.ellipse(side * 0.32, -0.76, 0.2, 0.22, "shade")
        p.polygon([(side * 0.26, -0.7), (side * 0.08, -1.0), (side * 0.3, -1.0)], "hole")
    p.polygon([(0, -0.42), (r, -0.05), (r * 0.95, 0.45), (0, 0.85), (-r * 0.95, 0.45), (-r, -0.05)])
    for side in (-1, 1):
        p.ellipse(side * 0.16, -0.02, 0.1, 0.1, "contrast")
    for x, y in ((-0.2, 0.3), (0.2, 0.3), (0, 0.55)):
        p.ellipse(x, y, 0.1, 0.1, "shade")


def king_crown(p: Pen) -> None:
    d = p.vary(-0.05, 0.12)
    p.polygon([(-0.98, -0.6), (-0.5, d), (0, -0.8), (0.5, d), (0.98, -0.6), (0.8, 0.8), (-0.8, 0.8)])
    p.box(-0.8, 0.5, 0.8, 0.8, "shade")
    for x, y in ((-0.86, -0.62), (0, -0.8), (0.86, -0.62)):
        p.ellipse(x, y, 0.13, 0.13, "tint")
    for x in (-0.45, 0.0, 0.45):
        p.ellipse(x, 0.3 if x else 0.12, 0.12, 0.12, "contrast")


def arched_crown(p: Pen) -> None:
    h = p.vary(0.74, 0.86)
    p.box(-0.07, -0.98, 0.07, -0.5, "grey")
    p.box(-0.2, -0.86, 0.2, -0.73, "grey")
    p.ellipse(0, 0.25, 0.86, h, "main", start=180, stop=360)
    for side in (-1, 1):
        p.ellipse(side * 0.42, 0.22, 0.23, 0.38, "contrast", start=180, stop=360)
    p.box(-0.86, 0.2, 0.86, 0.86)
    p.box(-0.94, 0.68, 0.94, 0.9, "tint")
    for x in (-0.55, 0.0, 0.55):
        p.polygon([(x - 0.16, 0.42), (x, 0.26), (x + 0.16, 0.42), (x, 0.58)], "contrast")


def hound_dog(p: Pen) -> None:
    b = p.vary(-0.05, 0.05)
    p.stroke([(0.72, 0.0), (0.94, -0.42)], 0.15)
    for x, colour in ((-0.12, "shade"), (0.46, "shade"), (-0.32, "main"), (0.68, "main")):
        p.box(x - 0.11, 0.2, x + 0.11, 0.88, colour)
    p.polygon([(-0.42, -0.3), (0.05, b - 0.12), (0.82, b - 0.1), (0.82, 0.45), (0.3, 0.34), (-0.4, 0.5)])
    p.polygon([(-0.98, -0.5), (-0.62, -0.88), (-0.2, -0.82), (-0.06, -0.1), (-0.46, 0.0), (-0.5, -0.2), (-0.94, -0.2)])
    p.ellipse(-0.18, -0.5, 0.15, 0.34, "shade", turn=-12)
    p.ellipse(-0.58, -0.58, 0.09, 0.09, "contrast")
    p.ellipse(-0.9, -0.44, 0.11, 0.11, "dark")


def puppy_dog(p: Pen) -> None:
    w = p.vary(0.54, 0.62)
    p.ellipse(0, -0.15, w, 0.75)
    p.ellipse(0, 0.35, w * 0.9, 0.56)
    for side in (-1, 1):
        p.ellipse(side * 0.74, -0.2, 0.22, 0.58, "shade", turn=side * -14)
        p.ellipse(side * 0.26, -0.2, 0.12, 0.15, "contrast")
    p.ellipse(0, 0.44, 0.32, 0.29, "tint")
    p.ellipse(0, 0.24, 0.18, 0.13, "dark")
    p.stroke([(0, 0.3), (0, 0.6)], 0.1, "dark")


def snare_drum(p: Pen) -> None:
    h = p.vary(0.5, 0.62)
    p.stroke([(-0.2, -0.4), (-0.85, -0.9)], 0.13, "dark")
    p.stroke([(0.2, -0.4), (0.85, -0.9)], 0.13, "dark")
    p.box(-0.86, -0.25, 0.86, h + 0.1)
    p.ellipse(0, h + 0.1, 0.86, 0.24)
    p.stroke([(-0.78, 0.0), (-0.4, h + 0.08), (0, 0.12), (0.4, h + 0.08), (0.78, 0.0)], 0.12, "contrast")
    p.ellipse(0, -0.25, 0.92, 0.26, "grey")
    p.ellipse(0, -0.25, 0.76, 0.17, "light")


def hand_drum(p: Pen) -> None:
    w = p.vary(0.56, 0.66)
    p.polygon([(-w, -0.8), (w, -0.8), (w * 0.9, -0.2), (0.22, 0.3), (0.44, 0.98), (-0.44, 0.98), (-0.22, 0.3),
               (-w * 0.9, -0.2)])
    p.polygon([(-0.24, 0.18), (0.24, 0.18), (0.24, 0.36), (-0.24, 0.36)], "contrast")
    for x in (-0.4, 0.0, 0.4):
        p.polygon([(x * w / 0.6 - 0.14, -0.65), (x * w / 0.6 + 0.14, -0.65), (x * 0.8, -0.15)], "shade")
    p.ellipse(0, -0.8, w + 0.06, 0.19, "dark")
    p.ellipse(0, -0.81, w - 0.12, 0.1, "light")


def toy_duck(p: Pen) -> None:
    r = p.vary(0.38, 0.44)
    p.polygon([(0.3, 0.3), (1.0, -0.2), (0.85, 0.5)])
    p.ellipse(0.1, 0.4, 0.82, 0.52)
    p.polygon([(-0.7, -0.62), (-0.98, -0.42), (-0.92, -0.22), (-0.6, -0.3)], "dark")
    p.ellipse(-0.36, -0.45, r, r)
    p.polygon([(-0.62, -0.2), (0.0, -0.2), (0.1, 0.3), (-0.62, 0.3)])
    p.ellipse(-0.48, -0.52, 0.1, 0.1, "contrast")
    p.polygon([(-0.1, 0.2), (0.7, 0.12), (0.5, 0.52), (0.1, 0.6)], "shade")


def wild_duck(p: Pen) -> None:
    n = p.vary(0.1, 0.2)
    for x in (-0.1, 0.26):
        p.stroke([(x, 0.4), (x, 0.9), (x - 0.2, 0.9)], 0.13, "dark")
    p.polygon([(-0.7, -0.1), (-0.1, 0.0), (0.98, -0.32), (0.85, 0.1), (0.4, 0.55), (-0.3, 0.62), (-0.66, 0.35)])
    p.stroke([(-0.5, 0.2), (-0.5 - n, -0.2), (-0.42, -0.68)], 0.3)
    p.box(-0.72, -0.34, -0.36, -0.2, "contrast")
    p.polygon([(-0.55, -0.82), (-0.98, -0.66), (-0.98, -0.55), (-0.5, -0.56)], "grey")
    p.ellipse(-0.42, -0.72, 0.25, 0.24, "shade")
    p.ellipse(0.2, 0.16, 0.46, 0.2, "tint", turn=-14)


def walking_elephant(p: Pen) -> None:
    h = p.vary(0.42, 0.5)
    p.stroke([(0.84, -0.1), (0.92, 0.35)], 0.11, "shade")
    for x, colour in ((0.1, "shade"), (0.4, "shade"), (-0.22, "main"), (0.64, "main")):
        p.box(x - 0.15, 0.2, x + 0.15, 0.88, colour)
    p.ellipse(0.26, 0.02, 0.66, h)
    p.ellipse(-0.48, -0.3, 0.4, 0.42)
    p.stroke([(-0.72, -0.2), (-0.86, 0.2), (-0.84, 0.66)], 0.24)
    p.polygon([(-0.66, 0.05), (-0.5, 0.05), (-0.62, 0.42)], "light")
    p.ellipse(-0.2, -0.26, 0.26, 0.38, "shade")
    p.ellipse(-0.62, -0.36, 0.09, 0.09, "contrast")


def facing_elephant(p: Pen) -> None:
    w = p.vary(0.34, 0.4)
    for side in (-1, 1):
        p.ellipse(side * 0.62, -0.35, w, 0.56, "main", turn=side * 12)
        p.ellipse(side * 0.64, -0.33, w * 0.55, 0.36, "shade", turn=side * 12)
        p.polygon([(side * 0.18, 0.1), (side * 0.4, 0.05), (side * 0.5, 0.6)], "light")
    p.ellipse(0, -0.3, 0.46, 0.6)
    p.polygon([(-0.26, 0.0), (0.26, 0.0), (0.16, 0.8), (-0.16, 0.8)])
    p.stroke([(0, 0.78), (0.3, 0.84)], 0.28)
    for side in (-1, 1):
        p.ellipse(side * 0.22, -0.35, 0.1, 0.12, "contrast")
    for y in (0.25, 0.5):
        p.box(-0.18, y, 0.18, y + 0.1, "shade")


def claw_hammer(p: Pen) -> None:
    w = p.vary(0.18, 0.22)
    p.box(-0.12, -0.7, 0.18, -0.2, "grey")
    p.polygon([(-0.7, -0.88), (0.2, -0.88), (0.6, -0.8), (0.86, -0.44), (0.5, -0.56), (-0.7, -0.6)], "grey")
    p.box(-0.86, -0.98, -0.64, -0.5, "dark")
    p.polygon([(0.03 - w, -0.45), (0.03 + w, -0.45), (0.1 + w, 0.4), (0.06 + w, 0.98), (-w, 0.98), (-w - 0.04, 0.4)])
    p.box(-w, 0.36, 0.06 + w, 0.47, "shade")
    p.box(-w, 0.64, 0.06 + w, 0.75, "shade")


def sledge_hammer(p: Pen) -> None:
    h = p.vary(0.3, 0.38)
    p.box(-0.12, -0.4, 0.12, 0.98, "dark")
    p.box(-0.12, 0.6, 0.12, 0.75, "grey")
    p.box(-0.86, -0.6 - h, 0.86, -0.6 + h)
    p.box(-0.98, -0.6 - h * 0.75, -0.8, -0.6 + h * 0.75, "shade")
    p.box(0.8, -0.6 - h * 0.75, 0.98, -0.6 + h * 0.75, "shade")
    p.box(-0.16, -0.6 - h, 0.16, -0.6 + h, "tint")


def top_hat(p: Pen) -> None:
    w = p.vary(0.48, 0.56)
    p.ellipse(0, 0.6, 0.98, 0.26, "shade")
    p.ellipse(0, 0.54, 0.98, 0.22)
    p.polygon([(-w - 0.06, -0.75), (w + 0.06, -0.75), (w, 0.5), (-w, 0.5)])
    p.ellipse(0, 0.5, w, 0.14)
    p.polygon([(-w, 0.1), (w, 0.1), (w, 0.4), (-w, 0.4)], "contrast")
    p.ellipse(0, -0.75, w + 0.06, 0.13, "tint")


def party_hat(p: Pen) -> None:
    w = p.vary(0.66, 0.78)
    p.polygon([(0, -0.85), (w, 0.72), (-w, 0.72)])
    p.ellipse(0, 0.72, w, 0.18)
    p.polygon([(-0.3 * w, -0.4), (-0.16 * w, -0.62), (0.62 * w, 0.12), (0.74 * w, 0.32)], "contrast")
    p.polygon([(-0.76 * w, 0.35), (-0.62 * w, 0.06), (0.34 * w, 0.85), (-0.1 * w, 0.87)], "contrast")
    for x in (-0.75, -0.38, 0.0, 0.38, 0.75):
        p.ellipse(x * w, 0.78, 0.18, 0.16, "grey")
    p.ellipse(0, -0.8, 0.2, 0.19, "grey")


def shiny_heart(p: Pen) -> None:
    r = p.vary(0.48, 0.53)
    for side in (-1, 1):
        p.ellipse(side * 0.45, -0.36, r, 0.5)
    p.polygon([(-0.45 - r, -0.3), (0, -0.5), (0.45 + r, -0.3), (0.85, 0.02), (0, 0.95), (-0.85, 0.02)])
    p.ellipse(-0.52, -0.42, 0.13, 0.22, "tint", turn=30)
    p.polygon([(0.9, -0.1), (0.85, 0.02), (0, 0.95), (-0.1, 0.84), (0.55, 0.08)], "shade")


def broken_heart(p: Pen) -> None:
    z = p.vary(0.14, 0.22)
    for side in (-1, 1):
        p.ellipse(side * 0.5, -0.34, 0.48, 0.5)
    p.polygon([(-0.96, -0.24), (0, -0.45), (0.96, -0.24), (0.84, 0.08), (0, 0.96), (-0.84, 0.08)])
    crack = [(0, -0.7), (z, -0.3), (-z, 0.0), (z, 0.3), (0, 0.98)]
    p.stroke(crack, 0.15, "hole")
    p.polygon([(-0.06, 0.9), (-0.84, 0.08), (-0.66, 0.0), (-0.06, 0.66)], "shade")


def farm_horse(p: Pen) -> None:
    n = p.vary(-0.5, -0.42)
    p.stroke([(0.68, -0.05), (0.9, 0.1), (0.9, 0.55)], 0.17, "dark")
    for x, colour in ((-0.1, "shade"), (0.44, "shade"), (-0.3, "main"), (0.64, "main")):
        p.box(x - 0.1, 0.2, x + 0.1, 0.86, colour)
        p.box(x - 0.1, 0.84, x + 0.1, 0.98, "dark")
    p.ellipse(0.18, 0.08, 0.62, 0.3)
    p.polygon([(-0.42, 0.2), (n, -0.55), (-0.1, -0.72), (0.15, 0.0)])
    p.polygon([(n - 0.02, -0.85), (-0.2, -0.98), (-0.1, -0.6), (-0.78, -0.24), (-0.94, -0.36), (-0.92, -0.5)])
    p.stroke([(-0.18, -0.86), (-0.02, -0.56), (0.12, -0.14)], 0.17, "dark")
    p.ellipse(-0.48, -0.64, 0.09, 0.09, "contrast")


def chess_horse(p: Pen) -> None:
    b = p.vary(0.62, 0.72)
    p.polygon([(-0.35, 0.65), (-0.28, 0.3), (0.05, -0.1), (-0.5, 0.08), (-0.78, 0.0), (-0.8, -0.24), (-0.38, -0.66),
               (-0.22, -0.98), (-0.04, -0.72), (0.4, -0.5), (0.58, 0.0), (0.5, 0.65)])
    p.polygon([(0.0, -0.72), (0.4, -0.5), (0.58, 0.0), (0.5, 0.6), (0.34, 0.6), (0.36, 0.0), (0.22, -0.36)], "shade")
    p.ellipse(-0.26, -0.4, 0.1, 0.1, "contrast")
    p.box(-0.5, 0.58, b - 0.06, 0.76, "shade")
    p.box(-b, 0.72, b, 0.98)


def diamond_kite(p: Pen) -> None:
    w = p.vary(0.58, 0.7)
    p.stroke([(0, 0.3), (0.2, 0.55), (-0.14, 0.74), (0.14, 0.92)], 0.11, "dark")
    p.ellipse(0.18, 0.56, 0.18, 0.12, "grey")
    p.ellipse(-0.14, 0.76, 0.18, 0.12, "grey")
    p.polygon([(0, -1.0), (w, -0.38), (0, 0.45), (-w, -0.38)])
    p.polygon([(0, -1.0), (w, -0.38), (0, -0.38)], "tint")
    p.polygon([(0, 0.45), (-w, -0.38), (0, -0.38)], "shade")


def delta_kite(p: Pen) -> None:
    h = p.vary(0.2, 0.35)
    p.stroke([(0, h), (0.14, 0.56), (-0.12, 0.74), (0.1, 0.92)], 0.14, "dark")
    p.polygon([(0, -0.98), (1.0, h + 0.1), (0, h - 0.1), (-1.0, h + 0.1)])
    for side in (-1, 1):
        p.polygon([(side * 0.36, -0.59), (side * 0.62, -0.31), (side * 0.3, h - 0.04), (side * 0.14, h - 0.07)], "tint")
    p.polygon([(0, -0.5), (0.18, h - 0.1), (0, h + 0.18), (-0.18, h - 0.1)], "contrast")


def straight_ladder(p: Pen) -> None:
    w = p.vary(0.42, 0.54)
    for y in (-0.7, -0.25, 0.2, 0.65):
        p.box(-w, y - 0.08, w, y + 0.08, "shade")
    for side in (-1, 1):
        p.box(side * w - 0.12, -0.98, side * w + 0.12, 0.98)


def step_ladder(p: Pen) -> None:
    w = p.vary(0.75, 0.9)
    p.polygon([(0.0, -0.9), (0.2, -0.9), (w + 0.06, 0.98), (w - 0.14, 0.98)], "dark")
    p.stroke([(-0.2, 0.3), (0.5, 0.3)], 0.11, "grey")
    for y in (-0.45, 0.0, 0.45):
        x = -0.05 - (y + 0.9) * w / 1.9
        p.box(x - 0.12, y - 0.1, x + 0.46, y + 0.1, "shade")
    p.polygon([(-0.22, -0.9), (0.1, -0.9), (-w + 0.2, 0.98), (-w - 0.1, 0.98)])
    p.box(-0.36, -0.98, 0.32, -0.76)


def oval_leaf(p: Pen) -> None:
    w = p.vary(0.5, 0.62)
    p.stroke([(0, 0.5), (0, 0.93)], 0.13, "dark")
    p.polygon([(0, -1.0), (w * 0.6, -0.65), (w, -0.1), (w * 0.9, 0.3), (w * 0.45, 0.62), (0, 0.72),
               (-w * 0.45, 0.62), (-w * 0.9, 0.3), (-w, -0.1), (-w * 0.6, -0.65)])
    p.stroke([(0, -0.7), (0, 0.7)], 0.1, "tint")
    for y in (-0.1, 0.25, 0.55):
        for side in (-1, 1):
            p.stroke([(0, y), (side * w * 0.62, y - 0.28)], 0.1, "tint")


def maple_leaf(p: Pen) -> None:
    w = p.vary(0.86, 0.98)
    p.box(-0.07, 0.3, 0.07, 0.98, "dark")
    half = [(0.14, -0.62), (0.34, -0.7), (0.3, -0.3), (0.62, -0.52), (0.7, -0.36), (w, -0.34), (0.86, -0.1),
            (0.92, 0.06), (0.5, 0.3), (0.56, 0.5), (0.1, 0.48)]
    p.polygon([(0, -1.0), *half, *[(-x, y) for x, y in reversed(half)]])
    p.stroke([(0, -0.55), (0, 0.45)], 0.1, "shade")
    for side in (-1, 1):
        p.stroke([(0, 0.35), (side * 0.6, -0.12)], 0.1, "shade")


def horned_owl(p: Pen) -> None:
    w = p.vary(0.56, 0.64)
    for side in (-1, 1):
        p.polygon([(side * 0.62, -1.0), (side * 0.6, -0.4), (side * 0.1, -0.6)])
        p.ellipse(side * 0.24, 0.9, 0.18, 0.1, "dark")
    p.ellipse(0, -0.38, w, 0.45)
    p.ellipse(0, 0.25, w + 0.06, 0.66)
    p.ellipse(0, 0.5, 0.3, 0.32, "tint")
    for side in (-1, 1):
        p.ellipse(side * (w - 0.02), 0.3, 0.16, 0.46, "shade")
        p.ellipse(side * 0.27, -0.4, 0.23, 0.23, "light")
        p.ellipse(side * 0.27, -0.4, 0.13, 0.13, "dark")
    p.polygon([(-0.12, -0.28), (0.12, -0.28), (0, 0.0)], "grey")


def flying_owl(p: Pen) -> None:
    t = p.vary(-0.62, -0.45)
    for side in (-1, 1):
        p.polygon([(side * 0.2, -0.3), (side * 0.6, t), (side * 1.0, t + 0.1), (side * 0.98, 0.35), (side * 0.8, 0.18),
                   (side * 0.7, 0.5), (side * 0.5, 0.25), (side * 0.36, 0.5), (side * 0.2, 0.4)])
        p.polygon([(side * 0.36, -0.22), (side * 0.9, t + 0.24), (side * 0.88, -0.05), (side * 0.36, 0.05)], "shade")
    p.polygon([(-0.2, 0.4), (0.2, 0.4), (0.36, 0.88), (-0.36, 0.88)], "shade")
    p.ellipse(0, 0.2, 0.32, 0.5)
    p.ellipse(0, -0.42, 0.4, 0.34)
    for side in (-1, 1):
        p.ellipse(side * 0.18, -0.44, 0.17, 0.18, "light")
        p.ellipse(side * 0.18, -0.44, 0.1, 0.1, "dark")


def whole_pear(p: Pen) -> None:
    r = p.vary(0.56, 0.66)
    p.stroke([(0.0, -0.6), (0.1, -0.92)], 0.14, "dark")
    p.ellipse(0.36, -0.82, 0.28, 0.13, "shade", turn=-15)
    p.ellipse(0, 0.4, r, 0.58)
    p.polygon([(-0.3, -0.45), (0.3, -0.45), (r - 0.03, 0.28), (-r + 0.03, 0.28)])
    p.ellipse(0, -0.42, 0.31, 0.32)
    p.ellipse(-0.28, 0.35, 0.13, 0.26, "tint", turn=12)


def cut_pear(p: Pen) -> None:
    r = p.vary(0.6, 0.68)
    p.stroke([(0, -0.5), (-0.08, -0.93)], 0.14, "dark")
    p.ellipse(0, 0.38, r, 0.6)
    p.polygon([(-0.34, -0.42), (0.34, -0.42), (r - 0.03, 0.25), (-r + 0.03, 0.25)])
    p.ellipse(0, -0.42, 0.35, 0.34)
    p.ellipse(0, 0.42, r - 0.24, 0.36, "light")
    p.polygon([(-0.1, -0.4), (0.1, -0.4), (0.28, 0.2), (-0.28, 0.2)], "light")
    for side in (-1, 1):
        p.ellipse(side * 0.13, 0.42, 0.09, 0.17, "dark", turn=side * -15)


def long_pencil(p: Pen) -> None:
    w = p.vary(0.15, 0.19)

    def at(along: float, across: float) -> tuple[float, float]:
        return (across - along) * 0.707, (across + along) * 0.707

    p.polygon([at(-1.3, 0), at(-0.85, -w), at(-0.85, w)], "light")
    p.polygon([at(-1.3, 0), at(-1.12, -w * 0.4), at(-1.12, w * 0.4)], "dark")
    p.polygon([at(-0.85, -w), at(1.25, -w), at(1.25, w), at(-0.85, w)])
    p.polygon([at(-0.85, 0.03), at(0.9, 0.03), at(0.9, w), at(-0.85, w)], "shade")
    p.polygon([at(0.9, -w), at(1.08, -w), at(1.08, w), at(0.9, w)], "grey")


def stub_pencil(p: Pen) -> None:
    w = p.vary(0.38, 0.46)
    p.polygon([(-w, 0.42), (w, 0.42), (0, 1.0)], "light")
    p.polygon([(-w * 0.4, 0.77), (w * 0.4, 0.77), (0, 1.0)], "dark")
    p.box(-w, -0.58, w, 0.43)
    p.box(w * 0.55, -0.58, w, 0.43, "shade")
    p.box(-w * 0.6, -0.58, -w * 0.3, 0.43, "tint")
    p.box(-w, -0.72, w, -0.56, "grey")
    p.box(-w + 0.04, -0.98, w - 0.04, -0.7, "shade")


def cooking_pot(p: Pen) -> None:
    h = p.vary(0.6, 0.75)
    p.ellipse(0, -0.62, 0.16, 0.16, "dark")
    for side in (-1, 1):
        p.stroke([(side * 0.6, -0.02), (side * 0.9, -0.02)], 0.18, "dark")
    p.box(-0.72, -0.2, 0.72, h - 0.2)
    p.ellipse(0, h - 0.2, 0.72, 0.24)
    p.ellipse(0, -0.2, 0.8, 0.32, "tint", start=180, stop=360)
    p.box(-0.8, -0.26, 0.8, -0.12, "grey")
    p.box(-0.72, 0.2, 0.72, 0.32, "shade")


def tea_pot(p: Pen) -> None:
    r = p.vary(0.5, 0.58)
    p.arc(0.62, 0.2, 0.28, 0.3, -100, 110, 0.15, "shade")
    p.polygon([(-0.3, 0.5), (-0.98, -0.3), (-0.78, -0.42), (-0.3, -0.05)], "shade")
    p.ellipse(0, 0.24, r + 0.08, r)
    p.box(-0.4, r + 0.12, 0.4, r + 0.26, "dark")
    p.ellipse(0, -0.2, 0.38, 0.2, "tint")
    p.ellipse(0, -0.46, 0.14, 0.14, "dark")
    for x in (-0.28, 0.0, 0.28):
        p.ellipse(x, 0.34, 0.1, 0.1, "contrast")


def hopping_rabbit(p: Pen) -> None:
    e = p.vary(-0.88, -0.78)
    p.ellipse(0.84, 0.3, 0.16, 0.16, "light")
    p.ellipse(0.25, 0.3, 0.62, 0.5)
    p.stroke([(-0.42, -0.35), (-0.16, e)], 0.2, "shade")
    p.stroke([(-0.5, -0.35), (-0.48, e)], 0.22)
    p.ellipse(-0.52, -0.15, 0.4, 0.33)
    p.stroke([(-0.3, 0.3), (-0.46, 0.84)], 0.2)
    p.ellipse(0.42, 0.5, 0.34, 0.32, "shade")
    p.box(0.05, 0.72, 0.75, 0.92, "shade")
    p.ellipse(-0.66, -0.2, 0.1, 0.1, "contrast")


def facing_rabbit(p: Pen) -> None:
    w, t = p.vary(0.48, 0.55), p.vary(6, 16)
    for side in (-1, 1):
        p.ellipse(side * 0.28, -0.55, 0.18, 0.45, "main", turn=side * t)
        p.ellipse(side * 0.28, -0.55, 0.1, 0.32, "tint", turn=side * t)
    p.ellipse(0, 0.62, 0.5, 0.38)
    p.ellipse(0, 0.05, w, 0.4)
    p.ellipse(0, 0.72, 0.26, 0.25, "tint")
    for side in (-1, 1):
        p.ellipse(side * 0.22, -0.02, 0.1, 0.12, "contrast")
        p.ellipse(side * 0.36, 0.88, 0.26, 0.12, "shade")
    p.ellipse(0, 0.18, 0.12, 0.1, "contrast")


def gem_ring(p: Pen) -> None:
    r = p.vary(0.6, 0.67)
    p.ellipse(0, 0.32, r, r)
    p.ellipse(0, 0.32, r - 0.22, r - 0.22, "hole")
    p.polygon([(-0.42, -0.68), (-0.24, -0.95), (0.24, -0.95), (0.42, -0.68), (0, -0.14)], "light")
    p.polygon([(-0.16, -0.68), (0.16, -0.68), (0, -0.18)], "grey")
    p.box(-0.4, -0.74, 0.4, -0.64, "grey")


def swim_ring(p: Pen) -> None:
    r, t = p.vary(0.36, 0.44), p.vary(-10, 25)
    p.ellipse(0, 0, 0.96, 0.96)
    for i in range(4):
        a, b = math.radians(90 * i + t), math.radians(90 * i + t + 32)
        p.polygon([(0, 0), (0.96 * math.cos(a), 0.96 * math.sin(a)), (0.96 * math.cos(b), 0.96 * math.sin(b))],
                  "contrast")
    p.ellipse(0, 0, r + 0.12, r + 0.12, "shade")
    p.ellipse(0, 0, r, r, "hole")


def box_robot(p: Pen) -> None:
    w = p.vary(0.48, 0.56)
    p.box(-0.06, -0.95, 0.06, -0.7, "dark")
    p.ellipse(0, -0.9, 0.12, 0.1, "dark")
    for side in (-1, 1):
        p.stroke([(side * 0.5, 0.0), (side * 0.84, 0.1), (side * 0.84, 0.45)], 0.18, "grey")
        p.box(side * 0.14, 0.55, side * 0.4, 0.98, "grey")
    p.box(-w, -0.14, w, 0.66)
    p.box(-0.42, -0.78, 0.42, -0.2)
    for side in (-1, 1):
        p.box(side * 0.1, -0.66, side * 0.3, -0.46, "contrast")
    p.box(-0.24, -0.38, 0.24, -0.28, "contrast")
    p.box(-0.3, 0.06, 0.3, 0.42, "tint")


def wheel_robot(p: Pen) -> None:
    r = p.vary(0.46, 0.54)
    for side in (-1, 1):
        p.stroke([(side * 0.4, 0.1), (side * 0.82, -0.1), (side * 0.82, -0.5)], 0.15, "grey")
    p.polygon([(-0.56, -0.05), (0.56, -0.05), (0.3, 0.66), (-0.3, 0.66)])
    p.ellipse(0, 0.7, 0.29, 0.28, "dark")
    p.ellipse(0, 0.7, 0.12, 0.12, "light")
    p.ellipse(0, -0.12, r, 0.84, "main", start=180, stop=360)
    p.ellipse(0, -0.5, 0.3, 0.2, "light")
    p.ellipse(0, -0.5, 0.13, 0.13, "dark")
    p.box(-0.56, -0.14, 0.56, 0.02, "shade")


def open_scissors(p: Pen) -> None:
    s = p.vary(0.44, 0.56)
    for side in (-1, 1):
        p.polygon([(side * -0.12, 0.15), (side * 0.14, 0.05), (side * s, -0.98), (side * s - side * 0.2, -0.7)], "grey")
        p.stroke([(0, 0.08), (side * -0.34, 0.42)], 0.24)
        p.ellipse(side * -0.5, 0.6, 0.38, 0.36)
        p.ellipse(side * -0.5, 0.62, 0.18, 0.17, "hole")
    p.ellipse(0, 0.05, 0.11, 0.11, "dark")


def closed_scissors(p: Pen) -> None:
    r = p.vary(0.3, 0.36)
    p.polygon([(-0.98, 0.02), (0.1, -0.17), (0.1, 0.0), (-0.98, 0.02)], "grey")
    p.polygon([(-0.98, 0.02), (0.1, 0.0), (0.1, 0.2), (-0.98, 0.02)], "light")
    p.polygon([(-0.1, -0.2), (0.3, -0.3), (0.3, 0.3), (-0.1, 0.2)])
    for side in (-1, 1):
        p.ellipse(0.56, side * 0.36, 0.42, r)
        p.ellipse(0.6, side * 0.36, 0.24, r - 0.16, "hole")
    p.ellipse(0.02, 0, 0.1, 0.1, "dark")


def sport_shoe(p: Pen) -> None:
    h = p.vary(0.5, 0.62)
    p.polygon([(0.92, -h), (0.3, -h + 0.06), (0.05, -0.12), (-0.6, 0.06), (-0.96, 0.25), (-0.98, 0.5), (0.95, 0.5)])
    p.box(-0.98, 0.46, 0.96, 0.66, "light")
    p.box(-0.9, 0.6, 0.9, 0.74, "dark")
    for x, y in ((0.2, -0.26), (0.02, -0.05), (-0.2, 0.04)):
        p.stroke([(x - 0.08, y - 0.06), (x + 0.14, y + 0.12)], 0.11, "contrast")
    p.polygon([(0.75, -0.1), (0.92, -0.1), (0.4, 0.36), (0.14, 0.36)], "tint")
    p.polygon([(0.92, -h), (0.3, -h + 0.06), (0.36, -h + 0.2), (0.92, -h + 0.14)], "shade")


def heel_shoe(p: Pen) -> None:
    h = p.vary(0.6, 0.75)
    p.polygon([(0.62, -0.1), (0.96, -0.3), (0.9, 0.86), (0.72, 0.86)], "shade")
    p.polygon([(0.98, -h), (0.98, -0.05), (0.6, 0.12), (0.1, 0.62), (-0.3, 0.86), (-0.9, 0.86), (-0.98, 0.66),
               (-0.7, 0.46), (-0.3, 0.34), (0.2, 0.12), (0.7, -0.4)])
    p.polygon([(-0.98, 0.76), (-0.3, 0.76), (0.1, 0.52), (0.6, 0.02), (0.6, 0.18), (0.12, 0.68), (-0.3, 0.9),
               (-0.98, 0.9)], "dark")
    p.ellipse(-0.4, 0.5, 0.17, 0.14, "contrast")


def soup_spoon(p: Pen) -> None:
    w = p.vary(0.38, 0.46)
    p.polygon([(-0.08, -0.3), (0.08, -0.3), (0.16, 0.9), (0.1, 1.0), (-0.1, 1.0), (-0.16, 0.9)])
    p.ellipse(0, -0.5, w, 0.5)
    p.ellipse(0, -0.52, w - 0.13, 0.36, "shade")
    p.ellipse(-0.1, -0.62, 0.1, 0.18, "tint", turn=10)


def slotted_spoon(p: Pen) -> None:
    r = p.vary(0.42, 0.48)
    p.stroke([(-0.3, 0.3), (0.9, -0.9)], 0.16, "dark")
    p.stroke([(-0.3, 0.3), (0.25, -0.25)], 0.22)
    p.ellipse(-0.46, 0.46, 0.56, r, "main", turn=-45)
    for d in (-0.2, 0.0, 0.2):
        p.stroke([(-0.34 + d, 0.3 + d), (-0.58 + d, 0.58 + d)], 0.1, "hole")


def long_sword(p: Pen) -> None:
    w, g = p.vary(0.22, 0.27), p.vary(0.5, 0.62)
    p.polygon([(0, -1.0), (w, -0.75), (w, 0.45), (-w, 0.45), (-w, -0.75)])
    p.polygon([(0.06, -0.95), (w, -0.75), (w, 0.45), (0.06, 0.45)], "tint")
    p.box(-g, 0.38, g, 0.54, "dark")
    p.box(-0.09, 0.5, 0.09, 0.88, "grey")
    p.ellipse(0, 0.88, 0.15, 0.12, "dark")


def curved_sword(p: Pen) -> None:
    c = p.vary(0.1, 0.2)
    p.stroke([(-0.54, 0.54), (-0.88, 0.88)], 0.18, "dark")
    p.polygon([(-0.62, 0.42), (-0.2, c), (0.3, -0.5), (0.5, -0.98), (0.88, -0.78), (0.86, -0.3), (0.5, 0.25),
               (0.05, 0.56), (-0.4, 0.64)])
    p.polygon([(0.88, -0.78), (0.86, -0.3), (0.5, 0.25), (0.05, 0.56), (-0.4, 0.64), (0.0, 0.42), (0.42, 0.06),
               (0.7, -0.4)], "tint")
    p.stroke([(-0.76, 0.28), (-0.28, 0.78)], 0.17, "grey")


def ridge_tent(p: Pen) -> None:
    w = p.vary(0.86, 0.98)
    for side in (-1, 1):
        p.stroke([(0, -0.6), (side * 0.14, -0.9)], 0.11, "dark")
    p.polygon([(0, -0.78), (w, 0.8), (-w, 0.8)])
    p.polygon([(0, -0.3), (0.38, 0.8), (-0.38, 0.8)], "dark")
    p.polygon([(0, -0.3), (-0.38, 0.8), (-0.16, 0.8)], "tint")
    p.polygon([(0, -0.78), (w, 0.8), (w - 0.22, 0.8), (0, -0.5)], "shade")
    p.box(-w, 0.76, w, 0.9, "shade")


def circus_tent(p: Pen) -> None:
    e = p.vary(-0.05, 0.1)
    p.polygon([(0, -1.0), (0.38, -0.86), (0, -0.7)], "dark")
    p.box(-0.06, -1.0, 0.06, -0.6, "dark")
    p.box(-0.82, e, 0.82, 0.92)
    p.polygon([(0, -0.7), (0.98, e + 0.1), (-0.98, e + 0.1)])
    for side in (-1, 1):
        p.polygon([(0, -0.7), (side * 0.62, e + 0.1), (side * 0.3, e + 0.1)], "contrast")
        p.box(side * 0.4, e + 0.1, side * 0.6, 0.92, "contrast")
    p.polygon([(0, e + 0.25), (0.24, 0.92), (-0.24, 0.92)], "shade")
    p.box(-0.98, e, 0.98, e + 0.14, "shade")


def farm_tractor(p: Pen) -> None:
    r = p.vary(0.38, 0.45)
    p.box(-0.66, -0.6, -0.53, -0.1, "dark")
    p.box(0.0, -0.78, 0.72, 0.0, "light")
    p.box(-0.02, -0.9, 0.8, -0.74)
    p.box(0.58, -0.8, 0.7, 0.2)
    p.box(0.0, -0.8, 0.12, 0.2)
    p.box(-0.95, -0.2, 0.72, 0.42)
    p.box(-0.95, -0.06, -0.83, 0.28, "contrast")
    p.ellipse(0.46, 0.92 - r, r, r, "dark")
    p.ellipse(0.46, 0.92 - r, r * 0.55, r * 0.55)
    p.ellipse(-0.64, 0.66, 0.26, 0.26, "dark")
    p.ellipse(-0.64, 0.66, 0.12, 0.12)


def crawler_tractor(p: Pen) -> None:
    h = p.vary(0.62, 0.8)
    p.box(-0.35, -0.5, -0.22, -0.1, "dark")
    p.box(0.1, -h, 0.86, 0.3)
    p.box(0.24, -h + 0.15, 0.72, -0.18, "light")
    p.box(-0.52, -0.14, 0.3, 0.4)
    p.stroke([(-0.3, 0.62), (0.7, 0.62)], 0.54, "dark")
    for x in (-0.28, 0.2, 0.68):
        p.ellipse(x, 0.62, 0.15, 0.15, "grey")
    p.stroke([(-0.76, 0.5), (-0.4, 0.3)], 0.14, "grey")
    p.polygon([(-0.74, 0.0), (-0.68, 0.86), (-0.98, 0.9), (-0.84, 0.5), (-0.94, 0.0)], "shade")


def steam_train(p: Pen) -> None:
    c = p.vary(0.18, 0.26)
    p.polygon([(-0.72, -0.92), (-0.3, -0.92), (-0.42, -0.2), (-0.62, -0.2)], "dark")
    p.ellipse(-0.05, -0.22, 0.16, 0.22, "grey")
    p.box(-0.9, -0.3, 0.4, 0.36)
    p.box(0.2, -0.78, 0.86, 0.5)
    p.box(0.12, -0.9, 0.96, -0.72, "shade")
    p.box(0.4, -0.55, 0.7, -0.22, "light")
    p.box(-0.62, -0.3, -0.5, 0.36, "contrast")
    p.polygon([(-0.7, 0.34), (0.9, 0.34), (0.9, 0.56), (-0.98, 0.72)], "shade")
    for x, r in ((-0.5, c), (0.02, c), (0.56, 0.32)):
        p.ellipse(x, 0.92 - r, r, r, "dark")
        p.ellipse(x, 0.92 - r, 0.1, 0.1, "light")


def bullet_train(p: Pen) -> None:
    n = p.vary(-0.3, -0.12)
    p.box(-0.75, 0.36, 0.96, 0.56, "dark")
    p.polygon([(-1.0, 0.32), (-0.86, 0.1), (n, -0.46), (0.98, -0.46), (0.98, 0.42), (-0.92, 0.42)])
    p.polygon([(n - 0.32, -0.14), (n + 0.04, -0.36), (n + 0.04, -0.14)], "dark")
    for x in (0.12, 0.42, 0.72):
        p.box(x, -0.32, x + 0.18, -0.08, "contrast")
    p.polygon([(-0.92, 0.14), (0.98, 0.06), (0.98, 0.22), (-0.98, 0.28)], "tint")
    p.stroke([(0.2, -0.5), (0.4, -0.68), (0.66, -0.68)], 0.1, "grey")


def box_truck(p: Pen) -> None:
    h = p.vary(0.68, 0.82)
    p.box(-0.9, 0.36, 0.96, 0.54, "dark")
    p.box(-0.32, -h, 0.98, 0.4)
    p.polygon([(-0.98, 0.1), (-0.8, -0.4), (-0.38, -0.4), (-0.38, 0.48), (-0.98, 0.48)], "shade")
    p.polygon([(-0.84, 0.02), (-0.72, -0.28), (-0.5, -0.28), (-0.5, 0.02)], "light")
    p.box(-0.15, -h + 0.2, 0.8, -h + 0.36, "contrast")
    for x in (-0.6, 0.3, 0.72):
        p.ellipse(x, 0.56, 0.22, 0.22, "dark")
        p.ellipse(x, 0.56, 0.1, 0.1, "light")


def dump_truck(p: Pen) -> None:
    t = p.vary(0.15, 0.3)
    p.ellipse(0.32, -0.26, 0.5, 0.36, "dark", start=180, stop=360)
    p.polygon([(-0.34, -0.3), (0.98, -0.3 - t), (0.8, 0.36), (-0.18, 0.36)])
    for x in (0.08, 0.46):
        p.box(x, -0.22, x + 0.12, 0.3, "shade")
    p.box(-0.9, 0.3, 0.9, 0.48, "grey")
    p.box(-0.98, -0.36, -0.38, 0.46)
    p.box(-0.9, -0.24, -0.56, 0.06, "light")
    for x in (-0.58, 0.5):
        p.ellipse(x, 0.55, 0.28, 0.28, "dark")
        p.ellipse(x, 0.55, 0.12, 0.12, "light")


def land_turtle(p: Pen) -> None:
    h = p.vary(0.75, 0.92)
    for x in (-0.34, 0.5):
        p.box(x - 0.16, 0.3, x + 0.16, 0.72, "grey")
    p.polygon([(0.7, 0.2), (0.98, 0.4), (0.7, 0.42)], "grey")
    p.stroke([(-0.5, 0.25), (-0.74, 0.0)], 0.26, "grey")
    p.ellipse(-0.78, -0.05, 0.22, 0.2, "grey")
    p.ellipse(-0.84, -0.1, 0.08, 0.08, "dark")
    p.ellipse(0.12, 0.35, 0.74, h, "main", start=180, stop=360)
    p.polygon([(-0.04, -0.25), (0.28, -0.25), (0.36, -0.02), (0.12, 0.14), (-0.12, -0.02)], "tint")
    for x in (-0.5, 0.74):
        p.stroke([(x, 0.24), (0.12 + (x - 0.12) * 0.6, 0.04)], 0.12, "tint")
    p.box(-0.66, 0.28, 0.88, 0.42, "shade")


def sea_turtle(p: Pen) -> None:
    w = p.vary(0.56, 0.64)
    for side in (-1, 1):
        p.polygon([(side * 0.25, -0.45), (side * 0.75, -0.42), (side * 0.98, 0.2), (side * 0.68, -0.12),
                   (side * 0.4, -0.1)], "dark")
        p.polygon([(side * 0.2, 0.5), (side * 0.45, 0.5), (side * 0.6, 0.95), (side * 0.35, 0.9)], "dark")
    p.ellipse(0, -0.74, 0.18, 0.24, "dark")
    p.ellipse(0, 0.14, w, 0.7)
    p.polygon([(-0.16, -0.18), (0.16, -0.18), (0.24, 0.14), (0.16, 0.46), (-0.16, 0.46), (-0.24, 0.14)], "tint")
    for side in (-1, 1):
        p.stroke([(side * 0.24, 0.14), (side * w, 0.14)], 0.1, "shade")
        p.stroke([(side * 0.14, -0.24), (side * 0.28, -0.46)], 0.1, "shade")
        p.stroke([(side * 0.14, 0.52), (side * 0.28, 0.72)], 0.1, "shade")


def round_vase(p: Pen) -> None:
    r, n = p.vary(0.62, 0.7), p.vary(0.2, 0.28)
    p.polygon([(-0.48, -0.98), (0.48, -0.98), (n, -0.7), (n, -0.3), (-n, -0.3), (-n, -0.7)])
    p.ellipse(0, 0.28, r, 0.6)
    p.box(-0.4, 0.8, 0.4, 0.98, "shade")
    p.box(-r + 0.04, 0.15, r - 0.04, 0.4, "contrast")
    p.box(-n, -0.5, n, -0.36, "shade")


def handled_vase(p: Pen) -> None:
    w = p.vary(0.44, 0.52)
    for side in (-1, 1):
        p.stroke([(side * 0.2, -0.7), (side * 0.7, -0.66), (side * 0.7, -0.2), (side * 0.36, 0.0)], 0.14, "shade")
    p.polygon([(-0.22, -0.9), (0.22, -0.9), (0.18, -0.5), (w, -0.1), (w * 0.95, 0.2), (0.16, 0.85), (-0.16, 0.85),
               (-w * 0.95, 0.2), (-w, -0.1), (-0.18, -0.5)])
    p.box(-0.34, -0.98, 0.34, -0.82, "shade")
    p.box(-0.34, 0.82, 0.34, 0.98, "shade")
    p.stroke([(-0.34, 0.2), (-0.17, -0.02), (0, 0.2), (0.17, -0.02), (0.34, 0.2)], 0.11, "contrast")


def spouting_whale(p: Pen) -> None:
    t = p.vary(-0.5, -0.36)
    p.stroke([(-0.4, -0.2), (-0.4, -0.72)], 0.11, "light")
    p.stroke([(-0.68, -0.62), (-0.4, -0.86), (-0.12, -0.62)], 0.13, "light")
    p.ellipse(-0.28, 0.3, 0.7, 0.56)
    p.polygon([(-0.1, 0.84), (0.3, 0.5), (0.56, t), (0.88, t), (0.74, 0.5), (0.36, 0.8)])
    p.polygon([(0.72, t + 0.18), (0.4, t - 0.16), (0.5, t - 0.34), (0.74, t - 0.14), (0.92, t - 0.36), (1.0, t - 0.1)])
    p.polygon([(-0.94, 0.46), (0.1, 0.56), (0.0, 0.78), (-0.28, 0.86), (-0.68, 0.76)], "tint")
    p.ellipse(-0.6, 0.18, 0.1, 0.1, "contrast")
    p.ellipse(0.0, 0.52, 0.24, 0.12, "shade", turn=35)


def sperm_whale(p: Pen) -> None:
    h = p.vary(0.4, 0.48)
    p.polygon([(-0.5, 0.46), (-0.92, 0.6), (-0.84, 0.72), (-0.3, h + 0.3), (0.0, 0.56)], "tint")
    p.polygon([(-0.98, -h + 0.3), (-0.86, -h + 0.16), (-0.1, -h + 0.16), (0.3, -0.08), (0.7, 0.26), (0.6, 0.52),
               (0.1, h + 0.22), (-0.3, h + 0.16), (-0.5, 0.52), (-0.9, 0.52), (-1.0, 0.36)])
    p.polygon([(0.52, 0.36), (0.72, -0.04), (0.5, -0.34), (0.6, -0.48), (0.82, -0.26), (1.0, -0.42), (1.0, -0.2),
               (0.84, 0.04), (0.74, 0.46)], "shade")
    p.ellipse(0.0, 0.5, 0.26, 0.13, "shade", turn=40)
    p.ellipse(-0.4, 0.22, 0.1, 0.1, "contrast")
    p.stroke([(-0.86, -h + 0.06), (-0.92, -h - 0.18)], 0.12, "light")
    p.stroke([(-0.72, -h + 0.06), (-0.6, -h - 0.22)], 0.12, "light")


def arched_window(p: Pen) -> None:
    w, s = p.vary(0.6, 0.7), p.vary(0.16, 0.2)
    p.ellipse(0, -0.3, w, 0.68, "main", start=180, stop=360)
    p.box(-w, -0.3, w, 0.8)
    p.ellipse(0, -0.34, w - s, 0.46, "contrast", start=180, stop=360)
    p.box(-w + s, -0.2, w - s, 0.62, "contrast")
    p.box(-s / 2, -0.8, s / 2, 0.8)
    p.box(-w, -0.38, w, -0.18)
    p.box(-w, 0.16, w, 0.3)
    p.box(-w - 0.16, 0.76, w + 0.16, 0.96, "shade")


def shutter_window(p: Pen) -> None:
    h = p.vary(0.68, 0.82)
    p.box(-0.42, -h, 0.42, h, "contrast")
    p.box(-0.06, -h, 0.06, h, "grey")
    p.box(-0.42, -0.06, 0.42, 0.06, "grey")
    for side in (-1, 1):
        p.box(side * 0.98, -h, side * 0.4, h)
        for y in (-0.5, -0.16, 0.18, 0.52):
            p.box(side * 0.86, y - 0.07, side * 0.54, y + 0.07, "shade")
    p.box(-0.5, h - 0.04, 0.5, h + 0.12, "dark")
    p.box(-0.42, -h, 0.42, -h + 0.14)


PRETRAINING_CLASSES: dict[str, dict[str, Drawing]] = {
    "apple": {"whole apple": whole_apple, "eaten apple": eaten_apple},
    "banana": {"curved banana": curved_banana, "peeled banana": peeled_banana},
    "bell": {"church bell": church_bell, "jingle bell": jingle_bell},
    "book": {"open book": open_book, "closed book": closed_book},
    "bus": {"school bus": school_bus, "decker bus": decker_bus},
    "cactus": {"desert cactus": desert_cactus, "barrel cactus": barrel_cactus},
    "candle": {"stick candle": stick_candle, "stub candle": stub_candle},
    "cat": {"sitting cat": sitting_cat, "walking cat": walking_cat},
    "crab": {"beach crab": beach_crab, "spider crab": spider_crab},
    "crown": {"king crown": king_crown, "arched crown": arched_crown},
    "dog": {"hound dog": hound_dog, "puppy dog": puppy_dog},
    "drum": {"snare drum": snare_drum, "hand drum": hand_drum},
    "duck": {"toy duck": toy_duck, "wild duck": wild_duck},
    "elephant": {"walking elephant": walking_elephant, "facing elephant": facing_elephant},
    "hammer": {"claw hammer": claw_hammer, "sledge hammer": sledge_hammer},
    "hat": {"top hat": top_hat, "party hat": party_hat},
    "heart": {"shiny heart": shiny_heart, "broken heart": broken_heart},
    "horse": {"farm horse": farm_horse, "chess horse": chess_horse},
    "kite": {"diamond kite": diamond_kite, "delta kite": delta_kite},
    "ladder": {"straight ladder": straight_ladder, "step ladder": step_ladder},
    "leaf": {"oval leaf": oval_leaf, "maple leaf": maple_leaf},
    "owl": {"horned owl": horned_owl, "flying owl": flying_owl},
    "pear": {"whole pear": whole_pear, "cut pear": cut_pear},
    "pencil": {"long pencil": long_pencil, "stub pencil": stub_pencil},
    "pot": {"cooking pot": cooking_pot, "tea pot": tea_pot},
    "rabbit": {"hopping rabbit": hopping_rabbit, "facing rabbit": facing_rabbit},
    "ring": {"gem ring": gem_ring, "swim ring": swim_ring},
    "robot": {"box robot": box_robot, "wheel robot": wheel_robot},
    "scissors": {"open scissors": open_scissors, "closed scissors": closed_scissors},
    "shoe": {"sport shoe": sport_shoe, "heel shoe": heel_shoe},
    "spoon": {"soup spoon": soup_spoon, "slotted spoon": slotted_spoon},
    "sword": {"long sword": long_sword, "curved sword": curved_sword},
    "tent": {"ridge tent": ridge_tent, "circus tent": circus_tent},
    "tractor": {"farm tractor": farm_tractor, "crawler tractor": crawler_tractor},
    "train": {"steam train": steam_train, "bullet train": bullet_train},
    "truck": {"box truck": box_truck, "dump truck": dump_truck},
    "turtle": {"land turtle": land_turtle, "sea turtle": sea_turtle},
    "vase": {"round vase": round_vase, "handled vase": handled_vase},
    "whale": {"spouting whale": spouting_whale, "sperm whale": sperm_whale},
    "window": {"arched window": arched_window, "shutter window": shutter_window},
}
"""Class -> kind -> drawing. Alphabetical; no class is one of picto-5i."""
