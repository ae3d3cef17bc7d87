"""IIR for generalized few-shot segmentation: base learner and IIR decoder on one frozen backbone, fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.augment import as_tensors
from fss_models.backbones import Backbone, Levels
from fss_models.base_learner import BaseLearner
from fss_models.data import Arrays
from fss_models.fss import trainable_state
from fss_models.fusion import Fusion
from fss_models.hub import Pretrained, read_config, read_weights, write_model
from fss_models.iir import IIR, Compat, SupportCode, preset
from fss_models.layers import resize
from fss_models.randomness import seeded
from fss_models.seen import Seen, see_queries, see_supports
from pipeline.errors import InputError
from pipeline.types import Support

CELLS = 1 << 16
"""Cells of all pairs of a picture and a class that are decoded at once: 23 pairs at 417 pixels and stride 8, about 1 GB
of a ResNet-50's levels; all of picto's."""


class GfssConfig(BaseModel):
    """Everything that is needed to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "iir"
    backbone: str = Field(description="folder of a transformers classifier, or see networks.read_network")
    base: int = Field(ge=1, description="base classes B")
    novel: int = Field(0, ge=0, description="novel outputs of the base learner: 0 in a teacher, N in a final model")
    shots: int = Field(1, ge=1, description="supports a class that the shots' weights are calibrated for (K)")
    stride: int = Field(8, description="output stride of the backbone, in pixels of the enlarged picture")
    precision: str = Field("auto", description="type of the backbone's convolutions, see backbones.Backbone")
    base_dim: int = Field(64, ge=8, multiple_of=8, description="channels of the penultimate features")
    dim: int = Field(64, ge=8, multiple_of=8, description="width of the decoder")
    blocks: int = Field(4, ge=2, description="blocks of the decoder; IIR uses 6 on 900 tokens")
    feature_dropout: float = Field(0.1, ge=0, lt=1, description="whole channels; IIR drops 0.5 in far longer training")
    train_projection: bool = Field(True, description="false: first projections stay as drawn, as published")
    seed: int = Field(0, ge=0, description="of the initial weights")


