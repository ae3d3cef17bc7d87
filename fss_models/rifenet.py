"""RiFeNet: rich features for few-shot segmentation, CyCTR with an unlabeled branch and multi-level prototypes.

Source: RiFeNet (arXiv 2312.06474) and its released code (systems.md 7). What is ours is told in docs/rifenet.md.

Letters beside the usual: d width, T = h * w tokens, U unlabeled pictures an episode.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.attention import as_tokens
from fss_models.backbones import Backbone, Levels
from fss_models.convolutions import Residual, head, mixed, projection
from fss_models.cycle_transformer import CycleTransformer
from fss_models.dice import dice, two_channels
from fss_models.fss import Code, FssConfig, FssNetwork, SeenBatch
from fss_models.layers import masked_average, resize, resize_labels
from fss_models.priors import matched_prior

CELLS = 4
"""The local prototype has so many cells a side: 15 x 15 tokens each at 473 pixels and stride 8."""


class RiFeNetConfig(BaseModel):
    """The settings; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(256, ge=16, multiple_of=16, description="width d")
    layers: int = Field(2, ge=1, description="of the transformer")
    heads: int = Field(8, ge=1, description="of its attention; d is a multiple of them")
    points: int = Field(9, ge=1, description="of the deformable attention, a head and cell")
    tokens: int = Field(300, ge=1, description="support tokens of the thing a shot, and as many of the rest")
    dropout: float = Field(0.1, ge=0, lt=1, description="rate inside the transformer and the heads")
    feature_dropout: float = Field(0.5, ge=0, lt=1, description="rate of whole channels after the projection")
    local: Literal["pooled", "attention", "none"] = Field(
        "pooled", description="local prototype: 4 d numbers as released, or d with channel attention as in the paper"
    )
    unlabeled: int = Field(2, ge=0, description="unlabeled pictures an episode in training; 0: no such branch")
    beta: float = Field(0.5, ge=0, description="weight of their loss")

    @model_validator(mode="after")
    def _divisible(self) -> RiFeNetConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class PooledPrototype(nn.Module):
    """The released local prototype: d / 4 channels of f2 under the prior, averaged in 4 x 4 cells; (B, 4 d)."""

    def __init__(self, low: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.reduce, self.size = projection(low, dim // 4, dropout), CELLS * CELLS * (dim // 4)

    def forward(self, f2: Tensor, f: Tensor, prior: Tensor) -> Tensor:
        """Read f2 (B, C2, h, w) of the query under its prior (B, 1, h, w)."""
        return F.adaptive_avg_pool2d(self.reduce(f2) * prior, CELLS).flatten(1)


class AttentionPrototype(nn.Module):
    """The paper's wording: projected features under the prior in 4 x 4 cells, 1x1, channel attention; (B, d).

    The attention is squeeze-and-excitation.
    """

    def __init__(self, low: int, dim: int, dropout: float) -> None:
        super().__init__()
        few = dim // CELLS**2
        self.reduce, self.size = nn.Sequential(nn.Conv2d(dim, few, 1), nn.ReLU()), dim
        self.attend = nn.Sequential(
            nn.Linear(few, max(few // 2, 1)), nn.ReLU(), nn.Linear(max(few // 2, 1), few), nn.Sigmoid()
        )

    def forward(self, f2: Tensor, f: Tensor, prior: Tensor) -> Tensor:
        """Read the projected features f (B, d, h, w) of the query under its prior (B, 1, h, w)."""
        cells = self.reduce(F.adaptive_avg_pool2d(f * prior, CELLS))
        return (cells * self.attend(cells.mean((2, 3)))[..., None, None]).flatten(1)


class Reverse(nn.Module):
    """The auxiliary task of training: find the thing in the supports by the query's own prototype."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.project, self.merge = mixed(dim, dim), nn.Sequential(mixed(2 * dim, dim), Residual(dim))
        self.head = head(dim, dropout=dropout)

    def forward(self, decoded: Tensor, f: Tensor, truth: Tensor, supports: Tensor) -> Tensor:
        """Give two logits a cell of each support, (B * S, 2, h, w).

        Args:
            decoded: the query's maps before the head (B, d, h, w).
            f: its projected features (B, d, h, w).
            truth: its labels (B, H, W) with 0, 1 and 255.
            supports: projected features (B, S, d, h, w).
        """
        own = masked_average(self.project(decoded) + f, soft(truth, f.shape[-2:]))
        flat = supports.flatten(0, 1)
        own = own.repeat_interleave(supports.shape[1], 0)[..., None, None].expand_as(flat)
        return self.head(self.merge(torch.cat([flat, own], 1)))


class RiFeNet(FssNetwork):
    """RiFeNet on a frozen backbone.

    Args:
        config: ``options`` change its settings, see `RiFeNetConfig`.
        backbone: given where several models share one.
    """

    apart = "transformer."

    def __init__(self, config: FssConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        c = self.settings = RiFeNetConfig(**config.options)
        low, mid, _ = backbone.channels[1:]
        self.project_query = projection(low + mid, c.dim, c.feature_dropout)
        self.project_support = projection(low + mid, c.dim, c.feature_dropout)
        self.local: PooledPrototype | AttentionPrototype | None = None
        if c.local != "none":
            kind = PooledPrototype if c.local == "pooled" else AttentionPrototype
            self.local = kind(low, c.dim, c.feature_dropout)
        self.merge_query = mixed(2 * c.dim + (self.local.size if self.local else 0) + 1, c.dim)
        self.merge_support = mixed(2 * c.dim, c.dim)
        self.transformer = CycleTransformer(c.dim, c.layers, c.heads, c.points, c.tokens, c.dropout)
        self.merge_decoded = nn.Sequential(mixed(c.dim, c.dim), Residual(c.dim))
        self.head = head(c.dim, dropout=c.dropout)
        self.reverse = Reverse(c.dim, c.dropout)

    @property
    def unlabeled(self) -> int:
        """Unlabeled pictures that an episode of training is to bring, see `FssNetwork`."""
        return self.settings.unlabeled

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give projected features, global prototype, masked top level and labels of supports, see `FssModel`."""
        f = self.project_support(_middle(levels))
        return {
            "f": f, "prototype": masked_average(f, soft(masks, f.shape[-2:])),
            "high": levels.f4 * soft(masks, levels.f4.shape[-2:])[:, None],
            "labels": resize_labels(masks, f.shape[-2:]).flatten(1),
        }  # fmt: skip

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        f, prior, local = self._look(query, code)
        return foreground(self.head(self._decoded(f, prior, local, code)))

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Give the Dice losses of the query, of the supports from it, and of unlabeled pictures where there are any.

        A query that does not show the class, as in GFSS, says nothing of the supports.
        """
        shots = seen.masks.shape[1]
        own = self.encode(seen.supports, seen.masks.flatten(0, 1), seen.classes.repeat_interleave(shots))
        code = {name: seen.asked(x.unflatten(0, (-1, shots))) for name, x in own.items()}
        f, prior, local = self._look(seen.query, code)
        decoded = self._decoded(f, prior, local, code)
        masks, shows = seen.asked(seen.masks), (seen.truth == 1).flatten(1).any(1).float()
        if seen.query_weight is not None and seen.support_weight is not None:  # the lesser, since it needs both masks
            shows = shows * torch.minimum(seen.query_weight, seen.asked(seen.support_weight))
        found = resize(self.head(decoded), seen.truth.shape[-2:])
        back = resize(self.reverse(decoded, f, seen.truth, code["f"]), masks.shape[-2:])
        told = {
            "main": dice(found, two_channels(seen.truth), seen.query_weight),
            "aux": dice(back, two_channels(masks.flatten(0, 1)), shows.repeat_interleave(shots)),
        }
        if seen.weak is not None and seen.strong is not None:
            told["unlabeled"] = self.consistency(seen.weak, seen.strong, code, local)
        weights = {"main": 1.0, "aux": 1.0, "unlabeled": self.settings.beta}
        return {"loss": torch.stack([weights[name] * x for name, x in told.items()]).sum(), **told}

    def consistency(self, weak: Levels, strong: Levels, code: Code, local: Tensor | None) -> Tensor:
        """Give the loss by which a strong view is to be labelled as the weak view of the same picture.

        Args:
            weak: levels of B * U pictures.
            strong: those of the same in other colours.
            code: of the episodes' supports, (B, S, ...) each.
            local: the queries' local prototypes (B, n), which guide this branch.
        """
        each = len(weak.f3) // len(code["f"])
        code = {name: x.repeat_interleave(each, 0) for name, x in code.items()}
        local = None if local is None else local.repeat_interleave(each, 0)

        def logits(views: Levels) -> Tensor:
            f, prior, _ = self._look(views, code, guided=True)
            return self.head(self._decoded(f, prior, local, code))

        with torch.no_grad():
            target = logits(weak).sigmoid()
        return dice(logits(strong), target)

    def _look(self, levels: Levels, code: Code, *, guided: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give projected features (B, d, h, w), prior (B, 1, h, w) and, unless guided, the own local prototype."""
        f = self.project_query(_middle(levels))
        priors = torch.stack([matched_prior(levels.f4, high) for high in code["high"].unbind(1)], 1)
        prior = resize(priors.mean(1, keepdim=True), f.shape[-2:])
        own = None if guided or self.local is None else self.local(resize(levels.f2, f.shape[-2:]), f, prior)
        return f, prior, own

    def _decoded(self, f: Tensor, prior: Tensor, local: Tensor | None, code: Code) -> Tensor:
        """Give the maps before the head: z_q = ReLU conv([f; p_g; p_l; P]) through the transformer."""
        whole = code["prototype"].mean(1)
        parts = [f, spread(whole, f), *([] if local is None else [spread(local, f)]), prior]
        z = self.merge_query(torch.cat(parts, 1))
        supports = code["f"].flatten(0, 1)
        of_each = spread(whole.repeat_interleave(code["f"].shape[1], 0), supports)
        tokens = as_tokens(self.merge_support(torch.cat([supports, of_each], 1)))
        z = self.transformer(z, tokens.unflatten(0, code["f"].shape[:2]), code["labels"])
        return self.merge_decoded(z)


def foreground(logits: Tensor) -> Tensor:
    """Turn the logits (B, 2, h, w) of two channels into one (B, h, w), above 0 where the thing's is the greater."""
    return logits[:, 1] - logits[:, 0]


def soft(labels: Tensor, size: torch.Size) -> Tensor:
    """Bring what is 1 in labels (B, H, W) to a size bilinearly, float (B, h, w) in 0..1."""
    return resize((labels == 1)[:, None].float(), size)[:, 0]


def spread(vectors: Tensor, like: Tensor) -> Tensor:
    """Lay vectors (B, n) on all cells of maps (B, d, h, w): (B, n, h, w)."""
    return vectors[..., None, None].expand(-1, -1, *like.shape[-2:])


def _middle(levels: Levels) -> Tensor:
    return torch.cat([resize(levels.f2, levels.f3.shape[-2:]), levels.f3], 1)
