"""Confidence of labels: what it is, how it is written, and how it weighs."""

import numpy as np
import pytest

from pipeline.confidence import FILE, confidence_of, loss_weights, write_confidence
from pipeline.errors import InputError
from pipeline.types import Sample


def test_confidence_is_how_far_sam_agrees():
    """The IoU that SABR noted; without SABR nothing speaks against the labels."""
    sample = Sample("boat-0000-0", "boat", "a boat", 1, np.zeros((4, 4, 3), np.uint8))
    assert confidence_of(sample) == 1
    labels, free = np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool)
    assert confidence_of(sample.labelled(labels, free, sabr_overlap=0.7)) == 0.7


@pytest.mark.parametrize(
    ("power", "expected"), [(0, [1, 1, 1]), (1, [1.2, 0.4, 1.4]), (2, [108 / 89, 12 / 89, 147 / 89])]
)
def test_weights_have_the_mean_one(tmp_path, power, expected):
    """In the order that is asked for, by the power, on average as one."""
    write_confidence(tmp_path, {"a": 0.2, "b": 0.6, "c": 0.7})
    weights = loss_weights(tmp_path, ["b", "a", "c"], power)
    assert weights == pytest.approx(expected)
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "is missing: set experiment.train.synthetic_confidence=0"),
        ("id,confidence\na,0.5\n", "expected a line id,confidence for every picture"),
        ("a,0.5\nb,0.5\n", "expected a line id,confidence"),
        ("id,confidence\na,much\nb,1\n", "expected a line id,confidence"),
        ("id,confidence\na,0\nb,0\n", "not all of them 0"),
        ("id,confidence\na,nan\nb,1\n", "from 0 to 1"),
    ],
)
def test_unusable_confidence_is_told(tmp_path, text, told):
    """One sentence that names the file."""
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=told):
        loss_weights(tmp_path, ["a", "b"], 1)
