"""How pictures of any size become squares: fitted for evaluation, varied by the published recipes for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional as F

from fss_models.data import MILD, Labelled, vary
from pipeline.classes import IGNORE
from pipeline.types import LabelMap, Picture

PAD = (0.485, 0.456, 0.406)
"""Colour beside a picture: ImageNet's mean, which is zero after normalisation. Source: BAM."""

Augmentation = Literal["mild", "recipe", "photometric", "none"]
TURN, BLUR_SIDE = 10.0, 5
"""Greatest rotation in degrees and width of the Gaussian blur in pixels. Source: systems.md 5.7 (BAM's recipe)."""

JITTER, HUE = 0.5, 0.25
"""Strengths of the strong view's changes of colour. Source: systems.md 7.6."""

MOST_TRIES, KEPT_SHARE = 30, 0.85
"""A crop is drawn again until so much of the class is left; then the best is taken. Source: PFENet's crop."""


def fit(picture: Picture, labels: LabelMap, side: int) -> tuple[Tensor, Tensor]:
    """Bring the longer side to ``side`` and fill the rest, right and below, with the mean colour and 255.

    Args:
        picture: uint8 RGB (H, W, 3).
        labels: uint8 (H, W).
        side: of the square in pixels.

    Returns:
        Float (3, side, side) in 0..1 and labels uint8 (side, side).
    """
    x, y = _tensors(picture, labels)
    size = [max(1, round(n * side / max(labels.shape))) for n in labels.shape]
    if tuple(size) != labels.shape:
        x = F.interpolate(x, size=size, mode="bilinear")
        y = F.interpolate(y, size=size, mode="nearest-exact")
    square = torch.tensor(PAD)[:, None, None].repeat(1, side, side)
    square[:, : size[0], : size[1]] = x[0]
    filled = torch.full((side, side), IGNORE, dtype=torch.uint8)
    filled[: size[0], : size[1]] = y[0, 0].to(torch.uint8)
    return square, filled


def as_tensors(
    data: Labelled, places: Sequence[int], device: torch.device, side: int = 0
) -> tuple[Tensor, Tensor]:
    """Give some items of a set: pictures float (B, 3, H, W) in 0..1 and labels uint8 (B, H, W).

    Args:
        data: the set.
        places: of the items.
        device: of the tensors.
        side: of the squares that they are fitted to, see `fit`; 0 leaves pictures of one size as they are, and fits
            others to the longest side among them.
    """
    items = [data[i] for i in places]
    sizes = {y.shape for _, y in items}
    if side or len(sizes) > 1:
        fitted = [fit(x, y, side or max(n for size in sizes for n in size)) for x, y in items]
        return tuple(torch.stack(part).to(device) for part in zip(*fitted, strict=True))  # type: ignore[return-value]
    pictures = torch.from_numpy(np.stack([p for p, _ in items])).to(device).permute(0, 3, 1, 2).float() / 255
    return pictures, torch.from_numpy(np.stack([y for _, y in items])).to(device)


