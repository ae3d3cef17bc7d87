"""Small pictures and label maps for the page: a thumbnail, and beside it a strip of the label maps of all stages."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.classes import IGNORE, ClassSplit
from pipeline.images import write_indexed, write_picture
from pipeline.types import Floats, LabelMap, Mask, Picture

SIDE = 256
"""Longest side of a thumbnail in pixels; smaller pictures keep their size."""
FREE = 254
"""Code of free pixels in a strip."""
_SMALL = 128
"""Up to this side JPEG's blocks would be seen, hence a better quality."""
_TURN = 0.618034
"""Golden ratio: neighbours among the classes get hues that lie far apart."""


def class_colours(split: ClassSplit) -> NDArray[np.uint8]:
    """Give colour and opacity of every code, uint8 (256, 4); background is transparent, novel classes come first."""
    colours = np.zeros((256, 4), dtype=np.uint8)
    for place, label in enumerate((*split.novel_ids, *split.base_ids)):
        if label >= FREE:
            break
        hue = (0.04 + place * _TURN) % 1
        strong = place < len(split.novel_ids)
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.9 if strong else 0.6, 1.0 if strong else 0.75)
        colours[label] = [round(255 * red), round(255 * green), round(255 * blue), 255]
    colours[FREE] = (255, 255, 255, 255)
    colours[IGNORE] = (40, 40, 40, 255)
    return colours


def heat_colours() -> NDArray[np.uint8]:
    """Give the colours of a map of 0..255, uint8 (256, 4): from clear over violet and orange to yellow."""
    stops = np.array([0, 85, 170, 255])
    table = np.array([[40, 10, 90, 0], [150, 30, 120, 170], [240, 110, 40, 220], [255, 240, 120, 255]])
    levels = np.arange(256)
    return np.stack([np.interp(levels, stops, table[:, c]) for c in range(4)], 1).round().astype(np.uint8)


def codes_of(labels: LabelMap, free: Mask | None = None) -> LabelMap:
    """Give the codes to draw, uint8 (H, W): ignored pixels striped, free ones chequered, so that both are told apart.

    Args:
        labels: split ids, uint8 (H, W).
        free: bool (H, W), or None for none.
    """
    striped, chequered = labels == IGNORE, np.zeros(labels.shape, bool) if free is None else free
    if not striped.any() and not chequered.any():
        return labels
    period = max(1, max(labels.shape) // 32)
    rows, columns = np.indices(labels.shape) // period
    codes = np.where(striped & ((rows + columns) % 4 > 1), 0, labels)
    return np.where(chequered, np.where((rows + columns) % 2 == 0, FREE, 0), codes).astype(np.uint8)


def write_thumbnail(path: Path, picture: Picture) -> tuple[int, int]:
    """Write a picture, uint8 RGB (H, W, 3), at most `SIDE` long; gives height and width as written."""
    size = thumbnail_size(picture.shape[:2])
    if size != picture.shape[:2]:
        picture = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS))
    write_picture(path, picture, quality=95 if max(size) <= _SMALL else 85)
    return size


def write_strip(path: Path, maps: Sequence[LabelMap], colours: NDArray[np.uint8]) -> None:
    """Write maps of codes, uint8 (H, W) each, side by side in the size of the thumbnail."""
    size = thumbnail_size(maps[0].shape)
    write_indexed(path, np.concatenate([_nearest(codes, size) for codes in maps], axis=1), colours)


def heat(values: Floats) -> LabelMap:
    """Give codes 0..255 of a map (H, W) in 0..1."""
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def thumbnail_size(size: tuple[int, ...]) -> tuple[int, int]:
    """Give height and width of the thumbnail of a picture of a size (H, W)."""
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _nearest(codes: LabelMap, size: tuple[int, int]) -> LabelMap:
    if codes.shape == size:
        return codes
    return np.asarray(Image.fromarray(codes).resize(size[::-1], Image.Resampling.NEAREST))
