"""Labelled pictures: those of data sets and arrays, how they are varied, and how one is laid over another.

Labels are split ids (`pipeline.classes.ClassSplit`): 0 background, 1..B base, B+1..B+N novel, 255 ignore.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy.ndimage import binary_propagation
from torch import Tensor
from torch.nn import functional as F

from pipeline.classes import BACKGROUND, IGNORE, ClassSplit
from pipeline.datasets.pictures import Pictures, count_pixels, read_split
from pipeline.images import read_labels
from pipeline.types import LabelMap, Picture

DECODED = 64 << 20
"""Bytes of decoded pictures that a set keeps: all of picto's, a few hundred photographs."""


class Labelled(Protocol):
    """Pictures with label maps.

    Attributes:
        counts: pixels of each label in each picture, int (N, L).
    """

    counts: np.ndarray

    def __len__(self) -> int:
        """Give the number of pictures."""
        ...

    def __getitem__(self, index: int) -> tuple[Picture, LabelMap]:
        """Give a picture uint8 RGB (H, W, 3) and its labels uint8 (H, W)."""
        ...

    def numbers(self) -> np.ndarray:
        """Give for each item the number of its picture, int (N,); items of one picture have the same."""
        ...


class Arrays:
    """Labelled pictures in memory.

    Args:
        pictures: uint8 RGB (H, W, 3).
        labels: uint8 (H, W), split ids.
        count: how many labels there are, 1 + B + N.
    """

    def __init__(self, pictures: Sequence[Picture], labels: Sequence[LabelMap], count: int) -> None:
        self.pictures, self.labels = tuple(pictures), tuple(labels)
        self.counts = np.stack([np.bincount(y.ravel(), minlength=256)[:count] for y in self.labels])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Picture, LabelMap]:
        return self.pictures[index], self.labels[index]

    def numbers(self) -> np.ndarray:
        """Give the items' own numbers: each is a picture."""
        return np.arange(len(self))


class Columns:
    """The table of counts, int (N, L), of one-class items, of which each row has one entry: it may be a million long.

    Answers what samplers ask of the table: ``[rows]``, ``[:, label]``, ``[:, labels]``, ``>=``, ``any(1)``, ``sum(0)``.

    Args:
        labels: int (N,), the column of each row's entry; -1 is none.
        pixels: int or bool (N,), the entries.
        count: L.
    """

    def __init__(self, labels: np.ndarray, pixels: np.ndarray, count: int) -> None:
        self.labels, self.pixels, self.shape = labels, pixels, (len(labels), count)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: Any) -> Any:
        """Give a row (L,), a column (n,), or some rows and columns as a table again."""
        rows, columns = place if isinstance(place, tuple) else (place, None)
        labels, pixels = self.labels[rows], self.pixels[rows]
        if columns is None:
            if np.ndim(labels):
                return Columns(labels, pixels, self.shape[1])
            return np.where(np.arange(self.shape[1]) == labels, pixels, 0)
        if np.ndim(columns) == 0:
            return np.where(labels == columns, pixels, pixels.dtype.type(0))
        moved = np.full(self.shape[1] + 1, -1)
        moved[list(columns)] = np.arange(len(columns))
        return Columns(moved[labels], np.where(moved[labels] >= 0, pixels, 0), len(columns))

    def __ge__(self, least: int) -> Columns:
        return Columns(self.labels, (self.pixels >= least) & (self.labels >= 0), self.shape[1])

    def any(self, axis: int) -> np.ndarray:
        """Say for each row (axis 1) whether its entry is not 0."""
        return self.pixels.astype(bool) if axis == 1 else self.sum(0) > 0

    def sum(self, axis: int) -> np.ndarray:
        """Add up every column (axis 0) or row (axis 1)."""
        if axis == 1:
            return self.pixels.astype(np.int64)
        here = self.labels >= 0
        return np.bincount(self.labels[here], self.pixels[here], self.shape[1]).astype(np.int64)


class SplitPictures:
    """Pictures of a data set in split ids, read when they are asked for; the latest stay decoded.

    Args:
        pictures: of the data set.
        split: turns dataset ids into split ids.
        hide_novel: novel pixels become background, as base training must see them.
        cache: folder that keeps the counted pixels; None counts anew.

    Attributes:
        counts: pixels of each label in each picture, int (N, L), or `Columns` for one-class items.

    Raises:
        InputError: a picture or mask is missing, or does not fit.
    """

    def __init__(
        self, pictures: Pictures, split: ClassSplit, *, hide_novel: bool = False, cache: Path | None = None
    ) -> None:
        self.pictures, self.split = pictures, split
        self._hidden = list(split.novel_ids) if hide_novel else []
        self._latest: OrderedDict[int, tuple[Picture, LabelMap]] = OrderedDict()
        self._bytes = 0
        self.counts: Any  # Columns answers counts[rows, label] as the array would
        counts = count_pixels(pictures, split, cache)
        if pictures.classes is not None:
            self.counts = Columns(split.split_ids[pictures.classes], counts, len(split.names))
            return
        self.counts = np.zeros((len(counts), len(split.names)), dtype=np.int64)
        here = split.split_ids != IGNORE
        self.counts[:, split.split_ids[here]] = counts[:, here]
        self.counts[:, BACKGROUND] += self.counts[:, self._hidden].sum(1)
        self.counts[:, self._hidden] = 0

    def __len__(self) -> int:
        return len(self.pictures.ids)

    def __getitem__(self, index: int) -> tuple[Picture, LabelMap]:
        """Give a picture uint8 RGB (H, W, 3) and its labels (H, W), uint8, or uint16 where L > 255."""
        if index in self._latest:
            self._latest.move_to_end(index)
            return self._latest[index]
        picture, labels = read_split(self.pictures, index, self.split)
        if self._hidden:
            labels = np.where(np.isin(labels, self._hidden), labels.dtype.type(BACKGROUND), labels)
        self._latest[index] = picture, labels
        self._bytes += picture.nbytes + labels.nbytes
        while self._bytes > DECODED and len(self._latest) > 1:
            _, (old, gone) = self._latest.popitem(last=False)
            self._bytes -= old.nbytes + gone.nbytes
        return picture, labels

    def numbers(self) -> np.ndarray:
        """Give the number of each item's picture; label maps are one picture each."""
        if self.pictures.classes is None:
            return np.arange(len(self))
        known: dict[str, int] = {}
        return np.array([known.setdefault(self.pictures.where(i)[0], len(known)) for i in range(len(self))], np.int64)


