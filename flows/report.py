"""A contact sheet a class: picture, first label, after APF, APR and SABR; the worst samples first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.classes import IGNORE
from pipeline.images import voc_palette, write_picture
from pipeline.store import RunStore, StageRecord
from pipeline.types import Picture, Sample

_STAGES = ("annotate", "filter", "relabel", "refine")
_HEADS = ("picture", "first", "APF", "APR", "SABR")
_SIDE = 128
_ROWS = 40
_TOP = 14
_FREE_COLOUR = (255, 255, 255)
_IGNORE_COLOUR = (128, 128, 128)


def write_sheets(store: RunStore, records: Sequence[StageRecord], folder: Path) -> list[Path]:
    """Write ``<class>.png`` for every class that has labelled pictures; free pixels are white, ignored ones grey."""
    by_class: dict[str, list[list[Sample]]] = {}
    shards = sorted({r.shard for r in records if r.stage == "annotate"})
    for shard in shards:
        stages = [r for stage in _STAGES for r in records if r.stage == stage and r.shard == shard]
        if len(stages) < len(_STAGES):
            continue
        for versions in zip(*(store.samples(r) for r in stages), strict=True):
            rows = by_class.setdefault(versions[0].name, [])
            rows.append(list(versions))
    paths = []
    for name, rows in sorted(by_class.items()):
        rows.sort(key=lambda versions: _goodness(versions[-1]))
        paths.append(folder / f"{name.replace(' ', '_')}.png")
        write_picture(paths[-1], _sheet(rows[:_ROWS]))
    return paths


def _goodness(sample: Sample) -> tuple[bool, float]:
    """Dropped samples first, then by their resemblance to the supports and by SAM's agreement."""
    return sample.reason is None, sample.scores.get("apf_best", 0.0) + sample.scores.get("sabr_overlap", 0.0)


def _sheet(rows: Sequence[Sequence[Sample]]) -> Picture:
    sheet = Image.new("RGB", (len(_HEADS) * _SIDE, len(rows) * (_SIDE + _TOP) + _TOP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(_HEADS):
        draw.text((column * _SIDE + 2, 1), head, fill="black")
    for number, versions in enumerate(rows):
        top = _TOP + number * (_SIDE + _TOP)
        cells = [versions[0].picture, *(_overlay(v) for v in versions)]
        for column, cell in enumerate(cells):
            scaled = Image.fromarray(cell).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            sheet.paste(scaled, (column * _SIDE, top))
        last = versions[-1]
        note = f"{last.id}  {last.prompt}" + (f"  DROPPED: {last.reason}" if last.reason else "")
        draw.text((2, top + _SIDE + 1), note[:105], fill="black")
    return np.asarray(sheet)


def _overlay(sample: Sample) -> Picture:
    if sample.labels is None or sample.free is None:
        return sample.picture // 3
    colours: NDArray[np.uint8] = voc_palette()[sample.labels].copy()
    colours[sample.labels == IGNORE] = _IGNORE_COLOUR
    colours[sample.free] = _FREE_COLOUR
    plain = (sample.labels == 0)[..., None]
    mixed = np.where(plain, sample.picture, (sample.picture.astype(np.uint16) + 2 * colours) // 3)
    return np.asarray(mixed, dtype=np.uint8)
