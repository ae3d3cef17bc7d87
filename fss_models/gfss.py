"""Generalized few-shot segmentation: a base learner and any FSS model's network on one frozen backbone, fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from fss_models.fss import Code, FssConfig, check_name, new_network, trainable_state
from fss_models.fusion import Fusion
from fss_models.hub import Pretrained, read_config, read_weights, write_model
from fss_models.layers import resize
from fss_models.randomness import seeded
from pipeline.errors import InputError
from pipeline.types import Support

CELLS = 1 << 16
"""Cells of all pairs of a picture and a class that are decoded at once: 23 pairs at 417 pixels and stride 8, about 1 GB
of a ResNet-50's levels; all of picto's."""

BYTES = 4 << 30
"""Bytes of the levels and codes of these pairs, for few-shot parts that keep more than IIR, which is bounded by these
from eight shots on."""

_IIR = {
    "dim": 64, "blocks": 4, "feature_dropout": 0.1, "train_projection": True, "fine_maps": False, "standardise": True,
    "similarities": True,
}  # fmt: skip
IN_GFSS: dict[str, Mapping[str, Any]] = {
    "iir": _IIR, "i2r": _IIR,
    "symnet": {"dim": 64, "feature_dropout": 0.1, "standardise": True, "similarities": True},
    "rifenet": {"dim": 64, "heads": 4, "tokens": 32, "feature_dropout": 0.1, "unlabeled": 0},
}  # fmt: skip
"""Name -> options that differ from those of FSS unless they are set: widths suit picto; as most classes are absent from
a picture, plain similarities can say so. IIR uses 6 blocks on 900 tokens, and drops 0.5 in far longer training."""

OPTIONS = ("dim", "blocks", "feature_dropout", "train_projection")
"""Options of the few-shot part that have a field of their own in the config."""

FEW_SHOT = "few_shot."


class GfssConfig(BaseModel):
    """Everything that is needed to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("iir", description="of the few-shot part, see fss.FSS_MODELS")
    backbone: str = Field(description="folder of a transformers classifier, or see networks.read_network")
    base: int = Field(ge=1, description="base classes B")
    novel: int = Field(0, ge=0, description="novel outputs of the base learner: 0 in a teacher, N in a final model")
    shots: int = Field(1, ge=1, description="supports a class that the shots' weights are calibrated for (K)")
    stride: int = Field(8, description="output stride of the backbone, in pixels of the enlarged picture")
    precision: str = Field("auto", description="type of the backbone's convolutions, see backbones.Backbone")
    base_dim: int = Field(64, ge=8, multiple_of=8, description="channels of the penultimate features")
    dim: int | None = Field(None, ge=8, multiple_of=8, description="width of the few-shot part, see IN_GFSS")
    blocks: int | None = Field(None, ge=2, description="blocks of the decoder of IIR and I2R")
    feature_dropout: float | None = Field(None, ge=0, lt=1, description="whole channels, in the few-shot part")
    train_projection: bool | None = Field(None, description="IIR, I2R; false: first projections stay as drawn")
    few_shot: Mapping[str, Any] = Field({}, description="further options of the few-shot part, as in fss.FssConfig")
    names: tuple[str, ...] = Field((), description="of all labels, for few-shot parts that read text")
    seed: int = Field(0, ge=0, description="of the initial weights")