class Relabelled:
    """Labelled pictures of which some have other label maps, read when they are asked for.

    Args:
        pictures: with their own labels.
        maps: place -> label file of split ids.
        counts: place -> pixels of each label in that file, int (L,).
    """

    def __init__(self, pictures: Labelled, maps: Mapping[int, Path], counts: Mapping[int, Sequence[int]]) -> None:
        self._pictures, self._maps = pictures, dict(maps)
        self.counts = pictures.counts.copy()
        for place, row in counts.items():
            self.counts[place] = row

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> tuple[Picture, LabelMap]:
        picture, labels = self._pictures[index]
        return picture, read_labels(self._maps[index]) if index in self._maps else labels

    def numbers(self) -> np.ndarray:
        """Give the number of each item's picture."""
        return self._pictures.numbers()


_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Variation:
    """How much a picture is varied.

    Attributes:
        scale: least and greatest enlargement; below 1 the picture is continued by its mirror image.
        turn: greatest rotation in degrees.
        shift: greatest move as a fraction of the side.
        colour: strength of brightness, contrast, saturation and hue changes; 0 is none.
        blur: greatest deviation of the Gaussian blur in pixels, also strength of grain.
    """

    scale: tuple[float, float]
    turn: float
    shift: float
    colour: float
    blur: float


MILD = Variation(scale=(0.85, 1.3), turn=10, shift=0.12, colour=0.1, blur=0.5)
STRONG = Variation(scale=(0.5, 1.25), turn=25, shift=0.25, colour=0.25, blur=0.9)


def vary(
    picture: Picture, labels: LabelMap, side: int, variation: Variation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Give a varied copy: float (3, side, side) in 0..1 and labels uint8 (side, side).

    Mirrored, scaled, turned and moved; what lies outside the picture is its mirror image, with its labels.
    """
    x = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    y = torch.from_numpy(labels.astype(np.float32))[None, None]
    grid = _grid(side, picture.shape[:2], variation, rng)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    y = F.grid_sample(y, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return vary_look(x[0], variation, rng), y[0, 0].to(torch.uint8)


def _grid(side: int, size: tuple[int, int], variation: Variation, rng: np.random.Generator) -> Tensor:
    """Give where each output pixel comes from, (1, side, side, 2) in -1..1."""
    scale = np.exp(rng.uniform(*np.log(variation.scale)))
    angle = np.deg2rad(rng.uniform(-variation.turn, variation.turn))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    shift = rng.uniform(-variation.shift, variation.shift, 2) * 2
    longer = max(size)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag([longer / size[1], longer / size[0]]) @ turn @ np.diag([flip, 1.0]) / scale
    theta = np.concatenate([matrix, (matrix @ -shift)[:, None]], 1)
    return F.affine_grid(torch.from_numpy(theta[None]).float(), [1, 1, side, side], align_corners=False)


def vary_look(x: Tensor, variation: Variation, rng: np.random.Generator) -> Tensor:
    """Give a recoloured and blurred copy of a picture, float (3, H, W) in 0..1."""
    c = variation.colour
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4) * c
    angle = hue * 2
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * axis + np.sin(angle) * cross
    x = torch.einsum("ij,jhw->ihw", torch.from_numpy(turn).float(), x)
    grey = x.mean(0, keepdim=True)
    x = grey + (x - grey) * (1 + saturation)
    mean = x.mean()
    x = mean + (x - mean) * (1 + contrast) + brightness / 2
    sigma = rng.uniform(0, variation.blur)
    if sigma > 0.2:
        offset = torch.arange(-2, 3).float()
        kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
        kernel = (kernel / kernel.sum()).expand(3, 1, 5)
        x = F.pad(x[None], (2, 2, 2, 2), mode="replicate")
        x = F.conv2d(F.conv2d(x, kernel[:, :, None], groups=3), kernel[..., None], groups=3)[0]
    return x.clamp(0, 1)


def lay_over(
    below: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor], label: int
) -> tuple[Tensor, Tensor]:
    """Lay the things of one label, and the ignored pixels that hang together with them, over another picture.

    Only place and company of a thing change this way; its pixels are its own. Ignored ones may be its rim, or parts
    that nobody is sure of: without them a thing would be learnt with holes.

    Args:
        below: picture float (3, H, W) and labels uint8 (H, W).
        above: the same, holding the things.
        label: which label to lay over.
    """
    thing = above[1] == label
    cut = torch.from_numpy(binary_propagation(thing.numpy(), _EIGHT, (thing | (above[1] == IGNORE)).numpy()))
    soft = F.avg_pool2d(F.pad(cut[None].float(), (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0]
    soft = torch.where(cut, soft.clamp(min=0.5), torch.zeros(()))
    picture = above[0] * soft + below[0] * (1 - soft)
    return picture, torch.where(cut, above[1], below[1])
