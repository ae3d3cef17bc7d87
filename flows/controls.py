"""Pictures of the two controls, as the stage of pictures has them, but with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from flows.data import find_data, labelled, read_supports, split_of
from pipeline.classes import PICTO
from pipeline.config import Config
from pipeline.controls import paste_sample
from pipeline.generate import Order
from pipeline.types import Sample


def control_samples(config: Config, orders: Sequence[Order]) -> list[Sample]:
    """Make one shard of labelled pictures of one class, each from its order's seed.

    Copy-paste puts supports onto base pictures, whose novel things are hidden as they are in training; the oracle draws
    scenes with all their labels.
    """
    if config.experiment.generate.source == "oracle":
        return [_drawn(config, order) for order in orders]
    data = find_data(config)
    assert data is not None
    base, split = cast(Any, labelled(config, data["base"], hide_novel=True)), split_of(config)
    supports = {support.name: support for support in read_supports(config)}
    return [paste_sample(order, supports[order.name], base, split) for order in orders]


def _drawn(config: Config, order: Order) -> Sample:
    """Draw a scene that shows the order's class, from seeds of its own."""
    from picto.datasets import draw_for, label_map
    from picto.seeds import WIDTH

    rounds = WIDTH // len(PICTO)
    scene = draw_for("oracle", order.seed % rounds * len(PICTO) + PICTO.index(order.name))
    labels = split_of(config).split_ids[label_map(scene)]
    return Sample(
        order.id, order.name, order.prompt, order.seed, scene.picture, labels.astype(np.uint8),
        np.zeros(labels.shape, dtype=bool),
    )  # fmt: skip
