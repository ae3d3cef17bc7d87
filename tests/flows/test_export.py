"""``syn4seg export`` from a run's folder, as a user calls it; what it tells to use is used."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import datasets
import numpy as np
import pytest
import webdataset
from pycocotools.coco import COCO

from flows.data import find_data, prepare_data, split_of, store_of
from flows.export import FORMATS
from flows.runs import write_run
from flows.settings import load_config
from flows.stages import assemble_dataset
from flows.standalone import find_extra
from pipeline.datasets.pictures import read_split
from pipeline.errors import InputError
from pipeline.generate import TWIN
from pipeline.hashing import hash_files, list_files
from pipeline.types import Sample


@pytest.fixture(scope="module")
def output(tmp_path_factory, tiny):
    """An output folder with a run of three shards; the last one also has the first picture of the first one."""
    place = tmp_path_factory.mktemp("out")
    config = load_config(None, [*tiny, "experiment.fold=2", f"execution.output={place}"])
    store, split, rng = store_of(config), split_of(config), np.random.default_rng(0)
    shards, first = {}, None
    for number, name in enumerate(split.novel[:3]):
        samples = []
        for i in range(3):
            labels = np.full((20, 24), split.base_ids[i], np.uint8)
            labels[4:15, 3 : 10 + i] = split.id_of(name)
            labels[:2], labels[10:12] = 255, 255
            free = np.zeros(labels.shape, bool)
            free[10:12] = True
            picture = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            scores = {"apf_best": i / 3, "sabr_overlap": 0.5}
            sample = Sample(f"{name}-{i:04d}-0", name, f"a {name}", i, picture, labels, free, scores)
            samples.append(sample.dropped("nothing is left") if (number, i) == (1, 1) else sample)
        first = first or samples[0]
        if number == 2:
            samples.append(replace(samples[0], id=f"{name}-0003-0", picture=first.picture))

        def work(draft, samples=samples):
            draft.write_samples(samples)
            draft.counts |= {"pixels": 1, "novel_pixels": 1, "free_pixels": 0, "ignored_pixels": 0}

        for stage in ("images", "refine"):
            shards[stage, name] = store.compute(stage, f"{name}-000", {"weights": f"w{stage}"}, work)
    store.compute("teacher", "iir", {"weights": "wt"}, lambda draft: (draft.folder / "x").write_text("x"))
    labelled = [record for (stage, _), record in shards.items() if stage == "refine"]
    dataset = assemble_dataset(config, labelled)
    write_run(config, "made", [r for r in store.records() if r.place != dataset.place] + [dataset])
    prepare_data(config)
    return place


@pytest.fixture
def exported(call, output, tmp_path):
    """Export the run; gives what --json tells."""

    def run(form, *arguments, to="to"):
        code, told, complaint = call(
            "export", "latest", "--format", form, "--to", tmp_path / to, "--output", output, "--json", *arguments
        )
        assert code == 0, complaint
        return json.loads(told)

    return run


def masks_of(output):
    """Give export id -> label map by dataset id from the run's own dataset."""
    folder = next((output / "runs").glob("*-made")) / "dataset" / "SegmentationClassAug"
    return {p.stem: cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in sorted(folder.iterdir())}


