"""What a run left in the store, found by its lineage alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.runs import read_lineage
from pipeline.images import read_labels, read_picture
from pipeline.store import RunStore, StageRecord
from pipeline.types import LabelMap, Mask, Picture

LABELLING = ("annotate", "filter", "relabel", "refine")
"""Stages that give a picture a label map, in the order of their work."""


@dataclass(frozen=True)
class Found:
    """The finished shards of a run.

    Attributes:
        store: holds them.
        records: stage -> its records, by shard.
        missing: places that the lineage names and the store no longer has.
    """

    store: RunStore
    records: Mapping[str, Mapping[str, StageRecord]]
    missing: tuple[str, ...]

    def of(self, stage: str) -> list[StageRecord]:
        """Give the records of a stage, by shard."""
        return list(self.records.get(stage, {}).values())


@dataclass(frozen=True)
class History:
    """One sample as every stage left it, from the picture to the sharpened label; the last ones may be missing.

    Attributes:
        rows: stage -> the sample's row in the stage's table.
        folders: stage -> folder that the row's files lie in.
    """

    rows: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest row."""
        return list(self.rows.values())[-1]

    @property
    def dropped_at(self) -> str | None:
        """The stage that dropped it."""
        return next((stage for stage, row in self.rows.items() if row["reason"] is not None), None)

    def picture(self) -> Picture:
        """Read the picture."""
        return read_picture(self.folders["images"] / self.rows["images"]["picture"])

    def labels(self, stage: str) -> tuple[LabelMap, Mask] | None:
        """Read the labels and the free pixels after a stage; None where there are none."""
        row = self.rows.get(stage)
        if row is None or row["labels"] is None:
            return None
        folder = self.folders[stage]
        return read_labels(folder / row["labels"]), read_labels(folder / row["free"]).astype(bool)


def find_shards(run: Path, store: RunStore) -> Found:
    """Read the records that a run's lineage names.

    Raises:
        InputError: the lineage is damaged.
    """
    lineage = read_lineage(run)
    records: dict[str, dict[str, StageRecord]] = {}
    missing = []
    for stage, shards in lineage.items():
        records[stage] = {}
        for shard, entry in shards.items():
            place = f"{stage}/{shard}-{entry['fingerprint']}"
            record = store.read(store.root / place)
            if record is None:
                missing.append(place)
            else:
                records[stage][shard] = record
    return Found(store, records, tuple(missing))


def read_histories(found: Found, shards: Iterable[str] | None = None) -> Iterator[History]:
    """Go through all samples, or those of some shards, shard by shard."""
    for shard in found.records.get("images", {}) if shards is None else shards:
        stages = ["images", *(s for s in LABELLING if shard in found.records.get(s, {}))]
        records = [found.records[stage][shard] for stage in stages]
        folders = {stage: found.store.folder(r) for stage, r in zip(stages, records, strict=True)}
        for rows in zip(*(found.store.rows(r) for r in records), strict=True):
            yield History(dict(zip(stages, rows, strict=True)), folders)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line; no file is no line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
