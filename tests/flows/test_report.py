import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import SPLIT, make_run
from flows.report import write_report
from flows.report.build import PAGE
from flows.report.found import LABELLING, find_shards, read_histories
from flows.report.pictures import FREE, class_colours, codes_of, thumbnail_size
from flows.report.samples import group_of
from flows.runs import find_run
from pipeline.classes import IGNORE
from pipeline.store import RunStore

COUNT = 60


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """A finished run of discs and its report."""
    run = make_run(tmp_path_factory.mktemp("out"), COUNT, side=32)
    return run, write_report(run)


def data(page, name):
    """Read what a script of the report holds."""
    key, value = re.fullmatch(r"REPORT\[(\".*?\")\]=(.*);\n", (page.parent / "data" / name).read_text(), re.S).groups()
    return json.loads(key), json.loads(value)


def test_counts_through_the_chain_add_up(discs):
    """Of each stage what was kept and dropped is what came, and the store's own records say the same."""
    run, page = discs
    summary = data(page, "summary.js")[1]
    steps = {step["stage"]: step for step in summary["chain"]}
    assert list(steps) == ["prompts", "images", *LABELLING]
    come = COUNT
    for stage in ("images", *LABELLING):
        assert steps[stage]["in"] == come
        come = steps[stage]["kept"]
        assert come + sum(steps[stage]["dropped"].values()) == steps[stage]["in"]
    records = find_shards(run, RunStore(run.parent.parent / "store")).of("refine")
    assert come == sum(record.counts["kept"] for record in records)
    assert come < COUNT
    assert steps["prompts"]["kept"] == COUNT
    assert steps["prompts"]["dropped"] == {"too similar to an accepted sentence": COUNT}


def test_every_sample_is_told_as_the_store_has_it(discs):
    """Id, prompt, seed with all its digits, scores and reason of each sample are those of its last stage."""
    run, page = discs
    columns = data(page, "summary.js")[1]["samples"]["columns"]
    key, details = data(page, "samples-0000.js")
    assert key == "details/0"
    found = find_shards(run, RunStore(run.parent.parent / "store"))
    for i, (history, detail) in enumerate(zip(read_histories(found), details, strict=True)):
        last = history.last
        assert detail["id"] == last["id"]
        assert detail["prompt"] == last["prompt"]
        assert int(detail["seed"]) == last["seed"] > 2**53
        told = [text for _, text, _ in detail["why"]]
        assert (f"dropped, {last['reason']}" in told) == (last["reason"] is not None)
        assert (columns["dropped"][i] is None) == (last["reason"] is None)
        for score in ("certainty", "apf_best", "sabr_overlap"):
            assert columns[score][i] == pytest.approx(last["scores"].get(score), abs=1e-4)


def test_strip_holds_the_labels_of_every_stage(discs):
    """The strip's cells are the label maps of the stages; the last one is the final label, where there is one."""
    run, page = discs
    found = find_shards(run, RunStore(run.parent.parent / "store"))
    for i, history in enumerate(read_histories(found)):
        path = page.parent / "samples" / "000" / f"{i:06d}.png"
        assert path.with_suffix(".jpg").exists()
        if history.dropped_at == "images":
            assert not path.exists()
            continue
        strip = np.asarray(Image.open(path)).reshape(32, 5, 32).swapaxes(0, 1)
        for place, stage in enumerate(LABELLING):
            labels, free = history.labels(stage)
            sure = ~free & (labels != IGNORE)
            assert (strip[place][sure] == labels[sure]).all()
            assert set(np.unique(strip[place][free])) <= {0, FREE}
        final = history.labels("refine")[0] if history.dropped_at is None else np.zeros((32, 32), np.uint8)
        assert (strip[4] == final).all()


