"""A preview: the first pictures of every class, labelled, and from what they took an estimate of the whole run.

The prompts are the whole run's and so is the teacher; the pictures are the first ones of its orders. What a preview
computes the run therefore finds again: prompts, teacher, and every shard that is full. A last shard with fewer than
`SHARD` pictures has other orders than the run's and is drawn once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console

from flows import steps
from flows.data import find_data, scored_places, store_of
from flows.plan import StagePlan, make_plan
from flows.rounds import waiting_prompts
from flows.run import check_name, compute, settled
from flows.runs import LABELLING, write_run
from flows.steps import SHARD
from flows.wiring import device_of
from flows.workers import count_workers
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.store import StageRecord

LAST = "refine"
"""The stage that a preview ends with."""


def run_preview(config: Config, name: str, pictures: int, console: Console) -> tuple[Path, dict[str, Any]]:
    """Draw and label the first pictures of every class, write a run's folder, and estimate the whole run.

    Args:
        config: of the whole run.
        name: the folder's name ends with it and ``-preview``.
        pictures: how many a class.
        console: shows the progress.

    Returns:
        The folder, which ``runs/latest`` never names, and the estimate, see `estimate`.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    check_name(name)
    if not config.experiment.generate.enabled:
        raise InputError("--preview draws pictures, but experiment.generate.enabled is false: set it to true")
    config = settled(config)
    records = compute(config, LAST, console, f"{name}-preview", pictures=pictures).records
    found = estimate(config, records)
    return write_run(config, f"{name}-preview", records, {"pictures": pictures, **found}), found


def estimate(config: Config, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Estimate what the whole run has left to do.

    Stages on pictures take what a picture of the preview took; a final training what earlier ones with these settings
    took, or as much a step as the teacher; a score half a first label a validation picture, since first labels look
    twice; the rest is the plan's.

    Args:
        config: of the whole run.
        records: of the preview's shards.

    Returns:
        ``drawn``, ``reused`` and ``wanted`` pictures; ``stages``: a row a stage with ``total`` and ``left`` shards,
        ``seconds``, ``bytes`` and where they are from; their sums ``seconds`` and ``bytes``; ``workers`` that share the
        seconds; ``gpu_hours``, None without a GPU.
    """
    mine: dict[str, list[StageRecord]] = {}
    for record in records:
        mine.setdefault(record.stage, []).append(record)
    orders = [steps.images_steps(config, bank) for bank in mine["prompts"]]
    first = sum(len(part) for bank in orders for _, part in bank)
    wanted = first + waiting_prompts(config) * steps.copies_of(config) * len(orders)
    each = first / max(sum(map(len, orders)), 1)
    places = {record.place for record in mine["images"]}
    store = store_of(config)
    there = [(store.find(s.stage, s.shard, s.recipe), len(part)) for bank in orders for s, part in bank]
    rows = [_row(config, stage, mine, wanted, each) for stage in make_plan(config, quick=True).stages.values()]
    seconds = sum(row["seconds"] for row in rows)
    return {
        "drawn": sum(r.counts["samples"] for r in mine["images"]), "wanted": wanted,
        "reused": sum(count for record, count in there if record and record.place in places),
        "stages": rows, "seconds": round(seconds, 1), "bytes": sum(row["bytes"] for row in rows),
        "workers": count_workers(config),
        "gpu_hours": round(seconds / 3600, 3) if device_of(config).startswith("cuda") else None,
    }  # fmt: skip


def told(found: Mapping[str, Any]) -> str:
    """Say which pictures of a preview the whole run will find again."""
    again = f"the run will find {found['reused']} of the {found['drawn']} pictures again"
    if found["reused"] == found["drawn"]:
        return again
    return f"{again}, and all of them where --preview is a multiple of {SHARD}, which is a shard"


def _row(
    config: Config, plan: StagePlan, mine: Mapping[str, Sequence[StageRecord]], wanted: int, each: float
) -> dict[str, Any]:
    """Give the row of a stage; ``each``: pictures a shard."""
    stage, left = plan.stage, plan.total - plan.reuse
    seconds, size, basis = plan.seconds, float(plan.bytes), "the plan"
    kept = sum(r.counts["kept"] for r in mine[LAST]) / max(_pictures(mine[LAST]), 1)
    if stage in ("images", *LABELLING):
        pictures = left * each
        seconds, size = pictures * _seconds(mine[stage]), pictures * _bytes(mine[stage])
        basis = f"{_pictures(mine[stage])} pictures of the preview"
    elif stage == "dataset":
        basis = "the plan, bytes of the preview"
        size = left * wanted * kept * (_bytes(mine["images"]) + 2 * _bytes(mine[LAST]))
    elif stage == "train":
        (teacher,) = mine["teacher"]
        train = config.experiment.train
        steps_of_teacher = train.base_steps + train.base_steps // 3  # the second part adapts to the supports
        seconds, basis = left * teacher.seconds * train.final_steps / steps_of_teacher, "a step of the teacher"
        if before := _earlier_trainings(config, teacher):
            seconds, basis = left * mean(before), f"{len(before)} earlier trainings with these settings"
        size = float(left * sum(teacher.files.values()))
    elif stage == "scores" and left:
        scored = len(scored_places(config)) if "validation" in (find_data(config) or {}) else 0
        seconds, basis = left * scored * _seconds(mine["annotate"]) / 2, "half a first label a validation picture"
    if not left:
        seconds, size, basis = 0.0, 0.0, "finished"
    return {"stage": stage, "total": plan.total, "left": left, "seconds": round(seconds, 1), "bytes": int(size),
            "from": basis}  # fmt: skip


def _earlier_trainings(config: Config, teacher: StageRecord) -> list[float]:
    """Give the seconds of the final trainings in the store that had the same backbone, network, steps and batches."""
    recipe = steps.train_step(config, find_data(config) or {}, teacher, None).recipe
    return [
        record.seconds for record in store_of(config).records()
        if record.stage == "train" and record.recipe["weights"] == recipe["weights"]
        and recipe["settings"].items() <= record.recipe["settings"].items()
    ]  # fmt: skip


def _pictures(records: Sequence[StageRecord]) -> int:
    return sum(record.counts["samples"] for record in records)


def _seconds(records: Sequence[StageRecord]) -> float:
    """Give the median over the shards of their seconds a picture: the first shard of a process also loads models."""
    return median(record.seconds / record.counts["samples"] for record in records)


def _bytes(records: Sequence[StageRecord]) -> float:
    """Give the mean bytes a picture."""
    return sum(sum(record.files.values()) for record in records) / max(_pictures(records), 1)
