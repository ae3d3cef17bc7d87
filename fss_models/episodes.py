"""Episodes: a class, a query picture and K support pictures, each the same for the same seed and index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fss_models.randomness import numpy_rng
from pipeline.errors import InputError


@dataclass(frozen=True)
class Episode:
    """A 1-way K-shot episode: the split id of its class, the place of the query and of the K supports."""

    label: int
    query: int
    supports: tuple[int, ...]


class EpisodeSampler:
    """Draws episodes: first the class, then the pictures that show enough of it.

    Args:
        counts: pixels of each label in each picture, int (N, L).
        labels: split ids to draw from.
        shots: K supports, all different and none the query.
        min_pixels: a picture counts for a class from so many pixels on.
        seed: names the stream of episodes.

    Raises:
        InputError: a class has fewer than K + 1 pictures.
    """

    def __init__(
        self, counts: np.ndarray, labels: tuple[int, ...], *, shots: int = 1, min_pixels: int = 60, seed: int = 0
    ) -> None:
        self.shots, self.seed, self.labels = shots, seed, labels
        self._pictures = {label: np.flatnonzero(counts[:, label] >= min_pixels) for label in labels}
        for label, found in self._pictures.items():
            if len(found) <= shots:
                raise InputError(
                    f"label {label} has {len(found)} pictures of at least {min_pixels} pixels: "
                    f"{shots}-shot episodes need {shots + 1}; add pictures or lower the number of shots"
                )

    def draw(self, index: int) -> Episode:
        """Give the episode with this index."""
        rng = numpy_rng(self.seed, "episode", index)
        label = int(rng.choice(np.array(self.labels)))
        chosen = rng.choice(self._pictures[label], self.shots + 1, replace=False)
        return Episode(label, int(chosen[0]), tuple(int(i) for i in chosen[1:]))
