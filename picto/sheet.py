"""Contact sheets of the drawn world: ``python -m picto.sheet FOLDER``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from picto.datasets import draw_for
from picto.scenes import draw_portrait
from picto.seeds import scene_rng
from picto.things import FOLD_CLASSES


def grid(pictures: Sequence[np.ndarray], columns: int, enlarge: int = 1) -> Image.Image:
    """Lay pictures of one size, uint8 RGB (H, W, 3), out in rows; the last row is filled with white."""
    height, width = pictures[0].shape[:2]
    blank = np.full_like(pictures[0], 255)
    cells = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((columns * width * enlarge, len(rows) * height * enlarge), Image.Resampling.NEAREST)


def world_sheet() -> Image.Image:
    """Show both kinds of every class twice: 10 rows of 8 pictures, two classes a row."""
    cells = []
    for number, (name, kinds) in enumerate(FOLD_CLASSES.items()):
        wanted = dict.fromkeys(kinds, 2)
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        index = number * 1000
        while any(len(found[k]) < wanted[k] for k in kinds):
            scene = draw_portrait(scene_rng("tuning", index), name)
            kind = scene.things[0].kind
            if len(found[kind]) < wanted[kind]:
                found[kind].append(scene.picture)
            index += 1
        cells += [picture for kind in kinds for picture in found[kind]]
    return grid(cells, columns=8)


def scene_sheet(count: int = 40) -> Image.Image:
    """Show scenes of one to three things."""
    return grid([draw_for("tuning", i).picture for i in range(count)], columns=8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    world_sheet().save(folder / "picto_portraits.png", optimize=True)
    scene_sheet().save(folder / "picto_scenes.png", optimize=True)
