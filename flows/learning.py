"""The stages that train and score models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows import steps, wiring
from flows.data import DataSets, labelled, read_supports, split_of, store_of
from flows.progress import tell
from pipeline.config import Config
from pipeline.datasets import DataFolder
from pipeline.hashing import hash_files
from pipeline.store import Draft, StageRecord

if TYPE_CHECKING:
    from fss_models.gfss import GfssModel
    from fss_models.train import Place



def train_teacher_stage(config: Config, data: DataSets) -> StageRecord:
    """Train the model that makes the first labels; killed and started again, it gives the same weights."""
    step = steps.teacher_step(config, data)

    def work(draft: Draft) -> None:
        _keep(_trained_teacher(config, data, _place(config, draft, step)), draft)

    return _computed(config, step, work)


def _trained_teacher(config: Config, data: DataSets, place: Place, *, adapt: bool = True) -> GfssModel:
    from fss_models.gfss import GfssConfig
    from fss_models.train import train_teacher

    experiment = config.experiment
    backbone = wiring.backbone_path(experiment.teacher.backbone)
    network = GfssConfig(
        name=experiment.teacher.name, backbone=backbone, base=len(split_of(config).base), shots=experiment.shots,
        seed=experiment.seed,
    )  # fmt: skip
    return train_teacher(
        labelled(config, data["base"], hide_novel=True), read_supports(config), network, experiment.train,
        seed=experiment.seed, place=place, backbone=wiring.load_backbone(backbone), adapt=adapt,
    )  # fmt: skip


def train_final_stage(
    config: Config, data: DataSets, teacher: StageRecord, dataset: StageRecord | None
) -> StageRecord:
    """Train a final model from the teacher; both differ in the synthetic pictures alone."""
    step = steps.train_step(config, data, teacher, dataset)
    experiment = config.experiment

    def work(draft: Draft) -> None:
        from fss_models.train import train_final

        synthetic = None
        if dataset and dataset.counts["pictures"]:
            synthetic = labelled(config, DataFolder(store_of(config).folder(dataset), "train"))
        base = labelled(config, data["base"], hide_novel=True)
        model = train_final(
            _model(config, teacher), base, read_supports(config), synthetic,
            experiment.train, seed=experiment.seed, place=_place(config, draft, step),
        )  # fmt: skip
        _keep(model, draft)

    return _computed(config, step, work)


def score_stage(config: Config, data: DataSets, model: StageRecord, name: str) -> StageRecord:
    """Score a model on the validation pictures."""
    step = steps.scores_step(config, data, model, name)

    def work(draft: Draft) -> None:
        from fss_models.evaluate import evaluate_gfss

        scores = evaluate_gfss(
            _model(config, model), labelled(config, data["validation"]), split_of(config),
            progress=lambda done, total: tell(step.stage, step.shard, done / total),
        )  # fmt: skip
        _write_scores(scores, draft)

    return _computed(config, step, work)


def match_prototypes_stage(config: Config, data: DataSets) -> StageRecord:
    """Score plain prototype matching on the features of a base learner that never saw a support; trains that first."""
    step = steps.matching_step(config, data)

    def work(draft: Draft) -> None:
        from fss_models.evaluate import prototype_matching

        model = _trained_teacher(config, data, _place(config, draft, step), adapt=False)
        base = labelled(config, data["base"], hide_novel=True)
        validation = labelled(config, data["validation"])
        _write_scores(prototype_matching(model, base, validation, split_of(config)), draft)

    return _computed(config, step, work)


def _write_scores(scores: dict[str, Any], draft: Draft) -> None:
    scores["per_class"] = {n: None if np.isnan(iou) else iou for n, iou in scores["per_class"].items()}
    (draft.folder / "scores.json").write_text(json.dumps(scores, indent=1, allow_nan=False))


def _computed(config: Config, step: steps.Step, work: Any) -> StageRecord:
    record = store_of(config).compute(step.stage, step.shard, step.recipe, work)
    tell(step.stage, step.shard, 1.0)
    return record


def _model(config: Config, record: StageRecord) -> Any:
    backbone = wiring.backbone_path(config.experiment.teacher.backbone)
    return wiring.load_model(store_of(config).folder(record), backbone, wiring.device_of(config))


def _place(config: Config, draft: Draft, step: steps.Step) -> Place:
    """Say where a training keeps its checkpoints (they outlive a kill) and whom it tells of its progress."""
    from fss_models.train import Place

    def progress(done: int, total: int, _: dict[str, float]) -> None:
        tell(step.stage, step.shard, 0.99 * done / total)

    return Place(draft.scratch, progress, wiring.device_of(config))


def _keep(model: Any, draft: Draft) -> None:
    """Write a model; its content is its weights, since its config names a folder of this machine."""
    model.save(draft.folder)
    weights = [p.name for p in draft.folder.glob("*.safetensors")]
    draft.content = hash_files(draft.folder, weights)
    for log in Path(draft.scratch).glob("*.jsonl"):
        shutil.copyfile(log, draft.folder / log.name)
