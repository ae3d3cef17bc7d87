"""All samples of a run as a table in columns: what every stage measured, kept and dropped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.report.found import LABELLING, History
from flows.report.pictures import codes_of
from pipeline.classes import IGNORE, ClassSplit
from pipeline.types import LabelMap, bare_reason

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




@dataclass(frozen=True)
class Measured:
    """What the label maps of one sample say.

    Attributes:
        size: height and width.
        codes: stage -> its label map as it is drawn, uint8 (H, W), see `codes_of`; "final" where it was kept.
        pixels: stage -> pixels of the prompted class, free ones, ignored ones; "final" as above, where none is free.
        agreement: IoU of the first and the final label of the class; None where there is no final one.
    """

    size: tuple[int, int]
    codes: Mapping[str, LabelMap]
    pixels: Mapping[str, tuple[int, int, int]]
    agreement: float | None

    def shares(self, stage: str) -> NDArray[np.float64]:
        """Give the pixels of a stage as shares of the picture."""
        return np.array(self.pixels[stage]) / (self.size[0] * self.size[1])


@dataclass
class Gallery:
    """What there is to know of all samples; filled one by one.

    Attributes:
        ids: of the samples, in their order.
        columns: key -> a value a sample, in the same order.
        reasons: groups of reasons, by first appearance.
        dropped: class -> stage -> reason -> how many.
        kept: class -> stage -> how many were left after it.
        shares: class -> stage -> sums of the shares of class, free and ignored pixels, and of pictures.
    """

    ids: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    dropped: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    kept: dict[str, Counter[str]] = field(default_factory=dict)
    shares: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.ids)

    def add(self, history: History, split: ClassSplit, measured: Measured | None = None) -> None:
        """Add a sample; without its label maps measured, what they say stays unknown."""
        last, name, dropped_at = history.last, history.last["name"], history.dropped_at
        scores = dict(last["scores"])
        if measured and "final" in measured.pixels:
            share, _, ignored = measured.shares("final")
            scores |= {"class_share": share, "agreement": measured.agreement, "ignored_share": ignored}
        reason = None
        kept, shares = self.kept.setdefault(name, Counter()), self.shares.setdefault(name, {})
        for stage in history.rows:
            if stage == dropped_at:
                group = group_of(last["reason"], name)
                if group not in self.reasons:
                    self.reasons.append(group)
                reason = self.reasons.index(group)
                self.dropped.setdefault(name, {}).setdefault(stage, Counter())[group] += 1
                break
            kept[stage] += 1
            if measured and stage in measured.pixels:
                shares[stage] = shares.get(stage, np.zeros(4)) + np.array([*measured.shares(stage), 1.0])
        row: dict[str, Any] = {
            "class": split.novel.index(name), "dropped": None if dropped_at is None else STAGES.index(dropped_at),
            "reason": reason, "labelled": int(bool(measured and measured.pixels)),
        }  # fmt: skip
        row |= {key: _short(scores.get(key)) for key, *_ in SCORES}
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        self.ids.append(last["id"])

    def as_json(self, split: ClassSplit) -> dict[str, Any]:
        """Give what the page reads; columns without any value are left out."""
        columns = {key: values for key, values in self.columns.items() if any(v is not None for v in values)}
        return {
            "count": self.count, "stages": STAGES, "classes": split.novel, "reasons": self.reasons, "columns": columns,
            "scores": [dict(zip(("key", "label", "stage", "worst", "limit"), s, strict=True)) for s in SCORES],
        }  # fmt: skip


def measure(history: History, split: ClassSplit, stages: Sequence[str] = LABELLING) -> Measured:
    """Read and measure the label maps of a sample after some stages, of which the last one gives the final label."""
    target = split.id_of(history.last["name"])
    found = {stage: both for stage in stages if (both := history.labels(stage))}
    codes = {stage: codes_of(labels, free) for stage, (labels, free) in found.items()}
    pixels = {stage: _pixels(labels, free, target) for stage, (labels, free) in found.items()}
    agreement = None
    if found and history.dropped_at is None:
        first, (last, free) = next(iter(found.values()))[0], list(found.values())[-1]
        final = np.where(free, IGNORE, last).astype(np.uint8)
        codes["final"], pixels["final"] = codes_of(final), _pixels(final, np.zeros_like(free), target)
        agreement = iou(first, final, target)
    size = history.picture().shape[:2] if not found else next(iter(found.values()))[0].shape
    return Measured((size[0], size[1]), codes, pixels, agreement)


def iou(one: LabelMap, other: LabelMap, label: int) -> float:
    """Give the IoU of a class in two label maps (H, W); 0 where neither has it."""
    either = ((one == label) | (other == label)).sum()
    return float(((one == label) & (other == label)).sum() / either) if either else 0.0


def group_of(reason: str, *names: str) -> str:
    """Give a reason without what differs from sample to sample: the class, another sample's id."""
    bare = re.sub(r"\S+-\d{4,}-\d+", "another one", bare_reason(reason))
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"\b(?:{either})\b", "(class)", bare)


def _pixels(labels: LabelMap, free: NDArray[np.bool_], target: int) -> tuple[int, int, int]:
    return int((labels == target).sum()), int(free.sum()), int(((labels == IGNORE) & ~free).sum())


def _short(value: float | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if value == int(value) else round(float(value), 4)
