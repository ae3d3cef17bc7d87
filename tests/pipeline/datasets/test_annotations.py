import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pycocotools import mask as rle

from pipeline.classes import ClassSplit
from pipeline.datasets import open_dataset
from pipeline.datasets.annotations import Annotated, index_is_made, load_pickle, make_index
from pipeline.datasets.pictures import count_pixels, read_split
from pipeline.errors import InputError


def outline(left, top, right, bottom):
    """Give a box as a polygon of COCO."""
    return [[left, top, right, top, right, bottom, left, bottom]]


@pytest.fixture
def coco(tmp_path, put):
    """Write two pictures a part: a large car below a small dog and a crowd, and one without any annotation."""
    categories = [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
    for part, first in (("train", 7), ("val", 9)):
        names = [f"COCO_{part}2014_{number:012d}.jpg" for number in (first, first + 1)]
        for name in names:
            put(f"COCO2014/{part}2014/{name}", (8, 10))
        images = [{"id": first + i, "file_name": n, "height": 8, "width": 10} for i, n in enumerate(names)]
        crowd = {"counts": [0, 80], "size": [8, 10]}
        annotations = [
            {"image_id": first, "category_id": 18, "iscrowd": 0, "segmentation": outline(2, 2, 5, 5)},
            {"image_id": first, "category_id": 3, "iscrowd": 0, "segmentation": outline(1, 1, 8, 7)},
            {"image_id": first, "category_id": 90, "iscrowd": 1, "segmentation": crowd},
        ]
        path = tmp_path / f"COCO2014/annotations/instances_{part}2014.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"images": images[::-1], "annotations": annotations, "categories": categories}))
    return tmp_path


def test_coco_label_map(coco, open_in):
    """Smaller things lie above larger ones, a crowd is not drawn, ids are counted without the file's gaps."""
    dataset = open_in("coco")
    pictures, split = dataset.pictures("validation", 2), dataset.split(2)
    assert len(pictures.ids) == 1, "the picture without annotations is not listed"
    picture, labels = read_split(pictures, 0, split)
    expected = np.zeros((8, 10), int)
    expected[1:7, 1:8] = split.id_of("car")
    expected[2:5, 2:5] = split.id_of("dog")
    assert picture.shape == (8, 10, 3)
    assert (labels == expected).all()
    assert split.id_of("car") in split.novel_ids
    assert count_pixels(pictures, split)[0, [3, 17, 80]].tolist() == [33, 9, 0]


def test_coco_folds_are_interleaved():
    """Fold i holds out the 1-based classes i+1, i+5, ..., i+77 of 80."""
    held = [ClassSplit.of("coco", fold).novel for fold in range(4)]
    assert [len(h) for h in held] == [20] * 4
    assert len(set().union(*held)) == 80
    assert held[0][:3] == ("person", "airplane", "boat")
    assert held[0][-1] == "scissors"
    assert held[1][-2:] == ("book", "teddy bear")
    assert held[2][-2:] == ("clock", "hair drier")
    assert held[3][:2] == ("motorcycle", "truck")


def test_index_is_made_once_and_again_for_other_annotations(coco, open_in):
    """The second opening reads the index; a changed annotation file makes it anew."""
    dataset = open_in("coco")
    record = coco / "cache/coco/val/record.json"
    made, content = record.stat().st_mtime_ns, dataset.pictures("validation", 0).content()
    open_in("coco")
    assert record.stat().st_mtime_ns == made
    path = coco / "COCO2014/annotations/instances_val2014.json"
    raw = json.loads(path.read_text())
    raw["annotations"][0]["segmentation"] = outline(2, 2, 6, 6)
    path.write_text(json.dumps(raw))
    assert not open_dataset("coco", coco, coco / "cache").ready()
    changed = open_in("coco").pictures("validation", 0)
    assert record.stat().st_mtime_ns != made
    assert (changed.labels(0) == 17).sum() == 16
    assert changed.content() != content


def test_an_index_that_two_want_is_made_once(tmp_path):
    """Who comes while another one makes it waits for it."""
    (tmp_path / "a.json").write_text("{}")
    builds = []

    def build():
        builds.append(1)
        time.sleep(0.3)
        yield Annotated("a.jpg", (8, 10), [(1, outline(2, 2, 5, 5))])

    with ThreadPoolExecutor() as pool:
        wanted = [
            pool.submit(make_index, tmp_path / "cache/a", [tmp_path / "a.json"], build, one_class=True)
            for _ in range(3)
        ]
    assert [one.result() for one in wanted] == [None] * 3
    assert len(builds) == 1
    assert index_is_made(tmp_path / "cache/a", [tmp_path / "a.json"])


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _other_form(path):
    path.write_text('{"images": [{}]}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, r"instances_val2014\.json cannot be read"),
        (_other_form, r"instances_val2014\.json: not of the expected form"),
        (lambda path: path.unlink(), r"no COCO in .*val2014\.zip .*cocodataset\.org"),
    ],
)
def test_broken_annotations_are_told(coco, open_in, spoil, message):
    """Missing, damaged and foreign annotation files are named, with where to get them."""
    spoil(coco / "COCO2014/annotations/instances_val2014.json")
    with pytest.raises(InputError, match=message):
        open_in("coco")
    assert not (coco / "cache/coco/val").exists()


