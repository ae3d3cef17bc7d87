"""What is known of often used models without having their weights: licence, size, published time.

Parameters are counted on the library's own classes built from the published configurations (docs/full_size.md), all
parts of a pipeline together. Times are others' measurements, none was repeated here; what of them is scaled says so.
"""

from __future__ import annotations

from dataclasses import dataclass

BF16, FP32 = 2, 4
"""Bytes a parameter."""

_STABILITY = "Stability AI Community License, free below a yearly revenue of 1 M USD"


@dataclass(frozen=True)
class Known:
    """A model.

    Attributes:
        licence: its name.
        millions: of parameters.
        gated: whether the hub asks for the licence to be accepted.
        side: of its pictures, in pixels.
        step: published seconds a denoising step, at batch 1 and not compiled; None: not known.
        card: GPU of that time, and whose it is.
        few_steps: whether it was trained for few steps.
    """

    licence: str
    millions: int
    gated: bool = False
    side: int = 1024
    step: float | None = None
    card: str = ""
    few_steps: bool = False


_ORT, _FAL = "one H100 (onnxruntime PR 22986)", "one A100 (fal-ai/stable-diffusion-benchmarks)"

GENERATORS = {
    "stabilityai/stable-diffusion-3.5-large": Known(_STABILITY, 13722, gated=True, step=11.6 / 50, card=_ORT),
    "stabilityai/stable-diffusion-3.5-large-turbo": Known(
        _STABILITY, 13722, gated=True, step=11.6 / 50 / 2, card=f"{_ORT}, half of Large's as there is no guidance",
        few_steps=True,
    ),
    "stabilityai/stable-diffusion-3.5-medium": Known(_STABILITY, 7908, gated=True),
    "stabilityai/stable-diffusion-xl-base-1.0": Known("CreativeML Open RAIL++-M", 3469, step=5.93 / 50, card=_FAL),
    "stabilityai/sdxl-turbo": Known(_STABILITY, 3469, side=512, few_steps=True),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Known(
        "CreativeML OpenRAIL-M", 1067, side=512, step=1.60 / 50, card=_FAL
    ),
    "SimianLuo/LCM_Dreamshaper_v7": Known("MIT", 1067, side=768, few_steps=True),
}  # fmt: skip

_APACHE = "Apache-2.0"
SAMS = {
    "vit_b": Known(_APACHE, 94), "vit_l": Known(_APACHE, 312), "vit_h": Known(_APACHE, 641),
    "facebook/sam-vit-base": Known(_APACHE, 94), "facebook/sam-vit-large": Known(_APACHE, 312),
    "facebook/sam-vit-huge": Known(_APACHE, 641), "facebook/sam2.1-hiera-large": Known(_APACHE, 217),
}  # fmt: skip
"""By hub name or kind of checkpoint."""

BACKBONES = {"microsoft/resnet-50": Known(_APACHE, 26)}

PICTURE_BYTES = 2.0
"""A pixel of a picture on the disk, in the store as PNG and in the data set as JPEG (rule of thumb for photographs)."""


def known(name: str, part: str) -> Known | None:
    """Give what is known of a model by its name in the config; ``part`` is generator, sam or backbone."""
    table = {"generator": GENERATORS, "sam": SAMS, "backbone": BACKBONES}.get(part, {})
    return table.get(name.partition("=")[0])
