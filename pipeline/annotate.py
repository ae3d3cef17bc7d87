"""First labels: the teacher's most probable class, where the prompt and its certainty allow it.

Source: Syn4Seg, initial pseudo-masks: M_0(x) = argmax over c of f_T(x)_c. The prompt fixes the novel class t, so the
logits of all other novel classes are set to minus infinity, which leaves probabilities divided by what remains. A
base class below ``min_base_score`` is not trusted: its pixels are ignored (255), not free.

The teacher is calibrated on scenes in which any one novel class is mostly absent; here the prompt asked for it. Its
probability is therefore multiplied by ``prompt_odds`` before the maximum is taken, the correction of a posterior for a
changed prior: p'(c | x) ~ p(c | x) pi'(c) / pi(c). Source: ours, decisions.md, first labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import AnnotateSettings
from pipeline.types import Floats, Picture, Sample, Teacher

VERSION = 1


def look_twice(teacher: Teacher, pictures: Sequence[Picture], *, flip: bool) -> tuple[Floats, Floats]:
    """Give features (N, C, h, w) and probabilities (N, 1+B+N, H, W); with ``flip`` averaged with the mirror image."""
    features, scores = teacher.look(pictures)
    if not flip:
        return features, scores
    mirrored_features, mirrored_scores = teacher.look([np.ascontiguousarray(p[:, ::-1]) for p in pictures])
    half = np.float32(0.5)
    return half * (features + mirrored_features[..., ::-1]), half * (scores + mirrored_scores[..., ::-1])


def annotate(sample: Sample, scores: Floats, split: ClassSplit, settings: AnnotateSettings) -> Sample:
    """Give a sample its first labels.

    Args:
        sample: without labels.
        scores: class probabilities, float32 (1+B+N, H, W), in the order of the split ids.
        split: base and novel classes.
        settings: see `AnnotateSettings`.

    Returns:
        The sample with labels and no free pixel, dropped where the teacher sees nothing of its class.

    Raises:
        ValueError: the scores do not fit the split or the picture.
    """
    if scores.shape != (len(split.names), *sample.picture.shape[:2]):
        raise ValueError(f"scores {scores.shape} do not fit {len(split.names)} classes and {sample.picture.shape}")
    if sample.reason is not None:
        return sample
    target = split.id_of(sample.name)
    if not np.isfinite(scores).all():
        return sample.dropped("the teacher's scores are not finite")

    # 1. only the prompted novel class remains, and is expected
    allowed = np.ones(len(split.names), dtype=bool)
    allowed[list(split.novel_ids)] = False
    allowed[target] = True
    remaining = np.where(allowed[:, None, None], scores, 0)
    remaining[target] *= np.float32(settings.prompt_odds)
    best, total = remaining.max(0), remaining.sum(0)
    labels = remaining.argmax(0).astype(np.uint8)

    # 2. uncertain base predictions are ignored
    base = np.isin(labels, list(split.base_ids))
    labels[base & (best < settings.min_base_score * total)] = IGNORE

    found = labels == target
    free = np.zeros(labels.shape, dtype=bool)
    result = sample.labelled(
        labels, free, found=float(found.mean()), certainty=float(scores[target][found].mean()) if found.any() else 0.0
    )
    return result if found.any() else result.dropped(f"the teacher sees no {sample.name}")
