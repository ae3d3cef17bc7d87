"""What ``syn4seg show`` tells: the stages of a run, the classes of a stage, the story of one sample."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flows.data import split_of, store_of
from flows.report.banks import count_bank
from flows.report.counts import count_pictures
from flows.report.found import LABELLING, Found, History, find_shards, read_histories
from flows.report.samples import SCORES, STAGES, Gallery, Measured, measure
from flows.report.summary import curves_of
from flows.report.why import Stories, limits_of
from flows.runs import config_of_run, read_told
from pipeline.agreement import FILE
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hidden import read_found

LEADING = {
    "images": "contrast", "annotate": "certainty", "filter": "apf_best", "relabel": "apr_claimed",
    "refine": "sabr_overlap",
}  # fmt: skip
"""Stage -> the score by which its samples are called the worst."""
WORST = 3
"""Samples of a class that are named as its worst."""


class Opened(NamedTuple):
    """A run that is looked into: its folder, config, classes and shards."""

    run: Path
    config: Config
    split: ClassSplit
    found: Found


class Told(NamedTuple):
    """The story of a sample: what there is to print, its history and its label maps."""

    rows: dict[str, Any]
    history: History
    measured: Measured


def open_run(run: Path) -> Opened:
    """Open the folder of a run.

    Raises:
        InputError: a file of it is damaged.
    """
    config = config_of_run(run)
    return Opened(run, config, split_of(config), find_shards(run, store_of(config)))


def stages_of(opened: Opened) -> list[dict[str, Any]]:
    """Give for each stage its shards, what came into it, what it kept, why it dropped the rest, seconds and bytes.

    Of the prompts ``made`` counts the sentences that were offered. Stages that make no samples have no counts.
    """
    counts = {stage: asdict(count) for stage, count in count_pictures(opened.found, opened.split).items()}
    if banks := [count_bank(opened.found, record) for record in opened.found.of("prompts")]:
        reasons = pd.DataFrame([bank["reasons"] for bank in banks]).sum()
        made, kept = (sum(bank[key] for bank in banks) for key in ("offered", "accepted"))
        counts["prompts"] = {"made": made, "kept": kept, "dropped": {k: int(v) for k, v in reasons.items()}}
    nothing: dict[str, Any] = {"made": None, "kept": None, "dropped": {}}
    return [
        {
            "stage": stage, "shards": len(shards), **counts.get(stage, nothing),
            "seconds": round(sum(r.seconds for r in shards.values()), 1),
            "bytes": sum(sum(r.files.values()) for r in shards.values()),
        }
        for stage, shards in opened.found.records.items() if shards
    ]  # fmt: skip


def classes_of_stage(opened: Opened, stage: str) -> list[dict[str, Any]]:
    """Give for each class what a stage kept, why it dropped the rest, the means of its scores and its worst samples.

    Prompts have the diversity of their sentences instead of scores, trainings a row a model with its last losses, the
    scores a row a class with every model's IoU.

    Raises:
        InputError: the run has no such stage.
    """
    found = opened.found
    if not found.of(stage):
        there = [name for name, shards in found.records.items() if shards]
        raise InputError(f"{opened.run.name} has no stage {stage!r}: it has {', '.join(there) or 'none'}")
    if stage in STAGES:
        return _pictures(opened, stage)
    if stage == "prompts":
        banks = [count_bank(found, record) for record in found.of(stage)]
        return [
            {"class": b["name"], "made": b["offered"], "kept": b["accepted"], "dropped": b["reasons"],
             **({"warning": " ".join(b["warnings"])} if b["warnings"] else {}),
             "scores": {f"{who} {key}": value for who, told in (b["diversity"] or {}).items()
                        for key, value in told.items()}} for b in banks
        ]  # fmt: skip
    if stage == "agreement":
        return _agreement(opened)
    if stage == "hidden":
        return _hidden(opened)
    if stage == "dataset":
        (record,) = found.of(stage)
        return [{"class": n, "kept": record.counts[n]} for n in opened.split.novel if n in record.counts]
    if stage == "scores":
        scores = {r.shard: read_told(found.store.folder(r) / "scores.json") for r in found.of(stage)}
        names = list(dict.fromkeys(name for one in scores.values() for name in one["per_class"]))
        return [
            {"class": name, **{model: one["per_class"].get(name) for model, one in scores.items()}} for name in names
        ]
    curves = curves_of(found)
    return [
        {"model": r.shard, "seconds": r.seconds, "bytes": sum(r.files.values()), "losses": {
            f"{name}: {key}": last for name, curve in curves.items()
            if name.split(":")[0] == (r.shard if stage == "train" else stage)
            for key, values in curve["series"].items() if (last := _last(values)) is not None
        }} for r in found.of(stage)
    ]  # fmt: skip


def story_of(opened: Opened, name: str) -> Told:
    """Tell what every stage did to a sample, beside the others of its class.

    Raises:
        InputError: the run has no such sample; nearest ids are named.
    """
    ids: list[str] = []
    mine: History | None = None
    for history in read_histories(opened.found):
        ids.append(history.last["id"])
        mine = history if history.last["id"] == name else mine
    if mine is None:
        raise InputError(_unknown_sample(opened.run.name, name, ids))
    gallery, place = Gallery(), 0
    ends = (LABELLING[0], LABELLING[-1])
    for history in read_histories(opened.found):
        if history.last["name"] == mine.last["name"]:
            place = gallery.count if history.last["id"] == name else place
            gallery.add(history, opened.split, measure(history, opened.split, ends))
    stories = Stories(gallery, opened.split, limits_of(opened.config))
    last, measured = mine.last, measure(mine, opened.split)
    return Told({
        "run": opened.run.name, "id": name, "class": last["name"], "prompt": last["prompt"], "seed": last["seed"],
        "fate": "kept" if mine.dropped_at is None else f"dropped at {mine.dropped_at}", "reason": last["reason"],
        "size": measured.size, "stages": _steps(opened, mine, measured, gallery, place),
        "story": stories.story(place), "why": [line._asdict() for line in stories.why(place, last["reason"])],
    }, mine, measured)  # fmt: skip


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _agreement(opened: Opened) -> list[dict[str, Any]]:
    """Give for each class how far the first round's final model agreed with its labels."""
    found = opened.found
    files = [found.store.folder(record) / FILE for record in found.of("agreement")]
    table = pd.concat([pd.read_json(file, lines=True) for file in files])
    return [
        {"class": name, "made": len(mine), "scores": {"agreement": float(mine["agreement"].mean())},
         "worst": mine.sort_values("agreement", kind="stable")[["id", "agreement"]][:WORST].to_dict("records")}
        for name, mine in table.groupby("name", sort=False)
    ]  # fmt: skip


