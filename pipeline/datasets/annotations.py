"""Pictures whose masks are outlines in one large annotation file: an index of it is made once, then read line by line.

An index is a folder: ``lines.jsonl`` has one line a picture (or a crop of one) with the run-length encoded mask of
every class in it, ``items.npy`` says which line, class and area each item has, ``starts.npy`` where the lines start,
``record.json``, written last, what it was made from.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from pipeline.errors import InputError, cause_of
from pipeline.folders import make_folder
from pipeline.hashing import hash_files, hash_json
from pipeline.images import read_picture, size_of
from pipeline.types import LabelMap, Picture

VERSION = 1

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Annotated:
    """What is known of one picture, or of one crop.

    Attributes:
        picture: file below the root of the pictures.
        size: height and width of the whole picture.
        masks: (dataset id, segmentation): polygons, or a run-length encoding of the whole picture.
        box: the part of the picture that is shown, xyxy, right and bottom exclusive; None is all of it.
    """

    picture: str
    size: tuple[int, int]
    masks: Sequence[tuple[int, Any]]
    box: Box | None = None


def make_index(
    folder: Path, files: Sequence[Path], build: Callable[[], Iterable[Annotated]], *, one_class: bool
) -> None:
    """Write an index where there is none of these files yet, see `make_folder`.

    Args:
        folder: of the index.
        files: what it is made from.
        build: reads them and gives the pictures in the order of the list.
        one_class: an item is a picture and one of its classes; else it is a picture with its label map.

    Raises:
        InputError: a file is missing, damaged or not of the expected form.
    """

    def write(partial: Path) -> None:
        _write_index(partial, build(), {"version": VERSION, "files": _stamps(files)}, one_class=one_class)

    try:
        make_folder(folder, lambda: index_is_made(folder, files), write)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{' and '.join(map(str, files))}: not of the expected form ({type(error).__name__}: {cause_of(error)}): "
            "are they the annotations of another data set?"
        ) from error


def index_is_made(folder: Path, files: Sequence[Path]) -> bool:
    """Say whether there is an index made from these files as they are now."""
    record = folder / "record.json"
    return record.exists() and json.loads(record.read_text()) == {"version": VERSION, "files": _stamps(files)}


def _stamps(files: Sequence[Path]) -> list[list[Any]]:
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _write_index(folder: Path, pictures: Iterable[Annotated], record: Mapping[str, Any], *, one_class: bool) -> None:
    items: list[tuple[int, int, int]] = []
    starts = []
    with (folder / "lines.jsonl").open("wb") as file:
        for number, picture in enumerate(pictures):
            masks = _merged(picture, by_class=one_class)
            starts.append(file.tell())
            encoded = [[label, mask["counts"].decode()] for label, mask in masks]
            line = {"picture": picture.picture, "size": picture.size, "box": picture.box, "masks": encoded}
            file.write(json.dumps(line).encode() + b"\n")
            if one_class:
                items += [(number, label, _area(mask, picture)) for label, mask in masks]
            else:
                items.append((number, 0, 0))
    table = np.array([i for i in items if i[2] or not one_class], dtype=np.int64).reshape(-1, 3)
    np.save(folder / "items.npy", table)
    np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))
    (folder / "record.json").write_text(json.dumps(record))


class IndexedPictures:
    """The pictures of an index.

    Args:
        folder: of the index.
        root: folder of the pictures.
        classes: dataset ids; only items about them are listed. None lists all.
    """

    def __init__(self, folder: Path, root: Path, classes: Sequence[int] | None = None) -> None:
        self.folder, self.root, self._only = folder, root, sorted(classes) if classes is not None else None
        self._starts = np.load(folder / "starts.npy", mmap_mode="r")
        items: NDArray[np.int64] = np.load(folder / "items.npy")
        self._items = items if classes is None else items[np.isin(items[:, 1], classes)]
        self.classes = self._items[:, 1] if self._items[:, 1].any() else None
        self.ids = range(len(self._items))

    def picture(self, index: int) -> Picture:
        """Read a picture, uint8 RGB (H, W, 3)."""
        line = self._line(index)
        path = self._path(line)
        picture = read_picture(path)
        _check_annotated(path, picture.shape, line["size"])
        return np.asarray(_crop(picture, line["box"]))

    def labels(self, index: int) -> LabelMap:
        """Decode a mask, uint8 (H, W): of a label map the later masks lie above the earlier ones."""
        line, label = self._line(index), int(self._items[index, 1])
        labels = np.zeros(line["size"], dtype=np.uint8)
        for id_, counts in line["masks"]:
            if label in (0, id_):
                mask = rle.decode({"size": line["size"], "counts": counts.encode()})
                labels[mask > 0] = 1 if label else id_
        return np.asarray(_crop(labels, line["box"]))

    def size(self, index: int) -> tuple[int, int]:
        """Give height and width of a picture as annotated, and look that its file is there and of that size."""
        line = self._line(index)
        path = self._path(line)
        height, width = size_of(path)
        _check_annotated(path, (height, width), line["size"])
        left, top, right, bottom = line["box"] or (0, 0, width, height)
        return bottom - top, right - left

    def where(self, index: int) -> tuple[str, str]:
        """Name a picture and its annotations."""
        line = self._line(index)
        return str(self.root / line["picture"]), f"the annotation of {line['picture']}"

    def areas(self) -> NDArray[np.int64] | None:
        """Give the pixels of each item's class, int (N,), or None for label maps."""
        return None if self.classes is None else self._items[:, 2]

    def stamp(self) -> str:
        """Hash of what the index was made from, and of which items are listed."""
        return hash_json([json.loads((self.folder / "record.json").read_text()), self._only])

    def content(self) -> str:
        """Hash of the index and of which items are listed; the pictures count by name and size."""
        return hash_json([_content(self.folder, self.stamp()), self._only])

    def _path(self, line: Mapping[str, Any]) -> Path:
        path = self.root / str(line["picture"])
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"the annotations name the picture {line['picture']}, which is outside {self.root}")
        return path

    def _line(self, index: int) -> dict[str, Any]:
        with (self.folder / "lines.jsonl").open("rb") as file:
            file.seek(int(self._starts[self._items[index, 0]]))
            line: dict[str, Any] = json.loads(file.readline())
            return line


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"the annotations {path} cannot be read ({cause_of(error)}): get the file anew") from error


