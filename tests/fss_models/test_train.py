import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fss_models.augment import augment
from fss_models.calibrate import fit_on_held_out
from fss_models.data import Arrays
from fss_models.evaluate import evaluate_gfss, novel_prototypes, prototype_matching
from fss_models.gfss import GfssConfig, GfssModel
from fss_models.train import label_supports, train_final, train_teacher
from fss_models.trainer import Place
from pipeline.classes import ClassSplit
from pipeline.config import FinalOptions, TrainSettings
from pipeline.errors import InputError
from pipeline.protocols import DIAM
from pipeline.types import Support

SETTINGS = TrainSettings(base_steps=4, final_steps=4, batch=4, lr=2e-3)


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def teacher(base_set, supports, tiny_config, backbone):
    """Train a tiny teacher."""
    return train_teacher(base_set, supports, tiny_config, SETTINGS, seed=1, backbone=backbone)


def equal(a, b):
    states = a.trainable_state(), b.trainable_state()
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_same_seed_same_weights(base_set, supports, tiny_config, backbone, teacher):
    """Training is a function of its seed, and leaves the global random state alone."""
    torch.manual_seed(77)
    before = torch.random.get_rng_state()
    again = train_teacher(base_set, supports, tiny_config, SETTINGS, seed=1, backbone=backbone)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(again, teacher)
    other = train_teacher(base_set, supports, tiny_config, SETTINGS, seed=2, backbone=backbone)
    assert not equal(other, teacher)


def test_resumed_run_equals_undisturbed(base_set, supports, tiny_config, backbone, tmp_path, monkeypatch, teacher):
    """Killed after step 3 with a checkpoint at 2 and resumed, the weights and the log are the undisturbed ones."""
    monkeypatch.setattr("fss_models.trainer.SAVE_EVERY", 2)

    def kill(step, total, losses):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train_teacher(
            base_set, supports, tiny_config, SETTINGS, seed=1, place=Place(tmp_path, kill), backbone=backbone
        )
    told = []
    resumed = train_teacher(
        base_set, supports, tiny_config, SETTINGS, seed=1, backbone=backbone,
        place=Place(tmp_path, lambda step, total, losses: told.append((step, total))),
    )
    assert told == [(3, 5), (4, 5), (5, 5)]
    assert equal(resumed, teacher)
    lines = [json.loads(line) for line in (tmp_path / "teacher.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_backbone_is_untouched(backbone, teacher, base_set, supports, tiny_config):
    """Training changes no weight of the backbone, its type or mode."""
    before = backbone.weights_id
    train_teacher(base_set, supports, tiny_config, SETTINGS, seed=3, backbone=backbone)
    assert backbone.weights_id == before
    assert not any(m.training for m in backbone.modules())


def test_final_model_leaves_the_teacher(teacher, base_set, supports, synthetic_set, pictures):
    """The final model has novel outputs, differs with synthetic pictures, and the teacher stays as it was."""
    with torch.no_grad():
        before = teacher(pictures)
    without = train_final(teacher, base_set, supports, None, SETTINGS, seed=1)
    with_ = train_final(teacher, base_set, supports, synthetic_set, SETTINGS, seed=1)
    with torch.no_grad():
        assert torch.equal(teacher(pictures), before)
    assert without.config.novel == 2
    assert not equal(without, with_)


def test_support_background_with_base_things_is_ignored(teacher, supports):
    """Support labels hold the class, background, and 255 where the teacher sees a base thing."""
    labelled = label_supports(teacher, supports)
    for k, support in enumerate(supports):
        labels = labelled[k][1]
        assert (labels == 5 + k).sum() == support.masks[0].sum()
        assert set(np.unique(labels)) <= {0, 5 + k, 255}


def test_options_reach_the_network(base_set, supports, teacher):
    """The final model may drop more channels than its teacher did, and keeps its widths."""
    settings = SETTINGS.model_copy(update={"final_steps": 1})
    final = train_final(teacher, base_set, supports, None, settings, options=FinalOptions(feature_dropout=0.4))
    assert final.few_shot.decoder.project_query[2].p == 0.4
    assert final.config == teacher.config.model_copy(update={"feature_dropout": 0.4})


def test_recipe_and_least_pixels_reach_the_batches(base_set, supports, tiny_config, backbone, monkeypatch):
    """With the published recipe nothing is mirrored beyond the edges, and small things are no episodes."""
    drawn = []
    monkeypatch.setattr("fss_models.batches.augment", lambda *a: drawn.append(a[2:5]) or augment(*a))
    monkeypatch.setattr("fss_models.batches.vary", lambda *_: pytest.fail("picto's variation"))
    settings = SETTINGS.model_copy(update={"augment": "recipe", "scale": (0.5, 2.0)})
    train_teacher(base_set, supports, tiny_config, settings, backbone=backbone, side=48)
    assert set(drawn) == {(48, "recipe", (0.5, 2.0))}
    with pytest.raises(InputError, match="at least 900 pixels"):
        train_teacher(
            base_set, supports, tiny_config, settings.model_copy(update={"min_pixels": 900}), backbone=backbone
        )


def test_held_out_supports_are_as_large_as_the_protocol_wants(base_set, supports, tiny_config, backbone, monkeypatch):
    """On pictures of full size a held-out support is as large as a real one, on small ones as picto's."""
    chosen = []
    monkeypatch.setattr("fss_models.calibrate._pick", lambda counts, least, rng: chosen.append(least) or 0)
    small = replace(DIAM, support_pixels=200)  # 32 x 32 then counts as full size
    model = GfssModel(tiny_config, backbone)
    for protocol, expected in ((DIAM, 160), (small, 200)):
        chosen.clear()
        fit_on_held_out(model, base_set, 2, 0, min_pixels=50, protocol=protocol)
        assert {int(np.max(least)) for least in chosen} == {50, expected}


@pytest.mark.slow
def test_two_episodes_overfit(base_set, supports, tiny_config, backbone):
    """On two pictures of two classes the losses fall to a fraction: gradients reach base learner and decoder."""
    few = Arrays([base_set.pictures[i] for i in (0, 4, 1, 5)], [base_set.labels[i] for i in (0, 4, 1, 5)], 7)
    config = tiny_config.model_copy(update={"base": 2})
    losses = []
    place = Place(progress=lambda step, total, told: losses.append((told["base"], told.get("decoder"))))
    settings = TrainSettings(base_steps=90, batch=4, lr=1e-2)
    train_teacher(few, supports, config, settings, place=place, backbone=backbone, adapt=False)
    for part, fraction in ((0, 0.4), (1, 0.7)):
        told = [both[part] for both in losses if both[part] is not None]
        assert np.mean(told[-5:]) < fraction * np.mean(told[:5])


def test_scores_have_the_agreed_keys(backbone, backbone_folder, tiny_config, supports):
    """Evaluation and the reference give the same table of fractions."""
    split = ClassSplit.of("picto", 0)
    config = tiny_config.model_copy(update={"base": 15})
    model = GfssModel(config, backbone)
    model.set_supports([*supports, *supports, supports[0]])
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 255, (32, 32, 3)).astype(np.uint8) for _ in range(3)]
    data = Arrays(shown, [rng.integers(0, 21, (32, 32)).astype(np.uint8) for _ in range(3)], 21)
    for scores in (evaluate_gfss(model, data, split, batch=2), prototype_matching(model, data, data, split)):
        assert {"base_miou", "novel_miou", "mean_miou", "harmonic_miou", "per_class"} <= scores.keys()
        assert list(scores["per_class"]) == list(split.names)
        assert 0 <= scores["harmonic_miou"] <= 1


