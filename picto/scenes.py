"""Scenes of the embedded world: backgrounds, composition, captions and exact masks, everything from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from picto.pen import COLOURS, Pen
from picto.things import FOLD_CLASSES, Drawing

IMAGE_SIZE = 64
"""Side of a picture in pixels."""

SIZES: dict[str, tuple[float, float]] = {"little": (0.56, 0.65), "big": (0.76, 0.85)}
"""Word for a size -> the thing's side as a fraction of the picture's; between the two there is no word."""

BACKGROUNDS: dict[str, str] = {
    "sea": "on the sea",
    "sky": "in the sky",
    "grass": "on the grass",
    "snow": "in the snow",
    "desert": "in the desert",
    "night": "at night",
    "sunset": "at sunset",
    "room": "in a room",
}
"""Background -> its words in a caption."""

LOW_CONTRAST: frozenset[tuple[str, str]] = frozenset(
    {
        ("blue", "sea"), ("white", "sea"), ("white", "sky"), ("blue", "sky"), ("green", "grass"), ("white", "snow"),
        ("yellow", "desert"), ("orange", "desert"), ("black", "night"), ("blue", "night"), ("purple", "night"),
        ("purple", "sunset"), ("orange", "sunset"), ("red", "sunset"), ("white", "room"), ("yellow", "room"),
    }
)
"""Pairs of colour and background that are never drawn, because the thing would hardly be seen."""

# name -> colours from top to bottom as (height 0..1, RGB)
_GRADIENTS: dict[str, list[tuple[float, tuple[int, int, int]]]] = {
    "sea": [(0.0, (205, 228, 240)), (0.4, (225, 238, 242)), (0.44, (70, 140, 190)), (1.0, (30, 85, 140))],
    "sky": [(0.0, (110, 170, 230)), (1.0, (205, 228, 245))],
    "grass": [(0.0, (190, 222, 240)), (0.34, (215, 232, 235)), (0.38, (125, 185, 85)), (1.0, (75, 140, 55))],
    "snow": [(0.0, (165, 185, 210)), (0.4, (200, 212, 226)), (0.45, (236, 240, 246)), (1.0, (222, 230, 242))],
    "desert": [(0.0, (170, 210, 225)), (0.38, (225, 228, 215)), (0.43, (226, 190, 125)), (1.0, (205, 160, 95))],
    "night": [(0.0, (18, 22, 58)), (1.0, (44, 48, 92))],
    "sunset": [(0.0, (120, 80, 140)), (0.5, (225, 120, 110)), (0.72, (245, 180, 110)), (0.76, (96, 66, 96)),
               (1.0, (70, 50, 80))],
    "room": [(0.0, (228, 214, 190)), (0.64, (222, 206, 180)), (0.67, (158, 112, 76)), (1.0, (132, 90, 60))],
}


@dataclass(frozen=True)
class Thing:
    """What stands in a scene: class, kind, colour and size by name, and its visible pixels, bool (H, W)."""

    name: str
    kind: str
    colour: str
    size: str | None
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """One drawn picture: uint8 RGB (H, W, 3), its background, and its things from back to front."""

    picture: np.ndarray
    background: str
    things: tuple[Thing, ...]


def caption(
    name: str,
    *,
    kind: str | None = None,
    colour: str | None = None,
    background: str | None = None,
    size: str | None = None,
) -> str:
    """Write the sentence of the world, such as "a big red sailing boat on the sea"."""
    words = [w for w in (size, colour, kind or name) if w]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words] + ([BACKGROUNDS[background]] if background else []))


def draw_background(rng: np.random.Generator, name: str, size: int = IMAGE_SIZE) -> np.ndarray:
    """Draw a smooth background, float32 (size, size, 3) in 0..255."""
    stops = _GRADIENTS[name]
    shift = rng.uniform(-0.08, 0.08)
    heights = np.array([h for h, _ in stops])
    heights[1:-1] += shift
    colours = np.array([c for _, c in stops], dtype=float) + rng.normal(0, 7, (len(stops), 3)) + rng.normal(0, 6)
    tilt = rng.uniform(-0.08, 0.08)
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    level = np.clip(y + tilt * (x - 0.5), 0, 1)
    canvas = np.stack([np.interp(level, heights, colours[:, c]) for c in range(3)], -1)
    if name == "night":
        cx, cy, r = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.08)
        glow = np.clip((r + 0.012 - np.hypot(x - cx, y - cy)) / 0.024, 0, 1)[..., None]
        canvas = canvas * (1 - glow) + np.array([228.0, 226, 196]) * glow
    wave = np.sin(2 * np.pi * (rng.uniform(0.5, 1.5) * x + rng.uniform(0.5, 1.5) * y + rng.uniform()))
    return (canvas + 4 * wave[..., None]).astype(np.float32)


def draw_portrait(rng: np.random.Generator, name: str | None = None) -> Scene:
    """Draw one thing of the 20 classes near the middle, in its fixed direction: what the generator is trained on."""
    name = name or str(rng.choice(list(FOLD_CLASSES)))
    background = str(rng.choice(list(BACKGROUNDS)))
    canvas = draw_background(rng, background)
    side = rng.uniform(0.56, 0.85) * IMAGE_SIZE
    reach = min(0.09 * IMAGE_SIZE, (IMAGE_SIZE - side) / 2)
    centre = IMAGE_SIZE / 2 + rng.uniform(-reach, reach, 2)
    pose = _Pose(centre, side, np.deg2rad(rng.uniform(-15, 15)), stretch=rng.uniform(-0.04, 0.04), mirror=False)
    drawn = _draw_thing(rng, FOLD_CLASSES, name, background, canvas, pose)
    return _compose(canvas, background, [drawn])


def draw_scene(
    rng: np.random.Generator,
    classes: dict[str, dict[str, Drawing]] | None = None,
    must_show: str | None = None,
    things: int | None = None,
) -> Scene:
    """Draw one to three things anywhere, mirrored at random, free in size and turn, partly hiding one another.

    Args:
        rng: the only source of randomness.
        classes: class -> kind -> drawing to choose from, the 20 classes unless given.
        must_show: a class that one thing belongs to.
        things: how many, else drawn from 1 to 3.
    """
    classes = classes or FOLD_CLASSES
    count = things or int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    names = [str(n) for n in rng.choice(list(classes), count, replace=False)]
    if must_show is not None and must_show not in names:
        names[0] = must_show
    names = [names[i] for i in rng.permutation(count)]
    for _ in range(20):  # until nothing is hidden by more than half
        scene = _try_scene(rng, classes, names)
        if scene is not None:
            return scene
    return _try_scene(rng, classes, names[:1]) or draw_scene(rng, classes, must_show, 1)


def _try_scene(
    rng: np.random.Generator, classes: dict[str, dict[str, Drawing]], names: Sequence[str]
) -> Scene | None:
    background = str(rng.choice(list(BACKGROUNDS)))
    canvas = draw_background(rng, background)
    drawn = []
    largest = {1: 56, 2: 44, 3: 36}[len(names)] * IMAGE_SIZE / 64
    for name in names:
        side = rng.uniform(0.5, 1.0) * largest
        centre = rng.uniform(side * 0.42, IMAGE_SIZE - side * 0.42, 2)
        turn, stretch = np.deg2rad(rng.uniform(-25, 25)), rng.uniform(-0.08, 0.08)
        pose = _Pose(centre, side, turn, stretch, mirror=bool(rng.integers(2)))
        drawn.append(_draw_thing(rng, classes, name, background, canvas, pose))
    scene = _compose(canvas, background, drawn)
    for thing, whole in zip(scene.things, drawn, strict=True):
        if thing.mask.sum() < 0.6 * max((whole.cover >= 0.5).sum(), 1):
            return None
    return scene


@dataclass(frozen=True)
class _Pose:
    """Where a thing stands: centre and side in pixels, turn in radians, log of its stretch, mirrored or not."""

    centre: np.ndarray
    side: float
    turn: float
    stretch: float
    mirror: bool

    def matrix(self) -> np.ndarray:
        """Give the map (2, 3) from unit coordinates to pixels."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        aspect = np.exp(self.stretch)
        scale = np.diag([(-1 if self.mirror else 1) * aspect, 1 / aspect]) * self.side / 2
        return np.concatenate([np.array([[c, -s], [s, c]]) @ scale, self.centre[:, None]], axis=1)


