import json

import pytest

from flows.console import say_name
from flows.runs import config_of_run, list_runs, write_run
from flows.settings import load_config


def test_interrupted_run_folder_is_replaced(tmp_path):
    """What a killed process left of a run's folder is no run, and is gone after the next one."""
    config = load_config(None, [f"execution.output={tmp_path}"])
    left = tmp_path / "runs" / "new.partial"
    left.mkdir(parents=True)
    for name in ("lineage.json", "scores.json", "half"):
        (left / name).write_text("{}")
    assert list_runs(tmp_path) == ([], [])
    folder = write_run(config, "picto", [])
    assert {p.name for p in folder.parent.iterdir()} == {folder.name, "latest"}
    assert not (folder / "half").exists()
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert write_run(config, "again", []) == folder


DAMAGED = [
    ("scores.json", "{}", "it lacks dataset, fold, shots, seed, labels"),
    ("scores.json", '{"dataset": ', "Expecting value"),
    ("scores.json", None, "No such file"),
    ("lineage.json", "{}", "expected stages, their shards, and a fingerprint"),
    ("lineage.json", '{"images": {"boat-000": "x"}}', "expected stages, their shards, and a fingerprint"),
    ("lineage.json", "[]", "expected an object"),
    ("lineage.json", b"\xff\x00", "can't decode byte"),
    ("experiment.yaml", "{}", "expected the groups experiment, execution"),
    ("experiment.yaml", "experiment: [", "is no YAML"),
    ("experiment.yaml", b"\xff\x00", "can't decode byte"),
]


@pytest.fixture
def two(tmp_path):
    """The folders of two runs."""
    sets = [f"execution.output={tmp_path}"]
    return write_run(load_config(None, sets), "one", []), write_run(
        load_config(None, [*sets, "experiment.seed=1"]), "two", []
    )


def spoil(folder, name, text):
    """Put other bytes into a file of a run, or take it away."""
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(("name", "text", "why"), DAMAGED)
def test_status_shows_the_other_runs(call, two, tmp_path, name, text, why):
    """One sentence names the damaged file, what is wrong and what to do; the other run has its row."""
    spoil(two[0], name, text)
    code, told, complaint = call("status", "--output", tmp_path)
    assert (code, complaint) == (0, "")
    assert two[1].name in told
    (sentence,) = [line for line in told.splitlines() if "damaged" in line]
    assert sentence.startswith(f"{two[0] / name} is damaged (")
    assert why in sentence
    assert f"move {two[0]} away; the same syn4seg run writes it again from the store" in sentence
    found = json.loads(call("status", "--output", tmp_path, "--json")[1])
    assert [row["run"] for row in found["runs"]] == [two[1].name]
    assert found["damaged"] == [sentence]


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("scores.json", (["show", "one"], ["diff", "one", "two"], ["report", "one"])),
        ("lineage.json", (["show", "one"], ["diff", "two", "one"], ["export", "one", "--format", "voc", "--to", "x"])),
        ("experiment.yaml", (
            ["show", "one"], ["report", "one"], ["evaluate", "--run", "one"], ["predict", "a.png", "--run", "one"],
            ["export", "one", "--format", "voc", "--to", "x"], ["train", "--data", "one"],
        )),
    ],
)  # fmt: skip
def test_commands_name_the_damaged_file(call, two, tmp_path, monkeypatch, name, commands):
    """What reads a damaged run ends with one sentence and exit code 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    spoil(two[0], name, "{}")
    for command in commands:
        code, _, complaint = call(*command, "--output", tmp_path)
        assert (code, complaint.count("\n")) == (2, 1), command
        assert f"{two[0] / name} is damaged (" in complaint, command


def test_settings_of_another_version_name_their_file(call, two, tmp_path):
    """A key that is not known is told with the run's file; a wrong --set is told without it."""
    path = two[0] / "experiment.yaml"
    assert "experiment.yaml" not in call("evaluate", "--run", "one", "--set", "execution.x=1", "--output", tmp_path)[2]
    path.write_text(path.read_text().replace("  fold: 0", "  fold: 0\n  fald: 0"))
    code, _, complaint = call("evaluate", "--run", "one", "--output", tmp_path)
    assert code == 2
    assert f"{path}: unknown key 'experiment.fald'" in complaint


@pytest.mark.parametrize("name", ["scores.json", "lineage.json", "experiment.yaml"])
def test_a_damaged_run_is_no_equal_one(two, name):
    """A run beside a damaged one writes its folder, also where the damaged one would be its own."""
    config = config_of_run(two[0])
    spoil(two[0], name, "{}")
    again = write_run(config, "again", [])
    assert again not in two
    assert write_run(config, "again", []) == again


def test_a_name_that_names_nothing_is_told(capsys, two):
    """Whoever asks for a name learns which equal run was found instead, and how to get another."""
    say_name(two[0], None)
    say_name(two[0], "one")
    assert capsys.readouterr().err == ""
    say_name(two[0], "other")
    told = capsys.readouterr().err
    assert told.startswith(f"syn4seg: --name other names nothing, since an equal run is finished, {two[0].name}: ")
    assert "--set experiment.seed=1" in told
    assert told.count("\n") == 1
