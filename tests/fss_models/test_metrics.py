import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from fss_models.metrics import ConfusionMatrix, ForegroundScores, gfss_scores, harmonic, rim, rim_width
from pipeline.classes import ClassSplit


def test_iou_against_torchmetrics():
    """Per-class IoU over several batches equals torchmetrics', ignored pixels left out."""
    rng = np.random.default_rng(0)
    matrix, oracle = ConfusionMatrix(6), MulticlassJaccardIndex(6, average="none", ignore_index=255)
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 3, 4, 5, 255], (2, 9, 9)).astype(np.uint8)
        predicted = rng.integers(0, 6, (2, 9, 9))
        matrix.add(truth, predicted)
        oracle.update(torch.from_numpy(predicted), torch.from_numpy(truth.astype(np.int64)))
    np.testing.assert_allclose(matrix.iou(), oracle.compute().numpy(), rtol=1e-6)


def test_scores_of_the_two_conventions():
    """Base is told with and without background; mean and harmonic follow from base and novel."""
    split = ClassSplit.of("picto", 0)
    matrix = ConfusionMatrix(21)
    truth = np.arange(21).repeat(4)
    predicted = truth.copy()
    predicted[truth >= 16] = 0  # every novel pixel is taken for background
    matrix.add(truth, predicted)
    scores = gfss_scores(matrix, split)
    assert scores["base_miou"] == 1
    assert scores["novel_miou"] == 0
    assert scores["mean_miou"] == 0.5
    assert scores["harmonic_miou"] == 0
    assert scores["per_class"]["background"] == pytest.approx(4 / 24)
    assert scores["base_miou_with_background"] == pytest.approx((15 + 4 / 24) / 16)
    assert scores["total_miou"] == pytest.approx((15 + 4 / 24) / 21)


def test_perfect_prediction_is_one():
    """Harmonic mean, mean and total of a perfect prediction are 1."""
    split = ClassSplit.of("picto", 2)
    matrix = ConfusionMatrix(21)
    matrix.add(np.arange(21), np.arange(21))
    scores = gfss_scores(matrix, split)
    assert all(scores[k] == 1 for k in ("mean_miou", "harmonic_miou", "total_miou", "base_miou_with_background"))
    assert harmonic(0, 0) == 0


def test_fss_scores_add_up_over_episodes():
    """IoU comes from sums over episodes, not from the mean of each episode's IoU."""
    scores = ForegroundScores()
    scores.add(1, np.array([[1, 1, 255, 0]]), np.array([[1, 0, 1, 0]], bool))  # I 1, U 2
    scores.add(1, np.array([[1, 1, 1, 1]]), np.array([[1, 1, 1, 1]], bool))  # I 4, U 4
    scores.add(2, np.array([[1, 0, 0, 0]]), np.array([[0, 1, 0, 0]], bool))  # I 0, U 2
    result = scores.scores()
    assert result["miou"] == pytest.approx((5 / 6 + 0) / 2)
    assert result["fb_iou"] == pytest.approx((5 / 8 + 3 / 6) / 2)


def test_rim_by_hand():
    """The rim of a square is its outermost pixels, at the edge of the picture too; its width is 2 % of the diagonal."""
    mask = np.zeros((6, 6), bool)
    mask[2:6, 1:5] = True
    inside = np.zeros((6, 6), bool)
    inside[3:5, 2:4] = True
    assert np.array_equal(rim(mask), mask & ~inside)
    assert np.array_equal(rim(mask, 2), mask)
    assert not rim(np.zeros((4, 4), bool)).any()
    assert [rim_width(size) for size in ((8, 8), (64, 64), (300, 400))] == [1, 2, 10]
