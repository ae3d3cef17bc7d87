"""APF, the adaptive prototype filter: a predicted region stays only if it resembles the supports.

Source: Syn4Seg, APF. For a region r predicted as class k: v(r) = mean of f(p) over r, s(r) = v^(r) . mu^_k; r is
kept iff s(r) >= lambda (``min_similarity``), else its pixels become free. The mean weighs every feature cell with the
pixels of r that lie in it. A region is a part of an 8-connected component of the label map at picture resolution:
components are cut along a grid of squares of side ``part``, because a picture of one thing has one component, of which
the middle is right and the rim is wrong. Source: ours, decisions.md, regions; ``part`` = 1 is the published filter.

A support shows what the class is like, not where this picture's thing ends: how like the supports a picture is as a
whole says more of its style than of its parts. So a part must also stand out of the picture's own background. With
nu^ the mean feature of all pixels outside of the label, d(p) = f^(p) . mu^_k - f^(p) . nu^, and d of the label and of
the rest as means, the contrast of a region is (d(r) - d(rest)) / (d(label) - d(rest)), 1 as the label is on average
and 0 as the background is; r is kept only from ``min_contrast`` on. Source: ours, decisions.md, contrast; after the
background prototype of Self-Support Few-Shot Segmentation (Fan et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import FilterSettings
from pipeline.prototypes import cosine, cosine_map, masked_mean, unit
from pipeline.regions import components, squares
from pipeline.types import Floats, Mask, Sample

VERSION = 2
_LEAST = 0.05
"""Of d(label) - d(rest): a label that stands out less is not stretched further."""


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
    contrast = _contrast(mask, features, prototype) if settings.min_contrast is not None else _plain
    for component in components(mask):
        large = bool(component.mean() >= settings.min_area)
        for part in squares(component, side):
            mean = masked_mean(features, part)
            yield Region(part, large, cosine(mean, prototype), contrast(mean))


def _contrast(mask: Mask, features: Floats, prototype: Floats) -> Callable[[Floats | None], float]:
    """Give the contrast of a mean feature in this picture; 1 everywhere where the mask leaves no background."""
    rest = masked_mean(features, ~mask)
    if rest is None:
        return _plain
    background = unit(rest)
    differences = (cosine_map(features, prototype) - cosine_map(features, background))[None]
    inside, outside = masked_mean(differences, mask), masked_mean(differences, ~mask)
    if inside is None or outside is None:
        return _plain
    low, span = float(outside[0]), max(float(inside[0] - outside[0]), _LEAST)
    return lambda mean: (cosine(mean, prototype) - cosine(mean, background) - low) / span


def _plain(_: Floats | None) -> float:
    return 1.0
