"""What a final model finds in the background of base pictures."""

import numpy as np
import pytest

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import SecondRoundSettings
from pipeline.hidden import label_hidden

SPLIT = ClassSplit.of("picto", 0)
CUP = SPLIT.base_ids[0]
BOAT, BOTTLE = SPLIT.novel_ids[:2]


def scores_of(rows: list[dict[int, float]]) -> np.ndarray:
    """Give probabilities (L, 1, W) of a row of pixels; what is not named is background's."""
    scores = np.zeros((len(SPLIT.names), 1, len(rows)), np.float32)
    for place, row in enumerate(rows):
        for label, value in row.items():
            scores[label, 0, place] = value
        scores[0, 0, place] = 1 - sum(row.values())
    return scores


def test_background_becomes_the_likeliest_novel_class_or_is_ignored() -> None:
    """The sum over all novel classes decides, the largest one names; base labels and ignored pixels stay."""
    labels = np.array([[0, 0, 0, 0, CUP, IGNORE]], np.uint8)
    scores = scores_of([
        {BOAT: 0.35, BOTTLE: 0.25}, {BOAT: 0.15, BOTTLE: 0.25}, {BOAT: 0.05}, {CUP: 0.9}, {BOAT: 0.9}, {BOAT: 0.9},
    ])  # fmt: skip
    told = label_hidden(labels, scores, SPLIT, SecondRoundSettings(min_novel_score=0.5, doubt=0.1))
    assert told.dtype == np.uint8
    assert told.tolist() == [[BOAT, IGNORE, 0, 0, CUP, IGNORE]]
    sure = label_hidden(labels, scores, SPLIT, SecondRoundSettings(min_novel_score=0.4, doubt=0.4))
    assert sure.tolist() == [[BOAT, BOTTLE, 0, 0, CUP, IGNORE]]
    with pytest.raises(ValueError, match="do not fit"):
        label_hidden(labels, scores[:, :, :3], SPLIT, SecondRoundSettings())
