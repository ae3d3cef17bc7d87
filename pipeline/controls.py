"""Control: the same number of further pictures without any generator, support things pasted onto base pictures.

Source: copy-paste augmentation (Ghiasi et al. 2021): a thing is cut out by its mask, mirrored, scaled, and put
anywhere. Colour jitter and the limits below are ours (decisions.md, controls of the ladder).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.classes import ClassSplit
from pipeline.generate import Order
from pipeline.types import LabelMap, Mask, Picture, Sample, Support

VERSION = 1

SCALE = (0.6, 1.4)
"""A pasted thing's side against that in its support, at most the whole picture."""

JITTER = 0.25
"""Most by which brightness, contrast and saturation of a pasted thing change, as a fraction."""


def paste_sample(
    order: Order, support: Support, base: Sequence[tuple[Picture, LabelMap]], split: ClassSplit
) -> Sample:
    """Give one picture with its labels, from the order's seed alone.

    Args:
        order: names the class.
        support: of that class; one of its S pictures is chosen.
        base: pictures uint8 RGB (H, W, 3) with labels uint8 (H, W) of split ids, of which one is chosen.
        split: gives the class's id.
    """
    rng = np.random.default_rng(order.seed)
    shot, (below, labels) = int(rng.integers(len(support.pictures))), base[int(rng.integers(len(base)))]
    label = split.id_of(support.name)
    picture, labels = paste(below, labels, support.pictures[shot], support.masks[shot], label, rng)
    return Sample(
        order.id, order.name, order.prompt, order.seed, picture, labels, np.zeros(labels.shape, dtype=bool)
    )


def paste(
    below: Picture, labels: LabelMap, picture: Picture, mask: Mask, label: int, rng: np.random.Generator
) -> tuple[Picture, LabelMap]:
    """Paste a masked thing onto a picture.

    Args:
        below: uint8 RGB (H, W, 3).
        labels: its labels, uint8 (H, W).
        picture: uint8 RGB of any size, with the thing.
        mask: bool, its pixels.
        label: the thing's.
        rng: of mirroring, size, colours and place.

    Returns:
        Picture and labels of the size of ``below``; new arrays.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    thing, shape = picture[box], mask[box]
    if rng.integers(2):
        thing, shape = thing[:, ::-1], shape[:, ::-1]
    # 1. As large against this picture as against its own, times a random scale; not beyond the picture.
    height, width = below.shape[:2]
    scale = rng.uniform(*SCALE) * max(height, width) / max(picture.shape[:2])
    scale = min(scale, height / shape.shape[0], width / shape.shape[1])
    size = max(1, round(shape.shape[1] * scale)), max(1, round(shape.shape[0] * scale))
    thing = np.asarray(Image.fromarray(np.ascontiguousarray(thing)).resize(size, Image.Resampling.BILINEAR))
    cover = Image.fromarray(np.ascontiguousarray(shape).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    shape = np.asarray(cover) >= 128
    # 2. Anywhere inside.
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in ((height, size[1]), (width, size[0])))
    place = slice(top, top + size[1]), slice(left, left + size[0])
    pasted, told = below.copy(), labels.copy()
    pasted[place][shape] = _jittered(thing, rng)[shape]
    told[place][shape] = label
    return pasted, told


def _jittered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change brightness, contrast about the mean, and saturation."""
    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, 3)
    x = picture.astype(np.float32) * brightness
    mean = x.mean()
    x = mean + contrast * (x - mean)
    grey = x.mean(axis=2, keepdims=True)
    return np.asarray((grey + saturation * (x - grey)).clip(0, 255).round(), dtype=np.uint8)
