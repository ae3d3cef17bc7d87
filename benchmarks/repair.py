"""APF, APR and SABR without SAM's encoder: against that encoder, and against a reading of the formulas pixel by pixel.

    python -m benchmarks.repair --side 512

The encoder is that of SAM ViT-B (or ``--sam vit_h``) with random weights, at its own 1,024 pixels; SABR's share holds
SAM's decoder. Settings are those of the preset `pascal5i_fold0`. The reading pixel by pixel goes through a smaller
picture, since it takes minutes for a large one, and has to give the same labels.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Figure, Goal, Stopwatch, alternate, command
from benchmarks.pixel_by_pixel import repair_by_pixels
from flows.settings import load_config
from pipeline.classes import ClassSplit
from pipeline.config import Experiment
from pipeline.filtering import filter_regions
from pipeline.prototypes import unit
from pipeline.refine import refine
from pipeline.relabel import relabel
from pipeline.types import BoundaryRefiner, Floats, Picture, Sample

SPLIT = ClassSplit.of("pascal", 0)
NAME = SPLIT.novel[0]


SPOTS = (
    (0.45, 0.45, 0.22, 2, 2), (0.15, 0.8, 0.06, 0, 0), (0.8, 0.2, 0.05, 2, 2), (0.8, 0.8, 0.12, 2, -1),
)  # fmt: skip
"""Discs that are labelled as the class: row, column, radius, and how much their middle and their rim resemble it. The
second and the fourth are freed by APF; the middle of the fourth is claimed again by APR."""


@dataclass(frozen=True)
class Size:
    """How large pictures and SAM are."""

    side: int = 1024
    cells: int = 60
    channels: int = 512
    small: int = 128
    sam: str = "vit_b"
    repeats: int = 3


def scene(side: int, cells: int, channels: int) -> tuple[Sample, Floats, Floats]:
    """Make a first label with a thing, islands that are and are not of its class, a base class, and features.

    Returns:
        A sample (side, side), features (C, h, w), the prototype (C,).
    """
    rng = np.random.default_rng(0)
    prototype = unit(rng.standard_normal(channels).astype(np.float32))
    rows, columns = np.indices((side, side), dtype=np.float32) / side
    rough = 0.02 * np.sin(40 * rows) * np.cos(31 * columns)
    labels = np.where(columns < 0.1, 1, 0).astype(np.uint8)
    labels[:, int(0.98 * side) :] = 255
    y, x = (np.indices((cells, cells), dtype=np.float32) + 0.5) / cells
    alike = np.zeros((cells, cells), np.float32)
    for top, left, radius, inner, outer in SPOTS:
        labels[np.hypot(rows - top, columns - left) + rough < radius] = SPLIT.id_of(NAME)
        distance = np.hypot(y - top, x - left)
        alike[distance < 1.1 * radius] = outer
        alike[distance < 0.5 * radius] = inner
    features = rng.standard_normal((channels, cells, cells)).astype(np.float32) / np.float32(np.sqrt(channels))
    features += alike * prototype[:, None, None]
    picture = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    sample = Sample("bench-0000-0", NAME, f"a photo of a {NAME}", 0, picture, labels, np.zeros((side, side), bool))
    return sample, features, prototype


def repair(
    sample: Sample, features: Floats, prototype: Floats, refiner: BoundaryRefiner, settings: Experiment
) -> Sample:
    """Put a sample through APF, APR and SABR as the chain does."""
    sample = filter_regions(sample, features, prototype, SPLIT, settings.filter)
    sample = relabel(sample, features, prototype, SPLIT, settings.relabel)
    return refine(sample, refiner, SPLIT, settings.refine)


class Shrunk:
    """A refiner whose answers are the boxes with their corners cut, so that both readings are given the same."""

    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give the ellipse in every box."""
        rows, columns = np.indices(picture.shape[:2])
        x0, y0, x1, y1 = (boxes[:, i, None, None] for i in range(4))
        across = ((columns - (x0 + x1 - 1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1 - 1) / 2) / (y1 - y0)) ** 2
        return across <= 0.25, np.ones(len(boxes), np.float32)


