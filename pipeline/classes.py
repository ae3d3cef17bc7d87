"""Class names, folds and label ids."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import InputError

BACKGROUND = 0
IGNORE = 255

PICTO = (
    "boat", "bottle", "butterfly", "car", "chair", "clock", "cup", "fish", "flower", "guitar", "house", "key", "lamp",
    "mushroom", "plane", "rocket", "snail", "star", "tree", "umbrella",
)
PASCAL = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
"""In the official order; the category ids of the annotation files have gaps, these are counted from 1."""
DATASETS: Mapping[str, tuple[str, ...]] = {"picto": PICTO, "pascal": PASCAL, "coco": COCO, "coco2017": COCO}
"""Dataset -> its class names; the dataset id of a class is its place in the list, counted from 1."""

FOLDS = 4


@dataclass(frozen=True)
class ClassSplit:
    """Which classes are base and which novel; the only place that knows label ids.

    Split ids: 0 background, 1..B base, B+1..B+N novel, 255 ignore. Dataset ids: 0, 1..C in the dataset's own order,
    255. A data set of more than 254 classes has one-class masks only; its split ids leave 255 out.

    Attributes:
        dataset: name of the dataset.
        fold: number of the fold.
        base: B base class names.
        novel: N novel class names.
        all_names: the dataset's class names in the order of its ids.
    """

    dataset: str
    fold: int
    base: tuple[str, ...]
    novel: tuple[str, ...]
    all_names: tuple[str, ...]

    @classmethod
    def of(cls, dataset: str, fold: int) -> ClassSplit:
        """Give the split of a known dataset.

        PASCAL-5i and picto-5i: fold i holds out classes 5i+1 to 5i+5; folds 10 and 11 are those of PASCAL-10i.
        COCO-20i: the interleaved folds, i holds out i+1, i+5, ..., i+77. Source: systems.md section 1.

        Raises:
            InputError: unknown dataset or fold.
        """
        if dataset not in DATASETS:
            raise InputError(f"unknown dataset {dataset!r}: expected one of {', '.join(DATASETS)}{_nearest(dataset)}")
        names = DATASETS[dataset]
        novel = {i: names[i::FOLDS] if names is COCO else names[5 * i : 5 * i + 5] for i in range(FOLDS)}
        if dataset == "pascal":
            novel |= {10: names[:10], 11: names[10:]}
        return cls.holding_out(dataset, fold, names, novel)

    @classmethod
    def holding_out(
        cls, dataset: str, fold: int, names: tuple[str, ...], novel: Mapping[int, tuple[str, ...]]
    ) -> ClassSplit:
        """Give the split whose base classes are all but the novel ones of a fold.

        Raises:
            InputError: no such fold.
        """
        if fold not in novel:
            raise InputError(f"fold {fold} of {dataset} does not exist: choose {_listed(novel)}")
        held = set(novel[fold])
        return cls(dataset, fold, tuple(n for n in names if n not in held), novel[fold], names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names by split id, starting with "background"."""
        names = ("background", *self.base, *self.novel)
        return names if len(names) <= IGNORE else (*names[:IGNORE], "(ignore)", *names[IGNORE:])

    @property
    def base_ids(self) -> tuple[int, ...]:
        """Split ids of the base classes."""
        return self._ids()[: len(self.base)]

    @property
    def novel_ids(self) -> tuple[int, ...]:
        """Split ids of the novel classes."""
        return self._ids()[len(self.base) :]

    def id_of(self, name: str) -> int:
        """Give the split id of a class.

        Raises:
            InputError: the split has no such class.
        """
        if name not in self.names:
            nearest = difflib.get_close_matches(name, self.names, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise InputError(f"{self.dataset} has no class {name!r}: it has {', '.join(self.all_names)}{hint}")
        return self.names.index(name)

    def from_dataset(self, labels: np.ndarray) -> np.ndarray:
        """Turn dataset ids, uint8 (H, W), into split ids.

        Raises:
            InputError: an id that the dataset does not have.
        """
        return np.asarray(self._table(inverse=False)[self._checked(labels, len(self.all_names), "dataset")])

    def check(self, labels: np.ndarray, where: str) -> None:
        """Look that a mask, uint8 (H, W), holds dataset ids alone.

        Raises:
            InputError: it does not; ``where`` names it.
        """
        try:
            self._checked(labels, len(self.all_names), "dataset")
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def to_dataset(self, labels: np.ndarray) -> np.ndarray:
        """Turn split ids, uint8 (H, W), into dataset ids.

        Raises:
            InputError: an id that the split does not have.
        """
        return np.asarray(self._table(inverse=True)[self._checked(labels, len(self.names) - 1, "split")])

    def one_class(self, mask: np.ndarray, dataset_id: int) -> np.ndarray:
        """Turn a mask of one class, uint8 (H, W) with 1 on the class and 255 on ignored pixels, into split ids.

        Returns:
            uint8 (H, W), or uint16 where the split has more ids than that.
        """
        label = int(self.split_ids[dataset_id])
        wide = mask.astype(np.uint8 if len(self.names) <= IGNORE else np.uint16)
        return np.where(mask == 1, wide.dtype.type(label), wide)

    @cached_property
    def split_ids(self) -> np.ndarray:
        """Give the split id of every dataset id, int (C + 1,); 255 for classes that are neither base nor novel."""
        table = np.full(len(self.all_names) + 1, IGNORE, dtype=np.int64)
        table[0] = BACKGROUND
        places = {name: place for place, name in enumerate(self.all_names, start=1)}
        for split_id, name in zip(self._ids(), (*self.base, *self.novel), strict=True):
            table[places[name]] = split_id
        table.flags.writeable = False
        return table

    def _table(self, *, inverse: bool) -> np.ndarray:
        table, found = np.full(256, IGNORE, dtype=np.uint8), self.split_ids
        if inverse:
            table[found[found != IGNORE]] = np.flatnonzero(found != IGNORE)
        else:
            table[: len(found)] = found
        return table

    def _ids(self) -> tuple[int, ...]:
        count = len(self.base) + len(self.novel)
        return tuple(i for i in range(1, count + 2) if i != IGNORE)[:count]

    def _checked(self, labels: np.ndarray, largest: int, kind: str) -> np.ndarray:
        wrong = (labels > largest) & (labels != IGNORE)
        if wrong.any():
            foreign = int(labels[wrong][0])
            raise InputError(
                f"a mask holds id {foreign} ({int((labels == foreign).sum())} pixels): the {kind} ids of "
                f"{self.dataset} are 0..{largest} and {IGNORE} for ignore; is it the mask of another dataset?"
            )
        return labels


def _listed(folds: Iterable[int]) -> str:
    *most, last = map(str, folds)
    return f"{', '.join(most)} or {last}" if most else last


def _nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name, DATASETS, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
