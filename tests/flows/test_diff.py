"""`syn4seg diff`: two runs that differ in what is known by hand."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.report import SPLIT, make_run
from flows.diff import compare_runs
from flows.look import open_run
from flows.settings import dump_config, load_config
from flows.steps import CHAIN
from pipeline.store import RunStore

SHARD = "shard-00001"
"""The second shard of samples 200 to 239, which differs; the first one is the same in both."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run of discs, and one with four changed samples in one of its two shards: their folders and the ids."""
    output = tmp_path_factory.mktemp("out")
    one = make_run(output, 240, side=16)
    found = open_run(one).found
    store, record = RunStore(output / "store"), found.records["refine"][SHARD]
    samples = store.samples(record)
    kept = [i for i, s in enumerate(samples) if s.reason is None][:4]
    label = SPLIT.id_of(samples[kept[0]].name)
    half = np.zeros((16, 16), np.uint8)
    half[:, :8] = label
    samples[kept[0]] = replace(samples[kept[0]], reason="nothing is left")
    for place, labels in ((kept[1], half), (kept[2], half * 0)):
        samples[place] = replace(samples[place], labels=labels)
    samples[kept[3]] = replace(samples[kept[3]], seed=1)
    pictures = store.pictures(found.records["images"][SHARD])
    changed = store.compute("refine", SHARD, {"version": 2}, lambda draft: draft.write_samples(samples, pictures))

    other = one.with_name("20260102-000000-other")
    shutil.copytree(one, other)
    lineage = json.loads((other / "lineage.json").read_text())
    lineage["refine"][SHARD] = {"fingerprint": changed.fingerprint, "content": changed.content}
    (other / "lineage.json").write_text(json.dumps(lineage))
    sets = ["experiment.filter.min_similarity=0.5", "execution.workers=3", f"execution.output={output}"]
    (other / "experiment.yaml").write_text(dump_config(load_config(None, sets)))
    scores = json.loads((other / "scores.json").read_text())
    scores["after"]["per_class"] |= {"boat": 0.5, "car": None}
    scores["after"]["novel_miou"] = 0.4
    (other / "scores.json").write_text(json.dumps(scores))
    was = store.samples(record)[kept[1]]
    iou = ((was.labels == label) & (half == label)).sum() / ((was.labels == label) | (half == label)).sum()
    return one, other, [samples[i].id for i in kept], float(iou)


def test_settings_differ_by_dotted_keys(pair):
    """Only what changes results is a setting; the rest stands apart."""
    found = compare_runs(*pair[:2], 10)
    assert found["settings"] == {"experiment.filter.min_similarity": (-0.1, 0.5)}
    assert found["execution"] == {"execution.workers": (0, 3)}


def test_counts_and_scores_stand_side_by_side(pair):
    """One picture fewer is kept by SABR; a change of scores is B minus A, unknown where one of them is."""
    found = compare_runs(*pair[:2], 10)
    (refine,) = [row for row in found["stages"] if row["stage"] == "refine"]
    assert refine["a"]["kept"] - refine["b"]["kept"] == 1
    assert refine["b"]["dropped"]["nothing is left"] == 1
    after = found["scores"]["after"]
    assert after["means"]["novel_miou"] == pytest.approx((0.46, 0.4, -0.06))
    assert after["per_class"]["boat"] == pytest.approx((0.7, 0.5, -0.2))
    assert after["per_class"]["car"] == (0.5, None, None)
    assert "teacher" not in found["scores"]


def test_worst_changed_samples_come_first(pair):
    """A changed fate, then the lowest IoU; a sample of another seed is another picture; the rest is the same."""
    one, other, ids, iou = pair
    found = compare_runs(one, other, 10)["samples"]
    counts = {key: found[key] for key in ("both", "same", "unread", "fates", "labels", "other", "dropped")}
    assert counts == {"both": 240, "same": 236, "unread": 200, "fates": 1, "labels": 2, "other": 1, "dropped": 0}
    assert [row["id"] for row in found["worst"]] == [ids[0], ids[2], ids[1]]
    assert [row["iou"] for row in found["worst"]] == [None, 0.0, pytest.approx(iou, abs=1e-4)]
    assert 0 < iou < 1
    assert found["worst"][0]["b"] == "dropped at refine: nothing is left"
    assert all(row["same_picture"] for row in found["worst"])
    assert compare_runs(other, one, 1)["samples"]["worst"] == [
        {**found["worst"][0], "a": found["worst"][0]["b"], "b": "kept"}
    ]


def test_shards_with_the_same_content_are_not_read(pair, tmp_path):
    """Two equal shards whose tables are unreadable do no harm."""
    output = tmp_path / "out"
    shutil.copytree(pair[0].parents[1], output)
    runs = [output / "runs" / run.name for run in pair[:2]]
    for table in output.glob("store/*/shard-00000-*/samples.jsonl"):
        table.write_bytes(b"?" * table.stat().st_size)
    assert compare_runs(*runs, 10) == compare_runs(*pair[:2], 10) | {
        "execution": {"execution.workers": (0, 3)}
    }


def test_command_prints_what_changed(call, pair):
    """The tables name settings, counts, scores and samples; --worst limits them; an unknown run is bad input."""
    one, _, ids, _ = pair
    output = one.parents[1]
    code, out, complaint = call("diff", "discs", "other", "--output", output)
    assert code == 0, complaint
    for words in ("experiment.filter.min_similarity", "after novel_miou", "-6.0", "1 of another prompt", *ids[:3]):
        assert words in out
    assert ids[3] not in out
    code, out, _ = call("diff", "discs", "other", "--worst", 1, "--json", "--output", output)
    assert [row["id"] for row in json.loads(out)["samples"]["worst"]] == ids[:1]
    code, _, complaint = call("diff", "discs", "othr", "--output", output)
    assert code == 2
    assert "the nearest are 20260102-000000-other" in complaint


def test_a_real_run_does_not_differ_from_itself(call, finished):
    """A run beside itself has equal settings, counts and scores, and no sample is read."""
    _, folder, _ = finished
    found = json.loads(call("diff", folder.name, folder, "--json", "--output", folder.parents[1])[1])
    assert found["settings"] == found["execution"] == {}
    assert [row["stage"] for row in found["stages"]] == [s for s in CHAIN if s in ("images", *CHAIN[3:8])]
    assert all(row["a"] == row["b"] for row in found["stages"])
    assert found["samples"]["unread"] == found["samples"]["both"] == 10
    assert set(found["scores"]) == {"teacher", "before", "after"}
    assert all(change == 0 for model in found["scores"].values() for _, _, change in model["means"].values())
