"""How different sentences are, against figures by hand and direct loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts import diversity as module
from prompts.diversity import diversity, vendi


def test_diversity_by_hand() -> None:
    """Equal sentences count as one, orthogonal ones each; cosines are the means over pairs and nearest ones."""
    assert vendi(np.tile([1.0, 0.0], (5, 1))) == pytest.approx(1)
    assert vendi(np.eye(4)) == pytest.approx(4)
    assert vendi(np.repeat(np.eye(2), 3, axis=0)) == pytest.approx(2)
    x = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    assert diversity(x)["mean_cosine"] == pytest.approx((0 + 0.6 + 0.8) / 3, abs=1e-4)
    assert diversity(x)["nearest_cosine"] == pytest.approx((0.6 + 0.8 + 0.8) / 3, abs=1e-4)
    assert diversity(x[:1]) == {"mean_cosine": 1.0, "nearest_cosine": 1.0, "effective": 1.0}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 40), block=st.integers(1, 50), dim=st.integers(2, 60))
def test_diversity_equals_direct_loops(seed: int, count: int, block: int, dim: int) -> None:
    """However many rows are in memory at once, and whichever of N and C is larger."""
    x = np.random.default_rng(seed).normal(size=(count, dim))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    others = [[float(x[i] @ x[j]) for j in range(count) if j != i] for i in range(count)]
    values = np.linalg.eigvalsh(x.astype(np.float64) @ x.T.astype(np.float64) / count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = diversity(x)
    assert found["mean_cosine"] == pytest.approx(np.mean(others), abs=1e-4)
    assert found["nearest_cosine"] == pytest.approx(np.mean([max(row) for row in others]), abs=1e-4)
    entropy = -sum(v * np.log(v) for v in values if v > 1e-12)
    assert found["effective"] == pytest.approx(np.exp(entropy), rel=1e-3, abs=0.01)
