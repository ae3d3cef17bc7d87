"""Scoring GFSS models under both conventions, and what is computed once."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from fss_models.data import Arrays
from fss_models.evaluate import evaluate_gfss
from fss_models.train import label_supports
from pipeline.classes import ClassSplit
from pipeline.protocols import CAPL, DIAM
from pipeline.types import Support

SPLIT = ClassSplit("tiny", 0, ("a", "b", "c", "d"), ("e", "f"), ("a", "b", "c", "d", "e", "f"))


@pytest.fixture
def data():
    """Draw noise of unequal sizes with every label and ignored pixels."""
    rng = np.random.default_rng(0)
    sizes = [(30, 40), (50, 20), (24, 24), (40, 36), (28, 44)]
    labels = [rng.choice([*range(7), 255], size).astype(np.uint8) for size in sizes]
    return Arrays([rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in sizes], labels, 7)


@pytest.mark.parametrize("protocol", [DIAM, CAPL], ids=lambda p: p.name)
def test_every_aggregate_against_torchmetrics(model, data, protocol):
    """Whatever a convention reports follows from torchmetrics' IoU per class, counted at the convention's size."""
    from fss_models.augment import fit, unfit

    scores = evaluate_gfss(model, data, SPLIT, protocol, side=32, batch=2)
    oracle = MulticlassJaccardIndex(7, average="none", ignore_index=255)
    with torch.no_grad():
        for picture, labels in (data[i] for i in range(len(data))):
            x, y = fit(picture, labels, 32)
            p = model(x[None])[0]
            if protocol is CAPL:
                p, y = unfit(p.log(), labels.shape), torch.from_numpy(labels)
            oracle.update(p.argmax(0)[None], y[None].long())
    iou = oracle.compute().numpy()
    base, novel = iou[1:5].mean(), iou[5:].mean()
    expected = {
        "base_miou": base, "novel_miou": novel, "mean_miou": (base + novel) / 2,
        "harmonic_miou": 2 * base * novel / max(base + novel, 1e-9), "base_miou_with_background": iou[:5].mean(),
        "total_miou": iou.mean(),
    }  # fmt: skip
    assert {k: scores[k] for k in expected} == pytest.approx(expected, abs=2e-3)
    assert list(scores["per_class"].values()) == pytest.approx(iou, abs=5e-3)
    assert scores["reported"]["base"] == scores[protocol.base_key]
    assert set(scores["reported"]) == {"base", "novel", protocol.aggregate}


def test_logits_are_enlarged_and_not_probabilities(model, monkeypatch):
    """Between a cell that all but rules class a out and one that leaves it likely, logits go over to b earlier."""
    logits = torch.full((1, 7, 2, 2), -30.0)
    logits[0, 1], logits[0, 2] = torch.tensor([0.9, 1e-6]).log(), torch.tensor([0.1, 1.0]).log()
    monkeypatch.setattr(model, "log_probabilities", lambda x: logits)
    wide = np.array([[1, 2, 2, 2]] * 4, np.uint8)
    data = Arrays([np.zeros((4, 4, 3), np.uint8)], [wide], 7)
    assert evaluate_gfss(model, data, SPLIT, CAPL, side=2)["per_class"]["a"] == 1
    assert (logits.softmax(1)[0, 1:3].argmax(0) == torch.tensor([0, 1])).all()


def test_supports_are_encoded_once_for_all_pictures(model, data, monkeypatch):
    """However many pictures are scored, the backbone sees each support once."""
    seen, encoded = [], []
    encode, forward = model.few_shot.encode, model.backbone.forward
    monkeypatch.setattr(model.few_shot, "encode", lambda *a: encoded.append(1) or encode(*a))
    monkeypatch.setattr(model.backbone, "forward", lambda x: seen.append(len(x)) or forward(x))
    evaluate_gfss(model, data, SPLIT, side=32, batch=2)
    assert len(encoded) == 1
    assert sum(seen) == len(data) + 2


def test_supports_of_several_sizes(model, supports):
    """Supports of unequal sizes are fitted to squares; what is beside them is unknown."""
    picture, mask = supports[0].pictures[0], supports[0].masks[0]
    model.set_supports([Support("e", (picture[:20],), (mask[:20],)), Support("f", (picture,), (mask,))], side=32)
    pictures, masks = model.support_tensors()
    assert pictures.shape == (2, 1, 3, 32, 32)
    assert (masks[0, 0, 20:] == 255).all()
    assert torch.equal(masks[1, 0], torch.from_numpy(mask.astype(np.uint8)))
    assert model.side == 32


def test_base_labels_of_supports_are_kept(model, supports):
    """Where the protocol gives them, supports teach their base things; else these are ignored or background."""
    labels = np.where(supports[0].masks[0], np.uint8(5), np.uint8(2))
    given = [Support("e", supports[0].pictures, supports[0].masks, labels=(labels,)), supports[1]]
    labelled = label_supports(model, given)
    assert np.array_equal(labelled[0][1], labels)
    assert set(np.unique(labelled[1][1])) <= {0, 6, 255}
