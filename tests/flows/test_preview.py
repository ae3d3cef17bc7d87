"""`syn4seg run --preview N`: what it makes, what the whole run finds again, and what it estimates."""

import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from benchmarks.chromium import Chromium, find_chromium
from flows.cli import main
from flows.data import store_of
from flows.plan import make_plan
from flows.preview import estimate
from flows.report import write_report
from flows.runs import find_run
from flows.settings import load_config
from flows.steps import CHAIN


@pytest.fixture(scope="module")
def store(finished, tmp_path_factory):
    """A copy of the finished run's data, banks and teacher, so that a preview has only pictures to make."""
    output = finished[1].parents[1]
    copy = tmp_path_factory.mktemp("preview") / "out"
    for place in ("data", "store/prompts", "store/teacher"):
        shutil.copytree(output / place, copy / place)
    return copy


@pytest.fixture(scope="module")
def sets(overrides, store):
    """The finished run's settings, in the copy."""
    return [*(o for o in overrides if "output" not in o), f"execution.output={store}"]


@pytest.fixture(scope="module")
def previewed(sets, store, prefect):
    """A preview of one picture a class: its folder and what it printed as JSON."""
    flags = [part for override in sets for part in ("--set", override)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as told:
        patch.setattr(sys, "argv", ["syn4seg", "run", "--preview", "1", "--json", *flags])
        with pytest.raises(SystemExit) as stop:
            main()
    assert stop.value.code == 0
    return find_run(store, "preview"), json.loads(told.getvalue())


def test_preview_is_a_run_without_final_models(previewed, store):
    """One labelled picture a class, the teacher, no dataset, training or score; latest does not name it."""
    folder, told = previewed
    assert told["run"] == str(folder)
    assert folder.name.endswith("-picto-preview")
    lineage = json.loads((folder / "lineage.json").read_text())
    assert {s: len(shards) for s, shards in lineage.items()} == dict.fromkeys(CHAIN[:7], 5) | {
        "teacher": 1, "dataset": 0, "train": 0, "scores": 0,
    }  # fmt: skip
    assert not os.path.lexists(store / "runs" / "latest")
    assert json.loads((folder / "preview.json").read_text())["pictures"] == 1
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["teacher"]
    assert (folder / "report" / "index.html").exists()


def test_estimate_counts_what_is_left(previewed, sets):
    """The shards that are left are those of the plan; the sums are those of the rows; no GPU, no GPU hours."""
    _, told = previewed
    plan = make_plan(load_config(None, sets)).stages
    assert {row["stage"]: row["left"] for row in told["stages"]} == {
        name: stage.total - stage.reuse for name, stage in plan.items()
    }
    assert (told["drawn"], told["wanted"], told["reused"]) == (5, 10, 0)
    rows = {row["stage"]: row for row in told["stages"]}
    assert rows["prompts"] == {"stage": "prompts", "total": 5, "left": 0, "seconds": 0, "bytes": 0, "from": "finished"}
    assert rows["images"]["from"] == "5 pictures of the preview"
    assert all(rows[stage]["seconds"] > 0 for stage in ("annotate", "train", "scores"))
    assert told["seconds"] == pytest.approx(sum(row["seconds"] for row in told["stages"]), abs=0.1)
    assert told["gpu_hours"] is None


def test_estimate_is_the_preview_times_what_is_left(previewed, sets):
    """Twice the pictures take twice the median time and the same bytes each."""
    config = load_config(None, sets)
    records = make_plan(config, "refine", 1).records
    images = [r for r in records if r.stage == "images"]
    row = next(row for row in estimate(config, records)["stages"] if row["stage"] == "images")
    assert row["seconds"] == pytest.approx(10 * sorted(r.seconds for r in images)[2], abs=0.06)
    assert row["bytes"] == 2 * sum(sum(r.files.values()) for r in images)


def test_same_preview_computes_nothing(call, previewed, sets):
    """Asked for again, everything is reused and the same folder comes back."""
    folder, _ = previewed
    flags = [part for override in sets for part in ("--set", override)]
    code, out, complaint = call("run", "--preview", 1, *flags)
    assert code == 0, complaint
    assert str(folder / "report" / "index.html") in out
    assert "0 of the 5 pictures again, and all of them where --preview is a multiple of 20" in out


def test_whole_run_finds_what_is_the_same(previewed, sets):
    """Prompts and teacher of the preview are those of the run; full shards would be too, and here 2 fill one."""
    config = load_config(None, sets)
    plan = make_plan(config)
    assert [plan.stages[s].reuse for s in ("prompts", "teacher", "images")] == [5, 1, 0]
    whole, two = make_plan(config, "images"), make_plan(config, "images", 2)
    assert whole.stages == two.stages
    assert make_plan(config, "images", 1).stages["images"].reuse == 5


def test_preview_can_be_looked_at(call, previewed, store):
    """status, show and diff know a preview; what needs its pictures as a dataset says that there is none."""
    folder, _ = previewed
    assert folder.name in call("status", "--output", store)[1]
    out = call("show", "preview", "--output", store)[1]
    assert "no scores" in out
    assert "refine" in out
    code, _, complaint = call("diff", "preview", folder, "--output", store)
    assert code == 0, complaint
    code, _, complaint = call("export", "preview", "--format", "voc", "--to", store / "voc", "--output", store)
    assert code == 2
    assert "choose a run of the whole chain" in complaint


def test_preview_refuses_what_makes_no_sense(call, sets):
    """--until and a run without pictures are bad input, before any work."""
    flags = [part for override in sets for part in ("--set", override)]
    code, _, complaint = call("run", "--preview", 1, "--until", "images", *flags)
    assert code == 2
    assert "leave --until and --shards out" in complaint
    code, _, complaint = call("run", "--preview", 1, *flags, "--set", "experiment.generate.enabled=false")
    assert code == 2
    assert "experiment.generate.enabled is false" in complaint


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_page_of_a_preview_says_so(previewed):
    """The page tells the estimate instead of scores, shows the gallery, and nothing complains."""
    folder, told = previewed
    with Chromium(find_chromium()) as chromium:
        chromium.open(write_report(folder).as_uri())
        chromium.until("document.querySelectorAll('.sample').length === 5")
        text = chromium.run("document.querySelector('#scores').innerText")
        assert chromium.complaints == []
    assert "the first picture of each class" in text
    assert f"{told['drawn']} again" in text


def test_preview_store_has_no_final_work(previewed, sets):
    """Nothing was assembled, trained or scored."""
    stages = {record.stage for record in store_of(load_config(None, sets)).records()}
    assert stages == set(CHAIN[:7])