class Remembered:
    """A refiner that repeats another one's answer, so that its decoder costs nothing."""

    def __init__(self, refiner: BoundaryRefiner) -> None:
        self._refiner = refiner
        self._known: dict[bytes, tuple[NDArray[np.bool_], Floats]] = {}

    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give the answer to these boxes, whatever the picture."""
        key = boxes.tobytes()
        if key not in self._known:
            self._known[key] = self._refiner.segment(picture, boxes)
        return self._known[key]


def random_sam(kind: str) -> Any:
    """Give a `SamRefiner` with random weights."""
    from pipeline.backends.precision import autocast_of
    from pipeline.backends.sam import OriginalSam, SamRefiner
    from pipeline.backends.segment_anything_import import load_segment_anything

    sam = load_segment_anything().sam_model_registry[kind]().eval()
    return SamRefiner(OriginalSam(sam, autocast_of("cpu", "fp32")))


def measure(size: Size) -> list[Figure]:
    """Time the encoder once, the rest several times; compare the two readings."""
    settings = load_config("pascal5i_fold0").experiment
    ours = against_encoder(size, settings, random_sam(size.sam))
    return [ours, against_pixels(size, settings)]


def against_encoder(size: Size, settings: Experiment, refiner: BoundaryRefiner) -> Figure:
    """Compare with the encoder of a refiner, which has to keep the embedding of its latest picture."""
    sample, features, prototype = scene(size.side, size.cells, size.channels)
    # a refiner of random weights would be skipped, which would be too quick
    lenient = settings.model_copy(update={"refine": settings.refine.model_copy(update={"min_overlap": 0.0})})
    box = np.array([[0, 0, size.side // 2, size.side // 2]], np.float32)
    watches = Stopwatch(), Stopwatch()
    for watch in watches:  # the second call finds the picture encoded
        with watch:
            refiner.segment(sample.picture, box)
    encoder = watches[0].wall - watches[1].wall
    squares = lenient.model_copy(update={"filter": settings.filter.model_copy(update={"part": 0.0625})})
    known = Remembered(refiner)
    whole, own, cut = alternate(
        lambda: repair(sample, features, prototype, refiner, lenient),
        lambda: repair(sample, features, prototype, known, lenient),
        lambda: repair(sample, features, prototype, known, squares), repeats=size.repeats,
    )  # fmt: skip
    encoder_cpu = watches[0].cpu - watches[1].cpu
    return Figure(
        "repair", f"APF + APR + SABR, {size.side} px", f"SAM's encoder, {size.sam}", whole.wall, encoder, "s a picture",
        Goal("most", 0.05),
        {"CPU s": whole.cpu, "reference CPU s": encoder_cpu, "CPU ratio": whole.cpu / encoder_cpu,
         "CPU s without SAM's decoder": own.cpu, "its ratio": own.cpu / encoder_cpu,
         "the same with regions cut into squares (filter.part 1/16)": cut.cpu},
    )  # fmt: skip


def against_pixels(size: Size, settings: Experiment) -> Figure:
    """Compare with the reading pixel by pixel.

    Raises:
        RuntimeError: the labels differ.
    """
    cells = size.small // 8
    sample, features, prototype = scene(size.small, cells, 32)
    arguments = (sample, features, prototype, Shrunk(), settings)
    mine, theirs = repair(*arguments), repair_by_pixels(*arguments, SPLIT)
    assert mine.labels is not None
    if (mine.labels != theirs).any():
        raise RuntimeError(f"{(mine.labels != theirs).sum()} pixels differ from the reading pixel by pixel")
    fast, slow = alternate(
        lambda: repair(*arguments), lambda: repair_by_pixels(*arguments, SPLIT), repeats=size.repeats
    )
    return Figure(
        "repair_pixels", f"APF + APR + SABR, {size.small} px", "the formulas pixel by pixel in Python", fast.wall,
        slow.wall, "s a picture", None, {"CPU ratio": fast.cpu / slow.cpu},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
