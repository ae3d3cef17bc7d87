import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fss_models.backbones import Backbone
from fss_models.base_learner import BaseLearner
from fss_models.calibrate import fit_on_held_out
from fss_models.fss import IirFss
from fss_models.fusion import Fusion
from fss_models.gfss import GfssConfig, GfssModel
from fss_models.teacher import GfssTeacher
from pipeline.errors import InputError


def test_fusion_reproduces_its_parts():
    """At the start one novel class gets the decoder's probability and the rest is the base learner's."""
    base = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    novel = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    out = Fusion(known=4)(base, novel).exp()
    torch.testing.assert_close(out[:, 4:], novel.sigmoid())
    torch.testing.assert_close(out[:, :4], (1 - novel.sigmoid()) * base.exp())


def test_fusion_of_an_undecided_decoder_is_the_grown_base_learner():
    """With novel outputs, decoder logits of zero leave the base learner's distribution as it is."""
    base = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    torch.testing.assert_close(Fusion(known=4)(base, torch.zeros(2, 2, 3, 3)), base)


def test_fitted_weights_are_those_that_drew_the_labels():
    """Labels drawn from a fusion with known weights give these weights back; what is only noise gets none."""
    generator = torch.Generator().manual_seed(0)
    base = (2 * torch.randn(4, 6, 48, 48, generator=generator)).log_softmax(1)
    novel = 2 * torch.randn(4, 2, 48, 48, generator=generator)
    true = Fusion(known=4)
    with torch.no_grad():
        true.weights.copy_(torch.tensor([0.4, 0.8]))
        p = true(base, novel).exp().permute(0, 2, 3, 1).flatten(0, 2)
        labels = torch.multinomial(p, 1, generator=generator).view(4, 48, 48)
    labels[0, 0] = 255
    fusion = Fusion(known=4)
    fusion.fit(base, novel, labels, grown=True)
    torch.testing.assert_close(fusion.weights.detach(), torch.tensor([0.4, 0.8]), atol=0.05, rtol=0)
    fusion.fit(base, torch.where(labels[:, None] == torch.tensor([4, 5])[:, None, None], -1.0, 1.0), labels, grown=True)
    assert fusion.weights[0] == 0
    assert not fusion.offsets.any()


def test_fusion_is_fitted_on_held_out_base_classes(model, base_set):
    """The decoder's weight changes, the other one has nothing to learn from, and the same seed gives the same."""
    found = []
    for _ in range(2):
        with torch.no_grad():
            model.fusion.weights.fill_(1)
        fit_on_held_out(model, base_set, 2, seed=3)
        found.append(model.fusion.weights.detach().clone())
    assert torch.equal(found[0], found[1])
    assert found[0][0] != 1
    assert found[0][1] == 1
    model.grow(2)
    torch.testing.assert_close(model.fusion.weights.detach(), 0.5 * found[0])


def test_growing_keeps_old_outputs(backbone, pictures):
    """Old logits stay as they were and the new labels together take at most a tenth of the background."""
    learner = BaseLearner(backbone.channels, 5, dim=16).eval()
    levels = backbone(pictures)
    with torch.no_grad():
        old = learner(levels)[1]
        learner.grow(2)
        new = learner(levels)[1]
    torch.testing.assert_close(new[:, :5], old)
    p = new.softmax(1)
    torch.testing.assert_close(p[:, 5:].sum(1), p[:, 0] / 10)


def test_probabilities(model, pictures):
    """Every pixel has one distribution over background, base and novel labels."""
    with torch.no_grad():
        p = model(pictures)
    assert p.shape == (2, 7, 32, 32)
    torch.testing.assert_close(p.sum(1), torch.ones(2, 32, 32))


def test_batch_of_two_is_two_of_one(model, pictures):
    """Pictures of a batch do not influence each other."""
    with torch.no_grad():
        both = model(pictures)
        alone = torch.cat([model(pictures[:1]), model(pictures[1:])])
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-3)


