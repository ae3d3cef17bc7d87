"""APF, the adaptive prototype filter: a predicted region stays only if it resembles the supports.

Source: Syn4Seg, APF. For a region r predicted as class k: v(r) = mean of f(p) over r, s(r) = v^(r) . mu^_k; r is
kept iff s(r) >= lambda (``min_similarity``), else its pixels become free. The mean weighs every feature cell with the
pixels of r that lie in it. A region is a part of an 8-connected component of the label map at picture resolution:
components are cut along a grid of squares of side ``part``, because a picture of one thing has one component, of which
the middle is right and the rim is wrong. Source: ours, decisions.md, regions; ``part`` = 1 is the published filter.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import FilterSettings
from pipeline.prototypes import cosine, masked_mean
from pipeline.regions import components, squares
from pipeline.types import Floats, Mask, Sample

VERSION = 2


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
    for region, large, similarity in judged_regions(labels == split.id_of(sample.name), features, prototype, settings):
        best = max(best, similarity)
        if large and similarity >= settings.min_similarity:
            kept += 1
        else:
            free |= region
    labels[free] = IGNORE
    return sample.labelled(labels, free, apf_kept=float(kept), apf_freed=float(free.mean()), apf_best=best)


def judged_regions(
    mask: Mask, features: Floats, prototype: Floats, settings: FilterSettings
) -> Iterator[tuple[Mask, bool, float]]:
    """Give every region of a mask, bool (H, W), whether its component is large enough, and s(r)."""
    side = max(1, round(settings.part * max(mask.shape)))
    for component in components(mask):
        large = bool(component.mean() >= settings.min_area)
        for region in squares(component, side):
            yield region, large, cosine(masked_mean(features, region), prototype)
