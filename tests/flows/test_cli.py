import json
import shlex
from types import SimpleNamespace

import pytest
import yaml

from flows import inspection
from flows.settings import dump_config, load_config
from pipeline.errors import InputError

HELPS = {
    "train": ("gfss-capl", "--data", "--protocol", "--to"),
    "prepare": ("--to", "syn4seg prepare --set experiment.fold=1", "experiment.fss.options.base=15"),
    "evaluate": ("--dataset", "--multiscale", "--shots", " syn4seg evaluate --run pascal-fss --dataset deepglobe"),
    "audit": ("--sweep", "--grid", "--pictures", "syn4seg audit --grid relabel.blend=0,0.5,1"),
    "compare": ("--vary", "--folds"),
    "predict": ("--supports", "--multiscale"),
    "show": ("--sample", " syn4seg show latest filter", "--to"),
    "diff": ("--worst", " syn4seg diff picto strict"),
    "run": ("--preview", "--until", "--output"),
    "serve": ("--timezone", "in UTC unless"),
    "config": (" syn4seg config | grep similarity",),
}


def test_help_teaches(call):
    """--help shows the commands and examples."""
    code, told, _ = call("--help")
    assert code == 0
    assert all(word in told for word in ("run", "plan", "check", "status", "show", "diff", "clean"))
    assert all(word in told for word in ("train", "evaluate", "--set"))
    for command, words in HELPS.items():
        code, told, _ = call(command, "--help")
        assert code == 0
        assert all(word in told for word in words), command


def test_plan_of_a_fresh_folder(call, tmp_path, tiny):
    """Before the first run everything is to be computed, and the plan writes nothing."""
    output = tmp_path / "out"
    code, told, _ = call("plan", *(part for o in tiny for part in ("--set", o)), "--set", f"execution.output={output}")
    assert code == 0
    assert "not computed yet (5)" in told
    assert "left: about" in told
    assert not output.exists()


def test_check_names_what_is_missing(call, tmp_path, monkeypatch):
    """`check` says what is there, and exits with 2 where something is not."""
    monkeypatch.chdir(tmp_path)
    code, told, complaint = call("check", "--set", "experiment.generate.model=./nowhere")
    assert code == 2
    assert "torch" in told
    assert "MISSING" in told
    assert "not ready: generator" in complaint


def test_check_shows_why_a_run_cannot_be_planned(call, tmp_path, monkeypatch):
    """What keeps a run from being planned is told, and is not as it should be."""

    def refuse(*_, **__):
        raise InputError("the plan knows: do this")

    monkeypatch.setattr(inspection, "make_plan", refuse)
    code, told, complaint = call("check", "--json", "--set", f"execution.output={tmp_path}")
    (row,) = [row for row in json.loads(told) if row["what"] == "output folder"]
    assert row["found"].endswith("GB free; what is needed cannot be planned: the plan knows: do this")
    assert not row["ok"]
    assert code == 2
    assert "output folder" in complaint


def test_status_and_clean_of_an_empty_folder(call, tmp_path):
    """Without runs both say so."""
    assert "no run yet" in call("status", "--output", tmp_path)[1]
    assert "0 folders" in call("clean", "--output", tmp_path)[1]


@pytest.mark.parametrize("name", ["20261127", "a # b", "1e3", "null"])
def test_the_output_folder_is_a_name_and_no_yaml(call, monkeypatch, name):
    """What --output names is a folder of that name; a run that stops early tells as JSON what it did."""
    plan = SimpleNamespace(stages={"prompts": SimpleNamespace(reuse=2, total=5)})
    asked = []
    monkeypatch.setattr("flows.run.run", lambda config, *_, **__: asked.append(config.execution.output) or (None, plan))
    code, told, complaint = call("run", "--until", "prompts", "--output", name, "--json")
    assert code == 0, complaint
    assert json.loads(told) == {"until": "prompts", "share": None, "shards": 5, "reused": 2}
    told = call("run", "--shards", "1/2", "--output", name)[1]
    assert asked == [name, name]
    assert told.endswith(f"this joins them: syn4seg run --output={shlex.quote(name)}\n")


def test_the_tilde_is_the_home_folder(call, tmp_path, monkeypatch):
    """~ is expanded where no shell does it: behind =, and in a config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "no run" in call("show", "--output=~/out")[2]
    assert str(tmp_path / "out/runs") in call("show", "--output=~/out")[2]
    execution = load_config(None, ["execution.output=~/out", "execution.data=~/sets", "execution.cache=~x"]).execution
    assert (execution.output, execution.data) == (str(tmp_path / "out"), str(tmp_path / "sets"))
    assert execution.cache == "~x"


def test_config_explains_every_setting(call):
    """`config` prints a config that reads back, with choices and meaning behind the keys."""
    odd = ["generate.scheduler={name: LCMScheduler, steps: [1, 2]}", 'generate.negative_prompt="a # b: é"']
    sets = [part for override in odd for part in ("--set", f"experiment.{override}")]
    code, told, _ = call("config", *sets)
    assert code == 0
    assert yaml.safe_load(told) == yaml.safe_load(dump_config(load_config(None, sets[1::2])))
    assert "    min_similarity: -0.1  # lambda: keep a region at or above this cosine" in told
    assert "  protocol: gfss-diam  # gfss-diam | gfss-capl; which published" in told
    assert json.loads(call("config", "picto_fss", "--json")[1])["experiment"]["dataset"] == "picto"
