"""Prototypes: the mean feature of a region, as a unit vector.

Source: Syn4Seg, APF: mu_k = sum_j sum_p 1[M_j(p) = k] f_j(p) / sum_j sum_p 1[M_j(p) = k], mu^_k = mu_k / ||mu_k||.
Features are coarser than masks; a cell weighs as many pixels of the mask as lie in it. Features that passed a ReLU
all point the same way until a mean is subtracted (`centred`); a prototype and the features that it is compared with
must be treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.regions import cell_shares
from pipeline.types import Floats, Mask

_TINY = 1e-8
_ROWS = 1024
"""Cells compared at once with all chosen ones: 1,024 x 16,384 cosines are 64 MB."""
_OUTSIDE = 0.1
"""A cell with less than this share of a mask counts as outside of it: its feature has next to nothing of the thing."""


def unit(vectors: Floats, axis: int = 0) -> Floats:
    """Scale vectors to length 1 along an axis; zero vectors stay zero."""
    length = np.sqrt(np.square(vectors).sum(axis=axis, keepdims=True))
    return np.asarray(vectors / np.maximum(length, _TINY), dtype=np.float32)


def centred(features: Floats) -> Floats:
    """Subtract from features (C, h, w) their own mean over the picture.

    What a picture shows everywhere (its style, the generator's hand, mere ReLU) says nothing about a region of it.
    Source: ours, decisions.md, centring.
    """
    return np.asarray(features - features.mean((1, 2), keepdims=True), dtype=np.float32)


def masked_mean(features: Floats, mask: Mask) -> Floats | None:
    """Give the mean feature (C,) of features, float32 (C, h, w), under a mask, bool (H, W); None where it is empty."""
    if not mask.any():
        return None
    return np.asarray(_weighted_sum(features, mask) / np.float32(mask.sum()), dtype=np.float32)


def support_prototype(features: Sequence[Floats], masks: Sequence[Mask]) -> Floats | None:
    """Give the prototype (C,) of a class over all pixels of all its S supports, a unit vector.

    Args:
        features: S maps, float32 (C, h, w).
        masks: S masks, bool (H, W).

    Returns:
        None where all masks are empty.
    """
    area = sum(int(mask.sum()) for mask in masks)
    if area == 0:
        return None
    total = np.sum([_weighted_sum(f, m) for f, m in zip(features, masks, strict=True)], axis=0)
    return unit(total / np.float32(area))


def cosine(vector: Floats | None, prototype: Floats) -> float:
    """Give the cosine of a vector (C,) to a unit prototype (C,); -1 for no vector."""
    return -1.0 if vector is None else float(unit(vector) @ prototype)


def cosine_map(features: Floats, prototype: Floats) -> Floats:
    """Give the cosine (h, w) of every cell of features (C, h, w) to a unit prototype (C,)."""
    return np.tensordot(prototype, unit(features), axes=1).astype(np.float32)


def covered(mask: Mask, features: Floats) -> Floats:
    """Give how much of every cell of features (C, h, w) a mask, bool (H, W), covers: (h, w) in 0..1."""
    height, width = features.shape[1:]
    return np.asarray(cell_shares(mask, (height, width)) * np.float32(height * width / mask.size), dtype=np.float32)


def nearest(features: Floats, chosen: Mask) -> Floats | None:
    """Give the cosine (h, w) of every cell of features (C, h, w) to the chosen cell, bool (h, w), that it is most like.

    Every chosen cell is a prototype of its own. None where no cell is chosen.
    """
    if not chosen.any():
        return None
    cells = unit(features).reshape(features.shape[0], -1).T
    others = cells[chosen.ravel()].T
    found = [(cells[start : start + _ROWS] @ others).max(1) for start in range(0, len(cells), _ROWS)]
    return np.concatenate(found).reshape(chosen.shape).astype(np.float32)


def nearest_background(features: Floats, label: Mask) -> Floats | None:
    """Give the cosine (h, w) of every cell to the most like cell outside of a label, bool (H, W); None without one."""
    return nearest(features, covered(label, features) < _OUTSIDE)


def _weighted_sum(features: Floats, mask: Mask) -> Floats:
    shares = cell_shares(mask, (features.shape[1], features.shape[2]))
    return np.tensordot(features, shares, axes=2).astype(np.float32)
