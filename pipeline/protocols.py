"""The two published conventions of generalized few-shot segmentation, which are not comparable with each other.

Source: systems.md section 3, every row of its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MIN_SHARE = 0.04
"""A support of small pictures, such as picto's, shows its class on at least this share (ours)."""

BASE_PIXELS, BASE_PICTURES = 60, 2
"""A base class is learnt from episodes of two pictures, which show it on at least so many pixels (ours)."""


@dataclass(frozen=True)
class GfssProtocol:
    """How a GFSS model is trained and scored.

    Pictures that are drawn (picto) or one's own come with supports of their own, and have their own ``side``.

    Attributes:
        name: gfss-diam or gfss-capl.
        pascal_base: list of PASCAL's base pictures.
        drop_novel: base pictures that show a novel class are left out; else their novel pixels are background.
        support_pixels: a support shows its class on at least so many pixels.
        base_labels: supports keep their labels of base classes; else these pixels are background.
        hide_supports: supports come from the validation pictures, and are left out of the scored ones.
        test_pictures: data set -> how many of its validation pictures a run scores; others all.
        side: longer side of the network's input in pixels; the rest of the square is padded.
        resolution: where pixels are counted: on the original label file, or on the padded square.
        base_key: which mean over base classes is called base: with or without background.
        aggregate: what is reported beside base and novel.
        seeds: of the published runs, each with its own supports; scores are averaged over them, then over the folds.
    """

    name: str
    pascal_base: str
    drop_novel: bool
    base_labels: bool
    hide_supports: bool
    test_pictures: Mapping[str, int]
    side: int
    resolution: Literal["original", "network"]
    base_key: Literal["base_miou", "base_miou_with_background"]
    aggregate: Literal["mean", "total"]
    seeds: tuple[int, ...]
    support_pixels: int = 16 * 32 * 32

    def least_pixels(self, size: int) -> int:
        """Give from how many pixels on a picture of ``size`` pixels can be a support."""
        return self.support_pixels if size >= 4 * self.support_pixels else max(1, round(MIN_SHARE * size))

    def reported(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """Give what the convention's papers report, fractions in 0..1."""
        found = {"base": self.base_key, "novel": "novel_miou", self.aggregate: f"{self.aggregate}_miou"}
        return {name: scores[key] for name, key in found.items()}


DIAM = GfssProtocol(
    name="gfss-diam", pascal_base="train_sbd", drop_novel=False, base_labels=False, hide_supports=True,
    test_pictures={"coco": 10_000, "coco2017": 10_000}, side=417, resolution="network", base_key="base_miou",
    aggregate="mean", seeds=(2023, 2024, 2025, 2026, 2027),
)  # fmt: skip
"""DIaM, VP and BCM. They draw five runs from a master seed of 2023; here its successors name the runs."""

CAPL = GfssProtocol(
    name="gfss-capl", pascal_base="train_aug", drop_novel=True, base_labels=True, hide_supports=False,
    test_pictures={}, side=473, resolution="original", base_key="base_miou_with_background", aggregate="total",
    seeds=(123, 321, 456, 654, 999),
)  # fmt: skip
"""CAPL; POP and GFSS-EKT differ in that they keep base pictures with novel things as background."""

PROTOCOLS: Mapping[str, GfssProtocol] = {p.name: p for p in (DIAM, CAPL)}
"""Name in the config -> protocol."""
