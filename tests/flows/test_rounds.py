"""Two rounds: what the second does with the first one's model, and what both share."""

import json

import numpy as np
import pytest
from rich.console import Console

from flows.data import find_data, split_of, store_of
from flows.learning import base_pictures
from flows.plan import make_plan
from flows.rounds import first_round, has_second_round, waiting_prompts
from flows.run import run
from flows.runs import FIRST
from flows.settings import load_config
from flows.steps import read_prompts
from pipeline.hashing import hash_json
from pipeline.hidden import map_name
from pipeline.images import read_labels

QUIET = Console(quiet=True)
ONE_ROUND = "experiment.second_round.base=false"


@pytest.mark.parametrize(
    ("changes", "until", "expected"),
    [
        ([], "scores", False),
        (["experiment.second_round.label=true"], "scores", True),
        (["experiment.second_round.label=true"], "dataset", True),
        (["experiment.second_round.base=true"], "train", True),
        (["experiment.second_round.base=true"], "dataset", False),
        (["experiment.second_round.base=true", "experiment.protocol=gfss-capl"], "scores", False),
        (["experiment.second_round.label=true"], "refine", False),
        (["experiment.second_round.prompts=0.5"], "train", True),
        (["experiment.second_round.prompts=0.5", "experiment.prompts.enabled=false"], "train", False),
        (["experiment.second_round.label=true", "experiment.generate.enabled=false"], "scores", False),
        (["experiment.second_round.label=true", "experiment.generate.source=oracle"], "scores", False),
    ],
)
def test_when_there_is_a_second_round(changes, until, expected):
    """Where it is wanted, from the dataset on, and only with pictures that are drawn and labelled by models."""
    assert has_second_round(load_config(None, [ONE_ROUND, *changes]), until) is expected


@pytest.mark.parametrize(("share", "per_class", "waiting"), [(0.5, 40, 20), (0.25, 2, 0), (0.99, 2, 1), (0, 40, 0)])
def test_the_first_round_is_a_config_of_its_own(share, per_class, waiting):
    """It has the prompts that do not wait, at least one, and no second round."""
    changes = [f"experiment.prompts.per_class={per_class}"]
    config = load_config(None, [*changes, f"experiment.second_round.prompts={share}"])
    assert waiting_prompts(config) == waiting
    assert first_round(config) == load_config(None, [ONE_ROUND, f"experiment.prompts.per_class={per_class - waiting}"])


@pytest.fixture(scope="module")
def twice(prefect, apart):
    """A tiny run in two rounds: its config, folder and the plan before it."""
    own = [
        "experiment.second_round.label=true", "experiment.second_round.prompts=0.5",
        "experiment.second_round.base=true", "experiment.second_round.min_novel_score=0.12",
    ]
    config = load_config(None, [*apart, *own])
    plan = make_plan(config)
    folder, _ = run(config, "twice", "scores", QUIET)
    assert folder
    return config, folder, plan


def test_the_second_round_labels_with_the_first_model(twice):
    """Every shard's first labels come from the first final model, whose weights lie in the run's folder."""
    config, folder, _ = twice
    lineage, store = json.loads((folder / "lineage.json").read_text()), store_of(config)
    records = {f"{r.stage}/{r.shard}-{r.fingerprint}": r for r in store.records()}
    used = {
        records[f"annotate/{shard}-{entry['fingerprint']}"].recipe["inputs"]["teacher"]
        for shard, entry in lineage["annotate"].items()
    }
    first = make_plan(first_round(config), "train").records
    (model,) = {r.content for r in first if (r.stage, r.shard) == ("train", "after")}
    assert used == {model}
    assert (folder / FIRST / "model.safetensors").is_file()
    assert lineage["train"]["after"]["content"] != model


