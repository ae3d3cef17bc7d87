"""What the page tells beside the gallery: the chain with its counts, training, settings, lineage, time and disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from flows.report.counts import count_pictures
from flows.report.found import Found, read_lines
from flows.report.samples import Gallery
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.store import StageRecord

TITLES = {
    "prompts": ("Prompts", "HDIG"), "images": ("Pictures", "HDIG"), "annotate": ("First labels", "teacher"),
    "filter": ("Filtered", "APF"), "relabel": ("Relabelled", "APR"), "refine": ("Sharpened", "SABR"),
    "dataset": ("Dataset", "VOC layout"), "train": ("Trained", "final model"),
}  # fmt: skip
"""Stages of the picture of the chain, with title and method."""
POINTS = 200
"""Points of a training curve; each is the mean over as many steps as it takes."""


def chain_of(found: Found, split: ClassSplit, gallery: Gallery, banks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give for each stage what came in, what was kept and what was dropped for which reason, in all."""
    steps: list[dict[str, Any]] = []
    if banks:
        refused: Counter[str] = Counter()
        for bank in banks.values():
            refused.update(bank["reasons"])
        offered, kept = (sum(bank[key] for bank in banks.values()) for key in ("offered", "accepted"))
        steps.append(_step("prompts", "sentences", offered, kept, refused, "not taken"))
    for stage, count in count_pictures(found, split).items():
        step = _step(stage, "pictures", count.made, count.kept, Counter(count.dropped), "dropped")
        sums = sum((s[stage] for s in gallery.shares.values() if stage in s), np.zeros(4))
        if sums[3]:
            means = (sums[:3] / sums[3]).round(4).tolist()
            step["shares"] = dict(zip(("class", "free", "ignored"), means, strict=True))
        steps.append(step)
    if models := found.of("train"):
        steps.append(_step("train", "models", len(models), len(models), Counter(), "dropped"))
    return steps


def classes_of(split: ClassSplit, gallery: Gallery, banks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give for each novel class its bank, how many pictures every stage kept, why the others went, and shares."""
    rows = []
    for name in split.novel:
        if name not in banks and name not in gallery.kept and name not in gallery.dropped:
            continue
        shares = {s: (v[:3] / v[3]).round(4).tolist() for s, v in gallery.shares.get(name, {}).items()}
        dropped = {stage: dict(reasons) for stage, reasons in gallery.dropped.get(name, {}).items()}
        kept = dict(gallery.kept.get(name, {}))
        rows.append({"name": name, "bank": banks.get(name), "kept": kept, "dropped": dropped, "shares": shares})
    return rows


def curves_of(found: Found) -> dict[str, dict[str, Any]]:
    """Give model -> its losses by step, each point the mean over a stretch of steps."""
    curves = {}
    for stage in ("teacher", "start", "train", "fss"):
        for record in found.of(stage):
            name = record.shard if stage == "train" else stage
            for path in sorted(found.store.folder(record).glob("*.jsonl")):
                if rows := read_lines(path):
                    curves[name if path.stem in (stage, "final", name) else f"{name}: {path.stem}"] = _curve(rows)
    return curves


def work_of(config: Config, found: Found) -> list[dict[str, Any]]:
    """Give for each stage its shards, seconds, bytes, version, model, weights and settings."""
    models = _models(config)
    rows = []
    for stage, by_shard in found.records.items():
        records = list(by_shard.values())
        if records:
            rows.append({
                "stage": stage, "shards": len(records), "seconds": round(sum(r.seconds for r in records), 1),
                "bytes": sum(sum(r.files.values()) for r in records),
                "version": sorted({int(r.recipe.get("version", 0)) for r in records}),
                "weights": sorted({str(r.recipe["weights"]) for r in records if r.recipe.get("weights")}),
                "model": models.get(stage), "settings": records[0].recipe.get("settings", {}),
            })  # fmt: skip
    return rows


def versions_of(found: Found) -> dict[str, list[str]]:
    """Give library -> the versions that computed any shard."""
    versions: dict[str, set[str]] = {}
    for by_shard in found.records.values():
        for record in by_shard.values():
            for library, version in record.versions.items():
                versions.setdefault(library, set()).add(version)
    return {library: sorted(found) for library, found in versions.items()}


def lineage_of(found: Found) -> list[list[Any]]:
    """Give a row a shard: stage, shard, fingerprint, content, samples, kept, seconds, bytes."""
    return [_lineage_row(r) for by_shard in found.records.values() for r in by_shard.values()]


def settings_of(config: Config) -> list[list[str]]:
    """Give every setting that changes results, with its value and what it means."""
    rows: list[list[str]] = []

    def walk(model: Any, prefix: str) -> None:
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if hasattr(type(value), "model_fields"):
                walk(value, f"{prefix}{name}.")
            else:
                rows.append([prefix + name, _told(value), field.description or ""])

    walk(config.experiment, "")
    return rows


def _models(config: Config) -> dict[str, str]:
    """Give stage -> the model that it works with, as the settings name it."""
    experiment = config.experiment
    final = f"{experiment.model.name} on {experiment.model.backbone}"
    return {
        "prompts": experiment.generate.model, "images": experiment.generate.model, "refine": experiment.refine.model,
        "teacher": f"{experiment.teacher.name} on {experiment.teacher.backbone}", "start": final,
        "train": final, "fss": final,
    }  # fmt: skip


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _step(stage: str, unit: str, come: int, kept: int, dropped: Counter[str], verb: str) -> dict[str, Any]:
    title, method = TITLES[stage]
    return {
        "stage": stage, "title": title, "method": method, "unit": unit, "in": come, "kept": kept,
        "dropped": dict(dropped.most_common()), "verb": verb,
    }  # fmt: skip


def _curve(rows: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [key for key in dict.fromkeys(k for row in rows for k in row) if key != "step"]
    width = max(1, -(-len(rows) // POINTS))
    parts = [rows[start : start + width] for start in range(0, len(rows), width)]
    series = {key: [_mean([row[key] for row in part if row.get(key) is not None]) for part in parts] for key in keys}
    return {"steps": [part[-1]["step"] for part in parts], "series": series}


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(finite)), 5) if finite else None


def _lineage_row(record: StageRecord) -> list[Any]:
    size = sum(record.files.values())
    counts = (record.counts.get("samples"), record.counts.get("kept"))
    return [record.stage, record.shard, record.fingerprint, record.content, *counts, record.seconds, size]
