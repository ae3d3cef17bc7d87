import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def put(tmp_path):
    """Write a picture or a mask below the test's folder: ``put("a/b.png", labels)``; a pair of numbers is a size."""

    def write(path, what=(8, 6)):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        array = np.zeros((*what, 3), np.uint8) if isinstance(what, tuple) else np.asarray(what, np.uint8)
        Image.fromarray(array).save(place)
        return place

    return write


@pytest.fixture
def lines(tmp_path):
    """Write a list below the test's folder."""

    def write(path, *names):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"{name}\n" for name in names))

    return write


def boxed(top, left, bottom, right, value=1, size=(8, 6)):
    """Give a mask with one box."""
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = value
    return mask


@pytest.fixture(name="boxed")
def boxed_fixture():
    """Give `boxed`."""
    return boxed


@pytest.fixture
def open_in(tmp_path):
    """Open a data set of the test's folder, made ready."""
    from pipeline.datasets import open_dataset

    def open_(name):
        dataset = open_dataset(name, tmp_path, tmp_path / "cache")
        dataset.prepare()
        assert dataset.ready()
        return dataset

    return open_


@pytest.fixture
def real_data():
    """Give the folder of the real data sets that SYN4SEG_DATA names."""
    if "SYN4SEG_DATA" not in os.environ:
        pytest.skip("SYN4SEG_DATA names no folder of data sets")
    return Path(os.environ["SYN4SEG_DATA"])