def test_free_and_ignored_pixels_are_told_apart():
    """Free pixels are chequered with their own code, ignored ones striped, and nothing else changes."""
    labels = np.array([[1, 2, 0, 0], [255, 255, 255, 255], [255, 255, 255, 255], [3, 3, 3, 3]], np.uint8)
    free = np.zeros((4, 4), bool)
    free[2] = True
    codes = codes_of(labels, free)
    assert codes[0].tolist() == [1, 2, 0, 0]
    assert codes[1].tolist() == [255, 0, 0, 255]
    assert codes[2].tolist() == [FREE, 0, FREE, 0]
    assert codes[3].tolist() == [3, 3, 3, 3]
    assert codes_of(labels[3:]).tolist() == [[3, 3, 3, 3]]


def test_novel_classes_have_colours_that_differ():
    """Background is clear, and no two novel classes lie closer than 90 of 255 in some channel."""
    colours = class_colours(SPLIT).astype(int)
    assert colours[0, 3] == 0
    novel = [colours[i] for i in SPLIT.novel_ids]
    assert min(np.abs(a - b).max() for i, a in enumerate(novel) for b in novel[:i]) >= 90


def test_thumbnails_keep_the_shape():
    """The longer side is at most 256; small pictures stay as they are."""
    assert thumbnail_size((64, 64)) == (64, 64)
    assert thumbnail_size((512, 1024)) == (128, 256)
    assert thumbnail_size((1024, 3)) == (256, 1)


def test_reasons_are_grouped_over_classes_and_samples():
    """What differs from sample to sample is no part of a reason's group."""
    assert group_of("the teacher sees no boat", "boat") == "the teacher sees no (class)"
    assert group_of("no pixel resembles a traffic light", "light", "traffic light") == "no pixel resembles a (class)"
    assert group_of("the picture equals that of boat-0003-0", "boat") == "the picture equals that of another one"


def test_text_of_the_data_ends_no_script(discs):
    """Prompts with tags lie in the data escaped, and come back as they were."""
    _, page = discs
    for path in (page.parent / "data").glob("*.js"):
        assert "<" not in path.read_text()
    assert any("</script>" in row["prompt"] for row in data(page, "samples-0000.js")[1])


def test_page_names_no_outside_address():
    """The page's own files name no address but that of SVG's elements, and set no markup from text."""
    for path in PAGE.iterdir():
        text = path.read_text()
        assert set(re.findall(r"https?://[^\"'`\s)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_report_goes_on_without_shards_that_are_gone(discs, tmp_path):
    """A shard that was deleted is named on the page; what is left is shown."""
    output = tmp_path / "moved"
    shutil.copytree(discs[0].parent.parent, output)
    gone = next((output / "store" / "refine").iterdir())
    shutil.rmtree(gone)
    summary = data(write_report(find_run(output, "discs")), "summary.js")[1]
    assert summary["run"]["missing"] == [f"refine/{gone.name}"]
    assert summary["samples"]["count"] == COUNT


def test_damaged_lineage_is_named_in_one_sentence(call, discs, tmp_path):
    """A run whose lineage is cut off gives no page, and says which file it is."""
    run = tmp_path / "runs" / discs[0].name
    run.mkdir(parents=True)
    shutil.copyfile(discs[0] / "experiment.yaml", run / "experiment.yaml")
    (run / "lineage.json").write_text('{"images": ')
    code, _, complaint = call("report", "discs", "--output", tmp_path)
    assert code == 2
    assert f"{run / 'lineage.json'} is damaged" in complaint
    assert not (run / "report").exists()


def test_command_builds_the_page_anew(call, discs):
    """`syn4seg report RUN` writes the page; an unknown run is bad input."""
    run, page = discs
    page.unlink()
    code, told, _ = call("report", "discs", "--output", run.parent.parent, "--json")
    assert code == 0
    assert json.loads(told) == {"report": str(page)}
    assert page.exists()
    code, _, complaint = call("report", "nothing", "--output", run.parent.parent)
    assert code == 2
    assert "no run 'nothing'" in complaint
