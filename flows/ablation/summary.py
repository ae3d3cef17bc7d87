"""Means over cells with 95 % intervals, those of differences paired over fold and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from flows.ablation.cells import read_cells
from flows.ablation.rungs import RUNGS, SWEEPS
from flows.results import ABLATION, table_line

FIGURES = ("base_miou", "novel_miou", "harmonic_miou")
FIRST = "none"
"""The rung against which all others are a gain."""
_LABELS = ("precision", "recall", "iou")


def interval(values: Sequence[float]) -> dict[str, float]:
    """Give the mean of n values and its 95 % interval by Student's t; all three are equal for n = 1."""
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    reach = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


def _clipped(figure: dict[str, float]) -> dict[str, float]:
    """Give an interval of a share within 0..1."""
    return {name: min(max(value, 0.0), 1.0) for name, value in figure.items()}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum cells up, one row a rung and number of shots, rungs in the order of the table.

    Args:
        rows: as `cells.read_cells` gives them, of one data set.

    Returns:
        dataset, rung, shots, folds, seeds; base_miou, novel_miou and harmonic_miou as {"mean", "low", "high"} in 0..1;
        ``difference``: the same of the paired differences from the rung below, on the folds and seeds that both have,
        with its name; ``gain``: from the rung without synthesis; ``labels`` of the rung on labelled pictures, pictures
        and seconds, means.
    """
    table = pd.DataFrame(rows)
    found = []
    order = {name: place for place, name in enumerate([*RUNGS, *_sweep_names(table)])}
    groups: list[Any] = sorted(
        table.groupby(["shots", "rung"]), key=lambda one: (one[0][0], order[str(one[0][1])])
    )
    for (shots, rung), cells in groups:
        row: dict[str, Any] = {
            "dataset": str(cells["dataset"].iloc[0]), "rung": rung, "shots": int(shots),
            "folds": sorted({int(f) for f in cells["fold"]}),
            "seeds": sorted({int(s) for s in cells["seed"]}),
            **{figure: _clipped(interval(list(cells[figure]))) for figure in FIGURES},
            "pictures": float(cells["pictures"].mean()), "seconds": float(cells["seconds"].mean()),
        }  # fmt: skip
        below = RUNGS[rung].below if rung in RUNGS else ""
        for key, other in (("difference", below), ("gain", FIRST if rung in RUNGS and rung != FIRST else "")):
            if paired := _paired(table[table["shots"] == shots], str(rung), other):
                row[key] = paired
        if "labels" in cells and cells["labels"].notna().all():
            row["labels"] = {name: float(np.mean([one[name] for one in cells["labels"]])) for name in _LABELS}
        found.append(row)
    return found


def write_summary(folder: Path, dataset: str) -> list[dict[str, Any]]:
    """Write ``ablation.json`` of all cells of a folder, and give the rows of a data set."""
    cells = read_cells(folder)
    rows = [
        row for name in sorted({cell["dataset"] for cell in cells})
        for row in summarise([cell for cell in cells if cell["dataset"] == name])
    ]  # fmt: skip
    (folder / ABLATION).write_text(json.dumps(rows, indent=1) + "\n")
    return [row for row in rows if row["dataset"] == dataset]


def table_of(rows: Sequence[Mapping[str, Any]], dataset: str) -> str:
    """Give the Markdown tables of a summary: the ladder, a number of shots each, then the sweeps."""
    parts = []
    for shots in sorted({row["shots"] for row in rows}):
        ladder = [row for row in rows if row["shots"] == shots and row["rung"] in RUNGS]
        if ladder:
            parts.append(_ladder_table(ladder, dataset, shots))
    parts += [_sweep_table(sweep, dataset) for sweep in sweeps_of(rows)]
    return "\n".join(parts)


def _ladder_table(rows: Sequence[Mapping[str, Any]], dataset: str, shots: int) -> str:
    cells = sum(len(rows[0][part]) > 1 for part in ("folds", "seeds"))
    note = "± half of the 95 % interval over folds and seeds; differences are paired" if cells else "one cell each"
    lines = [
        f"## {dataset}, the ladder, {shots}-shot ({note})\n",
        table_line("rung", "folds x seeds", "base", "novel", "harmonic", "novel against", "gain: base", "novel",
                   "harmonic", "label IoU", "precision", "recall", "pictures", "minutes"),
        table_line(*["---"] * 14),
    ]  # fmt: skip
    for row in rows:
        labels = row.get("labels", {})
        lines.append(table_line(
            row["rung"], f"{len(row['folds'])} x {len(row['seeds'])}", *(_cell(row[f]) for f in FIGURES),
            _difference(row.get("difference")), *(_spread(row.get("gain"), figure) for figure in FIGURES),
            *(_percent(labels.get(n)) for n in ("iou", "precision", "recall")),
            f"{row['pictures']:.0f}", f"{row['seconds'] / 60:.1f}",
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


class Sweep(NamedTuple):
    """Rows of a summary that differ in one setting.

    Attributes:
        name: of the sweep.
        shots: of all rows; None where these are what differs.
        rows: by value.
    """

    name: str
    shots: int | None
    rows: Sequence[Mapping[str, Any]]

    @property
    def title(self) -> str:
        """Say what differs, and with how many shots."""
        key = SWEEPS[self.name][0] if self.name in SWEEPS else self.name
        return key.removeprefix("experiment.") + (f", {self.shots}-shot" if self.shots else "")

    @property
    def values(self) -> list[str]:
        """Give the value of every row, as it was written."""
        return [str(row["rung"]).partition("=")[2] for row in self.rows]


def sweeps_of(rows: Sequence[Mapping[str, Any]]) -> list[Sweep]:
    """Give the sweeps among the rows of a summary, those of keys of one's own too, in the order of the rows."""
    found: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        name, equals, _ = str(row["rung"]).partition("=")
        if equals:
            shots = None if name in ("shots", "experiment.shots") else row["shots"]
            found.setdefault((name, shots), []).append(row)
    return [Sweep(*key, swept) for key, swept in found.items()]


