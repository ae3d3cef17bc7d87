"""IIR: inter- and intra-image refinement for few-shot segmentation.

Source: IIR, and its first version I2R. A CAM splits the support object into a core and a local part; each part is
matched with the like part of the query (inter-image); attention blocks with directional dropout carry the rest
(intra-image). Differences: features are standardised before the projections, one foreground logit instead of two
channels (the same softmax), width and depth are settings.

Letters beside the usual: P pairs of a query and a class, S shots, T = h * w tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.cam import best_threshold, split_regions
from fss_models.layers import (
    cosine_map,
    gram_distance,
    masked_average,
    region_min_max,
    resize,
    resize_labels,
)

MATCH = 6.0
"""Weight of each plain similarity in the logit at the start of training."""


class Seen(NamedTuple):
    """What the backbone says about pictures: f2 (P, C2, h, w), f3 (P, C3, h, w), f4 (P, C4, h, w), cam.

    For supports the leading dimension is P * S, f4 is of the masked picture and cam (P * S, h, w). For queries cam is
    (P, S, h, w): one map for the class c* of each shot.
    """

    f2: Tensor
    f3: Tensor
    f4: Tensor
    cam: Tensor


@dataclass
class SupportCode:
    """Everything that the decoder needs to know of the supports of P classes; computed once, used for any query.

    Attributes:
        f2: (P, S, C2, h, w), for the weights of the shots.
        core, local: high-level prototypes (P, S, C4).
        whole_mid_level, whole_high_level: prototypes of the whole mask in standardised f2 and f3 (P, S, C2 + C3) and
            in standardised f4 (P, S, C4), for the plain similarities.
        whole_mid, core_mid, local_mid: mid-level prototypes (P, S, d).
        threshold: tau (P, S).
        masks: bool (P, S, T) at token size.
        tokens: the support stream after each self-attention that the query attends to, (P, S, blocks - 1, T, d).
        logits: the support head's own foreground logits (P, S, h, w).
        aux: those of the auxiliary heads (P, S, blocks - 1, h, w).
    """

    f2: Tensor
    core: Tensor
    local: Tensor
    whole_mid_level: Tensor
    whole_high_level: Tensor
    whole_mid: Tensor
    core_mid: Tensor
    local_mid: Tensor
    threshold: Tensor
    masks: Tensor
    tokens: Tensor
    logits: Tensor
    aux: Tensor

    def take(self, index: Tensor) -> SupportCode:
        """Give the code of some of the classes, or of some several times; index (P',) of int."""
        return SupportCode(*(getattr(self, f.name)[index] for f in fields(self)))


class Decoded(NamedTuple):
    """Foreground logits (P, h, w), those of the auxiliary heads (P, blocks - 1, h, w), prior, masked share."""

    logits: Tensor
    aux: Tensor
    prior: Tensor
    masked: Tensor


class IIR(nn.Module):
    """The decoder.

    Args:
        mid: channels of f2 and f3 together.
        high: channels of f4.
        shots: K, for the calibration of the shots' weights.
        dim: width d.
        blocks: self-attention blocks; one fewer cross-attention blocks.
        dropout: rate inside the blocks.
        feature_dropout: rate of whole channels after the projection.
        train_projection: false keeps the first projections as drawn, as the published code does.
    """

    def __init__(
        self, mid: int, high: int, *, shots: int = 1, dim: int = 64, blocks: int = 4, dropout: float = 0.1,
        feature_dropout: float = 0.5, train_projection: bool = True,
    ) -> None:
        super().__init__()
        self.shots, self.train_projection = shots, train_projection
        self.standardise = nn.BatchNorm2d(mid, affine=False)
        self.standardise_high = nn.BatchNorm2d(high, affine=False)
        self.project_query = nn.Sequential(nn.Conv2d(mid, dim, 1, bias=False), nn.ReLU(), nn.Dropout2d(feature_dropout))
        self.project_support = nn.Sequential(
            nn.Conv2d(mid, dim, 1, bias=False), nn.ReLU(), nn.Dropout2d(feature_dropout)
        )
        self.merge = nn.Sequential(nn.Conv2d(3 * dim + 3, dim, 1, bias=False), nn.ReLU())
        self.self_query = nn.ModuleList(SelfAttention(dim, dropout) for _ in range(blocks))
        self.self_support = nn.ModuleList(SelfAttention(dim, dropout) for _ in range(blocks))
        self.cross = nn.ModuleList(CrossAttention(dim, dropout) for _ in range(blocks - 1))
        self.residual = nn.ModuleList(_refine(dim, dim) for _ in range(blocks))
        self.aux_query = nn.ModuleList(_aux(dim) for _ in range(blocks - 1))
        self.aux_support = nn.ModuleList(_aux(dim) for _ in range(blocks - 1))
        self.head_query, self.head_support = _refine(dim, 1), _refine(dim, 1)
        self.match = nn.Conv2d(2, 1, 1)
        nn.init.constant_(self.match.weight, MATCH)
        nn.init.constant_(self.match.bias, -MATCH)
        self.mix_shots = nn.ModuleList([nn.Linear(shots, 2, bias=False), nn.Linear(2, shots, bias=False)])

    def forward(self, query: Seen, support: Seen, masks: Tensor, query_masks: Tensor | None = None) -> Tensor:
        """Give foreground logits (P, h, w) of queries from supports; masks are bool (P, S, H, W)."""
        return self.decode(query, self.encode_supports(support, masks), query_masks).logits

    def encode_supports(self, support: Seen, masks: Tensor) -> SupportCode:
        """Turn supports into what the decoder needs.

        Args:
            support: levels of the P * S supports, see `Seen`.
            masks: bool (P, S, H, W), True on the class.
        """
        pairs, shots = masks.shape[:2]
        flat = masks.flatten(0, 1)
        size = support.f2.shape[-2:]
        # 1. Adaptive threshold, core and local parts.
        threshold = best_threshold(support.cam, flat)
        active = support.cam > threshold[:, None, None]
        core, local = split_regions(active, flat)
        # 2. High-level prototypes from the masked f4, then the support's own prior.
        p_core = F.normalize(masked_average(support.f4, core), dim=1)
        p_local = F.normalize(masked_average(support.f4, local), dim=1)
        prior = prior_map(support.f4, active, p_core, p_local)
        # 3. Mid-level prototypes and the decoder's input.
        mid = self._mid(support)
        f = self.project_support(mid)
        soft = resize(flat[:, None].float(), size)[:, 0]
        whole = masked_average(f, soft)
        core_mid, local_mid = masked_average(f, core), masked_average(f, local)
        # standardised with what the queries have shown so far: masked pictures have statistics of their own
        scale = self.standardise_high
        high = (support.f4 - _as_cells(scale.running_mean)) / _as_cells(scale.running_var + scale.eps).sqrt()
        plain = masked_average(mid, soft), masked_average(high, soft)
        alike = similarities(mid, high, *plain)
        x = self._merged(f, whole, local_map(core_mid, local_mid, active.float()), prior, alike)
        # 4. The support stream does not depend on the query: run it once.
        tokens, aux = [], []
        for i, block in enumerate(self.self_support):
            x = block(x)
            if i < len(self.cross):
                tokens.append(x)
                aux.append(self.aux_support[i](_as_map(x, size))[:, 0])
        logits = (self.head_support(_as_map(x, size)) + self.match(alike))[:, 0]

        def split(y: Tensor) -> Tensor:
            return y.unflatten(0, (pairs, shots))

        return SupportCode(
            split(support.f2), split(p_core), split(p_local), split(plain[0]), split(plain[1]), split(whole),
            split(core_mid), split(local_mid), split(threshold),
            split(resize_labels(flat, size).flatten(1)), split(torch.stack(tokens, 1)),
            split(logits), split(torch.stack(aux, 1)),
        )

    def decode(self, query: Seen, code: SupportCode, query_masks: Tensor | None = None) -> Decoded:
        """Decode P pairs.

        Args:
            query: levels of the P queries, see `Seen`.
            code: the supports of P classes.
            query_masks: labels of the queries in training, uint8 (P, H, W) with 0, 1 and 255; they steer the
                directional dropout, which is off without them and in evaluation mode.
        """
        size = query.f2.shape[-2:]
        weights = self.shot_weights(query.f2, code.f2)
        # 1. Prior and local map of each shot, weighted.
        active = query.cam > code.threshold[..., None, None]
        shots = range(code.threshold.shape[1])
        priors = torch.stack([prior_map(query.f4, active[:, s], code.core[:, s], code.local[:, s]) for s in shots], 1)
        prior = torch.einsum("ps,pshw->phw", weights, priors).clamp(0, 1)
        whole = torch.einsum("ps,psd->pd", weights, code.whole_mid)
        maps = [local_map(code.core_mid[:, s], code.local_mid[:, s], active[:, s].float()) for s in shots]
        local = torch.einsum("ps,psdhw->pdhw", weights, torch.stack(maps, 1))
        mid = self._mid(query)
        high = self.standardise_high(query.f4)
        alike = [
            similarities(mid, high, code.whole_mid_level[:, s], code.whole_high_level[:, s]) for s in shots
        ]
        alike = torch.einsum("ps,pschw->pchw", weights, torch.stack(alike, 1))
        x = self._merged(self.project_query(mid), whole, local, prior, alike)
        # 2. Blocks: self-attention, cross-attention to each shot, residual convolutions.
        labels = None
        if self.training and query_masks is not None:
            labels = resize_labels(query_masks, size).flatten(1)
        aux, masked = [], []
        for i, block in enumerate(self.self_query):
            x = block(x)
            if i < len(self.cross):
                outputs = []
                for s in shots:
                    out, share = self.cross[i](x, code.tokens[:, s, i], code.masks[:, s], labels)
                    outputs.append(out)
                    masked.append(share)
                x = torch.stack(outputs).mean(0)
                aux.append(self.aux_query[i](_as_map(x, size))[:, 0])
            x = x + _as_tokens(self.residual[i](_as_map(x, size)))
        logits = (self.head_query(_as_map(x, size)) + self.match(alike))[:, 0]
        return Decoded(logits, torch.stack(aux, 1), prior, torch.stack(masked).mean())

    def shot_weights(self, query: Tensor, support: Tensor) -> Tensor:
        """Weights (P, S) of the shots, summing to one, from query f2 (P, C, h, w) and support f2 (P, S, C, h, w).

        Source: BAM: Gram distances, sorted, through two small linear maps, unsorted, softmax.
        """
        pairs, shots = support.shape[:2]
        if shots == 1:
            return torch.ones(pairs, 1, device=query.device)
        distance = torch.stack([gram_distance(query, support[:, s]) for s in range(shots)], 1)
        if shots != self.shots:  # calibrated for another number of shots
            return F.softmax(-distance, dim=1)
        ordered, order = distance.sort(1)
        scores = self.mix_shots[1](self.mix_shots[0](ordered).relu())
        return F.softmax(scores.gather(1, order.argsort(1)), dim=1)

    def _mid(self, seen: Seen) -> Tensor:
        return self.standardise(torch.cat([resize(seen.f3, seen.f2.shape[-2:]), seen.f2], 1))

    def _merged(self, f: Tensor, whole: Tensor, local: Tensor, prior: Tensor, alike: Tensor) -> Tensor:
        """Give z = ReLU conv([f; p_g; R; P; similarities]) as tokens."""
        joined = torch.cat([f, whole[..., None, None].expand_as(f), local, prior[:, None], alike], 1)
        return _as_tokens(self.merge(joined if self.train_projection else joined.detach()))


def prior_map(f4: Tensor, active: Tensor, core: Tensor, local: Tensor) -> Tensor:
    """Match like with like: CAM-active cells with the core prototype, the others with the local one.

    Source: IIR, P = N_C(cos(F4 C, p_core)) + N_{1-C}(cos(F4 (1 - C), p_local)), N = min-max inside a region.

    Args:
        f4: (B, C4, h, w).
        active: bool (B, h, w).
        core: (B, C4).
        local: (B, C4).

    Returns:
        (B, h, w) in 0..1.
    """
    active = resize_labels(active, f4.shape[-2:])
    return region_min_max(cosine_map(f4, core), active) + region_min_max(cosine_map(f4, local), ~active)


def similarities(mid: Tensor, f4: Tensor, p_mid: Tensor, p_high: Tensor) -> Tensor:
    """Give the cosines (B, 2, h, w) with the prototypes of the whole mask, at the middle levels and at the top.

    The prior is stretched to 0..1 in every picture, so it cannot say that the class is absent. In GFSS it mostly is,
    and these cosines can. They also go straight into the logit: the blocks alone first learn what a thing is, and only
    much later whether it is one of the class.
    """
    return torch.stack([cosine_map(mid, p_mid), cosine_map(resize(f4, mid.shape[-2:]), p_high)], 1)


def local_map(core: Tensor, local: Tensor, active: Tensor) -> Tensor:
    """Give R = p_core C + p_local (1 - C), (B, d, h, w), from prototypes (B, d) and active cells (B, h, w) in 0..1."""
    active = active[:, None]
    return core[..., None, None] * active + local[..., None, None] * (1 - active)


def directional_mask(logits: Tensor, support: Tensor, query: Tensor) -> Tensor:
    """Find the attention entries to drop: each support position's best query position, where their labels conflict.

    Source: IIR, directional dropout, with the intended index: D[i*(j), j] = -inf, i*(j) = argmax_i L[i, j].

    Args:
        logits: attention logits (B, T query, T support).
        support: bool (B, T).
        query: (B, T) with 0, 1 and 255; unlabelled positions conflict with nothing.

    Returns:
        bool (B, T query, T support), at most one True in a column.
    """
    best = logits.argmax(1)
    label = query.gather(1, best)
    conflict = (label != 255) & ((label == 1) != support)
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, best[:, None], conflict[:, None])


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
    """Query tokens (B, T, d) gather from support tokens (B, T, d), with directional dropout in training."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
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
            dropped = directional_mask(logits.detach(), masks, labels)
            # a finite value, so that a query whose every entry is dropped still has a distribution
            mixed = logits.masked_fill(dropped, torch.finfo(logits.dtype).min).softmax(-1) @ value
            share = dropped.any(1).float().mean()
        out = self.norms[0](mixed) + q
        return out + self.norms[1](self.network(out)), share


def _refine(dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, dim, 3, padding=1),
        nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, out, 1),
    )


def _aux(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, 1, 1))


def _as_cells(x: Tensor) -> Tensor:
    return x[None, :, None, None]


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _as_map(x: Tensor, size: torch.Size) -> Tensor:
    return x.transpose(1, 2).unflatten(2, tuple(size))
