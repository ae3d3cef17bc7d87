import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipeline.classes import ClassSplit
from pipeline.datasets import open_dataset
from pipeline.datasets.pascal import PUBLISHED
from pipeline.datasets.pictures import count_pixels, lines_of, read_split
from pipeline.errors import InputError
from pipeline.images import write_labels


@pytest.fixture
def voc(put, lines, boxed, tmp_path):
    """Write VOC 2012 without SBD: two training pictures with palette masks, one of validation."""
    lines("VOC2012/ImageSets/Segmentation/train.txt", "2007_000032", "2007_000039")
    lines("VOC2012/ImageSets/Segmentation/val.txt", "2007_000033")
    for name, label in (("2007_000032", 1), ("2007_000039", 20), ("2007_000033", 15)):
        put(f"VOC2012/JPEGImages/{name}.jpg")
        mask = boxed(1, 1, 5, 4, label)
        mask[0] = 255
        write_labels(tmp_path / f"VOC2012/SegmentationClass/{name}.png", mask, "palette")
    return tmp_path


@pytest.fixture
def sbd(voc, put, lines, boxed):
    """Add SBD: a new picture in each part, and one of VOC's validation pictures in its training part."""
    lines("SBD/train.txt", "2008_000002", "2007_000033", "2007_000032")
    lines("SBD/val.txt", "2008_000008")
    (voc / "SBD/cls").mkdir()
    for name in ("2008_000002", "2008_000008"):
        put(f"VOC2012/JPEGImages/{name}.jpg")
        truth = {"Segmentation": boxed(2, 2, 6, 5, 7), "CategoriesPresent": [7]}
        savemat(voc / f"SBD/cls/{name}.mat", {"GTcls": truth})
    return voc


def test_palette_masks_without_sbd(voc, open_in):
    """VOC alone is read from its palette masks; border pixels stay ignored."""
    dataset = open_in("pascal")
    split = dataset.split(0)
    base = dataset.pictures("base", 0)
    assert base.ids == ["2007_000032", "2007_000039"]
    assert dataset.lists == ("train", "val")
    _, labels = read_split(base, 0, split)
    assert set(np.unique(labels)) == {0, split.id_of("aeroplane"), 255}
    assert count_pixels(base, split)[:, [1, 20]].tolist() == [[12, 0], [0, 12]]


def test_lists_with_sbd_leave_out_validation(sbd, open_in):
    """train_aug and the shorter list are put together from VOC and SBD, without any validation picture."""
    dataset = open_in("pascal")
    assert dataset.ids("train_aug") == ["2007_000032", "2007_000039", "2008_000002", "2008_000008"]
    assert dataset.ids("train_sbd") == ["2007_000032", "2007_000039", "2008_000002"]
    assert dataset.lists == ("train", "train_sbd", "train_aug", "val")
    assert dataset.pictures("base", 0).ids == dataset.ids("train_aug")
    counts = count_pixels(dataset.pictures("train_sbd", 0), dataset.split(1))
    assert counts[2, 7] == 12


@pytest.mark.parametrize(("there", "wanted"), [("train_aug", "train_sbd"), ("train_sbd", "train_aug")])
def test_one_list_with_sbd_does_not_stand_for_the_other(voc, lines, open_in, there, wanted):
    """Without either list it is VOC's own; where the other one is there, what is missing is told, not replaced."""
    assert open_in("pascal").list_of(wanted) == "train"
    lines(f"VOC2012/ImageSets/Segmentation/{there}.txt", "2007_000032")
    with pytest.raises(InputError, match=rf"has the list {there} .*but not {wanted} .*get train.txt and val.txt"):
        open_in("pascal").pictures(wanted, 0)
    assert open_in("pascal").pictures(there, 0).ids == ["2007_000032"]


def test_index_masks_come_first(sbd, open_in, put, boxed):
    """SegmentationClassAug is preferred to the palette masks and to SBD's files."""
    for name in ("2007_000032", "2007_000039", "2008_000002", "2008_000008"):
        put(f"VOC2012/SegmentationClassAug/{name}.png", boxed(0, 0, 1, 1, 3))
    pictures = open_in("pascal").pictures("base", 0)
    assert count_pixels(pictures, ClassSplit.of("pascal", 0))[:, 3].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "VOC2012/JPEGImages/2008_000002.jpg").unlink(), "picture .*2008_000002.* does not exist"),
        (lambda f: (f / "SBD/cls/2008_000002.mat").write_bytes(b"MATLAB"), "2008_000002.mat cannot be read"),
        (lambda f: (f / "SBD/cls/2008_000002.mat").unlink(), "mask .*2008_000002.* does not exist"),
        (lambda f: Image.new("L", (3, 3)).save(f / "VOC2012/SegmentationClass/2007_000032.png"), "is 3x3 but its"),
        (lambda f: (f / "SBD/val.txt").unlink(), "SBD/val.txt cannot be read: get VOCtrainval"),
    ],
)
def test_what_is_wrong_is_told(sbd, open_in, spoil, message):
    """Missing, damaged and foreign files are named."""
    spoil(sbd)
    with pytest.raises(InputError, match=message):
        count_pixels(open_in("pascal").pictures("train_aug", 0), ClassSplit.of("pascal", 0))


