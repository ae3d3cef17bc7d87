"""COCO-20i of COCO 2014 (as published) or 2017, from the official annotation files of instances.

Source: systems.md section 1. A picture is listed where it has an annotation (40,137 in val2014). Crowd regions are not
drawn; where things overlap, the smaller lies above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.classes import COCO, ClassSplit
from pipeline.datasets.annotations import Annotated, IndexedPictures, index_is_made, load_json, make_index
from pipeline.errors import InputError

_PARTS = {"base": "train", "support": "train", "validation": "val", "train": "train", "val": "val"}


@dataclass(frozen=True)
class Coco:
    """COCO-20i, in ``COCO2014`` or ``COCO2017``.

    Attributes:
        data: parent of that folder.
        cache: folder for the indices of the annotation files.
        year: 2014 or 2017.
    """

    data: Path
    cache: Path
    year: int = 2014
    maps: bool = True
    purposes: tuple[str, ...] = ("base", "support", "validation")
    lists: tuple[str, ...] = ("train", "val")

    @property
    def name(self) -> str:
        """Name in the config."""
        return "coco" if self.year == 2014 else "coco2017"

    @property
    def root(self) -> Path:
        """Folder of pictures and annotations."""
        return self.data / f"COCO{self.year}"

    @property
    def where(self) -> str:
        """Say what belongs where."""
        return (
            f"train{self.year}.zip, val{self.year}.zip and annotations_trainval{self.year}.zip from cocodataset.org, "
            f"unpacked in {self.root.name}: train{self.year}, val{self.year}, annotations/instances_*.json"
        )

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold."""
        return ClassSplit.of(self.name, fold)

    def ready(self) -> bool:
        """Say whether both annotation files are indexed.

        Raises:
            InputError: one is missing.
        """
        files = {part: [self._file(part)] for part in ("train", "val")}
        return all(index_is_made(self.cache / part, found) for part, found in files.items())

    def prepare(self) -> None:
        """Index the annotation files; holds one of them in memory at a time, once.

        Raises:
            InputError: one is missing or damaged.
        """
        for part in ("train", "val"):
            make_index(self.cache / part, [self._file(part)], lambda p=part: self._annotated(p), one_class=False)  # type: ignore[misc]

    def pictures(self, purpose: str, fold: int) -> IndexedPictures:
        """Give the pictures of a purpose or of a list; they are the same in all folds."""
        return IndexedPictures(self.cache / _PARTS[purpose], self.root)

    def _file(self, part: str) -> Path:
        path = self.root / "annotations" / f"instances_{part}{self.year}.json"
        if not path.is_file():
            raise InputError(
                f"no COCO in {self.root} (looked for {path}): get {self.where}, or name the parent folder by "
                "--set execution.data=FOLDER"
            )
        return path

    def _annotated(self, part: str) -> Iterator[Annotated]:
        raw = load_json(self._file(part))
        label = {category["id"]: COCO.index(category["name"]) + 1 for category in raw["categories"]}
        found: dict[int, list[tuple[int, Any]]] = {}
        for annotation in raw["annotations"]:
            masks = found.setdefault(annotation["image_id"], [])
            if not annotation.get("iscrowd"):
                masks.append((label[annotation["category_id"]], annotation["segmentation"]))
        for picture in sorted(raw["images"], key=lambda image: int(image["id"])):
            if picture["id"] in found:
                size = (picture["height"], picture["width"])
                yield Annotated(f"{part}{self.year}/{picture['file_name']}", size, found[picture["id"]])
