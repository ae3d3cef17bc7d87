"""Which folders hold the base, support and validation pictures, and which pictures become supports."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from flows.progress import tell
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hashing import hash_arrays, hash_files, hash_json
from pipeline.images import read_pair
from pipeline.store import RunStore
from pipeline.types import Mask, Sample, Support

SUPPORT_POOL = 400
"""Scenes of picto from which the supports are chosen."""

MIN_AREA = 0.04
"""A support shows its class on at least this share of the picture."""

_PICTO = ("base", "support", "validation")
_PASCAL_LISTS = {"base": ("train_aug", "train"), "support": ("train_aug", "train"), "validation": ("val",)}


@dataclass(frozen=True)
class DataFolder:
    """Pictures in VOC layout: ``root`` and the name of a list in ImageSets/Segmentation."""

    root: Path
    subset: str

    @property
    def ids(self) -> list[str]:
        """Names of the pictures, in the list's order.

        Raises:
            InputError: there is no such list.
        """
        path = self.root / "ImageSets" / "Segmentation" / f"{self.subset}.txt"
        try:
            return path.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the list of pictures {path} cannot be read: is {self.root} in VOC layout?") from error

    def pair(self, name: str) -> tuple[Path, Path]:
        """Give the paths of a picture and its mask."""
        return self.root / "JPEGImages" / f"{name}.jpg", self.root / "SegmentationClassAug" / f"{name}.png"

    def content(self) -> str:
        """Hash of the files that the list names.

        Raises:
            InputError: one of them is missing.
        """
        names = self.ids
        files = [path.relative_to(self.root).as_posix() for name in names for path in self.pair(name)]
        try:
            stamps = tuple((self.root / f).stat().st_mtime_ns for f in files)
        except FileNotFoundError as error:
            kind = "mask" if "SegmentationClassAug" in str(error.filename) else "picture"
            raise InputError(
                f"the {kind} {error.filename} is missing though {self.subset}.txt names it: put it back, "
                f"or delete {self.root} if it was drawn, so that it is drawn again"
            ) from error
        return _content(self.root, tuple(files), stamps)


DataSets = Mapping[str, DataFolder]


def count_of(config: Config, purpose: str) -> int:
    """Give how many scenes of picto a purpose has."""
    experiment = config.experiment
    return {"base": experiment.base_pictures, "validation": experiment.validation_pictures}.get(purpose, SUPPORT_POOL)


def find_data(config: Config) -> DataSets | None:
    """Give the folders, or None where picto's have not been drawn yet.

    Raises:
        InputError: a data set that cannot be drawn is missing.
    """
    if config.experiment.dataset != "picto":
        return {purpose: _pascal(config, purpose) for purpose in _PICTO}
    folders = {p: _picto_root(config) / f"{p}-{count_of(config, p)}" for p in _PICTO}
    if not all((folder / "record.json").exists() for folder in folders.values()):
        return None
    return {purpose: DataFolder(folder, "all") for purpose, folder in folders.items()}


def prepare_data(config: Config) -> DataSets:
    """Give the folders; draw those of picto that are not there yet."""
    found = find_data(config)
    if found:
        return found
    from picto.datasets import ensure_dataset

    store = store_of(config)
    for purpose in _PICTO:
        with store.lock(f"data-{purpose}"):
            ensure_dataset(
                _picto_root(config), purpose, count_of(config, purpose),
                lambda done, count, purpose=purpose: tell("data", purpose, done / count),  # type: ignore[misc]
            )  # fmt: skip
    found = find_data(config)
    assert found
    return found


def store_of(config: Config) -> RunStore:
    """Give the run store of a config."""
    return RunStore(Path(config.execution.output) / "store")


def split_of(config: Config) -> ClassSplit:
    """Give the class split of a config."""
    return ClassSplit.of(config.experiment.dataset, config.experiment.fold)


def novel_names(config: Config) -> tuple[str, ...]:
    """Give the novel classes to draw."""
    return config.experiment.prompts.classes or split_of(config).novel


def choose_supports(folder: DataFolder, split: ClassSplit, shots: int, seed: int) -> dict[str, tuple[str, ...]]:
    """Choose the support pictures: class -> K names; each shows one novel class only, large enough.

    Args:
        folder: pool of pictures.
        split: base and novel classes.
        shots: K.
        seed: of the order in which the pool is gone through.

    Raises:
        InputError: the pool has too few suitable pictures of a class, or a damaged one.
    """
    names = folder.ids
    random.Random(f"supports/{seed}").shuffle(names)
    chosen: dict[str, list[str]] = {name: [] for name in split.novel}
    for name in names:
        if all(len(found) == shots for found in chosen.values()):
            break
        _, labels = read_pair(*folder.pair(name), split)
        areas = np.bincount(labels.ravel(), minlength=256) / labels.size
        present = [i for i in split.novel_ids if areas[i]]
        if len(present) == 1 and areas[present[0]] >= MIN_AREA and len(chosen[split.names[present[0]]]) < shots:
            chosen[split.names[present[0]]].append(name)
    for name, found in chosen.items():
        if len(found) < shots:
            raise InputError(
                f"{folder.root} has only {len(found)} support pictures of {name!r} that show no other novel class "
                f"and cover {MIN_AREA:.0%}: lower experiment.shots (now {shots}) or add pictures"
            )
    return {name: tuple(found) for name, found in chosen.items()}


@lru_cache(maxsize=2)
def read_supports(config: Config) -> tuple[Support, ...]:
    """Read the supports of every novel class, in the order of the split."""
    data, split = prepare_data(config), split_of(config)
    chosen = choose_supports(data["support"], split, config.experiment.shots, config.experiment.seed)
    supports = []
    for name, ids in chosen.items():
        pairs = [read_pair(*data["support"].pair(i), split) for i in ids]
        masks = tuple(labels == split.id_of(name) for _, labels in pairs)
        supports.append(Support(name, tuple(picture for picture, _ in pairs), masks))
    return tuple(supports)


def supports_content(supports: tuple[Support, ...]) -> str:
    """Hash of the supports' pictures and masks."""
    return hash_json([[s.name, hash_arrays(*s.pictures), hash_arrays(*s.masks)] for s in supports])


