"""How two finished runs differ: settings, counts, scores, and the samples whose fate or final label changed most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flows.look import Opened, open_run
from flows.report.counts import count_pictures
from flows.report.found import History, read_histories
from flows.report.samples import iou
from flows.runs import SCORES, read_scores
from pipeline.classes import IGNORE
from pipeline.config import Config
from pipeline.types import LabelMap

MODELS = ("matching", "teacher", "before", "after", "fss")
FINAL = "refine"
"""Stage whose labels are final."""


def compare_runs(one: Path, other: Path, worst: int) -> dict[str, Any]:
    """Compare two runs, A and B, by their folders and the stores beside them.

    Args:
        one: folder of A.
        other: folder of B.
        worst: how many of the samples that changed most to list.

    Returns:
        ``settings`` and ``execution``: dotted key -> values in A and B; ``stages``: counts of both; ``scores``:
        model -> (A, B, change) of means and classes, fractions; ``samples``: see `compare_samples`.

    Raises:
        InputError: a file of a run is damaged.
    """
    a, b = open_run(one), open_run(other)
    scores = [read_scores(run) for run in (one, other)]
    return {
        "a": one.name, "b": other.name,
        "settings": _changed(a.config, b.config, "experiment"), "execution": _changed(a.config, b.config, "execution"),
        "stages": _counts(a, b), "scores": _scores(*scores), "samples": compare_samples(a, b, worst),
    }  # fmt: skip


def compare_samples(a: Opened, b: Opened, worst: int) -> dict[str, Any]:
    """Compare the samples that both runs have, by id; those of shards with the same content are taken for the same.

    Returns:
        ``both`` have so many. Of these are ``same``: not changed, ``unread`` of them in shards that were not read;
        ``fates``: kept in one and dropped in the other; ``labels``: kept in both with another final label; ``dropped``:
        dropped in both, in another way; ``other``: of another prompt or seed. ``worst``: the most changed ones, fates
        first, then by the IoU of the class in both final labels (None where one is dropped or their sizes differ).
    """
    records = [opened.found.records.get(FINAL, {}) for opened in (a, b)]
    alike = {r.content for r in records[0].values()} & {r.content for r in records[1].values()}
    unread = sum(r.counts["samples"] for r in records[0].values() if r.content in alike)
    told = {"both": unread, "same": unread, "unread": unread, "other": 0, "dropped": 0, "fates": 0, "labels": 0}
    theirs = {history.last["id"]: history for history in _histories(b, alike)}
    changed = []
    for ours in _histories(a, alike):
        pair = (ours, theirs.get(ours.last["id"]))
        if pair[1] is None:
            continue
        told["both"] += 1
        kind, row = _compare(pair[0], pair[1], a)
        told[kind] += 1
        if row:
            changed.append(row)
    changed.sort(key=lambda row: (row["a"] == row["b"], row["iou"] is None, row["iou"] or 0.0, row["id"]))
    return {**told, "worst": changed[:worst]}


def _compare(ours: History, theirs: History, opened: Opened) -> tuple[str, dict[str, Any] | None]:
    """Say what changed of a sample, and tell of it where its fate or label did."""
    one, other = ours.last, theirs.last
    if (one["prompt"], one["seed"]) != (other["prompt"], other["seed"]):
        return "other", None
    if one["hash"] == other["hash"] and one["reason"] == other["reason"]:
        return "same", None
    drawn = ours.rows["images"]["hash"] == theirs.rows["images"]["hash"]
    fates = [_fate(history) for history in (ours, theirs)]
    row: dict[str, Any] = {"id": one["id"], "iou": None, "a": fates[0], "b": fates[1], "same_picture": drawn}
    if (one["reason"] is None) != (other["reason"] is None):
        return "fates", row
    if one["reason"] is not None:
        return "dropped", None
    first, second = _final(ours), _final(theirs)
    if first.shape == second.shape:
        row["iou"] = round(iou(first, second, opened.split.id_of(one["name"])), 4)
    return "labels", row


def _histories(opened: Opened, alike: set[str]) -> Iterator[History]:
    final = opened.found.records.get(FINAL, {})
    shards = [shard for shard, record in final.items() if record.content not in alike]
    return read_histories(opened.found, shards)


def _final(history: History) -> LabelMap:
    found = history.labels(FINAL)
    if found is None:
        raise RuntimeError(f"{history.last['id']} was kept without a label")
    return np.where(found[1], IGNORE, found[0]).astype(np.uint8)


def _fate(history: History) -> str:
    return "kept" if history.dropped_at is None else f"dropped at {history.dropped_at}: {history.last['reason']}"


def _changed(a: Config, b: Config, group: str) -> dict[str, tuple[Any, Any]]:
    one, other = (_flat(getattr(config, group).model_dump(mode="json"), group) for config in (a, b))
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}.{name}").items()}


def _counts(a: Opened, b: Opened) -> list[dict[str, Any]]:
    both = [count_pictures(opened.found, opened.split) for opened in (a, b)]
    stages = list(dict.fromkeys(stage for counts in both for stage in counts))
    return [
        {"stage": stage, **{s: asdict(c[stage]) if stage in c else None for s, c in zip("ab", both, strict=True)}}
        for stage in stages
    ]


def _scores(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Give for each model of both runs (A, B, change) of its means and classes."""
    found = {}
    for model in MODELS:
        if model in a and model in b:
            one, other = a[model], b[model]
            means = {key: _pair(one[key], other.get(key)) for key in (*SCORES, "miou", "fb_iou") if key in one}
            names = list(dict.fromkeys((*one["per_class"], *other["per_class"])))
            classes = {name: _pair(*(s["per_class"].get(name) for s in (one, other))) for name in names}
            found[model] = {"means": means, "per_class": classes}
    return found


def _pair(a: float | None, b: float | None) -> tuple[float | None, float | None, float | None]:
    return a, b, None if a is None or b is None else b - a