def test_nothing_there_says_where_to_get_it(open_in):
    """Without the data set the sentence names its source and the setting."""
    with pytest.raises(InputError, match=r"no PASCAL VOC 2012 in .*host\.robots.*execution\.data"):
        open_in("pascal").pictures("base", 0)


def test_folds_of_pascal_10i():
    """Folds 10 and 11 hold out ten classes each; there is no fold 4."""
    first, second = (ClassSplit.of("pascal", fold) for fold in (10, 11))
    assert first.novel == second.base == first.all_names[:10]
    with pytest.raises(InputError, match="choose 0, 1, 2, 3, 10 or 11"):
        ClassSplit.of("pascal", 4)


def test_classes_are_those_of_the_published_lists(shared):
    """In the published lists fold i holds the classes that our fold i holds out, and no picture is in both parts.

    A line is a picture and one of its classes; the pictures are those of train_aug and val that show one large enough.
    """
    folder = shared / "splits/pascal5i_hsnet"
    train, val = ({}, {})
    for part, found in (("trn", train), ("val", val)):
        for fold in range(4):
            pairs = [line.split("__") for line in lines_of(folder / part / f"fold{fold}.txt", "")]
            assert len(pairs) == {"trn": (2286, 3425, 5883, 2086), "val": (346, 451, 725, 346)}[part][fold]
            found[fold] = {name for name, _ in pairs}
            split = ClassSplit.of("pascal", fold)
            held = {split.all_names[int(label) - 1] for _, label in pairs}
            assert held == set(split.novel)
    everything = [set().union(*found.values()) for found in (train, val)]
    assert not everything[0] & everything[1]
    assert [len(names) for names in everything] == [10092, 1381]


def test_the_reader_takes_the_published_names(shared, lines, open_in, tmp_path):
    """Lists of VOC and SBD with the published names are joined without validation pictures, in order, each once."""
    folder = shared / "splits/pascal5i_hsnet"
    names = {
        part: sorted({line.split("__")[0] for i in range(4) for line in lines_of(folder / part / f"fold{i}.txt", "")})
        for part in ("trn", "val")
    }
    lines("VOC2012/ImageSets/Segmentation/train.txt", *names["trn"][::7])
    lines("VOC2012/ImageSets/Segmentation/val.txt", *names["val"])
    lines("SBD/train.txt", *names["trn"][::2], *names["val"][::3])
    lines("SBD/val.txt", *names["trn"][1::2], *names["val"][1::3])
    dataset = open_in("pascal")
    assert dataset.pictures("train_aug", 0).ids == names["trn"]
    assert dataset.pictures("train_sbd", 0).ids == sorted({*names["trn"][::7], *names["trn"][::2]})
    assert dataset.pictures("validation", 0).ids == names["val"]


@pytest.mark.slow
def test_lists_have_the_published_lengths(real_data, tmp_path):
    """The real lists of VOC 2012 and SBD, and the few-shot lists of each fold, are as long as published."""
    if missing := [name for name in ("VOC2012", "SBD") if not (real_data / name).is_dir()]:
        pytest.skip(f"{real_data} has no {' and no '.join(missing)}")
    dataset = open_dataset("pascal", real_data, tmp_path)
    assert {name: len(dataset.ids(name)) for name in PUBLISHED} == PUBLISHED
    train, val = (count_pixels(dataset.pictures(n, 0), dataset.split(0), tmp_path) for n in ("train_sbd", "val"))
    lengths = {"train": [], "val": []}
    for fold in range(4):
        novel = slice(5 * fold + 1, 5 * fold + 6)
        base = np.delete(train, np.r_[0, novel], 1)
        lengths["train"].append(int(((base >= 2048).any(1) & ~train[:, novel].any(1)).sum()))
        lengths["val"].append(int((val[:, novel] >= 2048).any(1).sum()))
    assert lengths == {"train": [4208, 3726, 2752, 4510], "val": [364, 445, 592, 336]}