def test_pairs_are_decoded_in_bounded_parts(model, pictures, monkeypatch):
    """However few pairs are decoded at once, without the first level, the logits are those of all at once."""
    shown = []
    decode = model.few_shot.decode
    monkeypatch.setattr(
        model.few_shot, "decode",
        lambda levels, *told: shown.append((len(levels.f3), levels.f1.numel())) or decode(levels, *told),
    )
    with torch.no_grad():
        levels = model.few_shot.see(torch.cat([pictures, pictures.flip(3)]))
        whole = model.decode_all(levels, (32, 32))
        monkeypatch.setattr("fss_models.gfss.CELLS", 3 * levels.f3[0, 0].numel())
        parts = model.decode_all(levels, (32, 32))
        monkeypatch.setattr("fss_models.gfss.BYTES", 1)
        model.decode_all(levels, (32, 32))
    assert shown == [(8, 0), (3, 0), (3, 0), (2, 0), *[(1, 0)] * 8]
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_encoded_supports_follow_the_weights(model, pictures, monkeypatch):
    """Weights that are loaded or moved in evaluation mode count for the supports too."""
    other = GfssModel(model.config.model_copy(update={"seed": 5}), model.backbone).eval()
    other._supports = model._supports
    with torch.no_grad():
        assert not torch.equal(model(pictures), other(pictures))  # both have encoded their supports
        torch.nn.ModuleList([model]).load_state_dict(torch.nn.ModuleList([other]).state_dict())
        assert torch.equal(model(pictures), other(pictures))
        encoded, encode = [], model.encode
        monkeypatch.setattr(model, "encode", lambda *a: encoded.append(1) or encode(*a))
        model(pictures)
        assert not encoded
        model.to("cpu")(pictures)
        assert encoded


def test_odd_sizes(model):
    """Pictures of odd and unequal sides come back at their own size."""
    with torch.no_grad():
        assert model(torch.rand(1, 3, 37, 51)).shape == (1, 7, 37, 51)


def test_saved_model_predicts_the_same_bits(model, backbone, pictures, tmp_path):
    """A loaded model, its own backbone read again, gives equal probabilities, also after growing."""
    model.grow(2)
    model.save(tmp_path)
    own = Backbone.from_pretrained(model.config.backbone, precision="float32")
    with torch.no_grad():
        expected = model(pictures)
        assert torch.equal(GfssModel.load(tmp_path, backbone)(pictures), expected)
        assert torch.equal(GfssModel.load(tmp_path, own)(pictures), expected)


def test_a_model_is_saved_into_its_own_folder(model, pictures, tmp_path):
    """What was read from a folder can be written there again: the card is new, the backbone stays."""
    model.save_pretrained(tmp_path)
    GfssModel.from_pretrained(tmp_path).save_pretrained(tmp_path, {"dataset": "tiny"})
    assert "| dataset | tiny |" in (tmp_path / "README.md").read_text()
    with torch.no_grad():
        assert torch.equal(GfssModel.from_pretrained(tmp_path)(pictures), model(pictures))


def test_stride_of_a_given_backbone_is_kept(backbone, backbone_folder, tiny_config, supports, pictures, tmp_path):
    """A model on a backbone of stride 32 is on one again after from_pretrained, and on no other."""
    coarse = Backbone.from_pretrained(backbone_folder, stride=32, precision="float32")
    model = GfssModel(tiny_config, coarse).eval()
    model.set_supports(supports)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(GfssModel.from_pretrained(tmp_path)(pictures), model(pictures))
    with pytest.raises(InputError, match="at stride 32 of its backbone, not 8"):
        GfssModel.load(tmp_path, backbone)


def test_weights_of_another_shape_are_refused(model, backbone, tmp_path):
    """A config that does not fit the weights is told in one sentence."""
    model.save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"base_dim": 16', '"base_dim": 32'))
    with pytest.raises(InputError, match="do not fit"):
        GfssModel.load(tmp_path, backbone)


def test_missing_model_is_refused(tmp_path):
    """An empty folder is told in one sentence."""
    with pytest.raises(InputError, match="no model in"):
        GfssModel.load(tmp_path)


def test_unequal_supports_are_refused(model, supports):
    """Classes with different numbers of shots are the caller's error."""
    double = type(supports[0])("x", supports[0].pictures * 2, supports[0].masks * 2)
    with pytest.raises(InputError, match="same number"):
        model.set_supports([double, supports[1]])


def test_more_shots(backbone, backbone_folder, supports, pictures):
    """A model for three shots uses all of them."""
    config = GfssConfig(backbone=str(backbone_folder), base=4, base_dim=16, dim=8, blocks=2, shots=3)
    model = GfssModel(config, backbone).eval()
    pool = [(p, m) for s in supports for p, m in zip(s.pictures, s.masks, strict=True)]
    chosen = [[pool[0], pool[1], pool[0]], [pool[1], pool[1], pool[0]]]
    with torch.no_grad():
        model.set_supports(
            [type(supports[0])(f"n{i}", tuple(p for p, _ in c), tuple(m for _, m in c)) for i, c in enumerate(chosen)]
        )
        first = model(pictures)
        chosen[0][2] = pool[1]
        model.set_supports(
            [type(supports[0])(f"n{i}", tuple(p for p, _ in c), tuple(m for _, m in c)) for i, c in enumerate(chosen)]
        )
        assert not torch.equal(model(pictures), first)


