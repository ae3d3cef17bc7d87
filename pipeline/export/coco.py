"""COCO: pictures, instances and stuff with run-length encoded masks.

- ``images/<id>.jpg``
- ``annotations/instances_train.json``: one annotation for every connected region of a class (8 neighbours). Objects
  of one class that touch are one annotation, an object in two parts is two.
- ``annotations/stuff_train.json``: one annotation for every label in a picture, background (category 0) included.

Ignored pixels (255) have no annotation; in the stuff file they are what no annotation covers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from pycocotools import mask as rle
from scipy import ndimage

from pipeline.classes import BACKGROUND, COCO, IGNORE, ClassSplit
from pipeline.errors import InputError
from pipeline.export.items import Item
from pipeline.export.place import copy_file, json_line
from pipeline.images import read_labels
from pipeline.types import LabelMap, Mask

_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
"""Category ids up to 90 that COCO's own annotation files leave out."""
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def export_coco(items: Iterable[Item], folder: Path, split: ClassSplit) -> None:
    """Write the items into a new folder.

    Args:
        items: N items.
        folder: is there.
        split: their classes.

    Raises:
        InputError: two ids hash to the same number, or a mask cannot be read.
    """
    categories = category_ids(split)
    (folder / "annotations").mkdir()
    numbers = {"picture": array("Q"), "instances": array("Q"), "stuff": array("Q")}
    with ExitStack() as stack:
        parts = {name: stack.enter_context(_Part(folder)) for name in numbers}
        for item in items:
            labels = read_labels(item.mask)
            copy_file(item.picture, folder / "images" / f"{item.id}.jpg")
            row = _picture(item, labels)
            numbers["picture"].append(row["id"])
            parts["picture"].write(row)
            for kind, annotations in (("instances", instances_of(labels)), ("stuff", regions_of(labels))):
                for label, number, mask in annotations:
                    entry = _annotation(mask, categories[label], row["id"])
                    entry["id"] = stable_number(f"{item.id}/{kind}/{label}/{number}")
                    numbers[kind].append(entry["id"])
                    parts[kind].write(entry)
        for found in numbers.values():
            if len(np.unique(np.asarray(found, dtype=np.uint64))) < len(found):
                raise InputError("two pictures or regions hash to the same COCO id: choose other ids by --prefix")
        for kind in ("instances", "stuff"):
            path = folder / "annotations" / f"{kind}_train.json"
            with path.open("w", encoding="utf-8", newline="\n") as file:
                _join(file, _head(split, categories, background=kind == "stuff"), parts["picture"], parts[kind])


def category_ids(split: ClassSplit) -> dict[int, int]:
    """Give the category id of every dataset id: the same, but for COCO its own ids, which have gaps."""
    own = range(1, len(split.all_names) + 1)
    official = [i for i in range(1, 91) if i not in _GAPS] if split.all_names == COCO else own
    return {BACKGROUND: 0, **dict(zip(own, official, strict=True))}


def stable_number(text: str) -> int:
    """Give a number for a name, the same everywhere: 1 to 2^53 - 1, which every reader of JSON holds exactly."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) or 1


def instances_of(labels: LabelMap) -> Iterator[tuple[int, int, Mask]]:
    """Give every connected region of every class in dataset ids, uint8 (H, W).

    Returns:
        Dataset id, number of the region from 0 in reading order, mask bool (H, W).
    """
    for label in _present(labels):
        if label != BACKGROUND:
            regions, count = ndimage.label(labels == label, structure=_NEIGHBOURS)
            for number in range(count):
                yield label, number, regions == number + 1


def regions_of(labels: LabelMap) -> Iterator[tuple[int, int, Mask]]:
    """Give the pixels of every dataset id that occurs in uint8 (H, W), background too, ignore not.

    Returns:
        Dataset id, 0, mask bool (H, W).
    """
    for label in _present(labels):
        yield label, 0, labels == label


def _present(labels: LabelMap) -> list[int]:
    return [int(label) for label in np.unique(labels) if label != IGNORE]


def _picture(item: Item, labels: LabelMap) -> dict[str, Any]:
    height, width = labels.shape
    known = {k: v for k, v in item.facts().items() if k != "id"}
    size = {"height": height, "width": width, "license": 1}
    return {"id": stable_number(item.id), "file_name": f"{item.id}.jpg", **size, **known}


def _annotation(mask: Mask, category: int, picture: int) -> dict[str, Any]:
    encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "image_id": picture, "category_id": category, "iscrowd": 0, "area": int(mask.sum()),
        "bbox": [float(v) for v in rle.toBbox(encoded)],
        "segmentation": {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")},
    }  # fmt: skip


def _head(split: ClassSplit, categories: Mapping[int, int], *, background: bool) -> dict[str, Any]:
    rows = [{"id": 0, "name": "background", "supercategory": "background"}] if background else []
    for label, name in enumerate(split.all_names, start=1):
        kind = "novel" if name in split.novel else "base"
        rows.append({"id": categories[label], "name": name, "supercategory": kind})
    told = f"synthetic pictures for {split.dataset}, fold {split.fold}"
    return {
        "info": {"description": told, "version": "1"}, "categories": rows,
        "licenses": [{"id": 1, "name": "see README.md", "url": ""}],
    }  # fmt: skip


class _Part:
    """Entries of a list in a file without a name, until all of them are known."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", newline="\n")  # noqa: SIM115
        self._between = ""

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(self._between + json_line(entry))
        self._between = ",\n"

    def copy_to(self, file: IO[str]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)


def _join(file: IO[str], head: Mapping[str, Any], pictures: _Part, annotations: _Part) -> None:
    """Put the parts together, an entry a line, without holding them."""
    file.write("{\n")
    for key, value in head.items():
        file.write(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n")
    for key, part, end in (("images", pictures, ",\n"), ("annotations", annotations, "\n")):
        file.write(f'"{key}": [\n')
        part.copy_to(file)
        file.write(f"\n]{end}")
    file.write("}\n")
