"""A chart of the ladder a number of shots, and one of every sweep, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flows.ablation.rungs import RUNGS
from flows.ablation.summary import Sweep, sweeps_of
from flows.charts import BAR, POINT, WITH, WITHOUT, finished, write_figure
from flows.results import slug

_LINES = {"novel_miou": (WITH, "novel"), "harmonic_miou": (BAR, "harmonic"), "base_miou": (WITHOUT, "base")}


def draw_ablation(folder: Path, rows: Sequence[Mapping[str, Any]], dataset: str) -> list[Path]:
    """Draw the rows of a summary, see `summary.summarise`; equal rows give equal bytes.

    Returns:
        ``DATASET-ladder-Kshot.svg`` and ``DATASET-sweep-NAME-Kshot.svg`` in the folder.
    """
    charts = []
    for shots in sorted({row["shots"] for row in rows}):
        if ladder := [row for row in rows if row["shots"] == shots and row["rung"] in RUNGS]:
            figure = _ladder(ladder, f"{dataset}, {shots}-shot")
            charts.append(write_figure(figure, folder / f"{dataset}-ladder-{shots}shot.svg"))
    for sweep in sweeps_of(rows):
        stem = f"{dataset}-sweep-{slug(sweep.name)}" + (f"-{sweep.shots}shot" if sweep.shots else "")
        charts.append(write_figure(_sweep(sweep, f"{dataset}, {sweep.title}"), folder / f"{stem}.svg"))
    return charts


def _ladder(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    figure = Figure(figsize=(7.5, 1.1 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(reversed(rows)):
        novel, harmonic = (100 * row[f]["mean"] for f in ("novel_miou", "harmonic_miou"))
        reach = 100 * (row["novel_miou"]["high"] - row["novel_miou"]["mean"])
        colour = WITHOUT if RUNGS[row["rung"]].part == "before" else WITH if RUNGS[row["rung"]].stage else BAR
        axes.barh(place, novel, height=0.62, color=colour, xerr=reach or None, ecolor=POINT, capsize=3)
        axes.plot([harmonic], [place], "D", color=POINT, markersize=4)
        axes.text(0.6, place, f"{novel:.1f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(rows)), [row["rung"] for row in reversed(rows)])
    axes.set_xlabel("novel mIoU in %\nline: 95 % interval over folds and seeds, diamond: harmonic mIoU")
    return finished(figure, title)


def _sweep(sweep: Sweep, title: str) -> Figure:
    rows, x = sweep.rows, _across(sweep.values)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for key, (colour, name) in _LINES.items():
        axes.plot(x, [100 * row[key]["mean"] for row in rows], "o-", color=colour, label=name)
    if all("labels" in row for row in rows):
        axes.plot(x, [100 * row["labels"]["iou"] for row in rows], "x:", color=POINT, label="IoU of the labels")
    axes.set_xticks(x, sweep.values)
    axes.set_ylabel("mIoU in %")
    axes.legend(fontsize=8)
    return finished(figure, title)


def _across(values: Sequence[str]) -> list[float]:
    """Give where values stand: numbers at their own place, words beside each other."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return [float(place) for place in range(len(values))]