def _sweep_table(sweep: Sweep, dataset: str) -> str:
    lines = [
        f"## {dataset}, sweep of {sweep.title}\n",
        table_line("value", "base", "novel", "harmonic", "label IoU", "pictures"), table_line(*["---"] * 6),
    ]  # fmt: skip
    for value, row in zip(sweep.values, sweep.rows, strict=True):
        lines.append(table_line(
            value, *(f"{100 * row[f]['mean']:.1f}" for f in FIGURES), _percent(row.get("labels", {}).get("iou")),
            f"{row['pictures']:.0f}",
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


def _paired(table: pd.DataFrame, rung: str, below: str) -> dict[str, Any] | None:
    places = table.set_index(["rung", "fold", "seed"])
    if not below or below not in set(table["rung"]):
        return None
    one, other = places.loc[rung], places.loc[below]
    shared = one.index.intersection(other.index)
    if not len(shared):
        return None
    told = {f: interval(list(one.loc[shared, f] - other.loc[shared, f])) for f in FIGURES}
    return {"from": below, "cells": len(shared), **told}


def _sweep_names(table: pd.DataFrame) -> list[str]:
    known = [f"{name}={value}" for name, (_, values) in SWEEPS.items() for value in values]
    return [*known, *sorted(set(table["rung"]) - set(known) - set(RUNGS), key=_name_and_value)]


def _name_and_value(rung: str) -> tuple[str, float, str]:
    name, _, value = rung.partition("=")
    try:
        return name, float(value), value
    except ValueError:
        return name, np.inf, value


def _cell(figure: Mapping[str, float]) -> str:
    reach = figure["high"] - figure["mean"]
    return f"{100 * figure['mean']:.1f}" + (f" ± {100 * reach:.1f}" if reach else "")


def _difference(found: Mapping[str, Any] | None) -> str:
    return f"{found['from']}: {_spread(found, 'novel_miou')}" if found else ""


def _spread(found: Mapping[str, Any] | None, figure: str) -> str:
    if not found:
        return ""
    one = found[figure]
    spread = f" ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})" if found["cells"] > 1 else ""
    return f"{100 * one['mean']:+.1f}{spread}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
