"""Models on their own: FSS from training to prediction, by the commands that a user gives."""

import json
import sys

import numpy as np
import pytest

from flows.cli import main
from flows.data import choose_supports, prepare_data, read_supports, scored_places, split_of
from flows.predict import read_shown
from flows.results import tables
from flows.settings import load_config
from flows.standalone import find_extra
from pipeline.errors import InputError
from pipeline.images import read_labels, read_picture, voc_palette, write_labels, write_picture
from pipeline.protocols import CAPL, DIAM, PROTOCOLS

TINY = [
    "experiment.base_pictures=200", "experiment.validation_pictures=100", "experiment.fss.steps=2",
    "experiment.fss.batch=2", "experiment.fss.choose=none", "experiment.fss.episodes=4", "experiment.fss.seeds=2",
    "experiment.fss.options.dim=8", "experiment.fss.options.blocks=2",
]  # fmt: skip


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line; gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["syn4seg", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder that the tests of this file share."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture
def trained(call, output):
    """An FSS run; computed once, found again afterwards."""
    sets = [part for o in TINY for part in ("--set", o)]
    code, told, complaint = call("train", "--protocol", "fss", "--output", output, *sets, "--json")
    assert code == 0, complaint
    return json.loads(told)


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
    stored = {path: path.stat().st_mtime_ns for path in (output / "store").rglob("*")}
    assert call(*asked)[1] == told
    assert stored == {path: path.stat().st_mtime_ns for path in (output / "store").rglob("*")}
    call(*asked, "--set", "experiment.fss.episodes=5")
    changed = json.loads((tmp_path / "r" / "picto-fss-iir-fold0-1shot-seed0.json").read_text())
    assert changed["fss"]["episodes"] == 5  # other settings are not answered from the files that are there


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
    part = {"base_miou": 0.6, "novel_miou": 0.2, "mean_miou": 0.4, "harmonic_miou": 0.3}
    told = {"dataset": "picto", "fold": 0, "shots": 5, "seed": 0, "protocol": "gfss-diam", "after": part}
    (tmp_path / "gfss.json").write_text(json.dumps(told))
    text = tables(tmp_path)
    assert "| iir | 1 | 60.0 ± 10.0 | 40.0 | 50.0 |" in text
    assert "novel" in text
    # harmonic mean of the fold-averaged base and novel mIoU, not the mean of the folds' own
    assert "| with synthetic | 5 | 60.0 | 20.0 | 40.0 | 30.0 |" in text
    with pytest.raises(InputError, match="no results"):
        tables(tmp_path / "none")


# --- the two GFSS conventions -----------------------------------------------------------------------------------


@pytest.fixture
def pascal(tmp_path):
    """Write a made VOC 2012: 24 training and 24 validation pictures of 200 x 200, some with a second novel class."""
    root = tmp_path / "data" / "VOC2012"
    lists = {"train_aug": [], "train": [], "val": []}
    for number in range(48):
        name, labels = f"p{number:02d}", np.zeros((260, 260), np.uint8)
        labels[20:160, 20:160] = 1 + number % 5
        labels[200:, :60] = 6 + number % 15
        if number % 3 == 0:
            labels[200:, 200:] = 1 + (number + 1) % 5
        write_picture(root / "JPEGImages" / f"{name}.jpg", np.full((260, 260, 3), number, np.uint8))
        write_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
        lists["val" if number % 2 else "train_aug"].append(name)
    lists["train"] = lists["train_aug"][::2]
    for name, ids in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids) + "\n")
    return [
        "experiment.dataset=pascal", f"execution.data={tmp_path / 'data'}", f"execution.output={tmp_path / 'out'}",
        "experiment.teacher.backbone=picto", "experiment.model.backbone=picto",
    ]  # fmt: skip


def test_supports_of_diam_are_hidden_from_the_score(pascal):
    """gfss-diam: supports are validation pictures with one novel class, without base labels, and are not scored."""
    config = load_config(None, [*pascal, "experiment.protocol=gfss-diam"])
    data, split = prepare_data(config), split_of(config)
    assert data["support"] == data["validation"]
    chosen = choose_supports(data["support"].pictures, split, 1, 0, DIAM)
    ids = data["validation"].pictures.ids
    places = scored_places(config)
    assert len(places) == len(ids) - 5
    assert not set(places) & {place for found in chosen.values() for place in found}
    assert all(s.labels is None for s in read_supports(config))
    for support in read_supports(config):
        assert support.masks[0].sum() >= 16384


def test_supports_of_capl_keep_base_labels(pascal):
    """gfss-capl: supports are training pictures with their base labels, and every validation picture is scored."""
    config = load_config(None, [*pascal, "experiment.protocol=gfss-capl"])
    data, split = prepare_data(config), split_of(config)
    assert data["support"].pictures.ids == data["base"].pictures.ids
    assert scored_places(config) == list(range(len(data["validation"].pictures.ids)))
    for support in read_supports(config):
        label = split.id_of(support.name)
        assert {label} < set(np.unique(support.labels[0])) <= {0, label, *split.base_ids}
        assert np.array_equal(support.labels[0] == label, support.masks[0])


def test_every_row_of_the_table_of_conventions():
    """The presets say what systems.md section 3 says."""
    assert PROTOCOLS == {"gfss-diam": DIAM, "gfss-capl": CAPL}
    assert (DIAM.side, CAPL.side) == (417, 473)
    assert (DIAM.resolution, CAPL.resolution) == ("network", "original")
    assert (DIAM.base_key, CAPL.base_key) == ("base_miou", "base_miou_with_background")
    assert (DIAM.aggregate, CAPL.aggregate) == ("mean", "total")
    assert (DIAM.drop_novel, CAPL.drop_novel) == (False, True)
    assert (DIAM.base_labels, CAPL.base_labels) == (False, True)
    assert (DIAM.hide_supports, CAPL.hide_supports) == (True, False)
    assert DIAM.support_pixels == CAPL.support_pixels == 16384
    assert DIAM.least_pixels(500 * 375) == 16384
    assert DIAM.least_pixels(64 * 64) == 164
    assert CAPL.seeds == (123, 321, 456, 654, 999)
    assert DIAM.test_pictures["coco"] == 10_000
    assert len(DIAM.seeds) == 5
    scores = {"base_miou": 0.5, "base_miou_with_background": 0.6, "novel_miou": 0.2, "mean_miou": 0.35}
    scores["total_miou"] = 0.5
    assert DIAM.reported(scores) == {"base": 0.5, "novel": 0.2, "mean": 0.35}
    assert CAPL.reported(scores) == {"base": 0.6, "novel": 0.2, "total": 0.5}


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
