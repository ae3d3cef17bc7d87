"""Agreement: how far the model that was trained on repaired labels sees its own pictures as these labels do.

Source: ours (decisions.md, second round): the IoU of the class in the repaired labels and in the labels that the model
itself gives the picture, on the pixels that the repaired labels know. A picture that was dropped has none.
"""

from __future__ import annotations

import numpy as np

from pipeline.annotate import annotate
from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import AnnotateSettings
from pipeline.types import Floats, Sample

VERSION = 1

FILE = "agreement.jsonl"
"""In a shard of that stage: a line a sample with id, name, prompt and agreement."""


def agreement(sample: Sample, scores: Floats, split: ClassSplit, settings: AnnotateSettings) -> float:
    """Give the agreement on one picture, 0..1.

    Args:
        sample: with repaired labels; 0 where it was dropped.
        scores: the model's class probabilities, float32 (1+B+N, H, W), in the order of the split ids.
        split: base and novel classes.
        settings: of the model's labels.

    Raises:
        ValueError: the scores do not fit the split or the picture.
    """
    if sample.reason is not None or sample.labels is None or sample.free is None:
        return 0.0
    seen = annotate(sample, scores, split, settings)
    assert seen.labels is not None
    target = split.id_of(sample.name)
    known = (sample.labels != IGNORE) & ~sample.free
    told, found = (sample.labels == target) & known, (seen.labels == target) & known
    together = int(np.count_nonzero(told | found))
    return np.count_nonzero(told & found) / together if together else 0.0
