"""The diffusers backend: pictures of tiny, untrained pipelines of the real classes."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image, LCMScheduler
from safetensors.torch import load_file, save_file

from pipeline.backends.diffusion_family import Family
from pipeline.backends.stable_diffusion import DiffusionGenerator
from pipeline.config import GenerateSettings, GeneratorExecution
from pipeline.errors import InputError, OutOfMemory
from pipeline.generate import draw_samples, plan_samples
from prompts.bank import Prompt

KINDS = ("sd1", "sdxl", "sd3", "sd3-no-t5", "flux", "pixart", "qwen", "lcm")
OPTIONS = {"pixart": {"use_resolution_binning": False}}
PROMPTS = ["a red boat", "a big blue cup", "a red boat"]
SEEDS = [1, 2, 2**62]


def settings(kind: str = "sd1", **more) -> GenerateSettings:
    return GenerateSettings(**{"steps": 2, "guidance": 2.0, "size": 16, "options": OPTIONS.get(kind, {}), **more})


def load(folder: Path, kind: str = "sd1", speed: GeneratorExecution | None = None, **more) -> DiffusionGenerator:
    return DiffusionGenerator.from_folder(folder, settings(kind, **more), speed=speed)


def pictures(generator: DiffusionGenerator, prompts=PROMPTS, seeds=SEEDS) -> np.ndarray:
    drawn = list(generator.draw(prompts, seeds))
    assert [flaw for _, flaw in drawn] == [None] * len(prompts)
    return np.stack([picture for picture, _ in drawn])


def theirs(folder: Path, prompts, seeds, **arguments) -> np.ndarray:
    """What diffusers draws when it is called with sentences."""
    absent = {"text_encoder_3": None, "tokenizer_3": None} if "no-t5" in str(folder) else {}
    pipe = AutoPipelineForText2Image.from_pretrained(folder, dtype=torch.float32, **absent)
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        prompts, num_inference_steps=2, height=16, width=16, output_type="np",
        generator=[torch.Generator().manual_seed(s) for s in seeds], **arguments,
    ).images
    return (drawn * 255).round().astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_text_encoded_once_draws_what_diffusers_draws(tiny_generator, kind):
    """Every family draws, pixel by pixel, what its pipeline draws when it is called with the sentences."""
    folder = tiny_generator(kind)
    guidance = {"guidance_scale": 2.0}
    if kind in ("flux", "qwen"):  # the latter spreads one negative prompt over no batch
        guidance = {"true_cfg_scale": 2.0, "negative_prompt": [" ", " "]}
    mine = pictures(load(folder, kind), PROMPTS[:2], [5, 6])
    assert mine.shape == (2, 16, 16, 3)
    assert mine.std() > 5
    assert np.array_equal(mine, theirs(folder, PROMPTS[:2], [5, 6], **guidance, **OPTIONS.get(kind, {})))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_its_prompt_and_seed_alone(tiny_generator, kind):
    """Equal prompts with other seeds differ; a second call draws the same, another batch size almost."""
    generator = load(tiny_generator(kind), kind, batch=2)
    first, again = pictures(generator), pictures(generator)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[2])
    assert not np.array_equal(pictures(generator, ["a red boat", "a small cat"], [1, 1])[0:1], first[1:2])
    whole = pictures(load(tiny_generator(kind), kind, batch=8))
    assert np.abs(first.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("kind", [*KINDS, "sd1-safe"])
def test_bfloat16_is_close_to_float32(tiny_generator, kind):
    """Loaded and computed in half the bits: finite pictures, unflagged, and text vectors of nearly the same values."""
    exact, half = (load(tiny_generator(kind), kind, precision=precision) for precision in ("fp32", "bf16"))
    networks = [part for part in half._pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert {parameter.dtype for network in networks for parameter in network.parameters()} == {torch.bfloat16}
    assert 0 < np.abs(pictures(exact).astype(int) - pictures(half)).mean() < 2
    assert (exact.encode(PROMPTS) * half.encode(PROMPTS)).sum(1).min() > 0.999


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "pixart"])
def test_every_sentence_is_encoded_once_a_shard(tiny_generator, kind):
    """Five pictures of two sentences in three batches pass each text encoder once, then the empty sentences do."""
    generator = load(tiny_generator(kind), kind, batch=2)
    seen = {name: [] for name in generator._family.encoders}
    for name, calls in seen.items():
        getattr(generator._pipe, name).register_forward_pre_hook(
            lambda _, args, kwargs, calls=calls: calls.append(len((args or list(kwargs.values()))[0])), with_kwargs=True
        )
    pictures(generator, [*PROMPTS, *PROMPTS[:2]], [1, 2, 3, 4, 5])
    assert len(seen) == {"sdxl": 2, "sd3": 3, "pixart": 1}[kind]
    zeros = kind == "sdxl"  # in place of what its encoders make of the empty sentence
    assert all(calls == ([2] if zeros else [2, 2]) for calls in seen.values())


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_what_the_denoiser_is_fed(tiny_generator, kind):
    """Pooled vectors where the pipeline has them, else means of token states; neighbours do not matter."""
    generator = load(tiny_generator(kind), kind)
    vectors = generator.encode(PROMPTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], generator.encode(PROMPTS[:1])[0], atol=1e-5)
    assert float(vectors[0] @ vectors[1]) < 0.9999
    assert len(generator.encode([])) == 0
    if kind in ("sdxl", "sd3", "sd3-no-t5", "flux"):
        more = {"sdxl": {}, "flux": {"prompt_2": None}}.get(kind, {"prompt_2": None, "prompt_3": None})
        pooled = generator._pipe.encode_prompt(prompt=PROMPTS, **more)[1 if kind == "flux" else 2].detach().numpy()
        np.testing.assert_allclose(vectors, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=1e-5)
    if kind == "pixart":
        states, mask, *_ = generator._pipe.encode_prompt(PROMPTS[:1])
        mean = states[0, : int(mask.sum())].mean(0).detach().numpy()
        np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_scheduler_of_another_class(tiny_generator):
    """A scheduler by name with options draws what the pipeline draws with it."""
    folder = tiny_generator("sd1")
    few = load(folder, guidance=1.0, scheduler={"name": "LCMScheduler", "timestep_spacing": "trailing"})
    pipe = AutoPipelineForText2Image.from_pretrained(folder)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        PROMPTS[:2], num_inference_steps=2, guidance_scale=1.0, output_type="np",
        generator=[torch.Generator().manual_seed(s) for s in SEEDS[:2]],
    ).images
    mine = pictures(few, PROMPTS[:2], SEEDS[:2])
    assert np.array_equal(mine, (drawn * 255).round().astype(np.uint8))
    assert not np.array_equal(mine, pictures(load(folder, guidance=1.0), PROMPTS[:2], SEEDS[:2]))


@pytest.mark.parametrize(
    ("more", "changes"),
    [({"negative_prompt": "a green bird"}, True), ({"guidance_rescale": 0.7}, True), ({"vae_tiling": True}, False)],
)
def test_settings_reach_the_pipeline(tiny_generator, more, changes):
    """What changes pictures changes them; tiles are larger than a tiny picture."""
    folder = tiny_generator("sdxl")
    assert np.array_equal(pictures(load(folder, guidance=5.0)), pictures(load(folder, guidance=5.0, **more))) != changes


def test_what_only_saves_memory_draws_the_same(tiny_generator):
    """Slicing, and text encoders that wait elsewhere, leave the pictures as they are on a CPU."""
    folder = tiny_generator("sd3")
    saving = load(folder, speed=GeneratorExecution(offload="encoders", vae_slicing=True))
    assert saving._pipe.vae.use_slicing
    assert np.array_equal(pictures(saving), pictures(load(folder)))
    assert np.array_equal(saving.encode(PROMPTS), load(folder).encode(PROMPTS))


def test_resting_encoders_are_awake_where_they_encode(tiny_generator):
    """Once a shard, also where batches are tried out; then they rest, also where one does not fit beside the others."""
    generator = DiffusionGenerator.from_folder(
        tiny_generator("sdxl"), settings(precision="fp32"), device="cpu:0", speed=GeneratorExecution(offload="encoders")
    )
    places, encoded, full = {}, [], []

    def move(name, device):
        if name in full and str(device) == "cpu:0":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        places[name] = str(device)

    for name in generator._family.encoders:
        encoder = getattr(generator._pipe, name)
        encoder.to = partial(move, name)
        encoder.register_forward_pre_hook(lambda *_, name=name: encoded.append((name, places.get(name, "cpu"))))
    awake = [("text_encoder", "cpu:0"), ("text_encoder_2", "cpu:0")]
    assert generator.largest_batch(4) == 4
    assert encoded == awake
    pictures(generator)
    assert encoded == awake * 2
    assert places == {"text_encoder": "cpu", "text_encoder_2": "cpu"}
    full.append("text_encoder_2")
    with pytest.raises(OutOfMemory, match="at one picture a batch"):
        generator.largest_batch(4)
    assert places == {"text_encoder": "cpu", "text_encoder_2": "cpu"}


def test_blocks_are_compiled_one_by_one(tiny_generator):
    """The denoiser's repeated blocks are handed to the compiler, which begins at the first picture."""
    network = load(tiny_generator("sd3"), speed=GeneratorExecution(compile=True))._pipe.transformer
    assert {type(m).__name__ for m in network.modules() if m._compiled_call_impl} == {"JointTransformerBlock"}


