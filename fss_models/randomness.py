"""One generator a random draw, derived from named seeds."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch


def seed_of(*names: int | str) -> int:
    """Give the seed 0..2**63-1 that belongs to these names; equal names, equal seed."""
    text = "/".join(map(str, names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_rng(*names: int | str) -> np.random.Generator:
    """Give the NumPy generator that belongs to these names."""
    return np.random.default_rng(seed_of(*names))


@contextlib.contextmanager
def seeded(*names: int | str) -> Iterator[None]:
    """Let torch's own layers (initial weights, dropout) draw from these names, and leave the global state as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed_of(*names))
        yield
