"""APF, the adaptive prototype filter: a predicted region stays only if it resembles the supports.

Source: Syn4Seg, APF. For a region r predicted as class k: v(r) = mean of f(p) over r, s(r) = v^(r) . mu^_k; r is
kept iff s(r) >= lambda (``min_similarity``), else its pixels become free. A region is an 8-connected component of the
label map at picture resolution; the mean weighs every feature cell with the pixels of r that lie in it.
"""

from __future__ import annotations

import numpy as np

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import FilterSettings
from pipeline.prototypes import cosine, masked_mean
from pipeline.regions import components
from pipeline.types import Floats, Sample

VERSION = 1


def filter_regions(
    sample: Sample,
    features: Floats,
    prototype: Floats,
    split: ClassSplit,
    settings: FilterSettings,
    mean: Floats | None = None,
) -> Sample:
    """Free the regions of the sample's class that do not resemble the supports. Labels are only ever freed.

    Args:
        sample: with first labels.
        features: of its picture, float32 (C, h, w).
        prototype: unit vector (C,) of the sample's class, centred with the same ``mean``.
        split: base and novel classes.
        settings: see `FilterSettings`.
        mean: mean base feature (C,), or None.

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
    kept, similarities = 0, []
    for region in components(labels == split.id_of(sample.name)):
        area = region.mean()
        similarity = cosine(masked_mean(features, region, mean), prototype)
        similarities.append(similarity)
        if area >= settings.min_area and similarity >= settings.min_similarity:
            kept += 1
        else:
            labels[region] = IGNORE
            free |= region
    best = float(np.max(similarities, initial=-1.0))
    return sample.labelled(labels, free, apf_kept=float(kept), apf_freed=float(free.mean()), apf_best=best)
