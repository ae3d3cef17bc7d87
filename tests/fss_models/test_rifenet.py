import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fss_models import trainer
from fss_models.augment import jitter
from fss_models.cycle_transformer import CycleAttention, CycleTransformer, choose_tokens, inconsistent
from fss_models.deformable import DeformableAttention, sine_positions
from fss_models.dice import dice, two_channels
from fss_models.episodes import Episode, EpisodeSampler
from fss_models.fss import FssConfig, build_fss_model, trainable_state
from fss_models.optimiser import Optimiser
from fss_models.priors import matched_prior
from fss_models.randomness import numpy_rng, seeded
from fss_models.rifenet import RiFeNet
from fss_models.train_fss import FssBatches, train_fss
from fss_models.trainer import Place
from pipeline.classes import ClassSplit
from pipeline.config import FssSettings
from pipeline.errors import InputError

OPTIONS = {"dim": 16, "layers": 2, "heads": 2, "points": 2, "tokens": 9}
SETTINGS = FssSettings(steps=4, batch=2, lr=2e-3, choose="none")
SPLIT = ClassSplit("tiny", 0, ("a", "b", "c", "d"), ("e", "f"), ("a", "b", "c", "d", "e", "f"))
CLASSES = (1, 2, 3, 4)
GOLDEN = {"classes": [4, 1], "truth": [235, 204], "masks": [109, 100], "query": 2925.817}
"""Of the third batch of `SETTINGS`, drawn by the code before there were unlabeled pictures."""


def build(backbone, **options):
    config = FssConfig(name="rifenet", backbone=backbone.source, precision="float32", options={**OPTIONS, **options})
    return build_fss_model(config, backbone)


def batch_of(data, shots=1, unlabeled=2, number=0):
    return FssBatches(data, CLASSES, SETTINGS, shots, 32, seed=0, unlabeled=unlabeled)(number)


def told(batch):
    return batch.query, batch.supports, batch.masks, batch.classes


