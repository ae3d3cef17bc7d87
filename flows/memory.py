"""Says which setting to lower where the work on a shard does not fit into the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.config import Config
from pipeline.errors import InputError, OutOfMemory

T = TypeVar("T")

_LABELS = "experiment.annotate.batch"
_TRAINING = "experiment.train.batch"
_EPISODES = "experiment.fss.batch"
_BATCHES = {
    "annotate": _LABELS, "filter": _LABELS, "relabel": _LABELS, "agreement": _LABELS,
    "teacher": _TRAINING, "start": _TRAINING, "train": _TRAINING, "fss": _EPISODES,
}  # fmt: skip
"""Stage -> the batch that its memory grows with."""


def within_memory(config: Config, stage: str, compute: Callable[[], T]) -> T:
    """Give ``compute()``.

    Raises:
        OutOfMemory: in place of torch's and NumPy's errors, of which there are several.
    """
    try:
        return compute()
    except InputError:
        raise
    except (RuntimeError, MemoryError) as error:
        from pipeline.backends.memory import free_memory, is_short_of_memory

        if not is_short_of_memory(error):
            raise
    free_memory()  # here the error no longer holds the tensors of its traceback
    raise OutOfMemory(f"out of memory in the stage {stage}: {_advice(config, stage)}")


def _advice(config: Config, stage: str) -> str:
    batch = 0
    if setting := _BATCHES.get(stage):
        _, part, name = setting.split(".")
        batch = getattr(getattr(config.experiment, part), name)
    lower = f"--set {setting}={batch // 2} (now {batch}) or " if batch > 1 else ""
    return f"try {lower}--set execution.workers=1"
