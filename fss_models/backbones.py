"""The frozen backbone: a transformers ResNet classifier, its levels, finer by dilation, and its own classes."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.errors import InputError, cause_of

FULL_SIZE_INPUT = 224


class Levels(NamedTuple):
    """The four levels of a picture, float (B, C, h, w); with stride 8, f2, f3 and f4 are of one size, f1 twice that."""

    f1: Tensor
    f2: Tensor
    f3: Tensor
    f4: Tensor

    def take(self, index: Tensor) -> Levels:
        """Give the levels of some pictures of the batch; index (P,) of int."""
        return Levels(*(level[index] for level in self))


class Backbone(nn.Module):
    """A frozen ResNet classifier.

    It stays in evaluation mode whatever happens around it, its normalisation is folded into its convolutions, and no
    gradient reaches its weights.

    Args:
        network: a transformers ``ResNetForImageClassification``.
        stride: output stride of f3 and f4: 8, 16 or 32. 8 and 16 replace strides by dilation in stages 3 and 4.
        input_size: pictures whose longer side is below this are enlarged to it.
        mean: mean of each channel, RGB in 0..1.
        std: its deviation.
        source: the folder it came from.
        precision: type that the convolutions run in; "bfloat16" halves the time on processors that know it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        stride: int = 8,
        input_size: int = FULL_SIZE_INPUT,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        source: str = "",
        precision: str = "bfloat16",
    ) -> None:
        super().__init__()
        if stride not in (8, 16, 32):
            raise InputError(f"backbone stride {stride} does not exist: choose 8, 16 or 32")
        self.stride, self.input_size, self.source = stride, input_size, source
        self.dtype = getattr(torch, precision)
        self.channels = tuple(network.config.hidden_sizes)
        self.classes = int(network.config.num_labels)
        network = _folded(network.eval())
        self.stem = network.resnet.embedder
        self.stages = network.resnet.encoder.stages
        self.head = nn.Linear(self.channels[-1], self.classes)
        self.head.load_state_dict(network.classifier[-1].state_dict())
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self._top_as_trained = [_sharing_copy(self.stages[3])]
        self.skip = 2 if stride == 8 else 1
        if stride == 8:
            _dilate(self.stages[2], 1, 2)
            _dilate(self.stages[3], 2, 4)
        elif stride == 16:
            _dilate(self.stages[3], 1, 2)
        for module in (self.stem, self.stages, *self._top_as_trained):
            module.to(dtype=self.dtype, memory_format=torch.channels_last)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, stride: int = 8, precision: str = "bfloat16") -> Backbone:
        """Load a transformers ResNet folder with its ``preprocessor_config.json``.

        Raises:
            InputError: there is no such folder, or it holds no whole ResNet classifier.
        """
        from safetensors import SafetensorError
        from transformers import ResNetForImageClassification

        folder = Path(folder)
        if not (folder / "config.json").exists():
            raise InputError(f"no backbone in {folder}: expected the folder of a transformers ResNet classifier")
        try:
            network, found = ResNetForImageClassification.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True,
                ignore_mismatched_sizes=True,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise InputError(f"the backbone in {folder} cannot be loaded ({cause_of(error)}): get it anew") from error
        if wrong := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
            raise InputError(
                f"the backbone in {folder} has {len(wrong)} weights missing or of another shape, such as {wrong[0]}: "
                "get it anew"
            )
        settings = {}
        if (folder / "preprocessor_config.json").exists():
            settings = json.loads((folder / "preprocessor_config.json").read_text())
        size = settings.get("size", {})
        return cls(
            network,
            stride=stride,
            input_size=size.get("height") or size.get("shortest_edge") or FULL_SIZE_INPUT,
            mean=tuple(settings.get("image_mean", (0.485, 0.456, 0.406))),
            std=tuple(settings.get("image_std", (0.229, 0.224, 0.225))),
            source=str(folder),
            precision=precision,
        )

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Levels:
        """Give the levels of pictures.

        Args:
            pictures: float (B, 3, H, W) in 0..1, RGB; small ones are enlarged to ``input_size``.

        Returns:
            Float levels; f1 has about H/4 x W/4 cells, counted after enlarging.
        """
        longer = max(pictures.shape[-2:])
        if longer < self.input_size:
            size = [max(1, round(side * self.input_size / longer)) for side in pictures.shape[-2:]]
            pictures = F.interpolate(pictures, size=size, mode="bilinear")
        x = ((pictures - self.mean) / self.std).to(dtype=self.dtype, memory_format=torch.channels_last)
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x.float())
        return Levels(*levels)

    @torch.no_grad()
    def top(self, f3: Tensor) -> Tensor:
        """Give f4 of changed third levels (B, C3, h, w)."""
        return self.stages[3](f3.to(self.dtype, memory_format=torch.channels_last)).float()

    def as_trained(self, f3: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Give f3 at the stride of pretraining, and the function from it to the scores of the pretraining classes.

        Every second cell of a dilated f3 is exactly the undilated f3.
        """
        stage = self._top_as_trained[0]
        return f3[..., :: self.skip, :: self.skip], lambda a: self.classify(stage(a.to(self.dtype)).float())

    def classify(self, f4: Tensor) -> Tensor:
        """Give the scores (B, classes) of the pretraining classes from fourth levels (B, C4, h, w)."""
        return self.head(f4.mean((2, 3)))

    @property
    def weights_id(self) -> str:
        """Hash of the weights: equal weights, equal id."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.state_dict().items():
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()


def _folded(network: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution before it."""
    for module in network.modules():
        if isinstance(getattr(module, "normalization", None), nn.BatchNorm2d):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.normalization)
            module.normalization = nn.Identity()
    return network


def _dilate(stage: nn.Module, before: int, after: int) -> None:
    """Replace the stride of a stage by dilation: ``before`` for its first 3x3 convolution, ``after`` for the others."""
    rate = before
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (rate, rate)
                rate = after


def _sharing_copy(stage: nn.Module) -> nn.Module:
    """Copy a stage; the copy uses the very same weights."""
    memo = {id(p): p for p in stage.parameters()}
    return copy.deepcopy(stage, memo)
