"""Thin Prefect tasks: they hand the work of a shard to the workers and give back its record. Prefect's cache is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from flows import banks, learning, stages
from flows.workers import Workers
from pipeline.errors import OutOfMemory
from pipeline.store import StageRecord

P = ParamSpec("P")
T = TypeVar("T")

_workers: Workers | None = None


def use_workers(workers: Workers | None) -> None:
    """Say which processes the tasks of this process work with; None: they compute in their own thread."""
    global _workers
    _workers = workers


def _as_task(work: Callable[P, T], name: str) -> Task[..., T]:
    def hand_over(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _workers:
            return work(*args, **kwargs)
        try:
            return _workers.run(work, *args, **kwargs)
        except OutOfMemory as error:
            _workers.short[str(task_run.name)] = error
            raise

    hand_over.__doc__ = work.__doc__
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)(hand_over)


write_prompts = _as_task(banks.write_prompts, "prompts")
write_more_prompts = _as_task(banks.write_more_prompts, "prompts")
write_agreement = _as_task(stages.write_agreement, "agreement")
draw_images = _as_task(stages.draw_images, "images")
train_teacher = _as_task(learning.train_teacher_stage, "teacher")
annotate = _as_task(stages.annotate_shard, "annotate")
filter_and_relabel = _as_task(stages.filter_and_relabel_shard, "filter and relabel")
refine = _as_task(stages.refine_shard, "refine")
assemble = _as_task(stages.assemble_dataset, "dataset")
train_start = _as_task(learning.train_start_stage, "start")
label_hidden = _as_task(learning.label_hidden_stage, "hidden")
train_final = _as_task(learning.train_final_stage, "train")
score = _as_task(learning.score_stage, "scores")


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def write_report(finish: Callable[[list[StageRecord]], Path], records: list[StageRecord]) -> Path:
    """Write the run's folder; a task, so that Prefect's pages show it and its artifacts."""
    return finish(records)