def test_what_is_told_reads_the_export(exported, output, tmp_path):
    """The lines that the command ends with read every form: eight pictures with the labels of the run's dataset.

    A picture that is in two shards is one of them, once.
    """
    expected = masks_of(output)
    assert len(expected) == 8
    found = {form: exported(form, to=form) for form in FORMATS}
    assert all(one["pictures"] == 8 and one["dropped"] == {"nothing is left": 1, TWIN: 1} for one in found.values())

    root, lists = (line.split(": ")[1] for line in found["voc"]["use"][0].splitlines())
    for line in Path(lists).read_text().splitlines():
        mask = cv2.imread(f"{root}/{line.split()[1]}", cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(mask, expected[line.split("/")[-1][:-4]])
    known = {"COCO": COCO, "wds": webdataset, "load_dataset": datasets.load_dataset}
    coco = eval(found["coco"]["use"][0], known)
    assert sorted(image["file_name"][:-4] for image in coco.dataset["images"]) == sorted(expected)
    tars = eval(f"({found['webdataset']['use'][0]})", known)
    assert all(np.array_equal(mask, expected[facts["id"]]) for _, mask, facts in tars)
    rows = eval(found["imagefolder"]["use"][0].replace(")", f", cache_dir='{tmp_path}')", 1), known)["train"]
    assert all(np.array_equal(np.asarray(row["mask"]), expected[row["id"]]) for row in rows)
    assert len(rows) == 8


def test_every_export_has_a_card_and_says_what_was_dropped(exported, tmp_path, tiny):
    """Card, note, settings and the list of dropped pictures lie in every form, and name no folder of this machine."""
    sets = [*tiny, "experiment.fold=2"]
    for form in FORMATS:
        exported(form, to=form)
        folder = tmp_path / form
        assert {"README.md", "export.json", "dropped.jsonl", "experiment.yaml"} <= set(list_files(folder))
        assert load_config(str(folder / "experiment.yaml")).experiment == load_config(None, sets).experiment
        card = (folder / "README.md").read_text()
        assert "license: apache-2.0" in card
        assert f"syn4seg export latest --format {form} --to DIR" in card
        assert "| pictures | picto | `wimages` |" in card
        assert f"Left out: nothing is left (1), {TWIN} (1)" in card
        dropped = [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]
        assert [(row["id"][-6:], row["reason"]) for row in dropped] == [("0001-0", "nothing is left"), ("0003-0", TWIN)]
        texts = [name for name in list_files(folder) if name.endswith((".md", ".json", ".jsonl", ".yaml"))]
        assert not [name for name in texts if str(tmp_path.parent) in (folder / name).read_text()]


@pytest.mark.parametrize("form", FORMATS)
def test_exported_again_it_is_the_same(exported, tmp_path, form):
    """A second export into the folder or beside it gives the same bytes; tars of another size are another export."""
    more = ["--per-tar", 3] if form == "webdataset" else []
    exported(form, *more)
    before = hash_files(tmp_path / "to", list_files(tmp_path / "to"))
    exported(form, *more)
    exported(form, *more, to="other")
    assert [hash_files(tmp_path / d, list_files(tmp_path / d)) for d in ("to", "other")] == [before, before]
    assert {p.name for p in tmp_path.iterdir()} == {"to", "other"}


def test_train_takes_an_export(exported, output, tmp_path):
    """`train --data` reads an exported VOC folder: the synthetic pictures, also where it was merged with a base."""
    exported("voc", "--merge-with", "base")
    config = load_config(None, ["experiment.fold=2", f"execution.output={output}"])
    pictures = find_extra(config, str(tmp_path / "to")).pictures
    assert len(pictures.ids) == 8
    assert list(pictures.ids) == sorted(masks_of(output))
    _, labels = read_split(pictures, 0, split_of(config))
    assert split_of(config).novel_ids[0] in labels
    assert (labels[10:12] == 255).all()  # free pixels are ignored


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("experiment.fold=1", "is an export of picto fold 2, this is picto fold 1: its pictures show other classes"),
        ("experiment.shots=5", "is an export with shots 1, this has 5: its pictures were made from other supports"),
        ("experiment.protocol=gfss-capl", "add --protocol gfss-diam or choose another export"),
    ],
)
def test_train_refuses_an_export_of_others(exported, output, tmp_path, change, words):
    """`train --data` looks at export.json: other classes or other supports are refused, as of a run."""
    exported("voc")
    config = load_config(None, ["experiment.fold=2", f"execution.output={output}", change])
    with pytest.raises(InputError) as told:
        find_extra(config, str(tmp_path / "to"))
    assert words in str(told.value)


def test_train_refuses_an_export_with_other_names(exported, output, tmp_path):
    """Labels of other classes under the same data set's name are refused, and so is a damaged note."""
    exported("voc")
    config, note = load_config(None, ["experiment.fold=2", f"execution.output={output}"]), tmp_path / "to/export.json"
    told = json.loads(note.read_text())
    first = told["novel"][0]
    note.write_text(json.dumps({**told, "novel": ["yeti", *told["novel"][1:]]}))
    with pytest.raises(InputError, match=rf"with the novel classes yeti, .* of 20 classes, this has {first}, "):
        find_extra(config, str(tmp_path / "to"))
    for damaged in ("{", "[]", '{"experiment": {}}'):
        note.write_text(damaged)
        with pytest.raises(InputError, match=r"export\.json is damaged .*: export the run again"):
            find_extra(config, str(tmp_path / "to"))


