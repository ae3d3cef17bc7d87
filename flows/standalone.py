"""Models on their own, outside the chain: trained under a protocol, on further pictures, and scored again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import wiring
from flows.data import find_data, prepare_data, split_of, store_of
from flows.fss import evaluate_fss_run, run_fss
from flows.learning import evaluate_model, match_prototypes_stage, score_stage, train_final_stage
from flows.plan import make_plan
from flows.progress import Board, LossTable, set_reporter
from flows.run import run
from flows.runs import find_run, load_run, write_run
from pipeline.config import Config
from pipeline.datasets import DataFolder
from pipeline.errors import InputError, listed


def train_alone(config: Config, name: str, protocol: str, data: str | None, console: Console) -> Path:
    """Train and score a model without the chain's synthesis, and give the run's folder.

    Args:
        config: of the run, with synthesis switched off.
        name: of the run's folder.
        protocol: fss, gfss-diam or gfss-capl.
        data: a finished run or a folder in VOC layout, whose pictures the final model trains on too; None for none.
        console: shows the progress.

    Raises:
        InputError: something that the user can mend.
    """
    if protocol == "fss":
        if data:
            raise InputError(
                "--data goes with gfss-diam and gfss-capl: fss trains on base classes alone, and these pictures show "
                "novel ones"
            )
        return run_fss(config, name, console)
    if data is None:
        folder, _ = run(config, name, "scores", console)
        assert folder
        return folder
    extra = find_extra(config, data)
    run(config, name, "train", console)
    plan, real = make_plan(config, "train"), find_data(config)
    assert real
    made = {r.stage: r for r in plan.records}  # without synthesis these stages have one shard each
    teacher, before = made["teacher"], made["train"]
    with Board({"train": 1, "scores": 3}, console) as board, LossTable(console):
        set_reporter(board.show)
        after = train_final_stage(config, real, made.get("start", teacher), extra)
        models = {"teacher": teacher, "before": before, "after": after}
        scores = [score_stage(config, real, model, which) for which, model in models.items()]
        set_reporter(None)
    return write_run(config, name, [*plan.records, after, *scores])


def find_extra(config: Config, data: str) -> DataFolder:
    """Give the pictures of a finished run, or of a folder in VOC layout with dataset ids.

    Raises:
        InputError: neither of them, a run of another data set or fold or with other supports (shots, seed, protocol),
            or a folder with several lists.
    """
    folder = Path(data)
    lists = sorted((folder / "ImageSets" / "Segmentation").glob("*.txt"))
    if lists:
        names = [path.stem for path in lists]
        if "train" not in names and len(names) > 1:
            raise InputError(f"{folder} has the lists {', '.join(names)}: expected train, or only one")
        return DataFolder(folder, "train" if "train" in names else names[0])
    try:
        found = find_run(config.execution.folder, data)
    except InputError as error:
        if not folder.is_dir():
            raise
        wanted = "expected ImageSets/Segmentation/<list>.txt"
        raise InputError(f"{folder} is neither a run nor in VOC layout: {wanted}") from error
    theirs, ours = load_run(found).experiment, config.experiment
    if (theirs.dataset, theirs.fold) != (ours.dataset, ours.fold):
        raise InputError(
            f"{found.name} is a run of {theirs.dataset} fold {theirs.fold}, this is {ours.dataset} fold {ours.fold}: "
            f"its pictures show other classes; add --set experiment.fold={theirs.fold} or choose another run"
        )
    wrong = []
    for key in ("shots", "seed", "protocol"):
        its, own = getattr(theirs, key), getattr(ours, key)
        if its != own:
            add = f"--protocol {its}" if key == "protocol" else f"--set experiment.{key}={its}"
            wrong.append(
                f"{found.name} is a run with {key} {its}, this has {own}: its pictures were made from other supports, "
                f"which may be scored here; add {add} or choose another run"
            )
    if wrong:
        raise InputError(listed(wrong))
    if not (found / "dataset").exists():
        raise InputError(f"{found.name} made no synthetic pictures: choose a run of the whole chain")
    return DataFolder(found / "dataset", "train")


def evaluate_alone(
    folder: Path, protocol: str | None, model: str | None, overrides: Sequence[str], *, shots: int | None = None,
    dataset: str | None = None, matching: bool = False,
) -> dict[str, Any]:
    """Score every model of a run again, from its own checkpoints, in the form of ``scores.json``.

    Args:
        folder: of the run.
        protocol: fss, gfss-diam or gfss-capl; None takes that of the run.
        model: its name; None takes that of the run.
        overrides: ``key=value`` of what is to be different in ``execution`` and ``experiment.fss``.
        shots: supports an episode of fss; None takes those of training.
        dataset: of fss, another data set to score on, all its classes; None takes the run's own.
        matching: of GFSS, also score plain prototype matching; its base learner is trained where it is not in the
            store yet.

    Raises:
        InputError: the run is of another protocol or model, or an option does not go with it.
    """
    for override in overrides:
        if not override.strip().startswith(("execution.", "experiment.fss.", "experiment.expected_iou=")):
            raise InputError(
                f"--set {override}: a finished run can only be scored with another execution.KEY, experiment.fss.KEY "
                "or experiment.expected_iou"
            )
    config = load_run(folder, overrides)
    experiment = config.experiment
    own = "fss" if (folder / "checkpoints" / "fss").exists() else experiment.protocol
    if protocol not in (None, own):
        raise InputError(
            f"{folder.name} was trained under {own}, whose base pictures and supports are others than those of "
            f"{protocol}: syn4seg train --protocol {protocol}"
        )
    if model not in (None, experiment.model.name):
        raise InputError(f"{folder.name} holds {experiment.model.name}, not {model}: syn4seg train --model {model}")
    if own == "fss":
        if matching:
            raise InputError("--matching goes with GFSS runs: of fss, syn4seg train --protocol fss --model matching")
        episodes = [*overrides, *([f"experiment.shots={shots}"] if shots else ())]
        config, elsewhere = load_run(folder, episodes), None
        if dataset:
            there = ["experiment.fold=0", "experiment.prompts.classes=[]"]
            elsewhere = load_run(folder, [*episodes, f"experiment.dataset={dataset}", *there])
            if elsewhere.experiment.dataset == experiment.dataset:
                raise InputError(f"{folder.name} was trained on {dataset}: leave --dataset out to score novel classes")
        return evaluate_fss_run(config, folder, elsewhere)
    if shots or dataset or any("experiment.fss." in override for override in overrides):
        raise InputError(
            "--shots, --dataset, --episodes, --seeds, --resolution and --multiscale go with fss, this is a run of "
            f"{own}"
        )
    scores: dict[str, Any] = {"dataset": split_of(config).dataset}
    scores |= {k: getattr(experiment, k) for k in ("fold", "shots", "seed", "protocol")}
    data = prepare_data(config)
    backbones = {"teacher": experiment.teacher.backbone}
    for name in ("teacher", "before", "after"):
        checkpoint = folder / "checkpoints" / name
        if checkpoint.exists():
            backbone = wiring.backbone_path(backbones.get(name, experiment.model.backbone))
            network = wiring.load_model(checkpoint, backbone, wiring.device_of(config))
            scores[name] = evaluate_model(config, data, network)
    if matching:
        record = match_prototypes_stage(config, data)
        scores["matching"] = json.loads((store_of(config).folder(record) / "scores.json").read_text())
    return scores


