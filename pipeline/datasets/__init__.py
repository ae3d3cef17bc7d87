"""Data sets by name or by the path of a YAML; every one gives its classes and its pictures in the same form."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from pipeline.classes import ClassSplit
from pipeline.datasets.binary import Fss1000, Target
from pipeline.datasets.coco import Coco
from pipeline.datasets.msrc import Msrc
from pipeline.datasets.own import Own
from pipeline.datasets.parts import Indexed
from pipeline.datasets.pascal import Pascal, voc_folder
from pipeline.datasets.pictures import Pictures
from pipeline.errors import InputError

__all__ = ["DATASETS", "DataFolder", "DataSet", "is_own", "open_dataset"]


class DataSet(Protocol):
    """A data set.

    Attributes:
        name: in scores and fingerprints.
        maps: whether masks are label maps; else an item is a picture and one class, for FSS episodes only.
        where: what belongs where on the disk, and where to get it.
        purposes: what there are pictures for: base, support, validation.
        lists: names of its published lists, which `pictures` takes in place of a purpose.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def maps(self) -> bool: ...  # noqa: D102

    @property
    def where(self) -> str: ...  # noqa: D102

    @property
    def purposes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def lists(self) -> tuple[str, ...]: ...  # noqa: D102

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold."""
        ...

    def ready(self) -> bool:
        """Say whether `prepare` has nothing to do; raises an InputError where files are missing."""
        ...

    def prepare(self) -> None:
        """Do once what reading needs, such as an index of a large annotation file."""
        ...

    def pictures(self, purpose: str, fold: int) -> Pictures:
        """List the pictures of a purpose."""
        ...


DATASETS: dict[str, Callable[[Path, Path], DataSet]] = {
    "pascal": Pascal,
    "coco": Coco,
    "coco2017": lambda data, cache: Coco(data, cache, 2017),
    "fss1000": Fss1000,
    "lvis": lambda data, cache: Indexed(data, cache, "lvis"),
    "pascal_part": lambda data, cache: Indexed(data, cache, "pascal_part"),
    "paco_part": lambda data, cache: Indexed(data, cache, "paco_part"),
    "deepglobe": lambda data, cache: Target(data, cache, "deepglobe"),
    "isic": lambda data, cache: Target(data, cache, "isic"),
    "msrc21": Msrc,
    "chestxray": lambda data, cache: Target(data, cache, "chestxray"),
}
"""Name in the config -> builder from the folder of all data sets and a folder for what is computed once."""


def is_own(name: str) -> bool:
    """Say whether a data set's name is the path of a YAML."""
    return name.endswith((".yaml", ".yml"))


def open_dataset(name: str, data: Path, cache: Path) -> DataSet:
    """Give a data set; nothing is read yet.

    Args:
        name: one of `DATASETS`, or the path of an own-classes YAML.
        data: folder that holds the folders of the data sets.
        cache: folder for what is computed once, such as indices and counts.

    Raises:
        InputError: there is none of that name.
    """
    if is_own(name):
        return _open_own(Path(name), cache, _time_of(Path(name)))
    if name not in DATASETS:
        known = ["picto", *DATASETS]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown dataset {name!r}: expected one of {', '.join(known)} or the path of a YAML{hint}")
    return DATASETS[name](data, cache / name)


@dataclass(frozen=True)
class DataFolder:
    """Names some pictures without holding any: light enough to be handed to another process.

    Attributes:
        root: a folder in VOC layout, or the folder of all data sets.
        subset: the list in ImageSets/Segmentation, or the purpose: base, support, validation.
        dataset: "voc", or as in `open_dataset`.
        fold: of the data set.
        cache: folder for what is computed once.
    """

    root: Path
    subset: str
    dataset: str = "voc"
    fold: int = 0
    cache: Path | None = None

    @property
    def pictures(self) -> Pictures:
        """The list of pictures, opened once a process.

        Raises:
            InputError: it is missing or empty.
        """
        return _open(self, _listed_at(self))

    def content(self) -> str:
        """Hash of what the pictures and masks hold.

        Raises:
            InputError: a file is missing.
        """
        return self.pictures.content()


def _time_of(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _listed_at(folder: DataFolder) -> int:
    """Give the time of the list, so that one that was changed is read again."""
    voc = folder.root / "ImageSets" / "Segmentation" / f"{folder.subset}.txt"
    return _time_of(voc if folder.dataset == "voc" else Path(folder.dataset))


@lru_cache(maxsize=8)
def _open_own(path: Path, cache: Path, _: int) -> Own:
    return Own(path, cache)


@lru_cache(maxsize=16)
def _open(folder: DataFolder, _: int) -> Pictures:
    if folder.dataset == "voc":
        return voc_folder(folder.root, folder.subset)
    return open_dataset(folder.dataset, folder.root, folder.cache or folder.root).pictures(folder.subset, folder.fold)
