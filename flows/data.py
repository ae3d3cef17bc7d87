"""Which folders hold the base, support and validation pictures, and which pictures become supports."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.progress import tell
from flows.weights import commits_of
from pipeline.classes import DATASETS as LABEL_MAPS
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.datasets import DataFolder, DataSet, is_own, open_dataset
from pipeline.datasets.own import Own
from pipeline.datasets.pascal import PUBLISHED, Pascal
from pipeline.datasets.pictures import Pictures, read_split
from pipeline.errors import InputError
from pipeline.hashing import hash_arrays, hash_json
from pipeline.mirror import mirror_of
from pipeline.protocols import DIAM, PROTOCOLS, GfssProtocol
from pipeline.store import RunStore
from pipeline.types import Support
from prompts.vocabulary import Vocabulary, load_vocabulary

if TYPE_CHECKING:
    from fss_models.data import SplitPictures

SUPPORT_POOL = 400
"""Scenes of picto from which the supports are chosen."""

OWN_SIDE, CELL = 640, 8
"""Most pixels that a square of own pictures has unless it is set, and pixels of a cell of the backbone's maps."""

PURPOSES = ("base", "support", "validation")


DataSets = Mapping[str, DataFolder]
"""Purpose -> pictures: base, support, and validation where the data set has any."""


def count_of(config: Config, purpose: str) -> int:
    """Give how many scenes of picto a purpose has."""
    experiment = config.experiment
    return {"base": experiment.base_pictures, "validation": experiment.validation_pictures}.get(purpose, SUPPORT_POOL)


def scenes_of(config: Config, purpose: str) -> str:
    """Give the seeds of picto, see `picto.seeds`, that a purpose's scenes are drawn from."""
    return config.experiment.validation if purpose == "validation" else purpose


def find_data(config: Config, purposes: Sequence[str] = PURPOSES) -> DataSets | None:
    """Give the pictures, or None where picto's have not been drawn or annotations not been indexed yet.

    Args:
        config: names the data set.
        purposes: what pictures are needed for; only these must be there.

    Raises:
        InputError: a data set that cannot be drawn is missing.
    """
    if config.experiment.dataset == "picto":
        folders = {p: picto_root(config) / f"{scenes_of(config, p)}-{count_of(config, p)}" for p in PURPOSES}
        if not all((folder / "record.json").exists() for folder in folders.values()):
            return None
        return {purpose: DataFolder(folder, "all", cache=_cache(config)) for purpose, folder in folders.items()}
    dataset = dataset_of(config)
    if not dataset.ready():
        return None
    experiment, data = config.experiment, Path(config.execution.data)
    found = {
        p: DataFolder(data, _pool(config, dataset, p), experiment.dataset, experiment.fold, _cache(config))
        for p in dataset.purposes
        if p in purposes
    }
    for purpose, folder in found.items():
        if not len(folder.pictures.ids):
            raise InputError(f"{dataset.name} has no {purpose} pictures: get {dataset.where}")
    for folder in found.values():
        assert folder.pictures
    return found


def prepare_data(config: Config, purposes: Sequence[str] = PURPOSES) -> DataSets:
    """Give the pictures, see `find_data`; draw those of picto, or index the annotations, where that is not done yet."""
    found = find_data(config, purposes)
    if found is not None:
        return found
    if config.experiment.dataset == "picto":
        _draw(config)
    else:
        with store_of(config).lock("data-index"):
            dataset_of(config).prepare()
    found = find_data(config, purposes)
    assert found is not None
    return found


def _pool(config: Config, dataset: DataSet, purpose: str) -> str:
    """Give where the pictures of a purpose come from: the GFSS protocol says so for published data sets."""
    protocol = protocol_of(config)
    if purpose == "support" and protocol.hide_supports and dataset.maps and not isinstance(dataset, Own):
        return "validation"
    return protocol.pascal_base if purpose == "base" and dataset.name == "pascal" else purpose


def dataset_of(config: Config) -> DataSet:
    """Give the data set of a config, other than picto.

    Raises:
        InputError: there is none of that name.
    """
    return open_dataset(config.experiment.dataset, Path(config.execution.data), _cache(config))


def check_data(config: Config) -> list[str]:
    """Tell everything that is wrong with the pictures of own classes, one sentence each."""
    dataset = dataset_of(config) if is_own(config.experiment.dataset) else None
    if not isinstance(dataset, Own):
        return []
    return list(dataset.problems(config.experiment.shots, drawn=config.experiment.generate.enabled))