def unfit(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits (..., h, w) of a fitted square to the picture's own size (..., H, W).

    The same as padding the original label to a square and enlarging the logits to it.
    """
    square = logits.reshape(1, -1, *logits.shape[-2:])
    if square.shape[-1] != max(size) or square.shape[-2] != max(size):
        square = F.interpolate(square, size=(max(size), max(size)), mode="bilinear")
    return square[0, :, : size[0], : size[1]].reshape(*logits.shape[:-2], *size)


def augment(
    picture: Picture, mask: LabelMap, side: int, kind: Augmentation, scale: tuple[float, float],
    rng: np.random.Generator, label: int = 1,
) -> tuple[Tensor, Tensor]:
    """Give a varied square, float (3, side, side) in 0..1 and its mask uint8 (side, side).

    Args:
        picture: uint8 RGB (H, W, 3).
        mask: uint8 (H, W) of labels.
        side: of the square in pixels.
        kind: "recipe" (scale, turn, blur, mirror, crop of PASCAL and COCO), "photometric" (of IIR's other sets), "mild"
            (ours, for small drawn pictures: also moved, nothing is filled up), "none".
        scale: least and greatest enlargement of "recipe".
        rng: of every draw.
        label: of the class that must not be cropped away, where it is there.
    """
    if kind == "none":
        return fit(picture, mask, side)
    if kind == "photometric":
        return fit(photometric(picture, rng), mask, side)
    area = int((mask == label).sum())
    wanted = KEPT_SHARE * scale[0] ** 2 * area if kind == "recipe" else min(area, 1)
    best, most = fit(picture, mask, side), 0 if area else -1
    for _ in range(MOST_TRIES):
        varied = vary(picture, mask, side, MILD, rng) if kind == "mild" else _recipe(picture, mask, side, scale, rng)
        left = int((varied[1] == label).sum())
        if left > most:
            best, most = varied, left
        if most >= wanted:
            break
    return best


def _recipe(
    picture: Picture, labels: LabelMap, side: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """BAM's recipe in one resampling: scale, rotation (half of the time), mirror, crop; then blur (half of the time).

    What lies outside the picture is the mean colour, labelled 255.
    """
    x, y = _tensors(picture, labels)
    height, width = labels.shape
    enlarge = float(np.exp(rng.uniform(*np.log(scale))))
    angle = np.deg2rad(rng.uniform(-TURN, TURN)) if rng.random() < 0.5 else 0.0
    flip = -1.0 if rng.random() < 0.5 else 1.0
    # where the crop's middle lies in the scaled picture: anywhere in it, but for the half crop at its edges
    spare = np.array([width * enlarge - side, height * enlarge - side])
    shift = rng.uniform(-0.5, 0.5, 2) * np.abs(spare) / side * 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag([side / width, side / height]) @ turn @ np.diag([flip, 1.0]) / enlarge
    theta = torch.from_numpy(np.concatenate([matrix, (matrix @ shift)[:, None]], 1)[None]).float()
    grid = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    mean = torch.tensor(PAD)[:, None, None]
    x = F.grid_sample(x - mean, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0] + mean
    y = F.grid_sample(y - IGNORE, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0] + IGNORE
    if rng.random() < 0.5:
        x = _blurred(x)
    return x, y.round().to(torch.uint8)


def photometric(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change the look by seven operations, each at a chance of a fifth. Source: systems.md 5.7, "aug (others)".

    Grey, posterise, equalise, sharpen, brightness and contrast, solarise, colour jitter; their strengths are ours.
    """
    image = Image.fromarray(picture)
    chance = iter(rng.random(7) < 0.2)
    strength = rng.uniform(0.6, 1.4, 4)
    if next(chance):
        image = ImageOps.grayscale(image).convert("RGB")
    if next(chance):
        image = ImageOps.posterize(image, 4)
    if next(chance):
        image = ImageOps.equalize(image)
    if next(chance):
        image = image.filter(ImageFilter.SHARPEN)
    if next(chance):
        image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(strength[0])).enhance(strength[1])
    if next(chance):
        image = ImageOps.solarize(image, 192)
    if next(chance):
        image = ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(strength[2])).enhance(strength[3])
    return np.asarray(image)


def jitter(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Change the colours of a picture, float (3, H, W) in 0..1: the strong view of RiFeNet's unlabeled pictures.

    Brightness, contrast and saturation by factors of 0.5 to 1.5 and the hue by up to a quarter turn, in any order.
    Source: systems.md 7.6; torchvision's ColorJitter, before the channels are standardised.
    """
    image = Image.fromarray((x * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    factors, turn = rng.uniform(1 - JITTER, 1 + JITTER, 3), rng.uniform(-HUE, HUE)
    for i in rng.permutation(4):
        if i < 3:
            image = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[i](image).enhance(factors[i])
        else:
            hue, saturation, value = image.convert("HSV").split()
            turned = (np.asarray(hue).astype(int) + round(turn * 256)) % 256
            hue = Image.fromarray(turned.astype(np.uint8))
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _blurred(x: Tensor) -> Tensor:
    """Blur by a Gaussian window of five pixels; its deviation is what OpenCV takes for that width."""
    sigma = 0.3 * ((BLUR_SIDE - 1) * 0.5 - 1) + 0.8
    kernel = torch.exp(-0.5 * ((torch.arange(BLUR_SIDE) - BLUR_SIDE // 2) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, BLUR_SIDE)
    reach = BLUR_SIDE // 2
    x = F.pad(x[None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel[:, :, None], groups=3), kernel[..., None], groups=3)[0]


def _tensors(picture: Picture, labels: LabelMap) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    return x, torch.from_numpy(labels.astype(np.float32))[None, None]
