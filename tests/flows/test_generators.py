"""The generator that a config names: identity, recipes, what check tells, the batch."""

import json
from concurrent.futures import ThreadPoolExecutor
from shutil import copytree, ignore_patterns

import pytest
from rich.console import Console

from flows import generators
from flows.banks import write_prompts
from flows.data import novel_names
from flows.generators import find_batch, known_batch, settle_batch
from flows.inspection import inspect
from flows.run import check_inputs, run
from flows.settings import load_config
from flows.stages import draw_images
from flows.steps import images_steps, prompts_step
from flows.weights import generator_id
from pipeline.errors import InputError

HUB = "experiment.generate.model=owner/model"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """Give the recipes of the bank and of the pictures of a config."""
    output = f"execution.output={tmp_path_factory.mktemp('recipes')}"
    bank = write_prompts(load_config(None, [output, "experiment.prompts.enabled=false"]), "boat")

    def give(*overrides):
        config = load_config(None, [output, *overrides])
        ((step, _),) = images_steps(config, bank)
        return prompts_step(config, "boat").recipe, step.recipe

    return give


def test_settings_that_came_later_leave_old_shards_known(recipes):
    """What picto's recipes held before there were revisions, batches and schedulers is all that they hold."""
    bank, pictures = recipes()
    assert bank["settings"] == {"agent": "grammar", "per_class": 40, "max_similarity": 0.93, "enabled": True}
    assert pictures["settings"] == {"steps": 20, "guidance": 2.5}
    assert pictures["weights"] == bank["weights"] == "8f3df0a2fa3aa18a"


@pytest.mark.parametrize(
    "override",
    ["batch=4", "size=128", "negative_prompt=blur", "guidance_rescale=0.5", "vae_tiling=true", "safety=off",
     "scheduler={name: LCMScheduler}", "options={clip_skip: 1}"],
)  # fmt: skip
def test_what_changes_pictures_changes_their_recipe_alone(recipes, override):
    """Each setting of the drawing is in the recipe of pictures, and not in that of the bank."""
    plain, changed = recipes(), recipes(f"experiment.generate.{override}")
    assert changed[0] == plain[0]
    assert changed[1] != plain[1]
    assert changed[1]["weights"] == plain[1]["weights"]


@pytest.mark.parametrize("override", ["revision=v2", "variant=fp16", "precision=bf16", "quantize=int8"])
def test_what_changes_weights_changes_both_recipes(recipes, override):
    """Revision and number format identify the weights, by which the bank's vectors are computed too."""
    plain, changed = recipes(HUB), recipes(HUB, f"experiment.generate.{override}")
    assert changed[0]["weights"] == changed[1]["weights"] == f"owner/model {override}"
    assert plain[0]["weights"] == plain[1]["weights"] == "owner/model"
    assert changed[1]["settings"] == plain[1]["settings"]


def test_speed_and_place_change_no_recipe(recipes):
    """Offload, slicing and compilation are no part of an experiment."""
    speed = "execution.generator={offload: encoders, vae_slicing: true, compile: true}"
    assert recipes(speed) == recipes()


def test_a_folder_has_no_revision():
    """A revision that would have no effect is refused."""
    config = load_config(None, ["experiment.generate.revision=v2"])
    with pytest.raises(InputError, match=r"experiment.generate.revision: got 'v2', but 'picto' is not a hub name"):
        generator_id(config.experiment.generate)
    with pytest.raises(InputError, match="leave the revision out"):
        check_inputs(config)