def _hidden(opened: Opened) -> list[dict[str, Any]]:
    """Give for each novel class in how many base pictures the first round's final model found it, and how large."""
    rows = [row for record in opened.found.of("hidden") for row in read_found(opened.found.store.folder(record))]
    pixels = np.array([row["pixels"] for row in rows]).reshape(len(rows), len(opened.split.names))
    return [
        {"class": name, "made": int((here := pixels[:, opened.split.id_of(name)] > 0).sum()),
         "scores": {"pixels": float(pixels[here, opened.split.id_of(name)].mean())} if here.any() else {}}
        for name in opened.split.novel
    ]  # fmt: skip


def _pictures(opened: Opened, stage: str) -> list[dict[str, Any]]:
    gallery = Gallery()
    for history in read_histories(opened.found):
        gallery.add(history, opened.split)
    table = pd.DataFrame(gallery.columns, index=pd.Index(gallery.ids, name="id"))
    table = table[table["dropped"].isna() | (table["dropped"] >= STAGES.index(stage))]
    keys = [key for key, _, at, _, _ in SCORES if at == stage and table[key].notna().any()]
    rows = []
    for number, mine in table.groupby("class", sort=True):
        name = opened.split.novel[int(str(number))]
        means = mine[keys].astype(float).mean()
        rows.append({
            "class": name, "made": len(mine), "kept": gallery.kept[name][stage],
            "dropped": dict(gallery.dropped.get(name, {}).get(stage, {})),
            "scores": {key: None if pd.isna(means[key]) else round(float(means[key]), 4) for key in keys},
            "worst": _worst(mine, stage, gallery.reasons),
        })  # fmt: skip
    return rows


def _worst(mine: pd.DataFrame, stage: str, reasons: Sequence[str]) -> list[dict[str, Any]]:
    """Name the samples that a stage dropped, then those with the lowest leading score."""
    key = LEADING[stage]
    gone = mine[mine["dropped"] == STAGES.index(stage)]
    left = mine.drop(gone.index)
    left = left[left[key].notna()].sort_values(key, kind="stable")
    told: list[dict[str, Any]] = [
        {"id": str(name), "reason": reasons[int(row["reason"])]} for name, row in gone.iterrows()
    ]
    told += [{"id": str(name), key: float(row[key])} for name, row in left.iterrows()]
    return told[:WORST]


def _steps(
    opened: Opened, mine: History, measured: Measured, gallery: Gallery, place: int
) -> list[dict[str, Any]]:
    """Give for each stage that a sample reached its pixels of class, free and ignored, and its scores with limits."""
    limits, steps = limits_of(opened.config), []
    reached = list(mine.rows)
    if mine.dropped_at:
        reached = reached[: reached.index(mine.dropped_at) + 1]
    for stage in (*reached, *(("final",) if "final" in measured.pixels else ())):
        scores = {
            key: {"value": value, "meaning": label, "setting": limit, "limit": limits[limit] if limit else None}
            for key, label, at, _, limit in SCORES
            if at == stage and (value := gallery.columns[key][place]) is not None
        }
        pixels = dict(zip(("class", "free", "ignored"), measured.pixels.get(stage, ()), strict=False))
        steps.append({"stage": stage, "pixels": pixels, "scores": scores})
    return steps


def _unknown_sample(run: str, name: str, ids: Sequence[str]) -> str:
    if not ids:
        return f"{run} has no sample {name!r}: it made no synthetic pictures"
    near = difflib.get_close_matches(name, ids, WORST, cutoff=0.5) or ids[:1]
    return f"{run} has no sample {name!r} among its {len(ids)}: the nearest ids are {', '.join(near)}"
