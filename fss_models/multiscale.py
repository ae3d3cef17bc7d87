"""Multi-scale test-time augmentation of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fss_models.layers import resize

Episode = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Foreground logits (B, h, w) from queries (B, 3, H, W), supports (B, S, 3, H, W) and masks (B, S, H, W)."""

VIEWS = ((1.0,), (0.8,), (0.8, 1.25))
"""IIR's three views of a query: as it is, at 0.8, and at 0.8 enlarged again. Source: systems.md 5.7."""


@torch.no_grad()
def predict_multiscale(
    model: Episode, query: Tensor, supports: Tensor, masks: Tensor, views: tuple[tuple[float, ...], ...] = VIEWS
) -> Tensor:
    """Give foreground probabilities, float (B, H, W) in 0..1: the mean over views of the query.

    The supports stay as they are: whether IIR scales them too is not known.

    Args:
        model: any FSS model in evaluation mode.
        query: float (B, 3, H, W) in 0..1.
        supports: float (B, S, 3, H, W) in 0..1.
        masks: (B, S, H, W).
        views: each a chain of factors by which the query is resized.
    """
    size = query.shape[-2:]
    total = query.new_zeros(len(query), *size)
    for view in views:
        seen = query
        for i in range(len(view)):
            factor = math.prod(view[: i + 1])
            seen = resize(seen, (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))))
        total += resize(model(seen, supports, masks)[:, None].float(), size)[:, 0].sigmoid()
    return total / len(views)
