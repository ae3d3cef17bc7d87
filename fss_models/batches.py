"""What a training step sees: E queries, E supports and the class of each episode, drawn from (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fss_models.augment import augment
from fss_models.data import MILD, STRONG, Labelled, Variation, lay_over, vary
from fss_models.episodes import EpisodeSampler
from fss_models.randomness import numpy_rng
from pipeline.classes import IGNORE

LAID_OVER = 0.5
"""Chance that a support or synthetic thing is laid over a base picture."""

FOUND = 0.3
"""Chance that a novel picture is a base picture that hid things of the class, where there are any. Source: ours
(decisions.md, second round)."""


@dataclass
class Batch:
    """2 E pictures, the queries first.

    Attributes:
        pictures: float (2E, 3, H, W) in 0..1.
        labels: uint8 (2E, H, W), split ids and 255.
        weights: loss weights, float (2E,).
        hidden: bool (2E,), whether background may be an unlabelled novel thing.
        episodes: the label of each episode, int (E,).
    """

    pictures: Tensor
    labels: Tensor
    weights: Tensor
    hidden: Tensor
    episodes: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move to a device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Draws:
    """What is drawn and how it is varied.

    Attributes:
        side: of the squares in pixels.
        seed: of every draw.
        scale: enlargement of the published recipe, which then takes the place of picto's variations; None: these.
        min_pixels: a base picture counts for a class from so many pixels on.
    """

    side: int
    seed: int
    scale: tuple[float, float] | None = None
    min_pixels: int = 60

    def sampler(self, base: Labelled, classes: int, names: Sequence[str] = ()) -> EpisodeSampler:
        """Give what draws episodes of the base classes 1..B; names of all classes by split id are for errors."""
        return EpisodeSampler(
            base.counts, tuple(range(1, 1 + classes)), min_pixels=self.min_pixels, seed=self.seed, names=names
        )

    def vary(
        self, item: tuple[np.ndarray, np.ndarray], label: int, rng: np.random.Generator, variation: Variation = MILD
    ) -> tuple[Tensor, Tensor]:
        """Vary a picture and its labels; the recipe does not crop a label away that is there."""
        if self.scale:
            return augment(*item, self.side, "recipe", self.scale, rng, label)
        return vary(*item, self.side, variation, rng)


class TeacherBatches:
    """Episodes of base classes.

    Args:
        base: base pictures, novel hidden.
        classes: B.
        size: pictures a step, 2 E.
        draws: see `Draws`.
        names: of all classes by split id, for errors.
    """

    def __init__(
        self, base: Labelled, classes: int, size: int, draws: Draws, names: Sequence[str] = ()
    ) -> None:
        self.base, self.draws, self.episodes = base, draws, max(size // 2, 1)
        self.sampler = draws.sampler(base, classes, names)

    def __call__(self, step: int) -> Batch:
        """Draw the batch of a step."""
        drawn = [self.sampler.draw(step * self.episodes + i) for i in range(self.episodes)]
        rng = numpy_rng(self.draws.seed, "vary", step)
        places = [(e.query, e.label) for e in drawn] + [(e.supports[0], e.label) for e in drawn]
        items = [self.draws.vary(self.base[p], label, rng) for p, label in places]
        alike, none = torch.ones(len(items)), torch.zeros(len(items), dtype=torch.bool)
        return Batch(*_stacked(items), alike, none, torch.tensor([e.label for e in drawn]))


class FinalBatches:
    """Half of the episodes are about base classes, half about novel ones, from supports and synthetic pictures.

    Args:
        base: base pictures, novel hidden; those in which novel things were found are drawn for their classes too.
        supports: labelled supports.
        synthetic: synthetic pictures, or None.
        classes: B.
        size: pictures a step, 2 E.
        draws: see `Draws`.
        share: chance that a novel picture is synthetic, where there are any of its class.
        weights: loss weights of the synthetic pictures, float32 (N,); None: 1 each, as all others have.
    """

    def __init__(
        self, base: Labelled, supports: Labelled, synthetic: Labelled | None, classes: int, size: int, draws: Draws,
        share: float = 0.0, weights: NDArray[np.float32] | None = None,
    ) -> None:  # fmt: skip
        self.base, self.supports, self.synthetic, self.weights = base, supports, synthetic, weights
        self.draws, self.share, self.episodes = draws, share, max(size // 2, 2)
        self.sampler = draws.sampler(base, classes)
        self.novel = np.arange(1 + classes, supports.counts.shape[1])
        self.found = {k: np.flatnonzero(base.counts[:, k] >= draws.min_pixels) for k in self.novel.tolist()}

    def __call__(self, step: int) -> Batch:
        """Draw the batch of a step."""
        rng = numpy_rng(self.draws.seed, "final", step)
        about_base = self.episodes // 2
        queries, supports, labels = [], [], []
        for i in range(about_base):
            episode = self.sampler.draw(step * about_base + i)
            labels.append(episode.label)
            for side, place in ((queries, episode.query), (supports, episode.supports[0])):
                side.append((*self.draws.vary(self.base[place], episode.label, rng), 1.0, True))
        for _ in range(self.episodes - about_base):
            label = int(rng.choice(self.novel))
            labels.append(label)
            queries.append(self._novel(label, rng))
            supports.append(self._novel(label, rng))
        items = queries + supports
        flags = [torch.tensor([item[i] for item in items]) for i in (2, 3)]
        return Batch(*_stacked([item[:2] for item in items]), *flags, torch.tensor(labels))

    def _novel(self, label: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, float, bool]:
        """Draw a picture of a novel class: picture, labels, loss weight, hidden."""
        found = self.found[label]
        if len(found) and rng.random() < FOUND:
            return (*self.draws.vary(self.base[int(rng.choice(found))], label, rng), 1.0, True)
        source, synthetic = self.supports, False
        if self.synthetic is not None and rng.random() < self.share and self.synthetic.counts[:, label].any():
            source, synthetic = self.synthetic, True
        place = int(rng.choice(np.flatnonzero(source.counts[:, label])))
        item = self._showing(source[place], label, rng)
        weight = float(self.weights[place]) if synthetic and self.weights is not None else 1.0
        if rng.random() < LAID_OVER:
            below = self.draws.vary(self.base[int(rng.integers(len(self.base)))], IGNORE, rng)
            return (*lay_over(below, item, label), weight, True)
        return (*item, weight, not synthetic)

    def _showing(
        self, item: tuple[np.ndarray, np.ndarray], label: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Vary until a fair part of the thing is left in the picture, five times at most."""
        enough = 0.15 * (item[1] == label).mean() * self.draws.side**2
        for _ in range(1 if self.draws.scale else 5):  # the recipe sees to it itself
            varied = self.draws.vary(item, label, rng, STRONG)
            if (varied[1] == label).sum() >= enough:
                break
        return varied


def _stacked(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def binary(labels: Tensor, wanted: Tensor) -> Tensor:
    """Give 1 where labels uint8 (P, H, W) are the wanted one (P,), 255 where they are unknown, else 0."""
    return torch.where(labels == IGNORE, labels, (labels == wanted[:, None, None]).to(labels.dtype))
