"""The gallery's files: small pictures with strips of their label maps, and details in pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flows.report.found import LABELLING, Found, read_histories
from flows.report.pictures import class_colours, write_strip, write_thumbnail
from flows.report.samples import Gallery, measure
from flows.report.script import write_script
from flows.report.why import Stories
from pipeline.classes import ClassSplit

CHUNK = 100
"""Samples a file of details; a page of the gallery loads the files of the samples that it shows."""
PER_FOLDER = 1000


def write_samples(found: Found, split: ClassSplit, limits: Mapping[str, float], folder: Path) -> Gallery:
    """Write thumbnails, strips and details of all samples below ``folder``, and give what sums them up."""
    gallery, colours, sizes = Gallery(), class_colours(split), []
    for number, history in enumerate(read_histories(found)):
        stem = folder / "samples" / f"{number // PER_FOLDER:03d}" / f"{number:06d}"
        measured = measure(history, split)
        sizes.append(write_thumbnail(stem.with_suffix(".jpg"), history.picture()))
        if measured.codes:
            nothing = np.zeros(measured.size, np.uint8)
            maps = [measured.codes.get(stage, nothing) for stage in (*LABELLING, "final")]
            write_strip(stem.with_suffix(".png"), maps, colours)
        gallery.add(history, split, measured)

    stories = Stories(gallery, split, limits)  # they compare a sample with all others, hence a second round
    details: list[dict[str, Any]] = []
    for number, history in enumerate(read_histories(found)):
        last = history.last
        details.append({
            "id": last["id"], "prompt": last["prompt"], "seed": str(last["seed"]), "size": sizes[number],
            "shard": history.folders["images"].name, "story": stories.story(number),
            "why": stories.why(number, last["reason"]),
        })  # fmt: skip
        if len(details) == CHUNK or number + 1 == gallery.count:
            chunk = number // CHUNK
            write_script(folder / "data" / f"samples-{chunk:04d}.js", f"details/{chunk}", details)
            details = []
    return gallery
