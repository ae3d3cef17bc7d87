"""Episodic FSS as stages of the store: a model trained on base classes, and its scores on the novel ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows import steps, wiring
from flows.data import (
    DataSets,
    check_base,
    labelled,
    note_on_lists,
    prepare_data,
    split_of,
    store_of,
    validation_of,
)
from flows.devices import check_device
from flows.learning import computed, keep_model, place_of
from flows.progress import Board, LossTable, set_reporter, tell
from flows.run import check_own, check_writable
from flows.runs import write_run
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.store import Draft, StageRecord

if TYPE_CHECKING:
    from fss_models.fss import FssConfig


def run_fss(config: Config, name: str, console: Console) -> Path:
    """Train an FSS model, score it on the novel classes, and write the run's folder.

    Killed and started again, it goes on from its last checkpoint.

    Args:
        config: of the run; ``experiment.model`` and ``experiment.fss`` say what is trained.
        name: of the run's folder.
        console: shows the progress.

    Raises:
        InputError: something that the user can mend.
    """
    check_fss(config)
    if note := note_on_lists(config):
        console.print(note)
    with Board({"data": 3, "fss": 1, "scores": 1}, console) as board, LossTable(console):
        set_reporter(board.show)
        data = prepare_data(config)
        classes = scored_classes(config, data)
        records = [train_fss_stage(config, data)]
        if classes:
            records.append(score_fss_stage(config, data, records[0]))
        set_reporter(None)
    if left := [n for n in split_of(config).novel if n not in classes]:
        wanted = config.experiment.shots + 1
        console.print(f"not scored, for want of {wanted} validation pictures an episode: {', '.join(left)}")
    return write_run(config, name, records)


def check_fss(config: Config) -> None:
    """Look that device, base classes, own pictures, output folder and backbone are as they should be.

    Raises:
        InputError: one of them is not.
    """
    check_device(config.execution.device)
    check_base(config)
    check_own(config)
    check_writable(config)
    wiring.backbone_path(config.experiment.model.backbone)
    wiring.fss_options(config)


def trained_and_scored(config: Config, shots: Sequence[int], console: Console) -> list[dict[str, Any]]:
    """Train an FSS model once and score it with several numbers of shots; what the store holds is not done again.

    Args:
        config: of the training.
        shots: supports an episode, at scoring.
        console: shows the progress.

    Returns:
        What `fss_models.evaluate_fss.evaluate_fss` gives, for each number of shots.

    Raises:
        InputError: something that the user can mend.
    """
    with Board({"data": 3, "fss": 1, "scores": len(shots)}, console) as board, LossTable(console):
        set_reporter(board.show)
        data = prepare_data(config)
        model = train_fss_stage(config, data)
        found = []
        for k in shots:
            record = score_fss_stage(with_shots(config, k), data, model)
            found.append(json.loads((store_of(config).folder(record) / "scores.json").read_text()))
        set_reporter(None)
    return found


def with_shots(config: Config, shots: int) -> Config:
    """Give a config of scores with so many supports an episode."""
    return config.model_copy(update={"experiment": config.experiment.model_copy(update={"shots": shots})})


def scored_classes(config: Config, data: DataSets, *, every: bool = False) -> dict[str, int]:
    """Give the novel classes, or every class, with enough validation pictures for an episode: name -> split id."""
    if "validation" not in data:
        return {}
    split, experiment = split_of(config), config.experiment
    pictures = (labelled(config, data["validation"]).counts >= experiment.fss.min_pixels).sum(0)
    ids = (*split.base_ids, *split.novel_ids) if every else split.novel_ids
    return {split.names[k]: k for k in ids if pictures[k] > experiment.shots}


def classes_of_scores(config: Config, data: DataSets, *, every: bool = False) -> dict[str, int]:
    """Give `scored_classes` of which there must be some.

    Raises:
        InputError: there are no validation pictures, or too few of every class.
    """
    validation_of(data)
    if classes := scored_classes(config, data, every=every):
        return classes
    shots = config.experiment.shots
    raise InputError(
        f"no {'' if every else 'novel '}class has the {shots + 1} validation pictures that {shots}-shot episodes "
        "need: add pictures, or lower experiment.fss.min_pixels"
    )


def train_fss_stage(config: Config, data: DataSets) -> StageRecord:
    """Train an FSS model on the base pictures that show no novel thing."""
    experiment, network = config.experiment, network_of(config)
    step = steps.fss_step(config, data, network.backbone)

    def work(draft: Draft) -> None:
        from fss_models.fss import build_fss_model
        from fss_models.train_fss import train_fss

        frozen = wiring.load_backbone(network.backbone, experiment.fss.stride)
        if experiment.model.name == "matching":
            keep_model(build_fss_model(network, frozen), draft)
            return
        test = labelled(config, validation_of(data)) if experiment.fss.choose == "test" else None
        model = train_fss(
            labelled(config, data["base"]), split_of(config), network, experiment.fss,
            seed=experiment.seed, place=place_of(config, draft, step), backbone=frozen, test=test,
        )  # fmt: skip
        keep_model(model, draft)

    return computed(config, step, work)


def network_of(config: Config) -> FssConfig:
    """Give the settings of the network that a config's FSS model is."""
    from fss_models.fss import FssConfig

    experiment = config.experiment
    return FssConfig(
        name=experiment.model.name, backbone=wiring.backbone_path(experiment.model.backbone), shots=experiment.shots,
        side=experiment.fss.side, stride=experiment.fss.stride, options=wiring.fss_options(config),
        seed=experiment.seed,
    )  # fmt: skip


