"""The cycle-consistent transformer: the query gathers from sampled support tokens that agree with the support's mask.

Source: CyCTR (arXiv 2106.02320) as RiFeNet uses it (systems.md 7.4). Letters: T tokens of a picture, S shots, N sampled
tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fss_models.attention import as_map, as_tokens
from fss_models.deformable import DeformableAttention, sine_positions
from fss_models.randomness import seed_of
from pipeline.classes import IGNORE

AVERSION = -1e4
"""Added to the attention to a token that is not to be seen: finite, so that where all are such there is still a sum."""

FEWEST, MOST, MOST_OF_SEVERAL = 0.6, 4.0, 1.4
"""In training the number of sampled tokens is multiplied by a draw from the first to the second; the third of several
shots."""


def choose_tokens(labels: Tensor, each: int, ranks: Tensor) -> Tensor:
    """Choose tokens of supports: ``each`` of the thing and as many of the rest, a shortage filled from the other kind.

    Args:
        labels: (B, T) with 0, 1 and 255; the last ones are chosen only where there is nothing else left.
        each: how many of a kind.
        ranks: float (B, T), in whose order tokens of a kind are taken.

    Returns:
        Places (B, min(T, 2 each)), each at most once.
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for kind, other in ((1, 0), (0, 1)):
        of_kind = labels == kind
        order = ranks.masked_fill(~of_kind, torch.inf).argsort(dim=1, stable=True).argsort(1)
        short = (each - (labels == other).sum(1, keepdim=True)).clamp(min=0)
        chosen |= of_kind & (order < each + short)
    wanted = min(labels.shape[1], 2 * each)
    return chosen.int().argsort(dim=1, descending=True, stable=True)[:, :wanted]


def inconsistent(logits: Tensor, labels: Tensor) -> Tensor:
    """Find support tokens whose way to the query and back ends on another label.

    Token j goes to the query cell that it matches best, that to the support token that it matches best, j*.
    Source: CyCTR, cycle-consistent attention.

    Args:
        logits: attention (B, heads, T query, N).
        labels: of the support tokens (B, N).

    Returns:
        bool (B, heads, N), True where the labels of j and j* differ.
    """
    back = logits.argmax(3).gather(2, logits.argmax(2))
    labels = labels[:, None].expand_as(back)
    return labels.gather(2, back) != labels


class CycleAttention(nn.Module):
    """Query tokens gather from those support tokens whose cycle is consistent, head by head.

    Args:
        dim: width d.
        heads: of d / heads channels each.
        dropout: of the attention and of the outcome.
        forgive: chance in training that an inconsistent token is let through.
    """

    def __init__(self, dim: int, heads: int, dropout: float, forgive: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.drop, self.drop_out, self.forgive = nn.Dropout(dropout), nn.Dropout(dropout), nn.Dropout(forgive)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        """Give the gathered tokens (B, T, d).

        Args:
            x: query tokens (B, T, d).
            tokens: of the supports (B, N, d).
            labels: of the supports (B, N) with 0, 1 and 255, which is not to be seen.
        """
        q, k, v = (
            linear(t).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear, t in ((self.query, x), (self.key, tokens), (self.value, tokens))
        )
        unknown = (labels == IGNORE)[:, None, None]
        logits = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(unknown, AVERSION)
        averse = self.forgive(inconsistent(logits.detach(), labels).to(logits.dtype)) > 0
        logits = logits + AVERSION * averse[:, :, None]
        mixed = self.drop(logits.softmax(-1)) @ v
        return self.drop_out(self.out(mixed.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """x + two linear maps without bias, three times as wide between them."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        first, last = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(3 * dim, dim, bias=False)
        for linear in (first, last):
            nn.init.xavier_uniform_(linear.weight)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), last, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Transform and add."""
        return x + self.layers(x)


class CycleLayer(nn.Module):
    """Deformable self-attention and cycle-consistent cross-attention, each followed by a network, all normalised."""

    def __init__(self, dim: int, heads: int, points: int, dropout: float) -> None:
        super().__init__()
        self.own, self.drop = DeformableAttention(dim, heads, points), nn.Dropout(dropout)
        self.cross = CycleAttention(dim, heads, dropout)
        self.networks = nn.ModuleList(FeedForward(dim, dropout) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(self, x: Tensor, positions: Tensor, size: torch.Size, tokens: Tensor, labels: Tensor) -> Tensor:
        """Transform query tokens (B, T, d); see `CycleAttention` for the supports."""
        x = self.norms[0](x + self.drop(self.own(x + positions, x, size)))
        x = self.norms[1](self.networks[0](x))
        x = self.norms[2](x + self.cross(x, tokens, labels))
        return self.norms[3](self.networks[1](x))


class CycleTransformer(nn.Module):
    """Layers of `CycleLayer`, with the support tokens sampled.

    In training every layer draws tokens of its own; the draws have a generator whose seed torch gives, and so belong to
    the step as dropout does. In evaluation the order of the cells is the same for all pictures.

    Args:
        dim: width d, a multiple of 4 and of heads.
        layers: how many.
        heads: of both kinds of attention.
        points: of the deformable attention.
        tokens: sampled a shot of the thing, and as many of the rest.
        dropout: rate.
    """

    def __init__(self, dim: int, layers: int, heads: int, points: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.each = tokens
        self.layers = nn.ModuleList(CycleLayer(dim, heads, points, dropout) for _ in range(layers))
        self.level = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_uniform_(self.level)

    def forward(self, x: Tensor, supports: Tensor, labels: Tensor) -> Tensor:
        """Give the query's maps (B, d, h, w) with what they gathered.

        Args:
            x: the query's maps (B, d, h, w).
            supports: tokens (B, S, T, d).
            labels: of the tokens (B, S, T) with 0, 1 and 255.
        """
        size = x.shape[-2:]
        positions = sine_positions(x.shape[1], *size, x.device) + self.level
        x = as_tokens(x)
        for i, layer in enumerate(self.layers):
            if self.training or i == 0:
                sampled = self._sampled(supports, labels)
            x = layer(x, positions, size, *sampled)
        return as_map(x, size)

    def _sampled(self, supports: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give sampled tokens (B, N, d) and their labels (B, N), shot after shot."""
        (batch, shots, count), each = labels.shape, self.each
        if self.training:
            own = torch.Generator().manual_seed(int(torch.randint(1 << 62, ())))
            low, high = FEWEST, MOST if shots == 1 else MOST_OF_SEVERAL
            each = max(1, int(each * (low + (high - low) * float(torch.rand((), generator=own)))))
            ranks = torch.rand(batch * shots, count, generator=own)
        else:
            own = torch.Generator().manual_seed(seed_of("support tokens"))
            ranks = torch.rand(count, generator=own).expand(batch * shots, count)
        places = choose_tokens(labels.flatten(0, 1), each, ranks.to(labels.device))
        found = supports.flatten(0, 1).gather(1, places[..., None].expand(-1, -1, supports.shape[-1]))
        kinds = labels.flatten(0, 1).gather(1, places)
        return found.unflatten(0, (batch, shots)).flatten(1, 2), kinds.unflatten(0, (batch, shots)).flatten(1, 2)
