"""Data sets of black-and-white masks of one class: FSS-1000, Deepglobe, ISIC 2018, Chest X-ray.

Source: systems.md 5.9; the last three are the targets of cross-domain work, in the layout of PATNet. They have no base
classes: train elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.classes import ClassSplit
from pipeline.datasets.pictures import FilePictures, Row, lines_of, read_black_and_white
from pipeline.errors import InputError

_FSS_SPLITS = {"trn": 520, "val": 240, "test": 240}
_LEFT_OUT = {"peregine_falcon/8"}
"""Left out by IIR's code too."""


@dataclass(frozen=True)
class Fss1000:
    """FSS-1000, in ``FSS-1000``: 520 classes to train on; fold 0 tests on the 240 of test, fold 1 on the 240 of val.

    Attributes:
        data: parent of that folder.
        cache: not used.
    """

    data: Path
    cache: Path
    name: str = "fss1000"
    maps: bool = False
    purposes: tuple[str, ...] = ("base", "support", "validation")
    lists: tuple[str, ...] = ()
    where: str = (
        "fewshot_data.zip from github.com/HKUSTCV/FSS-1000 as FSS-1000/data (one folder a class) and the class lists "
        "trn.txt, val.txt and test.txt from github.com/juhongm999/hsnet as FSS-1000/splits"
    )

    def split(self, fold: int) -> ClassSplit:
        """Give the classes of a fold.

        Raises:
            InputError: the lists are missing or are not of 520, 240 and 240 different classes.
        """
        names = {part: tuple(lines_of(self._root / "splits" / f"{part}.txt", self._hint)) for part in _FSS_SPLITS}
        sizes = {part: len(found) for part, found in names.items()}
        every = names["trn"] + names["val"] + names["test"]
        if sizes != _FSS_SPLITS or len(set(every)) != len(every):
            raise InputError(f"{self._root / 'splits'} has {sizes} classes: expected {_FSS_SPLITS}, all different")
        if fold not in (0, 1):
            raise InputError(f"fold {fold} of fss1000 does not exist: choose 0 (test classes) or 1 (val classes)")
        return ClassSplit("fss1000", fold, names["trn"], names["test" if fold == 0 else "val"], every)

    def ready(self) -> bool:
        """There is nothing to prepare."""
        return True

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def pictures(self, purpose: str, fold: int) -> FilePictures:
        """Give the pictures of the base classes, or those of the novel ones for any other purpose.

        Raises:
            InputError: a class has no folder.
        """
        split = self.split(fold)
        label = {name: place for place, name in enumerate(split.all_names, start=1)}
        root = self._root / "data" if (self._root / "data").is_dir() else self._root
        rows = []
        for name in split.base if purpose == "base" else split.novel:
            found = sorted((root / name).glob("*.jpg"), key=lambda p: (len(p.stem), p.stem))
            if not found:
                raise InputError(f"{root / name} has no pictures though the class lists name it: {self._hint}")
            stems = [f"{name}/{path.stem}" for path in found]
            rows += [Row(s, f"{s}.jpg", f"{s}.png", label[name]) for s in stems if s not in _LEFT_OUT]
        return FilePictures(root, rows, read_black_and_white)

    @property
    def _root(self) -> Path:
        return self.data / "FSS-1000"

    @property
    def _hint(self) -> str:
        return f"get {self.where}, or name the parent folder by --set execution.data=FOLDER"


@dataclass(frozen=True)
class Target:
    """A data set to test on only: every class is novel.

    Attributes:
        data: parent of its folder.
        cache: not used.
        name: deepglobe, isic or chestxray.
    """

    data: Path
    cache: Path
    name: str
    maps: bool = False
    purposes: tuple[str, ...] = ("support", "validation")
    lists: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Say what belongs where."""
        return {
            "deepglobe": "the land cover of deepglobe.org in tiles (preprocessed data of github.com/slei109/PATNet) as "
            "Deepglobe/1 to Deepglobe/6, each with test/origin/*.jpg and test/groundtruth/*.png",
            "isic": "task 1 of ISIC 2018 from challenge.isic-archive.com/data#2018, its pictures in folders 1, 2, 3 "
            "(by PATNet's class_id.csv) of ISIC/ISIC2018_Task1-2_Training_Input, its masks in "
            "ISIC/ISIC2018_Task1_Training_GroundTruth",
            "chestxray": "kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels: LungSegmentation/CXR_png "
            "and LungSegmentation/masks",
        }[self.name]

    def split(self, fold: int) -> ClassSplit:
        """Give the classes, all of them novel; there is one fold.

        Raises:
            InputError: another fold than 0.
        """
        names = {"deepglobe": tuple("123456"), "isic": tuple("123"), "chestxray": ("lung",)}[self.name]
        return ClassSplit.holding_out(self.name, fold, names, {0: names})

    def ready(self) -> bool:
        """There is nothing to prepare."""
        return True

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def pictures(self, purpose: str, fold: int) -> FilePictures:
        """Give all pictures.

        Raises:
            InputError: they are missing, or base pictures are asked for.
        """
        if purpose == "base":
            raise InputError(f"{self.name} has no base classes to train on: train on another data set, such as pascal")
        rows = list({"deepglobe": self._deepglobe, "isic": self._isic, "chestxray": self._chestxray}[self.name]())
        if not rows:
            raise InputError(
                f"no {self.name} in {self.data}: get {self.where}, or name the parent folder by "
                "--set execution.data=FOLDER"
            )
        return FilePictures(self.data, rows, read_black_and_white)

    def _deepglobe(self) -> Iterator[Row]:
        for label in range(1, 7):
            folder = f"Deepglobe/{label}/test"
            for path in sorted((self.data / folder / "origin").glob("*.jpg")):
                mask = f"{folder}/groundtruth/{path.stem}.png"
                yield Row(f"{label}/{path.stem}", f"{folder}/origin/{path.name}", mask, label)

    def _isic(self) -> Iterator[Row]:
        for label in range(1, 4):
            folder = f"ISIC/ISIC2018_Task1-2_Training_Input/{label}"
            for path in sorted((self.data / folder).glob("*.jpg")):
                mask = f"ISIC/ISIC2018_Task1_Training_GroundTruth/{path.stem}_segmentation.png"
                yield Row(path.stem, f"{folder}/{path.name}", mask, label)

    def _chestxray(self) -> Iterator[Row]:
        for path in sorted((self.data / "LungSegmentation/masks").glob("*.png")):
            stem = path.stem.removesuffix("_mask")
            yield Row(stem, f"LungSegmentation/CXR_png/{stem}.png", f"LungSegmentation/masks/{path.name}", 1)
