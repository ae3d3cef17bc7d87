"""The stages that train and score models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows import steps, wiring
from flows.data import (
    DataSets,
    labelled,
    protocol_of,
    read_supports,
    scored_places,
    side_of,
    split_of,
    store_of,
    validation_of,
)
from flows.progress import tell, tell_losses
from flows.stages import compute_shard, scores_of, write_lines
from pipeline.confidence import loss_weights
from pipeline.config import Config
from pipeline.datasets import DataFolder
from pipeline.hashing import hash_arrays, hash_files, hash_json
from pipeline.hidden import FILE, label_hidden, map_name, read_found
from pipeline.images import write_labels
from pipeline.store import Draft, StageRecord
from pipeline.types import Floats

if TYPE_CHECKING:
    from fss_models.data import Labelled
    from fss_models.gfss import GfssConfig, GfssModel
    from fss_models.trainer import Place



def train_teacher_stage(config: Config, data: DataSets) -> StageRecord:
    """Train the model that makes the first labels; killed and started again, it gives the same weights."""
    step = steps.teacher_step(config, data)

    def work(draft: Draft) -> None:
        keep_model(_trained_teacher(config, data, place_of(config, draft, step)), draft)

    return computed(config, step, work)


def train_start_stage(config: Config, data: DataSets) -> StageRecord:
    """Train the model that the final one starts from, where that is not the teacher, see `steps.start_of`."""
    step, start = steps.start_step(config, data), steps.start_of(config)

    def work(draft: Draft) -> None:
        keep_model(_trained_teacher(start, data, place_of(config, draft, step)), draft)

    return computed(config, step, work)


def check_networks(config: Config) -> None:
    """Build the networks of the teacher and of the final model, whose options are looked at by this.

    Raises:
        InputError: a backbone holds something else, or a network does not take its options.
    """
    from fss_models.gfss import GfssModel

    for one in dict.fromkeys((config, steps.start_of(config))):
        network = _network_of(one)
        GfssModel(network, wiring.load_backbone(network.backbone))


def _network_of(config: Config) -> GfssConfig:
    from fss_models.gfss import GfssConfig

    experiment = config.experiment
    return GfssConfig(
        name=experiment.teacher.name, backbone=wiring.backbone_path(experiment.teacher.backbone),
        base=len(split_of(config).base), shots=experiment.shots, seed=experiment.seed, **wiring.teacher_options(config),
    )  # fmt: skip


def _trained_teacher(config: Config, data: DataSets, place: Place, *, adapt: bool = True) -> GfssModel:
    from fss_models.train import train_teacher

    experiment, network = config.experiment, _network_of(config)
    return train_teacher(
        base_pictures(config, data), read_supports(config), network, experiment.train, seed=experiment.seed,
        place=place, backbone=wiring.load_backbone(network.backbone), adapt=adapt, side=side_of(config),
        names=split_of(config).names, protocol=protocol_of(config),
    )  # fmt: skip


def label_hidden_stage(
    config: Config, data: DataSets, step: steps.Step, places: range, model: StageRecord
) -> StageRecord:
    """Let a final model label what some base pictures hide; those whose labels change have a map each."""
    settings, split = config.experiment.second_round, split_of(config)

    def work(draft: Draft) -> None:
        base, rows = base_pictures(config, data), []
        (draft.folder / map_name(0)).parent.mkdir()
        scores = scores_of(config, (base[place][0] for place in places), model)
        for done, (place, each) in enumerate(zip(places, scores, strict=True), 1):
            labels = base[place][1]
            told = label_hidden(labels, each, split, settings)
            if (told != labels).any():
                write_labels(draft.folder / map_name(place), told, "palette")
                counts = np.bincount(told.ravel(), minlength=256)[: len(split.names)]
                name = str(data["base"].pictures.ids[place])
                rows.append({"place": place, "id": name, "pixels": counts.tolist()})
            tell(step.stage, step.shard, done / len(places))
        write_lines(draft, FILE, rows)
        draft.counts = {"pictures": len(rows)}

    return computed(config, step, work, together=False)


def train_final_stage(
    config: Config, data: DataSets, start: StageRecord, dataset: StageRecord | DataFolder | None,
    hidden: Sequence[StageRecord] = (),
) -> StageRecord:  # fmt: skip
    """Train a final model; without and with synthetic pictures differ in these alone.

    Args:
        config: of the run.
        data: base and support pictures.
        start: what it starts from, the teacher or a model of its own kind.
        dataset: the synthetic pictures as this run made them, or in a folder in VOC layout, or None.
        hidden: what was found in the background of the base pictures.
    """
    folder = dataset
    if isinstance(dataset, StageRecord):
        folder = DataFolder(store_of(config).folder(dataset), "train") if dataset.counts["pictures"] else None
    experiment, power, confidence = config.experiment, config.experiment.train.synthetic_confidence, None
    if power and isinstance(folder, DataFolder):
        confidence = loss_weights(folder.root, [str(id_) for id_ in folder.pictures.ids], power)
    made = _content(dataset, confidence) if isinstance(dataset, DataFolder) else dataset
    step = steps.train_step(config, data, start, made, hidden)

    def work(draft: Draft) -> None:
        from fss_models.train import train_final

        model = train_final(
            _model(config, start), _with_hidden(config, base_pictures(config, data), hidden), read_supports(config),
            labelled(config, folder) if isinstance(folder, DataFolder) else None, experiment.train,
            seed=experiment.seed, place=place_of(config, draft, step), side=side_of(config),
            options=experiment.model.options, confidence=confidence,
        )  # fmt: skip
        keep_model(model, draft)

    return computed(config, step, work)


def _with_hidden(config: Config, base: Labelled, hidden: Sequence[StageRecord]) -> Labelled:
    """Give the base pictures with what was found in their background."""
    if not hidden:
        return base
    from fss_models.data import Relabelled

    maps, counts = {}, {}
    for record in hidden:
        folder = store_of(config).folder(record)
        for row in read_found(folder):
            maps[row["place"]], counts[row["place"]] = folder / map_name(row["place"]), row["pixels"]
    return Relabelled(base, maps, counts)


def _content(folder: DataFolder, confidence: Floats | None) -> str:
    """Hash the pictures of elsewhere, and where it counts how they weigh."""
    return folder.content() if confidence is None else hash_json([folder.content(), hash_arrays(confidence)])


def score_stage(config: Config, data: DataSets, model: StageRecord, name: str) -> StageRecord:
    """Score a model on the validation pictures."""
    step = steps.scores_step(config, data, model, name)

    def work(draft: Draft) -> None:
        scores = evaluate_model(config, data, _model(config, model), lambda done: tell(step.stage, step.shard, done))
        (draft.folder / "scores.json").write_text(json.dumps(scores, indent=1, allow_nan=False))

    return computed(config, step, work, together=False)


def evaluate_model(
    config: Config, data: DataSets, model: Any, progress: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Score a GFSS model on the validation pictures as its protocol says; None for a class that none of them shows."""
    from fss_models.evaluate import evaluate_gfss

    return _plain(evaluate_gfss(
        model, _scored(config, data), split_of(config), protocol_of(config), side=side_of(config),
        progress=lambda done, total: progress(done / total), expected_iou=config.experiment.expected_iou,
    ))  # fmt: skip


