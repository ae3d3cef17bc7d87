"""PASCAL VOC: folders in its layout, and PASCAL-5i of VOC 2012 with the masks of SBD.

Source: systems.md section 1. Lists: ``train`` (1,464), ``train_sbd`` (5,953: VOC and SBD train without VOC val, as
few-shot work and DIaM use it), ``train_aug`` (10,582: SBD val too, as CAPL and POP use it), ``val`` (1,449).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.classes import ClassSplit
from pipeline.datasets.pictures import FilePictures, Row, lines_of
from pipeline.errors import InputError, cause_of
from pipeline.images import read_labels
from pipeline.types import LabelMap

PUBLISHED = {"train": 1464, "train_sbd": 5953, "train_aug": 10582, "val": 1449}
"""Pictures of each list."""

_LISTS = "ImageSets/Segmentation"
_MASKS = ("SegmentationClassAug/{}.png", "SegmentationClass/{}.png")
_PURPOSES = {"base": "train_aug", "support": "train_aug", "validation": "val"}
"""Purpose -> list."""
_WITH_SBD = ("train_sbd", "train_aug")


def voc_folder(root: Path, subset: str) -> FilePictures:
    """Give the pictures of a list in ``root/ImageSets/Segmentation``, with masks in SegmentationClassAug.

    Raises:
        InputError: there is no such list, or it is empty.
    """
    lists = sorted(path.stem for path in (root / _LISTS).glob("*.txt"))
    hint = f"is {root} in VOC layout? it has the lists {', '.join(lists) or '(none)'}, not {subset!r}"
    rows = []
    for id_ in lines_of(root / _LISTS / f"{subset}.txt", hint):
        jpeg = f"JPEGImages/{id_}.jpg"
        rows.append(Row(id_, jpeg if (root / jpeg).exists() else jpeg[:-3] + "png", f"SegmentationClassAug/{id_}.png"))
        if not (root / rows[-1].picture).exists():
            rows[-1] = Row(id_, jpeg, rows[-1].mask)
    return FilePictures(root, rows, hint=f", or delete {root} if it was drawn, so that it is drawn again")


@dataclass(frozen=True)
class Pascal:
    """PASCAL-5i, in ``VOC2012`` and, where the masks of SBD are not in SegmentationClassAug, ``SBD``.

    Attributes:
        data: parent of both folders.
        cache: not used.
    """

    data: Path
    cache: Path
    name: str = "pascal"
    maps: bool = True
    purposes: tuple[str, ...] = ("base", "support", "validation")
    where: str = (
        "VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC/voc2012, unpacked as VOC2012; for more masks "
        "VOC2012/SegmentationClassAug, or SBD (benchmark.tgz, its folder dataset as SBD: cls, train.txt, val.txt)"
    )

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the lists that are there or can be put together."""
        return tuple(name for name in PUBLISHED if self._has(name))

    @property
    def voc(self) -> Path:
        """Folder of VOC 2012."""
        return self.data / "VOC2012"

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold."""
        return ClassSplit.of("pascal", fold)

    def ready(self) -> bool:
        """There is nothing to prepare."""
        return True

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def pictures(self, purpose: str, fold: int) -> FilePictures:
        """Give the pictures of a purpose (base, support, validation) or of a list; they are the same in all folds.

        Raises:
            InputError: the data set is not there.
        """
        return FilePictures(self.data, [self._row(id_) for id_ in self.ids(self.list_of(purpose))], _read_mask)

    def list_of(self, purpose: str) -> str:
        """Name the list that serves a purpose or list: its own, or ``train`` where there is none with pictures of SBD.

        Raises:
            InputError: there is no list for it, or only another one with pictures of SBD.
        """
        wanted = _PURPOSES.get(purpose, purpose)
        there = [name for name in (wanted, *_WITH_SBD, "train") if self._has(name)]
        if wanted in there:
            return wanted
        if wanted not in _WITH_SBD or not there:
            raise InputError(
                f"no PASCAL VOC 2012 in {self.voc} (looked for {_LISTS}/{wanted}.txt): "
                f"get {self.where}, or name the parent folder by --set execution.data=FOLDER"
            )
        if there[0] != "train":
            raise InputError(
                f"{self.voc / _LISTS} has the list {there[0]} ({PUBLISHED[there[0]]:,} pictures) but not {wanted} "
                f"({PUBLISHED[wanted]:,}), and they are not alike: get train.txt and val.txt of SBD (benchmark.tgz) "
                f"as {self.data / 'SBD'}, from which it is put together, or write {wanted}.txt"
            )
        return "train"

    def ids(self, subset: str) -> list[str]:
        """Give the names of a list: from its file, or put together from the lists of VOC and SBD.

        Raises:
            InputError: a list is missing.
        """
        path = self.voc / _LISTS / f"{subset}.txt"
        if path.exists() or subset not in _WITH_SBD:
            return lines_of(path, f"get {self.where}")
        parts = [lines_of(self.voc / _LISTS / "train.txt", f"get {self.where}")]
        for name in ("train", "val") if subset == "train_aug" else ("train",):
            parts.append(lines_of(self.data / "SBD" / f"{name}.txt", f"get {self.where}"))
        held = set(lines_of(self.voc / _LISTS / "val.txt", f"get {self.where}"))
        return sorted({id_ for part in parts for id_ in part} - held)

    def _has(self, subset: str) -> bool:
        derived = subset in _WITH_SBD and (self.data / "SBD" / "train.txt").exists()
        return derived or (self.voc / _LISTS / f"{subset}.txt").exists()

    def _row(self, id_: str) -> Row:
        masks = [f"VOC2012/{pattern.format(id_)}" for pattern in _MASKS] + [f"SBD/cls/{id_}.mat"]
        mask = next((m for m in masks if (self.data / m).exists()), masks[0])
        return Row(id_, f"VOC2012/JPEGImages/{id_}.jpg", mask)


def _read_mask(path: Path) -> LabelMap:
    if path.suffix != ".mat":
        return read_labels(path)
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path)["GTcls"][0, 0]["Segmentation"], dtype=np.uint8)
    except Exception as error:  # the reader of MATLAB files raises many classes
        raise InputError(f"mask {path} cannot be read ({cause_of(error)}): get SBD anew") from error
