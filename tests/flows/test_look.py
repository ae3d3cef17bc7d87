"""`syn4seg show`: the tables of a run and the story of a sample are what the store says."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import SPLIT, make_run
from flows.look import open_run
from flows.report.found import LABELLING, read_histories
from flows.report.pictures import SIDE
from flows.report.samples import SCORES, Gallery
from flows.report.why import Stories, figure
from flows.sheet import GAP, LINE
from flows.steps import CHAIN

COUNT = 60
LIMITS = {"filter.min_similarity": -0.1, "refine.min_overlap": 0.4}


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """A finished run of discs: its output folder, its folder and its samples' histories."""
    output = tmp_path_factory.mktemp("out")
    run = make_run(output, COUNT, side=32)
    return output, run, list(read_histories(open_run(run).found))


def told(call, *arguments):
    """Run a command that prints JSON and read it."""
    code, out, complaint = call(*arguments, "--json")
    assert code == 0, complaint
    return json.loads(out)


def test_stages_are_counted_from_their_records(call, discs):
    """What a stage was given it kept or dropped with a reason, as the samples' own rows say."""
    output, run, histories = discs
    rows = {row["stage"]: row for row in told(call, "show", "discs", "--output", output)["stages"]}
    assert list(rows) == ["prompts", "images", *LABELLING]
    for stage in ("images", *LABELLING):
        gone = [h for h in histories if h.dropped_at == stage]
        assert rows[stage]["made"] - rows[stage]["kept"] == len(gone) == sum(rows[stage]["dropped"].values())
    assert rows["refine"]["kept"] == sum(h.dropped_at is None for h in histories)
    assert sum(rows[stage]["made"] - rows[stage]["kept"] for stage in ("images", *LABELLING)) > 3
    assert rows["prompts"]["dropped"] == {"too similar to an accepted sentence": COUNT}
    files = (output / "store" / "filter").rglob("*.*")
    assert rows["filter"]["bytes"] == sum(f.stat().st_size for f in files if f.is_file() and f.name != "record.json")
    code, out, _ = call("show", run, "--output", output)
    assert code == 0
    assert "too similar to an accepted sentence" in out
    assert "46.0" in out


def test_classes_of_a_stage_have_means_and_their_worst(call, discs):
    """Means are over the class's samples that the stage measured; the dropped and then the lowest are the worst."""
    output, _, histories = discs
    rows = told(call, "show", "discs", "refine", "--output", output)["rows"]
    assert [row["class"] for row in rows] == list(SPLIT.novel)
    for row in rows:
        mine = [h for h in histories if h.last["name"] == row["class"] and h.dropped_at in (None, "refine")]
        overlaps = {h.last["id"]: h.last["scores"]["sabr_overlap"] for h in mine}
        assert row["scores"]["sabr_overlap"] == pytest.approx(np.mean(list(overlaps.values())), abs=1e-3)
        gone = [h.last["id"] for h in mine if h.dropped_at == "refine"]
        assert (row["made"], row["kept"]) == (len(mine), len(mine) - len(gone))
        left = sorted(overlaps.keys() - set(gone), key=lambda name: overlaps[name])
        assert [worst["id"] for worst in row["worst"]] == [*gone, *left][:3]
    out = call("show", "discs", "refine", "--output", output)[1]
    assert "the limit refine.min_overlap is 0.4" in out


