"""A contact sheet of one sample: its picture, and its label over the picture after every stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.report.found import LABELLING, History
from flows.report.pictures import FREE, SIDE, class_colours, codes_of
from flows.report.samples import Measured
from flows.report.why import NAMES
from pipeline.classes import IGNORE, ClassSplit
from pipeline.images import write_picture
from pipeline.types import LabelMap, Picture

TITLES = {**NAMES, "annotate": "first label"}
OPACITY = 0.6
"""Of the labels over the picture."""
GAP, LINE, FONT = 12, 20, 14
"""Pixels between the cells, of a line of text and of its letters."""
_INK, _PAPER, _GONE = (30, 30, 30), (255, 255, 255), (225, 225, 225)


def write_sheet(path: Path, history: History, measured: Measured, split: ClassSplit) -> None:
    """Write picture, first label, APF, APR, SABR and final label side by side, with titles and a legend."""
    picture = history.picture()
    scale = SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    cells: list[tuple[str, Image.Image | None]] = [("picture", _enlarged(picture, size))]
    for stage in (*LABELLING, "final"):
        codes = measured.codes.get(stage)
        reached = codes is not None and not _after(stage, history.dropped_at)
        title = TITLES[stage] + (" (dropped here)" if stage == history.dropped_at else "")
        cells.append((title, overlay(picture, codes, split, size) if reached and codes is not None else None))
    last = history.last
    head = [f"{last['id']}: {'kept' if last['reason'] is None else 'dropped, ' + last['reason']}"]
    head += wrap(f'"{last["prompt"]}", seed {last["seed"]}', 180)
    width = len(cells) * (size[0] + GAP) + GAP
    top = GAP + LINE * len(head)
    sheet = Image.new("RGB", (width, top + LINE + size[1] + 2 * GAP + 2 * LINE), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for row, text in enumerate(head):
        draw.text((GAP, GAP + row * LINE - 4), text, _INK, font)
    for place, (title, cell) in enumerate(cells):
        left = GAP + place * (size[0] + GAP)
        draw.text((left, top), title, _INK, font)
        if cell is None:
            draw.rectangle((left, top + LINE, left + size[0] - 1, top + LINE + size[1] - 1), _GONE)
        else:
            sheet.paste(cell, (left, top + LINE))
    _legend(sheet, (GAP, top + LINE + size[1] + GAP), list(measured.codes.values()), split)
    write_picture(path, np.asarray(sheet))


def overlay(picture: Picture, codes: LabelMap, split: ClassSplit, size: tuple[int, int]) -> Image.Image:
    """Lay a map of codes, uint8 (H, W), over its picture, uint8 RGB (H, W, 3); ``size`` is width and height."""
    colours = class_colours(split)[codes]
    alpha = colours[..., 3:] / 255 * OPACITY
    mixed = picture * (1 - alpha) + colours[..., :3] * alpha
    return _enlarged(mixed.round().astype(np.uint8), size)


def _enlarged(picture: Picture, size: tuple[int, int]) -> Image.Image:
    small = picture.shape[1] < size[0]
    return Image.fromarray(picture).resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def _after(stage: str, dropped_at: str | None) -> bool:
    order = ("images", *LABELLING, "final")
    return dropped_at is not None and order.index(stage) > order.index(dropped_at)


def _legend(sheet: Image.Image, corner: tuple[int, int], maps: Sequence[LabelMap], split: ClassSplit) -> None:
    """Draw a swatch and a name for every code that is there."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    present = sorted({int(code) for codes in maps for code in np.unique(codes)} - {0})
    names = {FREE: "free (not decided yet)", IGNORE: "ignored (255)"}
    left, top = corner
    for code in present:
        name = names.get(code) or split.names[code]
        wide = LINE + round(draw.textlength(name, font)) + 2 * GAP
        if left + wide > sheet.width and left > corner[0]:
            left, top = corner[0], top + LINE
        swatch = np.full((7, 7), code, np.uint8)
        if code == FREE:
            swatch = codes_of(swatch * 0, np.ones_like(swatch, bool))
        elif code == IGNORE:
            swatch = codes_of(swatch)
        paper = np.full((7, 7, 3), 160, np.uint8)
        sheet.paste(overlay(paper, swatch, split, (14, 14)), (left, top))
        draw.text((left + LINE, top - 2), name, _INK, font)
        left += wide
