"""Says which setting to lower where the work on a shard does not fit into the memory."""

from __future__ import annotations

from pipeline.config import Config

_LABELS = "experiment.annotate.batch"
_TRAINING = "experiment.train.batch"
_EPISODES = "experiment.fss.batch"
_BATCHES = {
    "annotate": _LABELS, "filter": _LABELS, "relabel": _LABELS, "agreement": _LABELS, "hidden": _LABELS,
    "teacher": _TRAINING, "start": _TRAINING, "train": _TRAINING, "fss": _EPISODES,
}  # fmt: skip
"""Stage -> the batch that its memory grows with."""


def advice_of(config: Config, stage: str) -> str:
    """Give the sentence for a stage whose work does not fit."""
    batch = 0
    if setting := _BATCHES.get(stage):
        _, part, name = setting.split(".")
        batch = getattr(getattr(config.experiment, part), name)
    lower = f"--set {setting}={batch // 2} (now {batch}) or " if batch > 1 else ""
    return f"out of memory in the stage {stage}: try {lower}--set execution.workers=1"
