"""Which setting of a sweep is best, and whether that is more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.audit.grid import Grid, Setting
from flows.audit.scores import Counts, mean, measures
from pipeline.errors import InputError

DRAWS = 2000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Suggestion:
    """The best setting of one half of the pictures, compared with the current one on the other half.

    Attributes:
        setting: the suggested one.
        chosen_on: its mean IoU and the current one's on the half that it was chosen on.
        confirmed_on: the same on the other half.
        interval: 95 % interval of the difference on the other half.
        pictures: how many each half has.
    """

    setting: Setting
    chosen_on: tuple[float, float]
    confirmed_on: tuple[float, float]
    interval: tuple[float, float]
    pictures: tuple[int, int]

    @property
    def difference(self) -> float:
        """What the suggested setting gains on pictures that it was not chosen on."""
        return self.confirmed_on[0] - self.confirmed_on[1]

    @property
    def clear(self) -> bool:
        """Whether the gain is more than noise: the interval lies above zero."""
        return self.interval[0] > 0


def halves(classes: Sequence[str], pictures: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give the items of the half that settings are chosen on and of the other, bool (I,) each.

    Class by class, a picture that is in neither half goes to the one that has fewer of the class.

    Args:
        classes: of the I items.
        pictures: numbers of their pictures.

    Raises:
        InputError: no picture is left for the second half.
    """
    half: dict[int, bool] = {}
    for name in dict.fromkeys(classes):
        mine = [picture for picture, of in zip(pictures, classes, strict=True) if of == name]
        ahead = sum(1 if half[picture] else -1 for picture in mine if picture in half)
        for picture in mine:
            if picture not in half:
                half[picture] = ahead <= 0
                ahead += 1 if half[picture] else -1
    first = np.array([half[picture] for picture in pictures])
    if first.all():
        raise InputError(
            "a sweep chooses a setting on one half of the pictures and confirms it on the other, but no class has two: "
            "raise --pictures or add validation pictures"
        )
    return first, ~first


@dataclass(frozen=True)
class Swept:
    """Counts of a sweep.

    Attributes:
        grid: its G settings.
        counts: of all I items, (I, G, len(COUNTS)).
        classes: name of each item's class.
        pictures: number of each item's picture; items of one picture stay together.
    """

    grid: Grid
    counts: Counts
    classes: Sequence[str]
    pictures: Sequence[int]

    def iou(self, items: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Give the mean IoU over classes of each setting on some items, (G,)."""
        return np.asarray(_mean_iou(self._sums(items.astype(np.int64)[None]))[0])

    def suggest(self, seed: int = 0) -> Suggestion:
        """Give the setting of the highest mean IoU on the first half; of equal ones the nearest to the current one."""
        first, second = halves(self.classes, self.pictures)
        settings = self.grid.settings
        now, chosen, other = settings.index(self.grid.current), self.iou(first), self.iou(second)
        near = [self.grid.distance(setting) for setting in settings]
        best = min(range(len(settings)), key=lambda g: (-round(float(chosen[g]), 6), near[g]))
        drawn = self._bootstrap(second, [best, now], seed)
        low, high = np.nanquantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975))
        return Suggestion(
            settings[best], (float(chosen[best]), float(chosen[now])), (float(other[best]), float(other[now])),
            (float(low), float(high)), (len(self._of(first)), len(self._of(second))),
        )  # fmt: skip

    def _bootstrap(self, items: NDArray[np.bool_], settings: Sequence[int], seed: int) -> NDArray[np.float64]:
        """Give the mean IoU of settings on pictures drawn with replacement, class by class, (DRAWS, settings).

        A picture is drawn with all of its items, in the class of its first one.
        """
        rng = np.random.default_rng([seed, len(self.pictures)])
        strata: dict[str, dict[int, None]] = {}
        for picture, name in self._of(items).items():
            strata.setdefault(name, {})[picture] = None
        weights: dict[int, NDArray[np.int64]] = {}
        for pictures in strata.values():
            drawn = rng.multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), DRAWS)
            weights |= dict(zip(pictures, drawn.T, strict=True))
        nothing = np.zeros(DRAWS, np.int64)
        each = [weights[p] if inside else nothing for p, inside in zip(self.pictures, items, strict=True)]
        return _mean_iou(self._sums(np.stack(each, 1), settings))

    def _of(self, items: NDArray[np.bool_]) -> dict[int, str]:
        """Give picture -> class of its first item, of some items."""
        found: dict[int, str] = {}
        for picture, name, inside in zip(self.pictures, self.classes, items, strict=True):
            if inside:
                found.setdefault(picture, name)
        return found

    def _sums(self, weights: NDArray[np.int64], settings: Sequence[int] | None = None) -> Mapping[str, Counts]:
        """Give class -> counts added up with weights (D, I): (D, settings, len(COUNTS))."""
        counts = self.counts if settings is None else self.counts[:, list(settings)]
        names = np.array(self.classes)
        return {
            str(name): np.tensordot(weights[:, names == name], counts[names == name], axes=1)
            for name in dict.fromkeys(self.classes)
        }


def _mean_iou(sums: Mapping[str, Counts]) -> NDArray[np.float64]:
    """Give the mean over classes of the IoU of (D, G, len(COUNTS)) counts, (D, G); a class without pictures is out."""
    by_class = np.stack([measures(counts)["iou"] for counts in sums.values()], -1)
    return mean(by_class)