class GfssModel(Pretrained, nn.Module):
    """The whole network: one distribution over 1 + B + N labels for each pixel.

    Args:
        config: see `GfssConfig`.
        backbone: given where several models share one; the config then takes stride and precision from it.

    Attributes:
        few_shot: an `fss.FssNetwork`, which gives a foreground probability for each novel class. Its backbone is that
            of the whole; saved weights bear the names that it gives them, as in FSS.

    Raises:
        InputError: the backbone's folder is missing or holds something else, or the few-shot part is unknown or does
            not take its options.
    """

    def __init__(self, config: GfssConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        check_name(config.name)
        self.backbone = backbone or Backbone.from_pretrained(
            config.backbone, stride=config.stride, precision=config.precision
        )
        options = _options(config)
        shown = {k: v for k, v in options.items() if k in OPTIONS}
        self.config = config.model_copy(update={**shown, **self.backbone.settings})
        with seeded(config.seed, "initial weights"):
            self.base_learner = BaseLearner(self.backbone.channels, 1 + config.base + config.novel, dim=config.base_dim)
            self.few_shot = self._part(options)
        self.fusion = Fusion(1 + config.base)
        self._supports: dict[str, Tensor] | None = None
        self._code: Code | None = None
        self.register_state_dict_post_hook(_shorten)
        self.register_load_state_dict_pre_hook(_lengthen)

    def _part(self, options: Mapping[str, Any]) -> Any:
        """Build the few-shot part; the backbone stays out of its weights, since it is among those of the whole."""
        if options.get("base"):
            raise InputError(
                "few_shot.base: the ensemble is for FSS; in a GFSS network base learner and fusion do its work, so "
                "leave it out"
            )
        c = self.config
        own = c.model_dump(include={"name", "backbone", "shots", "stride", "precision", "seed"})
        part = new_network(FssConfig(**own, options=options), self.backbone)
        object.__setattr__(part, "backbone", part._modules.pop("backbone"))
        learnt = {k: v for k, v in part.config.options.items() if k not in options}  # such as the length of its vectors
        self.config = c.model_copy(update={"few_shot": {**c.few_shot, **learnt}})
        return part

    def name_classes(self, names: Sequence[str]) -> None:
        """Say what the labels are called, background, base and novel classes, for few-shot parts that read text."""
        self.config = self.config.model_copy(update={"names": tuple(names)})
        self.few_shot.name_classes(self.config.names)
        self._code = None

    # --- supports ---------------------------------------------------------------------------------------------

    def set_supports(self, supports: Sequence[Support], side: int = 0) -> None:
        """Take the supports of the N novel classes, in the order of their split ids.

        Args:
            supports: pictures of several sizes are fitted to squares. Where the base classes have names, theirs are
                the novel ones'.
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
            "supports.masks": masks.unflatten(0, shape).contiguous(),
        }
        self._code = None
        if self.config.names:
            self.name_classes((*self.config.names[: 1 + self.config.base], *(s.name for s in supports)))

    @property
    def side(self) -> int:
        """Longer side of the supports in pixels: the size at which the model knows things."""
        return 0 if self._supports is None else max(self._supports["supports.pictures"].shape[2:4])

    @property
    def novel(self) -> int:
        """How many novel classes the supports stand for."""
        return 0 if self._supports is None else len(self._supports["supports.pictures"])

    def support_tensors(self) -> tuple[Tensor, Tensor]:
        """Give the supports: pictures float (N, S, 3, H, W) in 0..1, masks uint8 (N, S, H, W) with 0, 1 and 255.

        Raises:
            InputError: no supports were set.
        """
        if self._supports is None:
            raise InputError("the model has no supports: call set_supports first")
        device = self.fusion.offsets.device
        pictures = self._supports["supports.pictures"].to(device).permute(0, 1, 4, 2, 3).float() / 255
        return pictures, self._supports["supports.masks"].to(device)

    @torch.no_grad()
    def encode(self, pictures: Tensor, masks: Tensor, classes: Tensor) -> Code:
        """Encode supports.

        Args:
            pictures: float (N, S, 3, H, W) in 0..1.
            masks: uint8 (N, S, H, W) with 1 on the class, 0 on the rest and 255 beside the picture.
            classes: split ids, int (N,).

        Returns:
            What the few-shot part keeps of them, (N, S, ...) each.
        """
        of_each = classes.repeat_interleave(masks.shape[1])
        code = self.few_shot.encode(self.few_shot.see(pictures.flatten(0, 1)), masks.flatten(0, 1), of_each)
        return {name: x.unflatten(0, masks.shape[:2]) for name, x in code.items()}

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
        levels = self.few_shot.see(pictures)
        features, logits = self.base_learner(levels)
        base = F.log_softmax(resize(logits, size), dim=1)
        if self.novel == 0:
            return features, base
        novel = resize(self.decode_all(levels, size), size)
        return features, self.fusion(base, novel)

    def decode_all(self, levels: Levels, size: tuple[int, int], code: Code | None = None) -> Tensor:
        """Give the foreground logits (B, N, h, w) of every picture for every novel class, `CELLS` and `BYTES` at once.

        Args:
            levels: of the B pictures, as ``few_shot.see`` gives them.
            size: (H, W) of the pictures in pixels.
            code: of the supports of N classes; that of the model's own unless given.
        """
        code = code or self.support_code()
        some = next(iter(code.values()))
        batch, novel = len(levels.f2), len(some)
        pictures = torch.arange(batch, device=some.device).repeat_interleave(novel)
        which = torch.arange(novel, device=some.device).repeat(batch)
        levels = levels._replace(f1=levels.f1[:, :0])  # no few-shot part reads it
        each = sum(x[0].nbytes for x in (*levels, *code.values()) if x is not None)
        at_once = max(1, min(CELLS // levels.f3[0, 0].numel(), BYTES // each))
        found = [
            self.few_shot.decode(levels.take(p), {name: x[w] for name, x in code.items()}, size)
            for p, w in zip(pictures.split(at_once), which.split(at_once), strict=True)
        ]
        return torch.cat(found).unflatten(0, (batch, novel))

    def support_code(self) -> Code:
        """Give the encoded supports; they are kept until supports are set, or weights loaded, moved or trained.

        Who writes into weights in place in evaluation mode calls ``eval()`` afterwards.
        """
        if self._code is not None and not self.training:
            return self._code
        pictures, masks = self.support_tensors()
        novel = torch.arange(len(masks), device=masks.device) + 1 + self.config.base
        code = self.encode(pictures, masks, novel)
        if not self.training:
            self._code = code
        return code

    def train(self, mode: bool = True) -> GfssModel:
        """Switch between training and evaluation; forgets the encoded supports, because weights may change."""
        self._code = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GfssModel:
        """Move or convert the weights, for ``to`` and its like; forgets the encoded supports."""
        self._code = None
        return super()._apply(fn, recurse)

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
        if config.names:
            model.name_classes(config.names)
        return model.eval()


def _options(config: GfssConfig) -> dict[str, Any]:
    """Give the options of the few-shot part: the usual ones in GFSS, then those that are set."""
    told = config.model_dump(include=set(OPTIONS), exclude_none=True)
    return {**IN_GFSS.get(config.name, {}), **told, **config.few_shot}


def _shorten(model: GfssModel, state: dict[str, Any], prefix: str, _: object) -> None:
    """Let saved weights of the few-shot part bear the names that it gives them."""
    long = prefix + FEW_SHOT
    short = {prefix + k.removeprefix(long) if k.startswith(long) else k: x for k, x in state.items()}
    state.clear()
    state.update(short)


def _lengthen(model: GfssModel, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Find the weights of the few-shot part by their names; forgets the encoded supports."""
    model._code = None
    whole = tuple(f"{prefix}{name}." for name, _ in model.named_children())
    for k in [k for k in state if k.startswith(prefix) and not k.startswith(whole)]:
        state[prefix + FEW_SHOT + k.removeprefix(prefix)] = state.pop(k)
