"""One labelled picture on its way out, and its stable id."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.assemble import stem_of
from pipeline.classes import ClassSplit
from pipeline.datasets.pictures import lines_of
from pipeline.errors import InputError
from pipeline.generate import TWIN

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Item:
    """A labelled picture: its files, and what is known of it.

    Attributes:
        id: unique, the same in all forms; letters, digits and underscores.
        name: class that the prompt asked for.
        label: dataset id of that class.
        prompt: the sentence.
        seed: of the picture's own generator.
        scores: what the stages measured, by name.
        picture: JPEG, RGB (H, W).
        mask: single-channel PNG (H, W) of dataset ids; 255 ignore.
        palette: the same ids as PNG with the VOC palette.
    """

    id: str
    name: str
    label: int
    prompt: str
    seed: int
    scores: Mapping[str, float | None]
    picture: Path
    mask: Path
    palette: Path

    def facts(self) -> dict[str, Any]:
        """Give what is known of it, as plain JSON values."""
        known = {"id": self.id, "class": self.name, "class_id": self.label, "prompt": self.prompt, "seed": self.seed}
        return {**known, "scores": dict(self.scores)}


def export_id(sample_id: str, prefix: str) -> str:
    """Give the name of a sample outside: "boat-0007-0" with "syn" becomes "syn_boat_0007_0".

    It depends on class, number of the prompt and copy alone, so that a larger budget keeps the ids that were there.
    """
    return f"{prefix}_{re.sub(r'[^A-Za-z0-9_]', '_', sample_id)}"


def check_prefix(prefix: str) -> str:
    """Look that a prefix can begin the name of a file.

    Raises:
        InputError: it cannot.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InputError(f"the prefix {prefix!r} cannot begin a file's name: use letters, digits and '_'")
    return prefix


def with_twins(rows: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Mapping[str, Any]]:
    """Give the rows of a sample table; those that the dataset stage left out as twins have that reason.

    Args:
        rows: of ``samples.jsonl`` of the last labelling stage (`pipeline.store.RunStore.rows`).
        folder: that the dataset stage wrote (`pipeline.assemble.write_voc`).

    Raises:
        InputError: its list of pictures is gone.
    """
    written = set(lines_of(folder / "ImageSets" / "Segmentation" / "train.txt", "syn4seg run makes it again"))
    for row in rows:
        twin = row["reason"] is None and stem_of(row["id"]) not in written
        yield {**row, "reason": TWIN} if twin else row


def items_of(
    rows: Iterable[Mapping[str, Any]], folder: Path, split: ClassSplit, prefix: str = "syn"
) -> Iterator[Item]:
    """Give the items of a sample table, in its order, without those that were dropped.

    Args:
        rows: see `with_twins`.
        folder: that the dataset stage wrote.
        split: its classes.
        prefix: begins every id.

    Raises:
        InputError: the folder's list of pictures is gone.
    """
    ids = {name: number for number, name in enumerate(split.all_names, start=1)}
    for row in with_twins(rows, folder):
        if row["reason"] is not None:
            continue
        stem = stem_of(row["id"])
        files = [folder / "JPEGImages" / f"{stem}.jpg"]
        files += [folder / kind / f"{stem}.png" for kind in ("SegmentationClassAug", "SegmentationClass")]
        scores = {k: v if math.isfinite(v) else None for k, v in sorted(row["scores"].items())}
        yield Item(
            export_id(row["id"], prefix), row["name"], ids[row["name"]], row["prompt"], row["seed"], scores, *files
        )


@dataclass
class Tally:
    """Counts the items that pass, and looks that no id comes twice.

    Attributes:
        ids: in order.
        per_class: class that was asked for -> pictures.
    """

    ids: list[str] = field(default_factory=list)
    per_class: dict[str, int] = field(default_factory=dict)

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass the items on.

        Raises:
            InputError: an id comes twice.
        """
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise InputError(f"two pictures would be named {item.id}: rename one of their classes")
            seen.add(item.id)
            self.ids.append(item.id)
            self.per_class[item.name] = self.per_class.get(item.name, 0) + 1
            yield item
