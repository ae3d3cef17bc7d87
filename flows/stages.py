"""The work on one shard of every stage: look into the store, else read, compute and commit. Knows no Prefect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from flows import steps, wiring
from flows.controls import control_samples
from flows.data import split_of, store_of
from flows.memory import advice_of
from flows.progress import tell
from flows.steps import Step
from pipeline.agreement import FILE, agreement
from pipeline.annotate import annotate, look_twice
from pipeline.assemble import write_voc
from pipeline.backends.memory import within_memory
from pipeline.classes import IGNORE
from pipeline.config import Config
from pipeline.filtering import filter_regions
from pipeline.generate import Order, draw_samples
from pipeline.refine import refine
from pipeline.relabel import relabel
from pipeline.store import Draft, StageRecord
from pipeline.types import Floats, Picture, Sample


def draw_images(config: Config, step: Step, orders: Sequence[Order]) -> StageRecord:
    """Draw one shard of pictures; those of a control have labels."""

    def work(draft: Draft) -> None:
        if config.experiment.generate.source == "model":
            draft.write_samples(draw_samples(orders, wiring.generator_of(config)))
        else:
            draft.write_samples(control_samples(config, orders))

    return compute_shard(config, step, work)


def annotate_shard(config: Config, images: StageRecord, teacher: StageRecord) -> StageRecord:
    """Give one shard its first labels."""
    settings, split = config.experiment.annotate, split_of(config)

    def work(draft: Draft) -> None:
        samples = store_of(config).samples(images)
        if config.experiment.generate.source == "model":
            samples = [annotate(s, p, split, settings) for s, p in _looked_at(config, samples, teacher)]
        _write_labels(config, draft, samples, images)

    return compute_shard(config, steps.annotate_step(config, images, teacher), work)


def _looked_at(
    config: Config, samples: Sequence[Sample], labeller: StageRecord
) -> Iterator[tuple[Sample, Floats]]:
    """Give each sample with its class probabilities."""
    return zip(samples, scores_of(config, (sample.picture for sample in samples), labeller), strict=True)


def scores_of(config: Config, pictures: Iterable[Picture], labeller: StageRecord) -> Iterator[Floats]:
    """Give the class probabilities of pictures, a batch after the other, so that few are in the memory."""
    settings, waiting = config.experiment.annotate, iter(pictures)
    while some := list(islice(waiting, settings.batch)):
        yield from look_twice(wiring.teacher_of(config, labeller), some, flip=settings.flip)[1]


def filter_and_relabel_shard(
    config: Config, first: StageRecord, teacher: StageRecord
) -> tuple[StageRecord, StageRecord]:
    """Put one shard through APF and APR, with one pass of the teacher for both."""
    store, split, experiment = store_of(config), split_of(config), config.experiment
    features = _Features(config, first, teacher)

    def filtering(draft: Draft) -> None:
        prototypes = wiring.prototypes_of(config, teacher)
        samples = [
            filter_regions(s, features.of(s, experiment.filter.enabled), prototypes[s.name], split, experiment.filter)
            for s in store.samples(first)
        ]
        _write_labels(config, draft, samples, first)

    trusted = compute_shard(config, steps.filter_step(config, first, teacher), filtering)

    def relabelling(draft: Draft) -> None:
        prototypes = wiring.prototypes_of(config, teacher)
        samples = [
            relabel(s, features.of(s, experiment.relabel.enabled), prototypes[s.name], split, experiment.relabel)
            for s in store.samples(trusted)
        ]
        _write_labels(config, draft, samples, trusted)

    return trusted, compute_shard(config, steps.relabel_step(config, trusted, teacher), relabelling)


def refine_shard(config: Config, repaired: tuple[StageRecord, StageRecord]) -> StageRecord:
    """Put one shard through SABR; ``repaired`` is what APF and APR gave."""
    filled = repaired[1]

    def work(draft: Draft) -> None:
        samples, split = store_of(config).samples(filled), split_of(config)
        if config.experiment.refine.enabled:
            refiner = wiring.refiner_of(config)
            samples = [refine(s, refiner, split, config.experiment.refine) for s in samples]
        _write_labels(config, draft, samples, filled)

    return compute_shard(config, steps.refine_step(config, filled), work)


def write_agreement(config: Config, sharp: StageRecord, model: StageRecord) -> StageRecord:
    """Write how far the first round's final model agrees with the labels of one shard: a line a sample."""
    settings, split = config.experiment.annotate, split_of(config)

    def work(draft: Draft) -> None:
        rows = [
            {"id": s.id, "name": s.name, "prompt": s.prompt, "agreement": round(agreement(s, p, split, settings), 4)}
            for s, p in _looked_at(config, store_of(config).samples(sharp), model)
        ]
        write_lines(draft, FILE, rows)
        draft.counts = {"samples": len(rows)}

    return compute_shard(config, steps.agreement_step(config, sharp, model), work)


def assemble_dataset(config: Config, sharp: Sequence[StageRecord]) -> StageRecord:
    """Write the labelled pictures of all shards in VOC layout."""

    def work(draft: Draft) -> None:
        store = store_of(config)
        written = write_voc((s for record in sharp for s in store.samples(record)), draft.folder, split_of(config))
        draft.content = written.content
        draft.counts = {"pictures": len(written.ids), **written.per_class}
        draft.dropped = dict(written.dropped)

    return compute_shard(config, steps.dataset_step(config, sharp), work)


class _Features:
    """The teacher's features of a shard, computed when they are first needed."""

    def __init__(self, config: Config, samples: StageRecord, teacher: StageRecord) -> None:
        self._arguments = (config, samples, teacher)

    def of(self, sample: Sample, needed: bool) -> Floats:
        """Give features of a sample, float32 (C, h, w); for a stage that is switched off a single cell of zeros."""
        config, _, teacher = self._arguments
        if needed:
            return self._all[sample.id]
        prototypes = wiring.prototypes_of(config, teacher)
        return np.zeros((len(prototypes[sample.name]), 1, 1), dtype=np.float32)

    @cached_property
    def _all(self) -> dict[str, Floats]:
        """Sample id -> features."""
        config, record, teacher = self._arguments
        samples = store_of(config).samples(record)
        features = wiring.seen_features(config, wiring.teacher_of(config, teacher), [s.picture for s in samples])
        return {s.id: f for s, f in zip(samples, features, strict=True)}


def compute_shard(config: Config, step: Step, work: Callable[[Draft], None]) -> StageRecord:
    """Give the record of a step; do its work where it is not finished."""
    store = store_of(config)
    record = within_memory(
        lambda: store.compute(step.stage, step.shard, step.recipe, work), advice_of(config, step.stage)
    )
    tell(step.stage, step.shard, 1.0)
    return record


def _write_labels(config: Config, draft: Draft, samples: Sequence[Sample], before: StageRecord) -> None:
    """Write a shard that labels the pictures of an earlier one, and count its pixels."""
    draft.write_samples(samples, store_of(config).pictures(before))
    split = split_of(config)
    kept = [(s.labels, s.free) for s in samples if s.reason is None and s.labels is not None and s.free is not None]
    draft.counts |= {
        "pixels": sum(labels.size for labels, _ in kept),
        "novel_pixels": sum(int(np.isin(labels, list(split.novel_ids)).sum()) for labels, _ in kept),
        "free_pixels": sum(int(free.sum()) for _, free in kept),
        "ignored_pixels": sum(int((labels == IGNORE).sum()) for labels, _ in kept),
    }


def write_lines(draft: Draft, name: str, rows: Sequence[object]) -> None:
    """Write rows as lines of JSON."""
    (draft.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