def test_annotations_of_another_picture_are_told(coco, open_in, put):
    """A picture of another size than annotated is no picture of this data set; one outside its folder is not read."""
    pictures = open_in("coco").pictures("validation", 0)
    put("COCO2014/val2014/COCO_val2014_000000000009.jpg", (10, 10))
    for look in (pictures.picture, pictures.size):
        with pytest.raises(InputError, match="is 10x10 but its annotations are for 10x8"):
            look(0)
    path = coco / "COCO2014/annotations/instances_val2014.json"
    path.write_text(path.read_text().replace("COCO_val2014_000000000009.jpg", "../../outside.jpg"))
    with pytest.raises(InputError, match="is outside"):
        open_in("coco").pictures("validation", 0).picture(0)


@pytest.fixture
def lvis(tmp_path, put):
    """Write 12 classes of two pictures each, one of them with a hole in its list; train has one class more."""
    boxes = {}
    for label in range(1, 13):
        for number in range(2):
            name = f"val2017/{label:03d}{number}.jpg"
            put(f"LVIS/coco/{name}", (8, 10))
            annotations = [{"segmentation": outline(1, 1, 3 + number, 4), "category_id": label, "bbox_mode": _Mode(1)}]
            boxes.setdefault(label + 500, {})[name] = {"annotations": annotations}
    boxes[999] = {"val2017/0010.jpg": {"annotations": [{"segmentation": outline(0, 0, 2, 2)}]}}
    (tmp_path / "LVIS/lvis_val.pkl").write_bytes(pickle.dumps(boxes))
    (tmp_path / "LVIS/lvis_train.pkl").write_bytes(pickle.dumps({**boxes, 1000: boxes[501]}))
    return tmp_path


class _Mode:
    """Stands for an object of a library that wrote the pickle."""

    def __init__(self, value):
        self.value = value


def test_lvis_folds_and_masks(lvis, open_in):
    """Every tenth class with two validation pictures is novel; class ids above 255 keep their own split ids."""
    dataset = open_in("lvis")
    split = dataset.split(1)
    assert split.novel == ("502",), "12 classes make folds of one"
    assert split.base == (*(str(n) for n in range(501, 513) if n != 502), "1000")
    assert len(set().union(*(dataset.split(f).novel for f in range(10)))) == 10
    base, novel = (dataset.pictures(p, 1) for p in ("base", "validation"))
    assert len(novel.ids) == 2
    assert sorted(set(base.classes)) == sorted(int(n) for n in split.base)
    _, labels = read_split(novel, 1, split)
    assert labels[1:4, 1:4].all()
    assert labels.sum() == 9 * split.id_of("502")
    assert count_pixels(novel, split).tolist() == [6, 9]
    with pytest.raises(InputError, match="fold 10 of lvis does not exist"):
        dataset.split(10)


class _Bomb:
    def __reduce__(self):
        return print, ("a pickle has run something",)


