"""The diffusers backend with a real, tiny, untrained `StableDiffusionPipeline`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from picto.recipes.tokenizer import MAX_TOKENS, build_tokenizer
from pipeline.backends.stable_diffusion import DiffusionGenerator
from pipeline.errors import InputError

PROMPTS = ["a red boat", "a blue cup", "a red boat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline of 16 px pictures."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, projection_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=MAX_TOKENS, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    ))
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=8, norm_num_groups=4,
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False, steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )
    place = tmp_path_factory.mktemp("generator")
    pipe.save_pretrained(place)
    return place


def test_a_picture_depends_on_its_prompt_and_seed_alone(folder: Path) -> None:
    """Equal prompts with other seeds differ; a second call, and another batch size, draw the same."""
    generator = DiffusionGenerator.from_folder(folder, steps=2, guidance=2.0, batch=2)
    pictures = generator.draw(PROMPTS, [1, 2, 2**62])
    assert all(p.dtype == np.uint8 for p in pictures)
    assert all(p.shape == (16, 16, 3) for p in pictures)
    assert not np.array_equal(pictures[0], pictures[2])
    again = generator.draw(PROMPTS, [1, 2, 2**62])
    assert all(np.array_equal(a, b) for a, b in zip(pictures, again, strict=True))
    whole = DiffusionGenerator.from_folder(folder, steps=2, guidance=2.0, batch=8).draw(PROMPTS, [1, 2, 2**62])
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(pictures, whole, strict=True)) <= 1


def test_reused_embeddings_draw_what_diffusers_draws(folder: Path) -> None:
    """The backend gives the pictures of a plain call of the pipeline with the sentence."""
    generator = DiffusionGenerator.from_folder(folder, steps=2, guidance=2.0, guidance_rescale=0.5)
    plain = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    theirs = plain(
        PROMPTS[:2], num_inference_steps=2, guidance_scale=2.0, guidance_rescale=0.5, output_type="np",
        generator=[torch.Generator().manual_seed(s) for s in (5, 6)],
    ).images
    for mine, other in zip(generator.draw(PROMPTS[:2], [5, 6]), theirs, strict=True):
        assert np.abs(mine - other * 255).max() <= 1
    unguided = DiffusionGenerator.from_folder(folder, steps=1, guidance=1.0)
    assert len(unguided.draw(PROMPTS, [1, 2, 3])) == 3


def test_sentences_become_unit_vectors(folder: Path) -> None:
    """Equal sentences have equal vectors of length 1, others differ, and no sentence gives no vector."""
    generator = DiffusionGenerator.from_folder(folder, steps=1, guidance=2.0)
    vectors = generator.encode(PROMPTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert float(vectors[0] @ vectors[1]) < 0.9999
    assert len(generator.encode([])) == 0


def test_bad_weights_are_one_clear_sentence(folder: Path, tmp_path: Path) -> None:
    """No folder, a missing file and a tensor of the wrong shape are told with the folder; weights ids differ."""
    first = DiffusionGenerator.from_folder(folder, 1, 2.0)
    with pytest.raises(InputError, match="no generator in"):
        DiffusionGenerator.from_folder(tmp_path / "nowhere", 1, 2.0)
    copy = tmp_path / "copy"
    _copy(folder, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.bias"] = tensors["conv_in.bias"] + 1
    save_file(tensors, weights)
    assert DiffusionGenerator.from_folder(copy, 1, 2.0).weights_id != first.weights_id
    shifted = tensors.pop("conv_in.bias")
    save_file(tensors, weights)
    with pytest.raises(InputError, match="unet holds"):
        DiffusionGenerator.from_folder(copy, 1, 2.0)
    tensors["conv_in.bias"] = shifted[:3].clone()
    save_file(tensors, weights)
    with pytest.raises(InputError, match="cannot be loaded"):
        DiffusionGenerator.from_folder(copy, 1, 2.0)
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        DiffusionGenerator.from_folder(copy, 1, 2.0)
    with pytest.raises(ValueError, match="2 seeds"):
        first.draw(["a boat"], [1, 2])


def _copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
