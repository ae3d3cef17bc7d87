"""Items through the labelling stages: with the settings of the config, and with every setting of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flows import wiring
from flows.audit.grid import Grid
from flows.audit.guides import Guide
from flows.audit.scores import Counts, Judge
from pipeline.annotate import annotate
from pipeline.config import Config, Experiment
from pipeline.filtering import filter_regions
from pipeline.refine import refine
from pipeline.relabel import relabel
from pipeline.types import BoundaryRefiner, Floats, LabelMap, Mask, Picture, Sample

STAGES = ("annotate", "filter", "relabel", "refine")
_PIXELS = 16 << 14
"""Pixels of the pictures that the teacher sees at once."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What became of one item.

    Attributes:
        stages: the item after each of `STAGES`.
        found: known pixels of the class after each stage, bool (S, H, W).
        truth: uint8 (H, W), 1 the class, 255 unknown.
        counts: after each stage, (S, len(COUNTS)).
        swept: of the final labels of each setting of the grid, (G, len(COUNTS)).
        finals: the final masks that differ, bool (F, H, W).
        which: for each setting its place among them, (G,).
    """

    stages: Sequence[Sample]
    found: NDArray[np.bool_]
    truth: LabelMap
    counts: Counts
    swept: Counts
    finals: NDArray[np.bool_]
    which: NDArray[np.int64]


@dataclass
class Answers:
    """A `BoundaryRefiner` that asks another one, where there is one to ask, about each box of a picture once."""

    refiner: BoundaryRefiner | None
    weights_id: str = ""
    _known: dict[tuple[float, ...], tuple[Mask, np.float32]] = field(default_factory=dict)

    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give a mask (R, H, W) and a predicted IoU (R,) for each of R boxes (R, 4); always the same picture."""
        keys = [tuple(box) for box in boxes.tolist()]
        if new := [place for place, key in enumerate(keys) if key not in self._known]:
            assert self.refiner
            masks, scores = self.refiner.segment(picture, boxes[new])
            for place, mask, score in zip(new, masks, scores, strict=True):
                self._known[keys[place]] = mask, score
        found = [self._known[key] for key in keys]
        return np.stack([mask for mask, _ in found]), np.array([score for _, score in found], np.float32)


def judge(
    config: Config, guide: Guide, refiner: BoundaryRefiner | None, pairs: Sequence[tuple[Sample, LabelMap]],
    grid: Grid | None,
) -> Iterator[Judged]:  # fmt: skip
    """Put items of one class through the stages; the teacher sees each once, SAM's encoder too.

    Args:
        config: of the stages.
        guide: of the class.
        refiner: SAM; None where SABR is off, which then asks nobody.
        pairs: unlabelled samples with their truth.
        grid: settings to try besides, or None.
    """
    split, prototype, experiment = guide.split, guide.prototype, config.experiment
    for group in _groups(pairs):
        features, scores = wiring.seen_twofold(config, guide.teacher, [sample.picture for sample, _ in group])
        for (bare, truth), f, p in zip(group, features, scores, strict=True):
            first, answers = annotate(bare, p, split, experiment.annotate), Answers(refiner)
            trusted = filter_regions(first, f, prototype, split, experiment.filter)
            filled = relabel(trusted, f, prototype, split, experiment.relabel)
            stages = (first, trusted, filled, refine(filled, answers, split, experiment.refine))
            judged = Judge(truth, split.id_of(bare.name), first)
            counts = np.stack([judged.counts(sample) for sample in stages])
            finals: list[Sample] = []
            which: list[int] = []
            if grid is not None:
                finals, which = _sweep(first, f, guide, answers, config, grid)
            each = np.stack([judged.counts(s) for s in finals]) if finals else np.zeros((0, counts.shape[1]), np.int64)
            masks = np.array([judged.found(s) for s in finals], dtype=bool).reshape(-1, *truth.shape)
            order = np.array(which, dtype=np.int64)
            now = np.stack([judged.found(sample) for sample in stages])
            yield Judged(stages, now, truth, counts, each[order], masks, order)


def _sweep(
    first: Sample, features: Floats, guide: Guide, answers: Answers, config: Config, grid: Grid
) -> tuple[list[Sample], list[int]]:
    """Give the final labels that differ, and for every setting of the grid which of them it gives."""
    split, prototype = guide.split, guide.prototype
    finals: list[Sample] = []
    seen: dict[bytes, int] = {}
    which: list[int] = []
    trusted: dict[float, Sample] = {}
    for setting in grid.settings:
        experiment: Experiment = grid.apply(config, setting).experiment
        threshold = experiment.filter.min_similarity
        if threshold not in trusted:
            trusted[threshold] = filter_regions(first, features, prototype, split, experiment.filter)
        filled = relabel(trusted[threshold], features, prototype, split, experiment.relabel)
        key = _key(filled)
        if key not in seen:
            seen[key] = len(finals)
            finals.append(refine(filled, answers, split, experiment.refine))
        which.append(seen[key])
    return finals, which


def _key(sample: Sample) -> bytes:
    if sample.reason is not None or sample.labels is None or sample.free is None:
        return b"dropped"
    return sample.labels.tobytes() + sample.free.tobytes()


def _groups(pairs: Sequence[tuple[Sample, LabelMap]]) -> Iterator[list[tuple[Sample, LabelMap]]]:
    """Give neighbours of one size together, a few at a time."""
    group: list[tuple[Sample, LabelMap]] = []
    for pair in pairs:
        size = pair[1].shape
        if group and (group[0][1].shape != size or (len(group) + 1) * pair[1].size > _PIXELS):
            yield group
            group = []
        group.append(pair)
    if group:
        yield group