def test_flagged_pictures_are_dropped(tiny_generator, tmp_path):
    """The safety checker's verdict becomes the reason; switched off it is not even loaded; it flags nothing mild."""
    orders = plan_samples([Prompt("a red boat", "boat"), Prompt("a blue cup", "boat")], 0)
    folder = tiny_generator("sd1-safe")
    assert all(s.reason is None for s in draw_samples(orders, load(folder)))
    strict = tmp_path / "strict"
    shutil.copytree(folder, strict)
    weights = strict / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    tensors["concept_embeds_weights"] -= 3  # every cosine is above it
    save_file(tensors, weights, {"format": "pt"})
    assert {s.reason for s in draw_samples(orders, load(strict))} == {"the safety checker flagged the picture"}
    off = load(strict, safety="off")
    assert off._pipe.safety_checker is None
    assert all(s.reason is None for s in draw_samples(orders, off))


def test_pictures_that_are_no_numbers_are_dropped(tiny_generator, tmp_path):
    """An autoencoder that overflows gives a reason, not a black picture."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_generator("sd3"), broken)
    weights = broken / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.bias"][1] = torch.nan
    save_file(tensors, weights, {"format": "pt"})
    orders = plan_samples([Prompt("a red boat", "boat")], 0)
    (sample,) = draw_samples(orders, load(broken))
    assert sample.reason == "the picture has values that are not finite"


def test_too_little_memory_names_the_batch_to_use(tiny_generator):
    """The error of a batch that does not fit says half of it; the largest that fits is found by trying."""
    generator = load(tiny_generator("sd1"))

    def full(_, arguments):
        if len(arguments[0]) > 2 * limit:  # guided and unguided
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    generator._pipe.unet.register_forward_pre_hook(full)
    limit = 2
    with pytest.raises(OutOfMemory, match=r"at 3 pictures a batch: set experiment.generate.batch=1"):
        list(generator.draw(PROMPTS, SEEDS))
    assert len(pictures(generator, PROMPTS[:2], SEEDS[:2])) == 2
    limit = 4
    assert generator.largest_batch(16) == 4
    limit = 0
    with pytest.raises(OutOfMemory, match=r"at one picture a batch: set execution.generator.offload"):
        generator.largest_batch(16)


def test_other_errors_of_the_device_pass(tiny_generator):
    """Only a lack of memory is told as one."""
    generator = load(tiny_generator("sd1"))

    def broken(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    generator._pipe.unet.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="device-side"):
        list(generator.draw(PROMPTS, SEEDS))


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_quantised_weights(tiny_generator, form):
    """Denoiser and large text encoders hold other numbers, CLIP does not, and the pictures are nearly the same."""
    pytest.importorskip("torchao", exc_type=ImportError)
    generator = load(tiny_generator("sd3"), quantize=form)
    quantised = generator._pipe.transformer.transformer_blocks[0].ff.net[2].weight
    assert type(quantised) not in (torch.Tensor, torch.nn.Parameter)
    assert type(generator._pipe.text_encoder.text_model.encoder.layers[0].mlp.fc1.weight) is torch.nn.Parameter
    plain = pictures(load(tiny_generator("sd3"))).astype(int)
    assert 0 < np.abs(pictures(generator) - plain).mean() < 2


def test_bad_weights_are_one_clear_sentence(tiny_generator, tmp_path):
    """No folder, a missing file and a tensor of the wrong shape are told with the folder."""
    with pytest.raises(InputError, match="no generator in"):
        load(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_generator("sd1"), copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    shifted = tensors.pop("conv_in.bias")
    save_file(tensors, weights)
    with pytest.raises(InputError, match="unet holds"):
        load(copy)
    tensors["conv_in.bias"] = shifted[:3].clone()
    save_file(tensors, weights)
    with pytest.raises(InputError, match="cannot be loaded"):
        load(copy)
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load(copy)
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionUpscalePipeline"))
    with pytest.raises(InputError, match="does not know as a text-to-image pipeline"):
        load(copy)
    index.write_text("{")
    with pytest.raises(InputError, match="cannot be loaded"):
        load(copy)


def test_a_bad_call_raises(tiny_generator):
    """As many seeds as prompts are needed, and settings that the pipeline refuses are told as such."""
    generator = load(tiny_generator("sdxl"))
    with pytest.raises(ValueError, match="2 seeds"):
        generator.draw(["a boat"], [1, 2])
    odd = load(tiny_generator("flux"), "flux", options={"max_sequence_length": 4096})
    with pytest.raises(InputError, match=r"FluxPipeline refuses the settings of experiment.generate"):
        list(odd.draw(PROMPTS, SEEDS))
    assert Family.of(tiny_generator("sdxl")).encoders == ("text_encoder", "text_encoder_2")