def values(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- the unlabeled branch ---------------------------------------------------------------------------------------


def test_predictions_know_no_unlabeled_branch(backbone, base_set):
    """The number of unlabeled pictures changes neither weights nor predictions, and no module of training runs."""
    batch = batch_of(base_set)
    models = [build(backbone, unlabeled=n).eval() for n in (0, 1, 2)]
    states = [m.state_dict() for m in models]
    assert all(torch.equal(x, s[k]) for s in states[1:] for k, x in states[0].items())
    ran = []
    for model in models:
        model.reverse.register_forward_hook(lambda *_: ran.append("reverse"))
        model.head.register_forward_hook(lambda *_: ran.append("head"))
    with torch.no_grad():
        found = [m(*told(batch)) for m in models]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert ran == ["head"] * 3


def test_unlabeled_loss_does_not_teach_the_weak_view(backbone, base_set):
    """The gradient is that of the strong view towards a constant, not that of both."""
    batch = batch_of(base_set)
    model = build(backbone).eval()
    seen = []
    model.head.register_forward_hook(lambda _, __, out: seen.append(out))
    code = {k: x.unflatten(0, (2, 1)) for k, x in model.encode(
        model.see(batch.supports[:, 0]), batch.masks[:, 0], batch.classes).items()}  # fmt: skip
    local = model._look(model.see(batch.query), code)[2]
    views = [model.see(x.flatten(0, 1)) for x in (batch.weak, batch.strong)]
    loss = model.consistency(*views, code, local)
    weak, strong = seen
    assert not weak.requires_grad
    torch.testing.assert_close(loss, dice(strong, weak.sigmoid()))
    assert torch.autograd.grad(loss, strong, retain_graph=True)[0].abs().sum() > 0
    found = torch.autograd.grad(loss, model.head[0].weight)[0]
    # the same with the weak view computed with gradients and cut off behind
    strong, weak = (_logits(model, views, code, local) for views in (batch.strong, batch.weak))
    again = torch.autograd.grad(dice(strong, weak.detach().sigmoid()), model.head[0].weight, retain_graph=True)[0]
    torch.testing.assert_close(again, found)
    both = dice(strong, weak.sigmoid())
    assert not torch.allclose(torch.autograd.grad(both, model.head[0].weight)[0], found)


def _logits(model, views, code, local):
    code = {k: x.repeat_interleave(2, 0) for k, x in code.items()}
    f, prior, _ = model._look(model.see(views.flatten(0, 1)), code, guided=True)
    return model.head(model._decoded(f, prior, local.repeat_interleave(2, 0), code))


def test_branch_is_guided_by_the_query(backbone, base_set):
    """Another query changes the loss of the same unlabeled pictures, unless there is no local prototype."""
    batch = batch_of(base_set)
    for kind, changes in (("pooled", True), ("attention", True), ("none", False)):
        model, found = build(backbone, local=kind).eval(), []
        for query in (batch.query, batch.query.flip(3)):
            batch.query = query
            found.append(model.losses(batch)["unlabeled"].item())
        assert (found[0] != found[1]) == changes


def test_losses_add_up(backbone, base_set):
    """The loss is main + aux + beta unlabeled; without unlabeled pictures the last part is missing."""
    model = build(backbone, beta=0.25).eval()
    batch = batch_of(base_set, shots=2)
    found = model.losses(batch)
    expected = found["main"] + found["aux"] + 0.25 * found["unlabeled"]
    torch.testing.assert_close(found["loss"], expected)
    assert set(model.losses(batch_of(base_set, unlabeled=0))) == {"loss", "main", "aux"}


@pytest.mark.parametrize("local", ["pooled", "attention", "none"])
def test_gradients_reach_all_trained_parts(backbone, base_set, local):
    """Every weight that is trained has a gradient, and none is infinite, once offsets are not all zero any more."""
    model = build(backbone, local=local, dim=128).train()
    with torch.no_grad():  # as drawn, the places of the deformable attention do not depend on what asks
        for layer in model.transformer.layers:
            layer.own.offsets.weight.normal_(0, 0.1)
    with seeded("gradients"):
        model.losses(batch_of(base_set))["loss"].backward()
    left = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not left
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(g.isfinite().all() for g in grads.values())
    silent = [name for name, g in grads.items() if not g.abs().sum()]
    assert not silent


# --- pictures ---------------------------------------------------------------------------------------------------


def test_draws_of_labelled_pictures_are_as_ever(base_set):
    """Golden, from before there were unlabeled pictures, which change none of the other draws."""
    plain, more = batch_of(base_set, unlabeled=0, number=3), batch_of(base_set, number=3)
    assert plain.weak is None
    assert plain.classes.tolist() == GOLDEN["classes"]
    assert (plain.truth == 1).sum((1, 2)).tolist() == GOLDEN["truth"]
    assert (plain.masks == 1).sum((1, 2, 3)).tolist() == GOLDEN["masks"]
    assert float(plain.query.sum()) == pytest.approx(GOLDEN["query"], abs=0.1)
    for name in ("query", "truth", "supports", "masks", "classes"):
        assert torch.equal(getattr(plain, name), getattr(more, name))


def test_unlabeled_pictures_are_of_the_class(base_set):
    """Views are of other pictures of the class, the strong one shows the same in other colours, all drawn by number."""
    batch, again = batch_of(base_set, number=5), batch_of(base_set, number=5)
    assert batch.weak.shape == batch.strong.shape == (2, 2, 3, 32, 32)
    assert torch.equal(batch.weak, again.weak)
    assert torch.equal(batch.strong, again.strong)
    assert not torch.equal(batch.weak, batch.strong)
    sampler = EpisodeSampler(base_set.counts, CLASSES, shots=1)
    for i in range(20):
        episode = sampler.draw(i)
        drawn = sampler.others(episode, 4, numpy_rng("others", i))
        assert len(set(drawn)) == 4
        assert episode.query not in drawn
        assert all(base_set.counts[p, episode.label] >= 60 for p in drawn)
    few = Episode(1, 0, (4,))
    assert len(sampler.others(few, 7, numpy_rng("few"))) == 7  # there are six of each class: some come twice


def test_jitter_leaves_shapes_alone():
    """Grey stays grey whatever the hue, values stay in 0..1, and equal generators give equal colours."""
    x = torch.full((3, 6, 6), 0.5)
    x[:, 2:4, 2:4] = 0.2
    found = [jitter(x, numpy_rng("jitter", i)) for i in (0, 0, *range(1, 9))]
    assert torch.equal(found[0], found[1])
    assert len({float(y[0, 0, 0]) for y in found}) > 5
    for y in found:
        assert y.shape == x.shape
        assert 0 <= y.min() <= y.max() <= 1
        assert (y[0] - y[1]).abs().max() == 0
        assert (y[:, 2:4, 2:4] < y[:, :1, :1]).all()
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 4, 4)
    hues = [jitter(red, numpy_rng("red", i))[:, 0, 0] for i in range(20)]
    assert any(y[1] > y[2] for y in hues)
    assert any(y[2] > y[1] for y in hues)
    assert all(y.argmax() != 1 or y[0] >= 0.5 * y[1] - 0.01 for y in hues)  # a quarter turn at most


