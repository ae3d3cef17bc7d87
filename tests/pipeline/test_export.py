"""Every export is read back by the tools that it is for."""

import io
import json
import shutil
import tarfile
from dataclasses import replace

import cv2
import datasets
import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from pycocotools.coco import COCO as Coco
from scipy import ndimage
from torchmetrics.classification import MulticlassJaccardIndex

from pipeline.assemble import stem_of, write_voc
from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import Config
from pipeline.datasets.pascal import voc_folder
from pipeline.errors import InputError
from pipeline.export.card import Model, Origin, licence_of, write_card
from pipeline.export.coco import category_ids, export_coco, instances_of, stable_number
from pipeline.export.imagefolder import export_imagefolder
from pipeline.export.items import Tally, check_prefix, export_id, items_of, with_twins
from pipeline.export.place import check_target, new_folder
from pipeline.export.voc import base_lines, check_clash, export_merged, export_voc, open_base
from pipeline.export.webdataset import export_webdataset
from pipeline.generate import TWIN
from pipeline.hashing import hash_files, list_files
from pipeline.images import voc_palette, write_labels, write_picture
from pipeline.types import Sample

SPLIT = ClassSplit.of("picto", 1)
SIZE = (24, 32)


def labels_of(number):
    """Give split ids: two parts of a novel class that touch by a corner, a third, a base class, and ignored pixels."""
    labels = np.zeros(SIZE, np.uint8)
    novel = SPLIT.novel_ids[number % 5]
    labels[2:6, 2:8] = labels[6:9, 8:12] = labels[15:20, 20 + number : 28] = novel
    labels[12:14, :5] = SPLIT.base_ids[(3 * number) % 15]
    labels[22:] = IGNORE
    return labels


