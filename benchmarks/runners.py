"""Shards handed out by our pool of processes, against Prefect's ProcessPoolTaskRunner; they compute nothing.

    python -m benchmarks.runners --shards 100

Both run two flows, as a run has one a stage, of one task a shard. Each process that computes would load the models.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Goal, Stopwatch, apart, command
from flows.server import Server, set_prefect_env

FLOWS = 2


@dataclass(frozen=True)
class Size:
    """How much is handed out."""

    shards: int = 100
    workers: int = 2


def which_process(shard: int) -> int:
    """Stand for a shard: give the number of the process that computes it."""
    return os.getpid()


def measured(size: Size, ours: bool) -> tuple[float, int]:
    """Give the seconds of both flows, and the number of processes that computed."""
    with tempfile.TemporaryDirectory() as folder:
        set_prefect_env(Path(folder))
        with Server(Path(folder)) as server:
            url = server.wait()
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: url} if url else {}):
                return (_ours if ours else _prefects)(size)


def _ours(size: Size) -> tuple[float, int]:
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.processes import Processes
    from flows.workers import Workers

    watch = Stopwatch()
    with watch, Workers(size.workers, 1, _unheard, lambda report: Processes(size.workers, 1, (), report)) as workers:
        seen = _flows(size, lambda shard: workers.run(which_process, shard),
                      lambda: ThreadPoolTaskRunner(max_workers=size.workers))  # fmt: skip
    return watch.wall, len(seen)


def _prefects(size: Size) -> tuple[float, int]:
    from prefect.task_runners import ProcessPoolTaskRunner

    watch = Stopwatch()
    with watch:
        seen = _flows(size, which_process, lambda: ProcessPoolTaskRunner(max_workers=size.workers))
    return watch.wall, len(seen)


def _flows(size: Size, work: Callable[[int], int], runner: Callable[[], Any]) -> set[int]:
    """Run the flows one after the other; give the processes that computed."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    shard_task = task(name="shard", cache_policy=NO_CACHE, persist_result=False)(work)

    def stage() -> list[int]:
        futures = [shard_task.submit(shard) for shard in range(size.shards)]
        return [future.result() for future in futures]

    seen = set()
    for _ in range(FLOWS):
        seen |= set(flow(name="stage", task_runner=runner(), persist_result=False)(stage)())
    return seen


def _unheard(*_: object) -> None:
    """Take progress that nobody asks for."""


def measure(size: Size) -> list[Figure]:
    """Run the flows with our pool, then with Prefect's, each in a process of its own."""
    (ours, here), (theirs, there) = (apart(measured, size, which) for which in (True, False))
    return [Figure(
        "runners", f"{FLOWS} flows of {size.shards} shards by our pool", "Prefect's ProcessPoolTaskRunner",
        ours, theirs, "s", Goal("most", 1.0), {"processes, ours": here, "processes, Prefect's": there},
    )]  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
