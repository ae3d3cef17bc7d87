"""Models on their own: FSS from training to prediction, by the commands that a user gives."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flows.console import print_scores
from flows.predict import read_shown
from flows.results import tables
from flows.settings import load_config
from flows.standalone import find_extra
from pipeline.errors import InputError
from pipeline.images import read_labels, read_picture, voc_palette, write_labels, write_picture

TINY = [
    "experiment.base_pictures=200", "experiment.validation_pictures=100", "experiment.fss.steps=2",
    "experiment.fss.batch=2", "experiment.fss.choose=none", "experiment.fss.episodes=4", "experiment.fss.seeds=2",
    "experiment.fss.options.dim=8", "experiment.fss.options.blocks=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder that the tests of this file share."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture
def trained(call, output):
    """An FSS run; computed once, found again afterwards."""
    sets = [part for o in TINY for part in ("--set", o)]
    to = output / "results" / "trained.json"
    code, told, complaint = call("train", "--protocol", "fss", "--output", output, *sets, "--json", "--to", to)
    assert code == 0, complaint
    scores = json.loads(told)
    assert json.loads(to.read_text()).items() <= scores.items()
    return scores


def test_train_evaluate_predict(call, output, trained, tmp_path):
    """An FSS model is trained, scored again with the same result, and labels a picture from a support."""
    scores = trained
    assert {k: scores[k] for k in ("dataset", "fold", "shots", "protocol", "model")} == {
        "dataset": "picto", "fold": 0, "shots": 1, "protocol": "fss", "model": "iir",
    }  # fmt: skip
    assert 0 <= scores["fss"]["miou"] <= 1
    assert [row["seed"] for row in scores["fss"]["per_seed"]] == [0, 1]
    to = tmp_path / "results" / "fold0.json"
    code, told, _ = call("evaluate", "--output", output, "--json", "--to", to)
    assert code == 0
    assert json.loads(told)["fss"] == scores["fss"] == json.loads(to.read_text())["fss"]
    code, told, _ = call("evaluate", "--output", output, "--json", "--episodes", 3, "--shots", 2)
    assert json.loads(told)["fss"]["episodes"] == 3
    assert json.loads(told)["fss"]["shots"] == 2
    code, told, complaint = call("evaluate", "--output", output, "--multiscale", "--to", to)
    assert code == 0, complaint
    assert "counted at original size, multi-scale" in told
    views = json.loads(to.read_text())["fss"]
    assert views["multiscale"]
    assert not scores["fss"]["multiscale"]
    assert "original size, multi-scale)" in tables(to.parent)
    assert "fss_miou" in call("status", "--output", output)[1]

    shown = tmp_path / "cat"
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30, 10:40] = 255
    picture = np.random.default_rng(0).integers(0, 255, (50, 60, 3)).astype(np.uint8)
    write_picture(shown / "a.jpg", picture)
    write_labels(shown / "a.png", mask)
    write_picture(tmp_path / "in" / "one.jpg", picture[:, :40])
    write_picture(tmp_path / "in" / "two.png", picture)
    code, told, complaint = call(
        "predict", tmp_path / "in", "--output", output, "--supports", shown, "--to", tmp_path / "p", "--json"
    )
    assert code == 0, complaint
    rows = json.loads(told)
    assert [row["picture"] for row in rows] == ["one.jpg", "two.png"]
    views = call(
        "predict", tmp_path / "in", "--output", output, "--supports", shown, "--to", tmp_path / "v", "--multiscale"
    )
    assert views[0] == 0, views[2]
    assert read_labels(tmp_path / "v" / "labels" / "one.png").shape == (50, 40)
    labels = read_labels(tmp_path / "p" / "labels" / "one.png")
    assert labels.shape == (50, 40)
    assert set(np.unique(labels)) <= {0, 1}
    drawn = read_picture(tmp_path / "p" / "overlays" / "two.png")
    labels = read_labels(tmp_path / "p" / "labels" / "two.png")
    assert np.array_equal(drawn[labels == 0], picture[labels == 0])
    expected = (picture.astype(int) + voc_palette()[1]) // 2
    assert np.array_equal(drawn[labels == 1], expected[labels == 1])
    assert rows[1]["classes"].get("cat", 0) == pytest.approx((labels == 1).mean(), abs=1e-4)


def test_compare_trains_once_scores_every_shot_and_goes_on(call, output, trained, tmp_path):
    """Each variant has a file a fold, seed and number of shots; what the store holds is not trained again."""
    common = [*(part for o in TINY for part in ("--set", o)), "--output", output, "--to", tmp_path / "r"]
    rows = ["--vary", "iir", "--vary", "core only: experiment.fss.options.prototypes=core", "--vary", "matching"]
    asked = ["compare", *common, *rows, "--folds", 0, "--seeds", 0, 1, "--shots", 1, 2]
    code, told, complaint = call(*asked)
    assert code == 0, complaint
    names = {path.name for path in (tmp_path / "r").glob("*.json")}
    assert "picto-fss-core-only-fold0-2shot-seed1.json" in names
    assert len(names) == 2 * (2 + 2 + 1)  # matching learns nothing, so one seed says it all
    one = json.loads((tmp_path / "r" / "picto-fss-iir-fold0-1shot-seed0.json").read_text())
    assert one["fss"] == trained["fss"]
    assert one["trained_shots"] == 1
    assert "| core only | 2 |" in told
    assert re.search(r"\| core only \| [\d,]+ \| [\d.]+ \|", told), "what it costs"
    weights = [load_file(path) for path in (output / "store" / "fss").glob("iir-*/model.safetensors")]
    assert {one["cost"]["parameters"]} == {sum(x.numel() for x in of_one.values()) for of_one in weights}
    chart = tmp_path / "r" / "picto-fss-1shot.svg"
    assert "core only" in chart.read_text()
    drawn = chart.read_bytes()
    stored = {path: path.stat().st_mtime_ns for path in (output / "store").rglob("*")}
    assert call(*asked)[1] == told
    assert chart.read_bytes() == drawn
    assert stored == {path: path.stat().st_mtime_ns for path in (output / "store").rglob("*")}
    call(*asked, "--set", "experiment.fss.episodes=5")
    changed = json.loads((tmp_path / "r" / "picto-fss-iir-fold0-1shot-seed0.json").read_text())
    assert changed["fss"]["episodes"] == 5  # other settings are not answered from the files that are there


@pytest.fixture
def prepared(call, output):
    """Prepare picto's backbone in four steps; computed once, found again afterwards."""
    folder = output / "backbone"
    if not folder.exists():
        code, told, complaint = call("prepare", "--to", folder, "--output", output, *sets_of(PREPARE), "--json")
        assert code == 0, complaint
        assert json.loads(told)["set"] == {
            "experiment.model.backbone": str(folder), "experiment.fss.options.base": 15,
            "experiment.fss.options.base_dim": 16,
        }  # fmt: skip
    return folder


