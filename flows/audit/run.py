"""The audit of a config: trains the teacher where needed, judges class by class, writes the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows import wiring
from flows.audit.chain import STAGES
from flows.audit.grid import KEYS, Grid, Setting
from flows.audit.guides import train_guide
from flows.audit.items import Items, choose_items
from flows.audit.page import write_page
from flows.audit.scores import mean_measures, rows_of
from flows.audit.shards import Shard, judged_shard
from flows.audit.suggestion import Suggestion, Swept, halves
from flows.data import split_of
from flows.devices import check_device
from flows.progress import tell
from flows.run import check_own, check_writable
from pipeline.config import Config
from pipeline.store import StageRecord


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        told: everything as JSON values, see `audit`.
        page: ``outputs/audits/<date>-<name>/index.html``.
    """

    told: dict[str, Any]
    page: Path


def audit(config: Config, name: str, per_class: int, grid: Grid | None = None) -> Audit:
    """Judge every labelling stage by class; with a grid also every setting of it, and suggest one.

    Args:
        config: of the teacher and the stages.
        name: ends the folder's name.
        per_class: how many labelled pictures of a class at most.
        grid: settings to try, or None.

    Returns:
        ``told`` has dataset, fold, shots, seed; ``pictures``, class -> how many; ``reported``, how many of them scores
        are reported on too; ``rows``, see `scores.rows_of`; and ``sweep`` where there was one, see `_sweep_told`.

    Raises:
        InputError: there are no labelled pictures of novel classes, too few for a sweep, or a model is missing.
    """
    _check(config)
    items = choose_items(config, per_class)
    if grid is not None:
        places = [(class_, items.picture(place)) for class_, found in items.places.items() for place in found]
        halves([class_ for class_, _ in places], [picture for _, picture in places])
    shards = _judged(config, items, grid, train_guide(config))
    told, best = sum_up(config, shards, items.reported, grid)
    return Audit(told, write_page(config, name, told, shards, best))


def judged_rows(config: Config, per_class: int, labeller: StageRecord | None = None) -> list[dict[str, Any]]:
    """Judge every labelling stage and give `scores.rows_of` alone, without a page; arguments and errors as `audit`.

    ``labeller`` makes the first labels: the final model of a first round; None: the teacher, which is trained.
    """
    _check(config)
    shards = _judged(config, choose_items(config, per_class), None, labeller or train_guide(config))
    return rows_of(STAGES, {class_: shard.counts for class_, shard in shards.items()})


def _check(config: Config) -> None:
    check_device(config.execution.device)
    check_own(config)
    check_writable(config)
    if config.experiment.refine.enabled:
        wiring.refiner_place(config)


def _judged(config: Config, items: Items, grid: Grid | None, teacher: StageRecord) -> dict[str, Shard]:
    shards = {}
    for class_ in items.places:
        shards[class_] = judged_shard(config, teacher, items, class_, grid)
        tell("audit", class_, 1.0)
    return shards


def sum_up(
    config: Config, shards: Mapping[str, Shard], reported: int, grid: Grid | None
) -> tuple[dict[str, Any], int | None]:
    """Give what an audit tells, see `audit`, and the place of the suggested setting in the grid, if there is one."""
    experiment = config.experiment
    told: dict[str, Any] = {
        "dataset": split_of(config).dataset, "fold": experiment.fold, "shots": experiment.shots,
        "seed": experiment.seed, "pictures": {class_: len(shard.items) for class_, shard in shards.items()},
        "reported": reported,
        "rows": rows_of(STAGES, {class_: shard.counts for class_, shard in shards.items()}),
    }  # fmt: skip
    if grid is None:
        return told, None
    swept = _swept(grid, shards)
    found = swept.suggest(experiment.seed)
    return {**told, "sweep": _sweep_told(swept, found)}, grid.settings.index(found.setting)


def _swept(grid: Grid, shards: Mapping[str, Shard]) -> Swept:
    return Swept(
        grid, np.concatenate([shard.swept for shard in shards.values()]),
        [name for name, shard in shards.items() for _ in shard.items],
        [row["picture"] for shard in shards.values() for row in shard.items],
    )  # fmt: skip


def _sweep_told(swept: Swept, found: Suggestion) -> dict[str, Any]:
    """Tell of a sweep: axes, every setting's mean IoU on both halves, the current, the suggested and their difference.

    A setting's IoU stands in ``chosen`` and ``confirmed`` at its place among all combinations, the last axis fastest.
    """
    grid, (first, second) = swept.grid, halves(swept.classes, swept.pictures)
    return {
        "axes": {key: list(axis) for key, axis in zip(KEYS, grid.axes, strict=True)},
        "chosen": swept.iou(first).round(6).tolist(), "confirmed": swept.iou(second).round(6).tolist(),
        "halves": list(found.pictures),
        "current": _setting_told(swept, grid.current, second), "suggested": _setting_told(swept, found.setting, second),
        "difference": found.difference, "interval": list(found.interval), "clear": found.clear,
        "same": found.setting == grid.current, "edge": grid.edges(found.setting),
        "chosen_on": dict(zip(("suggested", "current"), found.chosen_on, strict=True)),
        "confirmed_on": dict(zip(("suggested", "current"), found.confirmed_on, strict=True)),
        "set": grid.overrides(found.setting),
    }  # fmt: skip


def _setting_told(swept: Swept, setting: Setting, half: np.ndarray) -> dict[str, Any]:
    """Give a setting's values, and the mean over classes of all measures of its final labels on the second half."""
    counts, names = swept.counts[:, swept.grid.settings.index(setting)], np.array(swept.classes)
    by_class = [counts[half & (names == name)] for name in dict.fromkeys(swept.classes)]
    return {"setting": dict(zip(KEYS, setting, strict=True)), **mean_measures(by_class)}
