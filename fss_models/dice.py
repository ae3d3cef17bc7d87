"""The Dice loss of CyCTR and RiFeNet over the channels background and foreground."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-8


def dice(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Give the sum over the channels of D(s, t) = 1 - 2 sum(s t) / (sum s^2 + sum t^2), s = sigmoid of each channel.

    Source: systems.md 7.5. A channel that is empty in both has a loss of 1.

    Args:
        logits: (B, 2, H, W) of background and foreground.
        target: soft (B, 2, H, W) in 0..1.
        weight: of each item of the batch, (B,); all count the same unless given.

    Returns:
        Mean over the batch, (), in 0..2; 0 where nothing counts.
    """
    s, t = logits.float().sigmoid().flatten(2), target.float().flatten(2)
    overlap, size = (s * t).sum(2), s.square().sum(2) + t.square().sum(2)
    each = (1 - 2 * overlap / size.clamp(min=LEAST)).sum(1)
    return each.mean() if weight is None else (each * weight).sum() / weight.sum().clamp(min=LEAST)


def two_channels(labels: Tensor) -> Tensor:
    """Give the targets (B, 2, H, W) of labels (B, H, W) with 0, 1 and 255; what is 255 is in neither channel."""
    return torch.stack([labels == 0, labels == 1], 1).float()