def test_settings_that_do_not_fit_are_told_before_a_run(tiny_generator):
    """A run is refused for what its generator does not take, and check shows a row for it."""
    model = f"experiment.generate.model={tiny_generator('flux')}"
    config = load_config(None, [model, "experiment.generate.guidance_rescale=0.5"])
    with pytest.raises(InputError, match="FluxPipeline takes no guidance_rescale"):
        check_inputs(config)
    (row,) = [row for row in inspect(config) if row["what"] == "generator options"]
    assert not row["ok"]
    fitting = load_config(None, [model, "experiment.generate.batch=4", "execution.generator.vae_slicing=true"])
    (row,) = [row for row in inspect(fitting) if row["what"] == "generator options"]
    assert row["ok"]
    assert row["found"] == "FluxPipeline, fp32, text encoded once a shard, vae_slicing; batches of 4"
    (row,) = [row for row in inspect(load_config(None, [HUB])) if row["what"] == "generator options"]
    assert row == {"what": "generator options", "found": "looked at once the model is downloaded", "ok": True}


def test_an_automatic_batch_is_eight_on_a_cpu():
    """``auto`` is a number before anything is looked up, and on a CPU it is that of before."""
    config = load_config(None, ["experiment.generate.batch=auto", "execution.device=cpu"])
    assert config.experiment.generate.batch == 0
    assert settle_batch(config) == known_batch(config) == load_config(None, ["execution.device=cpu"])


def test_a_batch_is_found_out_once_a_card(tiny_generator, tmp_path):
    """The batch that fits is found by trying, kept in the output folder, and read from there."""
    overrides = [
        f"experiment.generate.model={tiny_generator('sd1')}", "experiment.generate.batch=auto",
        f"execution.output={tmp_path}", "execution.device=cpu",
    ]  # fmt: skip
    config = load_config(None, overrides)
    assert find_batch(config, "a card", ThreadPoolExecutor(1)) == 16
    (key,) = json.loads((tmp_path / "batches.json").read_text())
    (tmp_path / "batches.json").write_text(json.dumps({key: 2}))
    assert find_batch(config, "a card") == 2
    assert generators._batch_key(config, "another card") != key


def test_a_run_keeps_the_batch_that_was_found_out(finished, overrides, monkeypatch, tmp_path):
    """On what passes for a card it is in the run's settings, and its pictures are those drawn with that number."""
    output = copytree(finished[0].execution.output, tmp_path / "out", ignore=ignore_patterns("runs", "latest"))
    monkeypatch.setattr(generators, "device_of", lambda _: "cuda")
    monkeypatch.setattr(generators, "_card", lambda _: "a card")
    monkeypatch.setattr(generators, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    probing = ["experiment.generate.batch=auto", "execution.report_pictures=0", f"execution.output={output}"]
    config = load_config(None, [*overrides, *probing])
    found = settle_batch(config)
    drawn = [
        draw_images(found, *shard)
        for name in novel_names(found) for shard in images_steps(found, write_prompts(found, name))
    ]  # fmt: skip
    assert [record.recipe["settings"]["batch"] for record in drawn] == [16] * 5
    folder, plan = run(config, "probed", "scores", Console(quiet=True))
    assert plan.complete
    assert load_config(str(folder / "experiment.yaml")).experiment.generate.batch == 16
    lineage = json.loads((folder / "lineage.json").read_text())
    assert {name: shard["fingerprint"] for name, shard in lineage["images"].items()} == {
        record.shard: record.fingerprint for record in drawn
    }


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("batch=-1", "experiment.generate.batch: got -1, expected a number from 0 to 1024"),
        ("batch=many", "experiment.generate.batch: got 'many', expected"),
        ("size=100", "experiment.generate.size: got 100, expected .*multiple of 8"),
        ("quantize=int4", "experiment.generate.quantize: got 'int4', expected 'none', 'nf4', 'int8' or 'fp8'"),
        ("scheduler=LCMScheduler", "experiment.generate.scheduler: got 'LCMScheduler', expected keys such as"),
        ("scheduler={timestep_spacing: trailing}", "experiment.generate.scheduler.name: "),
    ],
)
def test_wrong_values_are_one_sentence(override, told):
    """Settings of the generator are checked like all others."""
    with pytest.raises(InputError, match=told) as error:
        load_config(None, [f"experiment.generate.{override}"])
    assert "\n" not in str(error.value)