def score_fss_stage(config: Config, data: DataSets, model: StageRecord) -> StageRecord:
    """Score an FSS model on episodes of the novel classes."""
    step = steps.fss_scores_step(config, data, model)

    def work(draft: Draft) -> None:
        scores = _scores(config, data, store_of(config).folder(model), config.experiment.shots)
        (draft.folder / "scores.json").write_text(json.dumps(scores, indent=1, allow_nan=False))

    return computed(config, step, work, together=False)


def evaluate_fss_run(config: Config, folder: Path, elsewhere: Config | None = None) -> dict[str, Any]:
    """Score the FSS model of a run again, in the form of ``scores.json``.

    Args:
        config: of the run; its shots and ``experiment.fss`` say what an episode is and how many there are.
        folder: of the run.
        elsewhere: the same with another data set, to score every class that its validation pictures show; None scores
            the novel classes of the run's own.

    Raises:
        InputError: the run holds no FSS model, or there are too few pictures.
    """
    checkpoint = folder / "checkpoints" / "fss"
    if not checkpoint.exists():
        raise InputError(f"{folder} holds no FSS model: train one with syn4seg train --protocol fss")
    experiment = config.experiment
    told: dict[str, Any] = {"dataset": split_of(elsewhere or config).dataset}
    told |= {k: getattr(experiment, k) for k in ("fold", "shots", "seed")}
    told |= {"protocol": "fss", "model": experiment.model.name, "chosen": experiment.fss.choose}
    if elsewhere:
        told |= {"trained_on": split_of(config).dataset, "model": f"{told['model']} of {split_of(config).dataset}"}
    there = elsewhere or config
    data = prepare_data(there, ("validation",))
    return {**told, "fss": _scores(there, data, checkpoint, experiment.shots, every=bool(elsewhere))}


def _scores(config: Config, data: DataSets, folder: Path, shots: int, *, every: bool = False) -> dict[str, Any]:
    from fss_models.evaluate_fss import evaluate_fss
    from fss_models.fss import FssNetwork

    pictures = labelled(config, validation_of(data))
    settings, classes = config.experiment.fss, classes_of_scores(config, data, every=every)
    backbone = wiring.load_backbone(wiring.backbone_path(config.experiment.model.backbone), settings.stride)
    return evaluate_fss(
        FssNetwork.load(folder, backbone).to(wiring.device_of(config)), pictures, split_of(config), shots=shots,
        episodes=settings.episodes, seeds=range(settings.seeds), resolution=settings.resolution, side=settings.side,
        classes=tuple(classes.values()), min_pixels=settings.min_pixels, multiscale=settings.multiscale,
        progress=lambda done, total: tell("scores", "fss", done / total),
    )  # fmt: skip