def test_prototypes_leave_out_what_lies_beside_a_support(model, supports):
    """The padding of a wide support has no weight: its prototype is the mean unit feature of the thing alone."""
    wide = [Support(s.name, (s.pictures[0][:20],), (s.masks[0][:20] | (np.arange(32) < 3),)) for s in supports]
    model.set_supports(wide, 32)
    pictures, masks = model.support_tensors()
    assert (masks == 255).any()
    for place, found in enumerate(novel_prototypes(model)):
        with torch.no_grad():
            f = torch.nn.functional.normalize(model.features(pictures[place]), dim=1)[0].permute(1, 2, 0)
        thing = torch.nn.functional.interpolate(
            (masks[place] == 1).float()[None], f.shape[:2], mode="bilinear", align_corners=False
        )[0, 0]
        weights = thing.flatten() / thing.sum()
        torch.testing.assert_close(found, weights @ f.flatten(0, 1))


def test_any_few_shot_part_is_trained(plain, base_set, supports, synthetic_set, backbone, backbone_folder, tmp_path):
    """A model that is no IIR goes from base pictures to a saved final model; its weights move in every phase."""
    config = GfssConfig(name=plain, backbone=str(backbone_folder), base=4, base_dim=16, precision="float32")
    names, told = ("background", *"abcd", "novel 0", "novel 1"), []
    place = Place(progress=lambda step, total, losses: told.append(losses.get("decoder")))
    teacher = train_teacher(
        base_set, supports, config, SETTINGS, seed=1, backbone=backbone, names=names, place=place
    )
    final = train_final(teacher, base_set, supports, synthetic_set, SETTINGS, seed=1)
    assert [value is not None for value in told] == [True, False, True, False, True]
    fresh = GfssModel(config, backbone)
    for name in ("few_shot.project.weight", "few_shot.word"):
        weights = [dict(model.named_parameters())[name] for model in (fresh, teacher, final)]
        assert not torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[1], weights[2])
    assert final.few_shot.names == names
    final.save(tmp_path)
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(GfssModel.load(tmp_path, backbone)(pictures), final(pictures))


def test_what_learns_nothing_is_no_few_shot_part(base_set, supports, backbone, backbone_folder):
    """Prototype matching is refused in a sentence when it is to be trained."""
    config = GfssConfig(name="matching", backbone=str(backbone_folder), base=4, base_dim=16, precision="float32")
    with pytest.raises(InputError, match="nothing to train"):
        train_teacher(base_set, supports, config, SETTINGS, backbone=backbone)