# --- parts ------------------------------------------------------------------------------------------------------


def test_deformable_attention_is_a_plain_loop():
    """Each head adds up bilinear samples at reference + offset, zero beside the map, by softmax weights."""
    heads, points, dim, (h, w) = 2, 3, 8, (3, 4)
    part = DeformableAttention(dim, heads, points)
    with torch.no_grad():
        for i, p in enumerate(part.parameters()):
            p.add_(0.3 * values(i, *p.shape))
    asking, x = values(11, 2, h * w, dim), values(12, 2, h * w, dim)
    value = part.value(x).view(2, h, w, heads, dim // heads)
    expected = torch.zeros(2, h * w, heads, dim // heads)
    for b in range(2):
        for t in range(h * w):
            offsets = part.offsets(asking[b, t]).view(heads, points, 2)
            weights = part.weights(asking[b, t]).view(heads, points).softmax(1)
            for head in range(heads):
                for p in range(points):
                    col, row = t % w + offsets[head, p, 0].item(), t // w + offsets[head, p, 1].item()
                    left, top = int(np.floor(col)), int(np.floor(row))
                    for y, x_ in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                        if 0 <= y < h and 0 <= x_ < w:
                            share = (1 - abs(col - x_)) * (1 - abs(row - y))
                            expected[b, t, head] += share * weights[head, p] * value[b, y, x_, head]
    torch.testing.assert_close(part(asking, x, (h, w)), part.out(expected.flatten(2)), atol=1e-5, rtol=1e-4)


def test_deformable_attention_starts_around_the_cell():
    """Heads look right, down, left and up, one to three cells far, all alike strongly."""
    part = DeformableAttention(8, 4, 3)
    offsets = part.offsets(torch.zeros(8)).view(4, 3, 2)
    way = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    torch.testing.assert_close(offsets, way[:, None] * torch.arange(1, 4)[:, None], atol=1e-6, rtol=0)
    assert part.weights(values(0, 8)).view(4, 3).softmax(1).allclose(torch.tensor(1 / 3))


def test_positions_differ_and_are_bounded():
    """No two cells have the same code; rows share the first half, columns the second."""
    code = sine_positions(16, 3, 5, torch.device("cpu"))
    assert code.shape == (15, 16)
    assert len(code.round(decimals=4).unique(dim=0)) == 15
    assert code.abs().max() <= 1
    grid = code.view(3, 5, 16)
    assert torch.equal(grid[1, 0, :8], grid[1, 4, :8])
    assert torch.equal(grid[0, 2, 8:], grid[2, 2, 8:])


def test_cycle_consistency_by_hand():
    """Three query cells, four tokens: 0 and 1 of the thing, 2 and 3 beside it."""
    logits = torch.tensor([[9.0, 1, 2, 1], [1, 2, 8, 3], [0, 7, 1, 4]])[None, None]
    # token 0 -> cell 0 -> token 0, same; 1 -> cell 2 -> 1, same; 2 -> cell 1 -> 2, same; 3 -> cell 2 -> 1: the thing
    labels = torch.tensor([[1, 1, 0, 0]])
    assert inconsistent(logits, labels).tolist() == [[[False, False, False, True]]]
    assert not inconsistent(logits, torch.tensor([[1, 1, 0, 1]])).any()
    part = CycleAttention(4, 1, 0.0).eval()
    with torch.no_grad():
        for linear in (part.query, part.key, part.value, part.out):
            linear.weight.copy_(torch.eye(4))
    x, tokens = 4 * torch.eye(4)[:3], torch.eye(4) * 4
    tokens[3] = torch.tensor([3.0, 0, 0, 0])  # its best cell is 0, whose best token is 0
    found = part(x[None], tokens[None], labels)
    weights = (x @ tokens[:3].T / 2).softmax(1)  # without token 3
    torch.testing.assert_close(found[0], weights @ tokens[:3])
    unknown = part(x[None], tokens[None], torch.tensor([[1, 1, 255, 1]]))
    torch.testing.assert_close(unknown[0], (x @ tokens[[0, 1, 3]].T / 2).softmax(1) @ tokens[[0, 1, 3]])


@pytest.mark.parametrize(
    ("things", "rest", "each", "expected"),
    [
        (5, 5, 3, (3, 3)), (1, 9, 3, (1, 5)), (9, 1, 3, (5, 1)), (10, 0, 3, (6, 0)), (0, 10, 3, (0, 6)),
        (2, 2, 9, (2, 2)),
    ],
)
def test_tokens_of_both_kinds(things, rest, each, expected):
    """As many of each kind, a shortage filled from the other; what is unknown only where all else is taken."""
    labels = torch.tensor([[1] * things + [255] * 2 + [0] * rest])
    places = choose_tokens(labels, each, torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)))
    chosen = labels[0, places[0]]
    assert ((chosen == 1).sum(), (chosen == 0).sum()) == expected
    assert len(set(places[0].tolist())) == len(places[0]) == min(labels.shape[1], 2 * each)


