"""What `syn4seg check` looks at: devices, weights, data, disk, versions, prompts; or only what needs none of these."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from typing import Any

from flows.asking import check_agent
from flows.data import check_data, find_data, note_on_lists
from flows.devices import check_device, deal, shared_gpus
from flows.generators import tell_generator
from flows.needs import looks_without_weights, needs_sam, words
from flows.plan import make_plan
from flows.run import check_writable
from flows.weights import resolve
from flows.workers import count_workers, on_cluster
from pipeline.config import Config
from pipeline.errors import InputError

_LIBRARIES = ("torch", "diffusers", "transformers", "segment-anything", "prefect", "fastapi", "sqlalchemy", "numpy")


def inspect(config: Config, *, weights: bool = True) -> list[dict[str, Any]]:
    """Give one row a finding: what, found (or what to do), and whether it is as it should be.

    Args:
        config: to look at.
        weights: whether weights and data sets have to be on this machine; else what would be needed is told.
    """
    if not weights:
        return [_row(what, look) for what, look in looks_without_weights(config).items()]
    experiment = config.experiment
    looks: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "libraries": lambda: ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES),
        "device": lambda: _device(config),
        "workers": lambda: _workers(config),
        "generator": lambda: resolve(experiment.generate.model, "generator"),
        "generator options": lambda: tell_generator(config),
        "teacher's backbone": lambda: resolve(experiment.teacher.backbone, "backbone"),
        "final backbone": lambda: resolve(experiment.model.backbone, "backbone"),
        "SAM": lambda: _sam(config),
        "data": lambda: _data(config),
        "prompt agent": lambda: check_agent(config),
        "prompt words": lambda: words(config),
        "output folder": lambda: _disk(config),
    }
    rows: list[dict[str, Any]] = []
    for what, look in looks.items():
        rows.append(_row(what, look))
        if what == "data" and (wrong := check_data(config)):
            rows[-1:] = [{"what": what, "found": sentence, "ok": False} for sentence in wrong]
    return rows


def _row(what: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"what": what, "found": look(), "ok": True}
    except (InputError, importlib.metadata.PackageNotFoundError) as error:
        return {"what": what, "found": str(error), "ok": False}


def _device(config: Config) -> str:
    import torch

    check_device(config.execution.device)
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "CPU only"


def _workers(config: Config) -> str:
    count, runner = count_workers(config), config.execution.runner
    told = f"{count}, {config.execution.threads} threads each"
    if on_cluster(config):
        what = "actors" if runner == "ray" else "tasks of prefect-ray"
        return f"{told}, {what} on the Ray cluster {config.execution.address or 'of this machine'}"
    gpus = deal(shared_gpus(config), count) if count > 1 or runner == "prefect" else []
    whose = ", Prefect's processes" if runner == "prefect" else ""
    return f"{told}{whose}, {os.cpu_count()} CPUs" + (f", in turns on the GPUs {', '.join(gpus)}" if gpus else "")


def _data(config: Config) -> str:
    data = find_data(config)
    if data is None:
        return "will be drawn (picto) or indexed (annotations) by the first run"
    counts = ", ".join(f"{len(folder.pictures.ids)} {purpose}" for purpose, folder in data.items())
    note = note_on_lists(config)
    return f"{counts}; {note}" if note else counts


def _sam(config: Config) -> str:
    if not config.experiment.refine.enabled:
        return "none: experiment.refine.enabled is off"
    resolve(config.experiment.refine.model, "sam")
    return needs_sam(config)


def _disk(config: Config) -> str:
    output = config.execution.folder
    check_writable(config)
    free = shutil.disk_usage(output).free
    try:
        needed = sum(stage.bytes for stage in make_plan(config, quick=True).stages.values())
    except InputError as error:
        raise InputError(f"{output}, {free / 1e9:.1f} GB free; what is needed cannot be planned: {error}") from error
    if needed > free:
        raise InputError(f"{output} has {free / 1e9:.1f} GB free, the run needs about {needed / 1e9:.1f} GB: make room")
    return f"{output}, {free / 1e9:.1f} GB free, the run needs about {needed / 1e9:.2f} GB"