def test_story_of_a_dropped_sample(call, discs, tmp_path):
    """Prompt, seed, reason and pixel counts up to the stage that dropped it; the sheet's later cells are grey."""
    output, _, histories = discs
    mine = next(h for h in histories if h.dropped_at == "relabel")
    last, sheet = mine.last, tmp_path / "new" / "sheet.png"
    found = told(call, "show", "discs", "--sample", last["id"], "--to", sheet, "--output", output)
    assert (found["prompt"], found["seed"], found["reason"]) == (last["prompt"], last["seed"], last["reason"])
    assert found["fate"] == "dropped at relabel"
    assert [step["stage"] for step in found["stages"]] == ["images", "annotate", "filter", "relabel"]
    labels, free = mine.labels("filter")
    pixels = found["stages"][2]["pixels"]
    assert pixels["class"] == (labels == SPLIT.id_of(last["name"])).sum() > 0
    assert pixels["free"] == free.sum() > 0
    assert found["stages"][2]["scores"]["apf_best"]["limit"] == -0.1
    assert {"stage": "APR", "text": f"dropped, {last['reason']}", "miss": True} in found["why"]
    assert found["story"].startswith("First label on 30 %, mean probability 0.")
    cells = cells_of(sheet)
    scale = np.asarray(Image.fromarray(mine.picture()).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    assert (cells[0] == scale).all()
    assert (cells[1] != scale).any()
    assert all((cell == 225).all() for cell in cells[4:])
    assert not any((cell == 225).all() for cell in cells[:4])
    out = call("show", "discs", "--sample", last["id"], "--to", sheet, "--output", output)[1]
    assert f"{last['id']}, dropped at relabel: {last['reason']}" in out
    assert str(sheet) in out.replace("\n", "")


def cells_of(sheet):
    """Cut a sheet into its six pictures."""
    page = np.asarray(Image.open(sheet))
    assert page.shape[1] == 6 * (SIDE + GAP) + GAP
    top = GAP + 3 * LINE
    return [page[top : top + SIDE, left : left + SIDE] for left in range(GAP, page.shape[1] - GAP, SIDE + GAP)]


def test_story_of_a_kept_sample_is_that_of_the_report(call, discs):
    """A kept sample has its final pixels and agreement; the sheet lies in the run's folder unless told otherwise."""
    output, run, histories = discs
    mine = next(h for h in histories if h.dropped_at is None and h.last["scores"]["sabr_overlap"] < 0.4)
    name = mine.last["id"]
    found = told(call, "show", "discs", "--sample", name, "--output", output)
    assert found["sheet"] == str(run / "looks" / f"{name}.png")
    assert (run / "looks" / f"{name}.png").stat().st_size > 1000
    final = found["stages"][-1]
    assert final["stage"] == "final"
    first, last = (mine.labels(stage)[0] == SPLIT.id_of(mine.last["name"]) for stage in ("annotate", "refine"))
    assert final["pixels"]["class"] == last.sum()
    assert final["scores"]["agreement"]["value"] == pytest.approx((first & last).sum() / (first | last).sum(), abs=1e-4)
    assert any(line["text"].endswith("the limit refine.min_overlap is 0.4") for line in found["why"])
    call("report", "discs", "--output", output)
    page = (run / "report" / "data" / "samples-0000.js").read_text()
    (detail,) = [d for d in json.loads(page.partition("=")[2].rstrip(";\n")) if d["id"] == name]
    assert detail["story"] == found["story"]
    assert detail["why"] == [list(line.values()) for line in found["why"]]


def test_worst_tenth_by_hand():
    """Of 20 certainties 0.00, 0.01, ... the two below the third are the worst tenth; of nine nobody is."""
    gallery = Gallery()
    gallery.columns = {key: [None] * 20 for key, *_ in SCORES} | {"class": [0] * 20, "dropped": [None] * 20}
    gallery.columns["certainty"] = [i / 100 for i in range(20)]
    stories = Stories(gallery, SPLIT, LIMITS)
    assert [bool(stories.why(i, None)) for i in range(20)] == [True] * 2 + [False] * 18
    assert stories.why(1, None)[0].text == "first labels teacher's mean probability on it (0.0100)"
    gallery.columns["class"] = [0] * 9 + [1] * 11
    again = Stories(gallery, SPLIT, LIMITS)
    assert again.why(0, None) == []
    assert again.why(9, None)[0].stage == f"Worst tenth of {SPLIT.novel[1]}"


def test_figures_have_three_digits():
    """Whole numbers stay whole; others have three digits; nothing is a dash."""
    assert [figure(v) for v in (None, 3, 2.0, 0.5, 0.00123, 123.4, 0.69999)] == [
        "–", "3", "2", "0.500", "0.00123", "123", "0.700",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["disks"], "no run 'disks' in .*; the nearest are 20260101-000000-discs"),
        (["discs", "filtr"], "unknown stage 'filtr': .* did you mean 'filter'"),
        (["discs", "train"], "20260101-000000-discs has no stage 'train': it has prompts, images, annotate"),
        (["discs", "--sample", "boat-003-0"], "no sample 'boat-003-0' among its 60: the nearest ids are boat-00"),
        (["discs", "refine", "--sample", "boat-0003-0"], "--sample tells of all stages: leave 'refine'"),
        (["discs", "--sample", "boat-0003-0", "--to", "a.gif"], "a.gif: expected a file that ends in .png, .jpg"),
        (["discs", "--to", "a.png"], "--to names the contact sheet of a sample"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(call, discs, arguments, wanted):
    """A run, stage or sample that is not there is bad input, in one sentence with what is meant perhaps."""
    code, out, complaint = call("show", *arguments, "--output", discs[0])
    assert (code, out) == (2, "")
    assert complaint.count("\n") == 1
    assert re.search(wanted, complaint)


def test_every_stage_of_a_real_run_can_be_shown(call, finished):
    """A run of the whole chain has a row a stage, and a table of each; the scores are those of scores.json."""
    _, folder, _ = finished
    output = folder.parent.parent
    shown = told(call, "show", folder.name, "--output", output)
    assert [row["stage"] for row in shown["stages"]] == list(CHAIN)
    scores = json.loads((folder / "scores.json").read_text())
    assert shown["scores"] == scores
    for stage in CHAIN:
        rows = told(call, "show", folder.name, stage, "--output", output)["rows"]
        assert rows, stage
        assert call("show", folder.name, stage, "--output", output)[0] == 0
        if stage == "scores":
            assert {r["class"]: r["after"] for r in rows} == scores["after"]["per_class"]
        if stage == "train":
            assert {row["model"]: bool(row["losses"]) for row in rows} == {"before": True, "after": True}
    name = next(read_histories(open_run(folder).found)).last["id"]
    assert call("show", folder.name, "--sample", name, "--output", output)[0] == 0
