"""How far the labels of a synthetic picture are to be trusted, as a number beside the dataset.

Source: ours (decisions.md, confidence of labels): the IoU between the labels before SABR and what SAM sees in their
boxes. The two come from different models, so that where they agree, both are likely to be right.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.types import Sample

FILE = "confidence.csv"
"""In the folder of a dataset: a line ``id,confidence`` a picture."""


def confidence_of(sample: Sample) -> float:
    """Give the confidence of a sample's labels, 0..1; 1 where SAM was not asked."""
    return float(sample.scores.get("sabr_overlap", 1.0))


def write_confidence(folder: Path, values: Mapping[str, float]) -> None:
    """Write the confidence of every picture by its id."""
    with (folder / FILE).open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "confidence"])
        rows.writerows([id_, f"{value:.4f}"] for id_, value in values.items())


def loss_weights(folder: Path, ids: Sequence[str], power: float) -> NDArray[np.float32]:
    """Give loss weights of pictures: their confidence to a power, divided by the mean, so that their mean is 1.

    Args:
        folder: of the dataset.
        ids: of N pictures.
        power: 0 weighs all alike.

    Returns:
        float32 (N,).

    Raises:
        InputError: the folder has no confidence for one of them, or none above 0.
    """
    if power == 0:
        return np.ones(len(ids), np.float32)
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{path} is missing: set experiment.train.synthetic_confidence=0, or write a line id,confidence a picture"
        )
    try:
        with path.open(newline="") as file:
            known = {row["id"]: float(row["confidence"]) for row in csv.DictReader(file)}
        weights = np.array([known[id_] for id_ in ids]) ** power
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a line id,confidence for every picture ({error!r} is wrong)") from error
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputError(f"{path}: expected confidences from 0 to 1, not all of them 0")
    return np.asarray(weights / weights.mean(), np.float32)