@dataclass(frozen=True)
class _Drawn:
    """A thing with its pixels, float (H, W, 3) times coverage, and its coverage, float (H, W)."""

    name: str
    kind: str
    colour: str
    size: str | None
    pixels: np.ndarray
    cover: np.ndarray


def _draw_thing(
    rng: np.random.Generator,
    classes: dict[str, dict[str, Drawing]],
    name: str,
    background: str,
    canvas: np.ndarray,
    pose: _Pose,
) -> _Drawn:
    kind = str(rng.choice(list(classes[name])))
    colour = str(rng.choice([c for c in COLOURS if (c, background) not in LOW_CONTRAST]))
    main = np.array(COLOURS[colour]) * rng.uniform(0.9, 1.06) + rng.normal(0, 6, 3)
    pen = Pen(canvas.shape[0], pose.matrix(), main, rng)
    classes[name][kind](pen)
    pixels, cover = pen.finish()
    share = pose.side / canvas.shape[0]
    size = next((word for word, (low, high) in SIZES.items() if low <= share <= high), None)
    return _Drawn(name, kind, colour, size, pixels, cover)


def _compose(canvas: np.ndarray, background: str, drawn: Sequence[_Drawn]) -> Scene:
    """Lay the things over the background, the last in front; a pixel belongs to the thing that covers half of it."""
    owner = np.full(canvas.shape[:2], -1)
    picture = canvas
    for i, thing in enumerate(drawn):
        picture = picture * (1 - thing.cover[..., None]) + thing.pixels
        owner[thing.cover >= 0.5] = i
    things = tuple(Thing(d.name, d.kind, d.colour, d.size, owner == i) for i, d in enumerate(drawn))
    return Scene(np.clip(picture.round(), 0, 255).astype(np.uint8), background, things)
