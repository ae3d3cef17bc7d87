"""A list of pictures with masks, read one at a time: what every reader of a data set gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.classes import IGNORE, ClassSplit
from pipeline.errors import InputError
from pipeline.hashing import hash_files, hash_json
from pipeline.images import check_size, read_labels, read_picture, size_of
from pipeline.types import LabelMap, Picture

WHITE = 128
"""Grey value from which on a pixel of a black-and-white mask shows the class."""


class Pictures(Protocol):
    """N pictures with masks.

    Attributes:
        ids: N names.
        classes: None where masks are label maps; else int (N,), the dataset id of the one class that item i is about.
    """

    @property
    def ids(self) -> Sequence[object]: ...  # noqa: D102

    @property
    def classes(self) -> NDArray[np.int64] | None: ...  # noqa: D102

    def picture(self, index: int) -> Picture:
        """Read a picture, uint8 RGB (H, W, 3)."""
        ...

    def labels(self, index: int) -> LabelMap:
        """Read a mask, uint8 (H, W): dataset ids and 255, or 1 on the one class that the item is about."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Give height and width of a picture without decoding it."""
        ...

    def where(self, index: int) -> tuple[str, str]:
        """Say where a picture and its mask are, for errors."""
        ...

    def areas(self) -> NDArray[np.int64] | None:
        """Give the pixels of each item's class, int (N,), where that is known without reading masks."""
        ...

    def stamp(self) -> str:
        """Give what changes when a file was changed, without reading it."""
        ...

    def content(self) -> str:
        """Give the hash of what the pictures and masks hold."""
        ...


@dataclass(frozen=True)
class Row:
    """One picture of a list: its name, the files of picture and mask below the root, and its class (0: label map)."""

    id: str
    picture: str
    mask: str
    label: int = 0


class FilePictures:
    """Pictures whose masks are files.

    Args:
        root: folder of all files.
        rows: the list; either all rows name a class or none.
        read_mask: reads a mask file, ids uint8 (H, W).
        hint: ends the sentence about a missing file.
    """

    def __init__(
        self, root: Path, rows: Sequence[Row], read_mask: Callable[[Path], LabelMap] = read_labels, hint: str = ""
    ) -> None:
        self.root, self.rows, self._read_mask, self._hint = root, tuple(rows), read_mask, hint
        self.ids = [row.id for row in rows]
        labels = np.array([row.label for row in rows], dtype=np.int64)
        self.classes = labels if labels.any() else None

    def pair(self, id_: str) -> tuple[Path, Path]:
        """Give the paths of a picture and its mask."""
        row = self.rows[self.ids.index(id_)]
        return self.root / row.picture, self.root / row.mask

    def picture(self, index: int) -> Picture:
        """Read a picture, uint8 RGB (H, W, 3)."""
        return read_picture(self.root / self.rows[index].picture)

    def labels(self, index: int) -> LabelMap:
        """Read a mask, uint8 (H, W)."""
        return self._read_mask(self.root / self.rows[index].mask)

    def size(self, index: int) -> tuple[int, int]:
        """Give height and width of a picture from its header."""
        return size_of(self.root / self.rows[index].picture)

    def where(self, index: int) -> tuple[str, str]:
        """Give the paths of a picture and its mask."""
        return str(self.root / self.rows[index].picture), str(self.root / self.rows[index].mask)

    def areas(self) -> None:
        """Nothing is known before the masks are read."""
        return

    def stamp(self) -> str:
        """Hash of the files' names, sizes and times.

        Raises:
            InputError: one of them is missing.
        """
        return hash_json(self._stats())

    def content(self) -> str:
        """Hash of the files, read once a process.

        Raises:
            InputError: one of them is missing.
        """
        stats = self._stats()
        return _content(self.root, tuple(name for name, _, _ in stats), tuple(time for _, _, time in stats))

    def _stats(self) -> list[tuple[str, int, int]]:
        found = []
        for row in self.rows:
            for name in (row.picture, row.mask):
                try:
                    stat = (self.root / name).stat()
                except OSError as error:
                    kind = "mask" if name == row.mask else "picture"
                    raise InputError(
                        f"the {kind} {self.root / name} is missing though the list names it: put it back{self._hint}"
                    ) from error
                found.append((name, stat.st_size, stat.st_mtime_ns))
        return found


