"""Small functions that the models share. All of them are safe on empty regions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.classes import IGNORE

TINY = 1e-7


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize maps (B, C, H, W) bilinearly, corners not aligned."""
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, size=tuple(size), mode="bilinear")


def resize_labels(labels: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize label maps (B, H, W) of any integer or bool type by nearest neighbour (pixel centres)."""
    if labels.shape[-2:] == tuple(size):
        return labels
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].to(labels.dtype)


def masked_average(features: Tensor, region: Tensor) -> Tensor:
    """Average features (B, C, h, w) over soft regions (B, h, w) in 0..1: (B, C), zero where a region is empty."""
    region = region[:, None].to(features.dtype)
    return (features * region).sum((2, 3)) / (region.sum((2, 3)) + TINY)


def cosine_map(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of each cell of (B, C, h, w) with a prototype (B, C): (B, h, w); zero where either is zero."""
    return torch.einsum("bchw,bc->bhw", F.normalize(features, dim=1), F.normalize(prototypes, dim=1))


def region_min_max(values: Tensor, region: Tensor) -> Tensor:
    """Stretch values (B, h, w) to 0..1 inside bool regions (B, h, w); zero outside.

    A region in which all values are equal, or which is empty, gives zeros.
    """
    low = values.masked_fill(~region, math.inf).flatten(1).amin(1)[:, None, None]
    high = values.masked_fill(~region, -math.inf).flatten(1).amax(1)[:, None, None]
    stretched = (values - low) / (high - low).clamp(min=TINY)
    return torch.where(region, stretched, 0.0).nan_to_num(0.0, 0.0, 0.0)


def gram_distance(query: Tensor, support: Tensor) -> Tensor:
    """How unlike two pictures are, (B,): Frobenius distance of their Gram matrices of unit features (B, C, h, w).

    Source: BAM, adjustment factor psi.
    """
    q, s = (F.normalize(x.flatten(2), dim=2) for x in (query, support))
    difference = q @ q.transpose(1, 2) - s @ s.transpose(1, 2)
    return difference.flatten(1).norm(dim=1) / query.shape[1]


def gram_distances(query: Tensor, support: Tensor) -> Tensor:
    """Give the `gram_distance` (P, S) of queries (P, C, h, w) to each of their supports (P, S, C, h, w)."""
    return torch.stack([gram_distance(query, one) for one in support.unbind(1)], 1)


def foreground_cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits (P, S, h, w), enlarged, against labels (P, S, H, W) with 0, 1 and 255.

    Mean over the pixels that are not 255, each weighed by its episode's ``weight`` (P,) where there is one.
    """
    logits = resize(logits, truth.shape[-2:])
    loss = F.binary_cross_entropy_with_logits(logits, (truth == 1).to(logits.dtype), reduction="none")
    known = (truth != IGNORE).to(loss.dtype)
    if weight is not None:
        known = known * weight[:, None, None, None]
    return (loss * known).sum() / known.sum().clamp(min=1)


def rate_factor(step: int, steps: int, warm: float = 0.05, hold: float = 0.4) -> float:
    """Rate factor of a step: linear warm-up, constant until ``hold`` of the way, then a half cosine to zero.

    Args:
        step: number of the step, from 0.
        steps: how many there are.
        warm: share of the steps that warm up.
        hold: share of the steps after which the rate falls.
    """
    done = (step + 1) / max(steps, 1)
    if done < warm:
        return done / warm
    return 1.0 if done <= hold else 0.5 * (1 + math.cos(math.pi * (done - hold) / (1 - hold)))


def poly_factor(step: int, steps: int, power: float = 0.9) -> float:
    """Rate factor of a step: (1 - step / steps) ** power. Source: the published recipes, systems.md 5.7."""
    return (1 - step / max(steps, 1)) ** power
