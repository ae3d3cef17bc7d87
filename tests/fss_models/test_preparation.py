"""The two phases that prepare a backbone."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fss_models.backbones import Backbone
from fss_models.ensemble import Ensemble
from fss_models.fss import EpisodeBatch, FssConfig, build_fss_model
from fss_models.preparation import BaseBatches, distillation, prepare_backbone, read_base_learner
from fss_models.randomness import numpy_rng
from pipeline.config import PrepareSettings
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def batches(base_set):
    """Draw four base pictures a step, the same in every sixth step."""

    def draw(step):
        places = numpy_rng("prepare", step % 6).integers(0, len(base_set), 4)
        items = [base_set[int(i)] for i in places]
        pictures = torch.from_numpy(np.stack([p for p, _ in items])).permute(0, 3, 1, 2).float() / 255
        return pictures, torch.from_numpy(np.stack([y for _, y in items]))

    return draw


def prepare(folder, batches, out, steps, **more):
    settings = PrepareSettings(steps=steps, lr=5e-3, dim=16)
    return prepare_backbone(folder, batches, 4, out, settings, **more)


def test_both_phases(backbone_folder, batches, tmp_path):
    """Both losses fall, every weight moves, and what is written loads as a backbone with a base learner beside it."""
    told = []
    out = prepare(backbone_folder, batches, tmp_path / "new", 60, progress=lambda *x: told.append(x))
    losses = [loss for _, _, loss in told]
    assert np.mean(losses[24:30]) < 0.7 * np.mean(losses[:6])
    assert np.mean(losses[54:60]) < 0.95 * np.mean(losses[30:36])
    old, new = (load_file(f / "model.safetensors") for f in (backbone_folder, out))
    assert not [k for k in old if "num_batches" not in k and torch.equal(old[k], new[k])]
    backbone = Backbone.from_pretrained(out, precision="float32")
    assert (backbone.input_size, backbone.classes) == (64, 7)
    torch.testing.assert_close(backbone.mean.flatten(), torch.full((3,), 0.5))
    ensemble = Ensemble(32, 4, 16)
    read_base_learner(ensemble, out)
    pictures, labels = batches(0)
    with torch.no_grad():
        levels = Backbone.from_pretrained(out, stride=32, precision="float32")(pictures)
        logits = torch.nn.functional.interpolate(ensemble.base_learner(levels.f4), labels.shape[-2:], mode="bilinear")
    right = (logits.argmax(1) == labels).float().mean()
    assert right > 0.8


def test_the_second_phase_touches_the_classifier_alone(backbone_folder, batches, tmp_path):
    """Without a first phase all but the classifier comes out as it went in, running statistics included."""
    settings = PrepareSettings(steps=6, first=0, lr=5e-3, dim=16)
    out = prepare_backbone(backbone_folder, batches, 4, tmp_path, settings)
    before, after = (load_file(f / "model.safetensors") for f in (backbone_folder, out))
    assert {k for k in before if torch.equal(before[k], after[k])} == {k for k in before if "classifier" not in k}


@pytest.mark.parametrize("killed_at", [4, 6, 7, 11])
def test_killed_and_resumed(backbone_folder, batches, tmp_path, monkeypatch, killed_at):
    """Killed in either phase or between them, it goes on to the same weights as the undisturbed preparation."""
    monkeypatch.setattr("fss_models.preparation.SAVE_EVERY", 3)
    whole = prepare(backbone_folder, batches, tmp_path / "whole", 12)
    seen = []

    def kill(step, steps, loss):
        if step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(backbone_folder, batches, tmp_path / "cut", 12, progress=kill, scratch=tmp_path / "scratch")
    assert not (tmp_path / "cut").exists()
    cut = prepare(
        backbone_folder, batches, tmp_path / "cut", 12, progress=lambda *x: seen.append(x[0]),
        scratch=tmp_path / "scratch",
    )  # fmt: skip
    assert seen[0] == {4: 4, 6: 7, 7: 7, 11: 10}[killed_at]
    for name in ("model.safetensors", "base_learner.safetensors"):
        expected, found = load_file(whole / name), load_file(cut / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_drawn_batches(base_set):
    """A step's batch is the same whenever it is drawn; other steps have others."""
    draw = BaseBatches(base_set, 3, 32, seed=0)
    pictures, labels = draw(2)
    assert pictures.shape == (3, 3, 32, 32)
    assert labels.shape == (3, 32, 32)
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4}
    assert torch.equal(pictures, draw(2)[0])
    assert not torch.equal(pictures, draw(3)[0])


def test_distillation_by_hand():
    """A student that agrees pays the cross-entropy alone; KL at temperature T counts T squared; no rows, no loss."""
    scores, expected = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    p, q = (torch.softmax(x / 3, 1) for x in (expected, scores))
    kl = (p * (p / q).log()).sum()
    torch.testing.assert_close(distillation(scores, expected, 3.0), scores.exp().sum().log() + 9 * kl)
    torch.testing.assert_close(distillation(scores, scores, 3.0), scores.exp().sum().log() - 2.0)
    assert distillation(torch.zeros(0, 2), torch.zeros(0, 2), 3.0) == 0


def test_only_convolutional_backbones(tmp_path, batches):
    """A network of patches is refused by name."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is not convolutional"):
        prepare(tmp_path, batches, tmp_path / "new", 2)


def test_the_base_learner_sees_what_it_was_trained_on(backbone_folder, batches, tmp_path):
    """In an FSS model with dilation it reads the fourth level of the undilated backbone, in training and prediction."""
    out = prepare(backbone_folder, batches, tmp_path / "new", 2)
    options = {"dim": 8, "blocks": 2, "base": 4, "base_dim": 16}
    model = build_fss_model(FssConfig(backbone=str(out), precision="float32", options=options))
    read_base_learner(model.decoder.ensemble, out)
    seen = []
    model.decoder.ensemble.base_learner.register_forward_hook(lambda module, given, _: seen.append(given[0]))
    pictures, labels = batches(0)
    masks = (labels > 0).to(torch.uint8)
    model.eval()(pictures[:2], pictures[2:, None], masks[2:, None], torch.ones(2, dtype=torch.long))
    model.losses(EpisodeBatch(pictures[:2], masks[:2], pictures[2:, None], masks[2:, None], torch.tensor([1, 2])))
    expected = Backbone.from_pretrained(out, stride=32, precision="float32")(pictures[:2]).f4
    assert len(seen) == 2
    for found in seen:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_missing_base_learner(tmp_path):
    """Without a prepared folder there is no ensemble, and the sentence says what to do."""
    with pytest.raises(InputError, match=r"prepare the backbone first, or leave the ensemble out"):
        read_base_learner(Ensemble(32, 4, 16), tmp_path)