def test_teacher_speaks_numpy(model, base_set):
    """The teacher gives features and distributions, the same whatever its own batch is."""
    teacher = GfssTeacher(model, batch=2)
    shown = [base_set[i][0] for i in range(3)]
    features, probabilities = teacher.look(shown)
    assert features.shape[:2] == (3, 16)
    assert features.dtype == probabilities.dtype == np.float32
    assert probabilities.shape == (3, 7, 32, 32)
    np.testing.assert_allclose(GfssTeacher(model, batch=3).look(shown)[1], probabilities, atol=1e-5)
    np.testing.assert_array_equal(teacher.features(shown), features)


def test_teacher_sees_things_at_the_size_it_knows(model, base_set):
    """A picture of twice the backbone's size gives the same features, and probabilities of its own size."""
    small = base_set[0][0].repeat(2, 0).repeat(2, 1)
    large = small.repeat(2, 0).repeat(2, 1)
    (features, probabilities), (same, enlarged) = (GfssTeacher(model).look([x]) for x in (small, large))
    np.testing.assert_allclose(same, features, atol=1e-5)
    assert enlarged.shape == (1, 7, 128, 128)
    np.testing.assert_allclose(enlarged.reshape(1, 7, 64, 2, 64, 2).mean((3, 5)), probabilities, atol=0.05)


def test_teacher_id_follows_the_weights(model):
    """Other weights, other id; the same weights, the same id."""
    before = GfssTeacher(model).weights_id
    assert GfssTeacher(model).weights_id == before
    with torch.no_grad():
        model.fusion.offsets += 1
    assert GfssTeacher(model).weights_id != before


def test_models_are_built_by_name(tiny_config, backbone):
    """A known name gives its model, another one a list of the known ones."""
    assert isinstance(GfssModel(tiny_config, backbone).few_shot, IirFss)
    with pytest.raises(InputError, match="unknown FSS model 'ii': expected one of iir"):
        GfssModel(tiny_config.model_copy(update={"name": "ii"}), backbone)


def test_the_few_shot_part_is_told_names_and_numbers(plain, backbone, backbone_folder, supports, pictures, tmp_path):
    """Names of base classes come from training, those of novel ones from their supports; a folder keeps both."""
    config = GfssConfig(name=plain, backbone=str(backbone_folder), base=4, base_dim=16, few_shot={"width": 4})
    model = GfssModel(config, backbone).eval()
    model.name_classes(("background", "a", "b", "c", "d"))
    model.set_supports(supports)
    assert model.config.names == ("background", "a", "b", "c", "d", "novel 0", "novel 1")
    assert model.few_shot.names == model.config.names
    with torch.no_grad():
        assert model.support_code()["long"].tolist() == [[7], [7]]
        before = model(pictures)
        model.set_supports([type(s)("a far longer name", s.pictures, s.masks) for s in supports])
        assert not torch.equal(model(pictures), before)
        model.save(tmp_path)
        assert torch.equal(GfssModel.load(tmp_path, backbone)(pictures), model(pictures))


def test_options_reach_the_few_shot_part(plain, backbone, backbone_folder):
    """What has no field of its own goes by few_shot, over the fields; a part refuses what it does not know."""
    config = GfssConfig(name=plain, backbone=str(backbone_folder), base=4, few_shot={"width": 4})
    assert GfssModel(config, backbone).few_shot.project.out_channels == 4
    with pytest.raises(InputError, match="model plain does not take the options"):
        GfssModel(config.model_copy(update={"dim": 8}), backbone)
    config = GfssConfig(backbone=str(backbone_folder), base=4)
    with pytest.raises(InputError, match="the ensemble is for FSS"):
        GfssModel(config.model_copy(update={"few_shot": {"base": 4}}), backbone)
    config = config.model_copy(update={"few_shot": {"dim": 16, "directional_dropout": False}})
    model = GfssModel(config, backbone)
    assert (model.config.dim, model.config.blocks) == (16, 4)
    assert not model.few_shot.decoder.config.directional_dropout
    assert model.few_shot.decoder.config.similarities


def test_folders_from_before_are_read(model, backbone, pictures, tmp_path):
    """A folder whose config does not know of names and options has none; the weights bear their old names."""
    model.save(tmp_path)
    file = tmp_path / "config.json"
    settings = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("few_shot", "names")}
    file.write_text(json.dumps(settings))
    assert {name.partition(".")[0] for name in load_file(tmp_path / "model.safetensors")} == {
        "base_learner", "decoder", "fusion", "supports",
    }  # fmt: skip
    with torch.no_grad():
        assert torch.equal(GfssModel.load(tmp_path, backbone)(pictures), model(pictures))
