import json

from flows import inspection
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
    "run": ("--preview", "--until"),
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
