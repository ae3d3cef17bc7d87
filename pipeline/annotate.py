"""First labels: the teacher's most probable class, where the prompt and its certainty allow it.

Source: Syn4Seg, initial pseudo-masks: M_0(x) = argmax over c of f_T(x)_c. The prompt fixes the novel class t, so the
logits of all other novel classes are set to minus infinity, which leaves probabilities divided by what remains. A
base class below ``min_base_score`` is not trusted: its pixels are ignored (255), not free.

The teacher is calibrated on scenes in which any one novel class is mostly absent; here the prompt asked for it. Its
probability is therefore multiplied by ``prompt_odds`` before the maximum is taken, the correction of a posterior for a
changed prior: p'(c | x) ~ p(c | x) pi'(c) / pi(c). With 0 the odds are estimated: those at which the log odds of a
picture's pixels part best into two groups (Otsu's threshold). Source: ours, decisions.md, first labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import AnnotateSettings
from pipeline.types import Floats, Picture, Sample, Teacher

VERSION = 2
MAX_ODDS = 1e6
_TINY = 1e-12


def look_twice(teacher: Teacher, pictures: Sequence[Picture], *, flip: bool) -> tuple[Floats, Floats]:
    """Give features (N, C, h, w) and probabilities (N, 1+B+N, H, W); with ``flip`` averaged with the mirror image."""
    seen = teacher.look(pictures)
    if not flip:
        return seen
    features, scores = (_averaged(*both) for both in zip(seen, teacher.look(_mirrored(pictures)), strict=True))
    return features, scores


def features_twice(teacher: Teacher, pictures: Sequence[Picture], *, flip: bool) -> Floats:
    """Give the features alone, equal to those of `look_twice`; no class is decoded for them."""
    features = teacher.features(pictures)
    return _averaged(features, teacher.features(_mirrored(pictures))) if flip else features


def _mirrored(pictures: Sequence[Picture]) -> list[Picture]:
    return [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]


def _averaged(maps: Floats, mirrored: Floats) -> Floats:
    """Average maps (N, C, H, W) with those of the mirror images."""
    return np.float32(0.5) * (maps + mirrored[..., ::-1])


def estimated_odds(scores: Floats, target: int) -> float:
    """Give the odds at which the pixels of a picture part into those of the prompted class and the others.

    With l = log(p / (1 - p)) the log odds of the class at a pixel and t their Otsu threshold, exp(-t), at least 1.

    Args:
        scores: float32 (L, H, W), of the classes that are possible; need not sum to 1.
        target: the place of the prompted class.
    """
    wanted, others = scores[target].astype(np.float64), np.delete(scores, target, 0).sum(0, dtype=np.float64)
    log_odds = np.log(wanted + _TINY) - np.log(others + _TINY)
    return float(np.exp(np.clip(-otsu(log_odds), 0, np.log(MAX_ODDS))))


def otsu(values: NDArray[np.float64]) -> float:
    """Give the threshold that parts values into two groups of the largest variance between them.

    Source: Otsu 1979, over the sorted values instead of a histogram. The threshold is the middle between the two
    values at the cut, so that equal values stay together; infinity where all are equal.
    """
    ordered = np.sort(values, axis=None)
    low = np.arange(1, ordered.size)
    sums = np.cumsum(ordered)
    between = low * (ordered.size - low) * (sums[:-1] / low - (sums[-1] - sums[:-1]) / (ordered.size - low)) ** 2
    between[ordered[1:] == ordered[:-1]] = -1.0
    if between.size == 0 or between.max() < 0:
        return float("inf")
    cut = int(between.argmax())
    return float((ordered[cut] + ordered[cut + 1]) / 2)


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
    odds = settings.prompt_odds or estimated_odds(remaining, target)
    remaining[target] *= np.float32(odds)
    best, total = remaining.max(0), remaining.sum(0)
    labels = remaining.argmax(0).astype(np.uint8)

    # 2. uncertain base predictions are ignored
    base = np.isin(labels, list(split.base_ids))
    labels[base & (best < settings.min_base_score * total)] = IGNORE

    found = labels == target
    free = np.zeros(labels.shape, dtype=bool)
    result = sample.labelled(
        labels, free, odds=float(odds), found=float(found.mean()),
        certainty=float(scores[target][found].mean()) if found.any() else 0.0,
    )
    return result if found.any() else result.dropped(f"the teacher sees no {sample.name}")
