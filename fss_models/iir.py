"""IIR: inter- and intra-image refinement for few-shot segmentation, and its first version, I2R.

Source: IIR (arXiv 2507.05838 v2), I2R (v1). A CAM splits the support object into a core and a local part; each part is
matched with the like part of the query (inter-image); attention blocks with directional dropout carry the rest
(intra-image). One foreground logit stands for two channels: their softmax is the sigmoid of their difference.

**I2R**, ``PRESETS["i2r"]``, has the same blocks and the same directional dropout, there called directional masking. It
does not split the object: one representation of the class, made from support and query together, is matched with the
whole query (`priors.category_prior`), and the decoder's input has no map of local prototypes. How it makes that
representation is ours, see docs/i2r.md.

Letters beside the usual: P pairs of a query and a class, S shots, T = h * w tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.attention import CrossAttention, SelfAttention, as_map, as_tokens, auxiliary_head, refine
from fss_models.cam import best_threshold, split_regions
from fss_models.ensemble import Ensemble, ShotWeights
from fss_models.layers import gram_distances, masked_average, resize, resize_labels
from fss_models.priors import category_prior, contrast, contrast_prototypes, local_map, prior_map, similarities
from fss_models.seen import Seen
from pipeline.classes import IGNORE
from pipeline.errors import InputError

MATCH = 6.0
"""Weight of each plain similarity in the logit at the start of training."""

CONTRAST = 20.0
"""Weight of the contrast in the logit at the start of training: PANet's temperature, as in `fss.Matching`."""


