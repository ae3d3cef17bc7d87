"""Shapes of full-size generators by their numbers, so that they can be built with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
}  # fmt: skip
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Family:
    """A generator's shape.

    Attributes:
        title: its name.
        pipeline: class in diffusers; so are ``network_class`` and ``scheduler_class``.
        network: what the class of the denoiser is built from.
        vae: what AutoencoderKL is built from.
        scheduler: what the scheduler is built from.
        side: of the pictures, pixels.
        words: shape of one sentence's token states.
        pooled: length of its pooled vector; 0: the family has none.
        guidance: classifier-free guidance.
    """

    title: str
    pipeline: str
    network_class: str
    network: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler_class: str
    scheduler: Mapping[str, Any]
    side: int
    words: tuple[int, int]
    pooled: int = 0
    guidance: float = 5.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """What the pipeline calls its denoiser."""
        return "transformer" if "Transformer" in self.network_class else "unet"


FAMILIES = {
    "sd15": Family(
        "SD 1.5", "StableDiffusionPipeline", "UNet2DConditionModel", {"sample_size": 64, "cross_attention_dim": 768},
        {**_VAE, "latent_channels": 4, "scaling_factor": 0.18215}, "DDIMScheduler",
        {**_BETAS, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}, 512, (77, 768), guidance=7.5,
        extra={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    "sdxl": Family(
        "SDXL", "StableDiffusionXLPipeline", "UNet2DConditionModel",
        {
            "sample_size": 128, "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048, "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        {**_VAE, "latent_channels": 4, "scaling_factor": 0.13025}, "EulerDiscreteScheduler",
        {**_BETAS, "steps_offset": 1, "timestep_spacing": "leading"}, 1024, (77, 2048), 1280,
        extra={"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False},
    ),
    "sd35": Family(
        "SD 3.5 Large", "StableDiffusion3Pipeline", "SD3Transformer2DModel",
        {
            "sample_size": 128, "num_layers": 38, "num_attention_heads": 38, "attention_head_dim": 64,
            "caption_projection_dim": 2432, "joint_attention_dim": 4096, "pooled_projection_dim": 2048,
            "pos_embed_max_size": 192, "qk_norm": "rms_norm",
        },
        {
            **_VAE, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 1024, (333, 4096), 2048, 4.5,
        extra={"text_encoder_2": None, "tokenizer_2": None, "text_encoder_3": None, "tokenizer_3": None},
    ),
}  # fmt: skip
"""The published shapes; where a number is not given, it is the default of diffusers' class."""


def network_of(family: Family) -> Any:
    """Build the denoiser on torch's current device."""
    import diffusers

    return getattr(diffusers, family.network_class)(**family.network)


def build(family: Family, device: str) -> Any:
    """Build a pipeline without text encoders: random weights, bfloat16 on a GPU, float32 on a CPU."""
    import diffusers
    import torch

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    try:
        with torch.device(device):
            network, vae = network_of(family), diffusers.AutoencoderKL(**family.vae)
    finally:
        torch.set_default_dtype(before)
    scheduler = getattr(diffusers, family.scheduler_class)(**family.scheduler)
    pipe = getattr(diffusers, family.pipeline)(
        vae=vae.eval(), scheduler=scheduler, text_encoder=None, tokenizer=None, **{family.part: network.eval()},
        **family.extra,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def embeddings(family: Family, count: int, dtype: Any, device: str) -> dict[str, Any]:
    """Give random token states, and pooled vectors where the family has them, of ``count`` sentences and of silence."""
    import torch

    def drawn(seed: int, *shape: int) -> Any:
        values = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
        return values.to(device, dtype)

    shapes = {"prompt_embeds": family.words}
    if family.pooled:
        shapes["pooled_prompt_embeds"] = (family.pooled,)  # type: ignore[assignment]
    told = {key: torch.stack([drawn(seed, *shape) for seed in range(count)]) for key, shape in shapes.items()}
    return {**told, **{f"negative_{key}": drawn(-1, *shape).expand(count, *shape) for key, shape in shapes.items()}}
