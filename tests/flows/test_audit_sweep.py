"""The sweep's grid, and the suggestion on counts whose best setting is known."""

import numpy as np
import pytest

from flows.audit.grid import Grid
from flows.audit.scores import COUNTS
from flows.audit.suggestion import Swept, halves
from flows.settings import load_config
from pipeline.errors import InputError


def test_grid_holds_the_current_setting():
    """Axes lie around it within the allowed range; a stage that is off is not swept; overrides name what differs."""
    config = load_config(None, ["experiment.filter.min_similarity=0.85", "experiment.relabel.blend=0.4"])
    grid = Grid.around(config)
    assert grid.axes[0] == (0.55, 0.65, 0.75, 0.85, 0.95)
    assert grid.axes[1] == (0, 0.25, 0.4, 0.5, 0.75, 1)
    assert grid.current in grid.settings
    assert len(grid.settings) == 5 * 6 * 5
    assert grid.overrides((0.85, 1.0, 0.1)) == ["experiment.relabel.blend=1"]
    chosen = load_config(None, grid.overrides((0.55, 1.0, 0.3)))
    assert grid.apply(config, (0.55, 1.0, 0.3)).experiment.filter == chosen.experiment.filter
    assert grid.apply(config, (0.55, 1.0, 0.3)).experiment.relabel == chosen.experiment.relabel
    assert grid.edges((0.55, 1.0, 0.3)) == ["filter.min_similarity", "relabel.min_similarity"]
    off = Grid.around(load_config(None, ["experiment.relabel.enabled=false"]), ["filter.min_similarity=0.1,0.5"])
    assert off.axes == ((-0.1, 0.1, 0.5), (0.5,), (0.1,))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["relabel.blend=0,1.5"], r"relabel.blend: got 1.5, expected numbers from 0 to 1"),
        (["relabel.blend=nan"], r"relabel.blend: got nan"),
        (["relabel.blend=x"], r"expected key=number,number"),
        (["relabel.blend"], r"expected key=number,number"),
        (["relabel.bland=0.1"], r"unknown axis of a sweep .* did you mean 'relabel.blend'"),
    ],
)
def test_bad_grids_are_one_sentence(given, told):
    """What came, and what was expected."""
    with pytest.raises(InputError, match=told):
        Grid.around(load_config(), given)


def test_nothing_to_sweep():
    """With both stages off there is no setting to choose."""
    with pytest.raises(InputError, match="nothing to sweep"):
        Grid.around(load_config(None, ["experiment.filter.enabled=false", "experiment.relabel.enabled=false"]))


def swept(gain, noise=0.0, pictures=60):
    """Give a sweep over five values of lambda in which the one of 0.5 gains some pixels of 100, give or take."""
    grid = Grid(((0.1, 0.2, 0.3, 0.4, 0.5), (0.5,), (0.2,)), (0.3, 0.5, 0.2))
    rng = np.random.default_rng(5)
    both = np.full((pictures, 5), 60.0) + rng.normal(0, 15, (pictures, 1)) + rng.normal(0, noise, (pictures, 5))
    both[:, 4] += gain
    counts = np.zeros((pictures, 5, len(COUNTS)), np.int64)
    counts[..., COUNTS.index("both")] = counts[..., COUNTS.index("found")] = both.clip(0, 100).round()
    counts[..., COUNTS.index("truth")] = 100
    return Swept(grid, counts, ["boat", "car"] * (pictures // 2), list(range(pictures)))


def test_a_real_gain_is_told_from_noise():
    """Pictures differ far more than settings do; compared in pairs, a gain of two pixels in a hundred is clear."""
    found = swept(gain=2).suggest()
    assert found.setting == (0.5, 0.5, 0.2)
    assert found.clear
    assert found.difference == pytest.approx(0.02, abs=0.004)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert found.pictures == (30, 30)
    again = swept(gain=2).suggest()
    assert again == found


def test_noise_is_not_taken_for_a_gain():
    """The best of settings that differ by chance alone is not clearly better on the other half; equal ones stay."""
    assert swept(gain=0).suggest().setting == (0.3, 0.5, 0.2)
    found = [Swept(s.grid, s.counts[:, order], s.classes, s.pictures).suggest(seed)
             for seed, order in enumerate(np.random.default_rng(0).permuted(np.tile(np.arange(5), (20, 1)), axis=1))
             for s in [swept(gain=0, noise=8)]]  # fmt: skip
    assert sum(one.clear for one in found) <= 3


def test_halves_keep_a_picture_together():
    """The items of a picture that shows two classes are in one half, and each half has its share of a class."""
    first, second = halves(["boat"] * 3 + ["car"] * 5, [0, 1, 2, 8, 0, 1, 2, 9])
    assert first.tolist() == [True, False, True, False, True, False, True, True]
    assert np.array_equal(second, ~first)
    with pytest.raises(InputError, match="no class has two: raise --pictures"):
        halves(["boat", "car"], [0, 1])
