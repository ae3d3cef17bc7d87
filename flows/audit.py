"""Quality of the labelling stages: labelled pictures go through all of them as if they had no labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows import wiring
from flows.data import labelled_pictures, prepare_data, split_of, store_of
from flows.learning import train_teacher_stage
from flows.progress import tell
from pipeline.annotate import annotate, look_twice
from pipeline.config import Config
from pipeline.filtering import filter_regions
from pipeline.refine import refine
from pipeline.relabel import relabel
from pipeline.types import Mask, Sample

STAGES = ("annotate", "filter", "relabel", "refine")
_BATCH = 20


def audit(config: Config, pictures: int) -> list[dict[str, Any]]:
    """Give one row a stage, and train the teacher where it is not there yet.

    A dropped picture counts as unlabelled in precision and recall. IoU and boundary IoU are those of the pictures
    that are still in; ``first_iou`` and ``first_boundary_iou`` are those of the first labels on the same pictures.
    Counts are added up over pictures by class, then averaged over classes; boundary IoU is a mean over pictures.

    Args:
        config: of the teacher and the stages.
        pictures: how many labelled pictures, those of all classes together.

    Returns:
        Rows with stage, kept (share of pictures), precision, recall, iou, boundary_iou, first_iou,
        first_boundary_iou, and correct_kept, the share of the first labels' correct pixels that is still labelled.
    """
    data = prepare_data(config)
    record = train_teacher_stage(config, data)
    folder = store_of(config).folder(record)
    teacher, refiner = wiring.teacher_of(config, record), wiring.refiner_of(config)
    prototypes = wiring.prototypes_of(config, folder)
    experiment, split = config.experiment, split_of(config)

    truths: list[Mask] = []
    samples: dict[str, list[Sample]] = {stage: [] for stage in STAGES}
    todo = labelled_pictures(config, pictures)
    for start in range(0, len(todo), _BATCH):
        part = todo[start : start + _BATCH]
        shown = [s.picture for s, _ in part]
        features = wiring.seen_features(config, teacher, shown)
        _, scores = look_twice(teacher, shown, flip=experiment.annotate.flip)
        for (bare, truth), f, p in zip(part, features, scores, strict=True):
            first = annotate(bare, p, split, experiment.annotate)
            trusted = filter_regions(first, f, prototypes[bare.name], split, experiment.filter)
            filled = relabel(trusted, f, prototypes[bare.name], split, experiment.relabel)
            sharp = refine(filled, refiner, split, experiment.refine)
            for stage, sample in zip(STAGES, (first, trusted, filled, sharp), strict=True):
                samples[stage].append(sample)
            truths.append(truth)
        tell("audit", "labels", min(start + _BATCH, len(todo)) / len(todo))
    found = {stage: [_found(s, split.id_of(s.name)) for s in of] for stage, of in samples.items()}
    names = [s.name for s, _ in todo]
    return [_row(stage, [s.reason is None for s in samples[stage]], found, truths, names) for stage in STAGES]


def _found(sample: Sample, label: int) -> Mask:
    """The pixels that carry the sample's class, bool (H, W); none where it was dropped."""
    if sample.labels is None or sample.reason is not None:
        return np.zeros(sample.picture.shape[:2], dtype=bool)
    return np.asarray(sample.labels == label)


def _row(
    stage: str, kept: Sequence[bool], found: dict[str, list[Mask]], truths: Sequence[Mask], names: Sequence[str]
) -> dict[str, Any]:
    from fss_models.metrics import boundary_iou

    now, first = found[stage], found["annotate"]
    every = range(len(truths))
    inside = [i for i in every if kept[i]]

    def ratio(part: Sequence[Mask], whole: Sequence[Mask], places: Sequence[int]) -> float:
        """Mean over classes of pixels in both over pixels in ``whole``."""
        by_class = []
        for name in sorted(set(names)):
            mine = [i for i in places if names[i] == name]
            area = sum(int(whole[i].sum()) for i in mine)
            if area:
                by_class.append(sum(int((part[i] & whole[i]).sum()) for i in mine) / area)
        return float(np.mean(by_class)) if by_class else 0.0

    def iou(labels: Sequence[Mask]) -> float:
        both = [a & t for a, t in zip(labels, truths, strict=True)]
        either = [a | t for a, t in zip(labels, truths, strict=True)]
        return ratio(both, either, inside)

    def rim(labels: Sequence[Mask]) -> float:
        return float(np.mean([boundary_iou(truths[i], labels[i]) for i in inside])) if inside else 0.0

    correct = [a & t for a, t in zip(first, truths, strict=True)]
    return {
        "stage": stage, "kept": len(inside) / max(len(truths), 1),
        "precision": ratio(truths, now, every), "recall": ratio(now, truths, every),
        "iou": iou(now), "boundary_iou": rim(now), "first_iou": iou(first), "first_boundary_iou": rim(first),
        "correct_kept": ratio(now, correct, every),
    }  # fmt: skip
