"""APF, the adaptive prototype filter: a predicted region stays only if it resembles the supports.

Source: Syn4Seg, APF. For a region r predicted as class k: v(r) = mean of f(p) over r, s(r) = v^(r) . mu^_k; r is
kept iff s(r) >= lambda (``min_similarity``), else its pixels become free. The mean weighs every feature cell with the
pixels of r that lie in it. A region is a part of an 8-connected component of the label map at picture resolution:
components are cut along a grid of squares of side ``part``, because a picture of one thing has one component, of which
the middle is right and the rim is wrong. Source: ours, decisions.md, regions; ``part`` = 1 is the published filter.

A support shows what the class is like, not where this picture's thing ends; its own background does. A teacher's
label runs over the rim of the thing, onto cells that look like others beyond the label. With d(p) = 1 - the largest
cosine of f(p) to a cell outside of the label, the contrast of a region is the mean of d over it, divided by that over
the label: 1 as the label is on average, 0 as the background is. r is kept only from ``min_contrast`` on. Source: ours,
decisions.md, contrast; the picture's own background as a prototype is after Self-Support Few-Shot Segmentation (Fan et
al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import FilterSettings
from pipeline.prototypes import cosine, masked_mean, nearest_background
from pipeline.regions import components, squares
from pipeline.types import Floats, Mask, Sample

VERSION = 3
_LEAST = 0.05
"""Of the mean of d over the label: one that stands out less is not stretched further."""


class Region(NamedTuple):
    """A region of a label: its mask, bool (H, W); whether its component is large enough; s(r); its contrast."""

    mask: Mask
    large: bool
    similarity: float
    contrast: float


def filter_regions(
    sample: Sample, features: Floats, prototype: Floats, split: ClassSplit, settings: FilterSettings
) -> Sample:
    """Free the regions of the sample's class that do not resemble the supports. Labels are only ever freed.

    Args:
        sample: with first labels.
        features: of its picture, float32 (C, h, w).
        prototype: unit vector (C,) of the sample's class, from features treated alike.
        split: base and novel classes.
        settings: see `FilterSettings`.

    Raises:
        ValueError: the sample has no labels, or the features do not fit the prototype.
    """
    if prototype.shape != features.shape[:1]:
        raise ValueError(f"prototype {prototype.shape} does not fit features {features.shape}")
    if sample.reason is not None:
        return sample
    if sample.labels is None or sample.free is None:
        raise ValueError(f"sample {sample.id} has no labels to filter")
    if not settings.enabled:
        return sample
    labels, free = sample.labels.copy(), sample.free.copy()
    kept, best = 0, -1.0
    for region in judged_regions(labels == split.id_of(sample.name), features, prototype, settings):
        best = max(best, region.similarity)
        stands_out = settings.min_contrast is None or region.contrast >= settings.min_contrast
        if region.large and region.similarity >= settings.min_similarity and stands_out:
            kept += 1
        else:
            free |= region.mask
    labels[free] = IGNORE
    return sample.labelled(labels, free, apf_kept=float(kept), apf_freed=float(free.mean()), apf_best=best)


def judged_regions(
    mask: Mask, features: Floats, prototype: Floats, settings: FilterSettings
) -> Iterator[Region]:
    """Give every region of a mask, bool (H, W); all contrasts are 1 where they are not asked for."""
    side = max(1, round(settings.part * max(mask.shape)))
    contrast = _contrast(mask, features) if settings.min_contrast is not None else None
    for component in components(mask):
        large = bool(component.mean() >= settings.min_area)
        for part in squares(component, side):
            similarity = cosine(masked_mean(features, part), prototype)
            yield Region(part, large, similarity, 1.0 if contrast is None else _mean(contrast, part))


def _contrast(mask: Mask, features: Floats) -> Floats | None:
    """Give the contrast (1, h, w) of every cell; None where the mask leaves no background to stand out of."""
    alike = nearest_background(features, mask)
    if alike is None or not mask.any():
        return None
    away = np.clip(1 - alike, 0, None)[None]
    return np.asarray(away / max(_mean(away, mask), _LEAST), dtype=np.float32)


def _mean(values: Floats, mask: Mask) -> float:
    """Give the mean of a map (1, h, w) under a mask that is not empty."""
    found = masked_mean(values, mask)
    return 0.0 if found is None else float(found[0])
