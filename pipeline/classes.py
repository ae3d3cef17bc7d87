"""Class names, folds and label ids."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

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
DATASETS: Mapping[str, tuple[str, ...]] = {"picto": PICTO, "pascal": PASCAL}
"""Dataset -> its class names; the dataset id of a class is its place in the list, counted from 1."""

FOLDS = 4


@dataclass(frozen=True)
class ClassSplit:
    """Which classes are base and which novel; the only place that knows label ids.

    Split ids: 0 background, 1..B base, B+1..B+N novel, 255 ignore. Dataset ids: 0, 1..20 in the dataset's own order,
    255.

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
        """Give the split of a known dataset: fold i holds out classes 5i+1 to 5i+5.

        Raises:
            InputError: unknown dataset or fold.
        """
        if dataset not in DATASETS:
            raise InputError(f"unknown dataset {dataset!r}: expected one of {', '.join(DATASETS)}{_nearest(dataset)}")
        if fold not in range(FOLDS):
            raise InputError(f"fold {fold} of {dataset} does not exist: choose 0, 1, 2 or 3")
        names = DATASETS[dataset]
        size = len(names) // FOLDS
        novel = names[fold * size : (fold + 1) * size]
        return cls(dataset, fold, tuple(n for n in names if n not in novel), novel, names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names by split id, starting with "background"."""
        return ("background", *self.base, *self.novel)

    @property
    def base_ids(self) -> range:
        """Split ids of the base classes."""
        return range(1, 1 + len(self.base))

    @property
    def novel_ids(self) -> range:
        """Split ids of the novel classes."""
        return range(1 + len(self.base), 1 + len(self.base) + len(self.novel))

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

    def to_dataset(self, labels: np.ndarray) -> np.ndarray:
        """Turn split ids, uint8 (H, W), into dataset ids.

        Raises:
            InputError: an id that the split does not have.
        """
        return np.asarray(self._table(inverse=True)[self._checked(labels, len(self.names) - 1, "split")])

    def _table(self, *, inverse: bool) -> np.ndarray:
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[0] = BACKGROUND
        for split_id, name in enumerate(self.names[1:], start=1):
            dataset_id = self.all_names.index(name) + 1
            table[split_id if inverse else dataset_id] = dataset_id if inverse else split_id
        return table

    def _checked(self, labels: np.ndarray, largest: int, kind: str) -> np.ndarray:
        wrong = (labels > largest) & (labels != IGNORE)
        if wrong.any():
            foreign = int(labels[wrong][0])
            raise InputError(
                f"a mask holds id {foreign} ({int((labels == foreign).sum())} pixels): the {kind} ids of "
                f"{self.dataset} are 0..{largest} and {IGNORE} for ignore; is it the mask of another dataset?"
            )
        return labels


def _nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name, DATASETS, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
