"""Why a sample's label is as it is: what each stage did, which limits it missed, where it is among the worst.

The page and ``syn4seg show`` tell the same sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flows.report.samples import SCORES, STAGES, Gallery
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.generate import FLAT

NAMES = {
    "images": "pictures", "annotate": "first labels", "filter": "APF", "relabel": "APR", "refine": "SABR",
    "final": "final",
}  # fmt: skip
"""Stages as they are told."""
TENTH, LEAST = 0.1, 10
"""Share of the worst ones of a class, and how many samples it must have for that."""


class Line(NamedTuple):
    """One sentence: the stage that it is about, the text, and whether it tells of something missed."""

    stage: str
    text: str
    miss: bool = True


class Stories:
    """Tells of samples, each beside the others of its class.

    Args:
        gallery: all samples, or all of a class.
        split: names the classes.
        limits: setting -> its value, see `limits_of`.
    """

    def __init__(self, gallery: Gallery, split: ClassSplit, limits: Mapping[str, float]) -> None:
        self._columns, self._split, self._limits = gallery.columns, split, limits
        self._edges: dict[tuple[int, str], float | None] = {}

    def story(self, place: int) -> str:
        """Tell in one line what every stage did to a sample; empty where it has no label."""
        value = {key: self._columns[key][place] for key, *_ in SCORES}
        parts = []
        if value["found"] is not None:
            parts.append(f"First label on {value['found']:.0%}, mean probability {figure(value['certainty'])}")
        if value["apf_freed"] is not None:
            parts.append(f"APF kept {value['apf_kept']} parts, freed {value['apf_freed']:.0%}")
        if value["apr_claimed"] is not None:
            parts.append(f"APR gave back {value['apr_claimed']:.0%}")
        if value["sabr_changed"] is not None:
            parts.append(f"SABR changed {value['sabr_changed']:.0%}")
        if value["class_share"] is not None:
            parts.append(f"in the end {value['class_share']:.0%} class, {value['ignored_share']:.0%} ignored")
        return f"{' → '.join(parts)} (of the picture).".replace("%", " %") if parts else ""

    def why(self, place: int, reason: str | None) -> list[Line]:
        """Say which limits a sample missed, why it was dropped, and by what it is among the worst; may be empty."""
        value = {key: self._columns[key][place] for key, *_ in SCORES}
        dropped, number = self._columns["dropped"][place], self._columns["class"][place]
        lines = [] if dropped is None else [Line(NAMES[STAGES[dropped]], f"dropped, {reason}")]
        for key, label, stage, _, limit in SCORES:
            if limit and value[key] is not None and value[key] < self._limits[limit]:
                told = f"{label} is {figure(value[key])}, the limit {limit} is {self._limits[limit]}"
                lines.append(Line(NAMES[stage], told))
        if value["sabr_skipped"]:
            regions = f"{value['sabr_skipped']} of {value['sabr_regions']} regions"
            lines.append(Line("SABR", f"SAM saw something else in {regions}, which stayed as they were"))
        worst = []
        for key, label, stage, end, _ in SCORES:
            edge = self._edge(number, key, end)
            if value[key] is None or edge is None:
                continue
            if value[key] > edge if end == "high" else value[key] < edge:
                worst.append(f"{NAMES[stage]} {label} ({figure(value[key])})")
        if worst:
            lines.append(Line(f"Worst tenth of {self._split.novel[number]}", "; ".join(worst), miss=False))
        return lines

    def _edge(self, number: int, key: str, end: str) -> float | None:
        """Give the value that a tenth of a class's samples does not reach; None where they are few or hardly differ."""
        if (number, key) not in self._edges:
            pairs = zip(self._columns[key], self._columns["class"], strict=True)
            values = sorted((v for v, c in pairs if v is not None and c == number), reverse=end == "high")
            edge = values[int(len(values) * TENTH)] if len(values) >= LEAST else None
            self._edges[number, key] = None if edge is None or edge == values[-1] else edge
        return self._edges[number, key]


def limits_of(config: Config) -> dict[str, float]:
    """Give the thresholds of the stages by the names of their settings."""
    experiment = config.experiment
    return {
        "generate.flat": FLAT, "prompts.max_similarity": experiment.prompts.max_similarity,
        "filter.min_similarity": experiment.filter.min_similarity,
        "relabel.min_similarity": experiment.relabel.min_similarity,
        "refine.min_overlap": experiment.refine.min_overlap,
    }  # fmt: skip


def figure(value: float | None) -> str:
    """Give a number in three digits, whole ones as they are, a dash for None."""
    if value is None:
        return "–"
    return str(int(value)) if value == int(value) else f"{value:#.3g}".rstrip(".")
