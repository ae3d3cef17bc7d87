import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fss_models.augment import augment, fit, photometric, unfit
from fss_models.backbones import Backbone, Levels
from fss_models.data import MILD, Arrays, Columns, vary
from fss_models.encoded import Encoded
from fss_models.episodes import EpisodeSampler, Subset, without_classes
from fss_models.evaluate_fss import evaluate_fss, fitted_batch
from fss_models.fss import FSS_MODELS, FssConfig, FssNetwork, build_fss_model, trainable_state
from fss_models.fss_teacher import FssTeacher
from fss_models.layers import resize
from fss_models.multiscale import VIEWS, predict_multiscale
from fss_models.randomness import numpy_rng
from fss_models.train_fss import FssBatches, held_out, train_fss
from fss_models.trainer import Place
from pipeline.classes import ClassSplit
from pipeline.config import FssSettings
from pipeline.errors import InputError
from pipeline.types import Support

OPTIONS = {name: {"dim": 8, "blocks": 2} for name in ("iir", "i2r")} | {"symnet": {"dim": 8}}
OPTIONS["rifenet"] = {"dim": 16, "layers": 2, "heads": 2, "points": 2, "tokens": 9}
SPLIT = ClassSplit("tiny", 0, ("a", "b", "c", "d"), ("e", "f"), ("a", "b", "c", "d", "e", "f"))
SETTINGS = FssSettings(steps=4, batch=2, lr=2e-3, choose="none")


@pytest.fixture(params=sorted(FSS_MODELS))
def network(request, backbone, backbone_folder):
    """Build every FSS model in turn."""
    return built(request.param, backbone, backbone_folder)


def built(name, backbone, folder, **more):
    options = OPTIONS.get(name, {})
    config = FssConfig(name=name, backbone=str(folder), precision="float32", options=options, **more)
    return build_fss_model(config, backbone).eval()


def episodes_of(base_set, shots, count=2):
    sampler = EpisodeSampler(base_set.counts, (1, 2, 3, 4), shots=shots)
    return fitted_batch(base_set, [sampler.draw(i) for i in range(count)], 32)


# --- what every model shares ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [1, 5])
def test_batch_of_two_is_two_of_one(network, base_set, shots):
    """Episodes of a batch do not influence each other, and evaluation is deterministic."""
    batch = episodes_of(base_set, shots)
    with torch.no_grad():
        both = network(batch.query, batch.supports, batch.masks, batch.classes)
        again = network(batch.query, batch.supports, batch.masks, batch.classes)
        told = (batch.query, batch.supports, batch.masks, batch.classes)
        alone = [network(*(x[i : i + 1] for x in told)) for i in (0, 1)]
    assert both.ndim == 3
    assert torch.equal(both, again)
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-4, rtol=1e-3)


def test_an_episode_model_as_teacher(network, base_set):
    """It labels as the model itself predicts, sees things at the size it knows, and encodes its supports once."""
    batch = episodes_of(base_set, 1, count=1)
    picture, shown = ((255 * x).round().to(torch.uint8).permute(1, 2, 0).numpy()
                      for x in (batch.query[0], batch.supports[0, 0]))  # fmt: skip
    support = Support("thing", (shown,), ((batch.masks[0, 0] == 1).numpy(),))
    teacher = FssTeacher(network, support, "weights")
    encode, network.encode = network.encode, None
    features, probabilities = teacher.look([picture, picture])
    assert features.shape[0] == probabilities.shape[0] == 2
    np.testing.assert_array_equal(teacher.features([picture]), features[:1])
    small, large = (picture.repeat(n, 0).repeat(n, 1) for n in (2, 4))
    np.testing.assert_allclose(teacher.features([large]), teacher.features([small]), atol=1e-4)
    network.encode = encode
    with torch.no_grad():
        logits = network(batch.query, batch.supports, batch.masks, torch.ones(1, dtype=torch.long)).float()
    expected = torch.nn.functional.interpolate(logits[:, None], picture.shape[:2], mode="bilinear").sigmoid()[0, 0]
    np.testing.assert_allclose(probabilities[0, 1], expected, atol=1e-4)


