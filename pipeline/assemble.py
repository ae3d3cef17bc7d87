"""The finished dataset in the layout of PASCAL VOC, so that other trainers take it unedited.

- ``JPEGImages/<id>.jpg``: quality 95, no colour subsampling
- ``SegmentationClass/<id>.png``: dataset ids with the VOC palette
- ``SegmentationClassAug/<id>.png``: the same ids, single-channel
- ``ImageSets/Segmentation/train.txt`` and ``trainval.txt``: one id a line
- ``ImageSets/Segmentation/gfss_train.txt``: "JPEGImages/<id>.jpg SegmentationClassAug/<id>.png" a line
- ``confidence.csv``: how far the labels of every picture are to be trusted, see `pipeline.confidence`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.classes import IGNORE, ClassSplit
from pipeline.confidence import confidence_of, write_confidence
from pipeline.errors import InputError
from pipeline.generate import TWIN
from pipeline.hashing import hash_arrays, hash_json
from pipeline.images import write_labels, write_picture
from pipeline.types import LabelMap, Sample, bare_reason

VERSION = 2


@dataclass(frozen=True)
class Assembled:
    """What was written: the ids in order, pictures a class, reasons of what was left out, and the content hash."""

    ids: tuple[str, ...]
    per_class: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    content: str = ""


def stem_of(sample_id: str) -> str:
    """Give the file name of a sample, without ending: "boat-0007-0" becomes "syn_boat_0007_0"."""
    return "syn_" + sample_id.replace("-", "_").replace(" ", "_")


def final_labels(sample: Sample, split: ClassSplit) -> LabelMap:
    """Give the labels to train on, uint8 (H, W) dataset ids, free pixels ignored (255).

    Raises:
        ValueError: the sample has no labels.
    """
    if sample.labels is None or sample.free is None:
        raise ValueError(f"sample {sample.id} has no labels")
    return split.to_dataset(np.where(sample.free, np.uint8(IGNORE), sample.labels))


def write_voc(samples: Iterable[Sample], folder: Path, split: ClassSplit) -> Assembled:
    """Write the samples that were not dropped; one sample at a time is in memory.

    Of pictures that are the same pixel by pixel, in whatever shards, the first is written.

    The content hash covers ids, classes, prompts, seeds, pictures before JPEG, labels and confidence; not dates or
    places.

    Args:
        samples: in any order; ids must differ.
        folder: is created.
        split: turns split ids into dataset ids.

    Raises:
        InputError: a file cannot be written.
        ValueError: an id comes twice.
    """
    confidence: dict[str, float] = {}
    per_class: dict[str, int] = {}
    dropped: dict[str, int] = {}
    entries: dict[str, list[str]] = {}
    seen: set[str] = set()
    for sample in samples:
        picture = hash_arrays(sample.picture)
        reason = sample.reason or (TWIN if picture in seen else None)
        if reason is not None:
            bare = bare_reason(reason)
            dropped[bare] = dropped.get(bare, 0) + 1
            continue
        seen.add(picture)
        name, labels = stem_of(sample.id), final_labels(sample, split)
        if name in entries:
            raise ValueError(f"the id {name} comes twice")
        write_picture(folder / "JPEGImages" / f"{name}.jpg", sample.picture)
        write_labels(folder / "SegmentationClass" / f"{name}.png", labels, "palette")
        write_labels(folder / "SegmentationClassAug" / f"{name}.png", labels)
        confidence[name] = confidence_of(sample)
        per_class[sample.name] = per_class.get(sample.name, 0) + 1
        entries[name] = [
            sample.name, sample.prompt, str(sample.seed), hash_arrays(sample.picture, labels), f"{confidence[name]:.4f}"
        ]  # fmt: skip
    ids = list(confidence)
    lists = {"train": ids, "trainval": ids}
    lists["gfss_train"] = [f"JPEGImages/{name}.jpg SegmentationClassAug/{name}.png" for name in ids]
    for name, lines in lists.items():
        _write_list(folder / "ImageSets" / "Segmentation" / f"{name}.txt", lines)
    write_confidence(folder, confidence)
    return Assembled(tuple(ids), per_class, dropped, hash_json(dict(sorted(entries.items()))))


def _write_list(path: Path, lines: list[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): check rights and space") from error
