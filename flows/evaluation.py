"""Scores the models of a finished run again, from its own checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows import wiring
from flows.data import prepare_data, split_of
from flows.settings import load_config


def evaluate_run(folder: Path) -> dict[str, Any]:
    """Give the scores of every model in a run's checkpoints, in the form of ``scores.json``."""
    from fss_models.data import VocFolder
    from fss_models.evaluate import evaluate_gfss

    config = load_config(str(folder / "experiment.yaml"))
    experiment, split = config.experiment, split_of(config)
    validation = prepare_data(config)["validation"]
    pictures = VocFolder(validation.root, split, validation.subset)
    backbones = {"teacher": experiment.teacher.backbone, "before": experiment.model.backbone}
    scores: dict[str, Any] = {k: getattr(experiment, k) for k in ("dataset", "fold", "shots", "seed")}
    for name in ("teacher", "before", "after"):
        checkpoint = folder / "checkpoints" / name
        if checkpoint.exists():
            backbone = wiring.backbone_path(backbones.get(name, experiment.model.backbone))
            model = wiring.load_model(checkpoint, backbone, wiring.device_of(config))
            scores[name] = evaluate_gfss(model, pictures, split)
    return scores
