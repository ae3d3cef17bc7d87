"""The audit: counts by hand, the sweep against single settings, pictures of every kind of data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows.audit import audit
from flows.audit.chain import Answers
from flows.audit.grid import KEYS, Grid
from flows.audit.items import choose_items, read_item
from flows.audit.looks import MISSED, RIGHT, WRONG, errors_of
from flows.audit.scores import COUNTS, Judge, mean_measures, measures, rows_of
from flows.data import read_supports
from flows.report.pictures import FREE
from flows.settings import load_config
from picto.scenes import draw_portrait, draw_scene
from picto.seeds import scene_rng
from pipeline.classes import IGNORE
from pipeline.errors import InputError
from pipeline.images import write_labels, write_picture
from pipeline.types import Sample

LABEL = 7
SMALL = ("filter.min_similarity=-0.2,-0.1,0.2,0.5", "relabel.min_similarity=0.1,0.2", "relabel.blend=0,0.5,1")


def sample(labels, reason=None, free=None):
    """Give a labelled sample of the class `LABEL`."""
    labels = np.asarray(labels, np.uint8)
    free = np.zeros(labels.shape, bool) if free is None else free
    return Sample("a", "boat", "a boat", 0, np.zeros((*labels.shape, 3), np.uint8), labels, free, {}, reason)


def counted(**values):
    """Give counts with all else 0."""
    return np.array([values.get(name, 0) for name in COUNTS], np.int64)


@pytest.fixture
def truth():
    """A 4 x 4 square of the class on 6 x 6, with a column of unknown pixels beside it."""
    truth = np.zeros((6, 6), np.uint8)
    truth[1:5, 1:5] = 1
    truth[:, 5] = IGNORE
    return truth


def test_counts_by_hand(truth):
    """A label that is one row too high and runs into the unknown column: the unknown pixels count nowhere."""
    labels = np.zeros((6, 6), np.uint8)
    labels[0:4, 1:6] = LABEL
    labels[5, 0:2] = IGNORE
    of = dict(zip(COUNTS, Judge(truth, LABEL, sample(labels)).counts(sample(labels)).tolist(), strict=True))
    assert (of["known"], of["labelled"], of["found"], of["truth"], of["both"]) == (30, 28, 16, 16, 12)
    assert (of["rim_found"], of["rim_truth"]) == (12, 12)
    assert of["rim_both"] == 6
    assert (of["first_right"], of["still_right"]) == (12, 12)
    found = measures(np.array(list(of.values())))
    assert found["iou"] == pytest.approx(12 / 20)
    assert found["boundary_iou"] == pytest.approx(6 / 18)
    assert found["labelled"] == pytest.approx(28 / 30)


def test_a_dropped_picture_has_found_nothing(truth):
    """It lowers recall and IoU, not precision nor the IoU of kept pictures."""
    whole = sample(np.where(truth == 1, LABEL, 0))
    judge = Judge(truth, LABEL, whole)
    both = np.stack([judge.counts(whole), judge.counts(sample(whole.labels, "lost"))])
    found = measures(both.sum(0))
    assert [found[key] for key in ("precision", "recall", "iou", "kept_iou", "kept")] == [1, 0.5, 0.5, 1, 0.5]
    assert found["correct_kept"] == 0.5


def test_rows_add_up_by_class_and_average_over_classes():
    """Pixels of a class are added up, classes count alike, and what nothing was found of is unknown."""
    boat = np.array([[counted(found=10, both=10, truth=10)], [counted(found=90, both=30, truth=30)]])
    car = np.array([[counted(found=0, both=0, truth=20)]])
    rows = {row["class"]: row for row in rows_of(("annotate",), {"boat": boat, "car": car})}
    assert rows["boat"]["precision"] == pytest.approx(0.4)
    assert (rows["car"]["precision"], rows["car"]["recall"]) == (None, 0)
    assert rows["mean"]["precision"] == pytest.approx(0.4)
    assert rows["mean"]["recall"] == pytest.approx(0.5)
    assert (rows["mean"]["pictures"], rows["boat"]["pictures"]) == (3, 2)
    assert mean_measures([car[:, 0]])["precision"] is None


def test_errors_are_marked(truth):
    """Right, wrong and missed pixels have codes of their own, free ones are chequered, the unknown column is clear."""
    free = np.zeros((6, 6), bool)
    free[4, 1:5] = True
    labels = np.where(free, IGNORE, np.where(truth == 1, LABEL, 0)).astype(np.uint8)
    labels[0, 1:] = LABEL
    now = sample(labels, free=free)
    codes = errors_of(np.asarray(labels == LABEL), truth, now)
    assert set(codes[1:4, 1:5].ravel()) == {RIGHT}
    assert set(codes[0, 1:5]) == {WRONG}
    assert set(codes[4, 1:5]) == {MISSED, FREE}
    assert not codes[:, 5].any()


def test_answers_are_asked_for_once():
    """A box that was asked about is answered from memory, in the order of the boxes."""
    asked = []

    class Refiner:
        weights_id = ""

        def segment(self, picture, boxes):
            asked.append(boxes.tolist())
            masks = np.zeros((len(boxes), 8, 8), bool)
            for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
                mask[y0:y1, x0:x1] = True
            return masks, boxes[:, 0]

    answers, picture = Answers(Refiner()), np.zeros((8, 8, 3), np.uint8)
    boxes = np.array([[0, 0, 2, 2], [1, 1, 5, 5], [3, 3, 4, 4]], np.float32)
    answers.segment(picture, boxes[:2])
    masks, scores = answers.segment(picture, boxes[[2, 0, 1]])
    assert asked == [boxes[:2].tolist(), boxes[2:].tolist()]
    assert scores.tolist() == [3, 0, 1]
    assert masks.sum((1, 2)).tolist() == [1, 4, 16]


@pytest.fixture(scope="module")
def sets(tiny, tmp_path_factory):
    """Overrides of a tiny audit of picto; its output is shared by the tests of this file."""
    return [*tiny, f"execution.output={tmp_path_factory.mktemp('audit')}"]


@pytest.fixture(scope="module")
def found(sets):
    """An audit of picto with a sweep, computed once."""
    config = load_config(None, sets)
    return audit(config, "tiny", 3, Grid.around(config, SMALL))


def test_the_sweep_says_what_the_stages_say(found, sets):
    """Its current setting gives the final labels of the chain, and another one those of an audit with that setting."""
    sweep, rows = found.told["sweep"], found.told["rows"]
    assert found.told["pictures"] == dict.fromkeys(("boat", "bottle", "butterfly", "car", "chair"), 3)
    assert len(rows) == 4 * 6
    other = {"filter.min_similarity": -0.2, "relabel.blend": 1.0, "relabel.min_similarity": 0.1}
    for setting in (sweep["current"]["setting"], other):
        config = load_config(None, [*sets, *(f"experiment.{key}={value}" for key, value in setting.items())])
        told = audit(config, "one", 3).told["rows"]
        place = 0
        for key in KEYS:
            axis = sweep["axes"][key]
            place = place * len(axis) + axis.index(setting[key])
        shards = sorted((Path(config.execution.output) / "store/audit").glob("*/swept.npy"))
        shards = [path for path in shards if np.load(path).shape[1] == len(sweep["chosen"])]
        assert len(shards) == 5
        by_class = [np.load(path)[:, place] for path in shards]
        final = next(row for row in told if row["class"] == "mean" and row["stage"] == "refine")
        expected = mean_measures(by_class)
        assert {key: final[key] for key in expected} == expected


def test_without_sabr_no_sam_is_asked_for(sets):
    """Where the last stage is off its weights need not be there, and the labels are those of APR."""
    off = ["experiment.refine.enabled=false", "experiment.refine.model=./nowhere"]
    rows = audit(load_config(None, [*sets, *off]), "off", 3).told["rows"]
    of_stage = {row["stage"]: {**row, "stage": ""} for row in rows if row["class"] == "mean"}
    assert of_stage["refine"] == of_stage["relabel"]


def test_the_folder_holds_page_figures_and_settings(found):
    """Everything that the page needs lies beside it, and the settings run again."""
    folder = found.page.parent
    assert json.loads((folder / "audit.json").read_text()) == found.told
    assert load_config(str(folder / "experiment.yaml")).experiment.dataset == "picto"
    names = {path.name for path in folder.iterdir()}
    assert {"report.css", "dom.js", "charts.js", "main.js", "data", "items"} <= names
    assert len(list((folder / "items").glob("*.jpg"))) == 15


def test_the_command_prints_rows_and_the_verdict(call, sets, found):
    """A second audit takes everything from the store; the table, the verdict and how to use it are printed."""
    shards = Path(sets[-1].partition("=")[2]) / "store/audit"
    before = {path: path.stat().st_mtime_ns for path in shards.glob("*/record.json")}
    command = ["audit", "--pictures", 3, *(part for text in sets for part in ("--set", text))]
    command += [part for axis in SMALL for part in ("--grid", axis)]
    code, told, complaint = call(*command)
    assert code == 0, complaint
    assert "boundary iou" in told
    assert "of 24 settings" in told
    assert "index.html" in told
    assert found.told["sweep"]["same"] or f"--set {found.told['sweep']['set'][0]}" in told
    code, told, _ = call(*command, "--json")
    assert json.loads(told)["rows"] == found.told["rows"]
    assert {path: path.stat().st_mtime_ns for path in shards.glob("*/record.json") if path in before} == before


def write_pair(folder, name, picture, labels):
    """Write a picture and its mask."""
    write_picture(folder / "pictures" / f"{name}.png", picture)
    write_labels(folder / "masks" / f"{name}.png", labels)


def masked(scene, ids):
    """Give a drawn scene's mask with ids by name."""
    labels = np.zeros((64, 64), np.uint8)
    for thing in scene.things:
        labels[thing.mask] = ids.get(thing.name, 0)
    return labels


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Own classes; validation pictures have two sizes and show a snail, and all but the last a mushroom beside it."""
    place, ids = tmp_path_factory.mktemp("own"), {"cup": 1, "house": 2, "wild mushroom": 3, "snail": 4}
    drawn = {"wild mushroom": "mushroom", "snail": "snail"}
    for i in range(10):
        scene = draw_scene(scene_rng("base", i), must_show=("cup", "house")[i % 2])
        write_pair(place / "base", f"{i:02d}", scene.picture, masked(scene, ids))
    for i in range(4):
        one, other = (draw_portrait(scene_rng("validation", i), name) for name in drawn.values())
        picture, labels = other.picture.copy(), masked(other, {"snail": 4})
        if i < 3:
            picture[:, :32], labels[:, :32] = one.picture[:, :32], masked(one, {"mushroom": 3})[:, :32]
        labels[:, 30:34] = IGNORE
        write_pair(place / "validation", f"v{i}", picture[: 64 - 8 * (i % 2)], labels[: 64 - 8 * (i % 2)])
    for name, thing in drawn.items():
        scene = draw_portrait(scene_rng("support", 0), thing)
        write_pair(place / name, "a", scene.picture, masked(scene, {thing: 255}))
    names = ("base", "validation", *drawn)
    parts = {name: {"pictures": f"{name}/pictures", "masks": f"{name}/masks"} for name in names}
    told = {
        "name": "own", "base": {**parts["base"], "classes": ["cup", "house"]}, "validation": parts["validation"],
        "novel": {name: parts[name] for name in drawn},
    }  # fmt: skip
    (place / "own.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    return place / "own.yaml"


def test_own_classes_of_any_size_are_audited(photographs, tiny, tmp_path):
    """Each novel class that a picture shows is an item; pixels of 255 count nowhere; scores are reported on them."""
    sets = [*tiny, f"experiment.dataset={photographs}", f"execution.output={tmp_path}"]
    config = load_config(None, sets)
    items = choose_items(config, 9)
    shown = {name: sorted(items.id(place) for place in places) for name, places in items.places.items()}
    assert shown == {"wild mushroom": ["v0", "v1", "v2"], "snail": ["v0", "v1", "v2", "v3"]}
    assert items.reported == 4
    assert [len(places) for places in choose_items(config, 2).places.values()] == [2, 2]
    place = items.places["snail"][0]
    (one, mushroom), (other, snail) = (read_item(config, items, name, place) for name in ("wild mushroom", "snail"))
    assert np.array_equal(one.picture, other.picture)
    assert (one.labels, other.name) == (None, "snail")
    assert not ((mushroom == 1) & (snail == 1)).any()
    assert (snail[:, 30:34] == IGNORE).all()
    told = audit(config, "own", 9, Grid.around(config, ["filter.min_similarity=0.3", "relabel.blend=0,1"])).told
    assert told["pictures"] == {"wild mushroom": 3, "snail": 4}
    assert told["reported"] == 4
    assert told["sweep"]["halves"] == [2, 2]


def test_large_pictures_are_made_smaller(photographs, tiny, tmp_path):
    """A picture of more than 640 pixels is looked at with 640, its mask with it."""
    labels = np.full((700, 1280), 4, np.uint8)
    write_pair(photographs.parent / "validation", "large", np.zeros((700, 1280, 3), np.uint8), labels)
    try:
        config = load_config(None, [*tiny, f"experiment.dataset={photographs}", f"execution.output={tmp_path}"])
        items = choose_items(config, 9)
        place = next(place for place in items.places["snail"] if items.id(place) == "large")
        bare, truth = read_item(config, items, "snail", place)
        assert bare.picture.shape == (350, 640, 3)
        assert truth.shape == (350, 640)
        assert (truth == 1).all()
    finally:
        for path in photographs.parent.glob("validation/*/large.png"):
            path.unlink()


def test_supports_are_never_audited(shared, tmp_path):
    """On photographs whose supports come from the validation pictures, these are left out; each class has its share."""
    sets = ["experiment.dataset=msrc21", f"execution.data={shared}", f"execution.output={tmp_path}"]
    config = load_config(None, [*sets, "experiment.train.min_pixels=682"])
    items = choose_items(config, 12)
    assert len(items.places) == 5
    assert all(len(set(places)) == 12 for places in items.places.values())
    supports = [picture for support in read_supports(config) for picture in support.pictures]
    for name, places in items.places.items():
        bare, truth = read_item(config, items, name, places[0])
        assert (truth == 1).sum() >= 682
        assert max(truth.shape) <= 320
        for place in places:
            picture = items.folder.pictures.picture(place)
            assert not any(np.array_equal(picture, support) for support in supports), bare.id


def test_nothing_to_audit_is_one_sentence(photographs, tiny, tmp_path):
    """No validation picture with enough of a novel class, or masks of one class each."""
    sets = [*tiny, f"execution.output={tmp_path}"]
    config = load_config(None, [*sets, f"experiment.dataset={photographs}", "experiment.train.min_pixels=4000"])
    with pytest.raises(InputError, match="no validation picture shows 4000 pixels of a novel class"):
        choose_items(config, 9)


@pytest.fixture
def fss1000(tmp_path):
    """FSS-1000's layout: a thousand classes of three pictures, which all are the same six."""
    for i in range(6):
        scene = draw_portrait(scene_rng("base", i), ("cup", "snail")[i % 2])
        mask = masked(scene, {"cup": 255, "snail": 255})
        write_picture(tmp_path / f"drawn/{i}.jpg", scene.picture)
        write_picture(tmp_path / f"drawn/{i}.png", np.stack([mask] * 3, 2))
    classes = {"trn": range(520), "val": range(520, 760), "test": range(760, 1000)}
    (tmp_path / "FSS-1000/splits").mkdir(parents=True)
    for part, numbers in classes.items():
        (tmp_path / f"FSS-1000/splits/{part}.txt").write_text("".join(f"c{number}\n" for number in numbers))
        for number in numbers:
            folder = tmp_path / f"FSS-1000/data/c{number}"
            folder.mkdir(parents=True)
            for i in range(3):
                for ending in (".jpg", ".png"):
                    (folder / f"{i + 1}{ending}").symlink_to(tmp_path / f"drawn/{2 * i + number % 2}{ending}")
    return tmp_path


def test_masks_of_one_class_are_audited_with_an_fss_model(fss1000, tiny):
    """Where masks are of one class each, an FSS model gives the first labels; its support is not among the items."""
    sets = ["experiment.dataset=fss1000", f"execution.data={fss1000}", f"execution.output={fss1000}/out"]
    sets += ["experiment.model.name=matching", "experiment.fss.stride=8", "experiment.prompts.classes=[c760, c761]"]
    config = load_config(None, [*tiny, *sets])
    items = choose_items(config, 9)
    assert {n: [items.id(p) for p in places] for n, places in items.places.items()}.keys() == {"c760", "c761"}
    assert sorted(items.id(place) for place in items.places["c760"]) == ["c760/2", "c760/3"]
    told = audit(config, "fss", 9, Grid.around(config, ["relabel.blend=0,1"])).told
    first = next(row for row in told["rows"] if row["class"] == "mean")
    assert (first["stage"], first["pictures"]) == ("annotate", 4)
    assert first["recall"] > 0.3