def base_pictures(config: Config, data: DataSets) -> Labelled:
    """Give the base pictures: those with novel things are left out, or these things are hidden."""
    if not protocol_of(config).drop_novel:
        return labelled(config, data["base"], hide_novel=True)
    from fss_models.episodes import without_classes

    return without_classes(labelled(config, data["base"]), split_of(config).novel_ids)


def _scored(config: Config, data: DataSets) -> Labelled:
    from fss_models.episodes import Subset

    return Subset(labelled(config, validation_of(data)), scored_places(config))


def match_prototypes_stage(config: Config, data: DataSets) -> StageRecord:
    """Score plain prototype matching on the features of a base learner that never saw a support; trains that first."""
    step = steps.matching_step(config, data)

    def work(draft: Draft) -> None:
        from fss_models.evaluate import prototype_matching

        model = _trained_teacher(config, data, place_of(config, draft, step), adapt=False)
        scores = prototype_matching(
            model, base_pictures(config, data), _scored(config, data), split_of(config), protocol=protocol_of(config),
            side=side_of(config),
        )  # fmt: skip
        (draft.folder / "scores.json").write_text(json.dumps(_plain(scores), indent=1, allow_nan=False))

    return computed(config, step, work)


def _plain(scores: dict[str, Any]) -> dict[str, Any]:
    """Give scores without NaN, which JSON does not know."""
    return {**scores, "per_class": {n: None if np.isnan(iou) else iou for n, iou in scores["per_class"].items()}}


def computed(config: Config, step: steps.Step, work: Any, *, together: bool = True) -> StageRecord:
    """Give the record of a step; do its work where it is not finished.

    Of several processes (``accelerate launch``) the first one writes; the others work with it, or wait for it.
    """
    if int(os.environ.get("RANK", "0")):
        return store_of(config).follow(step.stage, step.shard, step.recipe, work if together else None)
    return compute_shard(config, step, work)


def _model(config: Config, record: StageRecord) -> Any:
    part = config.experiment.teacher if record.stage == "teacher" else config.experiment.model
    backbone = wiring.backbone_path(part.backbone)
    return wiring.load_model(store_of(config).folder(record), backbone, wiring.device_of(config))


def place_of(config: Config, draft: Draft, step: steps.Step) -> Place:
    """Say where a training keeps its checkpoints (they outlive a kill) and whom it tells of its progress."""
    from fss_models.trainer import Place

    def progress(done: int, total: int, losses: dict[str, float]) -> None:
        tell(step.stage, step.shard, 0.99 * done / total)
        tell_losses(step.stage, done, total, losses)

    execution = config.execution
    board = execution.folder / "tensorboard" / f"{step.stage}-{step.shard}" if execution.tensorboard else None
    return Place(draft.scratch, progress, wiring.device_of(config), execution.readers, board)


def keep_model(model: Any, draft: Draft) -> None:
    """Write a model; its content is its weights, since its config names a folder of this machine."""
    model.save(draft.folder)
    weights = [p.name for p in draft.folder.glob("*.safetensors")]
    draft.content = hash_files(draft.folder, weights)
    for log in Path(draft.scratch).glob("*.jsonl"):
        shutil.copyfile(log, draft.folder / log.name)
