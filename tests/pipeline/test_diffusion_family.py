"""What diffusers' pipelines can do, by their classes; and the places of models."""

import shutil

import diffusers
import pytest
import torch
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

from pipeline.backends.diffusion_family import QUANTIZERS, Family, repeated_blocks
from pipeline.backends.diffusion_loading import fetch_pipeline
from pipeline.backends.diffusion_text import _has_rows, _picked
from pipeline.config import GenerateSettings, GeneratorExecution
from pipeline.errors import InputError

PLAIN = GeneratorExecution()


def settings(**more) -> GenerateSettings:
    return GenerateSettings(**{"steps": 4, "guidance": 3.0, **more})


def family(tmp_path, name: str, **parts: str) -> Family:
    return Family(tmp_path, getattr(diffusers, name), parts)


def test_almost_every_family_encodes_its_text_apart(tmp_path):
    """Those that do not are known; a new release that adds one is noticed."""
    kinds = dict.fromkeys(AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values())
    anew = {kind.__name__ for kind in kinds if not Family(tmp_path, kind, {}).remembers_text}
    assert len(kinds) > 40
    assert anew == {
        "Ideogram4Pipeline", "KandinskyCombinedPipeline", "KandinskyV22CombinedPipeline",
        "StableCascadeCombinedPipeline", "WuerstchenCombinedPipeline",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("StableDiffusionXLPipeline", {"guidance": 0}, {"guidance_scale": 0}),
        ("StableDiffusion3Pipeline", {}, {"guidance_scale": 3}),
        ("QwenImagePipeline", {}, {"true_cfg_scale": 3, "negative_prompt": " "}),
        ("QwenImagePipeline", {"negative_prompt": "blur"}, {"true_cfg_scale": 3, "negative_prompt": "blur"}),
        ("FluxPipeline", {"guidance": 0}, {"true_cfg_scale": 1}),
        ("PixArtSigmaPipeline", {"size": 512}, {"guidance_scale": 3, "height": 512, "width": 512}),
        ("SanaPipeline", {"options": {"clean_caption": True}}, {"guidance_scale": 3, "clean_caption": True}),
    ],
)
def test_guidance_has_the_name_that_a_family_gives_it(tmp_path, name, more, expected):
    """Classifier-free guidance is asked for as each pipeline's call names it, and only what is set is passed."""
    assert family(tmp_path, name).arguments(settings(**more)) == {"num_inference_steps": 4, **expected}


def test_distilled_guidance_is_no_second_pass(tmp_path):
    """A FLUX that was distilled with guidance takes the scale as a number it is fed."""
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"guidance_embeds": true}')
    assert family(tmp_path, "FluxPipeline").arguments(settings()) == {"num_inference_steps": 4, "guidance_scale": 3}


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("Flux2Pipeline", {"negative_prompt": "x"}, "generate.negative_prompt: Flux2Pipeline takes no negative_prompt"),
        ("FluxPipeline", {"guidance_rescale": 1}, "generate.guidance_rescale: FluxPipeline takes no guidance_rescale"),
        ("FluxPipeline", {"options": {"max_seqence_length": 9}}, "did you mean 'max_sequence_length'"),
        ("FluxPipeline", {"options": {"prompt": "x"}}, "options.prompt: FluxPipeline takes no such argument"),
        ("FluxPipeline", {"options": {"height": 64}}, "options.height: set experiment.generate.size in its place"),
    ],
)
def test_what_a_pipeline_does_not_take_is_refused(tmp_path, name, more, told):
    """A setting that would have no effect is one sentence, before any weights are loaded."""
    with pytest.raises(InputError, match=told):
        family(tmp_path, name).check(settings(**more), PLAIN, "cpu")


