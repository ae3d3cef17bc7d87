"""The frozen backbone: a transformers classifier, its levels, finer by dilation, and its own classes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fss_models.layers import resize
from fss_models.networks import (
    FULL_SIZE_INPUT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Convolutional,
    Patches,
    blocks_of,
    class_scores,
    dilate,
    embed,
    fold_norms,
    input_size,
    of_patches,
    read_network,
    run_stage,
    take_apart,
)
from pipeline.backends.precision import knows_bfloat16
from pipeline.errors import InputError


class Levels(NamedTuple):
    """The four levels of a picture, float (B, C, h, w).

    With stride 8, f2, f3 and f4 are of one size, f1 twice that; a network of patches has one size for all. ``token`` is
    what such a network has beside its patches at the third level, (B, T, C), else None. ``blocks2`` to ``blocks4`` are
    there for who asks: what the blocks of a level say one by one, before their last activation, joined along the
    channels (`Backbone.blocks` tells how many each has), in the type that the backbone computes in.
    """

    f1: Tensor
    f2: Tensor
    f3: Tensor
    f4: Tensor
    token: Tensor | None = None
    blocks2: Tensor | None = None
    blocks3: Tensor | None = None
    blocks4: Tensor | None = None

    @property
    def maps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four levels alone."""
        return self[:4]

    def take(self, index: Tensor) -> Levels:
        """Give the levels of some pictures of the batch; index (P,) of int."""
        return Levels(*(None if level is None else level[index] for level in self))


