"""Pictures of the gallery: what is right, wrong and missed after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flows.report.pictures import FREE, codes_of, write_strip, write_thumbnail
from pipeline.classes import BACKGROUND, IGNORE
from pipeline.types import LabelMap, Mask, Picture, Sample

RIGHT, WRONG, MISSED = 1, 2, 3
COLOURS = {RIGHT: ("right", (0, 158, 115)), WRONG: ("wrong", (213, 60, 0)), MISSED: ("missed", (60, 120, 255))}
"""Told apart by those who do not see red or green, too. After Okabe and Ito 2008."""


def colours() -> np.ndarray:
    """Give colour and opacity of every code, uint8 (256, 4)."""
    table = np.zeros((256, 4), np.uint8)
    for code, (_, colour) in COLOURS.items():
        table[code] = (*colour, 255)
    table[FREE], table[IGNORE] = (255, 255, 255, 255), (40, 40, 40, 255)
    return table


def truth_of(truth: LabelMap) -> LabelMap:
    """Give the codes of a truth, uint8 (H, W): 1 the class; 255, unknown, is striped."""
    return codes_of(truth)


def errors_of(found: Mask, truth: LabelMap, sample: Sample | None = None) -> LabelMap:
    """Give codes, uint8 (H, W), of a found mask, bool (H, W); where the truth is unknown nothing is marked.

    Args:
        found: the pixels of the class.
        truth: 1 the class, 0 not, 255 unknown.
        sample: its free pixels are chequered, and its ignored ones striped.
    """
    codes = np.zeros(truth.shape, np.uint8)
    codes[found & (truth == 1)], codes[found & (truth == 0)], codes[~found & (truth == 1)] = RIGHT, WRONG, MISSED
    if sample is None or sample.labels is None or sample.free is None or sample.reason is not None:
        return codes
    undecided = np.where((sample.labels == IGNORE) & ~sample.free, IGNORE, BACKGROUND).astype(np.uint8)
    pattern = codes_of(undecided, sample.free)
    return np.where(pattern != BACKGROUND, pattern, codes).astype(np.uint8)


def write_looks(stem: Path, picture: Picture, maps: Sequence[LabelMap]) -> tuple[int, int]:
    """Write a thumbnail, ``stem.jpg``, and its maps of codes side by side, ``stem.png``; gives the thumbnail's size."""
    write_strip(stem.with_suffix(".png"), maps, colours())
    return write_thumbnail(stem.with_suffix(".jpg"), picture)
