"""Fitting the fusion: on base classes held out as if they were novel, or on pictures of the novel classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from fss_models.augment import as_tensors
from fss_models.batches import Batch, binary
from fss_models.data import Labelled
from fss_models.gfss import GfssModel
from fss_models.layers import resize, resize_labels
from fss_models.randomness import numpy_rng
from pipeline.classes import IGNORE
from pipeline.protocols import DIAM, GfssProtocol

ROUNDS = 12
"""Batches of pictures that a fit looks at."""

EXTRA = 3
"""Pictures of a round that need not show a held-out class."""

SMALL_SUPPORT_PIXELS = 160
"""A small picture counts as support of a class from so many pixels on; others as the protocol says."""


@torch.no_grad()
def fit_on_held_out(
    model: GfssModel, base: Labelled, novel: int, seed: int, side: int = 0, *, min_pixels: int = 60,
    protocol: GfssProtocol = DIAM,
) -> None:
    """Fit the fusion on base classes that are held out in turn: their outputs of the base learner are taken away.

    At one shot there are no other pictures to fit it on. Source: DESIGN of the project, section 8.

    Args:
        model: without novel outputs, trained on the base classes.
        base: base pictures.
        novel: how many classes to hold out at a time, as many as there are novel ones; at most half of the base.
        seed: of the draws.
        side: of the squares that pictures are fitted to; 0 leaves pictures of one size as they are.
        min_pixels: a picture counts as query of a class from so many pixels on.
        protocol: says from how many on it counts as support.
    """
    model.eval()
    large = base.counts.sum(1) >= 4 * protocol.support_pixels  # as `GfssProtocol.least_pixels` does it
    enough = np.where(large, protocol.support_pixels, SMALL_SUPPORT_PIXELS)
    classes, device = model.config.base, model.fusion.offsets.device
    held_out = max(1, min(novel, classes // 2))
    looks = []
    for number in range(ROUNDS):
        rng = numpy_rng(seed, "held out", number)
        held = np.sort(rng.choice(np.arange(1, 1 + classes), held_out, replace=False))
        supports = [_pick(base.counts[:, k], enough, rng) for k in held]
        queries = [_pick(base.counts[:, k], min_pixels, rng) for k in held]
        queries += rng.integers(0, len(base), EXTRA).tolist()
        pictures, labels = as_tensors(base, supports, device, side)
        wanted = torch.from_numpy(held).to(device)
        code = model.encode(pictures[:, None], binary(labels, wanted)[:, None], wanted)
        pictures, labels = as_tensors(base, queries, device, side)
        levels = model.few_shot.see(pictures)
        kept = [k for k in range(1 + classes) if k not in held]
        place = torch.full((256,), IGNORE, device=device)  # the held-out classes come last, where novel ones are
        place[[*kept, *held.tolist()]] = torch.arange(1 + classes, device=device)
        logits = model.base_learner(levels)[1]
        looks.append((
            F.log_softmax(logits[:, kept], 1),
            resize(model.decode_all(levels, pictures.shape[-2:], code), logits.shape[-2:]),
            place[resize_labels(labels, logits.shape[-2:]).long()],
        ))
    model.fusion.fit(*(torch.cat(part) for part in zip(*looks, strict=True)), grown=False)


@torch.no_grad()
def fit_on_batches(model: GfssModel, batches: Callable[[int], Batch], first: int) -> None:
    """Fit the fusion on pictures of novel classes.

    Args:
        model: with supports and novel outputs.
        batches: draws the batch of a step.
        first: a step that training never reaches, and from which batches are taken.
    """
    model.eval()
    device = model.fusion.offsets.device
    looks = []
    for step in range(first, first + ROUNDS):
        batch = batches(step).to(device)
        levels = model.few_shot.see(batch.pictures)
        logits = model.base_learner(levels)[1]
        size = logits.shape[-2:]
        labels = resize_labels(batch.labels, size).long()
        novel = model.decode_all(levels, batch.pictures.shape[-2:])
        looks.append((F.log_softmax(logits, 1), resize(novel, size), labels))
    model.fusion.fit(*(torch.cat(part) for part in zip(*looks, strict=True)), grown=True)


def _pick(counts: np.ndarray, least: int | np.ndarray, rng: np.random.Generator) -> int:
    """Draw a picture with at least so many pixels, or the one with most."""
    able = np.flatnonzero(counts >= least)
    return int(rng.choice(able)) if len(able) else int(counts.argmax())