def read_split(pictures: Pictures, index: int, split: ClassSplit) -> tuple[Picture, LabelMap]:
    """Read a picture, uint8 RGB (H, W, 3), and its mask as split ids (H, W), uint8, or uint16 where there are many.

    Raises:
        InputError: a file is missing or broken, their sizes differ, or the mask holds a foreign id.
    """
    picture, labels = pictures.picture(index), pictures.labels(index)
    where, mask = pictures.where(index)
    check_size(labels, picture.shape[:2], mask, where)
    if pictures.classes is not None:
        return picture, cast(LabelMap, split.one_class(labels, int(pictures.classes[index])))
    split.check(labels, mask)
    return picture, split.from_dataset(labels)


def count_pixels(
    pictures: Pictures, split: ClassSplit, cache: Path | None = None, complain: Callable[[str], None] | None = None,
    *, decode: bool = False,
) -> NDArray[np.int64]:  # fmt: skip
    """Count the pixels of every label in every mask; each mask is read once and the counts are kept in ``cache``.

    Args:
        pictures: N pictures.
        split: of any fold; its C classes are looked for.
        cache: folder, or None to keep nothing.
        complain: hears of a broken picture, which then counts nothing; None: it is raised.
        decode: also decode every picture once, so that a damaged one is found; else its header is looked at.

    Returns:
        Label maps: int (N, C + 1) by dataset id. One-class items: int (N,), the pixels of the item's class.

    Raises:
        InputError: a file is missing or broken, does not fit, or holds a foreign id.
    """
    known = pictures.areas()
    if known is not None:
        return known
    kept = None
    if cache and (complain is None or _all_there(pictures)):
        kept = cache / f"counts-{pictures.stamp()}-{len(split.all_names)}{'-decoded' if decode else ''}.npy"
        for path in (kept, kept.with_stem(f"{kept.stem}-decoded")):
            if path.exists():
                found: NDArray[np.int64] = np.load(path)
                return found
    whole = pictures.classes is None
    counts = np.zeros((len(pictures.ids), len(split.all_names) + 1 if whole else 1), dtype=np.int64)
    broken = False
    for index in range(len(counts)):
        picture, mask = pictures.where(index)
        try:
            labels = pictures.labels(index)
            check_size(labels, pictures.picture(index).shape[:2] if decode else pictures.size(index), mask, picture)
            if whole:
                split.check(labels, mask)
                counts[index] = np.bincount(labels.ravel(), minlength=IGNORE + 1)[: counts.shape[1]]
            else:
                counts[index] = (labels == 1).sum()
        except InputError as error:
            if complain is None:
                raise
            complain(str(error))
            broken = True
    counts = counts if whole else counts[:, 0]
    if kept and not broken:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.stem}-{os.getpid()}.npy")
        np.save(partial, counts)
        partial.replace(kept)
    return counts


def _all_there(pictures: Pictures) -> bool:
    try:
        pictures.stamp()
    except InputError:
        return False
    return True


def read_black_and_white(path: Path) -> LabelMap:
    """Read a grey or coloured mask file as 1 where it is bright, uint8 (H, W)."""
    return np.asarray(read_picture(path).mean(-1) >= WHITE, dtype=np.uint8)


def lines_of(path: Path, hint: str) -> list[str]:
    """Read a list, one name a line.

    Raises:
        InputError: it cannot be read, is empty or names a place elsewhere; ``hint`` says what to do.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list of pictures {path} cannot be read: {hint}") from error
    if outside := [line for line in lines if Path(line).is_absolute() or ".." in Path(line).parts]:
        raise InputError(f"the list {path} names {outside[0]!r}: expected names inside its data set")
    if not lines:
        raise InputError(f"the list {path} is empty: expected one picture id a line")
    return lines


@lru_cache(maxsize=16)
def _content(root: Path, files: tuple[str, ...], _: tuple[int, ...]) -> str:
    return hash_files(root, files)
