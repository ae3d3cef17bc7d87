"""Episodic training of an FSS model on base classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fss_models.augment import augment, jitter
from fss_models.backbones import Backbone
from fss_models.data import Labelled
from fss_models.encoded import shown
from fss_models.ensemble import Ensemble
from fss_models.episodes import Episode, EpisodeSampler, Subset, without_classes
from fss_models.evaluate_fss import episode_batch, evaluate_fss
from fss_models.fss import EpisodeBatch, FssConfig, build_fss_model
from fss_models.preparation import read_base_learner
from fss_models.randomness import numpy_rng, seed_of
from fss_models.trainer import Choice, Place, train_steps
from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import FssSettings
from pipeline.errors import InputError

HELD_OUT = 8
"""One in so many base pictures, or base classes, is left out of training, for the choice of the weights."""


class FssBatches:
    """Episodes of base classes, varied.

    Args:
        data: pictures with all labels, none of which shows a novel class.
        labels: split ids to draw from.
        settings: batch, augmentation and least pixels.
        shots: K supports.
        side: of the squares in pixels.
        seed: of every draw.
        unlabeled: further pictures an episode, see `EpisodeBatch`; their draws change no other.
    """

    def __init__(
        self, data: Labelled, labels: tuple[int, ...], settings: FssSettings, shots: int, side: int, seed: int,
        unlabeled: int = 0,
    ) -> None:
        self.data, self.settings, self.side, self.seed, self.unlabeled = data, settings, side, seed, unlabeled
        self.sampler = EpisodeSampler(
            data.counts, labels, shots=shots, min_pixels=settings.min_pixels, seed=seed_of(seed, "train"),
            first=settings.first,
        )

    def __call__(self, number: int) -> EpisodeBatch:
        """Draw the batch of a number."""
        rng = numpy_rng(self.seed, "vary", number)
        size, settings = self.settings.batch, self.settings
        episodes = [self.sampler.draw(number * size + i) for i in range(size)]
        items = [
            [
                augment(*shown(self.data, place, e.label), self.side, settings.augment, settings.scale, rng)
                for place in (e.query, *e.supports)
            ]
            for e in episodes
        ]
        batch = episode_batch(items, [e.label for e in episodes])
        return replace(batch, **self._views(episodes, number)) if self.unlabeled else batch

    def _views(self, episodes: Sequence[Episode], number: int) -> dict[str, Tensor]:
        """Give weak and strong views, float (B, U, 3, H, W) each, of pictures whose labels are not looked at."""
        rng, settings = numpy_rng(self.seed, "unlabeled", number), self.settings
        weak, strong = [], []
        for episode in episodes:
            for place in self.sampler.others(episode, self.unlabeled, rng):
                picture = self.data[place][0]
                unknown = np.full(picture.shape[:2], IGNORE, np.uint8)
                weak.append(augment(picture, unknown, self.side, settings.augment, settings.scale, rng)[0])
                strong.append(jitter(weak[-1], rng))
        views = {"weak": weak, "strong": strong}
        return {name: torch.stack(x).unflatten(0, (len(episodes), -1)) for name, x in views.items()}


class FssStep(nn.Module):
    """The losses of a batch of episodes.

    Args:
        model: any FSS model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: EpisodeBatch, step: int) -> dict[str, Tensor]:
        """Give the losses; every step is alike."""
        return self.model.losses(batch)


