"""Live progress: a bar a stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[str, str, float], None]
"""Takes stage, shard and the fraction of the shard that is done, 0..1."""

_report: Report | None = None


def set_reporter(report: Report | None) -> None:
    """Say where `tell` sends what it hears in this process."""
    global _report
    _report = report


def tell(stage: str, shard: str, done: float) -> None:
    """Tell how far a shard is; does nothing where nobody listens."""
    if _report:
        _report(stage, shard, done)


class Board:
    """Shows how far every stage is; use it by ``with``.

    Args:
        totals: stage -> number of shards, in the order in which they are shown.
        console: where to show it.
    """

    def __init__(self, totals: Mapping[str, int], console: Console) -> None:
        self._totals = totals
        self._console = console
        self._done: dict[str, dict[str, float]] = {stage: {} for stage in totals}
        self._told: dict[str, float] = {}
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._live = Progress(
            TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._bars = {s: self._live.add_task(s, total=n, start=False) for s, n in totals.items()}

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.stop()

    def show(self, stage: str, shard: str, done: float) -> None:
        """Note the fraction of a shard that is done; may be called by any thread."""
        with self._lock:
            shards = self._done.setdefault(stage, {})
            shards[shard] = max(done, shards.get(shard, 0.0))
            together = sum(shards.values())
            if stage in self._bars:
                self._live.start_task(self._bars[stage])
                self._live.update(self._bars[stage], completed=round(together, 2))
            if not self._console.is_terminal:
                self._line(stage, together, self._totals.get(stage, len(shards)))

    def _line(self, stage: str, done: float, total: int) -> None:
        """Print one line for each quarter of a stage."""
        quarter = int(4 * done / max(total, 1) + 1e-6)
        if quarter > self._told.get(stage, 0):
            self._told[stage] = quarter
            seconds = time.monotonic() - self._start
            self._console.print(f"{seconds:6.0f} s  {stage:<10} {min(100, 25 * quarter):3d} %", highlight=False)
