"""PASCAL VOC with both kinds of masks and the lists of GFSS trainers, alone or together with base pictures.

- ``JPEGImages/<id>.jpg``
- ``SegmentationClass/<id>.png``: dataset ids with the VOC palette, for VOC's own tools
- ``SegmentationClassAug/<id>.png``: the same ids, single-channel, for trainers that read masks as grey values
- ``ImageSets/Segmentation/train.txt``, ``trainval.txt``: one id a line
- ``ImageSets/Segmentation/gfss_train.txt``: "JPEGImages/<id>.jpg SegmentationClassAug/<id>.png" a line
- ``ImageSets/Segmentation/merged_train.txt``: the same for base and synthetic pictures, where there is a base
- ``samples.jsonl``: class, prompt, seed and scores of each picture
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from pipeline.datasets.pascal import voc_folder
from pipeline.datasets.pictures import FilePictures
from pipeline.errors import InputError
from pipeline.export.items import Item
from pipeline.export.place import copy_file, json_line, write_lines

_LISTS = "ImageSets/Segmentation"
_BASE_LISTS = ("train_aug", "train", "all")
"""Of a base folder, the first one that is there; ``trainval`` would train on what is scored on."""


def export_voc(items: Iterable[Item], folder: Path) -> None:
    """Write the items into a new folder."""
    ids = []
    with (folder / "samples.jsonl").open("w", encoding="utf-8", newline="\n") as table:
        for item in items:
            copy_file(item.picture, folder / "JPEGImages" / f"{item.id}.jpg")
            copy_file(item.palette, folder / "SegmentationClass" / f"{item.id}.png")
            copy_file(item.mask, folder / "SegmentationClassAug" / f"{item.id}.png")
            table.write(json_line(item.facts()) + "\n")
            ids.append(item.id)
    for name in ("train", "trainval"):
        write_lines(folder / _LISTS / f"{name}.txt", ids)
    write_lines(folder / _LISTS / "gfss_train.txt", _pairs(ids))


def export_merged(ids: Sequence[str], base: Sequence[str], folder: Path) -> None:
    """Write the list of base and synthetic pictures beside the others.

    Args:
        ids: of the items.
        base: lines of `base_lines`.
        folder: of the export.
    """
    write_lines(folder / _LISTS / "merged_train.txt", [*base, *_pairs(ids)])


def open_base(folder: Path, subset: str | None) -> FilePictures:
    """List the pictures of a base data set in VOC layout.

    Args:
        folder: holds JPEGImages, SegmentationClassAug and ImageSets/Segmentation.
        subset: name of the list; None takes train_aug, train or all, or the only one that there is.

    Raises:
        InputError: no such list, or several of which none is one of these.
    """
    names = sorted(path.stem for path in (folder / _LISTS).glob("*.txt"))
    if not names:
        raise InputError(f"{folder} is not in VOC layout: expected {folder / _LISTS}/<list>.txt")
    chosen = subset or next((name for name in _BASE_LISTS if name in names), names[0] if len(names) == 1 else None)
    if chosen not in names:
        asked = f"not {subset!r}" if subset else f"none of {', '.join(_BASE_LISTS)}"
        raise InputError(f"{folder} has the lists {', '.join(names)}, {asked}: choose one by --base-list")
    return voc_folder(folder, chosen)


def base_lines(base: FilePictures, to: Path) -> list[str]:
    """Give "picture mask" of every base picture, relative to the export's folder, without copying anything.

    Args:
        base: the base pictures.
        to: the folder of the export.

    Raises:
        InputError: a file is missing, a mask is not single-channel, or a path has a space in it.
    """
    base.stamp()  # all files are there
    target, lines = to.resolve(), []
    for row in base.rows:
        picture, mask = base.root / row.picture, base.root / row.mask
        _check_grey(mask)
        line = " ".join(os.path.relpath(path.resolve(), target).replace(os.sep, "/") for path in (picture, mask))
        if line.count(" ") != 1:
            raise InputError(f"a line of a list is parted by a space, and {picture} has one in its path: move it")
        lines.append(line)
    return lines


def check_clash(base: FilePictures, ids: Sequence[str], prefix: str) -> None:
    """Look that no synthetic picture has the id of a base picture: trainers tell pictures apart by it.

    Raises:
        InputError: one has.
    """
    stems = {Path(row.picture).stem for row in base.rows}
    if twice := [id_ for id_ in ids if id_ in stems]:
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise InputError(f"the base set has a picture {twice[0]} too{more}: choose other ids by --prefix {prefix}2")


def _pairs(ids: Iterable[str]) -> list[str]:
    return [f"JPEGImages/{id_}.jpg SegmentationClassAug/{id_}.png" for id_ in ids]


def _check_grey(mask: Path) -> None:
    mode = "none"
    if mask.suffix == ".png":
        try:
            with Image.open(mask) as image:
                mode = image.mode
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"mask {mask} cannot be read ({error}): the file is damaged, get it anew") from error
    if mode != "L":
        raise InputError(
            f"{mask} is no single-channel PNG, and a trainer that reads it as grey values would get wrong ids: put "
            "single-channel masks into SegmentationClassAug"
        )
