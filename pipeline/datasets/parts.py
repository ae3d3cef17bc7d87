"""Benchmarks of many or of part classes, whose masks overlap: LVIS-92i, PASCAL-Part, PACO-Part.

Source: systems.md 5.9; layouts as Matcher published and IIR's code reads them. An item is a picture and one of its
classes. In the part benchmarks the picture is cut to the box of the object whose part is asked for. The pickles are
read without looking anything up that they name, so that they can run nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classes import ClassSplit
from pipeline.datasets.annotations import (
    Annotated,
    Box,
    IndexedPictures,
    index_is_made,
    load_json,
    load_pickle,
    make_index,
)
from pipeline.errors import InputError
from pipeline.images import size_of

PART_FOLDS = ("animals", "indoor", "person", "vehicles")
_LEFT_OUT = {"aeroplane+TAIL"}
"""Not evaluated by IIR's code."""
_PARTS = {"base": "train", "support": "val", "validation": "val"}


@dataclass(frozen=True)
class Indexed:
    """One of the three.

    Attributes:
        data: parent of its folder (``LVIS``, ``PACO-Part`` or ``Pascal-Part``).
        cache: folder for the indices of the annotation files.
        name: lvis, paco_part or pascal_part.
    """

    data: Path
    cache: Path
    name: str
    maps: bool = False
    purposes: tuple[str, ...] = ("base", "support", "validation")
    lists: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Say what belongs where."""
        matcher = "from github.com/aim-uofa/Matcher (datasets/README.md)"
        return {
            "lvis": f"lvis_train.pkl and lvis_val.pkl of lvis.zip {matcher} in LVIS, and train2017 and val2017 of COCO "
            "in LVIS/coco",
            "paco_part": f"paco_part_train.pkl and paco_part_val.pkl of paco.zip {matcher} in PACO-Part/paco, and "
            "train2017 and val2017 of COCO in PACO-Part/coco",
            "pascal_part": "JPEGImages of VOC 2010, and Annotations_Part_json_merged_part_classes and "
            f"all_obj_part_to_image.json of pascal.zip {matcher}, in Pascal-Part/VOCdevkit/VOC2010",
        }[self.name]

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold; names are category numbers, in PASCAL-Part "object+PART".

        LVIS: of the classes with at least two validation pictures, in the file's order, every tenth is novel. PACO: of
        all classes every fourth, where it has at least two validation pictures. PASCAL-Part: those of one super-class.

        Raises:
            InputError: no such fold, or the annotations are missing.
        """
        if self.name == "pascal_part":
            by_fold = self._part_classes()
            names = tuple(n for part in PART_FOLDS for n in by_fold[part])
            return ClassSplit.holding_out(self.name, fold, names, dict(enumerate(by_fold[p] for p in PART_FOLDS)))
        self.prepare()
        train, val = (self._shown(part) for part in ("train", "val"))
        enough = [label for label, pictures in val.items() if len(pictures) > 1]
        folds = 10 if self.name == "lvis" else 4
        order = enough if self.name == "lvis" else list(train)
        novel = {i: [order[i + folds * k] for k in range(len(order) // folds)] for i in range(folds)}
        if fold not in novel:
            raise InputError(f"fold {fold} of {self.name} does not exist: choose 0 to {folds - 1}")
        held = [label for label in novel[fold] if label in set(enough)]
        base = [label for label, pictures in train.items() if label not in set(held) and len(pictures) > 1]
        every = tuple(str(label) for label in range(1, max([*train, *val]) + 1))
        return ClassSplit(self.name, fold, tuple(map(str, base)), tuple(map(str, held)), every)

    def ready(self) -> bool:
        """Say whether the annotations are indexed.

        Raises:
            InputError: a file is missing.
        """
        files = {part: [self._file(part)] for part in ("train", "val")}
        return all(index_is_made(self.cache / part, found) for part, found in files.items())

    def prepare(self) -> None:
        """Index the annotations; holds one of the files in memory at a time, once.

        Raises:
            InputError: a file is missing or damaged.
        """
        build = {"lvis": self._lvis, "paco_part": self._paco, "pascal_part": self._pascal}[self.name]
        for part in ("train", "val"):
            make_index(self.cache / part, [self._file(part)], lambda p=part: build(p), one_class=True)  # type: ignore[misc]

    def pictures(self, purpose: str, fold: int) -> IndexedPictures:
        """Give the items about base classes (from the training part), or those about novel ones (validation part)."""
        split = self.split(fold)
        names = set(split.base if purpose == "base" else split.novel)
        classes = [place for place, name in enumerate(split.all_names, start=1) if name in names]
        return IndexedPictures(self.cache / _PARTS[purpose], self._pictures, classes)

    @property
    def _pictures(self) -> Path:
        folder = {"lvis": "LVIS/coco", "paco_part": "PACO-Part/coco", "pascal_part": "Pascal-Part/VOCdevkit/VOC2010"}
        return self.data / folder[self.name]

    def _file(self, part: str) -> Path:
        path = self.data / {
            "lvis": f"LVIS/lvis_{part}.pkl", "paco_part": f"PACO-Part/paco/paco_part_{part}.pkl",
            "pascal_part": "Pascal-Part/VOCdevkit/VOC2010/all_obj_part_to_image.json",
        }[self.name]  # fmt: skip
        if not path.is_file():
            raise InputError(
                f"no {self.name} in {self.data} (looked for {path}): get {self.where}, or name the parent folder by "
                "--set execution.data=FOLDER"
            )
        return path

    def _shown(self, part: str) -> dict[int, set[str]]:
        """Give class -> the pictures that show it, classes in the order of the file."""
        pictures = IndexedPictures(self.cache / part, self._pictures)
        labels = pictures.classes if pictures.classes is not None else np.zeros(0, dtype=np.int64)
        found: dict[int, set[str]] = {}
        for item, label in enumerate(labels):
            seen = found.setdefault(int(label), set())
            if len(seen) < 2:  # whether there are two is all that is asked
                seen.add(pictures.where(item)[0])
        return found

    def _lvis(self, part: str) -> Iterator[Annotated]:
        for label, pictures in load_pickle(self._file(part)).items():
            for name, entry in pictures.items():
                masks = [(int(label), annotation["segmentation"]) for annotation in entry["annotations"]]
                yield Annotated(name, self._size(name, entry), masks)

    def _paco(self, part: str) -> Iterator[Annotated]:
        raw = load_pickle(self._file(part))
        for label, pictures in raw["cid2img"].items():
            for id_, path in {id_: path for entry in pictures for id_, path in entry.items()}.items():
                name = "/".join(path.split("/")[-2:])
                objects: dict[Any, Annotated] = {}
                for annotation in raw["img2anno"][id_]:
                    if annotation["category_id"] == label:
                        x, y, width, height = annotation["obj_bbox"]
                        left, top = math.floor(x), math.floor(y)
                        box = (left, top, left + math.ceil(width), top + math.ceil(height))
                        seen = objects.get(annotation["obj_ann_id"]) or self._cut(name, {}, box)
                        masks = [*seen.masks, (int(label), annotation["segmentation"])]
                        objects[annotation["obj_ann_id"]] = replace(seen, masks=masks)
                yield from objects.values()

    def _pascal(self, part: str) -> Iterator[Annotated]:
        by_fold = self._part_classes()
        label = {name: i for i, name in enumerate((n for f in PART_FOLDS for n in by_fold[f]), start=1)}
        listed = _part_lists(load_json(self._file(part)))
        ids = sorted({id_ for name in label for id_ in listed[name][part]})
        for id_ in ids:
            if Path(id_).name != id_:
                raise ValueError(f"{id_!r} is no name of a picture")
            entry = load_json(self._pictures / "Annotations_Part_json_merged_part_classes" / f"{id_}.json")
            for thing in entry["object"]:
                named = [(f"{thing['name']}+{p['name']}", mask) for p in thing["parts"] for mask in p["mask"]]
                masks = [(label[name], mask) for name, mask in named if name in label and id_ in listed[name][part]]
                if masks:
                    box = tuple(int(thing["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
                    height, width = masks[0][1]["size"]
                    size = {"height": height, "width": width}
                    yield replace(self._cut(f"JPEGImages/{id_}.jpg", size, box), masks=masks)  # type: ignore[arg-type]

    def _cut(self, name: str, entry: dict[str, Any], box: Box) -> Annotated:
        """Give a picture cut to a box that is moved inside it, without masks yet."""
        height, width = self._size(name, entry)
        left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
        if right <= left or bottom <= top:
            raise ValueError(f"the box {box} lies outside {name}")
        return Annotated(name, (height, width), (), (left, top, right, bottom))

    def _size(self, name: str, entry: dict[str, Any]) -> tuple[int, int]:
        """Give height and width as annotated, else those of the picture's file."""
        return (entry["height"], entry["width"]) if "height" in entry else size_of(self._pictures / name)

    def _part_classes(self) -> dict[str, tuple[str, ...]]:
        raw = load_json(self._file("train"))
        listed = _part_lists(raw)
        return {
            fold: tuple(
                name
                for thing, entry in raw[fold]["object"].items()
                for part in entry["part"]
                if (name := f"{thing}+{part}") not in _LEFT_OUT and all(listed[name].values())
            )
            for fold in PART_FOLDS
        }


def _part_lists(raw: dict[str, Any]) -> dict[str, dict[str, set[str]]]:
    """Give class -> part of the data set (train, val) -> pictures that show it."""
    return {
        f"{thing}+{name}": {part: set(lists[part]) for part in ("train", "val")}
        for fold in PART_FOLDS
        for thing, entry in raw[fold]["object"].items()
        for name, lists in entry["part"].items()
    }
