"""The judged items of a class as a shard of the store, so that an audit that was killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from flows import wiring
from flows.audit.chain import Judged, judge
from flows.audit.grid import Grid
from flows.audit.guides import guide_of, support_of
from flows.audit.items import Items, read_item
from flows.audit.looks import errors_of, truth_of, write_looks
from flows.audit.scores import Counts
from flows.data import split_of, store_of, supports_content
from flows.progress import tell
from flows.steps import shard_name
from flows.weights import pinned, weights_id
from pipeline import annotate, filtering, refine, relabel
from pipeline.config import Config
from pipeline.hashing import hash_arrays
from pipeline.store import Draft, StageRecord
from pipeline.types import LabelMap, Sample

VERSION = 2


@dataclass(frozen=True)
class Shard:
    """The judged items of one class, in their order; arrays are read when they are asked for.

    Attributes:
        name: the class.
        folder: of the shard, with pictures ``0000.jpg`` and strips ``0000.png`` of truth and stages.
    """

    name: str
    folder: Path

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """A row an item: id, number of its picture, size of its thumbnail, reason if it was dropped."""
        found: list[dict[str, Any]] = json.loads((self.folder / "items.json").read_text())
        return found

    @cached_property
    def counts(self) -> Counts:
        """Counts after each stage, (I, S, len(COUNTS))."""
        return np.asarray(np.load(self.folder / "counts.npy"), np.int64)

    @cached_property
    def swept(self) -> Counts:
        """Counts of the final labels of each setting, (I, G, len(COUNTS))."""
        return np.asarray(np.load(self.folder / "swept.npy"), np.int64)

    def errors(self, item: int, setting: int) -> LabelMap:
        """Give what is right and wrong in the final mask of an item with a setting, codes uint8 (H, W)."""
        with np.load(self.folder / "finals.npz") as held:
            truth = held[f"truth{item}"]
            which = int(held[f"which{item}"][setting])
            mask = np.unpackbits(held[f"masks{item}"][which], count=truth.size).reshape(truth.shape).astype(bool)
        return errors_of(mask, truth)


def judged_shard(config: Config, teacher: StageRecord, items: Items, name: str, grid: Grid | None) -> Shard:
    """Give the judged items of a class; compute them where they are not there yet.

    Raises:
        InputError: a picture or mask is missing or broken.
    """
    pairs = [read_item(config, items, name, place) for place in items.places[name]]
    store = store_of(config)

    def work(draft: Draft) -> None:
        refiner = wiring.refiner_of(config) if config.experiment.refine.enabled else None
        seen = judge(config, guide_of(config, teacher, name), refiner, pairs, grid)
        pictures = [items.picture(place) for place in items.places[name]]
        write_judged(draft, seen, pictures, lambda done: tell("audit", name, 0.99 * done / len(pairs)))

    record = store.compute("audit", shard_name(name), _recipe(config, teacher, name, pairs, grid), work)
    return Shard(name, store.folder(record))


def write_judged(
    draft: Draft, judged: Iterable[Judged], pictures: Sequence[int], progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write what `Shard` reads.

    Args:
        draft: of the shard.
        judged: items of one class.
        pictures: numbers of their pictures.
        progress: told how many are written.
    """
    rows: list[dict[str, Any]] = []
    each: list[Counts] = []
    swept: list[Counts] = []
    held: dict[str, Any] = {}
    for number, (one, picture) in enumerate(zip(judged, pictures, strict=True)):
        rows.append(_write_item(draft.folder, number, one, picture))
        each.append(one.counts)
        swept.append(one.swept)
        packed = np.packbits(one.finals.reshape(len(one.finals), one.truth.size), axis=1)
        held |= {f"truth{number}": one.truth, f"which{number}": one.which, f"masks{number}": packed}
        progress(len(rows))
    np.save(draft.folder / "counts.npy", np.stack(each))
    np.save(draft.folder / "swept.npy", np.stack(swept))
    np.savez_compressed(draft.folder / "finals.npz", **held)
    draft.content = hash_arrays(np.stack(each), np.stack(swept), *held.values())
    (draft.folder / "items.json").write_text(json.dumps(rows))
    draft.counts = {"samples": len(rows), "kept": sum(row["reason"] is None for row in rows)}


def _recipe(
    config: Config, teacher: StageRecord, name: str, pairs: Sequence[tuple[Sample, LabelMap]], grid: Grid | None
) -> dict[str, Any]:
    experiment = config.experiment
    settings = {part: getattr(experiment, part).recipe() for part in ("annotate", "filter", "relabel")}
    return {
        "version": [VERSION, annotate.VERSION, filtering.VERSION, relabel.VERSION, refine.VERSION],
        "settings": {**settings, "refine": pinned(experiment.refine).recipe("model")},
        "grid": [list(axis) for axis in grid.axes] if grid else None, "label": split_of(config).id_of(name),
        "weights": weights_id(experiment.refine.model, "sam") if experiment.refine.enabled else None,
        "inputs": {
            "teacher": teacher.content, "supports": supports_content((support_of(config, name),)),
            "pictures": [[sample.id, hash_arrays(sample.picture, truth)] for sample, truth in pairs],
        },
    }  # fmt: skip


def _write_item(folder: Path, number: int, judged: Judged, picture: int) -> dict[str, Any]:
    pairs = zip(judged.found, judged.stages, strict=True)
    maps = [truth_of(judged.truth), *(errors_of(mask, judged.truth, stage) for mask, stage in pairs)]
    last = judged.stages[-1]
    size = write_looks(folder / f"{number:04d}", last.picture, maps)
    return {"id": last.id.partition("/")[2], "picture": int(picture), "size": list(size), "reason": last.reason}