def test_the_banks_grow_and_their_pictures_are_kept(twice):
    """A bank begins with that of the first round, so that its pictures are drawn once; all prompts are shared out."""
    config, folder, _ = twice
    lineage, store = json.loads((folder / "lineage.json").read_text()), store_of(config)
    first = {r.shard: r for r in make_plan(first_round(config), "images").records if r.stage == "prompts"}
    banks = {r.shard: r for r in make_plan(config).records if r.stage == "prompts" and r not in first.values()}
    assert lineage["prompts"] == {
        shard: {"fingerprint": r.fingerprint, "content": r.content} for shard, r in banks.items()
    }
    total = 0
    for shard, bank in banks.items():
        prompts, before = read_prompts(store.folder(bank)), read_prompts(store.folder(first[shard]))
        assert prompts[: len(before)] == before
        total += len(prompts)
    assert total == config.experiment.prompts.per_class * len(banks)


def test_a_plan_counts_both_rounds(twice):
    """Before the run all is to be computed, after it nothing; what both rounds share is counted once."""
    config, _, plan = twice
    assert not plan.complete
    assert "agreement" in plan.stages
    after = make_plan(config, quick=True)
    assert after.complete
    assert after.stages["teacher"].total == 1
    assert after.stages["train"].total == 3
    assert after.stages["annotate"].total == 10
    assert run(config, "twice", "scores", QUIET)[1].complete


def test_shared_work_of_the_first_round(twice, apart):
    """A run without a second round, and as many prompts as the first, has nothing to train but the scores' model."""
    config, _, _ = twice
    plan = make_plan(load_config(None, [*apart, "experiment.prompts.per_class=1"]), "train")
    assert plan.complete
    assert first_round(config).experiment.prompts.per_class == 1


def test_what_base_pictures_hide_is_learnt(twice):
    """The first final model's labels of base pictures are a stage, and what the second one is trained on."""
    config, folder, plan = twice
    assert plan.stages["hidden"].total == 1
    lineage, store = json.loads((folder / "lineage.json").read_text()), store_of(config)
    (record,) = (r for r in store.records() if r.stage == "hidden")
    trained = {r.recipe["inputs"].get("hidden") for r in store.records() if r.stage == "train"}
    assert trained == {None, hash_json([record.content])}
    assert lineage["hidden"]["base-000"]["content"] == record.content
    rows = [json.loads(line) for line in (store.folder(record) / "hidden.jsonl").read_text().splitlines()]
    assert record.counts == {"pictures": len(rows)}
    split, base = split_of(config), base_pictures(config, find_data(config))
    assert rows
    for row in rows:
        told, labels = read_labels(store.folder(record) / map_name(row["place"])), base[row["place"]][1]
        assert np.bincount(told.ravel(), minlength=256)[: len(split.names)].tolist() == row["pixels"]
        assert (labels[told != labels] == 0).all()
        assert set(np.unique(told[told != labels])) <= {*split.novel_ids, 255}


def test_agreement_can_be_looked_at(call, twice):
    """A row a class, with the pictures on which model and labels agree least."""
    config, folder, _ = twice
    code, told, complaint = call("show", folder.name, "agreement", "--json", "--output", config.execution.output)
    assert code == 0, complaint
    rows = json.loads(told)["rows"]
    assert [row["made"] for row in rows] == [1] * 5
    assert all(0 <= row["scores"]["agreement"] <= 1 and len(row["worst"]) == 1 for row in rows)


def test_what_was_found_in_base_pictures_can_be_looked_at(call, twice):
    """A row a novel class, with the number of base pictures in which it was found."""
    config, folder, _ = twice
    code, told, complaint = call("show", folder.name, "hidden", "--json", "--output", config.execution.output)
    assert code == 0, complaint
    rows = json.loads(told)["rows"]
    assert [row["class"] for row in rows] == list(split_of(config).novel)
    (record,) = (r for r in store_of(config).records() if r.stage == "hidden")
    lines = [json.loads(line) for line in (store_of(config).folder(record) / "hidden.jsonl").read_text().splitlines()]
    first = split_of(config).novel_ids[0]
    assert [row["made"] for row in rows] == [sum(line["pixels"][first + k] > 0 for line in lines) for k in range(5)]


def test_clean_leaves_both_rounds(call, twice):
    """Whatever is deleted beside it, a finished run of two rounds has nothing to compute again."""
    config, _, _ = twice
    code, told, complaint = call("clean", "--yes", "--older-than", 0, "--output", config.execution.output)
    assert code == 0, complaint
    assert make_plan(config).complete
    assert "kept: " in told
