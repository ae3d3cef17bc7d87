"""Sym-Net's prototypes: of the query's own regions, aligned with text, and the triplet loss that parts them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.layers import masked_average


class Thresholds(BaseModel):
    """Where a prior speaks of the thing, of the rest and of neither (systems.md 6.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thing: float = Field(0.7, ge=0, le=1, description="the thing is above")
    doubt: tuple[float, float] = Field((0.4, 0.55), description="what is in doubt lies between")
    rest: float = Field(0.4, ge=0, le=1, description="the rest is below")
    least: int = Field(12, ge=1, description="cells that stand for a region without any")


class Regions(NamedTuple):
    """Prototypes (B, d) of the query's regions: the thing, what is in doubt ("hard foreground"), the rest."""

    thing: Tensor
    doubt: Tensor
    rest: Tensor


def region_prototypes(f: Tensor, prior: Tensor, at: Thresholds) -> Regions:
    """Average features over the regions of a prior.

    A region without a cell is stood for by the cells of the highest prior (the thing), around the median rank (in
    doubt), of the lowest (the rest).

    Args:
        f: (B, d, h, w).
        prior: (B, h, w) in 0..1.
        at: the thresholds.
    """
    rank = prior.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(1).unflatten(1, prior.shape[1:])
    cells = rank[0].numel()
    least = min(at.least, cells)
    start = max(0, cells // 2 - least // 2)
    low, high = at.doubt
    found = (
        (prior > at.thing, rank < least),
        ((prior > low) & (prior < high), (rank >= start) & (rank < start + least)),
        (prior < at.rest, rank >= cells - least),
    )
    return Regions(*(
        masked_average(f, torch.where(region.flatten(1).any(1)[:, None, None], region, instead))
        for region, instead in found
    ))  # fmt: skip


class PrototypeAlignment(nn.Module):
    """APA: a prototype and the class's text vector look at a map together, and the prototype takes up what they find.

    Source: Sym-Net (systems.md 6.4): q = W_q [t; p], k = conv(Z), a = softmax(q B k^T), out = Drop(W_o (a k)) + p. The
    same object serves supports and queries.

    Args:
        text: length of the text vectors, 0 for none.
        dim: width d.
        dropout: of what is taken up.
    """

    def __init__(self, text: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(text + dim, dim, bias=False)
        self.key = nn.Conv2d(dim, dim, 1, bias=False)
        self.bilinear = nn.Parameter(torch.empty(dim, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, text: Tensor, prototype: Tensor, features: Tensor) -> Tensor:
        """Give prototypes (B, d) from text (B, D), prototypes (B, d) and maps (B, d, h, w)."""
        q = self.query(torch.cat([text, prototype], 1))
        k = self.key(features).flatten(2)
        attention = ((q @ self.bilinear)[:, None] @ k).softmax(2)
        return self.drop(self.out((k @ attention.transpose(1, 2))[..., 0])) + prototype


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance (B,) of vectors (B, d), each brought to unit length."""
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).norm(dim=1)


def support_triplet(
    anchor: Tensor, f: Tensor, thing: Tensor, rest: Tensor, margin: float, weight: Tensor | None = None
) -> Tensor:
    """Hinge loss: the farthest cell on the class is to be nearer to the prototype than the mean of the rest.

    Source: Sym-Net (systems.md 6.7); mean over the supports that show both.

    Args:
        anchor: prototypes (B, d).
        f: features (B, d, h, w).
        thing: cells on the class, bool (B, h, w).
        rest: cells known to be beside it, bool (B, h, w).
        margin: of the hinge.
        weight: of each support, (B,); all count the same unless given.
    """
    cells = F.normalize(f, dim=1)
    both = thing.flatten(1).any(1) & rest.flatten(1).any(1)
    # squared, since the root has no gradient at 0
    apart = (F.normalize(anchor, dim=1)[..., None, None] - cells).square().sum(1)
    hardest = apart.masked_fill(~thing, 0).flatten(1).amax(1).clamp(min=1e-12).sqrt()
    negative = distance(anchor, masked_average(cells, rest))
    return _hinge(hardest, negative, margin, both if weight is None else both * weight)


def query_triplet(anchor: Tensor, regions: Regions, margin: float, weight: Tensor | None = None) -> Tensor:
    """Hinge loss: what is in doubt is to be nearer to the prototype (B, d) than the rest, queries weighed by (B,).

    Source: Sym-Net (systems.md 6.7).
    """
    counts = anchor.new_ones(len(anchor)) if weight is None else weight
    return _hinge(distance(anchor, regions.doubt), distance(anchor, regions.rest), margin, counts)


def _hinge(positive: Tensor, negative: Tensor, margin: float, counts: Tensor) -> Tensor:
    loss = (margin + positive - negative).clamp(min=0) * counts
    return loss.sum() / counts.sum().clamp(min=1e-7)