def note_on_lists(config: Config) -> str | None:
    """Tell that PASCAL's base pictures are fewer than the protocol's; None where there is nothing to tell."""
    dataset = dataset_of(config) if config.experiment.dataset == "pascal" else None
    wanted = protocol_of(config).pascal_base
    if not isinstance(dataset, Pascal) or (used := dataset.list_of(wanted)) == wanted:
        return None
    return (
        f"base pictures are those of PASCAL's list {used} ({PUBLISHED[used]:,}) and not of {wanted} "
        f"({PUBLISHED[wanted]:,}), which needs SBD: scores are not comparable with published ones"
    )


def check_base(config: Config) -> None:
    """Look that the data set has base classes, as training needs them.

    Raises:
        InputError: it is one to test on only.
    """
    name = config.experiment.dataset
    if name != "picto" and "base" not in dataset_of(config).purposes:
        raise InputError(
            f"{name} has no base classes to train on: train on another data set, such as pascal, and score that model "
            f"here by syn4seg evaluate --run RUN --dataset {name}"
        )


def check_maps(config: Config) -> None:
    """Look that the data set has label maps, as the chain needs them.

    Raises:
        InputError: its masks are of one class each.
    """
    if config.experiment.dataset not in LABEL_MAPS and not dataset_of(config).maps:
        raise InputError(
            f"{config.experiment.dataset} has masks of one class each, for few-shot episodes: this needs label "
            "maps, choose picto, pascal, coco or your own classes"
        )


def vocabulary_of(config: Config) -> Vocabulary:
    """Give the words for the prompts of a data set."""
    if is_own(config.experiment.dataset):
        dataset = dataset_of(config)
        assert isinstance(dataset, Own)
        return dataset.vocabulary()
    return load_vocabulary(config.experiment.dataset, split_of(config).novel)


def words_id(config: Config, name: str) -> str | None:
    """Give what identifies the words for a class; None for picto, whose words are its generator's and never change."""
    if config.experiment.dataset == "picto":
        return None
    if not is_own(config.experiment.dataset):
        words = vocabulary_of(config)
        said = words.attributes_of(name)
        sayable = {(a.name, value) for a in said for value in a.values}
        pairs = sorted(sorted(pair) for pair in words.forbidden if pair <= sayable)
        return hash_json([words.templates, asdict(words.words_of(name)), [asdict(a) for a in said], pairs])
    dataset = dataset_of(config)
    assert isinstance(dataset, Own)
    return hash_json(dataset.file.prompts)


def labelled(config: Config, folder: DataFolder, *, hide_novel: bool = False) -> SplitPictures:
    """Read pictures in split ids; novel things become background where they are to be hidden."""
    return _labelled(folder, split_of(config), hide_novel)


@lru_cache(maxsize=3)
def _labelled(folder: DataFolder, split: ClassSplit, hide_novel: bool) -> SplitPictures:
    from fss_models.data import SplitPictures

    return SplitPictures(folder.pictures, split, hide_novel=hide_novel, cache=folder.cache)


def store_of(config: Config) -> RunStore:
    """Give the run store of a config."""
    mirror = mirror_of(config.execution.output)
    return RunStore(config.execution.folder / "store", mirror, partial(commits_of, config))


def split_of(config: Config) -> ClassSplit:
    """Give the class split of a config."""
    name, fold = config.experiment.dataset, config.experiment.fold
    return ClassSplit.of(name, fold) if name in LABEL_MAPS else dataset_of(config).split(fold)


def novel_names(config: Config) -> tuple[str, ...]:
    """Give the novel classes to draw."""
    return config.experiment.prompts.classes or split_of(config).novel


def protocol_of(config: Config) -> GfssProtocol:
    """Give the published GFSS convention that holds."""
    return PROTOCOLS[config.experiment.protocol]


def side_of(config: Config) -> int:
    """Give the side of the squares that GFSS models see, in pixels; 0: picto's pictures stay as they are.

    As set; else the protocol's, or with own classes the longest side of their pictures, up to the next cell of the
    backbone. Pictures are not enlarged beyond their own size unless that is asked for.
    """
    experiment = config.experiment
    if experiment.train.side or experiment.dataset == "picto":
        return experiment.train.side
    pictures = prepare_data(config)["base"].pictures
    longest = max(max(pictures.size(i)) for i in range(min(len(pictures.ids), 20)))
    if is_own(experiment.dataset):
        return min(OWN_SIDE, CELL * ceil(longest / CELL))
    return min(protocol_of(config).side, longest)


