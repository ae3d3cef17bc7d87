"""Scores the models of a finished run again, from its own checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows import wiring
from flows.data import labelled, prepare_data, split_of, store_of, validation_of
from flows.learning import match_prototypes_stage
from flows.settings import load_config


def evaluate_run(folder: Path, *, matching: bool = False) -> dict[str, Any]:
    """Give the scores of every model in a run's checkpoints, in the form of ``scores.json``.

    Args:
        folder: of the run.
        matching: also score plain prototype matching, under "matching"; its base learner is trained where it is not
            in the store yet.
    """
    from fss_models.evaluate import evaluate_gfss

    config = load_config(str(folder / "experiment.yaml"))
    experiment, split = config.experiment, split_of(config)
    pictures = labelled(config, validation_of(prepare_data(config)))
    backbones = {"teacher": experiment.teacher.backbone, "before": experiment.model.backbone}
    scores: dict[str, Any] = {"dataset": split.dataset}
    scores |= {k: getattr(experiment, k) for k in ("fold", "shots", "seed")}
    for name in ("teacher", "before", "after"):
        checkpoint = folder / "checkpoints" / name
        if checkpoint.exists():
            backbone = wiring.backbone_path(backbones.get(name, experiment.model.backbone))
            model = wiring.load_model(checkpoint, backbone, wiring.device_of(config))
            scores[name] = evaluate_gfss(model, pictures, split)
    if matching:
        record = match_prototypes_stage(config, prepare_data(config))
        scores["matching"] = json.loads((store_of(config).folder(record) / "scores.json").read_text())
    return scores
