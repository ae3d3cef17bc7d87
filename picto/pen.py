"""A pen that draws one thing from polygons, in unit coordinates, with its exact coverage mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 4
"""Every picture is drawn this many times larger and averaged down, which gives smooth edges."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 40, 40),
    "orange": (240, 135, 30),
    "yellow": (245, 215, 50),
    "green": (50, 150, 65),
    "blue": (45, 90, 205),
    "purple": (140, 60, 170),
    "white": (240, 240, 240),
    "black": (40, 40, 44),
}
NEUTRALS: dict[str, tuple[int, int, int]] = {"dark": (62, 58, 60), "light": (226, 224, 216), "grey": (146, 146, 150)}

Point = tuple[float, float]


class Pen:
    """Draws in the box [-1, 1] x [-1, 1] (x right, y down) onto a picture of ``size`` pixels a side.

    Args:
        size: side of the finished picture in pixels.
        matrix: (2, 3) float, maps unit coordinates to picture pixels.
        main: RGB 0..255, the colour that the caption names.
        rng: source of every variation in proportion.
    """

    def __init__(self, size: int, matrix: np.ndarray, main: Sequence[float], rng: np.random.Generator) -> None:
        self._matrix = matrix * SUPERSAMPLE
        self._rng = rng
        side = size * SUPERSAMPLE
        self._colour = Image.new("RGB", (side, side))
        self._cover = Image.new("L", (side, side))
        self._draw_colour = ImageDraw.Draw(self._colour)
        self._draw_cover = ImageDraw.Draw(self._cover)
        main = np.asarray(main, dtype=float)
        bright = float(main.mean())
        self._roles: dict[str, tuple[int, ...]] = {
            "main": _rgb(main),
            "shade": _rgb(main * 0.72 if bright > 70 else main + 48),
            "tint": _rgb(main + 0.5 * (255 - main) if bright < 210 else main * 0.84),
            "contrast": NEUTRALS["light"] if bright < 130 else NEUTRALS["dark"],
            **NEUTRALS,
        }

    def vary(self, low: float, high: float) -> float:
        """Draw a proportion between ``low`` and ``high``."""
        return float(self._rng.uniform(low, high))

    def polygon(self, points: Sequence[Point], colour: str = "main") -> None:
        """Fill a polygon; ``colour`` is main, shade, tint, contrast, dark, light, grey, or "hole" to cut one."""
        array = np.asarray(points, dtype=float)
        mapped = array @ self._matrix[:, :2].T + self._matrix[:, 2]
        flat = mapped.ravel().tolist()
        if colour == "hole":
            self._draw_colour.polygon(flat, fill=(0, 0, 0))
            self._draw_cover.polygon(flat, fill=0)
            return
        self._draw_colour.polygon(flat, fill=self._roles[colour])
        self._draw_cover.polygon(flat, fill=255)

    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, colour: str = "main", turn: float = 0.0,
        start: float = 0.0, stop: float = 360.0,
    ) -> None:
        """Fill an ellipse or a sector's chord of it; angles in degrees, clockwise from the right."""
        angle = np.deg2rad(np.linspace(start, stop, 28))
        x, y = rx * np.cos(angle), ry * np.sin(angle)
        c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        self.polygon(np.stack([cx + c * x - s * y, cy + s * x + c * y], 1).tolist(), colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: str = "main") -> None:
        """Fill an axis-parallel rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def stroke(self, points: Sequence[Point], width: float, colour: str = "main") -> None:
        """Draw a line of constant ``width`` with round ends and joints."""
        for (x0, y0), (x1, y1) in pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            length = max(float(np.hypot(dx, dy)), 1e-6)
            nx, ny = -dy / length * width / 2, dx / length * width / 2
            self.polygon([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)], colour)
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, colour)

    def arc(
        self, cx: float, cy: float, rx: float, ry: float, start: float, stop: float, width: float, colour: str = "main"
    ) -> None:
        """Draw a curved line along an ellipse; angles in degrees, clockwise from the right."""
        angle = np.deg2rad(np.linspace(start, stop, 14))
        points = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], 1)
        self.stroke([(float(x), float(y)) for x, y in points], width, colour)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the drawing.

        Returns:
            colour: float32 (H, W, 3) 0..255, already multiplied by the coverage.
            cover: float32 (H, W) in 0..1.
        """
        colour = np.asarray(self._colour.reduce(SUPERSAMPLE), dtype=np.float32)
        cover = np.asarray(self._cover.reduce(SUPERSAMPLE), dtype=np.float32) / 255
        return colour, cover


def _rgb(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(colour, 0, 255).round())
