"""Counts of pixels of an item after a stage, and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fss_models.metrics import rim, rim_width
from pipeline.classes import IGNORE
from pipeline.types import LabelMap, Mask, Sample

Counts = NDArray[np.int64]
"""Counts in the order of `COUNTS` along the last axis."""

COUNTS = (
    "pictures", "kept", "known", "labelled", "found", "truth", "both", "truth_kept", "first_right", "still_right",
    "rim_found", "rim_truth", "rim_both",
)  # fmt: skip
"""Pictures, those not dropped; pixels whose truth is known, with a label, of the class as found, of the class in truth,
in both; truth in pictures that were not dropped; right ones of the first label, and what is left of them; rims."""

MEASURES = ("kept", "labelled", "precision", "recall", "iou", "boundary_iou", "kept_iou", "correct_kept")
"""What `measures` gives, in the order of the tables."""


class Judge:
    """Compares labels of one item with its truth; a dropped item has found nothing.

    Args:
        truth: uint8 (H, W), 1 the class, 0 not, 255 unknown: counts nowhere.
        label: split id of the class.
        first: the item after its first labels.
    """

    def __init__(self, truth: LabelMap, label: int, first: Sample) -> None:
        self._known, self._label, self._width = truth != IGNORE, label, rim_width(truth.shape)
        self._truth = np.asarray(truth == 1)
        self._truth_rim = rim(self._truth, self._width)
        self._right = self.found(first) & self._truth

    def found(self, sample: Sample) -> Mask:
        """Give the known pixels that carry the class, bool (H, W)."""
        if sample.labels is None or sample.reason is not None:
            return np.zeros_like(self._known)
        return np.asarray((sample.labels == self._label) & self._known)

    def counts(self, sample: Sample) -> Counts:
        """Count pixels, int64 (len(COUNTS),). A pixel that is free or 255 has no label."""
        found, kept, truth = self.found(sample), sample.reason is None, int(self._truth.sum())
        found_rim = rim(found, self._width)
        labelled = int(((sample.labels != IGNORE) & self._known).sum()) if kept and sample.labels is not None else 0
        counted = {
            "pictures": 1, "kept": kept, "known": self._known.sum(), "labelled": labelled, "found": found.sum(),
            "truth": truth, "both": (found & self._truth).sum(), "truth_kept": truth * kept,
            "first_right": self._right.sum(), "still_right": (self._right & found).sum(),
            "rim_found": found_rim.sum(), "rim_truth": self._truth_rim.sum(),
            "rim_both": (found_rim & self._truth_rim).sum(),
        }  # fmt: skip
        return np.array([int(counted[name]) for name in COUNTS], dtype=np.int64)


def measures(counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Give fractions of counts (..., len(COUNTS)) that were added up, each (...); NaN where there is nothing to divide.

    ``kept``: pictures not dropped; ``labelled``: pixels with a label; ``iou`` and ``boundary_iou`` are over all
    pictures, of which a dropped one has found nothing, ``kept_iou`` over the kept ones; ``correct_kept``: what is left
    of the first label's right pixels.
    """
    of = {name: counts[..., place].astype(np.float64) for place, name in enumerate(COUNTS)}
    return {
        "kept": _ratio(of["kept"], of["pictures"]), "labelled": _ratio(of["labelled"], of["known"]),
        "precision": _ratio(of["both"], of["found"]), "recall": _ratio(of["both"], of["truth"]),
        "iou": _ratio(of["both"], of["found"] + of["truth"] - of["both"]),
        "boundary_iou": _ratio(of["rim_both"], of["rim_found"] + of["rim_truth"] - of["rim_both"]),
        "kept_iou": _ratio(of["both"], of["found"] + of["truth_kept"] - of["both"]),
        "correct_kept": _ratio(of["still_right"], of["first_right"]),
    }  # fmt: skip


def rows_of(stages: Sequence[str], by_class: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Give a row for every stage with the mean over classes, then a row for every class and stage.

    Args:
        stages: S names.
        by_class: class -> counts of its items, (I, S, len(COUNTS)).

    Returns:
        Rows with class, stage, pictures and `MEASURES`; None where nothing was there to divide.
    """
    rows = [
        {"class": name, "stage": stage, "pictures": len(counts), **mean_measures([counts[:, place]])}
        for name, counts in by_class.items()
        for place, stage in enumerate(stages)
    ]
    count = sum(len(counts) for counts in by_class.values())
    means = [
        {"class": "mean", "stage": stage, "pictures": count}
        | mean_measures([counts[:, place] for counts in by_class.values()])
        for place, stage in enumerate(stages)
    ]
    return means + rows


def mean_measures(by_class: Sequence[Counts]) -> dict[str, float | None]:
    """Give `MEASURES`, the means over classes; None where nothing was there to divide.

    Args:
        by_class: counts of each class's items, (I, len(COUNTS)), which are added up.
    """
    each = [measures(counts.sum(0)) for counts in by_class]
    values = {key: float(mean(np.array([float(one[key]) for one in each]))) for key in MEASURES}
    return {key: None if np.isnan(value) else value for key, value in values.items()}


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the mean of (..., K) over what is known of the last axis; NaN where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1, dtype=np.float64))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))