def test_tokens_follow_their_ranks():
    """The first in order are taken, each kind for itself."""
    labels = torch.tensor([[1, 1, 1, 0, 0, 0]])
    places = choose_tokens(labels, 1, torch.tensor([[0.3, 0.1, 0.2, 0.9, 0.5, 0.7]]))
    assert sorted(places[0].tolist()) == [1, 4]


def test_samples_belong_to_the_step():
    """In training equal seeds draw equal tokens and others do not; in evaluation it is always the same ones."""
    part = CycleTransformer(8, 1, 2, 2, 4, 0.0)
    supports = torch.arange(64.0)[None, None, :, None].expand(1, 1, 64, 8)
    labels = (torch.arange(64) % 2)[None, None]

    def drawn(*names):
        with seeded(*names):
            return part._sampled(supports, labels)[0][0, :, 0].sort()[0].tolist()

    assert drawn("a") == drawn("a")
    assert len({len(drawn(i)) for i in range(12)}) > 3
    assert 2 * 2 <= min(len(drawn(i)) for i in range(12)) <= max(len(drawn(i)) for i in range(12)) <= 2 * 16
    part.eval()
    assert drawn("a") == drawn("b")
    assert len(drawn("a")) == 8


def test_dice_by_hand():
    """Of two cells of four each channel; 255 is in neither channel but in the predicted size."""
    labels = torch.tensor([[[1, 0], [255, 0]]])
    target = two_channels(labels)
    assert target[0, 0].tolist() == [[0, 1], [0, 1]]
    assert target[0, 1].tolist() == [[1, 0], [0, 0]]
    logits = torch.zeros(1, 2, 2, 2)  # s is 1/2 everywhere: sum s^2 = 1
    background, foreground = 1 - 2 * 1.0 / (1 + 2), 1 - 2 * 0.5 / (1 + 1)
    assert dice(logits, target).item() == pytest.approx(background + foreground)
    sure = torch.where(target > 0, 40.0, -40.0)
    assert dice(sure, target).item() == pytest.approx(0, abs=1e-6)
    assert dice(torch.cat([logits, sure]), torch.cat([target, target])).item() == pytest.approx(
        (background + foreground) / 2
    )


