"""Live progress: a bar a stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

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


LossReport = Callable[[str, int, int, Mapping[str, float]], None]
"""Takes stage, step, total and the losses and scores of the step."""

_report_losses: LossReport | None = None


def set_loss_reporter(report: LossReport | None) -> None:
    """Say where `tell_losses` sends what it hears in this process."""
    global _report_losses
    _report_losses = report


def tell_losses(stage: str, step: int, total: int, losses: Mapping[str, float]) -> None:
    """Tell what a step of a training gave; does nothing where nobody listens."""
    if _report_losses:
        _report_losses(stage, step, total, losses)


class LossTable:
    """A table of a training's losses and mIoU, live on a terminal, lines elsewhere; use it by ``with``.

    Args:
        console: where to show it.
        rows: how many rows a training has; each is the mean over as many steps.
    """

    def __init__(self, console: Console, rows: int = 10) -> None:
        self._console, self._rows = console, rows
        self._seen: list[Mapping[str, float]] = []
        self._lines: list[tuple[str, int, int, dict[str, float]]] = []
        self._start = time.monotonic()
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> LossTable:
        set_loss_reporter(self.show)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        set_loss_reporter(None)
        if self._live:
            self._live.stop()

    def show(self, stage: str, step: int, total: int, losses: Mapping[str, float]) -> None:
        """Note a step; a row is added after each tenth of the training, and where a score was measured."""
        self._seen.append(losses)
        if step % max(total // self._rows, 1) and step != total and "miou" not in losses:
            return
        means = {k: sum(row[k] for row in self._seen if k in row) / sum(k in row for row in self._seen)
                 for k in dict.fromkeys(k for row in self._seen for k in row)}  # fmt: skip
        self._seen = []
        self._lines.append((stage, step, total, means))
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            told = "  ".join(f"{k} {v:.4f}" for k, v in means.items())
            seconds = time.monotonic() - self._start
            self._console.print(f"{seconds:6.0f} s  {stage} {step}/{total}  {told}", highlight=False)

    def _table(self) -> Table:
        heads = list(dict.fromkeys(k for _, _, _, means in self._lines for k in means))
        table = Table("", "step", *heads, box=None)
        for stage, step, total, means in self._lines[-2 * self._rows :]:
            table.add_row(stage, f"{step}/{total}", *(f"{means[k]:.4f}" if k in means else "" for k in heads))
        return table


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

    def fraction(self, stage: str) -> float:
        """Give how much of a stage is done, 0..1."""
        with self._lock:
            shards = self._done.get(stage, {})
            return min(1.0, sum(shards.values()) / max(self._totals.get(stage, len(shards)), 1))

    def _line(self, stage: str, done: float, total: int) -> None:
        """Print one line for each quarter of a stage."""
        quarter = int(4 * done / max(total, 1) + 1e-6)
        if quarter > self._told.get(stage, 0):
            self._told[stage] = quarter
            seconds = time.monotonic() - self._start
            self._console.print(f"{seconds:6.0f} s  {stage:<10} {min(100, 25 * quarter):3d} %", highlight=False)