class GfssModel(Pretrained, nn.Module):
    """The whole network: one distribution over 1 + B + N labels for each pixel.

    Args:
        config: see `GfssConfig`.
        backbone: given where several models share one; the config then takes stride and precision from it.

    Raises:
        InputError: the backbone's folder is missing or holds something else.
    """

    def __init__(self, config: GfssConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.backbone = backbone or Backbone.from_pretrained(
            config.backbone, stride=config.stride, precision=config.precision
        )
        self.config = config.model_copy(update=self.backbone.settings)
        channels = self.backbone.channels
        with seeded(config.seed, "initial weights"):
            self.base_learner = BaseLearner(channels, 1 + config.base + config.novel, dim=config.base_dim)
            # in GFSS most classes are absent from a picture: hence the similarities, and features of one scale
            self.decoder = IIR(
                channels[1] + channels[2], channels[3], preset(config.name), shots=config.shots, dim=config.dim,
                blocks=config.blocks, feature_dropout=config.feature_dropout, standardise=True, similarities=True,
                compat=Compat(detached_input=not config.train_projection),
            )  # fmt: skip
        self.fusion = Fusion(1 + config.base)
        self._supports: dict[str, Tensor] | None = None
        self._code: tuple[SupportCode, Tensor] | None = None

    # --- supports ---------------------------------------------------------------------------------------------

    def set_supports(self, supports: Sequence[Support], side: int = 0) -> None:
        """Take the supports of the N novel classes, in the order of their split ids.

        Args:
            supports: pictures of several sizes are fitted to squares.
            side: of the squares; 0 leaves pictures of one size as they are, and takes the longest side of others.

        Raises:
            InputError: classes with different numbers of shots.
        """
        counts = {len(s.pictures) for s in supports}
        if len(counts) != 1:
            raise InputError(f"supports with {sorted(counts)} pictures a class: expected the same number for all")
        items = [(p, m) for s in supports for p, m in zip(s.pictures, s.masks, strict=True)]
        flat = Arrays([p for p, _ in items], [m.astype(np.uint8) for _, m in items], 2)
        pictures, masks = as_tensors(flat, range(len(items)), torch.device("cpu"), side)
        pictures = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        shape = (len(supports), counts.pop())
        self._supports = {
            "supports.pictures": pictures.unflatten(0, shape).contiguous(),
            "supports.masks": (masks == 1).to(torch.uint8).unflatten(0, shape).contiguous(),
        }
        self._code = None

    @property
    def side(self) -> int:
        """Longer side of the supports in pixels: the size at which the model knows things."""
        return 0 if self._supports is None else max(self._supports["supports.pictures"].shape[2:4])

    @property
    def novel(self) -> int:
        """How many novel classes the supports stand for."""
        return 0 if self._supports is None else len(self._supports["supports.pictures"])

    def support_tensors(self) -> tuple[Tensor, Tensor]:
        """Give the supports: pictures float (N, S, 3, H, W) in 0..1, masks bool (N, S, H, W).

        Raises:
            InputError: no supports were set.
        """
        if self._supports is None:
            raise InputError("the model has no supports: call set_supports first")
        device = self.fusion.offsets.device
        pictures = self._supports["supports.pictures"].to(device).permute(0, 1, 4, 2, 3).float() / 255
        return pictures, self._supports["supports.masks"].to(device).bool()

    @torch.no_grad()
    def encode(self, pictures: Tensor, masks: Tensor) -> tuple[SupportCode, Tensor]:
        """Encode supports: pictures float (N, S, 3, H, W), masks bool (N, S, H, W); also gives c* (N, S)."""
        levels = self.backbone(pictures.flatten(0, 1))
        seen, classes = self.see_supports(levels, masks)
        return self.decoder.encode_supports(seen, masks), classes

    def see_supports(self, levels: Levels, masks: Tensor) -> tuple[Seen, Tensor]:
        """Give what the decoder sees of supports, levels of N * S pictures, and their classes c* (N, S)."""
        return see_supports(self.backbone, levels, masks)

    def see_queries(self, levels: Levels, classes: Tensor) -> Seen:
        """Give what the decoder sees of P queries for the classes c* (P, S) of their supports."""
        return see_queries(self.backbone, levels, classes)

    # --- prediction -------------------------------------------------------------------------------------------

    def forward(self, pictures: Tensor) -> Tensor:
        """Give probabilities, float (B, 1+B+N, H, W), of pictures, float (B, 3, H, W) in 0..1."""
        return self.look(pictures)[1]

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """Give log probabilities, float (B, 1+B+N, H, W): logits, to be enlarged to other sizes."""
        return self._look(pictures)[1]

    def features(self, pictures: Tensor) -> Tensor:
        """Give the base learner's penultimate features, float (B, C, h, w)."""
        return self.base_learner(self.backbone(pictures))[0]

    def look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Give features (B, C, h, w) and probabilities (B, 1+B+N, H, W) from one backbone pass."""
        features, log = self._look(pictures)
        return features, log.exp()

    def _look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        size = pictures.shape[-2:]
        levels = self.backbone(pictures)
        features, logits = self.base_learner(levels)
        base = F.log_softmax(resize(logits, size), dim=1)
        if self.novel == 0:
            return features, base
        novel = resize(self.decode_all(levels), size)
        return features, self.fusion(base, novel)

    def decode_all(self, levels: Levels, code: tuple[SupportCode, Tensor] | None = None) -> Tensor:
        """Give the foreground logits (B, N, h, w) of every picture for every novel class, `CELLS` at once."""
        supports, classes = code or self.support_code()
        batch, novel = len(levels.f2), len(classes)
        pictures = torch.arange(batch, device=classes.device).repeat_interleave(novel)
        which = torch.arange(novel, device=classes.device).repeat(batch)
        levels = levels._replace(f1=levels.f1[:, :0])  # the decoder does not read it
        at_once = max(1, CELLS // levels.f3[0, 0].numel())
        found = [
            self.decoder.decode(self.see_queries(levels.take(p), classes[w]), supports.take(w)).logits
            for p, w in zip(pictures.split(at_once), which.split(at_once), strict=True)
        ]
        return torch.cat(found).unflatten(0, (batch, novel))

    def support_code(self) -> tuple[SupportCode, Tensor]:
        """Give the encoded supports; they are kept until supports are set, or weights loaded, moved or trained.

        Who writes into weights in place in evaluation mode calls ``eval()`` afterwards.
        """
        if self.training:
            return self.encode(*self.support_tensors())
        if self._code is None:
            self._code = self.encode(*self.support_tensors())
        return self._code

    def train(self, mode: bool = True) -> GfssModel:
        """Switch between training and evaluation; forgets the encoded supports, because weights may change."""
        self._code = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GfssModel:
        """Move or convert the weights, for ``to`` and its like; forgets the encoded supports."""
        self._code = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any) -> None:
        """Take weights, for ``load_state_dict`` of this model or of one that holds it; forgets the encoded supports."""
        self._code = None
        super()._load_from_state_dict(*args)

    def grow(self, novel: int) -> None:
        """Give the base learner outputs for N novel classes."""
        self.base_learner.grow(novel)
        self.fusion.share()
        self.config = self.config.model_copy(update={"novel": novel})

    # --- files ------------------------------------------------------------------------------------------------

    def trainable_state(self) -> dict[str, Tensor]:
        """Give the weights without the frozen backbone's."""
        return trainable_state(self)

    def save(self, folder: str | Path) -> None:
        """Write the weights, the supports and the config; the frozen backbone is named, not copied."""
        write_model(folder, {**self.trainable_state(), **(self._supports or {})}, self.config, self.backbone)

    @classmethod
    def load(cls, folder: str | Path, backbone: Backbone | None = None) -> GfssModel:
        """Read a saved model; it predicts what the saved one predicted, bit for bit.

        Raises:
            InputError: the folder holds no model, that of another version, weights that are damaged or of another
                shape, or the backbone has changed since.
        """
        folder = Path(folder)
        config, expected = read_config(folder, GfssConfig, backbone)
        model = cls(config, backbone)
        model._supports = read_weights(folder, model, expected) or None
        return model.eval()
