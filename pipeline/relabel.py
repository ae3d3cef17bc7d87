"""APR, the adaptive prototype relabelling: free pixels that resemble the class get its label back.

Source: Syn4Seg, APR. With mu^_k the support prototype and mu^^(x)_k the mean feature of the pixels kept in picture x,
both unit vectors: mu~ = beta mu^_k + (1 - beta) mu^^(x)_k, scaled to length 1. A free pixel p with
c(p) = f^(p) . mu~ >= lambda_apr (``min_similarity``) becomes class k, any other stays free. Only the prompted class
claims pixels, never background; kept pixels never change. Without a kept pixel mu~ = mu^_k.

A mean of many pixels is like none of them: the sail and the hull of a boat. So a claimed pixel must also be more like
one of the kept cells than like any cell outside of the first label, by ``min_margin`` of cosine; not asked where there
is no such cell. Source: ours, decisions.md, margin.
"""

from __future__ import annotations

import numpy as np

from pipeline.classes import ClassSplit
from pipeline.config import RelabelSettings
from pipeline.prototypes import cosine_map, covered, masked_mean, nearest, nearest_background, unit
from pipeline.regions import enlarge
from pipeline.types import Floats, Mask, Sample

VERSION = 3
_KEPT = 0.3
"""A cell counts as kept from this share of kept pixels on; where no cell has so many, each with any does."""


def blended_prototype(prototype: Floats, features: Floats, seeds: Mask, blend: float) -> Floats:
    """Give mu~ (C,): the blend of the support prototype and the picture's own, a unit vector.

    Args:
        prototype: unit vector (C,) from the supports.
        features: of the picture, float32 (C, h, w).
        seeds: its pixels kept for the class, bool (H, W).
        blend: beta; 1 gives the support prototype, 0 the picture's own.
    """
    local = masked_mean(features, seeds)
    if local is None or not local.any():
        return prototype
    return unit(np.float32(blend) * prototype + np.float32(1 - blend) * unit(local))


def relabel(
    sample: Sample, features: Floats, prototype: Floats, split: ClassSplit, settings: RelabelSettings
) -> Sample:
    """Give free pixels that resemble the sample's class its label.

    The cosine is enlarged bilinearly from feature cells to pixels before the threshold.

    Args:
        sample: filtered.
        features: of its picture, float32 (C, h, w).
        prototype: unit vector (C,) of the sample's class, from features treated alike.
        split: base and novel classes.
        settings: see `RelabelSettings`.

    Returns:
        The sample; dropped where no pixel of its class is left, whether or not the stage is enabled.

    Raises:
        ValueError: the sample has no labels, or the features do not fit the prototype.
    """
    if prototype.shape != features.shape[:1]:
        raise ValueError(f"prototype {prototype.shape} does not fit features {features.shape}")
    if sample.reason is not None:
        return sample
    if sample.labels is None or sample.free is None:
        raise ValueError(f"sample {sample.id} has no labels to complete")
    target = split.id_of(sample.name)
    labels, free = sample.labels.copy(), sample.free.copy()
    claimed = 0.0
    if settings.enabled and free.any():
        kept = labels == target
        blended = blended_prototype(prototype, features, kept, settings.blend)
        claim = free & (enlarge(cosine_map(features, blended), labels.shape) >= settings.min_similarity)
        if settings.min_margin is not None:
            claim &= enlarge(_margin(features, kept, kept | free), labels.shape) >= settings.min_margin
        labels[claim] = target
        free &= ~claim
        claimed = float(claim.mean())
    result = sample.labelled(labels, free, apr_claimed=claimed)
    return result if (labels == target).any() else result.dropped(f"no pixel resembles the supports of {sample.name}")


def _margin(features: Floats, kept: Mask, label: Mask) -> Floats:
    """Give by how much every cell (h, w) is more like a kept cell than like the background; 2 without either."""
    shares = covered(kept, features)
    near = nearest(features, shares > (_KEPT if (shares > _KEPT).any() else 0))
    away = nearest_background(features, label)
    return np.full(shares.shape, 2, np.float32) if near is None or away is None else near - away
