"""`syn4seg check --no-weights`: what is wrong with a config, told without weights and data."""

import json

import pytest

from flows.inspection import inspect
from flows.known import GENERATORS, SAMS, known
from flows.presets import presets
from flows.settings import load_config


@pytest.mark.parametrize("name", presets())
def test_every_preset_passes(name, tmp_path, monkeypatch):
    """Nothing is wrong with any of them, and nothing has to be here for that."""
    monkeypatch.chdir(tmp_path)
    rows = inspect(load_config(name), weights=False)
    assert [row for row in rows if not row["ok"]] == []
    assert list(tmp_path.iterdir()) == []


def told(rows):
    return {row["what"]: row["found"] for row in rows}


def test_what_full_size_needs_is_told(call):
    """Through the command line: names, licences, gate, sizes, count and published time of PASCAL-5i with SD 3.5."""
    code, text, _ = call("check", "pascal5i_fold0", "--no-weights", "--json")
    found = told(json.loads(text))
    assert code == 0
    assert found["classes"] == "pascal, fold 0, 1 shot: 15 base, 5 novel"
    assert "gated: accept it" in found["needs generator"]
    assert "27.4 GB" in found["needs generator"]
    assert "vit_h=weights/sam_vit_h_4b8939.pth: a file, not here yet, from" in found["needs SAM"]
    assert "2.6 GB" in found["needs SAM"]
    assert found["pictures"].startswith("500, 100 a class; about 1.0 GB")  # 500 x 1,024 x 1,024 x 2 bytes
    assert "about 0.9 h, 6.5 s a picture" in found["GPU"]  # 11.6 s at 50 steps, 28 are taken
    assert "VOC2012" in found["needs data"]


def test_presets_over_each_other_are_looked_at_as_one(call):
    """The data of one, the generator of the other, and a setting over both."""
    code, text, _ = call(
        "check", "pascal5i_fold0+sd15", "--no-weights", "--json", "--set", "experiment.generate.steps=25"
    )
    found = told(json.loads(text))
    assert code == 0
    assert found["classes"] == "pascal, fold 0, 1 shot: 15 base, 5 novel"
    assert found["needs generator"].startswith("stable-diffusion-v1-5/stable-diffusion-v1-5: of the Hugging Face hub")
    assert "gated" not in found["needs generator"]
    assert found["pictures"].startswith("500, 100 a class; about 0.3 GB")  # 500 x 512 x 512 x 2 bytes


@pytest.mark.parametrize(
    ("override", "what", "words"),
    [
        ("generate.model=pitco", "needs generator", "no generator at 'pitco'"),
        ("refine.model=vit_x=sam.pth", "needs SAM", "no sam at 'vit_x=sam.pth'"),
        ("refine.revision=main", "needs SAM", "is not a hub name: leave the revision out"),
        ("prompts.agent=instruct", "prompt agent", "experiment.prompts.language.model is empty"),
        ("prompts={agent: instruct, language: {model: qwen}}", "prompt agent", "no chat model at 'qwen'"),
        ("prompts={agent: endpoint, language: {model: qwen}}", "prompt agent", "expected an address such as"),
        ("prompts.agent=replay", "prompt agent", "experiment.prompts.language.transcript is empty"),
        ("generate.options={clip_skp: 1}", "generator options", "did you mean 'clip_skip'"),
        ("generate.guidance_rescale=0.5", "generator options", "StableDiffusion3Pipeline takes no guidance_rescale"),
        ("generate.scheduler={name: LCMShedule}", "generator options", "did you mean 'LCMScheduler'"),
        ("teacher.backbone=resnet", "needs teacher's backbone", "no backbone at 'resnet'"),
        ("teacher.name=matching", "models", "prototype matching learns nothing"),
        ("model.options.few_shot.blcks=3", "models", "does not take the options"),
        ("fss.options.widht=3", "models", "does not take the options {'widht': 3}"),
        ("model.name=symnet", "needs words' vectors", "symnet reads the names of the classes"),
    ],
)
def test_what_is_wrong_is_told(override, what, words):
    """Each mistake is one row that is not ok, and says what is expected."""
    wrong = [row for row in inspect(load_config("pascal5i_fold0", [f"experiment.{override}"]), weights=False)
             if not row["ok"]]  # fmt: skip
    assert [row["what"] for row in wrong] == [what]
    assert words in wrong[0]["found"]


