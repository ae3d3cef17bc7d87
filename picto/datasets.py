"""The data sets of picto-5i, drawn on first use: VOC layout, labels by dataset id."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from picto.scenes import IMAGE_SIZE, Scene, draw_portrait, draw_scene
from picto.seeds import scene_rng
from pipeline.classes import PICTO
from pipeline.folders import make_folder

VERSION = 1
Progress = Callable[[int, int], None]


def label_map(scene: Scene) -> np.ndarray:
    """Give the exact labels of a scene as dataset ids, uint8 (H, W); 0 is background."""
    labels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for thing in scene.things:
        labels[thing.mask] = PICTO.index(thing.name) + 1
    return labels


def draw_for(purpose: str, index: int) -> Scene:
    """Draw the ``index``-th scene of a purpose; scene i shows class i modulo 20, so that all occur equally often.

    The pictures of "audit" are portraits: they stand for generated pictures, with masks that are known.
    """
    rng, name = scene_rng(purpose, index), PICTO[index % len(PICTO)]
    return draw_portrait(rng, name) if purpose == "audit" else draw_scene(rng, must_show=name)


def ensure_dataset(root: Path, purpose: str, count: int, progress: Progress | None = None) -> Path:
    """Give the folder of a data set; draw it where it is not there yet, see `make_folder`.

    The folder has JPEGImages (PNG would be larger), SegmentationClassAug (index PNG, dataset ids) and
    ImageSets/Segmentation/all.txt.

    Args:
        root: folder of picto's data, such as ``outputs/data/picto``.
        purpose: base, support, validation, tuning, audit or oracle; its seeds are those of `picto.seeds`.
        count: how many scenes.
        progress: called with the number drawn and ``count``.

    Returns:
        ``root/<purpose>-<count>``.
    """
    folder = root / f"{purpose}-{count}"
    record, done = {"purpose": purpose, "count": count, "version": VERSION}, folder / "record.json"

    def write(partial: Path) -> None:
        _draw(partial, purpose, count, progress)
        (partial / "record.json").write_text(json.dumps(record))

    make_folder(folder, lambda: done.exists() and json.loads(done.read_text()) == record, write)
    return folder


def _draw(folder: Path, purpose: str, count: int, progress: Progress | None) -> None:
    for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    ids = []
    for index in range(count):
        scene = draw_for(purpose, index)
        ids.append(f"{purpose}_{index:06d}")
        picture = Image.fromarray(scene.picture)
        picture.save(folder / "JPEGImages" / f"{ids[-1]}.jpg", quality=95, subsampling=0)
        Image.fromarray(label_map(scene)).save(folder / "SegmentationClassAug" / f"{ids[-1]}.png")
        if progress and (index % 20 == 19 or index == count - 1):
            progress(index + 1, count)
    (folder / "ImageSets/Segmentation/all.txt").write_text("\n".join(ids) + "\n")
