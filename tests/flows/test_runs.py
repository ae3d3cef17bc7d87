import pytest

from flows.runs import list_runs, used_places, write_run
from flows.settings import load_config
from pipeline.errors import InputError


def test_interrupted_run_folder_is_replaced(tmp_path):
    """What a killed process left of a run's folder is no run, and is gone after the next one."""
    config = load_config(None, [f"execution.output={tmp_path}"])
    left = tmp_path / "runs" / "new.partial"
    left.mkdir(parents=True)
    for name in ("lineage.json", "scores.json", "half"):
        (left / name).write_text("{}")
    assert list_runs(tmp_path) == []
    folder = write_run(config, "picto", [])
    assert {p.name for p in folder.parent.iterdir()} == {folder.name, "latest"}
    assert not (folder / "half").exists()
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert write_run(config, "again", []) == folder


def test_a_damaged_run_is_named(tmp_path):
    """Status and clean stop at a damaged file with its name, and do not take its shards for unused."""
    folder = write_run(load_config(None, [f"execution.output={tmp_path}"]), "picto", [])
    for name, look in (("scores.json", list_runs), ("lineage.json", used_places)):
        (folder / name).write_text('{"dataset": ')
        with pytest.raises(InputError, match=rf"{name} is damaged .*: move "):
            look(tmp_path)
