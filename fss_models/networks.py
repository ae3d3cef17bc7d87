"""transformers classifiers taken apart: a stem, four stages, and the way from the last one to the class scores."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.errors import InputError, cause_of

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FULL_SIZE_INPUT = 224
MOBILENET_ENDS = (2, 5, 12)
"""Blocks of MobileNetV2 whose expansion ends a stage: the last maps of stride 4, 8, 16.

They are behind an activation and so not negative, which XGrad-CAM needs: it divides by their sum. The blocks' own
outputs are linear; with them the maps are hardly better than chance on photographs (docs/decisions.md).
"""


class Convolutional(NamedTuple):
    """A convolutional classifier: each stage turns maps into maps, the head reads the averaged last one."""

    stem: nn.Module
    stages: nn.ModuleList
    head: nn.Module


class Patches(NamedTuple):
    """A classifier of patch tokens: embeddings, blocks, last norm, head, and the tokens before those of the patches."""

    embeddings: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module
    head: nn.Linear
    prefix: int


def read_network(place: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load an image classifier and the settings of its preprocessing.

    Args:
        place: a transformers folder, or a ``.safetensors`` file of a MobileNetV2 with torchvision's key names.

    Returns:
        The network in evaluation mode, float32, and what its ``preprocessor_config.json`` says.

    Raises:
        InputError: nothing is there, or no whole classifier.
    """
    from safetensors import SafetensorError

    if place.suffix == ".safetensors":
        try:
            return _mobilenet(place)
        except (OSError, RuntimeError, KeyError, SafetensorError) as error:
            raise InputError(
                f"the backbone in {place} cannot be loaded ({cause_of(error)}): expected a MobileNetV2 1.0 with "
                "torchvision's key names"
            ) from error
    if not (place / "config.json").exists():
        raise InputError(f"no backbone in {place}: expected the folder of a transformers ResNet or another classifier")
    from transformers import AutoModelForImageClassification

    try:
        network, found = AutoModelForImageClassification.from_pretrained(
            place, dtype=torch.float32, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(f"the backbone in {place} cannot be loaded ({cause_of(error)}): get it anew") from error
    if wrong := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
        raise InputError(
            f"the backbone in {place} has {len(wrong)} weights missing or of another shape, such as {wrong[0]}: "
            "get it anew"
        )
    settings = place / "preprocessor_config.json"
    return network.eval(), json.loads(settings.read_text()) if settings.exists() else {}


def input_size(settings: dict[str, Any]) -> int:
    """Give the side in pixels that a network was trained on, from its preprocessing."""
    size = settings.get("crop_size") or settings.get("size", {})
    return size.get("height") or size.get("shortest_edge") or FULL_SIZE_INPUT


def take_apart(network: nn.Module) -> Convolutional | Patches:
    """Find the parts of a classifier, and make sure that together they score as the whole does.

    Raises:
        InputError: the network is built in another way.
    """
    parts = _find(network)
    if parts is None or not _is_whole(network, parts):
        raise InputError(
            f"a {type(network).__name__} cannot be taken apart into four levels: expected a ResNet, RegNet, ConvNeXt, "
            "MobileNetV2, ViT or DINOv2 classifier"
        )
    return parts


def of_patches(network: nn.Module) -> bool:
    """Tell whether a classifier looks at patches."""
    return isinstance(_find(network), Patches)


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution before it."""
    for module in network.modules():
        if isinstance(getattr(module, "normalization", None), nn.BatchNorm2d):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.normalization)
            module.normalization = nn.Identity()
    return network


def dilate(stage: nn.Module, before: int, after: int) -> None:
    """Replace the stride of a stage by dilation: ``before`` for its first wide convolution, ``after`` for the others.

    Raises:
        InputError: the stage sees more than its convolutions' windows or strides by windows of even width.
    """
    rate = before
    for module in stage.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d) or (
            isinstance(module, nn.Conv2d) and module.kernel_size[0] % 2 == 0
        ):
            raise InputError("this backbone cannot be dilated: choose stride 32")
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size[0] > 1:
                module.dilation = (rate, rate)
                if module.padding != (0, 0):  # with TensorFlow's padding the layer pads by itself
                    module.padding = (rate * (module.kernel_size[0] // 2),) * 2
                rate = after


def run_stage(stage: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run a stage of a convolutional classifier and listen to its blocks.

    Returns:
        The stage's output as it ever is, and what each block says before its last activation: in ResNet and RegNet the
        sum with its shortcut. The blocks of ConvNeXt and MobileNetV2 end without an activation: their outputs.
    """
    said = []
    for part in (*getattr(stage, "downsampling_layer", ()), *getattr(stage, "layers", stage)):
        if hasattr(part, "shortcut"):
            said.append(part.layer(x) + part.shortcut(x))
            x = part.activation(said[-1])
        else:
            x = part(x)
            linear = getattr(part, "activation", part) is None  # the end of a MobileNetV2 block that changes the stride
            if linear or hasattr(part, "reduce_1x1") or hasattr(part, "dwconv"):
                said.append(x)
    return x, said


def blocks_of(parts: Patches) -> list[nn.ModuleList]:
    """Give the blocks in four groups of equal length."""
    ends = [len(parts.blocks) * i // 4 for i in range(5)]
    return [nn.ModuleList(parts.blocks[a:b]) for a, b in pairwise(ends)]


def class_scores(parts: Patches, tokens: Tensor) -> Tensor:
    """Give scores (B, classes) from normalised tokens (B, T, C): of the class token; DINOv2 adds the mean patch."""
    first = tokens[:, 0]
    if parts.head.in_features == 2 * first.shape[1]:
        first = torch.cat([first, tokens[:, parts.prefix :].mean(1)], 1)
    return parts.head(first)


def embed(embeddings: nn.Module, pixels: Tensor) -> Tensor:
    """Give the tokens (B, T, C) of pictures of any size."""
    return embeddings(pixels, **_any_size(embeddings))


def _any_size(module: nn.Module) -> dict[str, bool]:
    """Give the argument that lets a ViT interpolate its positions; others do without being told."""
    known = "interpolate_pos_encoding" in inspect.signature(module.forward).parameters
    return {"interpolate_pos_encoding": True} if known else {}


def _find(network: nn.Module) -> Convolutional | Patches | None:
    base, head = network.base_model, getattr(network, "classifier", None)
    encoder = getattr(base, "encoder", base)
    stem = getattr(base, "embedder", getattr(base, "embeddings", None))
    blocks = getattr(encoder, "layer", getattr(base, "layers", None))
    if hasattr(base, "conv_stem"):
        return _mobilenet_parts(base, head)
    if len(getattr(encoder, "stages", ())) == 4:
        head = head[-1] if isinstance(head, nn.Sequential) else head
        norm = getattr(base, "layernorm", None)
        return Convolutional(stem, encoder.stages, head if norm is None else nn.Sequential(norm, head))
    if isinstance(blocks, nn.ModuleList) and len(blocks) >= 4 and isinstance(head, nn.Linear):
        return Patches(stem, blocks, base.layernorm, head, 1 + getattr(network.config, "num_register_tokens", 0))
    return None


@torch.no_grad()
def _is_whole(network: nn.Module, parts: Convolutional | Patches) -> bool:
    """Compare the parts with the whole on a small picture of noise."""
    side = 4 * network.config.patch_size if isinstance(parts, Patches) else 64
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = network(pixels, **_any_size(network)).logits
    if isinstance(parts, Convolutional):
        x = parts.stem(pixels)
        for stage in parts.stages:
            x = stage(x)
        found = parts.head(x.mean((2, 3)))
    else:
        x = embed(parts.embeddings, pixels)
        for block in parts.blocks:
            x = block(x)
        found = class_scores(parts, parts.norm(x))
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def _mobilenet_parts(base: nn.Module, head: nn.Module) -> Convolutional:
    stages = [nn.Sequential() for _ in range(4)]
    for number, block in enumerate(base.layer):
        stage = sum(number > end for end in MOBILENET_ENDS)
        if number in MOBILENET_ENDS:  # it changes the stride, so it has no shortcut around it
            stages[stage].append(block.expand_1x1)
            stages[stage + 1].extend([block.conv_3x3, block.reduce_1x1])
        else:
            stages[stage].append(block)
    stages[3].append(base.conv_1x1)
    return Convolutional(base.conv_stem, nn.ModuleList(stages), head)


def _mobilenet(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a MobileNetV2 1.0 that was trained in TensorFlow and saved with torchvision's key names."""
    from safetensors.torch import load_file
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    tensors = load_file(path)
    classes = len(tensors["classifier.1.bias"])
    # torchvision's epsilon: these weights were scaled for it
    network = MobileNetV2ForImageClassification(
        MobileNetV2Config(num_labels=classes, tf_padding=True, layer_norm_eps=1e-5)
    )
    network.load_state_dict({mobilenet_key(key): tensor for key, tensor in tensors.items()})
    return network.eval(), {"size": {"height": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def mobilenet_key(key: str) -> str:
    """Translate a key of torchvision's MobileNetV2 into that of transformers.

    ``features.0`` is the first convolution, 1 the first block (without expansion), 2 to 17 the others, 18 the last
    convolution. Inside a block each convolution has its norm in the place after it; only the last one, which has no
    activation, is not nested.
    """
    part, *rest = key.split(".")
    if part == "classifier":
        return f"classifier.{rest[-1]}"
    number, inner, name = int(rest[0]), rest[1:-1], rest[-1]
    if number in (0, 18):
        layer = "conv_stem.first_conv" if number == 0 else "conv_1x1"
        norm = inner == ["1"]
    else:
        names = ["conv_3x3", "reduce_1x1"] if number == 1 else ["expand_1x1", "conv_3x3", "reduce_1x1"]
        place = int(inner[1])
        norm = inner[2:] == ["1"] if len(inner) == 3 else place == len(names)
        layer = "conv_stem" if number == 1 else f"layer.{number - 2}"
        layer = f"{layer}.{names[min(place, len(names) - 1)]}"
    return f"mobilenet_v2.{layer}.{'normalization' if norm else 'convolution'}.{name}"
