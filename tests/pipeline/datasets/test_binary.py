import numpy as np
import pytest

from pipeline.classes import ClassSplit
from pipeline.datasets import open_dataset
from pipeline.datasets.pictures import count_pixels, read_split
from pipeline.errors import InputError


def white(height, width, box):
    """Give a coloured black-and-white mask, as published ones are, with grey of a lossy file around it."""
    mask = np.full((height, width, 3), 5, np.uint8)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = 250
    return mask


@pytest.fixture
def fss1000(put, lines, tmp_path):
    """Write the class lists of FSS-1000 at full length and pictures of three classes."""
    names = [f"class_{i:03d}" for i in range(1000)]
    names[999] = "peregine_falcon"
    for part, (start, stop) in {"trn": (0, 520), "val": (520, 760), "test": (760, 1000)}.items():
        lines(f"FSS-1000/splits/{part}.txt", *names[start:stop])
    for name in names:
        (tmp_path / "FSS-1000/data" / name).mkdir(parents=True)
        (tmp_path / "FSS-1000/data" / name / "1.jpg").touch()
    for name in (names[300], names[520], names[999]):
        for number in (1, 2, 8, 10):
            put(f"FSS-1000/data/{name}/{number}.jpg", (7, 6))
            put(f"FSS-1000/data/{name}/{number}.png", white(7, 6, (1, 1, 4, 4)))
    return names


def test_fss1000(fss1000, open_in):
    """520 classes to train on, 240 of test or of val to test on; ids go round 255; pictures in the order of numbers."""
    dataset = open_in("fss1000")
    split, other = dataset.split(0), dataset.split(1)
    assert [len(x) for x in (split.base, split.novel, other.novel)] == [520, 240, 240]
    assert split.novel[0] == "class_760"
    assert other.novel[0] == "class_520"
    assert len(set(split.base_ids) | set(split.novel_ids)) == 760
    assert 255 not in {*split.base_ids, *split.novel_ids}
    assert all(split.id_of(split.names[i]) == i for i in (*split.base_ids, *split.novel_ids))
    base = dataset.pictures("base", 0)
    place = base.ids.index("class_300/10")
    assert base.ids[place - 3 : place + 1] == [f"class_300/{n}" for n in (1, 2, 8, 10)]
    _, labels = read_split(base, place, split)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == {0, split.id_of("class_300")}
    assert (labels > 255).sum() == 9
    assert "peregine_falcon/8" not in dataset.pictures("validation", 0).ids


def test_fss1000_lists_are_checked(fss1000, open_in, lines, tmp_path):
    """Lists of other lengths are not those of the benchmark; a class without pictures and missing lists are told."""
    (tmp_path / "FSS-1000/data/class_000/1.jpg").unlink()
    dataset = open_in("fss1000")
    with pytest.raises(InputError, match="class_000 has no pictures"):
        dataset.pictures("base", 0)
    lines("FSS-1000/splits/val.txt", "one", "two")
    with pytest.raises(InputError, match=r"expected .*'val': 240"):
        dataset.split(0)
    (tmp_path / "FSS-1000/splits/val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt cannot be read: get fewshot_data\.zip"):
        dataset.split(0)


def test_published_class_lists(shared, tmp_path):
    """The published lists of FSS-1000 are taken as they are."""
    (tmp_path / "FSS-1000").mkdir()
    (tmp_path / "FSS-1000/splits").symlink_to(shared / "splits/fss1000_hsnet")
    split = open_dataset("fss1000", tmp_path, tmp_path).split(0)
    assert split.novel[:2] == ("bus", "hotel_slipper")
    assert len(split.all_names) == 1000


@pytest.mark.parametrize(
    ("name", "pairs", "classes"),
    [
        ("deepglobe", [("Deepglobe/2/test/origin/1_0.jpg", "Deepglobe/2/test/groundtruth/1_0.png"),
                       ("Deepglobe/5/test/origin/1_0.jpg", "Deepglobe/5/test/groundtruth/1_0.png")], [2, 5]),
        ("isic", [("ISIC/ISIC2018_Task1-2_Training_Input/1/ISIC_0000000.jpg",
                   "ISIC/ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png")], [1]),
        ("chestxray", [("LungSegmentation/CXR_png/CHNCXR_0001_0.png", "LungSegmentation/masks/CHNCXR_0001_0_mask.png"),
                       ("LungSegmentation/CXR_png/MCUCXR_0001_0.png", "LungSegmentation/masks/MCUCXR_0001_0.png")],
         [1, 1]),
    ],
)  # fmt: skip
def test_targets(put, open_in, name, pairs, classes):
    """Each published layout is read: classes by folder, masks beside, bright is the class, all of it novel."""
    dataset = open_in(name)
    with pytest.raises(InputError, match=f"no {name} in .*: get .*execution.data"):
        dataset.pictures("validation", 0)
    for picture, mask in pairs:
        put(picture, (9, 6))
        put(mask, white(9, 6, (2, 1, 5, 5)))
    pictures, split = dataset.pictures("validation", 0), dataset.split(0)
    assert split.base == ()
    assert pictures.classes.tolist() == classes
    _, labels = read_split(pictures, 0, split)
    assert (labels == split.novel_ids[classes[0] - 1]).sum() == 12
    assert count_pixels(pictures, split).tolist() == [12] * len(classes)
    with pytest.raises(InputError, match="no base classes"):
        dataset.pictures("base", 0)


def test_unknown_name_is_answered_with_the_nearest(tmp_path):
    """A data set that does not exist is answered with those that do."""
    with pytest.raises(InputError, match=r"unknown dataset 'fss100'.*did you mean 'fss1000'"):
        open_dataset("fss100", tmp_path, tmp_path)


def test_split_ids_and_back():
    """Every dataset id of every fold comes back from its split id."""
    for name, folds in (("pascal", (0, 1, 2, 3, 10, 11)), ("coco", range(4)), ("picto", range(4))):
        for fold in folds:
            split = ClassSplit.of(name, fold)
            ids = np.array([[0, *range(1, len(split.all_names) + 1), 255]], np.uint8)
            there = split.from_dataset(ids)
            assert (split.to_dataset(there) == ids).all()
            assert sorted(there[0].tolist()) == sorted(ids[0].tolist())
            assert {split.names[i] for i in split.novel_ids} == set(split.novel)
