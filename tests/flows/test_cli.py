import sys

import numpy as np
import pytest

from flows.cli import main
from flows.data import choose_supports, prepare_data, split_of
from flows.settings import load_config
from pipeline.images import write_labels


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line; gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["syn4seg", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_help_teaches(call):
    """--help shows the commands and examples."""
    code, told, _ = call("--help")
    assert code == 0
    assert all(word in told for word in ("run", "plan", "check", "status", "clean", "train", "evaluate", "--set"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--set", "experiment.fitler.min_similarity=0.5"], "did you mean 'experiment.filter'?"),
        (["run", "--set", "experiment.prompts.classes=[baot]"], "did you mean 'boat'?"),
        (["run", "--set", "experiment.fold=7"], "fold 7 of picto does not exist: choose 0, 1, 2 or 3"),
        (["run", "--set", "experiment.filter.min_similarity=2.0"], "expected a number from -1 to 1"),
        (["run", "--set", "experiment.generate.model=./nowhere"], "no weights at './nowhere'"),
        (["run", "--set", "experiment.teacher.backbone=./nowhere"], "no weights at './nowhere'"),
        (["run", "--set", "experiment.refine.model=vit_h=./nowhere.pth"], "no weights at './nowhere.pth'"),
        (["run", "--set", "experiment.dataset=pascal"], "no PASCAL VOC 2012"),
        (["run", "nowhere.yaml"], "cannot read the config"),
        (["run", "--until", "refin"], "did you mean 'refine'?"),
        (["evaluate", "--model", "irr"], "did you mean 'iir'?"),
        (["evaluate", "--run", "nothing"], "no run 'nothing'"),
        (["rn"], 'Did you mean "run"'),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(call, tmp_path, monkeypatch, arguments, sentence):
    """Bad input is told in one line before anything is written."""
    monkeypatch.chdir(tmp_path)
    code, told, complaint = call(*arguments)
    assert code == 2
    assert sentence in complaint
    assert complaint.count("\n") == 1
    assert told == ""
    assert not list(tmp_path.iterdir()), "something was written"


def test_unwritable_output(call, tmp_path):
    """An output folder that cannot be made is told in one line."""
    (tmp_path / "file").write_text("")
    code, _, complaint = call("run", "--set", f"execution.output={tmp_path}/file/out")
    assert code == 2
    assert "cannot write to the output folder" in complaint
    assert (tmp_path / "file").read_text() == ""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, tiny):
    """An output folder with drawn data, its overrides, and the mask of one chosen support."""
    output = tmp_path_factory.mktemp("drawn")
    overrides = [*tiny, f"execution.output={output}"]
    config = load_config(None, overrides)
    pool = prepare_data(config)["support"].pictures
    chosen = choose_supports(pool, split_of(config), 1, 0)
    return output, overrides, pool.pair(pool.ids[chosen["boat"][0]])[1]


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign id"])
def test_damaged_support_is_one_sentence(call, drawn, damage):
    """A support without its mask, with half a mask or a foreign id ends the run before any work."""
    output, overrides, mask = drawn
    whole = mask.read_bytes()
    sentences = {"missing": "does not exist", "truncated": "cannot be read", "foreign id": "holds id 99"}
    try:
        if damage == "missing":
            mask.unlink()
        elif damage == "truncated":
            mask.write_bytes(whole[: len(whole) // 2])
        else:
            write_labels(mask, np.full((64, 64), 99, np.uint8))
        code, _, complaint = call("run", *(part for o in overrides for part in ("--set", o)))
    finally:
        mask.write_bytes(whole)
    assert code == 2
    assert sentences[damage] in complaint
    assert str(mask) in complaint
    assert complaint.count("\n") == 1
    assert not (output / "store").exists() or not list((output / "store").glob("*/*/record.json"))


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


def test_status_and_clean_of_an_empty_folder(call, tmp_path):
    """Without runs both say so."""
    assert "no run yet" in call("status", "--output", tmp_path)[1]
    assert "0 folders" in call("clean", "--output", tmp_path)[1]
