"""Tables in Markdown from the scores that runs wrote: ``python -m flows.results docs/results > docs/results.md``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.errors import InputError
from pipeline.protocols import DIAM, PROTOCOLS, GfssProtocol

NAMES = {
    "matching": "prototype matching", "teacher": "teacher", "before": "without synthetic", "after": "with synthetic",
}  # fmt: skip
OWN = ("before", "after")
"""Scores that belong to the learner; the others are the same whatever learns."""
ABLATION = "ablation.json"
"""What ``syn4seg ablate`` writes into a folder of scores."""
HEAD = "# Results\n\nMade by `python -m flows.results docs/results` from the scores that the runs wrote; in %.\n"


def tables(folder: Path) -> str:
    """Give all scores of a folder as tables, one a data set and protocol.

    A file holds what ``scores.json`` or ``syn4seg evaluate --to FILE`` has; ``"model"`` names the row. Entries of the
    same fold that differ in their seed are averaged, with their standard deviation. GFSS tables have the aggregates of
    their convention: base with background and total in gfss-capl, base without it and mean in gfss-diam. Charts that
    `flows.charts` and ``syn4seg ablate`` drew there come first; the latter's tables follow those of the scores.

    Args:
        folder: of ``*.json`` files; a ``notes.md`` beside them comes last.

    Raises:
        InputError: there are none, or one is no scores file.
    """
    found = read_results(folder)
    notes = folder / "notes.md"
    told = [notes.read_text()] if notes.exists() else []
    charts = [f"![{c.stem}]({folder.name}/{c.name})\n" for c in sorted(folder.glob("*.svg"))]
    return "\n".join([
        HEAD, *charts, *_fss_tables(found.fss), *_cost_tables(found.costs), *_gfss_tables(found.gfss),
        *_ladder(folder), *told,
    ])  # fmt: skip


class Results(NamedTuple):
    """Rows of all scores of a folder: of episodes, of GFSS models, and what FSS models cost."""

    fss: list[dict[str, Any]]
    gfss: list[dict[str, Any]]
    costs: list[dict[str, Any]]


def read_results(folder: Path) -> Results:
    """Read the scores of a folder, see `tables`.

    Raises:
        InputError: there are none, or one is no scores file.
    """
    files = sorted(path for path in folder.glob("*.json") if path.name != ABLATION)
    if not files:
        raise InputError(f"no results in {folder}: write some with syn4seg evaluate --to {folder}/NAME.json")
    fss, gfss, costs = [], [], []
    for path in files:
        try:
            told = json.loads(path.read_text())
            key = {k: told[k] for k in ("dataset", "protocol", "shots", "fold", "seed")}
        except (ValueError, KeyError) as error:
            raise InputError(f"{path} holds no scores: write it with syn4seg evaluate --to {path}") from error
        if "fss" in told:
            found = told["fss"]
            how = f"{found['episodes']} episodes x {len(found['per_seed'])} seeds, {found['resolution']} size"
            how += ", multi-scale" if found.get("multiscale") else ""
            how += ", weights chosen on the test fold" if told.get("chosen") == "test" else ""
            row = {**key, "how": how, "model": told["model"], "shots": found["shots"]}
            fss.append({**row, "miou": found["miou"], "fb_iou": found["fb_iou"]})
            if cost := told.get("cost"):
                costs.append({"dataset": key["dataset"], "model": told["model"], **cost})
        names = {"base": _convention(told["protocol"]).base_key, "novel": "novel_miou", "total": "total_miou"}
        for part in NAMES:
            if part in told:
                name = f"{told['model']}, {NAMES[part]}" if "model" in told and part in OWN else NAMES[part]
                gfss.append({**key, "model": name, **{k: told[part].get(v, nan) for k, v in names.items()}})
    return Results(fss, gfss, costs)


def _ladder(folder: Path) -> list[str]:
    """Give the tables of an ablation that lies in the folder."""
    if not (folder / ABLATION).exists():
        return []
    from flows.ablation.summary import table_of

    rows = json.loads((folder / ABLATION).read_text())
    names = sorted({row["dataset"] for row in rows})
    return [table_of([row for row in rows if row["dataset"] == name], name) for name in names]


def slug(name: str) -> str:
    """Give a name in lower-case letters, digits and dashes, as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _fss_tables(rows: list[dict[str, Any]]) -> list[str]:
    parts = []
    for (dataset, how), found in _groups(rows, ["dataset", "how"]):
        for key, name in (("miou", "mIoU"), ("fb_iou", "FB-IoU")):
            folds = sorted(found["fold"].unique())
            lines = [f"## {dataset}, FSS, {name} ({how})\n"]
            heads = ("model", "shots", *(f"fold {f}" for f in folds), "mean")
            lines += [table_line(*heads), table_line(*["---"] * len(heads))]
            for (shots, model), one in found.groupby(["shots", "model"], sort=True):
                by_fold = one.groupby("fold")[key]
                cells = [_cell(by_fold.get_group(f)) if f in by_fold.groups else "" for f in folds]
                mean = f"{100 * by_fold.mean().mean():.1f}" if len(by_fold) == len(folds) else ""
                lines.append(table_line(model, shots, *cells, mean))
            parts.append("\n".join(lines) + "\n")
    return parts


