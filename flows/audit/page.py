"""The page of an audit, in the style of a run's report and with its scripts: one folder that opens from disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from flows.audit.chain import STAGES
from flows.audit.looks import COLOURS, colours
from flows.audit.scores import COUNTS, MEASURES, measures
from flows.audit.shards import Shard
from flows.report.build import PAGE as REPORT_PAGE
from flows.report.pictures import write_strip
from flows.report.script import write_script
from flows.report.summary import settings_of
from flows.settings import dump_config
from pipeline.config import Config

PAGE = Path(__file__).parent / "page"
SHARED = ("report.css", "dom.js", "charts.js")
"""What is the report's own."""


def write_page(config: Config, name: str, told: dict[str, Any], shards: Mapping[str, Shard], best: int | None) -> Path:
    """Write ``audits/<date>-<name>/``: index.html, audit.json, experiment.yaml, pictures.

    Args:
        config: of the audit.
        name: ends the folder's name.
        told: see `run.audit`.
        shards: the judged items of every class.
        best: place of the suggested setting in the grid, or None where nothing was swept.

    Returns:
        The page.
    """
    audits = config.execution.folder / "audits"
    stem, number = f"{datetime.now():%Y%m%d-%H%M%S}-{name}", 1
    while (folder := audits / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    partial = audits / f"{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(PAGE, partial)
    for shared in SHARED:
        shutil.copyfile(REPORT_PAGE / shared, partial / shared)
    (partial / "audit.json").write_text(json.dumps(told, indent=1, allow_nan=False))
    (partial / "experiment.yaml").write_text(dump_config(config))
    items = [
        _write_item(shard, place, number, partial, best)
        for number, shard in enumerate(shards.values())
        for place in range(len(shard.items))
    ]
    write_script(partial / "data" / "summary.js", "summary", {
        "name": folder.name, "told": told, "stages": STAGES, "measures": MEASURES, "items": items,
        "classes": list(shards), "settings": settings_of(config),
        "labels": {
            "names": ["", *(name for name, _ in COLOURS.values())],
            "colours": ["", *(f"rgb({red} {green} {blue})" for _, (red, green, blue) in COLOURS.values())],
        },
    })  # fmt: skip
    partial.rename(folder)
    return folder / "index.html"


def _write_item(shard: Shard, place: int, number: int, partial: Path, best: int | None) -> dict[str, Any]:
    """Copy the pictures of an item, draw its final labels with the suggested setting, and give its row."""
    stem = f"{number:03d}-{place:04d}"
    (partial / "items").mkdir(exist_ok=True)
    for ending in (".jpg", ".png"):
        shutil.copyfile(shard.folder / f"{place:04d}{ending}", partial / "items" / f"{stem}{ending}")
    row = {key: shard.items[place][key] for key in ("id", "size", "reason")}
    row |= {"class": number, "stem": stem, "iou": [_short(v) for v in measures(shard.counts[place])["iou"].tolist()]}
    row["kept"] = shard.counts[place][:, COUNTS.index("kept")].tolist()
    if best is not None:
        write_strip(partial / "items" / f"{stem}-new.png", [shard.errors(place, best)], colours())
        row["new"] = _short(float(measures(shard.swept[place][best])["iou"]))
    return row


def _short(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