PREPARE = [
    "experiment.base_pictures=200", "experiment.validation_pictures=100", "experiment.prepare.steps=4",
    "experiment.prepare.batch=2", "experiment.prepare.dim=16",
]  # fmt: skip


def sets_of(overrides):
    return [part for override in overrides for part in ("--set", override)]


def test_ensemble_from_preparation_to_scores(call, output, prepared):
    """A prepared backbone is trained on with its base learner, which is read, frozen, saved, loaded and scored with."""
    own = [f"experiment.model.backbone={prepared}", "experiment.fss.options.base=15"]
    sets = sets_of([*TINY, *own, "experiment.fss.options.base_dim=16"])
    code, told, complaint = call("train", "--protocol", "fss", "--output", output, *sets, "--name", "both", "--json")
    assert code == 0, complaint
    scores = json.loads(told)
    saved = load_file(Path(scores["run"]) / "checkpoints/fss/model.safetensors")
    learner = load_file(prepared / "base_learner.safetensors")
    for name, tensor in learner.items():
        assert torch.equal(saved[f"decoder.ensemble.base_learner.{name}"], tensor)
    assert any(not torch.equal(saved[f"decoder.ensemble.{n}.weight"].flatten(), torch.tensor([1.0, 0.0]))
               for n in ("adjust", "join"))  # fmt: skip
    code, told, complaint = call("evaluate", "--run", "both", "--output", output, "--json")
    assert code == 0, complaint
    assert json.loads(told)["fss"] == scores["fss"]