@lru_cache(maxsize=16)
def _content(root: Path, files: tuple[str, ...], stamps: tuple[int, ...]) -> str:
    return hash_files(root, files)


def _picto_root(config: Config) -> Path:
    return Path(config.execution.output) / "data" / "picto"


def _pascal(config: Config, purpose: str) -> DataFolder:
    root = Path(config.execution.data) / "VOC2012"
    for name in _PASCAL_LISTS[purpose]:
        if (root / "ImageSets" / "Segmentation" / f"{name}.txt").exists():
            return DataFolder(root, name)
    raise InputError(
        f"no PASCAL VOC 2012 in {root} (looked for ImageSets/Segmentation/{_PASCAL_LISTS[purpose][0]}.txt): "
        "put it there or name its parent by --set execution.data=FOLDER"
    )


def labelled_pictures(config: Config, count: int) -> list[tuple[Sample, Mask]]:
    """Give pictures of novel classes as if they were generated, each with the true mask of its class, bool (H, W).

    Picto has portraits for this purpose, which nothing is trained on; other data sets give their validation pictures
    that show one novel class.
    """
    split = split_of(config)
    if config.experiment.dataset == "picto":
        from picto.datasets import ensure_dataset

        folder = DataFolder(ensure_dataset(_picto_root(config), "audit", count), "all")
    else:
        folder = prepare_data(config)["validation"]
    found = []
    for id_ in folder.ids[:count]:
        picture, labels = read_pair(*folder.pair(id_), split)
        present = [i for i in split.novel_ids if (labels == i).any()]
        if len(present) == 1:
            name = split.names[present[0]]
            found.append((Sample(id_, name, f"a {name}", 0, picture), labels == present[0]))
    return found
