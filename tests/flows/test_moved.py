"""Runs that are looked at elsewhere than they were made: in a moved output folder, on a machine without their GPU."""

import json

import numpy as np
import pytest
import torch

from flows import standalone
from flows.runs import config_of_run, write_run
from flows.settings import load_config
from pipeline.images import write_picture

SENTENCE = "execution.device: got 'cuda', but torch sees 0 GPUs: choose auto or cpu, such as --set execution.device=cpu"


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An output folder that was moved after its run, of an FSS model on a GPU; this machine has none."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    run = write_run(load_config(None, [f"execution.output={tmp_path / 'first'}"]), "made", [])
    (run / "checkpoints" / "fss").mkdir(parents=True)
    settings = run / "experiment.yaml"
    settings.write_text(settings.read_text().replace("device: auto", "device: cuda"))
    write_picture(tmp_path / "x.jpg", np.zeros((8, 8, 3), np.uint8))
    return (tmp_path / "first").rename(tmp_path / "2026#1 ~")


def test_the_config_of_a_moved_run_names_where_it_lies(output, tmp_path):
    """The place of the run goes over what it was written with, and what is asked for over both."""
    run = next((output / "runs").glob("*-made"))
    assert config_of_run(run).execution.output == str(output)
    assert config_of_run(run, ["execution.output=there"]).execution.output == "there"
    alone = run.rename(tmp_path / "alone")
    assert config_of_run(alone).execution.output == str(tmp_path / "first")


def test_evaluate_scores_where_the_run_lies_on_the_device_that_is_there(call, output, monkeypatch):
    """Without the GPU of the run it is refused in a sentence that says what to add; with that it goes on."""
    asked = []
    monkeypatch.setattr(standalone, "evaluate_fss_run", lambda *given: asked.append(given) or {"dataset": "picto"})
    code, _, complaint = call("evaluate", "--output", output)
    assert (code, complaint) == (2, f"syn4seg: {SENTENCE}\n")
    code, told, complaint = call("evaluate", "--output", output, "--json", "--set", "execution.device=cpu")
    assert (code, json.loads(told)) == (0, {"dataset": "picto"}), complaint
    ((config, folder, elsewhere),) = asked
    assert (config.execution.device, config.execution.output, elsewhere) == ("cpu", str(output), None)
    assert folder == next((output / "runs").glob("*-made"))


@pytest.mark.parametrize("command", ["predict", "report"])
def test_a_run_of_a_gpu_is_looked_at_without_one(call, output, tmp_path, command):
    """`predict` and `report` take another device, and nothing that would make another run of it."""
    asked = ["predict", tmp_path / "x.jpg"] if command == "predict" else ["report"]
    code, _, complaint = call(*asked, "--output", output)
    assert (code, complaint) == (2, f"syn4seg: {SENTENCE}\n")
    code, told, complaint = call(*asked, "--output", output, "--set", "execution.device=cpu")
    if command == "report":
        assert (code, complaint) == (0, "")
        assert told.split()[-1].endswith("report/index.html")
    else:
        assert complaint.endswith("holds an fss model: show it the class by --supports FOLDER\n")
    code, _, complaint = call(*asked, "--output", output, "--set", "experiment.seed=3")
    assert code == 2
    assert "--set experiment.seed=3: a finished run stays as it is; another execution.KEY can be given" in complaint
