"""MSRC-21: 591 small photographs with masks, of which the 15 classes of things make three folds of five.

There is no published few-shot split: the folds are those of its ``classes.json``. Pictures that show a novel thing are
for supports and validation, all others for base training, so that no picture serves both. What is no thing (sky, grass,
unlabelled pixels) is background.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classes import ClassSplit
from pipeline.datasets.annotations import load_json
from pipeline.datasets.pictures import FilePictures, Row, count_pixels
from pipeline.errors import InputError
from pipeline.images import read_labels
from pipeline.types import LabelMap


@dataclass(frozen=True)
class Msrc:
    """MSRC-21, in ``msrc21``: images, masks and classes.json.

    Attributes:
        data: parent of that folder.
        cache: folder for counted pixels.
    """

    data: Path
    cache: Path
    name: str = "msrc21"
    maps: bool = True
    purposes: tuple[str, ...] = ("base", "support", "validation")
    lists: tuple[str, ...] = ()
    where: str = (
        "the photographs of MSRC v2 (microsoft.com) as msrc21/images/*.jpg, the cleaned masks of Malisiewicz and Efros "
        "as msrc21/masks/*.png, and a list of classes and folds as msrc21/classes.json"
    )

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold.

        Raises:
            InputError: no such fold, or the lists are missing.
        """
        raw = self._read("classes.json")
        folds = {number: tuple(names) for number, names in enumerate(raw["suggested_thing_folds"])}
        things = tuple(entry["name"] for entry in raw["classes"] if entry["kind"] == "thing")
        return ClassSplit.holding_out(self.name, fold, things, folds)

    def ready(self) -> bool:
        """There is nothing to prepare."""
        return True

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def pictures(self, purpose: str, fold: int) -> FilePictures:
        """Give the pictures that show no novel class (base), or those that do.

        Raises:
            InputError: the data set is not there.
        """
        raw, split = self._read("classes.json"), self.split(fold)
        table = np.zeros(256, dtype=np.uint8)
        for entry in raw["classes"]:
            if entry["name"] in split.all_names:
                table[entry["id"]] = split.all_names.index(entry["name"]) + 1
        read = partial(_read_things, table=table, largest=len(raw["classes"]))
        ids = sorted(path.stem for path in (self.data / "msrc21/images").glob("*.jpg"))
        rows = [Row(id_, f"images/{id_}.jpg", f"masks/{id_}.png") for id_ in ids]
        counts = count_pixels(FilePictures(self.data / "msrc21", rows, read), split, self.cache)
        novel = counts[:, [split.all_names.index(name) + 1 for name in split.novel]].any(1)
        chosen = np.flatnonzero(~novel if purpose == "base" else novel)
        return FilePictures(self.data / "msrc21", [rows[i] for i in chosen], read)

    def _read(self, name: str) -> Any:
        path = self.data / "msrc21" / name
        if not path.is_file():
            raise InputError(
                f"no MSRC-21 in {path.parent} (looked for {name}): get {self.where}, or name the parent folder by "
                "--set execution.data=FOLDER"
            )
        return load_json(path)


def _read_things(path: Path, table: np.ndarray, largest: int) -> LabelMap:
    labels = read_labels(path)
    if labels.max() > largest:
        raise InputError(f"{path} holds id {labels.max()}: the ids of msrc21 are 0..{largest}")
    return np.asarray(table[labels])
