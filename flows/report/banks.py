"""What the page tells of the prompt banks: accepted and refused sentences, similarities, diversity."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.report.found import Found, read_lines
from flows.report.script import write_script
from pipeline.store import StageRecord
from prompts.diversity import diversity

LISTED = 2000
"""Sentences of a class that the page lists, of the accepted and of the refused ones each."""
BINS = 40
DIVERSITY = "diversity.json"


def write_banks(found: Found, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the sentences of every class as scripts; gives class -> counts, histogram and diversity."""
    banks = {}
    for number, record in enumerate(found.of("prompts")):
        place = found.store.folder(record)
        accepted, refused = read_lines(place / "prompts.jsonl"), read_lines(place / "refused.jsonl")
        if not accepted:
            continue
        write_script(folder / "data" / f"prompts-{number:03d}.js", f"prompts/{number}", {
            "accepted": [[row["text"], round(row["similarity"], 4)] for row in accepted[:LISTED]],
            "refused": [[r["text"], round(r["similarity"], 4), r["reason"], r["nearest"]] for r in refused[:LISTED]],
        })  # fmt: skip
        banks[accepted[0]["name"]] = {
            **count_bank(found, record), "file": number, "listed": LISTED, "histogram": _histogram(accepted, refused),
            "attributes": _attributes(accepted),
        }  # fmt: skip
    return banks


def count_bank(found: Found, record: StageRecord) -> dict[str, Any]:
    """Give the class of a bank, its accepted, refused and offered sentences, why they were refused, and diversity."""
    place = found.store.folder(record)
    accepted, refused = read_lines(place / "prompts.jsonl"), read_lines(place / "refused.jsonl")
    reasons = Counter(row["reason"].split("(")[0].strip() for row in refused)
    offered = record.counts.get("offered", len(accepted) + len(refused))
    if offered > len(accepted) + len(refused):
        reasons["accepted in the last block, but not needed"] = offered - len(accepted) - len(refused)
    return {
        "name": accepted[0]["name"] if accepted else record.shard, "accepted": len(accepted), "refused": len(refused),
        "offered": offered, "reasons": dict(reasons),
        "diversity": _diversity(place), "warnings": list(record.warnings),
    }  # fmt: skip


def _diversity(place: Path) -> dict[str, dict[str, float]] | None:
    """Give the diversity of the accepted sentences and of the first proposals unfiltered, which old banks lack."""
    if (told := place / DIVERSITY).exists():
        return dict(json.loads(told.read_text()))
    vectors = place / "vectors.npy"
    return {"accepted": diversity(np.load(vectors))} if vectors.exists() else None


def _histogram(accepted: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count similarities in equal bins; the first sentence of a bank has none."""
    groups = [[row["similarity"] for row in rows if row["similarity"] > -1] for rows in (accepted, refused)]
    both = [value for group in groups for value in group]
    low, high = (min(both), max(max(both), min(both) + 0.01)) if both else (0.0, 1.0)
    counts = [np.histogram(group, BINS, (low, high))[0].tolist() for group in groups]
    return {"low": round(low, 4), "high": round(high, 4), "accepted": counts[0], "refused": counts[1]}


def _attributes(accepted: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the values of every attribute, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for row in accepted:
        for attribute, value in row["attributes"].items():
            counts.setdefault(attribute, Counter())[str(value)] += 1
    return {attribute: dict(values.most_common(12)) for attribute, values in counts.items()}
