"""Sym-Net by the commands that a user gives: trained with picto's words, scored, compared, asked for other things."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from flows import wiring
from flows.settings import load_config
from fss_models.symnet import SymNetConfig
from pipeline.errors import InputError
from pipeline.images import read_labels, write_labels, write_picture

TINY = [
    "experiment.base_pictures=200", "experiment.validation_pictures=100", "experiment.fss.steps=2",
    "experiment.fss.batch=2", "experiment.fss.choose=none", "experiment.fss.episodes=4", "experiment.fss.seeds=1",
    "experiment.fss.options.dim=8",
]  # fmt: skip
SETS = [part for override in TINY for part in ("--set", override)]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder that the tests of this file share."""
    return tmp_path_factory.mktemp("symnet")


@pytest.fixture
def trained(call, output):
    """A Sym-Net run; computed once, found again afterwards."""
    code, told, complaint = call("train", "picto_symnet", "--protocol", "fss", "--output", output, *SETS, "--json")
    assert code == 0, complaint
    return json.loads(told)


def test_trained_scored_and_compared(call, output, trained, tmp_path):
    """The preset names the model; its words are in the weights; scores come again, also as a row of a comparison."""
    assert trained["model"] == "symnet"
    weights = load_file(next((output / "runs").glob("*/checkpoints/fss/model.safetensors")))
    assert len([key for key in weights if key.startswith("words.")]) == 20
    code, told, complaint = call("evaluate", "--output", output, "--json")
    assert code == 0, complaint
    assert json.loads(told)["fss"] == trained["fss"]
    alone = "alone: picto_symnet experiment.fss.options.query_prototype=false"
    rows = ["--vary", "Sym-Net: picto_symnet", "--vary", alone]
    asked = ["--folds", 0, "--seeds", 0, "--shots", 1, "--to", tmp_path, "--output", output]
    code, told, complaint = call("compare", "picto_fss", *rows, *SETS, *asked)
    assert code == 0, complaint
    assert json.loads((tmp_path / "picto-fss-sym-net-fold0-1shot-seed0.json").read_text())["fss"] == trained["fss"]
    assert "| alone | 1 |" in told
    assert len(list((output / "store" / "fss").iterdir())) == 2  # the comparison found the run's model


def test_another_text_is_another_model(call, output, trained):
    """What the names are read by is part of the fingerprint."""
    before = set((output / "store" / "fss").iterdir())
    code, _, complaint = call(
        "train", "picto_symnet", "--protocol", "fss", "--output", output, *SETS, "--json", "--name", "silent",
        "--set", "experiment.fss.options.text=none",
    )  # fmt: skip
    assert code == 0, complaint
    assert len(set((output / "store" / "fss").iterdir()) - before) == 1


def test_prediction_reads_the_name_of_the_folder(call, output, trained, tmp_path):
    """The class is called as the supports' folder, also by a word that was none of training's."""
    name = "wheelbarrow"
    picture, labels = np.full((40, 40, 3), 200, np.uint8), np.zeros((40, 40), np.uint8)
    picture[10:30, 10:30], labels[10:30, 10:30] = (200, 0, 0), 1
    write_picture(tmp_path / name / "one.jpg", picture)
    write_labels(tmp_path / name / "one.png", labels)
    write_picture(tmp_path / "query.jpg", picture)
    run = next(path.name for path in (output / "runs").iterdir() if path.name.endswith("picto_symnet-fss"))
    code, _, complaint = call(
        "predict", tmp_path / "query.jpg", "--run", run, "--supports", tmp_path / name, "--to", tmp_path / "to",
        "--output", output,
    )  # fmt: skip
    assert code == 0, complaint
    assert set(np.unique(read_labels(tmp_path / "to" / "labels" / "query.png"))) <= {0, 1}


def test_what_reads_the_names():
    """On picto its own text encoder does unless told; elsewhere it must be told, and be there."""
    assert wiring.fss_options(load_config("picto", ["experiment.model.name=symnet"]))["text"].endswith("generator")
    assert wiring.fss_options(load_config("picto_symnet", ["experiment.fss.options.text=none"]))["text"] == "none"
    assert "text" not in wiring.fss_options(load_config("picto_fss"))
    with pytest.raises(InputError, match=r"set experiment\.fss\.options\.text"):
        wiring.fss_options(load_config("pascal_symnet", ["experiment.fss.options={}"]))
    with pytest.raises(InputError, match="no text encoder and no word vectors at"):
        wiring.fss_options(load_config("picto_symnet", ["experiment.fss.options.text=nowhere.txt"]))


def test_published_preset():
    """The settings of Sym-Net's code: SGD at 0.05, poly, 200 epochs in batches of 8, stride 8, network size."""
    experiment = load_config("pascal_symnet").experiment
    fss = experiment.fss
    assert experiment.model.name == "symnet"
    assert fss.steps == 200 * 4208 // fss.batch == 105_200
    assert (fss.optimiser, fss.schedule, fss.lr, fss.clip, fss.batch) == ("sgd", "poly", 0.05, 0, 8)
    assert (fss.side, fss.stride, fss.augment, fss.scale) == (473, 8, "recipe", (0.9, 1.1))
    assert (fss.first, fss.min_pixels, fss.resolution, fss.episodes, fss.seeds) == ("picture", 2048, "network", 1000, 5)
    own = SymNetConfig(**fss.options.model_dump())
    assert (own.dim, own.base, own.standardise, own.similarities, own.query_prototype) == (256, 15, False, False, True)
    assert experiment.prepare.steps == 100 * 4208 // experiment.prepare.batch
    small, budget = (load_config(name).experiment.fss for name in ("picto_symnet", "picto_fss"))
    same = {"options"}
    assert small.model_dump(exclude=same) == budget.model_dump(exclude=same)
