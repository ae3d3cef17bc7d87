"""Multi-scale test-time augmentation of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fss_models.layers import resize

Episode = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Foreground logits (B, h, w) from queries (B, 3, H, W), supports (B, S, 3, H, W), masks (B, S, H, W), classes (B,)."""

Views = tuple[tuple[float, ...], ...]
"""Each a chain of factors by which a query is resized; the first one leaves it as it is."""

PLAIN: Views = ((1.0,),)
VIEWS: Views = ((1.0,), (0.8,), (0.8, 1.25))
"""IIR's three views of a query: as it is, at 0.8, and at 0.8 enlarged again. Source: systems.md 5.7."""


@torch.no_grad()
def predict_multiscale(
    model: Episode, query: Tensor, supports: Tensor, masks: Tensor, classes: Tensor, views: Views = VIEWS
) -> Tensor:
    """Give foreground probabilities, float (B, H, W) in 0..1: the mean over views of the query.

    The supports stay as they are: whether IIR scales them too is not known.

    Args:
        model: any FSS model in evaluation mode.
        query: float (B, 3, H, W) in 0..1.
        supports: float (B, S, 3, H, W) in 0..1.
        masks: (B, S, H, W).
        classes: (B,), see `fss.FssModel`.
        views: of the query.
    """
    logits = [model(viewed(query, view), supports, masks, classes) for view in views]
    return mean_foreground(logits, (query.shape[-2], query.shape[-1]))


def viewed(query: Tensor, view: tuple[float, ...]) -> Tensor:
    """Resize pictures (B, 3, H, W) by a chain of factors, each of which counts from the original size."""
    height, width = query.shape[-2:]
    for i in range(len(view)):
        query = resize(query, (scaled(height, view[: i + 1]), scaled(width, view[: i + 1])))
    return query


def scaled(side: int, view: tuple[float, ...]) -> int:
    """Give the pixels of a side after a chain of factors."""
    return max(1, round(side * math.prod(view)))


def mean_foreground(logits: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Average what was said of several views: logits (B, h, w) of any sizes -> probabilities (B, H, W) in 0..1."""
    return torch.stack([resize(one[:, None].float(), size)[:, 0].sigmoid() for one in logits]).mean(0)
