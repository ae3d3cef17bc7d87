"""Copy-paste: what is pasted, where, and from which draws."""

import numpy as np
import pytest

from pipeline.classes import ClassSplit
from pipeline.controls import SCALE, paste, paste_sample
from pipeline.generate import Order, plan_samples
from pipeline.types import Support
from prompts.bank import Prompt

SPLIT = ClassSplit.of("picto", 0)
NAME = SPLIT.novel[0]


def support_of(size=40, box=(10, 15, 30, 25)):
    """A red rectangle on black, with its mask."""
    mask = np.zeros((size, size), dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    picture = np.zeros((size, size, 3), dtype=np.uint8)
    picture[mask] = (200, 20, 20)
    return picture, mask


@pytest.mark.parametrize("seed", range(12))
def test_the_thing_lies_whole_inside_and_nothing_else_changes(seed):
    """As many pixels as the scaled rectangle has; picture and labels are untouched elsewhere."""
    below, labels = np.full((64, 48, 3), 90, dtype=np.uint8), np.full((64, 48), 3, dtype=np.uint8)
    picture, mask = support_of()
    pasted, told = paste(below, labels, picture, mask, 17, np.random.default_rng(seed))
    where = told == 17
    assert (told[~where] == 3).all()
    assert (pasted[~where] == 90).all()
    assert (pasted[where][:, 0] > pasted[where][:, 1]).all()
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    assert where.sum() == len(rows) * len(columns)
    scale = len(rows) / 20 * 40 / 64
    assert SCALE[0] - 0.05 <= scale <= SCALE[1] + 0.05
    assert len(columns) == pytest.approx(len(rows) / 2, abs=1)
    assert (below == 90).all()
    assert (labels == 3).all()


def test_a_thing_larger_than_the_picture_is_made_to_fit():
    """A mask that fills its support still lies inside a low picture."""
    mask = np.ones((30, 30), dtype=bool)
    below, labels = np.zeros((10, 50, 3), dtype=np.uint8), np.zeros((10, 50), dtype=np.uint8)
    _, told = paste(below, labels, np.full((30, 30, 3), 9, np.uint8), mask, 5, np.random.default_rng(0))
    assert (told == 5).sum() == 100


def test_a_sample_depends_on_its_order_alone():
    """The same order gives the same picture whatever was made before; another seed gives another."""
    rng = np.random.default_rng(3)
    base = [(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8), np.zeros((32, 32), np.uint8)) for _ in range(5)]
    picture, mask = support_of()
    support = Support(NAME, (picture, picture[::-1].copy()), (mask, mask[::-1].copy()))
    orders = plan_samples([Prompt(f"a {NAME}", NAME)], 0, 6)
    samples = [paste_sample(order, support, base, SPLIT) for order in orders]
    again = paste_sample(orders[4], support, base, SPLIT)
    assert (again.picture == samples[4].picture).all()
    assert again.labels is not None
    assert (again.labels == samples[4].labels).all()
    assert set(np.unique(again.labels)) == {0, SPLIT.id_of(NAME)}
    assert again.free is not None
    assert not again.free.any()
    assert len({s.picture.tobytes() for s in samples}) == 6
    other = paste_sample(Order("x", NAME, "", 1), support, base, SPLIT)
    assert other.picture.tobytes() not in {s.picture.tobytes() for s in samples}
