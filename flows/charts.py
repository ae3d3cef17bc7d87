"""Charts of scores as SVG, ``python -m flows.charts docs/results``: a bar a model, its folds, its seeds' deviation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from flows.results import NAMES, OWN, read_results, slug
from pipeline.errors import InputError

BAR, POINT, WITHOUT, WITH = "#4c78a8", "#1b1f24", "#8a97a8", "#2f7d4f"
mpl.rcParams.update({"svg.hashsalt": "syn4seg", "svg.fonttype": "none", "font.size": 10})


def draw_charts(folder: Path) -> list[Path]:
    """Draw the scores of a folder, one chart a data set, protocol and number of shots.

    Args:
        folder: of ``*.json`` files, see `flows.results.tables`; gets ``DATASET-PROTOCOL-Kshot.svg``.

    Returns:
        The charts. Equal scores give equal bytes.

    Raises:
        InputError: there are no scores, or one is no scores file.
    """
    found = read_results(folder)
    charts = []
    if found.fss:
        for (dataset, shots), rows in pd.DataFrame(found.fss).groupby(["dataset", "shots"]):
            figure = bars(rows.rename(columns={"miou": "value"}), f"{dataset}, {shots}-shot episodes", "mIoU in %")
            charts.append(write_figure(figure, folder / f"{_file(dataset)}-fss-{shots}shot.svg"))
    if found.gfss:
        for (dataset, protocol, shots), rows in pd.DataFrame(found.gfss).groupby(["dataset", "protocol", "shots"]):
            title = f"{dataset}, {shots}-shot, {protocol}"
            figure = bars(rows.rename(columns={"novel": "value"}), title, "novel mIoU in %")
            charts.append(write_figure(figure, folder / f"{_file(dataset)}-{protocol}-{shots}shot.svg"))
    return charts


def _file(dataset: object) -> str:
    """Give a data set's name as the begin of a file's name; scores may name own classes by their path."""
    return slug(Path(str(dataset)).stem)


def bars(rows: pd.DataFrame, title: str, axis: str) -> Figure:
    """Draw a horizontal bar a model, best first.

    Args:
        rows: with columns model, fold, seed and value (0..1).
        title: of the chart.
        axis: what the values are.

    Returns:
        The chart; a line at a bar's end is the deviation over the seeds of the mean over the folds, where there are
        several seeds.
    """
    percent: Any = rows.assign(value=100 * rows["value"])
    by_fold = percent.groupby(["model", "fold"])["value"].mean()
    means = by_fold.groupby("model").mean().sort_values()
    figure = Figure(figsize=(7.5, 1.1 + 0.36 * len(means)), layout="constrained")
    axes = figure.add_subplot()
    for place, (model, mean) in enumerate(means.items()):
        each = percent[percent["model"] == model].groupby("seed")["value"].mean()
        spread = each.std(ddof=0) if len(each) > 1 else None
        axes.barh(place, mean, height=0.62, color=_colour(str(model)), xerr=spread, ecolor=POINT, capsize=3)
        folds = by_fold[model]
        axes.plot(folds, [place] * len(folds), "o", color=POINT, markersize=3, alpha=0.6)
        axes.text(0.6, place, f"{mean:.1f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(means)), [_named(str(model), set(by_fold[model].index), rows) for model in means.index])
    axes.set_xlabel(f"{axis}\nbar: mean over folds, points: folds, line: deviation over seeds")
    return finished(figure, title)


def finished(figure: Figure, title: str) -> Figure:
    """Give a chart its title and the look that all have."""
    (axes,) = figure.axes
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    return figure


def _named(model: str, folds: set[int], rows: pd.DataFrame) -> str:
    """Name a model, and the folds that it lacks: its mean is then not that of the others."""
    missing = sorted(set(rows["fold"]) - folds)
    return f"{model} (without fold {', '.join(map(str, missing))})" if missing else model


def _colour(model: str) -> str:
    without, with_ = (model.endswith(f", {NAMES[part]}") for part in OWN)
    return WITH if with_ else WITHOUT if without else BAR


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a chart without a date, so that equal charts are equal files."""
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    return path


if __name__ == "__main__":
    try:
        draw_charts(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))
    except InputError as problem:
        sys.exit(f"flows.charts: {problem}")