def test_a_preparation_is_computed_once(call, output, prepared, tmp_path):
    """The same command for another folder writes the same bytes without a step."""
    steps = len(list((output / "store" / "prepare").iterdir()))
    code, told, complaint = call("prepare", "--to", tmp_path / "again", "--output", output, *sets_of(PREPARE))
    assert code == 0, complaint
    assert f"--set experiment.model.backbone={tmp_path / 'again'} --set experiment.fss.options.base=15" in told
    assert len(list((output / "store" / "prepare").iterdir())) == steps
    for path in prepared.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prepare", "--to", "THERE"], "is there already"),
        (["prepare", "--to", "new", "--set", "experiment.dataset=isic"], "isic has no base classes"),
        (["prepare", "--to", "new", "--set", "experiment.dataset=fss1000"], "this needs label maps"),
        (["prepare", "--to", "new", "--set", "experiment.prepare.batch=1"], "experiment.prepare.batch: got 1"),
        (["train", "--protocol", "fss", *sets_of(TINY), "--set", "experiment.fss.options.base=15"],
         "no base_learner.safetensors in"),
        (["train", "--protocol", "fss", *sets_of(TINY), "--set", "experiment.fss.options.base=5", "--set",
          "experiment.model.backbone=THERE"], "does not fit this model"),
    ],
)  # fmt: skip
def test_bad_preparations(call, output, prepared, tmp_path, monkeypatch, arguments, sentence):
    """What cannot be prepared, and a base learner that is not there or for other classes, is told in one line."""
    monkeypatch.chdir(tmp_path)
    code, _, complaint = call(*(a.replace("THERE", str(prepared)) for a in arguments), "--output", output)
    assert code == 2
    assert sentence in complaint
    assert [line for line in complaint.splitlines() if line.startswith("syn4seg:")] == complaint.splitlines()[-1:]
    assert not (tmp_path / "new").exists()


@pytest.fixture
def targets(tmp_path):
    """Write a made Deepglobe (class 6 has one picture too few for an episode), and own classes."""
    rng = np.random.default_rng(0)

    def write(folder, name, parts, values):
        picture, labels = rng.integers(0, 255, (48, 60, 3)).astype(np.uint8), np.zeros((48, 60), np.uint8)
        for i, value in enumerate(values):
            labels[10 + 16 * i : 26 + 16 * i, 10:30] = value
        write_picture(folder / parts[0] / f"{name}.jpg", picture)
        write_labels(folder / parts[1] / f"{name}.png", labels)

    for label in range(1, 7):
        for i in range(1 if label == 6 else 3):
            write(tmp_path / f"data/Deepglobe/{label}/test", f"t{i}", ("origin", "groundtruth"), [255])
    for i in range(3):
        write(tmp_path / "base", f"b{i}", ("pictures", "masks"), [1])
        write(tmp_path / "new", f"n{i}", ("pictures", "masks"), [255])
        write(tmp_path / "val", f"v{i}", ("pictures", "masks"), [1, 2])
    groups = {part: f"{{pictures: {part}/pictures, masks: {part}/masks" for part in ("base", "new", "val")}
    text = f"name: shed\nbase: {groups['base']}, classes: [rake]}}\nnovel:\n  spade: {groups['new']}}}\n"
    (tmp_path / "unscored.yaml").write_text(text)
    (tmp_path / "shed.yaml").write_text(f"{text}validation: {groups['val']}}}\n")
    return tmp_path