def load_pickle(path: Path) -> Any:
    """Read the plain containers, numbers and texts of a pickle; nothing that it names is looked up or called.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"the annotations {path} cannot be read ({cause_of(error)}): get the file anew") from error


class _Nothing:
    """Stands for any object that a pickle names."""

    def __new__(cls, *_: object, **__: object) -> _Nothing:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        return


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        return _Nothing


def _check_annotated(path: Path, found: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(found[:2]) != tuple(expected):
        raise InputError(
            f"{path} is {found[1]}x{found[0]} but its annotations are for {expected[1]}x{expected[0]}: "
            "is it the picture of another data set?"
        )


def _merged(picture: Annotated, *, by_class: bool) -> list[tuple[int, dict[str, Any]]]:
    """Encode the masks; those of one class become one where ``by_class``, else larger ones come first."""
    height, width = picture.size
    found: list[tuple[int, dict[str, Any]]] = []
    for label, segmentation in picture.masks:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
            segmentation = {**segmentation, "counts": segmentation["counts"].encode()}
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
            parts = [segmentation]
        else:
            encoded = rle.frPyObjects(segmentation, height, width)
            parts = encoded if isinstance(encoded, list) else [encoded]
        found.append((label, rle.merge(parts)))
    if not by_class:
        return sorted(found, key=lambda f: -int(rle.area(f[1])))
    labels = dict.fromkeys(label for label, _ in found)
    return [(label, rle.merge([mask for id_, mask in found if id_ == label])) for label in labels]


def _area(mask: dict[str, Any], picture: Annotated) -> int:
    return int(rle.area(mask)) if picture.box is None else int(_crop(rle.decode(mask), picture.box).sum())


def _crop(array: Any, box: Sequence[int] | None) -> Any:
    if box is None:
        return array
    left, top, right, bottom = box
    return array[top:bottom, left:right]


@lru_cache(maxsize=16)
def _content(folder: Path, _: str) -> str:
    return hash_files(folder, ["lines.jsonl", "items.npy"])
