"""Synthesis: which pictures to draw, from which seeds, and which of them cannot be used.

Source: Syn4Seg, HDIG (one or more pictures of every accepted prompt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.hashing import hash_arrays
from pipeline.types import ImageGenerator, Picture, Sample
from prompts.bank import Prompt

VERSION = 1

FLAT = 4.0
"""A picture whose grey values deviate by less than this (standard deviation, of 255) shows nothing; a generator that
overflowed gives one that is black all over."""

TWIN = "the same picture as another"
"""Begins the reason of a duplicate, whose first copy is kept."""


@dataclass(frozen=True)
class Order:
    """A picture to be drawn: what a `Sample` is before it has a picture."""

    id: str
    name: str
    prompt: str
    seed: int


def sample_seed(run_seed: int, name: str, prompt: str, copy: int) -> int:
    """Give the seed of one picture, 63 bits, from the run's seed, the prompt and the number of the copy alone."""
    digest = hashlib.sha256(f"{run_seed}\n{name}\n{prompt}\n{copy}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def plan_samples(prompts: Sequence[Prompt], run_seed: int, copies: int = 1) -> list[Order]:
    """List the pictures to draw for the prompts of one class, prompt by prompt.

    A longer list of prompts starts with the orders of a shorter one. Ids are ``class-prompt number-copy``,
    without spaces, since they name files.
    """
    return [
        Order(f"{p.name.replace(' ', '_')}-{number:04d}-{n}", p.name, p.text, sample_seed(run_seed, p.name, p.text, n))
        for number, p in enumerate(prompts)
        for n in range(copies)
    ]


def draw_samples(orders: Sequence[Order], generator: ImageGenerator) -> Iterator[Sample]:
    """Draw one shard; the result depends on its orders alone.

    Args:
        orders: N pictures to draw in one call of the generator.
        generator: draws.

    Returns:
        N samples in the same order, each as soon as the generator gives its picture; unusable ones are dropped with
        their reason.

    Raises:
        ValueError: the generator did not give one uint8 RGB picture for every order.
    """
    count = 0
    first_of: dict[str, str] = {}
    for picture, flaw in generator.draw([o.prompt for o in orders], [o.seed for o in orders]):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"the generator gave {picture.dtype} {picture.shape} where uint8 (H, W, 3) was expected")
        if count < len(orders):
            order = orders[count]
            twin = first_of.setdefault(hash_arrays(picture), order.id)
            yield _judged(Sample(order.id, order.name, order.prompt, order.seed, picture), flaw, twin)
        count += 1
    if count != len(orders):
        raise ValueError(f"the generator gave {count} pictures for {len(orders)} prompts")


def _judged(sample: Sample, flaw: str | None, twin: str) -> Sample:
    """Drop a sample that cannot be used; ``twin`` is the first one with the same picture."""
    if flaw is not None:
        return sample.dropped(flaw)
    contrast = _contrast(sample.picture)
    if contrast < FLAT:
        return sample.dropped("the picture is almost uniform", contrast=contrast)
    if twin != sample.id:
        return sample.dropped(f"{TWIN}: {twin}", contrast=contrast)
    return sample


def _contrast(picture: Picture) -> float:
    return float(picture.mean(axis=2).std())
