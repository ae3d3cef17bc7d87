"""Novel things that base pictures hide: the final model labels what is background to them, in a second round.

Pictures of base classes show novel things too, which the protocol labels as background. Once a model knows the novel
classes from synthetic pictures, it finds some of them: in a second labelling round background whose probabilities of
novel classes sum up to ``min_novel_score`` or more becomes the most probable of them, and what lies between
``doubt`` and that is ignored. No label of a novel thing is read.
Source: ours (decisions.md, second round), after the pseudo-labels that PLOP (Douillard et al., CVPR 2021) gives the
background of pictures whose other classes have no labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classes import BACKGROUND, IGNORE, ClassSplit
from pipeline.config import SecondRoundSettings
from pipeline.types import Floats, LabelMap

VERSION = 1

FILE = "hidden.jsonl"
"""In a shard of that stage: a line a picture whose labels change: its place, its id, pixels of each label."""


def map_name(place: int) -> str:
    """Give the file of the label map of the base picture at a place."""
    return f"labels/{place:06d}.png"


def read_found(folder: Path) -> list[dict[str, Any]]:
    """Read what a shard of that stage says of its pictures, see `FILE`."""
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def label_hidden(labels: LabelMap, scores: Floats, split: ClassSplit, settings: SecondRoundSettings) -> LabelMap:
    """Label what a picture's background hides.

    Args:
        labels: of a base picture, uint8 (H, W), split ids without novel ones.
        scores: the final model's class probabilities, float32 (1+B+N, H, W), in the order of the split ids.
        split: base and novel classes.
        settings: see `SecondRoundSettings`.

    Returns:
        uint8 (H, W); base labels and what was ignored stay.

    Raises:
        ValueError: the scores do not fit the split or the picture.
    """
    if scores.shape != (len(split.names), *labels.shape):
        raise ValueError(f"scores {scores.shape} do not fit {len(split.names)} labels and a picture of {labels.shape}")
    novel = scores[list(split.novel_ids)]
    likely = novel.sum(0)
    best = np.asarray(split.novel_ids, labels.dtype)[novel.argmax(0)]
    found = np.where(likely >= settings.min_novel_score, best, labels.dtype.type(IGNORE))
    return np.where((labels == BACKGROUND) & (likely >= settings.doubt), found, labels)
