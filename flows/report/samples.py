"""The gallery's data: a row a sample in columns that the page sorts and filters, details in pages, small pictures."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.report.found import LABELLING, Found, History, read_histories
from flows.report.pictures import class_colours, codes_of, write_strip, write_thumbnail
from flows.report.script import write_script
from pipeline.classes import IGNORE, ClassSplit
from pipeline.types import LabelMap

CHUNK = 100
"""Samples a file of details; a page of the gallery loads the files of the samples that it shows."""
PER_FOLDER = 1000
STAGES = ("images", *LABELLING)

SCORES: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("contrast", "contrast of the picture (grey levels)", "images", "low", None),
    ("found", "share of the picture labelled as the class", "annotate", "low", None),
    ("certainty", "teacher's mean probability on it", "annotate", "low", None),
    ("odds", "odds in favour of the prompted class", "annotate", "high", None),
    ("apf_best", "best similarity of a part to the supports", "filter", "low", "filter.min_similarity"),
    ("apf_kept", "parts kept", "filter", "low", None),
    ("apf_freed", "share of the picture freed", "filter", "high", None),
    ("apr_claimed", "share of the picture claimed back", "relabel", "low", None),
    ("sabr_regions", "regions shown to SAM", "refine", "low", None),
    ("sabr_overlap", "mean IoU of SAM's mask with its region", "refine", "low", "refine.min_overlap"),
    ("sabr_skipped", "regions that SAM saw otherwise (skipped)", "refine", "high", None),
    ("sabr_changed", "share of the picture changed", "refine", "high", None),
    ("class_share", "share of the picture with the class", "final", "low", None),
    ("ignored_share", "share of the picture ignored", "final", "high", None),
    ("agreement", "IoU of the first and the final label", "final", "low", None),
)
"""Key, meaning, stage, which end is the worst one, and the setting that is the limit, where there is one."""


@dataclass
class Gallery:
    """What the page needs to know of all samples; filled one by one.

    Attributes:
        columns: key -> a value a sample, in the order of the samples.
        reasons: groups of reasons, by first appearance.
        dropped: class -> stage -> reason -> how many.
        kept: class -> stage -> how many were left after it.
        shares: class -> stage -> sums of the shares of class, free and ignored pixels, and of pictures.
    """

    columns: dict[str, list[Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    dropped: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    kept: dict[str, Counter[str]] = field(default_factory=dict)
    shares: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    count: int = 0

    def as_json(self, split: ClassSplit) -> dict[str, Any]:
        """Give what the page reads; columns without any value are left out."""
        columns = {key: values for key, values in self.columns.items() if any(v is not None for v in values)}
        return {
            "count": self.count, "chunk": CHUNK, "per_folder": PER_FOLDER, "stages": STAGES, "classes": split.novel,
            "reasons": self.reasons, "columns": columns,
            "scores": [dict(zip(("key", "label", "stage", "worst", "limit"), s, strict=True)) for s in SCORES],
        }  # fmt: skip


def write_samples(found: Found, split: ClassSplit, folder: Path) -> Gallery:
    """Write thumbnails, strips and details of all samples below ``folder``, and give what sums them up."""
    gallery, colours = Gallery(), class_colours(split)
    details: list[dict[str, Any]] = []
    for number, history in enumerate(read_histories(found)):
        place = folder / "samples" / f"{number // PER_FOLDER:03d}"
        size, stats = _write_pictures(history, split, place / f"{number:06d}", colours)
        _add(gallery, history, split, stats)
        last = history.last
        details.append({
            "id": last["id"], "prompt": last["prompt"], "seed": str(last["seed"]), "reason": last["reason"],
            "size": size, "shard": history.folders["images"].name,
        })  # fmt: skip
        if len(details) == CHUNK:
            _write_details(folder, number, details)
    if details:
        _write_details(folder, gallery.count - 1, details)
    return gallery


def group_of(reason: str, name: str) -> str:
    """Give a reason without what differs from sample to sample: the class, another sample's id."""
    bare = re.sub(r"\S+-\d{4,}-\d+", "another one", reason.split(":")[0])
    return re.sub(rf"\b{re.escape(name)}\b", "(class)", bare)


def _write_details(folder: Path, last: int, details: list[dict[str, Any]]) -> None:
    chunk = last // CHUNK
    write_script(folder / "data" / f"samples-{chunk:04d}.js", f"details/{chunk}", details)
    details.clear()


def _write_pictures(
    history: History, split: ClassSplit, stem: Path, colours: NDArray[np.uint8]
) -> tuple[tuple[int, int], dict[str, NDArray[np.float64]]]:
    """Write a sample's thumbnail and strip; gives the thumbnail's size and for each stage shares, see `_stats`."""
    picture = history.picture()
    size = write_thumbnail(stem.with_suffix(".jpg"), picture)
    empty, target = np.zeros(picture.shape[:2], np.uint8), split.id_of(history.last["name"])
    maps, stats, first, final = [], {}, empty, empty
    for stage in LABELLING:
        found = history.labels(stage)
        labels, free = found or (empty, empty.astype(bool))
        maps.append(codes_of(labels, free))
        if found:
            first = labels if stage == LABELLING[0] else first
            final = np.where(free, IGNORE, labels).astype(np.uint8)
            stats[stage] = np.array([(labels == target).mean(), free.mean(), ((labels == IGNORE) & ~free).mean()])
    if stats and history.dropped_at is None:
        stats["final"] = np.array([stats[list(stats)[-1]][0], _iou(first, final, target), (final == IGNORE).mean()])
        maps.append(codes_of(final))
    else:
        maps.append(empty)
    if stats:
        write_strip(stem.with_suffix(".png"), maps, colours)
    return size, stats


def _iou(one: LabelMap, other: LabelMap, label: int) -> float:
    either = ((one == label) | (other == label)).sum()
    return float(((one == label) & (other == label)).sum() / either) if either else 0.0


def _add(gallery: Gallery, history: History, split: ClassSplit, stats: dict[str, NDArray[np.float64]]) -> None:
    last, name, dropped_at = history.last, history.last["name"], history.dropped_at
    scores = dict(last["scores"])
    if "final" in stats:
        share, agreement, ignored = stats["final"]
        scores |= {"class_share": share, "agreement": agreement, "ignored_share": ignored}
    reason = None
    kept, shares = gallery.kept.setdefault(name, Counter()), gallery.shares.setdefault(name, {})
    for stage in history.rows:
        if stage == dropped_at:
            group = group_of(last["reason"], name)
            if group not in gallery.reasons:
                gallery.reasons.append(group)
            reason = gallery.reasons.index(group)
            gallery.dropped.setdefault(name, {}).setdefault(stage, Counter())[group] += 1
            break
        kept[stage] += 1
        if stage in stats:
            shares[stage] = shares.get(stage, np.zeros(4)) + np.array([*stats[stage], 1.0])
    row: dict[str, Any] = {
        "class": split.novel.index(name), "dropped": None if dropped_at is None else STAGES.index(dropped_at),
        "reason": reason, "labelled": int(bool(stats)),
    }  # fmt: skip
    row |= {key: _short(scores.get(key)) for key, *_ in SCORES}
    for key, value in row.items():
        gallery.columns.setdefault(key, []).append(value)
    gallery.count += 1


def _short(value: float | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if value == int(value) else round(float(value), 4)
