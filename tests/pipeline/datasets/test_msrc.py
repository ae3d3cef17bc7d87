import json

import numpy as np
import pytest

from pipeline.datasets import open_dataset
from pipeline.datasets.pictures import count_pixels, read_split
from pipeline.errors import InputError

BASELINE = 0.398
"""mIoU of a fixed box over the middle 60 % of each side, as told with the data."""


@pytest.fixture
def msrc(put, tmp_path, boxed):
    """Write three pictures: grass and a cow, a car, a cow beside a car; two folds of one thing."""
    names = ("grass", "cow", "car")
    classes = [{"id": i, "name": n, "kind": "stuff" if n == "grass" else "thing"} for i, n in enumerate(names, start=1)]
    masks = {"1_1_s": boxed(0, 0, 2, 6, 1) + boxed(3, 0, 5, 2, 2), "1_2_s": boxed(1, 1, 2, 2, 3)}
    masks["1_3_s"] = boxed(0, 0, 3, 3, 2) + boxed(4, 4, 6, 6, 3)
    for id_, mask in masks.items():
        put(f"msrc21/images/{id_}.jpg")
        put(f"msrc21/masks/{id_}.png", mask)
    folds = {"classes": classes, "suggested_thing_folds": [["cow"], ["car"]]}
    (tmp_path / "msrc21/classes.json").write_text(json.dumps(folds))
    return tmp_path


def test_things_are_counted_and_stuff_is_background(msrc, open_in, put):
    """Only things have ids, and no picture is for base training and for validation."""
    dataset = open_in("msrc21")
    split = dataset.split(0)
    assert (split.base, split.novel) == (("car",), ("cow",))
    base, novel = dataset.pictures("base", 0), dataset.pictures("validation", 0)
    assert (base.ids, novel.ids) == (["1_2_s"], ["1_1_s", "1_3_s"])
    _, labels = read_split(novel, 0, split)
    assert set(np.unique(labels)) == {0, split.id_of("cow")}
    assert count_pixels(novel, split)[:, 1:].tolist() == [[4, 0], [9, 4]]
    put("msrc21/masks/1_3_s.png", np.full((8, 6), 9))
    with pytest.raises(InputError, match=r"holds id 9: the ids of msrc21 are 0\.\.3"):
        count_pixels(novel, split)


def test_the_real_pictures(shared, tmp_path):
    """All photographs are listed once a fold, every novel class is shown, and a fixed box scores what it should."""
    dataset = open_dataset("msrc21", shared, tmp_path)
    scores = []
    for fold in range(3):
        split = dataset.split(fold)
        base, novel = dataset.pictures("base", fold), dataset.pictures("validation", fold)
        assert len(base.ids) + len(novel.ids) == 589
        counts = count_pixels(novel, split, tmp_path)
        inside, either = np.zeros(16), np.zeros(16)
        for index in range(len(novel.ids)):
            labels = novel.labels(index)
            height, width = labels.shape
            box = np.zeros(labels.shape, bool)
            box[height // 5 : height - height // 5, width // 5 : width - width // 5] = True
            for label in np.flatnonzero(counts[index, 1:]) + 1:
                inside[label] += (box & (labels == label)).sum()
                either[label] += (box | (labels == label)).sum()
        held = [split.all_names.index(name) + 1 for name in split.novel]
        scores += list(inside[held] / either[held])
        assert not count_pixels(base, split, tmp_path)[:, held].any()
    assert np.mean(scores) == pytest.approx(BASELINE, abs=0.01)
