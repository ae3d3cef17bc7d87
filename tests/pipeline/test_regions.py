"""Components, boxes, bands, cell shares and enlargement."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from pipeline.prototypes import (
    centred,
    cosine,
    cosine_map,
    covered,
    masked_mean,
    nearest,
    nearest_background,
    support_prototype,
    unit,
)  # fmt: skip
from pipeline.regions import boundary_band, cell_shares, components, enlarge, squares, tight_box

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def picture_of(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line.strip()] for line in text.strip().splitlines()])


def test_components_join_diagonally_and_boxes_are_tight() -> None:
    """Two pixels that touch at a corner are one component; its box excludes right and bottom."""
    mask = picture_of("""
        #.....
        .#....
        ......
        ...##.
        ...##.
        ......
    """)
    first, second = components(mask)
    assert first.sum() == 2
    assert tight_box(first) == (0, 0, 2, 2)
    assert tight_box(second) == (3, 3, 5, 5)
    assert tight_box(second, pad=2) == (1, 1, 6, 6)


@settings(max_examples=50, deadline=None)
@given(MASKS)
def test_components_partition_the_mask(mask: np.ndarray) -> None:
    """Components do not overlap, cover the mask, and lie inside the boxes that scipy finds for them."""
    parts = components(mask)
    assert np.array_equal(np.sum([*parts, np.zeros(mask.shape, int)], axis=0), mask.astype(int))
    boxes = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    assert [tight_box(p) for p in parts] == [(x.start, y.start, x.stop, y.stop) for y, x in boxes]


def test_band_of_width_one_is_the_four_neighbours() -> None:
    """The narrowest band holds the pixels with another label above, below, left or right of them."""
    codes = np.zeros((6, 6), int)
    codes[2:5, 2:5] = 7
    expected = picture_of("""
        ......
        ..###.
        .####.
        .#####
        .####.
        ..###.
    """)
    expected[2:5, 1:6] = True
    expected[3, 3] = False
    assert np.array_equal(boundary_band(codes, 1), expected)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, (8, 9), elements=st.integers(0, 2)), st.integers(1, 4))
def test_band_is_what_lies_near_another_code(codes: np.ndarray, width: int) -> None:
    """The band equals a plain search for another code within the half-width."""
    y, x = np.mgrid[:8, :9]
    points = np.stack([y.ravel(), x.ravel()], 1)
    near = np.square(points[:, None] - points[None]).sum(-1) <= width**2
    other = codes.ravel()[:, None] != codes.ravel()[None]
    assert np.array_equal(boundary_band(codes, width).ravel(), (near & other).any(1))


@settings(max_examples=50, deadline=None)
@given(MASKS, st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_cell_shares_keep_the_area(mask: np.ndarray, cells: tuple[int, int]) -> None:
    """Whatever the ratio of pixels to cells, the shares sum to the area; a lone pixel never vanishes."""
    shares = cell_shares(mask, cells)
    assert shares.shape == cells
    assert shares.sum() == pytest.approx(mask.sum(), abs=1e-3)
    assert (shares.sum() > 0) == mask.any()


@pytest.mark.parametrize("cells", [(3, 5), (1, 4), (8, 8)])
def test_enlargement_is_bilinear(cells: tuple[int, int]) -> None:
    """Enlarging equals torch's bilinear interpolation without aligned corners."""
    values = np.random.default_rng(0).normal(size=cells).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], (12, 15), mode="bilinear")[0, 0]
    np.testing.assert_allclose(enlarge(values, (12, 15)), theirs.numpy(), atol=1e-5)


def test_prototype_pools_all_supports_by_their_pixels() -> None:
    """A prototype is the mean over all pixels of all supports, not the mean of their means."""
    features = [np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)]
    features[0][0], features[1][1] = 1, 1
    masks = [np.ones((4, 4), bool), np.zeros((4, 4), bool)]
    masks[1][0, :4] = True
    prototype = support_prototype(features, masks)
    assert prototype is not None
    np.testing.assert_allclose(prototype, np.array([16, 4]) / np.hypot(16, 4), atol=1e-6)


def test_centred_features_have_no_common_part() -> None:
    """What every cell of a picture has in common is gone; the differences between its cells stay."""
    features = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    shifted = centred(features + np.array([9, -5, 2], np.float32)[:, None, None])
    np.testing.assert_allclose(shifted.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(shifted, centred(features), atol=1e-5)
    np.testing.assert_allclose(shifted[:, 0, 0] - shifted[:, 3, 3], features[:, 0, 0] - features[:, 3, 3], atol=1e-5)


@given(seed=st.integers(0, 10**6), side=st.integers(1, 12))
def test_squares_part_a_mask(seed: int, side: int) -> None:
    """The parts are disjoint, fit into the grid's squares and together are the mask."""
    mask = np.random.default_rng(seed).random((9, 11)) < 0.4
    parts = squares(mask, side)
    assert np.array_equal(np.sum(parts, axis=0) if parts else np.zeros_like(mask, int), mask.astype(int))
    for part in parts:
        rows, columns = np.nonzero(part)
        assert len(set(rows // side)) == len(set(columns // side)) == 1


def test_empty_regions_and_zero_features_are_harmless() -> None:
    """Nothing to pool gives None, zero vectors stay zero, and a missing vector resembles nothing."""
    features = np.zeros((3, 2, 2), np.float32)
    empty = np.zeros((4, 4), bool)
    assert masked_mean(features, empty) is None
    assert support_prototype([features], [empty]) is None
    assert cosine(None, np.array([1, 0, 0], np.float32)) == -1
    assert not unit(features).any()
    assert not cosine_map(features, np.array([1, 0, 0], np.float32)).any()


def test_nearest_is_the_largest_cosine_to_a_chosen_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell's best match among the chosen ones, however many rows are compared at once; None without any."""
    features = np.random.default_rng(3).normal(size=(5, 4, 6)).astype(np.float32)
    chosen = np.zeros((4, 6), bool)
    chosen[1, 2:5] = True
    cells = unit(features).reshape(5, -1)
    expected = (cells.T @ cells[:, chosen.ravel()]).max(1).reshape(4, 6)
    for rows in (1024, 7):
        monkeypatch.setattr("pipeline.prototypes._ROWS", rows)
        found = nearest(features, chosen)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert nearest(features, chosen & False) is None


def test_the_background_is_what_a_label_hardly_covers() -> None:
    """A cell with less than a tenth of the label is outside; a label of the whole picture has no outside."""
    features = np.random.default_rng(4).normal(size=(3, 2, 2)).astype(np.float32)
    label = np.zeros((8, 8), bool)
    label[:4], label[4, 4] = True, True
    np.testing.assert_allclose(covered(label, features), [[1, 1], [0, 1 / 16]])
    found = nearest_background(features, label)
    assert found is not None
    np.testing.assert_allclose(found[1], 1, atol=1e-6)
    assert nearest_background(features, np.ones((8, 8), bool)) is None
