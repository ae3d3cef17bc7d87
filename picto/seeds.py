"""Which seeds belong to which purpose, so that nothing is ever tested on a picture that something was trained on."""

from __future__ import annotations

import numpy as np

WIDTH = 10_000_000
"""Seeds of a purpose."""

_PURPOSES = (
    "generator", "backbone", "sam", "base", "support", "tuning", "validation", "classifier", "classifier-test",
    "audit", "pretraining-test", "oracle",
)

SEED_RANGES: dict[str, range] = {name: range(i * WIDTH, (i + 1) * WIDTH) for i, name in enumerate(_PURPOSES)}
"""Purpose -> its seeds. The ranges are disjoint."""


def scene_rng(purpose: str, index: int) -> np.random.Generator:
    """Give the generator of the ``index``-th scene drawn for ``purpose``.

    Raises:
        KeyError: the purpose is unknown.
        IndexError: the index is not in 0..9,999,999.
    """
    return np.random.default_rng(SEED_RANGES[purpose][index])
