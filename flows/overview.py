"""What a run tells Prefect's pages: a table a class and a summary of the scores. Knows no Prefect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.data import novel_names
from flows.results import NAMES, slug, table_line
from flows.steps import shard_name
from pipeline.config import Config
from pipeline.store import StageRecord

STAGES = ("prompts", "images", "annotate", "filter", "relabel", "refine")
"""Stages whose shards belong to a class."""


def artifact_key(name: str) -> str:
    """Give a name as Prefect wants its keys: lower-case letters, digits and dashes."""
    return slug(name) or "run"


def class_tables(
    config: Config, records: Sequence[StageRecord], scores: Mapping[str, Any]
) -> dict[str, list[dict[str, str]]]:
    """Give class -> a row for each stage, with what it made, kept and dropped, and a row for each model's IoU."""
    tables = {}
    for name in novel_names(config):
        pattern = re.compile(re.escape(shard_name(name)) + r"(-\d+)?")
        mine = [r for r in records if pattern.fullmatch(r.shard)]
        rows = [_row(stage, found) for stage in STAGES if (found := [r for r in mine if r.stage == stage])]
        for key, label in NAMES.items():
            iou = scores[key]["per_class"].get(name) if key in scores else None
            if iou is not None:
                rows.append(_cells(label, iou=f"{100 * iou:.1f}"))
        tables[name] = rows
    return tables


def summary(config: Config, scores: Mapping[str, Any], folder: Path) -> str:
    """Give the scores of a run in Markdown, and where its report lies."""
    kinds = ("novel", "base", "mean", "harmonic")
    lines = [
        f"{scores['dataset']} fold {scores['fold']}, {scores['shots']}-shot, seed {scores['seed']}, "
        f"{config.experiment.prompts.per_class} prompts a class; mIoU in %",
        "", table_line("", *kinds), table_line(*["---"] * 5),
    ]  # fmt: skip
    for key, label in NAMES.items():
        if key in scores:
            lines.append(table_line(label, *(f"{100 * scores[key][f'{kind}_miou']:.1f}" for kind in kinds)))
    page = (folder / "report" / "index.html").resolve()
    return "\n".join([*lines, "", "Report (browsers open no file from a web page: copy the path):", "", f"    {page}"])


def _row(stage: str, records: Sequence[StageRecord]) -> dict[str, str]:
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for record in records:
        counts.update(record.counts)
        dropped.update(record.dropped)
    if stage == "prompts":
        offered, kept = counts["offered"] or counts["prompts"], counts["prompts"]
        dropped.update({"refused": counts["refused"], "over": offered - kept - counts["refused"]})
        counts.update({"samples": offered, "kept": kept})
    why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common() if count)
    return _cells(stage, len(records), counts["samples"], counts["kept"], counts["samples"] - counts["kept"], why)


def _cells(
    what: str, shards: object = "", made: object = "", kept: object = "", dropped: object = "", why: str = "",
    iou: str = "",
) -> dict[str, str]:  # fmt: skip
    cells = {"stage": what, "shards": shards, "came": made, "kept": kept, "dropped": dropped, "why": why, "IoU": iou}
    return {head: str(cell) for head, cell in cells.items()}
