"""Agreement of a model with the labels that it was trained on."""

import numpy as np
import pytest

from pipeline.agreement import agreement
from pipeline.classes import ClassSplit
from pipeline.config import AnnotateSettings
from pipeline.types import Sample

SPLIT = ClassSplit.of("picto", 0)
NAME = SPLIT.novel[0]
SETTINGS = AnnotateSettings(prompt_odds=1)


def sample(columns, free=0, ignored=0):
    """Labels of the class in the first columns of 8, then some free and some ignored ones."""
    labels, freed = np.zeros((8, 8), np.uint8), np.zeros((8, 8), bool)
    labels[:, :columns] = SPLIT.id_of(NAME)
    labels[:, columns : columns + free + ignored] = 255
    freed[:, columns : columns + free] = True
    return Sample(f"{NAME}-0000-0", NAME, NAME, 0, np.zeros((8, 8, 3), np.uint8), labels, freed)


def scores(columns):
    """A model that sees the class in the first columns and background elsewhere."""
    p = np.full((len(SPLIT.names), 8, 8), 0.001, np.float32)
    p[SPLIT.id_of(NAME), :, :columns] = p[0, :, columns:] = 0.9
    return p


@pytest.mark.parametrize(("seen", "expected"), [(4, 1.0), (2, 0.5), (6, 4 / 6), (0, 0.0)])
def test_agreement_is_the_iou(seen, expected):
    """Of the class in both."""
    assert agreement(sample(4), scores(seen), SPLIT, SETTINGS) == pytest.approx(expected)


def test_unknown_pixels_do_not_count():
    """Neither free nor ignored ones."""
    assert agreement(sample(4, free=1, ignored=1), scores(6), SPLIT, SETTINGS) == 1
    assert agreement(sample(4, free=1, ignored=1), scores(7), SPLIT, SETTINGS) == pytest.approx(4 / 5)


def test_dropped_pictures_have_none():
    """A picture that no label was found for says that the class is weak."""
    assert agreement(sample(4).dropped("nothing is left"), scores(4), SPLIT, SETTINGS) == 0
