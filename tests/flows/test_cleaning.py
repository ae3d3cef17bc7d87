"""What `syn4seg clean` really deletes, and what stays."""

import json
import os
import time

import pytest

from flows import report
from flows.banks import write_prompts
from flows.cleaning import DAY, KEEP_DAYS
from flows.data import prepare_data, store_of
from flows.merge import merge_stores
from flows.plan import plan_round
from flows.runs import write_run
from flows.settings import load_config
from flows.turns import take_turn

OLD = KEEP_DAYS + 1


@pytest.fixture
def config(tmp_path):
    """A config whose output folder is empty."""
    return load_config(None, [f"execution.output={tmp_path / 'out'}"])


@pytest.fixture
def clean(call, config):
    """Run `clean --yes`; gives what it printed."""

    def run(*arguments):
        code, told, complaint = call("clean", "--yes", "--output", config.execution.output, *arguments)
        assert code == 0, complaint
        return told

    return run


def aged(folder, days):
    """Give a folder and all in it the time of some days ago."""
    then = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))
    return folder


def made(config, stage, shard, days=OLD):
    """Finish a shard of that age; gives its record."""
    record = store_of(config).compute(stage, shard, {"version": 1}, lambda d: (d.folder / "x").write_text(shard))
    aged(store_of(config).root / record.place, days)
    return record


def there(config):
    """The folders of the store, without fingerprints."""
    folders = (path for path in store_of(config).root.glob("*/*") if path.is_dir())
    return {f"{path.parent.name}/{path.name.rpartition('-')[0]}{path.suffix}" for path in folders}


def begun(config, ending, days):
    """Leave what a killed process leaves of a shard, of that age."""
    folder = store_of(config).root / "train" / f"after-0123456789abcdef.{ending}"
    folder.mkdir(parents=True)
    (folder / "step").write_text("12")
    aged(folder, days)


def test_what_runs_refer_to_stays_and_what_is_old_goes(clean, config, monkeypatch):
    """Shards of both rounds of a finished run stay at any age; old ones that no run knows go, interrupted ones too."""
    monkeypatch.setattr(report, "write_report", lambda run: run)
    first = [made(config, "prompts", "first"), made(config, "train", "after")]
    write_run(config, "twice", [made(config, "prompts", "second"), made(config, "images", "boat-000")], first=first)
    made(config, "images", "cat-000")
    begun(config, "partial", OLD)
    begun(config, "scratch", OLD)
    told = clean()
    assert there(config) == {"prompts/first", "prompts/second", "images/boat-000", "train/after"}
    assert "3 folders, 0.0 MB deleted\nkept: 4 folders that runs refer to" in told
    clean("--older-than", 0)
    assert len(there(config)) == 4


def test_what_was_made_lately_stays(clean, config):
    """Shards and checkpoints of work without a run's folder stay for two weeks, or as long as was asked for."""
    made(config, "images", "boat-000", KEEP_DAYS - 1)
    begun(config, "partial", KEEP_DAYS - 1)
    begun(config, "scratch", KEEP_DAYS - 1)
    assert "and 3 (0.0 MB) in work or used in the last 14 days" in clean()
    assert len(there(config)) == 3
    clean("--older-than", KEEP_DAYS)
    assert len(there(config)) == 3
    clean("--older-than", KEEP_DAYS - 2)
    assert there(config) == set()


def test_without_yes_nothing_is_deleted(call, config):
    """What could go is listed, as a table or as JSON."""
    made(config, "images", "boat-000")
    assert "1 folders, 0.0 MB could be deleted with --yes" in call("clean", "--output", config.execution.output)[1]
    (row,) = json.loads(call("clean", "--json", "--output", config.execution.output)[1])
    assert row["folder"].startswith(str(store_of(config).root / "images" / "boat-000-"))
    assert there(config) == {"images/boat-000"}


def test_what_is_being_computed_stays(clean, config):
    """The folders of a shard in work stay whatever their age, and with them what its command may have found before."""
    made(config, "images", "found", KEEP_DAYS - 1)
    made(config, "images", "old")
    seen = []

    def work(draft):
        draft.scratch.mkdir()
        (draft.scratch / "step").write_text("12")
        for folder in (draft.scratch, draft.folder):
            aged(folder, OLD)
        clean("--older-than", 0)
        seen.append(there(config))
        (draft.folder / "x").write_text("x")

    store_of(config).compute("train", "after", {"version": 1}, work)
    assert seen == [{"images/found", "train/after.partial", "train/after.scratch"}]
    clean("--older-than", 0)
    assert there(config) == set()


def test_a_run_that_goes_on_keeps_its_shards(clean, config):
    """Between two shards of a run nothing is locked but its turn: what it finished stays, also with --older-than 0."""
    with take_turn(config, "refuse", print):
        made(config, "images", "boat-000", days=1)
        assert "in the last 14 days" in clean("--older-than", 0)
        assert there(config) == {"images/boat-000"}
    assert "in the last 0 days" in clean("--older-than", 0)
    assert there(config) == set()


def test_what_a_run_finds_again_is_not_old(clean, config, tiny):
    """What every round of a run begins with, be it --until, a share or a cell of a comparison, renews its shards."""
    sets = [*tiny, f"execution.output={config.execution.output}", "experiment.prompts.classes=[boat]"]
    wanted, other = load_config(None, sets), load_config(None, [*sets, "experiment.prompts.per_class=1"])
    prepare_data(wanted)
    banks = [write_prompts(config, "boat") for config in (wanted, other)]
    for bank in banks:
        aged(store_of(config).root / bank.place, OLD)
    assert plan_round(wanted, "prompts", None, None, None).complete
    clean()
    left = store_of(config).root.glob("prompts/*")
    assert [path.name for path in left] == [f"boat-{banks[0].fingerprint}"]


def test_what_a_command_computes_or_merges_again_is_not_old(clean, config, tmp_path):
    """Commands that ask for a shard without a plan, such as prepare and compare, and a merge of shares, renew it."""
    other = load_config(None, [f"execution.output={tmp_path / 'other'}"])
    made(config, "prepare", "backbone")
    made(other, "images", "boat-000")
    store_of(config).compute("prepare", "backbone", {"version": 1}, lambda _: pytest.fail("computed again"))
    for _ in range(2):
        assert merge_stores([tmp_path / "other"], config.execution.output)[0]["shards"] == 1
        clean()
        assert there(config) == {"prepare/backbone", "images/boat-000"}
        aged(next(store_of(config).root.glob("images/*")), OLD)  # the second merge finds it here


def test_a_damaged_lineage_deletes_nothing(call, config):
    """Where nobody knows what a run refers to, its file is named and all stays."""
    folder = write_run(config, "picto", [])
    made(config, "images", "boat-000")
    (folder / "lineage.json").write_text('{"images": ')
    code, _, told = call("clean", "--yes", "--output", config.execution.output)
    assert code == 2
    assert f"{folder / 'lineage.json'} is damaged" in told
    assert there(config) == {"images/boat-000"}
