"""APF, APR and SABR as their formulas read, a loop over pixels in Python: what `benchmarks.repair` compares with.

Written from the papers' formulas as `pipeline.filtering`, `pipeline.relabel` and `pipeline.refine` state them, without
using any of their parts. Pictures are a whole number of pixels a feature cell.
"""

from __future__ import annotations

from math import floor, hypot, sqrt

import numpy as np

from pipeline.classes import ClassSplit
from pipeline.config import Experiment
from pipeline.types import BoundaryRefiner, Floats, LabelMap, Sample

Pixel = tuple[int, int]


def repair_by_pixels(
    sample: Sample, features: Floats, prototype: Floats, refiner: BoundaryRefiner, settings: Experiment,
    split: ClassSplit,
) -> LabelMap:  # fmt: skip
    """Give the repaired labels of a sample, uint8 (H, W)."""
    assert sample.labels is not None
    labels, target = sample.labels.astype(int), split.id_of(sample.name)
    height, width = labels.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    scale = height // features.shape[1]

    # APF: a component stays if its mean feature resembles the prototype
    free: set[Pixel] = set()
    for region in _components({p for p in pixels if labels[p] == target}, height, width):
        mean = sum(features[:, y // scale, x // scale] for y, x in region) / len(region)
        small = len(region) < settings.filter.min_area * len(pixels)
        if small or _cosine(mean, prototype) < settings.filter.min_similarity:
            free |= region
    kept = [p for p in pixels if labels[p] == target and p not in free]

    # APR: a free pixel is the class's if its feature resembles the blended prototype
    own = sum((features[:, y // scale, x // scale] for y, x in kept), np.zeros_like(prototype))
    beta = settings.relabel.blend
    blend = prototype if not kept else beta * prototype + (1 - beta) * own / sqrt(own @ own)
    cosines = [[_cosine(cell, blend) for cell in row] for row in features.transpose(1, 2, 0)]
    for p in list(free):
        if _between(cosines, p, scale) >= settings.relabel.min_similarity:
            free.remove(p)
    for p in free:
        labels[p] = 255

    # SABR: the band and the free pixels follow SAM
    half = max(1, round(settings.refine.band * max(height, width)))
    code = [[256 if (y, x) in free else labels[y, x] for x in range(width)] for y in range(height)]
    update = {p for p in pixels if p in free or _near_another(code, p, half)}
    pad = round(settings.refine.pad * max(height, width))
    regions, boxes = [], []
    for region in _components({p for p in pixels if labels[p] == target or p in free}, height, width):
        if sum(p not in free for p in region) / len(pixels) >= settings.refine.min_area:
            ys, xs = [y for y, _ in region], [x for _, x in region]
            regions.append(region)
            boxes.append((max(min(xs) - pad, 0), max(min(ys) - pad, 0),
                          min(max(xs) + 1 + pad, width), min(max(ys) + 1 + pad, height)))  # fmt: skip
    masks = refiner.segment(sample.picture, np.array(boxes, np.float32).reshape(-1, 4))[0]
    answered: set[Pixel] = set()
    inside: set[Pixel] = set()
    for region, (x0, y0, x1, y1), mask in zip(regions, boxes, masks, strict=True):
        covered = {p for p in pixels if mask[p]}
        if len(covered & region) >= settings.refine.min_overlap * len(covered | region):
            answered |= region
            inside |= {(y, x) for y, x in covered if y0 <= y < y1 and x0 <= x < x1}
    for p in pixels:
        if p in update and p in inside:
            labels[p] = target
        elif p in update and p in answered:
            labels[p] = 0
        elif p in free:
            labels[p] = 255
    return labels.astype(np.uint8)


def _components(left: set[Pixel], height: int, width: int) -> list[set[Pixel]]:
    """Part pixels into 8-connected components."""
    left, found = set(left), []
    while left:
        queue, region = [left.pop()], set()
        while queue:
            y, x = queue.pop()
            region.add((y, x))
            around = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= around
            queue += around
        found.append(region)
    return found


def _cosine(a: Floats, b: Floats) -> float:
    return float(a @ b) / (sqrt(float(a @ a)) * sqrt(float(b @ b)))


def _between(values: list[list[float]], pixel: Pixel, scale: int) -> float:
    """Give the bilinear value at the centre of a pixel; beyond the outermost centres of cells they are repeated."""
    (y, b), (x, a) = (_place(p, scale, len(values)) for p in pixel)
    low, high = (values[r][x] * (1 - a) + values[r][x + 1] * a for r in (y, y + 1))
    return low * (1 - b) + high * b


def _place(pixel: int, scale: int, cells: int) -> tuple[int, float]:
    at = min(max((pixel + 0.5) / scale - 0.5, 0), cells - 1)
    low = min(floor(at), cells - 2)
    return low, at - low


def _near_another(code: list[list[int]], pixel: Pixel, half: int) -> bool:
    """Whether a pixel of another code lies within a distance."""
    y, x = pixel
    return any(
        code[b][a] != code[y][x]
        for b in range(max(y - half, 0), min(y + half + 1, len(code)))
        for a in range(max(x - half, 0), min(x + half + 1, len(code[0])))
        if hypot(b - y, a - x) <= half
    )