class Backbone(nn.Module):
    """A frozen convolutional classifier: ResNet, RegNet, ConvNeXt or MobileNetV2.

    It stays in evaluation mode whatever happens around it, its normalisation is folded into its convolutions, and no
    gradient reaches its weights.

    Args:
        network: a transformers classifier.
        stride: output stride of f3 and f4: 8, 16 or 32. 8 and 16 replace strides by dilation in stages 3 and 4.
        input_size: pictures whose longer side is below this are enlarged to it.
        mean: mean of each channel, RGB in 0..1.
        std: its deviation.
        source: the folder it came from.
        precision: type that the convolutions run in: "float32", "bfloat16", or "auto" for bfloat16 where the machine
            knows it, which halves the time there, else float32.

    Raises:
        InputError: the network is built in an unknown way, or cannot be dilated.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        stride: int = 8,
        input_size: int = FULL_SIZE_INPUT,
        mean: tuple[float, ...] = tuple(IMAGENET_MEAN),
        std: tuple[float, ...] = tuple(IMAGENET_STD),
        source: str = "",
        precision: str = "auto",
    ) -> None:
        super().__init__()
        if stride not in (8, 16, 32):
            raise InputError(f"backbone stride {stride} does not exist: choose 8, 16 or 32")
        self.stride, self.input_size, self.source, self.precision = stride, input_size, source, precision
        if precision == "auto":
            precision = "bfloat16" if knows_bfloat16() else "float32"
        self.dtype = getattr(torch, precision)
        self.classes = int(network.config.num_labels)
        self._build(take_apart(network.eval()), network)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.requires_grad_(False)
        self.eval()

    def _build(self, parts: Convolutional | Patches, network: nn.Module) -> None:
        fold_norms(network)
        self.stem, self.stages, self.head = parts
        self.channels, self.blocks = _channels(self.stem, self.stages)
        self._top_as_trained = [_sharing_copy(self.stages[3])]
        # where the first cell of a strided convolution lies in the dilated map, on even sides
        self._offset = int(getattr(network.config, "tf_padding", False))
        if self.stride == 8:
            dilate(self.stages[2], 1, 2)
            dilate(self.stages[3], 2, 4)
        elif self.stride == 16:
            dilate(self.stages[3], 1, 2)
        for module in (self.stem, self.stages, *self._top_as_trained):
            module.to(dtype=self.dtype, memory_format=torch.channels_last)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, stride: int = 8, precision: str = "auto") -> Backbone:
        """Load a classifier: a transformers folder with its ``preprocessor_config.json``, or see `read_network`.

        Args:
            folder: where it is.
            stride: see `Backbone`; a network of patches has the stride it has.
            precision: see `Backbone`.

        Raises:
            InputError: there is no such folder, or it holds no whole classifier of a known kind.
        """
        network, settings = read_network(Path(folder))
        kind = PatchBackbone if of_patches(network) else Backbone
        return kind(
            network,
            stride=stride,
            input_size=input_size(settings),
            mean=tuple(settings.get("image_mean", IMAGENET_MEAN)),
            std=tuple(settings.get("image_std", IMAGENET_STD)),
            source=str(folder),
            precision=precision,
        )

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode."""
        return super().train(False)

    def _pixels(self, pictures: Tensor, multiple: int = 1) -> Tensor:
        """Enlarge small pictures, bring the sides to a multiple, standardise the channels."""
        return (enlarged(pictures, self.input_size, multiple) - self.mean) / self.std

    @torch.no_grad()
    def forward(self, pictures: Tensor, blocks: bool = False) -> Levels:
        """Give the levels of pictures.

        Args:
            pictures: float (B, 3, H, W) in 0..1, RGB; small ones are enlarged to ``input_size``.
            blocks: also give what the blocks of f2 to f4 say one by one; without it nothing of that is kept.

        Returns:
            Float levels; f1 has about H/4 x W/4 cells, counted after enlarging.
        """
        x = self._pixels(pictures).to(dtype=self.dtype, memory_format=torch.channels_last)
        x = self.stem(x)
        levels, said = [], []
        for stage in self.stages:
            x, each = run_stage(stage, x) if blocks and levels else (stage(x), [])
            levels.append(x.float())
            said += [torch.cat(each, 1)] if each else []
        return Levels(*levels, None, *said)

    @torch.no_grad()
    def top(self, f3: Tensor, token: Tensor | None = None) -> Tensor:
        """Give f4 of changed third levels (B, C3, h, w); ``token`` as in `Levels`."""
        return self.stages[3](f3.to(self.dtype, memory_format=torch.channels_last)).float()

    def as_trained(self, f3: Tensor, token: Tensor | None = None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Give f3 at the stride of pretraining, and the function from it to the scores of the pretraining classes.

        Every second cell of a dilated f3 is exactly the undilated f3.
        """
        stage = self._top_as_trained[0]
        if self.stride == 8:
            f3 = self._every_second(f3)
        return f3, lambda a: self.classify(stage(a.to(self.dtype)).float())

    def undilated(self, f4: Tensor) -> Tensor:
        """Give the cells of a fourth level (B, C4, h, w) that the network has at the stride of its pretraining."""
        for _ in range({8: 2, 16: 1, 32: 0}[self.stride]):
            f4 = self._every_second(f4)
        return f4

    def _every_second(self, level: Tensor) -> Tensor:
        top, left = (self._offset * (1 - side % 2) for side in level.shape[-2:])
        return level[..., top::2, left::2]

    def classify(self, f4: Tensor) -> Tensor:
        """Give the scores (B, classes) of the pretraining classes from fourth levels (B, C4, h, w)."""
        return self.head(f4.mean((2, 3)))

    @property
    def settings(self) -> dict[str, Any]:
        """What a model's config must say of a backbone that it was given, so that the same one is read again."""
        return {"stride": self.stride, "precision": self.precision}

    @property
    def weights_id(self) -> str:
        """Hash of the weights to bfloat16's digits: equal weights, equal id, whatever they are computed in here."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.state_dict().items():
            digest.update(name.encode() + tensor.bfloat16().float().cpu().numpy().tobytes())
        return digest.hexdigest()


class PatchBackbone(Backbone):
    """A frozen classifier of patches, ViT or DINOv2: its levels are the patch tokens after each quarter of its blocks.

    The last level is normalised as the classifier wants it. What a block says is its output: the sum of all so far,
    which no activation follows. Sides are brought to the nearest multiple of a patch. A
    support is masked as in a convolutional network, at the third level; its class token has seen the whole picture.
    Source: IIR's DINOv2 variant with its levels as presumably intended (systems.md 5.1).
    """

    def _build(self, parts: Convolutional | Patches, network: nn.Module) -> None:
        self.embeddings, self.norm, self.head = parts.embeddings, parts.norm, parts.head
        self.stages = nn.ModuleList(blocks_of(parts))
        self._parts = [parts]
        self.patch, self.prefix = network.config.patch_size, parts.prefix
        self.channels = (network.config.hidden_size,) * 4
        self.blocks = tuple((network.config.hidden_size,) * len(stage) for stage in self.stages[1:])
        self.embeddings.to(self.dtype)
        self.stages.to(self.dtype)

    @torch.no_grad()
    def forward(self, pictures: Tensor, blocks: bool = False) -> Levels:
        """Give the levels, float (B, C, h, w) with a cell a patch; see `Backbone.forward`."""
        pixels = self._pixels(pictures, self.patch)
        size = [side // self.patch for side in pixels.shape[-2:]]
        x = embed(self.embeddings, pixels.to(self.dtype))
        tokens, said = [], []
        for number, stage in enumerate(self.stages):
            each = []
            for block in stage:
                x = block(x)
                each += [x] if blocks and number else []
            tokens.append(x.float())
            said += [self._as_map(torch.cat(each, 2), size)] if each else []
        maps = [self._as_map(t, size) for t in (*tokens[:3], self.norm(tokens[3]))]
        return Levels(*maps, tokens[2][:, : self.prefix], *said)

    @torch.no_grad()
    def top(self, f3: Tensor, token: Tensor | None = None) -> Tensor:
        """Give f4 of changed third levels (B, C, h, w) and their tokens (B, T, C)."""
        return self._as_map(self._last(f3, token), f3.shape[-2:])

    def as_trained(self, f3: Tensor, token: Tensor | None = None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Give f3 as it is, and the function from it to the scores of the pretraining classes."""
        return f3, lambda a: class_scores(self._parts[0], self._last(a, token))

    def undilated(self, f4: Tensor) -> Tensor:
        """Give a fourth level as it is: patches have one stride."""
        return f4

    def classify(self, f4: Tensor) -> Tensor:
        """Not for patches: their scores need the class token, see `as_trained`."""
        raise TypeError("the scores of a network of patches come from its third level: use as_trained")

    def _as_map(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, tuple(size))

    def _last(self, f3: Tensor, token: Tensor | None) -> Tensor:
        if token is None:
            raise TypeError("a network of patches needs the token of its third level: hand on Levels.token")
        x = torch.cat([token, f3.flatten(2).transpose(1, 2)], 1).to(self.dtype)
        for block in self.stages[3]:
            x = block(x)
        return self.norm(x.float())


def enlarged(pictures: Tensor, least: int, multiple: int = 1) -> Tensor:
    """Enlarge pictures (B, C, H, W) until the longer side has ``least`` pixels, and bring the sides to a multiple."""
    factor = max(1.0, least / max(pictures.shape[-2:]))
    size = [max(multiple, round(side * factor / multiple) * multiple) for side in pictures.shape[-2:]]
    return resize(pictures, size)


@torch.no_grad()
def _channels(stem: nn.Module, stages: nn.ModuleList) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Give the channels of the four levels, and of each block of the last three."""
    x, levels, blocks = stem(torch.zeros(1, 3, 64, 64)), [], []
    for stage in stages:
        x, said = run_stage(stage, x)
        levels.append(x.shape[1])
        blocks.append(tuple(each.shape[1] for each in said))
    return tuple(levels), tuple(blocks[1:])


def _sharing_copy(stage: nn.Module) -> nn.Module:
    """Copy a stage; the copy uses the very same weights."""
    memo = {id(p): p for p in stage.parameters()}
    return copy.deepcopy(stage, memo)
