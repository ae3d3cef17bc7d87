from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants

from flows import wiring
from flows.settings import load_config
from flows.steps import fss_scores_step, refine_step
from flows.weights import resolve, weights_id
from pipeline.errors import InputError


def test_a_backbone_may_be_one_file(tmp_path):
    """A .safetensors file stands for itself, and its content is its identity."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert resolve(str(first), "backbone") == str(first)
    assert weights_id(str(first), "backbone") != weights_id(str(second), "backbone")


def test_matching_on_another_backbone_is_scored_anew():
    """Matching has no weights of its own, so its scores are known by the backbone's, and by the stride."""

    def recipe(weights, *overrides):
        model = SimpleNamespace(content="nothing", recipe={"weights": weights})
        data = {"validation": SimpleNamespace(content=lambda: "pictures")}
        return fss_scores_step(load_config(None, overrides), data, model).recipe

    assert recipe("a") == recipe("a")
    assert recipe("a") != recipe("b")
    assert recipe("a") != recipe("a", "experiment.fss.stride=32")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Two revisions of a SAM of transformers, as the hub's client keeps what it downloaded; the names of both."""
    import torch
    from transformers import SamConfig, SamModel

    small = {"hidden_size": 16, "image_size": 32, "patch_size": 8}
    vision = {**small, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "window_size": 0,
              "global_attn_indexes": [], "num_pos_feats": 8}  # fmt: skip
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder, revisions = tmp_path / "models--owner--sam", ("a" * 40, "b" * 40)
    for seed, revision in enumerate(revisions):
        torch.manual_seed(seed)
        model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=small, mask_decoder_config=decoder))
        model.save_pretrained(folder / "snapshots" / revision)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revisions[1])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return revisions


def test_a_sam_of_the_hub_is_taken_at_its_revision(hub):
    """A hub name is the newest revision unless one is named; another one is another model."""
    sets = ["experiment.refine.model=owner/sam"]
    configs = [load_config(None, [*sets, *more]) for more in ([], *([f"experiment.refine.revision={r}"] for r in hub))]
    assert [Path(wiring.refiner_place(config)).name for config in configs] == [hub[1], hub[0], hub[1]]
    picture, boxes = np.zeros((20, 30, 3), np.uint8), np.array([[2, 3, 12, 15]], np.float32)
    newest, first, second = (wiring.refiner_of(config).segment(picture, boxes)[1] for config in configs)
    assert newest == second != first


def test_revision_and_precision_count_only_where_they_are_set(hub):
    """Labels that were sharpened before these settings stay known; set, they make others."""
    labels = SimpleNamespace(content="labels", shard="boat-000")

    def recipe(*overrides):
        return refine_step(load_config(None, [f"experiment.refine.{o}" for o in overrides]), labels).recipe

    assert set(recipe()["settings"]) == {"band", "min_overlap", "pad", "min_area", "enabled"}
    found = [recipe("model=owner/sam", *more) for more in ((), ("revision=main",), ("precision=bf16",))]
    assert [one["weights"] for one in found] == ["owner/sam"] * 3
    assert found[0] != found[1] != found[2] != found[0]


def test_a_revision_of_what_is_no_hub_name_is_refused(tmp_path):
    """A folder or checkpoint is what its files are."""
    for model in ("picto", resolve("picto", "sam")):
        sets = [f"experiment.refine.model={model}", "experiment.refine.revision=main"]
        with pytest.raises(InputError, match=r"experiment\.refine\.revision: got 'main', but .* is not a hub name"):
            wiring.refiner_place(load_config(None, sets))