def train_fss(
    data: Labelled, split: ClassSplit, config: FssConfig, settings: FssSettings, *, seed: int = 0,
    place: Place | None = None, backbone: Backbone | None = None, test: Labelled | None = None,
) -> Any:
    """Train an FSS model on the pictures that show base classes and not a pixel of a novel one.

    Args:
        data: training pictures with all labels, novel ones too.
        split: the classes.
        config: the network; ``side`` is filled in.
        settings: steps, batch, rate, augmentation, and which weights to keep.
        seed: of every draw.
        place: see `trainer.Place`.
        backbone: given where several models share one.
        test: pictures of the test fold, needed by ``settings.choose`` = "test".

    Raises:
        InputError: too few pictures of a base class, none for the choice, or no base learner for the ensemble.
    """
    place = place or Place()
    kept = without_classes(data, split.novel_ids)
    if not len(kept):
        raise InputError(f"every one of the {len(data)} training pictures shows a novel class: choose other pictures")
    side = settings.side or max(kept[0][1].shape)
    model = build_fss_model(config.model_copy(update={"side": side}), backbone).to(place.device)
    model.name_classes(split.names)
    for module in model.modules():
        if isinstance(module, Ensemble):  # it stands on the base learner that was prepared with the backbone
            read_base_learner(module, model.backbone.source)
    enough = kept.counts >= settings.min_pixels
    judged: tuple[int, ...]
    held, judged = np.zeros(len(kept), bool), ()
    if settings.choose == "base":
        held, judged = held_out(kept, split.base_ids, settings.min_pixels, config.shots)
    train = Subset(kept, np.flatnonzero(~held))
    # a set such as a part of COCO may lack a base class; what it has too little of is no class to train on
    labels = tuple(k for k in split.base_ids if train.counts.shape[0] and enough[~held, k].sum() > config.shots)
    if not labels:
        raise InputError(
            f"no base class has more than {config.shots} pictures of at least {settings.min_pixels} pixels: "
            "lower experiment.fss.min_pixels or add pictures"
        )
    if settings.choose == "test" and test is not None:
        shown = (test.counts >= settings.min_pixels).sum(0)
        judged = tuple(k for k in split.novel_ids if shown[k] > config.shots)
    looked_at = test if settings.choose == "test" else Subset(kept, np.flatnonzero(held))
    score = _score_of(model, split, settings, seed, looked_at, judged)
    choice = Choice(settings.choose_every, score) if score else None
    train_steps(
        FssStep(model), model, FssBatches(train, labels, settings, config.shots, side, seed, model.unlabeled),
        settings.steps, settings.lr, settings, seed=seed, place=place, name="fss", choice=choice,
        apart=(model.apart, settings.apart_lr) if model.apart and settings.apart_lr else None,
    )
    return model.eval()


def held_out(
    data: Labelled, labels: Sequence[int], min_pixels: int, shots: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Choose what training leaves out, so that the weights can be chosen on it.

    One in eight pictures, with all items of it. Where that leaves fewer than half of the classes enough pictures for an
    episode, one in eight classes instead (of eight or more), with every picture that shows one of them.

    Args:
        data: N items that show no novel class.
        labels: split ids of the base classes.
        min_pixels: an item counts for a class from so many on.
        shots: K.

    Returns:
        Whether an item is held out, bool (N,), and the classes that episodes of the held-out ones are about.
    """
    numbers, enough = np.unique(data.numbers(), return_inverse=True)[1], data.counts >= min_pixels
    held = numbers % HELD_OUT == 0
    usable = [k for k in labels if enough[:, k].sum() > shots]
    shown = [k for k in usable if enough[held, k].sum() > shots]
    if 2 * len(shown) < len(usable) and len(usable) >= HELD_OUT:
        shown = usable[::HELD_OUT]
        held = np.isin(numbers, numbers[data.counts[:, shown].any(1)])
    return held, tuple(shown)


def _score_of(
    model: Any, split: ClassSplit, settings: FssSettings, seed: int, data: Labelled | None, labels: tuple[int, ...]
) -> Callable[[], float] | None:
    """Give what the kept weights are chosen by, on 1..K-shot episodes as in training."""
    if settings.choose == "none":
        return None
    if data is None:
        raise InputError("experiment.fss.choose is test but no test pictures were given")
    if not labels:
        raise InputError(
            f"no class has more than {model.config.shots} pictures among the {len(data)} that the weights are to be "
            "chosen on: set experiment.fss.choose=none or add pictures"
        )

    def score() -> float:
        return float(
            evaluate_fss(
                model, data, split, shots=model.config.shots, episodes=settings.choose_episodes,
                seeds=(seed_of(seed, "choice"),), resolution="network", classes=labels, min_pixels=settings.min_pixels,
            )["miou"]
        )

    return score