@pytest.mark.parametrize(
    ("own", "wanted", "told"),
    [
        ("DDIMScheduler", {"name": "LCMScheduller"}, "no scheduler 'LCMScheduller': did you mean 'LCMScheduler'"),
        ("DDIMScheduler", {"name": "UNet2DModel"}, "has no scheduler 'UNet2DModel'"),
        ("DDIMScheduler", {"name": "LCMScheduler", "beta": 1}, "LCMScheduler has no such option: did you mean 'beta_"),
        ("DDIMScheduler", {"name": "FlowMatchEulerDiscreteScheduler"}, "own is DDIMScheduler: give one for diffusion"),
        ("FlowMatchEulerDiscreteScheduler", {"name": "LCMScheduler"}, "give one for flow matching"),
        ("FlowMatchEulerDiscreteScheduler", {"name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, None),
        ("PNDMScheduler", {"name": "LCMScheduler"}, None),
    ],
)
def test_schedulers_that_do_not_fit_are_refused(tmp_path, own, wanted, told):
    """Unknown classes and options, and one for flow matching where the model removes noise, or the other way round."""
    found = family(tmp_path, "StableDiffusionPipeline", scheduler=own)
    if told is None:
        found.check(settings(scheduler=wanted), PLAIN, "cpu")
        return
    with pytest.raises(InputError, match=told):
        found.check(settings(scheduler=wanted), PLAIN, "cpu")


def test_offloading_needs_a_gpu(tmp_path):
    """On a CPU there is nowhere to move models to, but to let text encoders rest costs nothing."""
    found = family(tmp_path, "FluxPipeline")
    for offload in ("model", "sequential"):
        with pytest.raises(InputError, match="needs a GPU, but the device is cpu: set it to none or encoders"):
            found.check(settings(), GeneratorExecution(offload=offload), "cpu")
        found.check(settings(), GeneratorExecution(offload=offload), "cuda")
    found.check(settings(), GeneratorExecution(offload="encoders"), "cpu")


def test_a_missing_quantiser_is_named(tmp_path, monkeypatch):
    """What to install is said where the package of a number format is not there, or that it needs a GPU."""
    found = family(tmp_path, "FluxPipeline")
    monkeypatch.setitem(QUANTIZERS, "nf4", "no_such_package")
    with pytest.raises(InputError, match=r"nf4 needs no_such_package, .* pip install 'syn4seg\[quant\]'"):
        found.check(settings(quantize="nf4"), PLAIN, "cuda")
    with pytest.raises(InputError, match="nf4 needs a GPU, and the device is cpu"):
        found.check(settings(quantize="nf4"), PLAIN, "cpu")


def test_what_is_applied_and_what_is_lacking_is_told(tiny_generator):
    """One line for check: class, numbers, text, options that work here, and those that this pipeline lacks."""
    speed = GeneratorExecution(offload="encoders", vae_slicing=True, compile=True)
    told = Family.of(tiny_generator("sd1-safe")).tell(settings(vae_tiling=True), speed, "cuda")
    assert told == (
        "StableDiffusionPipeline, bf16, text encoded once a shard, safety checker drops what it flags, vae_tiling, "
        "vae_slicing, compile, offload encoders"
    )
    bare = Family(tiny_generator("pixart"), diffusers.KandinskyCombinedPipeline, {})
    assert bare.tell(settings(vae_tiling=True), speed, "cpu") == (
        "KandinskyCombinedPipeline, fp32, text encoded anew with every batch; this pipeline lacks: vae_tiling, "
        "vae_slicing, compile, offload"
    )


@pytest.mark.parametrize(
    ("network", "block"),
    [
        ("SD3Transformer2DModel", "JointTransformerBlock"), ("UNet2DConditionModel", "BasicTransformerBlock"),
        ("FluxTransformer2DModel", "FluxTransformerBlock"), ("PixArtTransformer2DModel", "BasicTransformerBlock"),
        ("QwenImageTransformer2DModel", "QwenImageTransformerBlock"),
    ],
)  # fmt: skip
def test_every_denoiser_has_blocks_to_compile(network, block):
    """Also those for which diffusers lists none."""
    assert block in repeated_blocks(getattr(diffusers, network))


def test_a_revision_on_the_hub_is_honoured(tiny_generator, tmp_path, monkeypatch):
    """Of two revisions in the hub's cache the one asked for is given, main unless one is; a missing one is told."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--owner--model"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("b" * 40)
    for revision in ("a" * 40, "b" * 40):
        shutil.copytree(tiny_generator("sd1"), cache / "snapshots" / revision)
    assert fetch_pipeline("owner/model", None, None).name == "b" * 40
    assert fetch_pipeline("owner/model", "a" * 40, None).name == "a" * 40
    with pytest.raises(InputError, match=f"owner/model is neither a folder .* at revision {'c' * 40}"):
        fetch_pipeline("owner/model", "c" * 40, None)


@pytest.mark.parametrize(
    ("shapes", "known"),
    [
        ([(5, 77, 8), (5, 77, 8), (5, 16), None], True), ([(5, 64, 8), (5, 16), (64, 3)], True),
        ([(1, 200, 8), (1, 200)], False), ([(5, 16), (4, 5, 64, 8)], False),
    ],
)  # fmt: skip
def test_sentences_are_told_apart_by_rows(shapes, known):
    """Rows are picked where embeddings have one a sentence: not where sentences are packed, nor layer by layer."""
    output = tuple(None if shape is None else torch.rand(shape) for shape in shapes)
    assert _has_rows(output, 5) == known
    if known:
        picked = _picked(output, [3, 0, 3], 5)
        for given, one in zip(output, picked, strict=True):
            expected = given[[3, 0, 3]] if given is not None and len(given) == 5 else given
            assert one is expected or torch.equal(one, expected)
