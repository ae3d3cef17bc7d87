"""Episodes: a class, a query picture and K support pictures, each the same for the same seed and index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fss_models.data import Labelled
from fss_models.randomness import numpy_rng
from pipeline.errors import InputError
from pipeline.protocols import BASE_PIXELS
from pipeline.types import LabelMap, Picture


@dataclass(frozen=True)
class Episode:
    """A 1-way K-shot episode: the split id of its class, the place of the query and of the K supports."""

    label: int
    query: int
    supports: tuple[int, ...]


class EpisodeSampler:
    """Draws episodes.

    Args:
        counts: pixels of each label in each picture, int (N, L).
        labels: split ids to draw from.
        shots: K supports, all different and none the query.
        min_pixels: a picture counts for a class from so many pixels on.
        seed: names the stream of episodes.
        first: "class" draws the class, then pictures of it, so that all classes are equally frequent; "picture" draws
            the query, then one of its classes, as the published FSS protocol does (systems.md 2).
        names: of the labels by split id, for errors.

    Raises:
        InputError: a class has fewer than K + 1 pictures.
    """

    def __init__(
        self, counts: np.ndarray, labels: Sequence[int], *, shots: int = 1, min_pixels: int = BASE_PIXELS,
        seed: int = 0, first: Literal["class", "picture"] = "class", names: Sequence[str] = (),
    ) -> None:
        self.shots, self.seed, self.labels, self.first = shots, seed, tuple(labels), first
        self._pictures = {label: np.flatnonzero(counts[:, label] >= min_pixels) for label in labels}
        for label, found in self._pictures.items():
            if len(found) <= shots:
                what = f"{names[label]!r} (id {label})" if names else f"label {label}"
                advice = "leave the class out" if shots == 1 else "lower the number of shots"
                raise InputError(
                    f"{what} is shown on at least {min_pixels} pixels by {len(found)} of the pictures, {shots}-shot "
                    f"episodes need {shots + 1}: add pictures of it or {advice}"
                )
        self._shown = counts[:, list(self.labels)] >= min_pixels
        self._queries = np.flatnonzero(self._shown.any(1))

    def draw(self, index: int) -> Episode:
        """Give the episode with this index."""
        rng = numpy_rng(self.seed, "episode", index)
        if self.first == "class":
            label = int(rng.choice(np.array(self.labels)))
            chosen = rng.choice(self._pictures[label], self.shots + 1, replace=False)
            return Episode(label, int(chosen[0]), tuple(int(i) for i in chosen[1:]))
        query = int(rng.choice(self._queries))
        label = self.labels[int(rng.choice(np.flatnonzero(self._shown[query])))]
        others = self._pictures[label]
        chosen = rng.choice(others[others != query], self.shots, replace=False)
        return Episode(label, query, tuple(int(i) for i in chosen))

    def others(self, episode: Episode, count: int, rng: np.random.Generator) -> list[int]:
        """Draw further pictures of an episode's class, none the query; some twice only where there are too few."""
        found = self._pictures[episode.label]
        found = found[found != episode.query]
        return [int(i) for i in rng.choice(found, count, replace=len(found) < count)]


class Subset:
    """Some pictures of a labelled set, as a labelled set.

    Args:
        data: the whole set.
        places: which pictures, in this order.
    """

    def __init__(self, data: Labelled, places: Iterable[int]) -> None:
        self._data, self._places = data, [int(i) for i in places]
        self.counts = data.counts[self._places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Picture, LabelMap]:
        return self._data[self._places[index]]

    def numbers(self) -> np.ndarray:
        """Give the number of each item's picture in the whole set."""
        return self._data.numbers()[self._places]


def without_classes(data: Labelled, labels: Sequence[int]) -> Subset:
    """Leave out every picture that shows a single pixel of these labels.

    FSS models train on base classes only, and a novel thing in the background would be taught as background.
    Source: systems.md 2, ``filter_intersection``.
    """
    return Subset(data, np.flatnonzero(~data.counts[:, list(labels)].any(1)))
