import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants

from flows import wiring
from flows.audit.shards import _recipe
from flows.banks import write_prompts
from flows.data import store_of
from flows.known import GENERATORS, SAMS
from flows.settings import load_config
from flows.steps import fss_scores_step, refine_step
from flows.weights import generator_id, resolve, weights_id
from pipeline.errors import InputError

SD15, HUGE = "stable-diffusion-v1-5/stable-diffusion-v1-5", "facebook/sam-vit-huge"
LABELS = SimpleNamespace(content="labels", shard="boat-000")


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

    def recipe(*overrides):
        return refine_step(load_config(None, [f"experiment.refine.{o}" for o in overrides]), LABELS).recipe

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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Give what puts a folder into the hub's cache as a commit of a model; the last one is its main."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, commit, folder):
        place = tmp_path / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)

    return put


def test_a_known_model_is_taken_at_its_commit(cache, tiny_generator):
    """Where main has moved on, the known commit is taken still, and any other one that is set."""
    newer = "a" * 40
    for commit in (GENERATORS[SD15].revision, newer):
        cache(SD15, commit, tiny_generator("sd1"))
    for commit in (SAMS[HUGE].revision, newer):
        cache(HUGE, commit, resolve("picto", "sam"))
    sets = [f"experiment.generate.model={SD15}", f"experiment.refine.model={HUGE}"]
    for revision, commits in ((None, (GENERATORS[SD15].revision, SAMS[HUGE].revision)), ("main", (newer, newer))):
        more = [f"experiment.{part}.revision={revision}" for part in ("generate", "refine") if revision]
        config = load_config(None, [*sets, *more])
        places = Path(wiring.generator_place(config)), Path(wiring.refiner_place(config))
        assert tuple(place.name for place in places) == commits


def test_the_known_commit_is_part_of_what_identifies_weights(tmp_path, monkeypatch):
    """It counts as if it were set, also in an audit, and stays behind when the model alone is overridden."""

    def ids(*overrides):
        sets = [f"execution.output={tmp_path}", *(f"experiment.{one}" for one in overrides)]
        config = load_config("sd15+sam_huge", sets)
        refined = refine_step(config, LABELS).recipe["settings"].get("revision")
        assert _recipe(config, LABELS, "boat", [], None)["settings"]["refine"].get("revision") == refined
        return generator_id(config.experiment.generate), refined

    commits = GENERATORS[SD15].revision, SAMS[HUGE].revision
    set_too = [f"generate.revision={commits[0]}", f"refine.revision={commits[1]}"]
    assert ids() == ids(*set_too) == (f"{SD15} revision={commits[0]}", commits[1])
    assert ids("generate.revision=main", "refine.revision=main") == (f"{SD15} revision=main", "main")
    assert ids("generate.model=owner/model", "refine.model=owner/sam") == ("owner/model", None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(resolve("picto", "generator"), SD15)  # a folder of that name is what its files are
    assert ids()[0] == weights_id("picto", "generator")


def test_records_tell_the_commits_of_the_hub(cache, hub, tiny_generator, tmp_path):
    """What main was when a shard was computed is in its record; models that are not of the hub add nothing."""
    cache("owner/model", "c" * 40, tiny_generator("sd1"))
    prompts = "experiment.prompts={per_class: 1, max_similarity: 1}"
    sets = [f"execution.output={tmp_path / 'out'}", prompts]
    picto = write_prompts(load_config(None, sets), "boat")
    assert not [name for name in picto.versions if "/" in name]
    other = write_prompts(load_config(None, [*sets, "experiment.generate.model=owner/model"]), "boat")
    assert dict(other.versions) == {**picto.versions, "owner/model": "c" * 40}

    def refined(*overrides):
        config = load_config(None, [*sets, "experiment.refine.model=owner/sam", *overrides])
        step = refine_step(config, LABELS)
        return store_of(config).compute("refine", step.shard, step.recipe, lambda _: None).versions.get("owner/sam")

    assert refined() == hub[1]
    assert refined(f"experiment.refine.revision={hub[0]}") == hub[0]
    assert refined("experiment.refine.enabled=false") is None


def test_the_page_names_the_commits(root):
    """All of them, each beside its model."""
    page = (root / "docs" / "full_size.md").read_text()
    commits = {name: model.revision for name, model in {**GENERATORS, **SAMS}.items() if "/" in name}
    assert None not in commits.values()
    for name, commit in commits.items():
        assert f"| `{name}` | `{commit[:12]}` |" in page
