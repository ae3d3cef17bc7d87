"""The prompt bank's filter, against the blocked matrix product of all candidates with those that it accepts.

    python -m benchmarks.bank --candidates 20000 --accepted 2000

Candidates come in blocks from a seed: a tenth of them are vectors in random directions, which are accepted, the others
lie close to one of these. Bank and product each run in a process of its own, where making the candidates is not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import Figure, Goal, Stopwatch, Timing, command, spent_apart
from prompts.agents import Proposal, Vectors
from prompts.bank import PromptBank
from prompts.vocabulary import load_vocabulary

BLOCK = 1000
"""Candidates at once."""
NOISE = 0.2
"""Length of what is added to a unit vector for its copies, whose cosines to it and to each other are 0.98 and 0.96."""
MOST = 0.93
"""The filter's lambda, which lies between these and the cosines of random directions."""


@dataclass(frozen=True)
class Size:
    """How much is offered."""

    candidates: int = 100_000
    channels: int = 2048
    accepted: int = 10_000


def fresh(size: Size, block: int) -> Vectors:
    """Give the vectors in random directions of a block, unit (n, C)."""
    drawn = np.random.default_rng([0, block]).standard_normal(
        (size.accepted * BLOCK // size.candidates, size.channels), dtype=np.float32
    )
    return _unit(drawn)


def blocks(size: Size) -> Iterator[Vectors]:
    """Give the candidates block by block, unit (1000, C), shuffled within each."""
    for block in range(size.candidates // BLOCK):
        rng = np.random.default_rng([1, block])
        new = fresh(size, block)
        like = fresh(size, int(rng.integers(block + 1)))[rng.integers(len(new), size=BLOCK - len(new))]
        noise = _unit(rng.standard_normal(like.shape, dtype=np.float32))
        yield _unit(np.concatenate([new, like + np.float32(NOISE) * noise]))[rng.permutation(BLOCK)]


def filtered(size: Size) -> Timing:
    """Time the bank.

    Raises:
        RuntimeError: it accepted another number than it should.
    """
    bank, watch = PromptBank(load_vocabulary("picto", ("boat",)), MOST), Stopwatch()
    for number, vectors in enumerate(blocks(size)):
        proposals = [Proposal(f"a boat, number {number * BLOCK + i}", "boat") for i in range(BLOCK)]
        with watch:
            bank.offer(proposals, vectors)
    if len(bank.prompts) != size.accepted:
        raise RuntimeError(f"the bank accepted {len(bank.prompts)} where {size.accepted} are apart")
    return watch.timing


def multiplied(size: Size) -> Timing:
    """Time the product of every block with all accepted vectors."""
    accepted, watch = np.concatenate([fresh(size, b) for b in range(size.candidates // BLOCK)]), Stopwatch()
    for vectors in blocks(size):
        with watch:
            vectors @ accepted.T
    return watch.timing


def measure(size: Size) -> list[Figure]:
    """Give time and peak memory of both."""
    ours, reference = spent_apart(filtered, size), spent_apart(multiplied, size)
    what = f"bank of {size.candidates:,} x {size.channels:,}, {size.accepted:,} accepted"
    against = "product of the candidates with the accepted"
    return [
        Figure("bank", what, against, ours.wall, reference.wall, "s", Goal("most", 2),
               {"CPU s": ours.cpu, "reference CPU s": reference.cpu, "CPU ratio": ours.cpu / reference.cpu}),
        Figure("bank_memory", f"peak memory, {what}", against, ours.peak_mib / 1024, reference.peak_mib / 1024, "GiB",
               Goal("most", 1.5, "ours")),
    ]  # fmt: skip


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