def test_merged_with_the_runs_own_base(exported, output, tmp_path, tiny):
    """The merged list has every base picture of the run, where it is, and every synthetic one."""
    found = exported("voc", "--merge-with", "base")
    config = load_config(None, [*tiny, "experiment.fold=2", f"execution.output={output}"])
    base = find_data(config)["base"].pictures
    lines = (tmp_path / "to/ImageSets/Segmentation/merged_train.txt").read_text().splitlines()
    assert (found["base_pictures"], len(lines)) == (40, 48)
    assert found["use"][0].endswith("merged_train.txt")
    for index in (0, 39):
        mask = cv2.imread(str(tmp_path / "to" / lines[index].split()[1]), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(mask, base.labels(index))
    assert not [name for name in list_files(tmp_path / "to") if "base_" in name]
    given = exported("voc", "--merge-with", base.root, to="given")  # the same folder by its path
    assert (tmp_path / "given/ImageSets/Segmentation/merged_train.txt").read_text().splitlines() == lines
    assert given["base_pictures"] == 40


def test_several_runs_side_by_side(exported, tmp_path, call, output):
    """An export can be merged with an export of another prefix; with the same ids it is refused."""
    exported("voc", to="one")
    exported("voc", "--prefix", "two", "--merge-with", tmp_path / "one", to="two")
    lines = (tmp_path / "two/ImageSets/Segmentation/merged_train.txt").read_text().splitlines()
    assert [line.split("/")[-1][:3] for line in lines] == ["syn"] * 8 + ["two"] * 8
    again = ["--format", "voc", "--to", tmp_path / "x", "--merge-with", tmp_path / "one", "--output", output]
    code, _, complaint = call("export", "latest", *again)
    assert code == 2
    assert "too (and 7 more): choose other ids by --prefix syn2" in complaint
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["latest", "--format", "vocc"], "expected one of voc, coco, webdataset, imagefolder; did you mean 'voc'?"),
        (["nothing", "--format", "voc"], "no run 'nothing'"),
        (["latest", "--format", "voc", "--prefix", "a b"], "the prefix 'a b' cannot begin"),
        (["latest", "--format", "coco", "--merge-with", "base"], "go with --format voc: coco has no lists"),
        (["latest", "--format", "voc", "--base-list", "train"], "give that folder too"),
        (["latest", "--format", "voc", "--per-tar", 5], "--per-tar goes with --format webdataset"),
        (["latest", "--format", "webdataset", "--per-tar", 0], "per-tar"),
        (["latest", "--format", "voc", "--merge-with", "nowhere"], "nowhere is not in VOC layout"),
        (["latest", "--format", "voc", "--to", "FULL"], "holds other files: give a folder that is new or empty"),
        (["latest", "--format", "voc", "--to", "FILE"], "is a file"),
        (["latest", "--format", "voc", "--to", "FILE/below"], "cannot be written"),
        (["EMPTY", "--format", "voc"], "has no synthetic pictures: choose a run of the whole chain"),
        (["GONE", "--format", "voc"], "is gone or damaged: syn4seg run"),
    ],
)
def test_bad_input_is_one_sentence(call, output, tmp_path, arguments, sentence):
    """What the user can mend is told in one line, with exit code 2, and nothing is written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    run = next((output / "runs").glob("*-made"))
    changes = {"empty": {"refine": {}, "dataset": {}}, "gone": {"teacher": {"iir": {"fingerprint": "0"}}}}
    for name, change in changes.items():
        made = tmp_path / "out/runs" / name
        made.mkdir(parents=True)
        shutil.copyfile(run / "experiment.yaml", made / "experiment.yaml")
        lineage = json.loads((run / "lineage.json").read_text())
        (made / "lineage.json").write_text(json.dumps({**lineage, **change}))
    shutil.copytree(output / "store", tmp_path / "out/store")
    before = list_files(tmp_path)
    named = {"FULL": tmp_path / "full", "FILE": tmp_path / "full/file", "FILE/below": tmp_path / "full/file/below",
             "EMPTY": tmp_path / "out/runs/empty", "GONE": tmp_path / "out/runs/gone"}  # fmt: skip
    arguments = [named.get(a, a) for a in arguments]
    to = [] if "--to" in arguments else ["--to", tmp_path / "to"]
    code, told, complaint = call("export", *arguments, *to, "--output", output)
    assert (code, told) == (2, "")
    assert sentence in complaint
    assert [line for line in complaint.splitlines() if line.startswith("syn4seg:")] == complaint.splitlines()[-1:]
    assert list_files(tmp_path) == before


def test_help_teaches_the_forms(call):
    """`export --help` shows an example of every form and where each is read; the list of commands names it."""
    code, told, _ = call("export", "--help")
    assert code == 0
    assert all(f"--format {form}" in told for form in FORMATS)
    assert "export" in call("--help")[1]