def test_odd_sizes(network):
    """Pictures of odd and unequal sides have finite logits, also where a support's mask is empty."""
    query, supports = torch.rand(1, 3, 37, 51), torch.rand(1, 2, 3, 37, 51)
    masks = torch.zeros(1, 2, 37, 51, dtype=torch.uint8)
    masks[0, 0, 5:20, 8:30] = 1
    with torch.no_grad():
        assert network(query, supports, masks, torch.tensor([1])).isfinite().all()


def test_gradient_reaches_the_model_and_not_the_backbone(network, base_set):
    """One step's loss has a gradient in the trained weights only; what cannot be trained says so."""
    batch = episodes_of(base_set, 1)
    before = network.backbone.weights_id
    if not trainable_state(network):
        with pytest.raises(InputError, match="nothing to train"):
            network.losses(batch)
        return
    network.train()
    network.losses(batch)["loss"].backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert network.backbone.weights_id == before
    assert not network.backbone.training


def test_a_backbone_of_pickled_weights_is_saved_too(backbone_folder, tmp_path):
    """A backbone whose weights are a .bin lies in the saved folder as safetensors, with the same weights."""
    old = tmp_path / "old"
    shutil.copytree(backbone_folder, old)
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    backbone = Backbone.from_pretrained(old, precision="float32")
    built("iir", backbone, old).save_pretrained(tmp_path / "m")
    shutil.rmtree(old)
    read = FssNetwork.from_pretrained(tmp_path / "m")
    assert read.backbone.weights_id == backbone.weights_id
    assert read.backbone.input_size == backbone.input_size == 64
    assert {f.name for f in (tmp_path / "m/backbone").iterdir()} >= {"model.safetensors", "preprocessor_config.json"}


def test_saved_model_predicts_the_same_bits(network, base_set, tmp_path):
    """A folder of save_pretrained needs nothing else, and its model card says how to load it."""
    batch = episodes_of(base_set, 1)
    network.save_pretrained(tmp_path / "m", {"dataset": "tiny"})
    read = type(network).from_pretrained(tmp_path / "m")
    assert read.backbone.source == str(tmp_path / "m" / "backbone")
    with torch.no_grad():
        expected = network(batch.query, batch.supports, batch.masks, batch.classes)
        assert torch.equal(read(batch.query, batch.supports, batch.masks, batch.classes), expected)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "pipeline_tag: image-segmentation" in card
    assert "| dataset | tiny |" in card
    licence = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["license"]
    assert f"license: {licence.lower()}\n" in card
    assert f"Licence: {licence}, as Syn4Seg. The backbone comes with a licence of its own" in card
    assert f"{type(network).__name__}.from_pretrained" in card


def test_stride_of_a_given_backbone_is_kept(base_set, backbone, backbone_folder, tmp_path):
    """A model on a backbone of stride 32 is on one again after from_pretrained, and on no other."""
    coarse = Backbone.from_pretrained(backbone_folder, stride=32, precision="float32")
    model = build_fss_model(FssConfig(backbone=str(backbone_folder), options=OPTIONS["iir"]), coarse).eval()
    batch = episodes_of(base_set, 1)
    model.save_pretrained(tmp_path)
    read = FssNetwork.from_pretrained(tmp_path)
    assert (read.backbone.stride, read.backbone.dtype) == (32, torch.float32)
    with torch.no_grad():
        expected = model(batch.query, batch.supports, batch.masks, batch.classes)
        assert torch.equal(read(batch.query, batch.supports, batch.masks, batch.classes), expected)
    with pytest.raises(InputError, match="at stride 32 of its backbone, not 8"):
        FssNetwork.load(tmp_path, backbone)


