"""Episodic few-shot segmentation (FSS): what every model is asked, IIR as such a model, and prototype matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from fss_models.backbones import Backbone, Levels
from fss_models.hub import Pretrained, read_config, read_weights, write_model
from fss_models.iir import IIR, Decoded, SupportCode, preset
from fss_models.iir_loss import iir_loss
from fss_models.layers import resize
from fss_models.priors import contrast, contrast_prototypes
from fss_models.randomness import seeded
from fss_models.seen import Seen, see_queries, see_supports
from pipeline.errors import InputError


@dataclass
class EpisodeBatch:
    """B episodes.

    Attributes:
        query: pictures float (B, 3, H, W) in 0..1.
        truth: of the queries, uint8 (B, H, W) with 0, 1 and 255.
        supports: pictures float (B, S, 3, H, W) in 0..1.
        masks: of the supports, uint8 (B, S, H, W) with 0, 1 and 255.
        classes: number of each episode's class, its split id, int (B,).
        weak: further pictures of the class whose masks are not looked at, float (B, U, 3, H, W) in 0..1, where the
            model asks for them (`FssNetwork.unlabeled`); else None.
        strong: the same views in other colours; else None.
    """

    query: Tensor
    truth: Tensor
    supports: Tensor
    masks: Tensor
    classes: Tensor
    weak: Tensor | None = None
    strong: Tensor | None = None

    def to(self, device: torch.device | str) -> EpisodeBatch:
        """Move to a device."""
        parts = (getattr(self, f.name) for f in fields(self))
        return EpisodeBatch(*(None if x is None else x.to(device) for x in parts))


Code = dict[str, Tensor]
"""What a model keeps of supports: tensors by name, whose first dimension counts the supports."""


@dataclass
class SeenBatch:
    """E classes with S supports each, and P queries, as the backbone sees them: what a model learns from.

    In FSS each class has one query. In GFSS a query is also asked for a class that it mostly lacks, and pictures have
    weights.

    Attributes:
        query: levels of the P queries.
        truth: of the queries, uint8 (P, H, W) with 0, 1 and 255; in GFSS mostly 0 where the class is not shown.
        supports: levels of the E * S supports.
        masks: of the supports, uint8 (E, S, H, W) with 0, 1 and 255.
        classes: number of each class, int (E,), see `EpisodeBatch`.
        of: the place among the E classes of the one that each query is asked for, int (P,); None: its own, P = E.
        query_weight: of each query in the loss, float (P,); None: all count the same.
        support_weight: of each class's supports in the loss, float (E,); None: all count the same.
        weak: levels of unlabeled pictures (P * U), see `EpisodeBatch`; None in GFSS.
        strong: those of the same in other colours.
    """

    query: Levels
    truth: Tensor
    supports: Levels
    masks: Tensor
    classes: Tensor
    of: Tensor | None = None
    query_weight: Tensor | None = None
    support_weight: Tensor | None = None
    weak: Levels | None = None
    strong: Levels | None = None

    def asked(self, each: Tensor) -> Tensor:
        """Give what belongs to the E classes, (E, ...), for the class that each query is asked for, (P, ...)."""
        return each if self.of is None else each[self.of]


class FssModel(Protocol):
    """A network that labels one class, shown by S masked pictures, in a query.

    A model is a subclass of `FssNetwork`, which brings config, backbone, files and the call, with ``encode``,
    ``decode`` and ``seen_losses``. It is then also the few-shot part of a GFSS network, see `gfss.GfssModel`.

    Attributes:
        config: everything needed to build it again.
        backbone: the frozen backbone; no other weight of the model is frozen.
    """

    config: FssConfig
    backbone: Backbone

    def name_classes(self, names: Sequence[str]) -> None:
        """Say what the classes are called, by their numbers; models that read no text do not listen."""
        ...

    def __call__(self, query: Tensor, supports: Tensor, masks: Tensor, classes: Tensor) -> Tensor:
        """Give foreground logits float (B, h, w), any size.

        Args:
            query: pictures float (B, 3, H, W) in 0..1.
            supports: pictures float (B, S, 3, H, W) in 0..1.
            masks: uint8 (B, S, H, W) with 1 on the class, 0 on the rest and 255 where unknown or beside the picture.
            classes: int (B,), the number of each episode's class, see ``name_classes``.
        """
        ...

    def see(self, pictures: Tensor) -> Levels:
        """Give the backbone's levels of pictures float (B, 3, H, W) in 0..1."""
        ...

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give what is kept of B supports, each for itself.

        Args:
            levels: of the B pictures.
            masks: uint8 (B, H, W), see ``__call__``.
            classes: int (B,), see ``__call__``.
        """
        ...

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits float (B, h, w), any size.

        Args:
            query: levels of B queries.
            code: of their supports, (B, S, ...) each.
            size: (H, W) of the queries in pixels.
        """
        ...

    def losses(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Give the losses of a training step; "loss" is what to minimise."""
        ...

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Give the same of pictures that the backbone has seen already, as in a GFSS network."""
        ...


class FssConfig(BaseModel):
    """Everything that is needed to build an FSS model again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "iir"
    backbone: str = Field(description="folder of the backbone")
    shots: int = Field(1, ge=1, description="supports that the shots' weights are calibrated for (K)")
    stride: int = Field(8, description="output stride of the backbone, in pixels of the enlarged picture")
    precision: str = Field("auto", description="type of the backbone's convolutions, see backbones.Backbone")
    side: int = Field(0, ge=0, description="side of the squares that it was trained on, pixels; 0: not known")
    options: Mapping[str, Any] = Field({}, description="arguments of the model's own class, such as dim and blocks")
    seed: int = Field(0, ge=0, description="of the initial weights")


class FssNetwork(Pretrained, nn.Module):
    """What FSS models have in common: config, frozen backbone, files.

    Args:
        config: see `FssConfig`; stride and precision are taken from the backbone.
        backbone: given where several models share one.

    Attributes:
        apart: beginning of the names of the weights that `FssSettings.apart_lr` is for; none where it is empty.
    """

    apart = ""

    def __init__(self, config: FssConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config, self.backbone = config.model_copy(update=backbone.settings), backbone

    @property
    def unlabeled(self) -> int:
        """Unlabeled pictures that an episode of training is to bring, see `EpisodeBatch`; GFSS brings none."""
        return 0

    def name_classes(self, names: Sequence[str]) -> None:
        """Say what the classes are called, see `FssModel`."""

    def forward(self, query: Tensor, supports: Tensor, masks: Tensor, classes: Tensor) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        of_each = classes.repeat_interleave(masks.shape[1])
        code = self.encode(self.see(supports.flatten(0, 1)), masks.flatten(0, 1), of_each)
        code = {name: x.unflatten(0, masks.shape[:2]) for name, x in code.items()}
        return self.decode(self.see(query), code, (query.shape[-2], query.shape[-1]))

    def see(self, pictures: Tensor) -> Levels:
        """Give the backbone's levels of pictures, see `FssModel`."""
        return self.backbone(pictures)

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give what is kept of supports, see `FssModel`."""
        raise NotImplementedError

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        raise NotImplementedError

    def losses(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Give the losses of a training step, see `FssModel`."""
        supports = self.see(batch.supports.flatten(0, 1))
        weak, strong = (None if x is None else self.see(x.flatten(0, 1)) for x in (batch.weak, batch.strong))
        return self.seen_losses(SeenBatch(
            self.see(batch.query), batch.truth, supports, batch.masks, batch.classes, weak=weak, strong=strong
        ))  # fmt: skip

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Give the losses of what was seen, see `FssModel`."""
        raise NotImplementedError

    def save(self, folder: str | Path) -> None:
        """Write the weights and the config; the frozen backbone is named, not copied."""
        write_model(folder, trainable_state(self), self.config, self.backbone)

    @classmethod
    def load(cls, folder: str | Path, backbone: Backbone | None = None) -> Any:
        """Read a saved model of any name; it predicts what the saved one predicted, bit for bit.

        Raises:
            InputError: the folder holds no such model, or the backbone has changed since.
        """
        config, expected = read_config(Path(folder), FssConfig, backbone)
        model = build_fss_model(config, backbone)
        read_weights(Path(folder), model, expected)
        return model.eval()


class IirFss(FssNetwork):
    """IIR, or another preset of its decoder, on a frozen backbone.

    Args:
        config: ``name`` is that of the preset, ``options`` change its settings, see `iir.IIRConfig`. Two more: with
            ``fine_maps: false`` the maps of the pretraining class have the size of f3 instead of the pictures', which
            is quicker; ``train_projection: false`` is ``compat.detached_input``.
        backbone: given where several models share one.
    """

    def __init__(self, config: FssConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        options = {"shots": config.shots, **config.options}
        self.fine_maps = bool(options.pop("fine_maps", True))
        if not options.pop("train_projection", True):
            options["compat"] = {**options.get("compat", {}), "detached_input": True}
        mid, high = backbone.channels[1] + backbone.channels[2], backbone.channels[3]
        self.decoder = IIR(mid, high, preset(config.name), **options)

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give the decoder's code of supports and their pretraining classes, see `FssModel`."""
        beside, masks = (masks == 0)[:, None], (masks == 1)[:, None]
        seen, own = see_supports(self.backbone, levels, masks, self._maps(masks))
        code = self.decoder.encode_supports(seen, masks, beside)
        parts = {f.name: getattr(code, f.name) for f in fields(code)}
        return {"classes": own[:, 0], **{name: x[:, 0] for name, x in parts.items() if x is not None}}

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        return self.decode_seen(self.see_queries(query, code, size), query, code).final

    def see_queries(self, query: Levels, code: Code, size: tuple[int, int]) -> Seen:
        """Give what the decoder sees of queries of a size in pixels for the classes of their supports."""
        return see_queries(self.backbone, query, code["classes"], size if self.fine_maps else None)

    def decode_seen(self, seen: Seen, query: Levels, code: Code) -> Decoded:
        """Give all that the decoder says of queries."""
        parts = {name: x for name, x in code.items() if name != "classes"}
        return self.decoder.decode(seen, SupportCode(**parts), top=self.backbone.undilated(query.f4))

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Give IIR's losses, see `FssModel`."""
        masks = seen.masks == 1
        support, classes = see_supports(self.backbone, seen.supports, masks, self._maps(masks))
        query = see_queries(self.backbone, seen.query, seen.asked(classes), self._maps(masks))
        code = self.decoder.encode_supports(support, masks, seen.masks == 0)
        asked = code if seen.of is None else code.take(seen.of)
        top = self.backbone.undilated(seen.query.f4)
        out = self.decoder.decode(query, asked, seen.truth, seen.asked(seen.classes), top)
        odd = self.decoder.config.compat.ignore_as_background
        return iir_loss(
            out, code, seen.truth, seen.masks, ignore_as_background=odd, query_weight=seen.query_weight,
            support_weight=seen.support_weight,
        )

    def _maps(self, masks: Tensor) -> torch.Size | None:
        return masks.shape[-2:] if self.fine_maps else None


class Matching(FssNetwork):
    """Plain prototype matching, the reference to beat: nothing is learnt.

    A cell goes to the nearer of two prototypes by cosine: the mean over the supports' masks and that over the rest.
    Source: PANet, with its temperature, on the middle levels of a backbone that is not fine-tuned.

    Args:
        config: no options.
        backbone: given where several models share one.

    Raises:
        TypeError: options, of which it has none.
    """

    TEMPERATURE = 20.0

    def __init__(self, config: FssConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        if config.options:
            raise TypeError("it has none, add --set experiment.fss.options={}")

    def encode(self, levels: Levels, masks: Tensor, classes: Tensor) -> Code:
        """Give the two prototypes of supports, see `FssModel`."""
        soft = (resize((masks == m)[:, None].float(), levels.f3.shape[-2:])[:, 0] for m in (1, 0))
        return dict(zip(("thing", "rest"), contrast_prototypes(levels.f3, *soft), strict=True))

    def decode(self, query: Levels, code: Code, size: tuple[int, int]) -> Tensor:
        """Give foreground logits, see `FssModel`."""
        found = contrast(query.f3, code["thing"].mean(1), code["rest"].mean(1))
        return resize(self.TEMPERATURE * found, size)[:, 0]

    def seen_losses(self, seen: SeenBatch) -> dict[str, Tensor]:
        """Refuse: there is nothing to train."""
        raise InputError("prototype matching has nothing to train: use evaluate, or train --model iir")


def _symnet(config: FssConfig, backbone: Backbone) -> FssNetwork:
    from fss_models.symnet import SymNet

    return SymNet(config, backbone)


def _rifenet(config: FssConfig, backbone: Backbone) -> FssNetwork:
    from fss_models.rifenet import RiFeNet

    return RiFeNet(config, backbone)


FSS_MODELS: dict[str, Callable[[FssConfig, Backbone], Any]] = {
    "iir": IirFss, "i2r": IirFss, "symnet": _symnet, "rifenet": _rifenet, "matching": Matching,
}  # fmt: skip
"""Name in the config -> what builds it; iir and i2r are presets of one decoder."""


def build_fss_model(config: FssConfig, backbone: Backbone | None = None) -> Any:
    """Build the FSS model that ``config.name`` names, with weights that ``config.seed`` draws.

    Raises:
        InputError: there is no model of that name, or it has no such option.
    """
    check_name(config.name)
    backbone = backbone or Backbone.from_pretrained(config.backbone, stride=config.stride, precision=config.precision)
    with seeded(config.seed, "initial weights"):
        return new_network(config, backbone)


def new_network(config: FssConfig, backbone: Backbone) -> Any:
    """Build the model that ``config.name`` names with weights from the random state as it is.

    Raises:
        InputError: see `build_fss_model`.
    """
    check_name(config.name)
    try:
        return FSS_MODELS[config.name](config, backbone)
    except (TypeError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InputError(f"model {config.name} does not take the options {dict(config.options)}: {reason}") from error


def check_name(name: str) -> None:
    """Look that there is a model of that name.

    Raises:
        InputError: there is none.
    """
    if name not in FSS_MODELS:
        raise InputError(f"unknown FSS model {name!r}: expected one of {', '.join(FSS_MODELS)}")


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Give a model's weights without those of its frozen backbone."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
