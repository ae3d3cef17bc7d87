"""A chart of the ladder a number of shots, and one of every sweep, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flows.ablation.rungs import RUNGS, SWEEPS
from flows.charts import BAR, POINT, WITH, WITHOUT, finished, write_figure

_LINES = {"novel_miou": (WITH, "novel"), "harmonic_miou": (BAR, "harmonic"), "base_miou": (WITHOUT, "base")}


def draw_ablation(folder: Path, rows: Sequence[Mapping[str, Any]], dataset: str) -> list[Path]:
    """Draw the rows of a summary, see `summary.summarise`; equal rows give equal bytes.

    Returns:
        ``DATASET-ladder-Kshot.svg`` and ``DATASET-sweep-NAME.svg`` in the folder.
    """
    charts = []
    for shots in sorted({row["shots"] for row in rows}):
        if ladder := [row for row in rows if row["shots"] == shots and row["rung"] in RUNGS]:
            figure = _ladder(ladder, f"{dataset}, {shots}-shot")
            charts.append(write_figure(figure, folder / f"{dataset}-ladder-{shots}shot.svg"))
    for name in SWEEPS:
        if swept := [row for row in rows if str(row["rung"]).startswith(f"{name}=")]:
            figure = _sweep(swept, f"{dataset}, {SWEEPS[name][0].removeprefix('experiment.')}")
            charts.append(write_figure(figure, folder / f"{dataset}-sweep-{name}.svg"))
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


def _sweep(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    values = [float(str(row["rung"]).partition("=")[2]) for row in rows]
    order = sorted(range(len(rows)), key=values.__getitem__)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    x = [values[i] for i in order]
    for key, (colour, name) in _LINES.items():
        axes.plot(x, [100 * rows[i][key]["mean"] for i in order], "o-", color=colour, label=name)
    if all("labels" in row for row in rows):
        axes.plot(x, [100 * rows[i]["labels"]["iou"] for i in order], "x:", color=POINT, label="IoU of the labels")
    axes.set_xticks(x)
    axes.set_ylabel("mIoU in %")
    axes.legend(fontsize=8)
    return finished(figure, title)
