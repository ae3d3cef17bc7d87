"""Sym-Net: one prototype of support and query, both refined by the same text-guided module.

Source: Sym-Net (arXiv 2407.19306). A parameter-free prior (SPM) finds where the query looks like the support; two
prototypes, of the support's mask and of the query under the prior, go through one module that reads the class's name
(APA) and are averaged; block-by-block likeness of the two pictures (TDC) comes beside, and a decoder of four scales
mixes all. One foreground logit stands for two channels, as in `iir`. What is not published here: docs/symnet.md.

Letters beside the usual: D length of a text vector, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fss_models.backbones import Backbone, Levels
from fss_models.convolutions import projection
from fss_models.ensemble import Ensemble, ShotWeights
from fss_models.fss import Code, FssConfig, FssNetwork, SeenBatch
from fss_models.hypercorrelation import WIDE, HyperCorrelation, likeness_maps
from fss_models.iir import MATCH
from fss_models.layers import foreground_cross_entropy, gram_distances, masked_average, resize, resize_labels
from fss_models.priors import self_activation_prior, similarities, window_means
from fss_models.prototypes import (
    PrototypeAlignment,
    Regions,
    Thresholds,
    query_triplet,
    region_prototypes,
    support_triplet,
)
from fss_models.symnet_decoder import FourScales
from fss_models.words import NONE, Words
from pipeline.errors import InputError

LEVELS = ("blocks2", "blocks3", "blocks4")


class SymNetConfig(BaseModel):
    """The settings; the defaults are Sym-Net's own (systems.md section 6) but for the text and the ensemble."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: int = Field(1, ge=1, description="supports a class that the shots' weights are calibrated for (K)")
    text: str = Field(NONE, description="where the classes' vectors come from, see words.vectors_of; none: no text")
    text_dim: int = Field(0, ge=0, description="length of these vectors; 0: as the source has them")
    dim: int = Field(256, ge=8, description="width d")
    dropout: float = Field(0.1, ge=0, lt=1, description="rate of what APA adds to a prototype")
    feature_dropout: float = Field(0.5, ge=0, lt=1, description="rate of whole channels after the projection")
    windows: tuple[tuple[int, int], ...] = Field(
        ((5, 5), (7, 1), (1, 7)), min_length=1, description="height and width of SPM's windows, odd"
    )
    regions: Thresholds = Thresholds()
    margin: float = Field(0.5, ge=0, description="of the triplet loss")
    query_prototype: bool = Field(True, description="false: the support's prototype alone (ablation)")
    base: int = Field(0, ge=0, description="base classes of the ensemble's base learner; 0: no ensemble")
    base_dim: int = Field(512, ge=8, description="channels of the base learner's penultimate features")
    standardise: bool = Field(False, description="ours: features standardised channel by channel before all else")
    similarities: bool = Field(False, description="ours: plain cosines in the decoder's input and in its logit")


class Shown(NamedTuple):
    """Supports on their way into the code: features (B, d, h, w), cells on the class and beside it, bool (B, h, w)."""

    code: Code
    features: Tensor
    thing: Tensor
    rest: Tensor


class Decoded(NamedTuple):
    """What is said of B queries.

    Final foreground logits (B, h, w), the decoder's own, those of its scales, the prior (B, h, w) in 0..1, and with
    ``query_prototype`` the query's prototype (B, d) and those of its regions.
    """

    final: Tensor
    logits: Tensor
    inner: list[Tensor]
    prior: Tensor
    prototype: Tensor | None
    regions: Regions | None