def test_a_pickle_runs_nothing(tmp_path, capsys):
    """What a pickle would call is not called; its plain values are read."""
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps({"bomb": _Bomb(), "plain": [1, "two", (3.0, None)]}))
    assert load_pickle(path)["plain"] == [1, "two", (3.0, None)]
    assert capsys.readouterr().out == ""
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"bomb\.pkl cannot be read"):
        load_pickle(path)


def test_paco_cuts_to_the_object(tmp_path, put, open_in):
    """Each object with the part is an item, cut to its box; folds take every fourth class."""
    labels = [11, 22, 33, 44, 55]
    names = [f"{i}.jpg" for i in range(3)]
    for name in names:
        put(f"PACO-Part/coco/train2017/{name}", (8, 10))

    def part(label, thing, box):
        left, top, width, height = box
        shape = outline(left + 1, top + 1, left + 3, top + 2)
        return {"category_id": label, "obj_ann_id": thing, "obj_bbox": [left + 0.4, top + 0.2, width, height],
                "segmentation": shape}  # fmt: skip

    raw = {
        "cid2img": {label: [{i: f"coco/train2017/{n}"} for i, n in enumerate(names)] for label in labels},
        "img2anno": {i: [part(label, thing, (2 * thing, 1, 3.2, 4)) for label in labels for thing in (0, 1)]
                     for i in range(3)},
    }  # fmt: skip
    raw["cid2img"][22] = raw["cid2img"][22][:1] * 2
    for name in ("train", "val"):
        place = tmp_path / f"PACO-Part/paco/paco_part_{name}.pkl"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(pickle.dumps(raw))
    dataset = open_in("paco_part")
    assert [dataset.split(f).novel for f in range(4)] == [("11",), (), ("33",), ("44",)], "22 has one picture"
    novel = dataset.pictures("validation", 0)
    assert len(novel.ids) == 6
    picture, mask = read_split(novel, 1, dataset.split(0))
    assert picture.shape[:2] == mask.shape == (4, 4)
    assert (mask > 0).sum() == 2
    assert novel.areas().tolist() == [2] * 6


def test_pascal_part(tmp_path, put, open_in):
    """Classes are object and part, folds are super-classes, an item is one object; masks are compressed encodings."""
    root = tmp_path / "Pascal-Part/VOCdevkit/VOC2010"
    mask = np.zeros((8, 10), np.uint8, order="F")
    mask[2:4, 3:6] = 1
    coded = rle.encode(mask)
    coded = {"size": [int(n) for n in coded["size"]], "counts": coded["counts"].decode()}
    part = {"name": "FACE", "mask": [coded]}
    box = {"xmin": "2", "ymin": "1", "xmax": "7", "ymax": "5"}
    thing = {"name": "bird", "bndbox": box, "parts": [part, {**part, "name": "WING"}]}
    (root / "Annotations_Part_json_merged_part_classes").mkdir(parents=True)
    for name in ("2008_000472", "2008_000536"):
        put(f"Pascal-Part/VOCdevkit/VOC2010/JPEGImages/{name}.jpg", (8, 10))
        place = root / f"Annotations_Part_json_merged_part_classes/{name}.json"
        place.write_text(json.dumps({"object": [thing, {**thing, "name": "sofa"}]}))
    lists = {"train": ["2008_000472"], "val": ["2008_000536"]}
    whole = {"animals": {"object": {"bird": {"part": {"FACE": lists, "WING": {**lists, "val": []}}}}}}
    whole |= {fold: {"object": {}} for fold in ("indoor", "person")}
    whole["vehicles"] = {"object": {"aeroplane": {"part": {"TAIL": lists, "WING": lists}}}}
    (root / "all_obj_part_to_image.json").write_text(json.dumps(whole))
    dataset = open_in("pascal_part")
    split = dataset.split(0)
    assert (split.novel, split.base) == (("bird+FACE",), ("aeroplane+WING",))
    novel = dataset.pictures("validation", 0)
    picture, labels = read_split(novel, 0, split)
    assert len(novel.ids) == 1
    assert picture.shape == (4, 5, 3)
    expected = np.zeros((4, 5), int)
    expected[1:3, 1:4] = split.id_of("bird+FACE")
    assert (labels == expected).all()