@pytest.fixture(scope="module")
def truth():
    """Export id -> label map of dataset ids."""
    return {f"syn_{SPLIT.novel[i % 5]}_{i:04d}_0": SPLIT.to_dataset(labels_of(i)) for i in range(7)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What the dataset stage wrote of seven samples, and the sample table: an eighth is dropped, a ninth is a twin."""
    folder, rng = tmp_path_factory.mktemp("dataset"), np.random.default_rng(0)
    samples = []
    for i in range(8):
        name, picture = SPLIT.novel[i % 5], rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        free = np.zeros(SIZE, bool)
        sample = Sample(f"{name}-{i:04d}-0", name, f"a {name}, “{i}”", 2**62 + i, picture, labels_of(i), free)
        samples.append(sample if i < 7 else sample.dropped("nothing is left"))
    samples.append(replace(samples[2], id=f"{samples[2].name}-0040-0"))
    write_voc(samples, folder, SPLIT)
    rows = [{"id": s.id, "name": s.name, "prompt": s.prompt, "seed": s.seed, "reason": s.reason,
             "scores": {"apf_best": 0.5, "sabr": float("nan")}} for s in samples]  # fmt: skip
    return folder, rows


@pytest.fixture
def items(source):
    """The seven items."""
    return list(items_of(source[1], source[0], SPLIT))


def content(folder):
    return hash_files(folder, list_files(folder))


# --- ids ------------------------------------------------------------------------------------------------------------


def test_ids_are_those_of_the_run_and_can_be_told_apart(source):
    """An id is that of the dataset stage, survives odd class names, and begins as the user wants."""
    items = list(items_of(source[1], source[0], SPLIT))
    assert [item.id for item in items] == [stem_of(row["id"]) for row in source[1][:7]]
    assert all(item.mask.is_file() and item.picture.is_file() and item.palette.is_file() for item in items)
    assert items[0].scores == {"apf_best": 0.5, "sabr": None}
    assert export_id("traffic light No.5-0001-2", "r2") == "r2_traffic_light_No_5_0001_2"
    assert {i.id.split("_")[0] for i in items_of(source[1], source[0], SPLIT, "seed1")} == {"seed1"}
    with pytest.raises(InputError, match="cannot begin"):
        check_prefix("../up")
    tally = Tally()
    assert len(list(tally.watch(items))) == 7
    assert sum(tally.per_class.values()) == 7
    with pytest.raises(InputError, match="would be named"):
        list(Tally().watch([items[0], items[0]]))


def test_twins_that_the_dataset_left_out_are_no_items(source):
    """A picture that another shard has too has no reason in its own shard; the dataset's list tells that it is out."""
    folder, rows = source
    assert rows[8]["reason"] is None
    assert [row["reason"] for row in with_twins(rows, folder)] == [None] * 7 + ["nothing is left", TWIN]
    assert len(list(items_of(rows, folder, SPLIT))) == 7
    with pytest.raises(InputError, match=r"train\.txt cannot be read: syn4seg run makes it again"):
        list(items_of(rows, folder / "JPEGImages", SPLIT))


# --- VOC ------------------------------------------------------------------------------------------------------------


def test_voc_as_gfss_trainers_and_voc_tools_read_it(items, truth, tmp_path):
    """A trainer's list and grey reading give dataset ids; Pillow gives the same from the palette, in VOC's colours."""
    export_voc(items, tmp_path)
    lines = (tmp_path / "ImageSets/Segmentation/gfss_train.txt").read_text().splitlines()
    assert len(lines) == 7
    for line, (id_, labels) in zip(lines, truth.items(), strict=True):
        picture, mask = line.split(" ")
        assert cv2.imread(str(tmp_path / picture), cv2.IMREAD_COLOR).shape == (*SIZE, 3)
        assert np.array_equal(cv2.imread(str(tmp_path / mask), cv2.IMREAD_GRAYSCALE), labels)
        with Image.open(tmp_path / "SegmentationClass" / f"{id_}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), labels)
            assert np.array_equal(np.asarray(image.convert("RGB")), voc_palette()[labels])
    assert (tmp_path / "ImageSets/Segmentation/train.txt").read_text().split() == list(truth)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert rows[3]["seed"] == 2**62 + 3
    assert rows[3]["class"] == SPLIT.all_names[rows[3]["class_id"] - 1] == SPLIT.novel[3]


def test_torchmetrics_scores_exported_labels(items, truth, tmp_path):
    """Perfect predictions score 1 on every class that occurs, a wrong pixel costs what it should, 255 counts not."""
    export_voc(items, tmp_path)
    found = [cv2.imread(str(tmp_path / f"SegmentationClassAug/{id_}.png"), cv2.IMREAD_GRAYSCALE) for id_ in truth]
    target = torch.from_numpy(np.stack(found)).long()
    score = MulticlassJaccardIndex(21, average=None, ignore_index=IGNORE)
    predicted = target.clone()
    predicted[target == IGNORE] = 3
    present = [i for i in target.unique().tolist() if i != IGNORE]
    assert torch.equal(score(predicted, target)[present], torch.ones(len(present)))
    novel = SPLIT.all_names.index(SPLIT.novel[0]) + 1
    area = int((target == novel).sum())
    places = (target == novel).nonzero()[: area // 2]
    predicted[tuple(places.T)] = 0
    assert score(predicted, target)[novel] == pytest.approx(1 - (area // 2) / area)


def base_set(root, ids=("2007_000032", "2008_000008"), subset="train"):
    """Write a base data set in VOC layout."""
    for id_ in ids:
        write_picture(root / "JPEGImages" / f"{id_}.jpg", np.zeros((*SIZE, 3), np.uint8))
        write_labels(root / "SegmentationClassAug" / f"{id_}.png", np.full(SIZE, 7, np.uint8))
    (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Segmentation" / f"{subset}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    return root


def test_merged_list_names_the_base_files_where_they_are(items, tmp_path):
    """Joined to the export's folder, as trainers do, every line of the merged list opens; nothing was copied."""
    root, to = base_set(tmp_path / "data/VOC2012"), tmp_path / "out/syn"
    base_set(root, ("2007_000032",), "train_aug")
    assert [row.id for row in open_base(root, "train").rows] == ["2007_000032", "2008_000008"]
    base = open_base(root, None)
    assert len(base.rows) == 1
    before = list_files(root)
    with new_folder(to, "x") as folder:
        lines = base_lines(base, to)
        export_voc(items, folder)
        export_merged([item.id for item in items], lines, folder)
    assert list_files(root) == before
    listed = (to / "ImageSets/Segmentation/merged_train.txt").read_text().splitlines()
    base_line = "../../data/VOC2012/{}/2007_000032.{}"
    assert listed[0] == f"{base_line.format('JPEGImages', 'jpg')} {base_line.format('SegmentationClassAug', 'png')}"
    assert len(listed) == 8
    for line in listed:
        picture, mask = (cv2.imread(str(to / name), cv2.IMREAD_GRAYSCALE) for name in line.split())
        assert picture.shape == mask.shape == SIZE
    assert (cv2.imread(str(to / listed[0].split()[1]), cv2.IMREAD_GRAYSCALE) == 7).all()
    assert len(voc_folder(to, "train").ids) == 7  # the synthetic pictures alone


def test_what_cannot_be_merged_is_refused(items, tmp_path):
    """Clashing ids, palette masks, missing files, lists that are not there and spaces are told in one sentence."""
    with pytest.raises(InputError, match="not in VOC layout"):
        open_base(tmp_path, None)
    root = base_set(tmp_path / "base", (items[2].id, "b"), "mine")
    with pytest.raises(InputError, match=r"has a picture syn_\w+ too: choose other ids by --prefix syn2"):
        check_clash(open_base(root, None), [item.id for item in items], "syn")
    base_set(root, ("c",), "yours")
    with pytest.raises(InputError, match="lists mine, yours, none of train_aug, train, all: choose one"):
        open_base(root, None)
    with pytest.raises(InputError, match="not 'her'"):
        open_base(root, "her")
    write_labels(root / "SegmentationClassAug/c.png", np.zeros(SIZE, np.uint8), "palette")
    with pytest.raises(InputError, match=r"c\.png is no single-channel PNG"):
        base_lines(open_base(root, "yours"), tmp_path / "to")
    (root / "SegmentationClassAug/c.png").unlink()
    with pytest.raises(InputError, match=r"c\.png is missing"):
        base_lines(open_base(root, "yours"), tmp_path / "to")
    with pytest.raises(InputError, match="has one in its path"):
        base_lines(open_base(base_set(tmp_path / "my base"), None), tmp_path / "to")


# --- COCO -----------------------------------------------------------------------------------------------------------


def test_coco_as_pycocotools_reads_it(items, truth, tmp_path, capsys):
    """Instances are the connected regions with their box and area; the stuff masks put together are the label map."""
    export_coco(items, tmp_path, SPLIT)
    instances, stuff = (Coco(tmp_path / f"annotations/{k}_train.json") for k in ("instances", "stuff"))
    assert [c["name"] for c in instances.loadCats(instances.getCatIds())] == list(SPLIT.all_names)
    for id_, labels in truth.items():
        (image,) = instances.loadImgs(stable_number(id_))
        assert (image["file_name"], image["height"], image["width"]) == (f"{id_}.jpg", *SIZE)
        assert (tmp_path / "images" / image["file_name"]).is_file()
        found = instances.loadAnns(instances.getAnnIds(image["id"]))
        expected = [ndimage.label(labels == i, np.ones((3, 3)))[1] for i in np.unique(labels) if i not in (0, IGNORE)]
        assert len(found) == sum(expected)
        for one in found:
            mask = instances.annToMask(one).astype(bool)
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            assert one["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
            assert one["area"] == mask.sum()
            assert (labels[mask] == one["category_id"]).all()
            assert isinstance(one["segmentation"]["counts"], str)
            assert one["iscrowd"] == 0
        rebuilt = np.full(SIZE, IGNORE, np.uint8)
        for one in stuff.loadAnns(stuff.getAnnIds(image["id"])):
            rebuilt[stuff.annToMask(one).astype(bool)] = one["category_id"]
        assert np.array_equal(rebuilt, labels)
    touching = [mask.sum() for label, _, mask in instances_of(truth["syn_" + SPLIT.novel[0] + "_0000_0"])]
    assert 4 * 6 + 3 * 4 in touching  # two parts that meet at a corner are one


def test_coco_ids_are_stable(items, tmp_path):
    """A picture's and its regions' ids do not depend on what else is exported; COCO's categories keep their own ids."""
    (tmp_path / "all").mkdir()
    (tmp_path / "two").mkdir()
    export_coco(items, tmp_path / "all", SPLIT)
    export_coco(items[4:6], tmp_path / "two", SPLIT)
    for kind in ("instances", "stuff"):
        name = f"annotations/{kind}_train.json"
        every, few = (json.loads((tmp_path / part / name).read_text()) for part in ("all", "two"))
        assert few["images"] == every["images"][4:6]
        assert all(one in every["annotations"] for one in few["annotations"])
        assert len({one["id"] for one in every["annotations"]}) == len(every["annotations"])
    assert 0 < stable_number("syn_boat_0000_0") < 2**53
    assert stable_number("syn_boat_0000_0") == 5257487199465847
    official = category_ids(ClassSplit.of("coco", 0))
    assert [official[i] for i in (0, 1, 12, 13, 80)] == [0, 1, 13, 14, 90]
    assert category_ids(SPLIT) == {i: i for i in range(21)}


def test_colliding_coco_ids_are_refused(items, tmp_path, monkeypatch):
    """Two names with one number are told, since a reader would mix them up."""
    monkeypatch.setattr("pipeline.export.coco.stable_number", lambda text: len(text))
    with pytest.raises(InputError, match="same COCO id"):
        export_coco(items, tmp_path, SPLIT)


# --- WebDataset, ImageFolder ----------------------------------------------------------------------------------------


def test_webdataset_reads_the_tars(items, truth, tmp_path):
    """Webdataset finds every picture with ids and facts, in order, three a tar; no time and no owner is in there."""
    assert export_webdataset(items, tmp_path, 3) == 3
    tars = sorted(tmp_path.iterdir())
    assert [path.name for path in tars] == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    pipe = webdataset.WebDataset([str(path) for path in tars], shardshuffle=False, empty_check=False)
    pipe = pipe.decode(webdataset.imagehandler("l8", ["png"]), "rgb8")
    found = list(pipe)
    assert [one["__key__"] for one in found] == list(truth)
    for one, labels in zip(found, truth.values(), strict=True):
        assert one["jpg"].shape == (*SIZE, 3)
        assert np.array_equal(one["mask.png"], labels)
        assert one["json"]["id"] == one["__key__"]
        assert one["json"]["prompt"].startswith("a ")
    with tarfile.open(tars[0]) as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}
        raw = tar.extractfile(f"{items[0].id}.mask.png").read()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), next(iter(truth.values())))


def test_datasets_reads_the_imagefolder(items, truth, tmp_path):
    """The library `datasets` gives picture, mask, class and prompt of every row, by folder and by name."""
    (tmp_path / "hf").mkdir()
    export_imagefolder(items, tmp_path / "hf")
    (tmp_path / "hf/dropped.jsonl").write_text('{"id": "x"}\n')
    for source, more in (("imagefolder", {"data_dir": str(tmp_path / "hf")}), (str(tmp_path / "hf"), {})):
        found = datasets.load_dataset(source, split="train", cache_dir=str(tmp_path / "cache"), **more)
        assert set(found.column_names) == {"image", "mask", "id", "class", "class_id", "prompt", "seed", "scores"}
        assert found["id"] == list(truth)
        for row, labels in zip(found, truth.values(), strict=True):
            assert row["image"].size == SIZE[::-1]
            assert np.array_equal(np.asarray(row["mask"]), labels)
            assert SPLIT.all_names[row["class_id"] - 1] == row["class"]
            assert row["seed"] > 2**62 - 1


# --- the folder, the card -------------------------------------------------------------------------------------------


FORMS = {
    "voc": export_voc, "coco": lambda items, folder: export_coco(items, folder, SPLIT),
    "webdataset": export_webdataset, "imagefolder": export_imagefolder,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_equal_exports_have_equal_bytes(items, tmp_path, form):
    """Two exports of the same hold the same files, byte for byte."""
    for name in ("a", "b"):
        with new_folder(tmp_path / name, "same") as folder:
            FORMS[form](iter(items), folder)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_leaves_nothing(items, source, tmp_path, form):
    """Where a file of the store is gone, the sentence names it and neither a folder nor a part of one stays."""
    shutil.copytree(source[0] / "ImageSets", tmp_path / "lost/ImageSets")
    lost = [*items[:3], *items_of(source[1][3:4], tmp_path / "lost", SPLIT)]
    with pytest.raises(InputError, match=r"lost.*(is gone|does not exist)"), new_folder(tmp_path / "to", "x") as folder:
        FORMS[form](iter(lost), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["lost"]


def test_same_export_again_mends_and_keeps(tmp_path):
    """What was changed or lost comes back, what a user put beside it stays, and anything else is refused."""
    note = {"export": "1", "format": "voc", "dataset": "picto", "fold": 0}
    to = tmp_path / "to"
    to.mkdir()  # an empty folder may be there
    for change in (None, "changed"):
        if change:
            (to / "list/a.txt").write_text(change)
            (to / "list/b.txt").unlink()
            (to / "own.txt").write_text("mine")
        with new_folder(to, "1") as folder:
            (folder / "list").mkdir()
            (folder / "list/a.txt").write_text("a")
            (folder / "list/b.txt").write_text("b")
            (folder / "export.json").write_text(json.dumps(note))
    assert {name: (to / name).read_text() for name in list_files(to) if name != "export.json"} == {
        "list/a.txt": "a", "list/b.txt": "b", "own.txt": "mine",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"holds another export \(voc of picto fold 0\)"):
        check_target(to, "2")
    (to / "export.json").unlink()
    with pytest.raises(InputError, match="holds other files"):
        check_target(to, "1")
    with pytest.raises(InputError, match="is a file"):
        check_target(to / "own.txt", "1")


def test_what_a_killed_export_left_is_cleared_and_two_do_not_meet(tmp_path):
    """A stale partial folder is emptied first; one that is in use is left to its process."""
    partial = tmp_path / "to.partial"
    (partial / "half").mkdir(parents=True)
    (partial / "half/x.txt").write_text("x")
    with new_folder(tmp_path / "to", "1") as folder:
        assert {p.name for p in folder.iterdir()} <= {".lock"}
        with pytest.raises(InputError, match="another process"), new_folder(tmp_path / "to", "1"):
            pass
        (folder / "a.txt").write_text("a")
    assert list_files(tmp_path) == ["to/a.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    """What the system says while writing becomes one sentence, and nothing stays."""

    def fill():
        with new_folder(tmp_path / "to", "1") as folder:
            (folder / "a").write_text("a")
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"to cannot be written \(No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_card_says_licences_models_prompts_and_command(items, tmp_path):
    """The card names classes with ids, models with weights and licences, prompts, what was left out and the command."""
    tally = Tally()
    list(tally.watch(items))
    models = [Model("pictures", "stabilityai/stable-diffusion-3.5-large", "abc")]
    settings = Config(experiment={"fold": 1, "seed": 7}).experiment.model_dump(mode="json")
    origin = Origin(SPLIT, settings, models, {"torch": "2"}, {"nothing is left": 1})
    command = "syn4seg export latest --format voc --to DIR"
    write_card(tmp_path / "README.md", origin, tally, {SPLIT.novel[0]: ["a red | one"]}, command, ("root: DIR", "hint"))
    text = (tmp_path / "README.md").read_text()
    said = ["license: other", "n<1K", "`abc` | Stability AI Community License", '"a red / one"', command]
    said += [f"| {SPLIT.novel[0]} | 6 | 2 |", "Hint.", "seed 7", "prompts.agent grammar", "torch 2", "is left (1)"]
    assert [part for part in said if part not in text] == []
    assert licence_of("facebook/dinov2-base") == licence_of("vit_h=sam.pth")[:10] == "Apache-2.0"
    assert licence_of("weights/stable-diffusion-3.5-medium").startswith("Stability")
    assert "not known" in licence_of("somebody/model")
    own = ClassSplit("picto-mine", 0, ("a",), ("b",), ("a", "b"))
    write_card(tmp_path / "own.md", replace(origin, split=own, models=[]), Tally(), {}, command, ("x", "y"))
    assert "picto-mine (not known to Syn4Seg" in (tmp_path / "own.md").read_text()
