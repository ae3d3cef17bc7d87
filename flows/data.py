"""Which folders hold the base, support and validation pictures, and which pictures become supports."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.progress import tell
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hashing import hash_arrays, hash_files, hash_json
from pipeline.images import read_pair
from pipeline.protocols import DIAM, PROTOCOLS, GfssProtocol
from pipeline.store import RunStore
from pipeline.types import Mask, Sample, Support

if TYPE_CHECKING:
    from fss_models.data import VocFolder

SUPPORT_POOL = 400
"""Scenes of picto from which the supports are chosen."""

_PICTO = ("base", "support", "validation")


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
        except OSError as error:
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


def labelled(config: Config, folder: DataFolder, *, hide_novel: bool = False) -> VocFolder:
    """Read pictures in split ids; novel things become background where they are to be hidden."""
    return _labelled(folder, config.experiment.dataset, config.experiment.fold, hide_novel)


@lru_cache(maxsize=3)
def _labelled(folder: DataFolder, dataset: str, fold: int, hide_novel: bool) -> VocFolder:
    from fss_models.data import VocFolder

    return VocFolder(folder.root, ClassSplit.of(dataset, fold), folder.subset, hide_novel=hide_novel)


def store_of(config: Config) -> RunStore:
    """Give the run store of a config."""
    return RunStore(Path(config.execution.output) / "store")


def split_of(config: Config) -> ClassSplit:
    """Give the class split of a config."""
    return ClassSplit.of(config.experiment.dataset, config.experiment.fold)


def novel_names(config: Config) -> tuple[str, ...]:
    """Give the novel classes to draw."""
    return config.experiment.prompts.classes or split_of(config).novel


def protocol_of(config: Config) -> GfssProtocol:
    """Give the published GFSS convention that holds."""
    return PROTOCOLS[config.experiment.protocol]


def side_of(config: Config) -> int:
    """Give the side of the squares that GFSS models see, in pixels; 0: picto's pictures stay as they are."""
    return 0 if config.experiment.dataset == "picto" else protocol_of(config).side


def choose_supports(
    folder: DataFolder, split: ClassSplit, shots: int, seed: int, protocol: GfssProtocol = DIAM
) -> dict[str, tuple[str, ...]]:
    """Choose the support pictures: class -> K names; each shows one novel class only, large enough.

    Args:
        folder: pool of pictures.
        split: base and novel classes.
        shots: K.
        seed: of the order in which the pool is gone through.
        protocol: says how large is large enough.

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
        areas, least = np.bincount(labels.ravel(), minlength=256), protocol.least_pixels(labels.size)
        present = [i for i in split.novel_ids if areas[i]]
        if len(present) == 1 and areas[present[0]] >= least and len(chosen[split.names[present[0]]]) < shots:
            chosen[split.names[present[0]]].append(name)
    for name, found in chosen.items():
        if len(found) < shots:
            raise InputError(
                f"{folder.root} has only {len(found)} support pictures of {name!r} that show no other novel class "
                f"and have enough pixels of it: lower experiment.shots (now {shots}) or add pictures"
            )
    return {name: tuple(found) for name, found in chosen.items()}


@lru_cache(maxsize=2)
def read_supports(config: Config) -> tuple[Support, ...]:
    """Read the supports of every novel class, in the order of the split."""
    data, split = prepare_data(config), split_of(config)
    supports = []
    for name, ids in _chosen_supports(config).items():
        pairs = [read_pair(*data["support"].pair(i), split) for i in ids]
        masks = tuple(labels == split.id_of(name) for _, labels in pairs)
        maps = tuple(labels for _, labels in pairs) if protocol_of(config).base_labels else None
        supports.append(Support(name, tuple(picture for picture, _ in pairs), masks, labels=maps))
    return tuple(supports)


def scored_places(config: Config) -> list[int]:
    """Give which validation pictures a GFSS model is scored on: not its supports, and as many as the protocol says."""
    data, protocol = prepare_data(config), protocol_of(config)
    ids, hidden = data["validation"].ids, set()
    if data["support"] == data["validation"]:
        hidden = {name for names in _chosen_supports(config).values() for name in names}
    places = [place for place, name in enumerate(ids) if name not in hidden]
    wanted = protocol.test_pictures.get(config.experiment.dataset, len(places))
    if wanted < len(places):
        places = sorted(random.Random(f"test/{config.experiment.seed}").sample(places, wanted))
    return places


@lru_cache(maxsize=2)
def _chosen_supports(config: Config) -> dict[str, tuple[str, ...]]:
    experiment, folder = config.experiment, prepare_data(config)["support"]
    return choose_supports(folder, split_of(config), experiment.shots, experiment.seed, protocol_of(config))


def supports_content(supports: tuple[Support, ...]) -> str:
    """Hash of the supports' pictures and masks."""
    rows = [[s.name, hash_arrays(*s.pictures), hash_arrays(*s.masks)] for s in supports]
    maps = [[hash_arrays(*s.labels)] if s.labels is not None else [] for s in supports]
    return hash_json([row + more for row, more in zip(rows, maps, strict=True)])


@lru_cache(maxsize=16)
def _content(root: Path, files: tuple[str, ...], stamps: tuple[int, ...]) -> str:
    return hash_files(root, files)


def _picto_root(config: Config) -> Path:
    return Path(config.execution.output) / "data" / "picto"


def _pascal(config: Config, purpose: str) -> DataFolder:
    root = Path(config.execution.data) / "VOC2012"
    lists = protocol_of(config).lists[purpose]
    for name in lists:
        if (root / "ImageSets" / "Segmentation" / f"{name}.txt").exists():
            return DataFolder(root, name)
    raise InputError(
        f"no PASCAL VOC 2012 in {root} (looked for ImageSets/Segmentation/{lists[0]}.txt): "
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
