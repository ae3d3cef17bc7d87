"""SABR, the SAM-aided boundary refinement: boundaries and undecided pixels follow SAM, interiors stay.

Source: Syn4Seg, SABR. Let U be the band of half-width w along every boundary of the label map, and the free pixels;
nothing outside U changes. Every component r of the novel class together with the free pixels that adjoin it, tight box
padded, prompts SAM, which answers S_r: what APF freed may be a part of the thing that the supports do not show.

1. r is skipped if IoU(S_r, r) < ``min_overlap``: SAM saw something else.
2. A pixel of U inside the box with S_r = 1 becomes the class.
3. A pixel of U in an answered region that no S_r covers becomes background.
4. A free pixel of no answered region that no S_r covers becomes ignore (255). No pixel stays free.

Source of the free pixels' part in 1, and of 4: ours, decisions.md, free pixels.

One novel class is left in a picture by then, so overlapping answers agree and their union counts.
"""

from __future__ import annotations

import numpy as np

from pipeline.classes import BACKGROUND, IGNORE, ClassSplit
from pipeline.config import RefineSettings
from pipeline.regions import boundary_band, components, tight_box
from pipeline.types import BoundaryRefiner, LabelMap, Mask, Sample

VERSION = 2

_FREE = 256
"""Code of free pixels while boundaries are looked for; no label has it."""


def band_width(size: tuple[int, int], settings: RefineSettings) -> int:
    """Give the half-width w of the band in pixels for pictures of a size (H, W), at least 1."""
    return max(1, round(settings.band * max(size)))


def update_set(labels: LabelMap, free: Mask, half_width: int) -> Mask:
    """Give U, bool (H, W): the band along every boundary of the label map, and the free pixels."""
    return free | boundary_band(np.where(free, _FREE, labels.astype(np.int16)), half_width)


def refine(sample: Sample, refiner: BoundaryRefiner, split: ClassSplit, settings: RefineSettings) -> Sample:
    """Sharpen the labels of a sample with SAM.

    Args:
        sample: relabelled.
        refiner: answers boxes with masks.
        split: base and novel classes.
        settings: see `RefineSettings`.

    Returns:
        The sample without free pixels; unchanged where the stage is disabled.

    Raises:
        ValueError: the sample has no labels.
    """
    if sample.reason is not None:
        return sample
    if sample.labels is None or sample.free is None:
        raise ValueError(f"sample {sample.id} has no labels to refine")
    if not settings.enabled:
        return sample
    size = sample.labels.shape
    target = split.id_of(sample.name)
    update = update_set(sample.labels, sample.free, band_width(size, settings))

    # 1. one box for every component of the class and its free pixels; SAM answers all of them at once
    kept = sample.labels == target
    regions = [r for r in components(kept | sample.free) if (r & kept).mean() >= settings.min_area]
    boxes = [tight_box(r, pad=round(settings.pad * max(size))) for r in regions]
    answered, inside, overlaps = _ask(sample, refiner, regions, boxes, settings.min_overlap)

    # 2. only pixels of the update set follow the answers
    labels = sample.labels.copy()
    labels[update & answered & ~inside] = BACKGROUND
    labels[update & inside] = target

    # 3. free pixels that nobody has an answer for
    labels[sample.free & ~inside & ~answered] = IGNORE

    result = sample.labelled(
        labels, np.zeros(size, dtype=bool), sabr_regions=float(len(regions)),
        sabr_skipped=float(sum(o < settings.min_overlap for o in overlaps)),
        sabr_overlap=float(np.mean(overlaps)) if overlaps else 0.0,
        sabr_changed=float((labels != sample.labels).mean()),
    )
    return result if (labels == target).any() else result.dropped(f"nothing of {sample.name} is left")


def _ask(
    sample: Sample,
    refiner: BoundaryRefiner,
    regions: list[Mask],
    boxes: list[tuple[int, int, int, int]],
    min_overlap: float,
) -> tuple[Mask, Mask, list[float]]:
    """Give the pixels of the answered regions, the pixels that answers cover inside their boxes, and each IoU."""
    size = sample.picture.shape[:2]
    answered, inside = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    overlaps: list[float] = []
    if not regions:
        return answered, inside, overlaps
    masks, _ = refiner.segment(sample.picture, np.array(boxes, dtype=np.float32))
    for region, (x0, y0, x1, y1), mask in zip(regions, boxes, masks, strict=True):
        overlaps.append(float((mask & region).sum() / (mask | region).sum()))
        if overlaps[-1] >= min_overlap:
            answered |= region
            inside[y0:y1, x0:x1] |= mask[y0:y1, x0:x1]
    return answered, inside, overlaps