@pytest.mark.parametrize("shots", [1, 5])
def test_contrast_is_prototype_matching(backbone, backbone_folder, base_set, shots):
    """With its head silenced, a decoder that stands on the contrast says what matching says."""
    matching = built("matching", backbone, backbone_folder)
    model = build_fss_model(
        FssConfig(backbone=str(backbone_folder), precision="float32", options={**OPTIONS["iir"], "contrast": True}),
        backbone,
    ).eval()
    last = [m for m in model.decoder.head_query.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    batch = episodes_of(base_set, shots)
    batch.masks[:, :, :, 20:] = 255
    with torch.no_grad():
        with_head = model(batch.query, batch.supports, batch.masks, batch.classes)
        last.weight.zero_()
        if last.bias is not None:
            last.bias.zero_()
        found = model(batch.query, batch.supports, batch.masks, batch.classes)
        expected = matching(batch.query, batch.supports, batch.masks, batch.classes)
    assert not torch.equal(with_head, found)
    torch.testing.assert_close(resize(found[:, None], (32, 32))[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_unknown_models_and_options(backbone, backbone_folder, tmp_path):
    """A wrong name, a wrong option and a missing folder are told in one sentence."""
    with pytest.raises(InputError, match="unknown FSS model 'ii': expected one of iir, i2r, symnet, rifenet, matching"):
        build_fss_model(FssConfig(name="ii", backbone=""), backbone)
    with pytest.raises(InputError, match=r"does not take the options .*widht"):
        build_fss_model(FssConfig(backbone="", options={"widht": 3}), backbone)
    with pytest.raises(InputError, match="no model in"):
        FssNetwork.from_pretrained(tmp_path)


# --- data -----------------------------------------------------------------------------------------------------


def test_pictures_with_novel_things_are_left_out():
    """One novel pixel is enough."""
    labels = [np.zeros((4, 4), np.uint8) for _ in range(3)]
    labels[1][0, 0] = 5
    labels[2][:] = 2
    data = Arrays([np.zeros((4, 4, 3), np.uint8)] * 3, labels, 7)
    kept = without_classes(data, (5, 6))
    assert len(kept) == 2
    assert kept.counts[1, 2] == 16
    assert (kept[1][1] == 2).all()


def test_published_order_of_draws(base_set):
    """Query first: each picture is equally likely, its class one that it shows, its supports others of that class."""
    labels = [base_set.labels[i].copy() for i in range(24)]
    for y in labels[:6]:
        y[y == 0] = 4
    data = Arrays(base_set.pictures, labels, 7)
    sampler = EpisodeSampler(data.counts, (1, 2, 3, 4), shots=2, first="picture", seed=3)
    drawn = [sampler.draw(i) for i in range(600)]
    assert sampler.draw(7) == drawn[7]
    assert np.bincount([e.query for e in drawn], minlength=24).min() > 8
    assert all(data.counts[p, e.label] >= 60 for e in drawn for p in (e.query, *e.supports))
    assert all(len({e.query, *e.supports}) == 3 for e in drawn)
    assert {e.label for e in drawn if e.query == 0} == {1, 4}


def test_fitted_and_back():
    """The longer side fills the square, the rest is 255, and logits come back to the picture's own size."""
    labels = np.zeros((30, 60), np.uint8)
    labels[10:20, 20:50] = 1
    x, y = fit(np.zeros((30, 60, 3), np.uint8), labels, 40)
    assert x.shape == (3, 40, 40)
    assert (y[:20] != 255).all()
    assert (y[20:] == 255).all()
    torch.testing.assert_close(x[:, 30, 0], torch.tensor([0.485, 0.456, 0.406]))
    back = unfit((y == 1).float() - 0.5, (30, 60)) > 0
    assert back.shape == (30, 60)
    assert (back.numpy() == labels).mean() > 0.95


@pytest.mark.parametrize("size", [(40, 56), (140, 130)])
def test_recipe_moves_masks_with_pictures(size):
    """A picture painted by its mask is still painted by it, most of the class stays, and the rest is 255."""
    mask = np.zeros(size, np.uint8)
    top, left = size[0] // 2 - 10, size[1] // 2 - 10
    mask[top : top + 16, left : left + 18] = 1
    picture = np.repeat(np.where(mask == 1, np.uint8(255), np.uint8(0))[..., None], 3, 2)
    outside = 0
    for i in range(6):
        x, y = augment(picture, mask, 64, "recipe", (0.9, 1.1), numpy_rng("recipe", i))
        assert x.shape == (3, 64, 64)
        assert set(y.unique().tolist()) <= {0, 1, 255}
        inside = y != 255
        assert ((x[0] > 0.5) == (y == 1))[inside].float().mean() > 0.97
        assert 0.7 * 16 * 18 < (y == 1).sum() < 1.4 * 16 * 18
        outside += int((~inside).sum())
    assert (outside > 6000) == (min(size) < 64)


def test_pictures_without_the_class_are_varied():
    """A picture that does not show the class is varied all the same, once."""
    rng = np.random.default_rng(0)
    picture, labels = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8), np.zeros((32, 32), np.uint8)
    varied, _ = augment(picture, labels, 32, "recipe", (0.5, 2.0), numpy_rng(0), 7)
    assert not torch.equal(varied, fit(picture, labels, 32)[0])
    drawn, once = numpy_rng(1), numpy_rng(1)
    mild = augment(picture, labels, 32, "mild", (1, 1), drawn, 7)[0]
    assert torch.equal(mild, vary(picture, labels, 32, MILD, once)[0])
    assert drawn.random() == once.random()  # no second try


def test_photometric_changes_only_the_look():
    """The mask is that of the fitted picture, looks differ between generators and agree for equal ones."""
    picture = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    looks = [photometric(picture, numpy_rng("p", i)) for i in (0, 0, *range(8))]
    assert np.array_equal(looks[0], looks[1])
    assert any(not np.array_equal(look, picture) for look in looks)
    mask = (picture[..., 0] > 99).astype(np.uint8)
    assert torch.equal(augment(picture, mask, 20, "photometric", (1, 1), numpy_rng("p"))[1], fit(picture, mask, 20)[1])


# --- evaluation ---------------------------------------------------------------------------------------------------


class Oracle(FssNetwork):
    """Finds the class by the support's mean colour under its mask."""

    def see(self, pictures):
        """Look at the colours themselves."""
        return Levels(*[pictures] * 4)

    def encode(self, levels, masks, classes):
        """Give the mean colour of the class."""
        one = (masks == 1)[:, None].float()
        return {"colour": (levels.f1 * one).sum((2, 3)) / one.sum((2, 3))}

    def decode(self, query, code, size):
        """Give more than 0 where the colour is near that of the supports' class."""
        return 0.1 - (query.f1 - code["colour"].mean(1)[..., None, None]).abs().amax(1)


@pytest.fixture
def oracle(backbone):
    """Build the oracle on the tiny backbone."""
    return Oracle(FssConfig(backbone="", side=32), backbone)


@pytest.mark.parametrize("resolution", ["original", "network"])
def test_perfect_prediction_is_one(oracle, novel_set, resolution):
    """A model that finds every class has mIoU and FB-IoU of 1 at either size, with no spread over seeds."""
    scores = evaluate_fss(oracle, novel_set, SPLIT, episodes=9, seeds=(0, 1), resolution=resolution, batch=4)
    assert scores["miou"] == scores["fb_iou"] == 1
    assert scores["miou_std"] == 0
    assert scores["per_class"] == {"e": 1, "f": 1}
    assert [row["seed"] for row in scores["per_seed"]] == [0, 1]


def test_scores_are_those_of_a_plain_count(network, novel_set):
    """Both mIoU and FB-IoU equal a count that goes through the episodes one by one."""
    scores = evaluate_fss(network, novel_set, SPLIT, episodes=7, seeds=(4,), resolution="original", batch=3, side=32)
    sampler = EpisodeSampler(novel_set.counts, (5, 6), seed=4, first="picture")
    both, either = np.zeros((7, 2)), np.zeros((7, 2))
    for i in range(7):
        e = sampler.draw(i)
        batch = fitted_batch(novel_set, [e], 32)
        with torch.no_grad():
            found = unfit(network(batch.query, batch.supports, batch.masks, batch.classes)[0], (32, 27)).numpy() > 0
        truth = novel_set[e.query][1] == e.label
        for k, (t, p) in enumerate(((~truth, ~found), (truth, found))):
            both[e.label, k] += (t & p).sum()
            either[e.label, k] += (t | p).sum()
    assert scores["miou"] == pytest.approx(np.mean([both[k, 1] / either[k, 1] for k in (5, 6)]), abs=2e-3)
    assert scores["fb_iou"] == pytest.approx(np.mean(both.sum(0) / either.sum(0)), abs=2e-3)


@pytest.mark.parametrize("resolution", ["original", "network"])
def test_three_views_are_scored_as_they_are_predicted(network, novel_set, resolution):
    """Multi-scale scores are those of a plain count of `predict_multiscale`, episode by episode."""
    scores = evaluate_fss(
        network, novel_set, SPLIT, episodes=6, seeds=(4,), resolution=resolution, batch=4, side=32, multiscale=True
    )
    assert scores["multiscale"] is True
    sampler = EpisodeSampler(novel_set.counts, (5, 6), seed=4, first="picture")
    areas = {5: np.zeros(2), 6: np.zeros(2)}
    for i in range(6):
        e = sampler.draw(i)
        batch = fitted_batch(novel_set, [e], 32)
        p = predict_multiscale(network, batch.query, batch.supports, batch.masks, batch.classes)[0]
        size = (32, 27) if resolution == "original" else (32, 32)
        found = unfit(p, size).numpy() > 0.5
        truth = novel_set[e.query][1] == e.label if resolution == "original" else batch.truth[0].numpy() == 1
        known = np.ones(size, bool) if resolution == "original" else batch.truth[0].numpy() != 255
        areas[e.label] += [(truth & found & known).sum(), ((truth | found) & known).sum()]
    assert scores["miou"] == pytest.approx(np.mean([both / either for both, either in areas.values()]), abs=2e-3)


def test_views_are_of_queries_alone(oracle, novel_set):
    """Each query is seen in three sizes, once each; supports are seen and encoded once, as they are."""
    seen, shown = [], []

    class Counting(Oracle):
        def see(self, pictures):
            seen.extend([pictures.shape[-1]] * len(pictures))
            return super().see(pictures)

        def encode(self, levels, masks, classes):
            shown.extend([masks.shape[-1]] * len(masks))
            return super().encode(levels, masks, classes)

    sampler = EpisodeSampler(novel_set.counts, (5, 6), shots=2, first="picture")
    drawn = [sampler.draw(i) for i in range(40)]
    encoded = Encoded(Counting(oracle.config, oracle.backbone), novel_set, 32, views=VIEWS)
    for i in range(0, 40, 4):
        assert encoded.margins(drawn[i : i + 4]).shape == (4, 32, 32)
    queries, supports = {e.query for e in drawn}, {(p, e.label) for e in drawn for p in e.supports}
    assert seen.count(26) == len(queries)
    assert seen.count(32) == len(queries) + len(queries | {p for p, _ in supports})
    assert shown == [32] * len(supports)


def test_pictures_and_supports_are_encoded_once(oracle, novel_set):
    """However many episodes show them; with too little room they are encoded again, to the same scores."""
    seen, shown = [], []

    class Counting(Oracle):
        def see(self, pictures):
            seen.append(len(pictures))
            return super().see(pictures)

        def encode(self, levels, masks, classes):
            shown.append(len(masks))
            return super().encode(levels, masks, classes)

    counting = Counting(oracle.config, oracle.backbone)
    sampler = EpisodeSampler(novel_set.counts, (5, 6), shots=2, first="picture")
    drawn = [sampler.draw(i) for i in range(40)]
    roomy, narrow = Encoded(counting, novel_set, 32), Encoded(oracle, novel_set, 32, limit=100_000)
    once = torch.cat([roomy.logits(drawn[i : i + 4]) for i in range(0, 40, 4)])
    assert sum(seen) == len({p for e in drawn for p in (e.query, *e.supports)})
    assert sum(shown) == len({(p, e.label) for e in drawn for p in e.supports})
    assert torch.equal(once, torch.cat([narrow.logits(drawn[i : i + 4]) for i in range(0, 40, 4)]))


# --- training -------------------------------------------------------------------------------------------------


def test_training_episodes_show_their_class(base_set):
    """Each query and support of a training batch shows its class; a number gives its batch again."""
    batches = FssBatches(base_set, (1, 2, 3, 4), SETTINGS, 2, 32, seed=0)
    batch, again = batches(3), batches(3)
    assert torch.equal(batch.query, again.query)
    assert not torch.equal(batch.query, batches(4).query)
    assert batch.supports.shape == (2, 2, 3, 32, 32)
    assert (batch.truth == 1).flatten(1).any(1).all()
    assert (batch.masks == 1).flatten(2).any(2).all()


@pytest.mark.parametrize("first", ["class", "picture"])
def test_what_a_training_episode_draws_first(base_set, first):
    """Of nine pictures with one class and three with another both classes are as frequent, or both kinds of picture."""
    places = [*(i for i in range(24) if i % 4 == 0), 4, 8, 12, 1, 5, 9]
    data = Arrays([base_set.pictures[i] for i in places], [base_set.labels[i] for i in places], 7)
    batches = FssBatches(data, (1, 2), SETTINGS.model_copy(update={"first": first, "batch": 200}), 1, 32, seed=0)
    share = (batches(0).classes == 1).float().mean()
    assert share == pytest.approx({"class": 0.5, "picture": 0.75}[first], abs=0.1)


def test_training_is_a_function_of_its_seed(base_set, backbone, backbone_folder):
    """The same seed gives the same weights, another one others; the side of training is kept in the config."""
    config = FssConfig(backbone=str(backbone_folder), precision="float32", options=OPTIONS["iir"])
    first, again, other = (train_fss(base_set, SPLIT, config, SETTINGS, seed=s, backbone=backbone) for s in (1, 1, 2))
    states = [trainable_state(m) for m in (first, again, other)]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
    assert any(not torch.equal(v, states[2][k]) for k, v in states[0].items())
    assert first.config.side == 32


def test_choice_is_on_base_classes_unless_asked(base_set, novel_set, backbone, backbone_folder):
    """By default the look is at held-out base pictures; the test fold needs its flag and its pictures."""
    config = FssConfig(backbone=str(backbone_folder), precision="float32", options=OPTIONS["iir"])
    many = Arrays(base_set.pictures * 4, base_set.labels * 4, 7)
    told = []
    settings = SETTINGS.model_copy(update={"choose": "base", "choose_every": 3, "choose_episodes": 4})
    place = Place(progress=lambda step, total, losses: told.append(losses.get("miou")))
    train_fss(many, SPLIT, config, settings, place=place, backbone=backbone)
    assert [score is not None for score in told] == [False, False, True, True]
    settings = settings.model_copy(update={"choose": "test"})
    with pytest.raises(InputError, match="no test pictures"):
        train_fss(many, SPLIT, config, settings, backbone=backbone)
    train_fss(many, SPLIT, config, settings, backbone=backbone, test=novel_set)


class Items:
    """One-class items: class and picture of each."""

    def __init__(self, labels, pictures, count):
        self.counts, self._pictures = Columns(np.array(labels), np.full(len(labels), 100), count), np.array(pictures)

    def numbers(self):
        """Give the picture of each item."""
        return self._pictures


def test_items_of_a_picture_are_held_out_together():
    """No picture is in both parts, though each is an item of two classes; one in eight pictures is held out."""
    data = Items([1 + (i // 16 + i % 2) % 4 for i in range(320)], [i // 2 for i in range(320)], 5)
    held, judged = held_out(data, (1, 2, 3, 4), 60, 1)
    numbers = data.numbers()
    assert not set(numbers[held]) & set(numbers[~held])
    assert len(set(numbers[held])) == 20
    assert judged == (1, 2, 3, 4)


@pytest.mark.parametrize("shots", [1, 5])
def test_whole_classes_are_held_out_where_pictures_are_few(shots):
    """Ten pictures a class, as in FSS-1000: all pictures of one in eight classes, and training sees none of these."""
    labels = np.repeat(np.arange(1, 25), 10)
    held, judged = held_out(Items(labels, range(240), 25), range(1, 25), 60, shots)
    assert judged == (1, 9, 17)
    assert np.array_equal(held, np.isin(labels, judged))
    few = Items(labels[:40], range(40), 5)  # four classes are too few to give one away
    assert held_out(few, range(1, 5), 60, 5)[1] == ()


def test_pictures_are_held_out_as_ever(base_set):
    """Of label maps every eighth one is held out, whatever was left out before."""
    held, _ = held_out(Subset(base_set, range(1, 24)), (1, 2, 3, 4), 60, 1)
    assert np.flatnonzero(held).tolist() == [0, 8, 16]


def test_pictures_of_novel_classes_only(novel_set, backbone, backbone_folder):
    """Without a single base picture training is refused."""
    with pytest.raises(InputError, match="shows a novel class"):
        train_fss(novel_set, SPLIT, FssConfig(backbone=str(backbone_folder)), SETTINGS, backbone=backbone)


def test_subset_of_nothing(base_set):
    """An empty subset has no pictures and no counts."""
    assert len(Subset(base_set, [])) == 0
    assert Subset(base_set, []).counts.shape == (0, 7)