@pytest.mark.parametrize("dataset", ["deepglobe", "shed.yaml"])
def test_evaluate_on_another_data_set(call, output, trained, targets, monkeypatch, capsys, dataset):
    """A model of picto is scored on all classes of a set without base classes, and of own ones, base and new."""
    monkeypatch.chdir(targets)
    to = targets / "results" / "there.json"
    code, told, complaint = call("evaluate", "--output", output, "--dataset", dataset, "--to", to, "--json")
    assert code == 0, complaint
    scores = json.loads(told)
    assert {k: scores[k] for k in ("trained_on", "model", "fold", "shots")} == {
        "trained_on": "picto", "model": "iir of picto", "fold": 0, "shots": 1,
    }  # fmt: skip
    assert scores["dataset"].startswith(dataset.removesuffix(".yaml"))
    found = {"deepglobe": set("12345"), "shed.yaml": {"rake", "spade"}}[dataset]
    assert set(scores["fss"]["per_class"]) == found
    assert scores["fss"]["side"] == 64
    assert "| iir of picto | 1 |" in tables(to.parent)
    print_scores(scores)
    assert "by a model of picto fold 0, 1-shot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--protocol", "fss", "--set", "experiment.dataset=deepglobe"], "deepglobe has no base classes"),
        (["train", "--protocol", "gfss-diam", "--set", "experiment.dataset=isic"], "isic has masks of one class each"),
        (["evaluate", "--dataset", "picto"], "leave --dataset out"),
        (["evaluate", "--dataset", "deepglob"], "did you mean 'deepglobe'?"),
        (["evaluate", "--dataset", "isic"], "no isic in data: get task 1"),
        (["evaluate", "--dataset", "unscored.yaml"], "names no validation pictures"),
        (["evaluate", "--dataset", "deepglobe", "--shots", "3"], "no class has the 4 validation pictures"),
        (["evaluate", "--set", "experiment.fold=1"], "another execution.KEY, experiment.fss.KEY or"),
        (["evaluate", "--matching"], "--matching goes with GFSS"),
        (["compare", "--vary", "iir", "--folds", "0", "--seeds", "0", "--shots", "1", "--set",
          "experiment.dataset=chestxray"], "chestxray has no base classes"),
    ],
)  # fmt: skip
def test_data_sets_to_test_on(call, output, trained, targets, monkeypatch, arguments, sentence):
    """Training on a set without base classes, and scoring where there is nothing to score, is refused in a sentence."""
    monkeypatch.chdir(targets)
    code, _, complaint = call(*arguments, "--output", output)
    assert code == 2
    assert sentence in complaint
    assert [line for line in complaint.splitlines() if line.startswith("syn4seg:")] == complaint.splitlines()[-1:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "--folds", 0, "--seeds", 0, "--shots", 1, "--vary", "short:"], "expected a model's name or"),
        (["compare", "--folds", 9, "--seeds", 0, "--shots", 1, "--vary", "iir"], "fold"),
        (["train", "--protocol", "fs"], "did you mean 'fss'?"),
        (["train", "--protocol", "gfss-diam", "--model", "matching"], "unknown model 'matching'"),
        (["train", "--protocol", "fss", "--data", "latest"], "fss trains on base classes alone"),
        (["train", "--data", "nothing"], "no run 'nothing'"),
        (["train", "--protocol", "fss", "--set", "experiment.fss.precision=fp16"], "fp16"),
        (["train", "--protocol", "fss", "--set", "experiment.fss.options.widht=3"], "does not take the options"),
        (["train", "--protocol", "fss", "--model", "matching"], "matching does not take the options {'dim'"),
        (["evaluate", "--protocol", "gfss-diam"], "was trained under fss"),
        (["evaluate", "--model", "matching"], "holds iir, not matching"),
        (["evaluate", "--resolution", "networ"], "did you mean 'network'?"),
        (["predict", "nowhere.jpg"], "no pictures in nowhere.jpg"),
        (["predict", "EMPTY", "--which", "fss"], "no pictures in"),
        (["predict", "PICTURE"], "show it the class by --supports"),
        (["predict", "PICTURE", "--which", "after"], "has no model 'after': it has fss"),
        (["predict", "PICTURE", "--supports", "EMPTY"], "no supports in"),
    ],
)
def test_bad_input_is_one_sentence(call, output, trained, tmp_path, arguments, sentence):
    """What the user can mend is told in one line, with exit code 2."""
    write_picture(tmp_path / "x.jpg", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "empty").mkdir()
    named = {"PICTURE": tmp_path / "x.jpg", "EMPTY": tmp_path / "empty"}
    sets = [part for o in TINY for part in ("--set", o)] if arguments[0] == "train" else []
    code, _, complaint = call(*(named.get(a, a) for a in arguments), "--output", output, *sets)
    assert code == 2
    assert sentence in complaint
    assert [line for line in complaint.splitlines() if line.startswith("syn4seg:")] == complaint.splitlines()[-1:]


