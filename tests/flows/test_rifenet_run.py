"""RiFeNet by the commands that a user gives."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from flows import steps
from flows.data import prepare_data
from flows.settings import load_config
from fss_models.rifenet import RiFeNetConfig
from pipeline.images import read_labels, write_labels, write_picture

TINY = [
    "experiment.base_pictures=200", "experiment.validation_pictures=100", "experiment.fss.steps=2",
    "experiment.fss.batch=2", "experiment.fss.choose=none", "experiment.fss.episodes=4", "experiment.fss.seeds=1",
    "experiment.fss.options.dim=16",
]  # fmt: skip
SETS = [part for override in TINY for part in ("--set", override)]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder that the tests of this file share."""
    return tmp_path_factory.mktemp("rifenet")


def test_train_evaluate_predict_compare(call, output, tmp_path):
    """It is trained, scored again with the same result, labels a picture, and its ablations are rows."""
    asked = ("picto_rifenet", "--protocol", "fss", "--model", "rifenet", "--output", output)
    code, told, complaint = call("train", *asked, *SETS, "--json")
    assert code == 0, complaint
    scores = json.loads(told)
    assert scores["model"] == "rifenet"
    code, told, complaint = call("evaluate", "--output", output, "--json")
    assert code == 0, complaint
    assert json.loads(told)["fss"] == scores["fss"]

    picture, labels = np.full((40, 50, 3), 200, np.uint8), np.zeros((40, 50), np.uint8)
    picture[10:30, 10:30], labels[10:30, 10:30] = (200, 0, 0), 1
    write_picture(tmp_path / "cat" / "one.jpg", picture)
    write_labels(tmp_path / "cat" / "one.png", labels)
    write_picture(tmp_path / "query.jpg", picture)
    shown = ("--supports", tmp_path / "cat", "--to", tmp_path / "p", "--output", output)
    code, _, complaint = call("predict", tmp_path / "query.jpg", *shown)
    assert code == 0, complaint
    assert set(np.unique(read_labels(tmp_path / "p" / "labels" / "query.png"))) <= {0, 1}

    rows = ["--vary", "rifenet", "--vary", "alone: experiment.fss.options.unlabeled=0"]
    asked = ("--folds", 0, "--seeds", 0, "--shots", 1, 2, "--to", tmp_path / "r", "--output", output)
    code, told, complaint = call("compare", "picto_rifenet", *rows, *SETS, *asked)
    assert code == 0, complaint
    again = json.loads((tmp_path / "r" / "picto-fss-rifenet-fold0-1shot-seed0.json").read_text())
    assert again["fss"] == scores["fss"]
    assert "| alone | 2 |" in told
    models = sorted((output / "store" / "fss").glob("*/**/model.safetensors"))
    assert len(models) == 2  # the comparison found the run's model; the other row is trained without the branch
    with_branch, without = (load_file(path) for path in models)
    assert set(with_branch) == set(without)
    assert any((x != without[key]).any() for key, x in with_branch.items())


def test_published_preset():
    """The settings of RiFeNet's code with the rate that takes effect, 200 epochs in batches of 4, stride 8."""
    experiment = load_config("pascal_rifenet").experiment
    fss = experiment.fss
    assert experiment.model.name == "rifenet"
    assert fss.steps == 200 * 4208 // fss.batch == 210_400
    assert fss.choose_every == 4208 // fss.batch
    assert (fss.optimiser, fss.schedule, fss.lr, fss.apart_lr, fss.clip) == ("sgd", "poly", 0.0375, 1e-4, 1)
    assert (fss.side, fss.stride, fss.augment, fss.scale) == (473, 8, "recipe", (0.9, 1.1))
    assert (fss.first, fss.min_pixels, fss.episodes, fss.resolution) == ("picture", 2048, 1000, "original")
    own = RiFeNetConfig(**fss.options.model_dump())
    assert own == RiFeNetConfig()
    assert (own.dim, own.layers, own.heads, own.points, own.tokens) == (256, 2, 8, 9, 300)
    assert (own.unlabeled, own.beta, own.local) == (2, 0.5, "pooled")
    small, budget = (load_config(name).experiment.fss for name in ("picto_rifenet", "picto_fss"))
    assert small.model_dump(exclude={"options"}) == budget.model_dump(exclude={"options"})


def test_a_rate_apart_changes_the_fingerprint_only_where_it_is_set(output):
    """Models from before that setting stay known."""
    sets = [*TINY, f"execution.output={output}"]
    plain, apart = (load_config("picto_rifenet", [*sets, *more]) for more in ((), ("experiment.fss.apart_lr=1e-4",)))
    data = prepare_data(plain)
    told = [steps.fss_step(config, data, "picto/weights/backbone").recipe["settings"] for config in (plain, apart)]
    assert "apart_lr" not in told[0]
    assert told[1]["apart_lr"] == 1e-4