class SymNet(FssNetwork):
    """Sym-Net on a frozen backbone.

    Args:
        config: ``options`` change the settings, see `SymNetConfig`.
        backbone: given where several models share one.

    Raises:
        InputError: the text's source cannot be read, or the blocks of the backbone are not known.
    """

    def __init__(self, config: FssConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        own = self.settings = SymNetConfig(**{"shots": config.shots, **config.options})
        if not all(backbone.blocks):
            raise InputError("Sym-Net compares the blocks of a backbone, and this one has none that are known")
        mid, high, dim = backbone.channels[1] + backbone.channels[2], backbone.channels[3], own.dim
        self.words = Words(own.text, own.text_dim)
        if own.standardise:
            self.standardise = nn.BatchNorm2d(mid, affine=False)
            self.standardise_high = nn.BatchNorm2d(high, affine=False)
        self.project_query = projection(mid, dim, own.feature_dropout)
        self.project_support = projection(mid, dim, own.feature_dropout)
        self.align = PrototypeAlignment(self.words.dim, dim, own.dropout)
        self.correlate = HyperCorrelation([len(level) for level in backbone.blocks])
        self.decoder = FourScales(dim, WIDE + 1 + 2 * own.similarities)
        self.mix_shots = ShotWeights(own.shots)
        if own.similarities:
            self.match = nn.Conv2d(2, 1, 1)
            nn.init.constant_(self.match.weight, MATCH)
            nn.init.constant_(self.match.bias, -MATCH)
        if own.base:
            self.ensemble = Ensemble(high, own.base, own.base_dim)
        self.config = self.config.model_copy(update={"options": {**config.options, "text_dim": self.words.dim}})

    def name_classes(self, names: Sequence[str]) -> None:
        """Say what the classes are called, see `FssModel`; a name that is new is looked up in the text's source.

        Raises:
            InputError: it has no vector for a name.
        """
        self.words.name(names)

    def see(self, pictures: Tensor) -> Levels:
        """Give the backbone's levels and what its blocks say, see `FssModel`."""
        return self.backbone(pictures, blocks=True)

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give what is kept of supports, see `FssModel`."""
        return self._show(levels, masks, classes).code

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        return self._decode(query, code).final

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Give Sym-Net's losses, all of weight 1 (systems.md 6.7), see `FssModel`.

        That of the base learner is left out: it is frozen, so nothing would follow from it. A query that does not show
        the class, as in GFSS, has no prototype that its triplet could teach.
        """
        shots = seen.masks.shape[1]
        shown = self._show(seen.supports, seen.masks.flatten(0, 1), seen.classes.repeat_interleave(shots))
        code = {name: seen.asked(x.unflatten(0, (-1, shots))) for name, x in shown.code.items()}
        out = self._decode(seen.query, code, seen.asked(seen.classes) if self.training else None)
        truth, margin = seen.truth[:, None], self.settings.margin

        def entropy(logits: Tensor) -> Tensor:
            return foreground_cross_entropy(logits[:, None], truth, seen.query_weight)

        weight = None if seen.support_weight is None else seen.support_weight.repeat_interleave(shots)
        triplet = support_triplet(shown.code["aligned"], shown.features, shown.thing, shown.rest, margin, weight)
        if out.prototype is not None and out.regions is not None:
            shows = (seen.truth == 1).flatten(1).any(1)
            shows = shows if seen.query_weight is None else shows * seen.query_weight
            triplet = triplet + query_triplet(out.prototype, out.regions, margin, shows)
        final, meta = entropy(out.final), entropy(out.logits)
        inner = torch.stack([entropy(logits) for logits in out.inner]).mean()
        return {"loss": final + meta + inner + triplet, "final": final, "inner": inner, "triplet": triplet}

    def _show(self, levels: Levels, masks: Tensor, classes: Tensor) -> Shown:
        """Turn B supports into what the decoder needs; masks are uint8 (B, H, W) with 0, 1 and 255."""
        size = levels.f3.shape[-2:]
        soft = {s: resize((masks == 1)[:, None].float(), s)[:, 0] for s in {size, levels.f4.shape[-2:]}}
        high_mask, mask = soft[levels.f4.shape[-2:]], soft[size]
        mid = self._mid(levels)
        f = self.project_support(mid)
        text = self.words(classes)
        aligned = self.align(text, masked_average(f, mask), f * mask[:, None])
        code: Code = {
            "f2": levels.f2, "windows": window_means(levels.f4, high_mask, self.settings.windows), "text": text,
            "aligned": aligned, "mask": masks == 1, **{name: getattr(levels, name) for name in LEVELS},
        }  # fmt: skip
        if self.settings.similarities:
            code["mid"] = masked_average(mid, mask)
            code["high"] = masked_average(self._high(levels), high_mask)
        labels = resize_labels(masks, size)
        return Shown(code, f, labels == 1, labels == 0)

    def _decode(self, query: Levels, code: Code, hidden: Tensor | None = None) -> Decoded:
        """Decode B queries with the code (B, S, ...) of their supports.

        Args:
            query: their levels.
            code: of the supports.
            hidden: base classes (B,) of the episodes in training, which the ensemble must not know.
        """
        own, size = self.settings, query.f3.shape[-2:]
        shots = range(code["aligned"].shape[1])
        distances = gram_distances(query.f2, code["f2"]) if len(shots) > 1 or own.base else None
        weights = code["aligned"].new_ones(len(query.f3), 1) if len(shots) == 1 else self.mix_shots(distances)

        def weighted(each: Tensor) -> Tensor:
            return torch.einsum("bs,bs...->b...", weights, each)

        # 1. Prior, from each shot.
        priors = [self_activation_prior(query.f4, code["windows"][:, s], own.windows) for s in shots]
        prior = resize(weighted(torch.stack(priors, 1))[:, None], size)[:, 0].clamp(0, 1)
        # 2. The general prototype: that of the support, and that of the query where the prior is high.
        mid = self._mid(query)
        f = self.project_query(mid)
        general, prototype, regions = weighted(code["aligned"]), None, None
        if own.query_prototype:
            regions = region_prototypes(f, prior, own.regions)
            prototype = self.align(code["text"][:, 0], regions.thing, f * prior[:, None])
            general = 0.5 * (general + prototype)
        # 3. Hyper-correlation, plain mean over the shots.
        maps = [
            torch.stack([
                likeness_maps(
                    getattr(query, name), code[name][:, s],
                    resize_labels(code["mask"][:, s], code[name].shape[-2:]), channels,
                )
                for s in shots
            ]).mean(0)
            for name, channels in zip(LEVELS, self.backbone.blocks, strict=True)
        ]  # fmt: skip
        beside = [self.correlate(maps, size), prior[:, None]]
        if own.similarities:
            high = self._high(query)
            alike = weighted(
                torch.stack([similarities(mid, high, code["mid"][:, s], code["high"][:, s]) for s in shots], 1)
            )
            beside.append(alike)
        # 4. Decoder and ensemble.
        logits, inner = self.decoder(f, general, torch.cat(beside, 1))
        if own.similarities:
            logits = logits + self.match(alike)[:, 0]
        final = logits
        if own.base:
            top = self.backbone.undilated(query.f4)
            final = self.ensemble(logits, top, (weights * distances).sum(1), hidden)
        return Decoded(final, logits, inner, prior, prototype, regions)

    def _mid(self, levels: Levels) -> Tensor:
        mid = torch.cat([levels.f3, resize(levels.f2, levels.f3.shape[-2:])], 1)
        return self.standardise(mid) if self.settings.standardise else mid

    def _high(self, levels: Levels) -> Tensor:
        return self.standardise_high(levels.f4) if self.settings.standardise else levels.f4