class Compat(BaseModel):
    """What the authors' published code does otherwise than it means to (systems.md 5.8); all off by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transposed_dropout: bool = Field(False, description="directional dropout at [j, i*(j)], and at (0, 0) always")
    detached_input: bool = Field(False, description="the first projections stay as drawn: no gradient reaches them")
    ignore_as_background: bool = Field(False, description="query pixels of label 255 count as background in training")
    last_shot_region: bool = Field(False, description="the query's local map takes the last shot's active cells")


class IIRConfig(BaseModel):
    """The decoder's settings; the defaults are IIR's own (systems.md 5.2 to 5.5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: int = Field(1, ge=1, description="supports a class that the shots' weights are calibrated for (K)")
    dim: int = Field(256, ge=8, multiple_of=8, description="width d")
    blocks: int = Field(6, ge=2, description="self-attention blocks; one fewer cross-attention blocks")
    dropout: float = Field(0.1, ge=0, lt=1, description="rate inside the blocks")
    feature_dropout: float = Field(0.5, ge=0, lt=1, description="rate of whole channels after the projection")
    prototypes: Literal["core_local", "core", "category"] = Field(
        "core_local", description="core_local: IIR; core: without the local prototype; category: I2R"
    )
    directional_dropout: bool = Field(True, description="drop support-query pairs of conflicting labels in training")
    standardise: bool = Field(False, description="ours: features standardised channel by channel before all else")
    similarities: bool = Field(False, description="ours: plain cosines in the decoder's input and in its logit")
    contrast: bool = Field(False, description="ours: what prototype matching says, likewise in input and logit")
    base: int = Field(0, ge=0, description="base classes of the ensemble's base learner; 0: no ensemble")
    base_dim: int = Field(512, ge=8, description="channels of the base learner's penultimate features")
    compat: Compat = Compat()


PRESETS = {"iir": IIRConfig(), "i2r": IIRConfig(prototypes="category")}
"""Name of a model -> its settings to the letter."""

PUBLISHED = IIRConfig(
    compat=Compat(transposed_dropout=True, detached_input=True, ignore_as_background=True, last_shot_region=True)
)
"""IIR as the authors' published code runs it."""


def preset(name: str) -> IIRConfig:
    """Give the settings of a named model.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"unknown decoder {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass
class SupportCode:
    """Everything that the decoder needs to know of the supports of P classes; computed once, used for any query.

    Attributes:
        f2: (P, S, C2, h2, w2), for the weights of the shots.
        core, local: high-level prototypes (P, S, C4); with ``prototypes: category`` core is that of the whole mask.
        whole_mid, core_mid, local_mid: mid-level prototypes (P, S, d).
        threshold: tau (P, S).
        masks: bool (P, S, T) at token size.
        tokens: the support stream after each self-attention that the query attends to, (P, S, blocks - 1, T, d).
        logits: the support head's own foreground logits (P, S, h, w).
        aux: those of the auxiliary heads (P, S, blocks - 1, h, w).
        whole_mid_level, whole_high_level: for the plain similarities, prototypes of the whole mask in f2 and f3
            (P, S, C2 + C3) and in f4 (P, S, C4); else None.
        thing, rest: for the contrast, prototypes of the mask and of what is known to be beside it in f3 of unit length
            a cell, (P, S, C3); else None.
    """

    f2: Tensor
    core: Tensor
    local: Tensor
    whole_mid: Tensor
    core_mid: Tensor
    local_mid: Tensor
    threshold: Tensor
    masks: Tensor
    tokens: Tensor
    logits: Tensor
    aux: Tensor
    whole_mid_level: Tensor | None = None
    whole_high_level: Tensor | None = None
    thing: Tensor | None = None
    rest: Tensor | None = None

    def take(self, index: Tensor) -> SupportCode:
        """Give the code of some of the classes, or of some several times; index (P',) of int."""
        found = (getattr(self, f.name) for f in fields(self))
        return SupportCode(*(None if x is None else x[index] for x in found))


class Decoded(NamedTuple):
    """What the decoder says of P pairs.

    Foreground logits (P, h, w) of the query head, those of the auxiliary heads (P, blocks - 1, h, w), prior (P, h4, w4)
    in 0..1, masked share, and the final logits: after the ensemble where there is one, else the query head's own.
    """

    logits: Tensor
    aux: Tensor
    prior: Tensor
    masked: Tensor
    final: Tensor


class IIR(nn.Module):
    """The decoder of IIR and of I2R.

    Args:
        mid: channels of f2 and f3 together.
        high: channels of f4.
        config: the settings; by default those of IIR.
        changes: settings to change, by name.
    """

    def __init__(self, mid: int, high: int, config: IIRConfig | None = None, **changes: Any) -> None:
        super().__init__()
        c = self.config = IIRConfig(**{**(config or IIRConfig()).model_dump(), **changes})
        dim, drop = c.dim, c.feature_dropout
        if c.standardise:
            self.standardise = nn.BatchNorm2d(mid, affine=False)
            self.standardise_high = nn.BatchNorm2d(high, affine=False)
        self.project_query = nn.Sequential(nn.Conv2d(mid, dim, 1, bias=False), nn.ReLU(), nn.Dropout2d(drop))
        self.project_support = nn.Sequential(nn.Conv2d(mid, dim, 1, bias=False), nn.ReLU(), nn.Dropout2d(drop))
        maps, alike = 2 if c.prototypes == "category" else 3, 2 * c.similarities + c.contrast
        self.merge = nn.Sequential(nn.Conv2d(maps * dim + 1 + alike, dim, 1, bias=False), nn.ReLU())
        self.self_query = nn.ModuleList(SelfAttention(dim, c.dropout) for _ in range(c.blocks))
        self.self_support = nn.ModuleList(SelfAttention(dim, c.dropout) for _ in range(c.blocks))
        self.cross = nn.ModuleList(
            CrossAttention(dim, c.dropout, transposed=c.compat.transposed_dropout) for _ in range(c.blocks - 1)
        )
        self.residual = nn.ModuleList(refine(dim, dim) for _ in range(c.blocks))
        self.aux_query = nn.ModuleList(auxiliary_head(dim) for _ in range(c.blocks - 1))
        self.aux_support = nn.ModuleList(auxiliary_head(dim) for _ in range(c.blocks - 1))
        self.head_query, self.head_support = refine(dim, 1), refine(dim, 1)
        if alike:
            self.match = nn.Conv2d(alike, 1, 1)
            nn.init.constant_(self.match.weight, MATCH)
            nn.init.constant_(self.match.bias, -MATCH * c.similarities)
            if c.contrast:
                nn.init.constant_(self.match.weight[:, -1:], CONTRAST)
        self.mix_shots = ShotWeights(c.shots)
        if c.base:
            self.ensemble = Ensemble(high, c.base, c.base_dim)

    def forward(self, query: Seen, support: Seen, masks: Tensor, query_masks: Tensor | None = None) -> Tensor:
        """Give final foreground logits (P, h, w) of queries from supports; masks are bool (P, S, H, W)."""
        return self.decode(query, self.encode_supports(support, masks), query_masks).final

    def encode_supports(self, support: Seen, masks: Tensor, beside: Tensor | None = None) -> SupportCode:
        """Turn supports into what the decoder needs.

        Args:
            support: levels of the P * S supports, see `Seen`.
            masks: bool (P, S, H, W), True on the class.
            beside: bool (P, S, H, W), True where it is known not to be; the rest of the picture unless given.
        """
        pairs, shots = masks.shape[:2]
        flat = masks.flatten(0, 1)
        size, top = support.f3.shape[-2:], support.f4.shape[-2:]
        mid = self._mid(support)
        f = self.project_support(mid)
        whole = _soft(flat, size)
        whole_mid = masked_average(f, whole)
        if self.config.prototypes == "category":
            p_core = F.normalize(masked_average(support.f4, _soft(flat, top)), dim=1)
            p_local, core_mid, local_mid = torch.zeros_like(p_core), whole_mid, torch.zeros_like(whole_mid)
            threshold = p_core.new_zeros(len(flat))
            prior, local = category_prior(support.f4, support.cam, p_core), None
        else:
            # 1. Adaptive threshold, core and local parts.
            threshold = best_threshold(support.cam, flat)
            active = support.cam > threshold[:, None, None]
            core, rest = split_regions(active, flat)
            # 2. High-level prototypes from the masked f4, then the support's own prior; mid-level prototypes.
            p_core = F.normalize(masked_average(support.f4, _soft(core, top)), dim=1)
            p_local = F.normalize(masked_average(support.f4, _soft(rest, top)), dim=1)
            core_mid, local_mid = masked_average(f, _soft(core, size)), masked_average(f, _soft(rest, size))
            if self.config.prototypes == "core":
                p_local, local_mid = torch.zeros_like(p_local), torch.zeros_like(local_mid)
            prior = prior_map(support.f4, active, p_core, p_local)
            local = local_map(core_mid, local_mid, _soft(active, size))
        # 3. The decoder's input.
        plain: dict[str, Tensor] = {}
        alike = []
        if self.config.similarities:
            high = self._standardised_as_queries(support.f4)
            levels = masked_average(mid, whole), masked_average(high, _soft(flat, top))
            plain = {"whole_mid_level": levels[0], "whole_high_level": levels[1]}
            alike.append(similarities(mid, high, *levels))
        if self.config.contrast:
            around = ~flat if beside is None else beside.flatten(0, 1)
            plain["thing"], plain["rest"] = contrast_prototypes(support.f3, whole, _soft(around, size))
            alike.append(contrast(support.f3, plain["thing"], plain["rest"]))
        x = self._merged(f, whole_mid, local, prior, alike)
        # 4. The support stream does not depend on the query: run it once.
        tokens, aux = [], []
        for i, block in enumerate(self.self_support):
            x = block(x)
            if i < len(self.cross):
                tokens.append(x)
                aux.append(self.aux_support[i](as_map(x, size))[:, 0])
        logits = self._head(self.head_support, as_map(x, size), alike)
        found = (
            support.f2, p_core, p_local, whole_mid, core_mid, local_mid, threshold,
            resize_labels(flat, size).flatten(1), torch.stack(tokens, 1), logits, torch.stack(aux, 1),
        )  # fmt: skip
        return SupportCode(
            *(y.unflatten(0, (pairs, shots)) for y in found),
            **{name: y.unflatten(0, (pairs, shots)) for name, y in plain.items()},
        )

    def decode(
        self, query: Seen, code: SupportCode, query_masks: Tensor | None = None, classes: Tensor | None = None,
        top: Tensor | None = None,
    ) -> Decoded:
        """Decode P pairs.

        Args:
            query: levels of the P queries, see `Seen`.
            code: the supports of P classes.
            query_masks: labels of the queries in training, uint8 (P, H, W) with 0, 1 and 255; they steer the
                directional dropout, which is off without them and in evaluation mode.
            classes: base classes (P,), 1..B, of the pairs in training; they are hidden from the ensemble.
            top: f4 of the queries as the ensemble's base learner knows it, without dilation; ``query.f4`` unless given.
        """
        size = query.f3.shape[-2:]
        shots = range(code.threshold.shape[1])
        distance = gram_distances(query.f2, code.f2) if len(shots) > 1 or self.config.base else None
        weights = torch.ones_like(code.threshold) if len(shots) == 1 else self.mix_shots(distance)

        def average(each: list[Tensor]) -> Tensor:
            return torch.einsum("ps,ps...->p...", weights, torch.stack(each, 1))

        # 1. Prior, prototypes, local map and similarities of each shot, weighted.
        whole, local, alike = torch.einsum("ps,psd->pd", weights, code.whole_mid), None, []
        if self.config.prototypes == "category":
            priors = [category_prior(query.f4, query.cam[:, s], code.core[:, s]) for s in shots]
        else:
            active = query.cam > code.threshold[..., None, None]
            priors = [prior_map(query.f4, active[:, s], code.core[:, s], code.local[:, s]) for s in shots]
            cells = [_soft(active[:, shots[-1] if self.config.compat.last_shot_region else s], size) for s in shots]
            local = average([local_map(code.core_mid[:, s], code.local_mid[:, s], cells[s]) for s in shots])
        prior = average(priors).clamp(0, 1)
        mid = self._mid(query)
        if self.config.similarities:
            high = self.standardise_high(query.f4) if self.config.standardise else query.f4
            alike.append(average([
                similarities(mid, high, code.whole_mid_level[:, s], code.whole_high_level[:, s]) for s in shots
            ]))  # fmt: skip
        if self.config.contrast:
            alike.append(contrast(query.f3, code.thing.mean(1), code.rest.mean(1)))
        x = self._merged(self.project_query(mid), whole, local, prior, alike)
        # 2. Blocks: self-attention, cross-attention to each shot, residual convolutions.
        labels = self._labels(query_masks, size)
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
                aux.append(self.aux_query[i](as_map(x, size))[:, 0])
            x = x + as_tokens(self.residual[i](as_map(x, size)))
        logits = self._head(self.head_query, as_map(x, size), alike)
        final = logits
        if self.config.base:
            hidden = classes if self.training else None
            final = self.ensemble(logits, query.f4 if top is None else top, (weights * distance).sum(1), hidden)
        return Decoded(logits, torch.stack(aux, 1), prior, torch.stack(masked).mean(), final)

    def shot_weights(self, query: Tensor, support: Tensor) -> Tensor:
        """Weights (P, S) of the shots, summing to one, from query f2 (P, C, h, w) and support f2 (P, S, C, h, w)."""
        return self.mix_shots(gram_distances(query, support))

    def _labels(self, query_masks: Tensor | None, size: torch.Size) -> Tensor | None:
        """Give the labels (P, T) that steer the directional dropout, or None where it is off."""
        if not self.training or query_masks is None or not self.config.directional_dropout:
            return None
        labels = resize_labels(query_masks, size).flatten(1)
        if self.config.compat.ignore_as_background:
            labels = labels.masked_fill(labels == IGNORE, 0)
        return labels

    def _mid(self, seen: Seen) -> Tensor:
        mid = torch.cat([seen.f3, resize(seen.f2, seen.f3.shape[-2:])], 1)
        return self.standardise(mid) if self.config.standardise else mid

    def _standardised_as_queries(self, f4: Tensor) -> Tensor:
        """Standardise with what the queries have shown so far: masked pictures have statistics of their own."""
        if not self.config.standardise:
            return f4
        scale = self.standardise_high
        mean, deviation = scale.running_mean, (scale.running_var + scale.eps)[None, :, None, None].sqrt()
        return (f4 - mean[None, :, None, None]) / deviation

    def _merged(self, f: Tensor, whole: Tensor, local: Tensor | None, prior: Tensor, alike: list[Tensor]) -> Tensor:
        """Give z = ReLU conv([f; p_g; R; P]), with similarities and contrast last where they are on, as tokens."""
        prior = resize(prior[:, None], f.shape[-2:])
        parts = [f, whole[..., None, None].expand_as(f), local, prior, *alike]
        joined = torch.cat([part for part in parts if part is not None], 1)
        return as_tokens(self.merge(joined.detach() if self.config.compat.detached_input else joined))

    def _head(self, head: nn.Module, x: Tensor, alike: list[Tensor]) -> Tensor:
        logits = head(x)
        return (logits + self.match(torch.cat(alike, 1)) if alike else logits)[:, 0]


def _soft(region: Tensor, size: torch.Size) -> Tensor:
    """Bring bool regions (B, H, W) to a size bilinearly, float in 0..1."""
    return resize(region[:, None].float(), size)[:, 0]
