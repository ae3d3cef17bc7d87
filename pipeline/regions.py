"""Regions of a label map: components, boxes, the band along boundaries, and their share in feature cells."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.types import Floats, Mask

_EIGHT = np.ones((3, 3), dtype=bool)


def components(mask: Mask) -> list[Mask]:
    """Split a mask, bool (H, W), into its 8-connected components, from top to bottom."""
    numbered, count = ndimage.label(mask, structure=_EIGHT)
    return [numbered == i for i in range(1, count + 1)]


def squares(mask: Mask, side: int) -> list[Mask]:
    """Split a mask, bool (H, W), along a grid of squares of ``side`` pixels, from the upper left corner.

    The parts are disjoint, none is empty, and together they are the mask; a side as long as the picture splits nothing.
    """
    parts = []
    for top in range(0, mask.shape[0], side):
        for left in range(0, mask.shape[1], side):
            window = (slice(top, top + side), slice(left, left + side))
            if mask[window].any():
                part = np.zeros_like(mask)
                part[window] = mask[window]
                parts.append(part)
    return parts


def tight_box(mask: Mask, pad: int = 0) -> tuple[int, int, int, int]:
    """Give the box of a mask, bool (H, W), that is not empty.

    Args:
        mask: the region.
        pad: pixels added on every side, cut off at the border of the picture.

    Returns:
        x0, y0, x1, y1 in pixels, right and bottom exclusive.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return (
        max(int(columns[0]) - pad, 0), max(int(rows[0]) - pad, 0),
        min(int(columns[-1]) + 1 + pad, width), min(int(rows[-1]) + 1 + pad, height),
    )


def boundary_band(codes: NDArray[np.integer], half_width: int) -> Mask:
    """Give the pixels that have a pixel of another code within ``half_width`` (Euclidean, in pixels).

    With a half-width of 1 these are the pixels with a 4-neighbour of another code.

    Args:
        codes: any integer (H, W), for example a label map in which free pixels have a code of their own.
        half_width: of the band, at least 1.

    Returns:
        bool (H, W).
    """
    band = np.zeros(codes.shape, dtype=bool)
    present = np.unique(codes)
    if len(present) > 1:
        for code in present:
            inside = codes == code
            band |= inside & _near(~inside, half_width)
    return band


def _near(mask: Mask, distance: int) -> Mask:
    """Give the pixels within a distance (Euclidean, in pixels) of a mask, bool (H, W), row by row.

    A pixel is near if, in a row at d from its own, the mask is at most sqrt(distance^2 - d^2) to its left or right. For
    a narrow band this is several times quicker than a whole distance transform.
    """
    height, width = mask.shape
    column, far = np.arange(width, dtype=np.int32), np.int32(width + distance)
    left = np.maximum.accumulate(np.where(mask, column, -far), axis=1)
    right = np.minimum.accumulate(np.where(mask, column, width + far)[:, ::-1], axis=1)[:, ::-1]
    away = np.minimum(np.minimum(column - left, right - column), distance + 1).astype(np.int16)
    near = away <= distance
    for side in range(1, min(distance, height - 1) + 1):
        reached = away <= math.isqrt(distance**2 - side**2)
        near[side:] |= reached[:-side]
        near[:-side] |= reached[side:]
    return near


def cell_shares(mask: Mask, cells: tuple[int, int]) -> Floats:
    """Give each feature cell's area inside a mask, in pixels, exact for any ratio of the two sizes.

    The sum over the cells is the area of the mask, so that a region smaller than a cell still counts, where nearest
    downsampling would lose it.

    Args:
        mask: bool (H, W).
        cells: (h, w).

    Returns:
        float32 (h, w), from 0 to the area of a cell.
    """
    if not mask.any():
        return np.zeros(cells, np.float32)
    x0, y0, x1, y1 = tight_box(mask)  # a region is small beside its picture
    rows, columns = _overlaps(mask.shape[0], cells[0])[:, y0:y1], _overlaps(mask.shape[1], cells[1])[:, x0:x1]
    return (rows @ mask[y0:y1, x0:x1].astype(np.float32) @ columns.T).astype(np.float32)


def enlarge(values: Floats, size: tuple[int, int]) -> Floats:
    """Enlarge a map (h, w) to (H, W) bilinearly; cell centres stay where they are, borders are repeated."""
    rows, columns = _bilinear(values.shape[0], size[0]), _bilinear(values.shape[1], size[1])
    return (rows @ values @ columns.T).astype(np.float32)


@lru_cache(maxsize=16)
def _overlaps(pixels: int, cells: int) -> Floats:
    """Give the length (cells, pixels) of every pixel that lies in every cell, along one axis."""
    edges = np.arange(cells + 1) * pixels / cells
    start, stop = edges[:-1, None], edges[1:, None]
    left = np.arange(pixels)[None]
    inside = np.minimum(stop, left + 1) - np.maximum(start, left)
    return np.asarray(np.clip(inside, 0, None), dtype=np.float32)


def _bilinear(cells: int, pixels: int) -> Floats:
    """Give the weights (pixels, cells) of linear interpolation along one axis."""
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    low = np.minimum(np.floor(place).astype(int), max(cells - 2, 0))
    high = np.minimum(low + 1, cells - 1)
    weights = np.zeros((pixels, cells), np.float32)
    index = np.arange(pixels)
    np.add.at(weights, (index, low), (1 - (place - low)).astype(np.float32))
    np.add.at(weights, (index, high), (place - low).astype(np.float32))
    return weights
