"""Labels that the IoU asks for."""

import numpy as np
import pytest
import torch

from fss_models.decision import ARGMAX, votes


def test_the_most_probable_class_is_as_published():
    """With IoUs of 1 nothing changes, bit by bit."""
    log = torch.randn(2, 6, 3, 3).log_softmax(1)
    assert votes(log, 3, ARGMAX) is log


def test_probabilities_are_divided_by_the_expected_iou():
    """Of base and novel classes each, not of background; also without a batch."""
    p = torch.full((4, 1, 1), 0.25)
    found = votes(p.log(), 1, (0.5, 0.25)).exp().flatten()
    assert found.tolist() == pytest.approx([0.25, 0.5, 1.0, 1.0])


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_the_rule_is_best_for_the_iou(spread):
    """Of calibrated probabilities the threshold J / (1 + J) gives the highest IoU, and that IoU is J."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, spread, 200_000)
    p = 1 / (1 + np.exp(-logits))
    true = rng.random(p.size) < p

    def iou(threshold: float) -> float:
        found = p > threshold
        return (found & true).sum() / (found | true).sum()

    grid = np.linspace(0.01, 0.7, 70)
    best = max(iou(threshold) for threshold in grid)
    log = torch.from_numpy(np.stack([1 - p, p]))[..., None, None].movedim(1, 0).log()
    found = votes(log, 0, (1.0, best)).argmax(1).flatten().numpy().astype(bool)
    assert (found & true).sum() / (found | true).sum() == pytest.approx(best, abs=2e-3)
    assert best > iou(0.5) + 0.01