def choose_supports(
    pictures: Pictures, split: ClassSplit, shots: int, seed: int, protocol: GfssProtocol = DIAM
) -> dict[str, tuple[int, ...]]:
    """Choose the support pictures: class -> places of K pictures.

    In label maps, pictures that show one novel class only and that large enough; of one-class items the first K.

    Args:
        pictures: pool of N pictures.
        split: base and novel classes.
        shots: K.
        seed: of the order in which a pool of label maps is gone through.
        protocol: says how large is large enough.

    Raises:
        InputError: the pool has too few suitable pictures of a class, or a damaged one.
    """
    if pictures.classes is not None:
        labels_of = split.split_ids[pictures.classes]
        places = {name: np.flatnonzero(labels_of == split.id_of(name))[:shots] for name in split.novel}
        _check_enough({name: len(found) for name, found in places.items()}, shots, "support pictures")
        return {name: tuple(int(place) for place in found) for name, found in places.items()}
    order = list(range(len(pictures.ids)))
    random.Random(f"supports/{seed}").shuffle(order)
    chosen: dict[str, list[int]] = {name: [] for name in split.novel}
    for place in order:
        if all(len(found) == shots for found in chosen.values()):
            break
        _, labels = read_split(pictures, place, split)
        areas, least = np.bincount(labels.ravel(), minlength=256), protocol.least_pixels(labels.size)
        present = [i for i in split.novel_ids if areas[i]]
        if len(present) == 1 and areas[present[0]] >= least and len(chosen[split.names[present[0]]]) < shots:
            chosen[split.names[present[0]]].append(place)
    what = "support pictures that show no other novel class and have enough pixels"
    _check_enough({name: len(found) for name, found in chosen.items()}, shots, what)
    return {name: tuple(found) for name, found in chosen.items()}


def _check_enough(found: Mapping[str, int], shots: int, what: str) -> None:
    for name, count in found.items():
        if count < shots:
            raise InputError(
                f"there are only {count} {what} of {name!r}: lower experiment.shots (now {shots}) or add pictures"
            )


@lru_cache(maxsize=2)
def read_supports(config: Config) -> tuple[Support, ...]:
    """Read the supports of every novel class, in the order of the split."""
    pictures, split = prepare_data(config)["support"].pictures, split_of(config)
    supports = []
    for name, places in chosen_supports(config).items():
        pairs = [read_split(pictures, place, split) for place in places]
        masks = tuple(labels == split.id_of(name) for _, labels in pairs)
        maps = tuple(labels.astype(np.uint8) for _, labels in pairs) if protocol_of(config).base_labels else None
        supports.append(Support(name, tuple(picture for picture, _ in pairs), masks, labels=maps))
    return tuple(supports)


def scored_places(config: Config) -> list[int]:
    """Give which validation pictures a GFSS model is scored on: not its supports, and as many as the protocol says."""
    data, protocol = prepare_data(config), protocol_of(config)
    hidden: set[int] = set()
    if data["support"] == validation_of(data):
        hidden = {place for places in chosen_supports(config).values() for place in places}
    places = [place for place in range(len(validation_of(data).pictures.ids)) if place not in hidden]
    wanted = protocol.test_pictures.get(config.experiment.dataset, len(places))
    if wanted < len(places):
        places = sorted(random.Random(f"test/{config.experiment.seed}").sample(places, wanted))
    return places


def chosen_supports(config: Config) -> dict[str, tuple[int, ...]]:
    """Give class -> the places of its supports among the support pictures."""
    experiment, folder = config.experiment, prepare_data(config)["support"]
    return _chosen(folder, split_of(config), experiment.shots, experiment.seed, experiment.protocol)


@lru_cache(maxsize=2)
def _chosen(folder: DataFolder, split: ClassSplit, shots: int, seed: int, protocol: str) -> dict[str, tuple[int, ...]]:
    return choose_supports(folder.pictures, split, shots, seed, PROTOCOLS[protocol])


def supports_content(supports: tuple[Support, ...]) -> str:
    """Hash of the supports' pictures and masks."""
    rows = [[s.name, hash_arrays(*s.pictures), hash_arrays(*s.masks)] for s in supports]
    maps = [[hash_arrays(*s.labels)] if s.labels is not None else [] for s in supports]
    return hash_json([row + more for row, more in zip(rows, maps, strict=True)])


def _draw(config: Config) -> None:
    from picto.datasets import ensure_dataset

    store = store_of(config)
    for purpose in PURPOSES:
        with store.lock(f"data-{purpose}"):
            ensure_dataset(
                picto_root(config), scenes_of(config, purpose), count_of(config, purpose),
                lambda done, count, purpose=purpose: tell("data", purpose, done / count),  # type: ignore[misc]
            )  # fmt: skip


def _cache(config: Config) -> Path:
    return config.execution.folder / "data"


def picto_root(config: Config) -> Path:
    """Give the folder of the drawn data sets."""
    return _cache(config) / "picto"


def validation_of(data: DataSets) -> DataFolder:
    """Give the pictures to score on.

    Raises:
        InputError: the data set has none.
    """
    if "validation" not in data:
        raise InputError("the data set names no validation pictures: add validation: {pictures: ..., masks: ...} to it")
    return data["validation"]
