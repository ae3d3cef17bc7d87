"""Attention of IIR's decoder: self-attention, and cross-attention with directional dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.classes import IGNORE


def directional_mask(logits: Tensor, support: Tensor, query: Tensor, *, transposed: bool = False) -> Tensor:
    """Find the attention entries to drop: each support position's best query position, where their labels conflict.

    Source: IIR, directional dropout, with the intended index: D[i*(j), j] = -inf, i*(j) = argmax_i L[i, j].

    Args:
        logits: attention logits (B, T query, T support).
        support: bool (B, T).
        query: (B, T) with 0, 1 and 255; unlabelled positions conflict with nothing.
        transposed: what the published code drops instead: [j, i*(j)], and (0, 0) always.

    Returns:
        bool (B, T query, T support), at most one True in a column (in a row, where transposed).
    """
    best = logits.argmax(1)
    label = query.gather(1, best)
    conflict = (label != IGNORE) & ((label == 1) != support)
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, best[:, None], conflict[:, None])
    if transposed:
        mask = mask.transpose(1, 2).clone()
        mask[:, 0, 0] = True
    return mask


class SelfAttention(nn.Module):
    """Single-head self-attention with a two-layer network, normalised after each; tokens (B, T, d)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.drop = nn.Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.network = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Attend and transform."""
        mixed = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        x = self.norms[0](x + self.drop(mixed))
        return self.norms[1](x + self.network(x))


class CrossAttention(nn.Module):
    """Query tokens (B, T, d) gather from support tokens (B, T, d), with directional dropout in training.

    Args:
        dim: width d.
        dropout: rate inside the two-layer network.
        transposed: see `directional_mask`.
    """

    def __init__(self, dim: int, dropout: float, *, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.network = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim), nn.Dropout(dropout)
        )

    def forward(self, q: Tensor, s: Tensor, masks: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give the new query tokens and the share of support positions that lost an entry.

        Args:
            q: query tokens.
            s: support tokens.
            masks: support labels, bool (B, T).
            labels: query labels (B, T) with 0, 1 and 255, or None for no dropout.
        """
        key, value = self.key(s), self.value(s)
        if labels is None:
            mixed, share = F.scaled_dot_product_attention(self.query(q), key, value), q.new_zeros(())
        else:
            logits = self.query(q) @ key.transpose(1, 2) / key.shape[-1] ** 0.5
            dropped = directional_mask(logits.detach(), masks, labels, transposed=self.transposed)
            # a finite value, so that a query whose every entry is dropped still has a distribution
            mixed = logits.masked_fill(dropped, torch.finfo(logits.dtype).min).softmax(-1) @ value
            share = dropped.any(1).float().mean()
        out = self.norms[0](mixed) + q
        return out + self.norms[1](self.network(out)), share


def refine(dim: int, out: int) -> nn.Sequential:
    """Build two normalised convolutions, 3x3 and 1x1: a residual block or a head."""
    return nn.Sequential(
        nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, dim, 3, padding=1),
        nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, out, 1),
    )  # fmt: skip


def auxiliary_head(dim: int) -> nn.Sequential:
    """Build the head of one foreground logit that reads the tokens of a block."""
    return nn.Sequential(nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, 1, 1))


def as_tokens(x: Tensor) -> Tensor:
    """Turn maps (B, d, h, w) into tokens (B, T, d)."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, size: torch.Size) -> Tensor:
    """Turn tokens (B, T, d) into maps (B, d, h, w) of a size."""
    return x.transpose(1, 2).unflatten(2, tuple(size))