def test_what_may_be_elsewhere_is_not_missed():
    """Neither model, key and transcript of who writes the prompts, nor what a pipeline's parts are."""
    agents = [
        ["agent=instruct", "language.model=owner/chat"], ["agent=replay", "language.transcript=./nowhere"],
        ["agent=endpoint", "language.model=qwen"],
    ]  # fmt: skip
    server = ["execution.endpoint.url=http://localhost:8000/v1", "execution.endpoint.key_variable=SYN4SEG_NO_KEY"]
    scheduler = "experiment.generate.scheduler={name: FlowMatchEulerDiscreteScheduler, shift: 2.0}"
    for agent in agents:
        sets = [*server, scheduler, *(f"experiment.prompts.{one}" for one in agent)]
        rows = inspect(load_config("pascal5i_fold0", sets), weights=False)
        assert [row for row in rows if not row["ok"]] == []
        assert told(rows)["generator options"].startswith("StableDiffusion3Pipeline takes them; all else is looked at")
    unknown = load_config("pascal5i_fold0", ["experiment.generate={model: owner/model, options: {clip_skp: 1}}"])
    assert told(inspect(unknown, weights=False))["generator options"] == "looked at once the model is downloaded"


@pytest.mark.parametrize("name", GENERATORS)
def test_options_are_those_of_the_known_class(name):
    """Every known generator has a class that diffusers knows, and a setting that fits it."""
    sets = [f"experiment.generate.model={name}", "experiment.generate.options={clip_skip: 1}"]
    found = told(inspect(load_config(None, sets), weights=False))["generator options"]
    assert found.startswith(f"{GENERATORS[name].pipeline} takes them")


def test_a_wrong_config_ends_with_2(call):
    """The table says what is wrong, stderr in which rows."""
    sets = ("--set", "experiment.refine.model=sam", "--set", "execution.device=cdua")
    code, text, complaint = call("check", "picto", "--no-weights", *sets)
    assert (code, complaint) == (2, "syn4seg: wrong: device, needs SAM; the table says what to do\n")
    assert text.count("WRONG") == 2


def test_what_is_switched_off_is_not_needed():
    """No SAM without SABR, no generator without synthesis; a device that is elsewhere is no mistake."""
    off = told(inspect(load_config("pascal5i_fold0", ["experiment.refine.enabled=false"]), weights=False))
    assert "needs SAM" not in off
    assert "needs generator" in off
    sets = ["experiment.generate.enabled=false", "execution.device=cuda:7"]
    none = told(inspect(load_config("pascal5i_fold0", sets), weights=False))
    assert {"needs SAM", "needs generator", "pictures", "GPU"}.isdisjoint(none)


def test_sizes_are_those_of_the_classes():
    """Parameters of the large parts are counted on the library's own classes, without memory for them."""
    import torch
    from diffusers import SD3Transformer2DModel, UNet2DConditionModel
    from transformers import SamConfig, SamModel

    with torch.device("meta"):
        large = SD3Transformer2DModel(
            sample_size=128, num_layers=38, attention_head_dim=64, num_attention_heads=38, joint_attention_dim=4096,
            caption_projection_dim=2432, pooled_projection_dim=2048, pos_embed_max_size=192, qk_norm="rms_norm",
        )  # fmt: skip
        small = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        sam = SamModel(SamConfig())

    def millions(model):
        return sum(x.numel() for x in model.parameters()) / 1e6

    text_and_vae = 4762 + 695 + 124 + 84  # T5-XXL, OpenCLIP bigG, CLIP-L, VAE
    whole = GENERATORS["stabilityai/stable-diffusion-3.5-large"].millions
    assert millions(large) + text_and_vae == pytest.approx(whole, abs=1)
    whole = GENERATORS["stable-diffusion-v1-5/stable-diffusion-v1-5"].millions
    assert millions(small) + 123 + 84 == pytest.approx(whole, abs=1)
    assert millions(sam) == pytest.approx(SAMS["vit_b"].millions, abs=1)
    assert known("vit_b=anywhere.pth", "sam") == SAMS["vit_b"]