def _cost_tables(rows: list[dict[str, Any]]) -> list[str]:
    parts = []
    for (dataset, machine), found in _groups(rows, ["dataset", "machine"]):
        side, shots, threads = (", ".join(map(str, sorted(set(found[k])))) for k in ("side", "shots", "threads"))
        frozen = ", ".join(f"{n:,}" for n in sorted(set(found["backbone_parameters"])))
        lines = [
            f"## {dataset}, FSS, cost\n",
            f"Trained parameters (the frozen backbone has {frozen}), and CPU milliseconds (on a GPU: wall time) of one "
            f"{shots}-shot episode of {side} px, backbone included; {machine}, {threads} thread.\n",
            table_line("model", "parameters", "ms an episode"), table_line("---", "---", "---"),
        ]  # fmt: skip
        for model, one in found.groupby("model", sort=True):
            lines.append(table_line(model, f"{one['parameters'].iloc[0]:,}", f"{one['ms'].median():.1f}"))
        parts.append("\n".join(lines) + "\n")
    return parts


def _gfss_tables(rows: list[dict[str, Any]]) -> list[str]:
    """Base, novel and total are means over seeds, then folds; mean and harmonic come from these.

    Source: systems.md 3. What follows ± is the deviation over the seeds of the mean over the folds.
    """
    parts = []
    for (dataset, protocol), found in _groups(rows, ["dataset", "protocol"]):
        folds = sorted(found["fold"].unique())
        heads = ("model", "shots", "seeds", "base", "novel", _convention(protocol).aggregate, "harmonic")
        lines = [f"## {dataset}, {protocol}, folds {', '.join(map(str, folds))}\n"]
        lines += [table_line(*heads), table_line(*["---"] * len(heads))]
        for (model, shots), one in found.groupby(["model", "shots"], sort=False):
            fold_means = _fold_means(one)
            shared = [rows for _, rows in one.groupby("seed") if rows["fold"].nunique() == len(folds)]
            each = [_aggregates(_fold_means(rows).mean(), heads) for rows in shared]
            spread = pd.DataFrame(each).std(ddof=0) if len(each) > 1 else None
            counts = sorted(set(one.groupby("fold")["seed"].nunique()))
            cells = [
                f"{100 * value:.1f}" + (f" ± {100 * spread[name]:.1f}" if spread is not None else "")
                for name, value in _aggregates(fold_means.mean(), heads).items()
            ]
            missing = [str(f) for f in folds if f not in fold_means.index]
            note = f" (without fold {', '.join(missing)})" if missing else ""
            lines.append(table_line(model, shots, f"{'-'.join(map(str, counts))}{note}", *cells))
        parts.append("\n".join(lines) + "\n")
    return parts


def _fold_means(rows: Any) -> Any:
    return rows.groupby("fold")[["base", "novel", "total"]].mean()


def _aggregates(means: Any, heads: Sequence[str]) -> dict[str, float]:
    """Give base, novel, the convention's aggregate and harmonic from the means of base, novel and total."""
    base, novel = float(means["base"]), float(means["novel"])
    found = {"base": base, "novel": novel, "mean": (base + novel) / 2, "total": float(means["total"])}
    found["harmonic"] = 2 * base * novel / (base + novel) if base + novel else 0.0
    return {name: found[name] for name in heads if name in found}


def _convention(protocol: str) -> GfssProtocol:
    return PROTOCOLS.get(protocol, DIAM)


def _groups(rows: list[dict[str, Any]], by: list[str]) -> Any:
    return pd.DataFrame(rows).groupby(by, sort=True) if rows else ()


def _cell(values: Any) -> str:
    spread = f" ± {100 * values.std(ddof=0):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def table_line(*cells: object) -> str:
    """Give a line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    try:
        print(tables(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results")))
    except InputError as problem:
        sys.exit(f"flows.results: {problem}")
