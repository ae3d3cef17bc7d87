"""Untrained diffusers pipelines and a chat model of a few thousand weights, of the real classes, as they are saved."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderTiny,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from picto.recipes.tokenizer import MAX_TOKENS, build_tokenizer

WORDS = "a the of on in red blue green small big boat cup car bird cat with grass photo thing"


def save_tiny_generator(kind: str, place: Path) -> Path:
    """Save a pipeline: sd1, sd1-safe, sdxl, sd3, sd3-no-t5, flux, pixart, qwen or lcm; pictures of 16 px."""
    torch.manual_seed(0)
    made: dict[str, Any] = {"sd1": _sd1, "sd1-safe": _sd1_safe, "sdxl": _sdxl, "sd3": _sd3, "sd3-no-t5": _sd3_no_t5,
                            "flux": _flux, "pixart": _pixart, "qwen": _qwen, "lcm": _lcm}  # fmt: skip
    made[kind]().save_pretrained(place)
    return place


def save_tiny_chat_model(place: Path) -> Path:
    """Save a chat model of two layers, one token a byte."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def _sd1(vae: Any = None, **safety: Any) -> StableDiffusionPipeline:
    safety = safety or {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    vae = vae or AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False, steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae, unet=_unet(cross_attention_dim=16), scheduler=scheduler, tokenizer=build_tokenizer(),
        text_encoder=_clip(CLIPTextModel, 16), **safety,
    )


def _sd1_safe() -> StableDiffusionPipeline:
    checker = StableDiffusionSafetyChecker(CLIPConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            patch_size=8,
        ).to_dict(),
        text_config=CLIPTextConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2).to_dict(),
        projection_dim=16,
    ))
    extractor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return _sd1(_vae(4), safety_checker=checker, feature_extractor=extractor, requires_safety_checker=True)


def _sdxl() -> StableDiffusionXLPipeline:
    unet = _unet(
        cross_attention_dim=40, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4), unet=unet, scheduler=EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
        tokenizer=build_tokenizer(), tokenizer_2=build_tokenizer(), text_encoder=_clip(CLIPTextModel, 16),
        text_encoder_2=_clip(CLIPTextModelWithProjection, 24), add_watermarker=False,
    )


def _sd3(*, t5: bool = True) -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=48, caption_projection_dim=32, pooled_projection_dim=40,
    )
    return StableDiffusion3Pipeline(
        vae=_vae(4), transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=build_tokenizer(), tokenizer_2=build_tokenizer(), tokenizer_3=_t5_tokenizer() if t5 else None,
        text_encoder=_clip(CLIPTextModelWithProjection, 16), text_encoder_2=_clip(CLIPTextModelWithProjection, 24),
        text_encoder_3=_t5(48) if t5 else None,
    )


def _sd3_no_t5() -> StableDiffusion3Pipeline:
    return _sd3(t5=False)


def _flux() -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8), guidance_embeds=False,
    )
    return FluxPipeline(
        vae=_vae(4), transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), tokenizer=build_tokenizer(),
        tokenizer_2=_t5_tokenizer(), text_encoder=_clip(CLIPTextModel, 16), text_encoder_2=_t5(32),
    )


def _pixart() -> PixArtSigmaPipeline:
    transformer = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, cross_attention_dim=16, caption_channels=32, norm_num_groups=1,
    )
    return PixArtSigmaPipeline(
        vae=_vae(4), transformer=transformer, scheduler=DPMSolverMultistepScheduler(), tokenizer=_t5_tokenizer(),
        text_encoder=_t5(32),
    )


def _qwen() -> QwenImagePipeline:
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )
    tokenizer = _byte_tokenizer()
    text_encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    ))
    return QwenImagePipeline(
        vae=vae, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), tokenizer=tokenizer,
        text_encoder=text_encoder,
    )


def _lcm() -> LatentConsistencyModelPipeline:
    return LatentConsistencyModelPipeline(
        vae=_vae(4), unet=_unet(cross_attention_dim=16, time_cond_proj_dim=8), scheduler=LCMScheduler(),
        tokenizer=build_tokenizer(), text_encoder=_clip(CLIPTextModel, 16), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )


def _unet(**kind: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8, norm_num_groups=4, **kind,
    )  # fmt: skip


def _vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, latent_channels=channels, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1, scaling_factor=1.5,
    )


def _clip(kind: Any, width: int) -> Any:
    tokenizer = build_tokenizer()
    return kind(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=16, projection_dim=width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=MAX_TOKENS, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    ))


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(
        vocab_size=64, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
    ))


def _t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS.split())]
    return T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0, model_max_length=64)


def _byte_tokenizer() -> Qwen2Tokenizer:
    special = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *special]
    return Qwen2Tokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], bos_token=special[0], eos_token=special[1],
        model_max_length=1024,
    )
