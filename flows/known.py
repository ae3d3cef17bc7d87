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
        revision: commit of the hub that is taken where the config sets none, as public code pins it; None: main.
        pipeline: its class in diffusers.
    """

    licence: str
    millions: int
    gated: bool = False
    side: int = 1024
    step: float | None = None
    card: str = ""
    few_steps: bool = False
    revision: str | None = None
    pipeline: str | None = None


_ORT, _FAL = "one H100 (onnxruntime PR 22986)", "one A100 (fal-ai/stable-diffusion-benchmarks)"
_SD3, _SDXL = "StableDiffusion3Pipeline", "StableDiffusionXLPipeline"

GENERATORS = {
    "stabilityai/stable-diffusion-3.5-large": Known(
        _STABILITY, 13722, gated=True, step=11.6 / 50, card=_ORT, pipeline=_SD3,
        revision="ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f",
    ),
    "stabilityai/stable-diffusion-3.5-large-turbo": Known(
        _STABILITY, 13722, gated=True, step=11.6 / 50 / 2, card=f"{_ORT}, half of Large's as there is no guidance",
        few_steps=True, pipeline=_SD3, revision="ec07796fc06b096cc56de9762974a28f4c632eda",
    ),
    "stabilityai/stable-diffusion-3.5-medium": Known(
        _STABILITY, 7908, gated=True, pipeline=_SD3, revision="b940f670f0eda2d07fbb75229e779da1ad11eb80"
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": Known(
        "CreativeML Open RAIL++-M", 3469, step=5.93 / 50, card=_FAL, pipeline=_SDXL,
        revision="462165984030d82259a11f4367a4eed129e94a7b",
    ),
    "stabilityai/sdxl-turbo": Known(
        _STABILITY, 3469, side=512, few_steps=True, pipeline=_SDXL,
        revision="71153311d3dbb46851df1931d3ca6e939de83304",
    ),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Known(
        "CreativeML OpenRAIL-M", 1067, side=512, step=1.60 / 50, card=_FAL, pipeline="StableDiffusionPipeline",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    ),
    "SimianLuo/LCM_Dreamshaper_v7": Known(
        "MIT", 1067, side=768, few_steps=True, pipeline="LatentConsistencyModelPipeline",
        revision="a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
    ),
}  # fmt: skip

_APACHE = "Apache-2.0"
SAMS = {
    "vit_b": Known(_APACHE, 94), "vit_l": Known(_APACHE, 312), "vit_h": Known(_APACHE, 641),
    "facebook/sam-vit-base": Known(_APACHE, 94, revision="70c1a07f894ebb5b307fd9eaaee97b9dfc16068f"),
    "facebook/sam-vit-large": Known(_APACHE, 312, revision="6851e0441005b0fb96f2cc4dfac472f3d1b14af1"),
    "facebook/sam-vit-huge": Known(_APACHE, 641, revision="87aecf0df4ce6b30cd7de76e87673c49644bdf67"),
    "facebook/sam2.1-hiera-large": Known(_APACHE, 217, revision="665f8e2ad61cf5f53d65644ff27c8ee525124610"),
}  # fmt: skip
"""By hub name or kind of checkpoint."""

BACKBONES = {"microsoft/resnet-50": Known(_APACHE, 26)}

PICTURE_BYTES = 2.0
"""A pixel of a picture on the disk, in the store as PNG and in the data set as JPEG (rule of thumb for photographs)."""


def known(name: str, part: str) -> Known | None:
    """Give what is known of a model by its name in the config; ``part`` is generator, sam or backbone."""
    table = {"generator": GENERATORS, "sam": SAMS, "backbone": BACKBONES}.get(part, {})
    return table.get(name.partition("=")[0])