@pytest.mark.parametrize("label", [0, 1, 255])
def test_masks_of_one_label(backbone, base_set, label):
    """Supports that are all thing, all rest or all unknown give finite logits, losses and gradients."""
    batch = batch_of(base_set)
    batch.masks = torch.full_like(batch.masks, label)
    model = build(backbone)
    with torch.no_grad():
        assert model.eval()(*told(batch)).isfinite().all()
    with seeded("masks"):
        loss = model.train().losses(batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_prior_by_hand():
    """The best cosine over the support's masked cells, stretched to 0..1; scales do not matter."""
    f4 = torch.tensor([[1.0, 0], [3, 3], [0, 2]]).T.reshape(1, 2, 1, 3)
    support = torch.tensor([[5.0, 0], [0, 0]]).T.reshape(1, 2, 1, 2)
    torch.testing.assert_close(matched_prior(f4, support), torch.tensor([[[1.0, 0.5**0.5, 0.0]]]))
    wild = matched_prior(values(0, 3, 6, 5, 4), values(1, 3, 6, 2, 7))
    assert wild.shape == (3, 5, 4)
    assert wild.min() == 0
    assert 1 - 1e-5 < wild.flatten(1).amax(1).min() <= wild.max() <= 1 + 1e-6
    assert not matched_prior(f4, torch.zeros_like(support)).any()


def test_prototypes_have_the_published_sizes(backbone):
    """At the published width 1,024 numbers as released, 256 with attention; the merging convolution takes them in."""
    for kind, size in (("pooled", 1024), ("attention", 256), ("none", 0)):
        model = build_fss_model(FssConfig(name="rifenet", backbone=backbone.source, options={"local": kind}), backbone)
        assert model.merge_query[0].in_channels == 256 + 256 + size + 1
        if model.local is not None:
            f2 = torch.rand(2, backbone.channels[1], 60, 60)
            found = model.local.eval()(f2, torch.rand(2, 256, 60, 60), torch.rand(2, 1, 60, 60))
            assert found.shape == (2, size)
    reduce = build(backbone).local.eval()
    f2 = torch.rand(1, backbone.channels[1], 60, 60)
    expected = F.avg_pool2d(reduce.reduce(f2), 15).flatten(1)  # cells of 15 x 15
    torch.testing.assert_close(reduce(f2, f2, torch.ones(1, 1, 60, 60)), expected)


# --- training ---------------------------------------------------------------------------------------------------


def test_a_resumed_training_gives_the_same_weights(backbone, base_set, tmp_path, monkeypatch):
    """Killed after two of four steps and started again: sampled tokens and unlabeled pictures belong to the step."""
    config = FssConfig(name="rifenet", backbone=backbone.source, precision="float32", options=OPTIONS)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)

    def kill(step, total, losses):
        if step == 3:
            raise KeyboardInterrupt

    whole = train_fss(base_set, SPLIT, config, SETTINGS, backbone=backbone)
    with pytest.raises(KeyboardInterrupt):
        train_fss(base_set, SPLIT, config, SETTINGS, place=Place(tmp_path, kill), backbone=backbone)
    again = train_fss(base_set, SPLIT, config, SETTINGS, place=Place(tmp_path), backbone=backbone)
    expected = trainable_state(whole)
    assert all(torch.equal(x, expected[name]) for name, x in trainable_state(again).items())


def test_half_precision(backbone, base_set):
    """Trained in bf16 the weights are finite, and others than in single precision."""
    config = FssConfig(name="rifenet", backbone=backbone.source, precision="float32", options=OPTIONS)
    plain, half = (
        trainable_state(train_fss(base_set, SPLIT, config, SETTINGS.model_copy(update=more), backbone=backbone))
        for more in ({"optimiser": "sgd"}, {"optimiser": "sgd", "precision": "bf16"})
    )
    assert all(x.isfinite().all() for x in half.values())
    assert any(not torch.equal(x, plain[name]) for name, x in half.items())


def test_the_transformer_has_a_rate_of_its_own(backbone, base_set):
    """It alone has AdamW's constant rate, whatever the schedule does to the others; its state is kept too."""
    model = build(backbone)
    optimiser = Optimiser(model.named_parameters(), 0.5, kind="sgd", apart=(RiFeNet.apart, 1e-3))
    with seeded("rates"):
        model.train().losses(batch_of(base_set))["loss"].backward()
    before = {name: x.clone() for name, x in model.named_parameters()}
    optimiser.step(0.0)
    moved = {name for name, x in model.named_parameters() if not torch.equal(x, before[name])}
    assert moved
    assert all(name.startswith("transformer.") for name in moved)
    largest = max((x - before[name]).abs().max() for name, x in model.named_parameters())
    assert 0.5e-3 < largest < 1.2e-3  # a first step of AdamW is as long as its rate, and its decay a hundredth of that
    assert set(optimiser.state_dict()) == {"sgd", "apart"}
    again = Optimiser(model.named_parameters(), 0.5, kind="sgd", apart=(RiFeNet.apart, 1e-3))
    again.load_state_dict(optimiser.state_dict())
    assert len(again.state_dict()["apart"]["state"]) == len(optimiser.state_dict()["apart"]["state"]) > 0


def test_bad_options(backbone):
    """A width that the heads do not divide and an unknown local prototype are told in a sentence."""
    with pytest.raises(InputError, match="dim 16 is not a multiple of heads 3"):
        build(backbone, heads=3)
    with pytest.raises(InputError, match="does not take the options"):
        build(backbone, local="some")
