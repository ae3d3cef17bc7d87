"""Scores: GFSS by one confusion matrix over the whole set, FSS by class, and how well boundaries fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.classes import IGNORE, ClassSplit


class ConfusionMatrix:
    """Counts pixels by true and predicted label; pixels of label 255 count nowhere.

    Args:
        labels: how many labels there are, 1 + B + N.
    """

    def __init__(self, labels: int) -> None:
        self.counts = np.zeros((labels, labels), dtype=np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count label maps of one shape, any integers; rows are the truth."""
        size = len(self.counts)
        known = truth != IGNORE
        pairs = truth[known].astype(np.int64) * size + predicted[known].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)

    def iou(self) -> np.ndarray:
        """Give the IoU of each label, float (L,); NaN for a label neither present nor predicted."""
        both = np.diag(self.counts).astype(float)
        either = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def gfss_scores(matrix: ConfusionMatrix, split: ClassSplit) -> dict[str, Any]:
    """Give the scores of a run, fractions in 0..1.

    ``base_miou`` is without background (the convention of DIaM), ``base_miou_with_background`` with it (CAPL);
    ``mean_miou`` is the mean of base and novel, ``total_miou`` that over all labels.
    """
    iou = matrix.iou()
    base, novel = _mean(iou[list(split.base_ids)]), _mean(iou[list(split.novel_ids)])
    return {
        "base_miou": base,
        "novel_miou": novel,
        "mean_miou": (base + novel) / 2,
        "harmonic_miou": harmonic(base, novel),
        "base_miou_with_background": _mean(iou[: 1 + len(split.base)]),
        "total_miou": _mean(iou),
        "per_class": {name: float(value) for name, value in zip(split.names, iou, strict=True)},
    }


def harmonic(base: float, novel: float) -> float:
    """Give 2 B N / (B + N); 0 where both are 0."""
    return 2 * base * novel / (base + novel) if base + novel > 0 else 0.0


class ForegroundScores:
    """FSS scores: intersection and union of the foreground, added up over all episodes of each class."""

    def __init__(self) -> None:
        self._classes: dict[int, np.ndarray] = {}
        self._binary = np.zeros((2, 2))

    def add(self, label: int, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add an episode of a class: truth with 0, 1 and 255, prediction bool, both (H, W)."""
        known = truth != IGNORE
        areas = []
        for wanted in (0, 1):
            t, p = (truth == wanted) & known, (predicted == wanted) & known
            areas.append([(t & p).sum(), (t | p).sum()])
        self._binary += areas
        self._classes.setdefault(label, np.zeros(2))
        self._classes[label] += areas[1]

    def per_class(self) -> dict[int, float]:
        """Give the IoU of every class that had an episode, in the order of their ids."""
        return {label: float(both / max(either, 1)) for label, (both, either) in sorted(self._classes.items())}

    def scores(self) -> dict[str, Any]:
        """Give ``miou`` (mean over classes) and ``fb_iou`` (mean of background and foreground)."""
        ious = list(self.per_class().values())
        return {
            "miou": float(np.mean(ious)) if ious else 0.0,
            "fb_iou": float((self._binary[:, 0] / np.maximum(self._binary[:, 1], 1)).mean()),
        }


def rim(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """Give the inner rim of a mask, bool (H, W): its pixels at most ``width`` from its outside.

    Source: Boundary IoU, the IoU of two masks' rims. What touches the edge of the picture has its rim there too.
    """
    return np.asarray(mask & ~ndimage.binary_erosion(mask, iterations=width))


def rim_width(size: tuple[int, ...]) -> int:
    """Give the published width of the rim on a picture of a size (H, W): 2 % of its diagonal, at least a pixel."""
    return max(1, round(0.02 * float(np.hypot(*size))))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
