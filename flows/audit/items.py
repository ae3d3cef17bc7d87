"""Which labelled pictures stand for generated ones, and the truth of their class."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.data import (
    OWN_SIDE,
    chosen_supports,
    labelled,
    novel_names,
    picto_root,
    prepare_data,
    scored_places,
    split_of,
    validation_of,
)
from flows.progress import tell
from pipeline.classes import IGNORE
from pipeline.config import Config
from pipeline.datasets import DataFolder
from pipeline.datasets.pictures import read_split
from pipeline.errors import InputError
from pipeline.types import LabelMap, Sample


@dataclass(frozen=True)
class Items:
    """Pictures of novel classes; one that shows several of them is an item of each.

    Attributes:
        folder: their list.
        places: class -> places of its pictures in the list; a class without any is left out.
        reported: how many of the pictures scores are reported on, too.
        numbers: of the pictures, (N,).
    """

    folder: DataFolder
    places: Mapping[str, Sequence[int]]
    reported: int
    numbers: NDArray[np.int64]

    def id(self, place: int) -> str:
        """Give the name of a picture."""
        return str(self.folder.pictures.ids[place])

    def picture(self, place: int) -> int:
        """Give the number of a picture; items of one picture have the same."""
        return int(self.numbers[place])


def choose_items(config: Config, per_class: int) -> Items:
    """Choose pictures on which a novel class covers at least ``experiment.train.min_pixels``.

    Picto has portraits for this purpose, of which nothing is trained or reported. Other data sets give validation
    pictures in an order of the run's seed, never the supports: first those that no score is reported on.

    Args:
        config: names data set, fold and classes.
        per_class: how many pictures a class at most.

    Raises:
        InputError: the data set has no validation pictures, or none of a novel class.
    """
    experiment, reported = config.experiment, set[int]()
    if experiment.dataset == "picto":
        folder = _portraits(config, per_class)
        order = list(range(len(folder.pictures.ids)))
    else:
        folder, reported = validation_of(prepare_data(config)), set(scored_places(config))
        hidden = _support_files(config)
        order = [p for p in range(len(folder.pictures.ids)) if folder.pictures.where(p)[0] not in hidden]
        random.Random(f"audit/{experiment.seed}").shuffle(order)
        order.sort(key=lambda place: place in reported)
    pictures, split = labelled(config, folder), split_of(config)
    places: dict[str, list[int]] = {}
    for name in novel_names(config):
        large = pictures.counts[:, split.id_of(name)] >= experiment.train.min_pixels
        if shown := [place for place in order if large[place]]:
            places[name] = shown[:per_class]
    if not places:
        raise InputError(
            f"no validation picture shows {experiment.train.min_pixels} pixels of a novel class: "
            "lower experiment.train.min_pixels or add pictures"
        )
    shown_too = reported & {place for found in places.values() for place in found}
    return Items(folder, places, len(shown_too), np.asarray(pictures.numbers()))


def read_item(config: Config, items: Items, name: str, place: int) -> tuple[Sample, LabelMap]:
    """Read a picture as if it were generated for a class, and the truth: uint8 (H, W), 1 the class, 255 unknown.

    Pictures of more than 640 pixels are made smaller, as they are for training.

    Raises:
        InputError: a file is missing or broken.
    """
    picture, labels = read_split(items.folder.pictures, place, split_of(config))
    truth = np.where(labels == IGNORE, IGNORE, labels == split_of(config).id_of(name)).astype(np.uint8)
    scale = OWN_SIDE / max(truth.shape)
    if scale < 1:
        size = tuple(max(1, round(scale * side)) for side in truth.shape[::-1])
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        truth = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))
    return Sample(f"{name}/{items.id(place)}", name, f"a {name}", 0, picture), truth


def _portraits(config: Config, per_class: int) -> DataFolder:
    from picto.datasets import ensure_dataset
    from pipeline.classes import PICTO

    folder = ensure_dataset(
        picto_root(config), "audit", per_class * len(PICTO), lambda done, count: tell("data", "audit", done / count)
    )
    return DataFolder(folder, "all", cache=picto_root(config).parent)


def _support_files(config: Config) -> set[str]:
    pictures = prepare_data(config)["support"].pictures
    return {pictures.where(place)[0] for places in chosen_supports(config).values() for place in places}