def test_masks_of_supports(tmp_path):
    """255 is the class where a mask has nothing else, and ignored where it has; an empty mask is refused."""
    for name, values in (("a", (0, 255)), ("b", (0, 3, 255))):
        write_picture(tmp_path / f"{name}.jpg", np.zeros((4, 6, 3), np.uint8))
        mask = np.zeros((4, 6), np.uint8)
        for column, value in enumerate(values):
            mask[:, column] = value
        write_labels(tmp_path / f"{name}.png", mask)
    _, masks = read_shown(tmp_path)
    assert [m.any(0).tolist() for m in masks] == [
        [False, True, False, False, False, False], [False, True, False, False, False, False],
    ]  # fmt: skip
    write_labels(tmp_path / "b.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(InputError, match=r"b\.png is empty"):
        read_shown(tmp_path)


def test_tables_of_results(tmp_path):
    """Scores in JSON become a table: a row a model and shots, a column a fold, mean over the folds and over seeds."""
    for fold, seed, miou in ((0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.4)):
        told = {"dataset": "picto", "fold": fold, "shots": 1, "seed": seed, "protocol": "fss", "model": "iir"}
        told["fss"] = {"miou": miou, "fb_iou": 0.8, "shots": 1, "episodes": 10, "per_seed": [0]}
        told["fss"]["resolution"] = "network"
        (tmp_path / f"{fold}-{seed}.json").write_text(json.dumps(told))
    (tmp_path / "chosen.json").write_text(json.dumps({**told, "chosen": "test"}))
    (tmp_path / "notes.md").write_text("What to know.")
    text = tables(tmp_path)
    assert "weights chosen on the test fold)" in text
    assert text.endswith("What to know.")
    assert "| iir | 1 | 60.0 ± 10.0 | 40.0 | 50.0 |" in text
    with pytest.raises(InputError, match="no results"):
        tables(tmp_path / "none")


def write_gfss(folder, protocol, fold, seed, base, novel, **more):
    part = {"base_miou": base, "novel_miou": novel, "base_miou_with_background": base + 0.1, "total_miou": 0.5, **more}
    told = {"dataset": "pascal", "fold": fold, "shots": 5, "seed": seed, "protocol": protocol, "after": part}
    (folder / f"{protocol}-{fold}-{seed}.json").write_text(json.dumps(told))


def test_gfss_tables_average_over_seeds_then_folds(tmp_path):
    """Base and novel are averaged first, mean and harmonic come from these; ± is over the seeds of the fold means."""
    for fold, seed, base, novel in ((0, 1, 0.7, 0.2), (0, 2, 0.5, 0.4), (1, 1, 0.7, 0.2), (1, 2, 0.5, 0.4)):
        write_gfss(tmp_path, "gfss-diam", fold, seed, base, novel)
    # 0.6 and 0.3: harmonic 0.4; the seeds' own are 2 * 0.14 / 0.9 and 2 * 0.2 / 0.9, 0.0667 from their mean
    row = "| with synthetic | 5 | 2 | 60.0 ± 10.0 | 30.0 ± 10.0 | 45.0 ± 0.0 | 40.0 ± 6.7 |"
    assert row in tables(tmp_path)
    assert "| model | shots | seeds | base | novel | mean | harmonic |" in tables(tmp_path)
    write_gfss(tmp_path, "gfss-diam", 1, 3, 0.6, 0.3)
    assert row.replace("| 2 |", "| 2-3 |") in tables(tmp_path)  # seed 3 has one fold only: no part of what follows ±
    (tmp_path / "gfss-diam-0-2.json").unlink()
    assert "| with synthetic | 5 | 1-3 | 65.0 | 25.0 | 45.0 | 36.1 |" in tables(tmp_path)


def test_gfss_tables_follow_their_convention(tmp_path):
    """gfss-capl reports base with background and total; what lacks a fold says so and has no deviation."""
    write_gfss(tmp_path, "gfss-capl", 0, 123, 0.5, 0.2)
    write_gfss(tmp_path, "gfss-capl", 0, 321, 0.5, 0.4, total_miou=0.6)
    text = tables(tmp_path)
    assert "| model | shots | seeds | base | novel | total | harmonic |" in text
    assert "| with synthetic | 5 | 2 | 60.0 ± 0.0 | 30.0 ± 10.0 | 55.0 ± 5.0 | 40.0 ± 9.0 |" in text
    write_gfss(tmp_path, "gfss-capl", 1, 123, 0.5, 0.2)
    part = {"base_miou_with_background": 0.7, "novel_miou": 0.1, "total_miou": 0.4}
    told = {"dataset": "pascal", "fold": 0, "shots": 5, "seed": 123, "protocol": "gfss-capl", "teacher": part}
    (tmp_path / "teacher.json").write_text(json.dumps(told))
    assert "| teacher | 5 | 1 (without fold 1) | 70.0 | 10.0 | 40.0 | 17.5 |" in tables(tmp_path)


def test_pictures_to_train_on_too(tmp_path, output, trained):
    """A folder is taken by its list, a run by its dataset; what is neither, or of another fold, is refused."""
    config = load_config(None, [f"execution.output={output}"])
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\n")
    assert find_extra(config, str(tmp_path)).subset == "trainval"
    (lists / "train.txt").write_text("a\n")
    assert find_extra(config, str(tmp_path)).subset == "train"
    with pytest.raises(InputError, match="neither a run nor in VOC layout"):
        find_extra(config, str(lists))
    with pytest.raises(InputError, match="made no synthetic pictures"):
        find_extra(config, "latest")
    other = load_config(None, [f"execution.output={output}", "experiment.fold=2"])
    with pytest.raises(InputError, match="is a run of picto fold 0, this is picto fold 2"):
        find_extra(other, "latest")


@pytest.mark.parametrize(
    ("key", "value", "add"),
    [
        ("shots", 2, "--set experiment.shots=1"), ("seed", 1, "--set experiment.seed=0"),
        ("protocol", "gfss-capl", "--protocol gfss-diam"),
    ],
)  # fmt: skip
def test_pictures_made_from_other_supports(call, output, trained, key, value, add):
    """A run with other shots, another seed or protocol had other supports, which may be scored: that is refused."""
    protocol = ["--protocol", value] if key == "protocol" else ["--set", f"experiment.{key}={value}"]
    sets = ["--set", "experiment.base_pictures=200", "--set", "experiment.validation_pictures=100"]
    code, _, complaint = call("train", "--data", "latest", "--output", output, *sets, *protocol)
    assert code == 2
    assert f"is a run with {key} {1 if key == 'shots' else 0 if key == 'seed' else 'gfss-diam'}, this has" in complaint
    assert complaint.rstrip().endswith(f"add {add} or choose another run")
    assert complaint.count("\n") == 1
