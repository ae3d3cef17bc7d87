"""Sym-Net, part by part, against plain loops and by hand; what all FSS models share is in test_fss."""

import math

import pytest
import torch
from safetensors.torch import load_file

from fss_models.backbones import Backbone
from fss_models.ensemble import Ensemble
from fss_models.episodes import EpisodeSampler
from fss_models.evaluate_fss import fitted_batch
from fss_models.fss import FssConfig, FssNetwork, build_fss_model, trainable_state
from fss_models.hypercorrelation import HyperCorrelation, likeness_maps
from fss_models.predict import predict_fss
from fss_models.priors import SPM_WINDOWS, self_activation_prior, window_means
from fss_models.prototypes import (
    PrototypeAlignment,
    Regions,
    Thresholds,
    query_triplet,
    region_prototypes,
    support_triplet,
)
from fss_models.symnet_decoder import FourScales, scale_sizes
from pipeline.errors import InputError

NAMES = ("background", "red box", "green box", "blue box", "yellow box", "novel 0", "novel 1")
GROUPS = ("project_query", "project_support", "align", "correlate", "decoder", "mix_shots", "ensemble")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    """Write word vectors of five numbers as word2vec's text format has them."""
    path = tmp_path_factory.mktemp("words") / "vectors.txt"
    words = ("red", "green", "blue", "yellow", "box", "novel", "0", "1", "cup")
    rows = [f"{word} " + " ".join(f"{x:.4f}" for x in noise(5, seed=i).tolist()) for i, word in enumerate(words)]
    path.write_text("\n".join([f"{len(words)} 5", *rows]) + "\n")
    return path


@pytest.fixture
def build(backbone, backbone_folder, vectors):
    """Give a builder of small networks with named classes."""

    def built(shots=1, **options):
        config = FssConfig(
            name="symnet", backbone=str(backbone_folder), precision="float32", shots=shots,
            options={"dim": 8, "text": str(vectors), **options},
        )  # fmt: skip
        network = build_fss_model(config, backbone).eval()
        network.name_classes(NAMES)
        return network

    return built


def episodes_of(base_set, shots=1):
    sampler = EpisodeSampler(base_set.counts, (1, 2, 3, 4), shots=shots)
    return fitted_batch(base_set, [sampler.draw(i) for i in range(2)], 32)


def told(batch):
    return batch.query, batch.supports, batch.masks, batch.classes


# --- SPM ---------------------------------------------------------------------------------------------------------


def test_prior_is_the_published_formula():
    """Norm times mean cosine, over zero-padded windows, stretched and averaged, equals plain loops."""
    query, support, mask = noise(1, 6, 9, 11), noise(1, 6, 7, 8, seed=1), (noise(1, 7, 8, seed=2) > 0.6).float()

    def pooled(x, a, b):
        height, width = x.shape[1:]
        out = torch.zeros_like(x)
        for i in range(height):
            for j in range(width):
                rows = slice(max(0, i - a // 2), i + a // 2 + 1), slice(max(0, j - b // 2), j + b // 2 + 1)
                out[:, i, j] = x[:, rows[0], rows[1]].sum((1, 2)) / (a * b)
        return out

    maps = []
    for a, b in SPM_WINDOWS:
        q, s = pooled(query[0], a, b), pooled((support * mask[:, None])[0], a, b)
        r = torch.zeros(9, 11)
        for i in range(9):
            for j in range(11):
                cosines = torch.cosine_similarity(q[:, i, j, None], s.flatten(1), dim=0, eps=1e-7)
                r[i, j] = q[:, i, j].norm() * cosines.mean()
        maps.append((r - r.min()) / (r.max() - r.min()))
    found = self_activation_prior(query, window_means(support, mask))
    torch.testing.assert_close(found[0], torch.stack(maps).mean(0), atol=1e-5, rtol=1e-4)


def test_prior_ignores_the_scale_of_supports_and_stays_in_range():
    """A hundredfold support tells the same; the prior is in 0..1 for signed levels, and 0 for an empty mask."""
    query, support, mask = noise(2, 6, 9, 9) - 0.3, noise(2, 6, 9, 9, seed=1) - 0.3, noise(2, 9, 9, seed=2)
    found = self_activation_prior(query, window_means(support, mask))
    torch.testing.assert_close(self_activation_prior(query, window_means(100 * support, mask)), found)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (self_activation_prior(query, window_means(support, torch.zeros(2, 9, 9))) == 0).all()


# --- prototypes -----------------------------------------------------------------------------------------------


def test_regions_by_threshold():
    """Cells above, between and below the thresholds are averaged, and those on a threshold belong to no region."""
    prior = torch.tensor([[[0.9, 0.8, 0.7], [0.5, 0.45, 0.55], [0.1, 0.3, 0.4]]])
    f = torch.arange(9.0).view(1, 1, 3, 3)
    found = region_prototypes(f, prior, Thresholds())
    assert [round(x.item(), 4) for x in found] == [0.5, 3.5, 6.5]


def test_regions_without_a_cell_take_twelve():
    """Highest, middle and lowest twelve of forty cells, by their rank in the prior."""
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).float()
    flat = (0.56 + order / 400).view(1, 5, 8)  # from 0.56 to 0.66: no region has a cell
    found = region_prototypes(order.view(1, 1, 5, 8), flat, Thresholds())
    expected = [sum(range(28, 40)) / 12, sum(range(14, 26)) / 12, sum(range(12)) / 12]
    assert [x.item() for x in found] == pytest.approx(expected, rel=1e-5)
    few = region_prototypes(torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 0.6), Thresholds())
    assert [x.item() for x in few] == pytest.approx([1, 1, 1])


def test_one_module_aligns_both_sides(build, base_set):
    """Support and query go through the same object, once each, and equal inputs give equal outputs."""
    network = build()
    assert [name for name, m in network.named_modules() if isinstance(m, PrototypeAlignment)] == ["align"]
    seen = []
    handle = network.align.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    with torch.no_grad():
        network(*told(episodes_of(base_set)))
        again = [network.align(*inputs) for inputs, _ in seen[:2]]
    handle.remove()
    assert len(seen) == 4
    assert torch.equal(seen[0][0][0], seen[1][0][0])  # the same text on both sides
    assert all(torch.equal(a, output) for a, (_, output) in zip(again, seen[:2], strict=True))


def test_alignment_by_hand():
    """Softmax of q B k over the cells, the mixed keys through one layer, added to the prototype; text matters."""
    align = PrototypeAlignment(5, 8, 0.1).eval()
    text, p, z = noise(1, 5), noise(1, 8, seed=1), noise(1, 8, 3, 4, seed=2)
    k = align.key(z)[0].flatten(1).T
    q = align.query.weight @ torch.cat([text, p], 1)[0]
    weights = torch.softmax(torch.stack([q @ align.bilinear @ key for key in k]), 0)
    torch.testing.assert_close(align(text, p, z)[0], align.out(weights @ k) + p[0])
    assert not torch.equal(align(text + 1, p, z), align(text, p, z))
    assert align.bilinear.abs().max() <= 8**-0.5


# --- TDC -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [1 << 24, 50, 1])
def test_likeness_is_a_plain_loop_whatever_the_memory(entries):
    """Mean of clamped cosines over the support's cells on the class, block by block, in one part or in many."""
    channels = (3, 5)
    query, support = noise(3, 8, 5, 6) - 0.5, noise(3, 8, 4, 7, seed=1) - 0.5
    inside = noise(3, 4, 7, seed=2) > 0.7
    inside[2] = False
    found = likeness_maps(query, support, inside, channels, entries)
    assert (found[2] == 0).all()
    assert 0 <= found.min() <= found.max() <= 1
    for b in (0, 1):
        first = 0
        for block, width in enumerate(channels):
            q, s = query[b, first : first + width], support[b, first : first + width][:, inside[b]]
            for i in range(5):
                for j in range(6):
                    cosines = torch.cosine_similarity(q[:, i, j, None], s, dim=0).clamp(min=0)
                    assert found[b, block, i, j].item() == pytest.approx(cosines.mean().item(), abs=1e-6)
            first += width


def test_likeness_of_nothing():
    """Without a cell on any class all maps are 0, also where the blocks are of half precision."""
    maps = likeness_maps(noise(1, 4, 3, 3).bfloat16(), noise(1, 4, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool), (4,))
    assert maps.shape == (1, 1, 3, 3)
    assert maps.dtype == torch.float32
    assert (maps == 0).all()


def test_top_down_order():
    """The fine level alone skips the first convolution; levels of other sizes are brought to the decoder's."""
    tdc = HyperCorrelation((4, 6, 3))
    maps = noise(2, 4, 8, 8), noise(2, 6, 4, 4, seed=1), noise(2, 3, 2, 2, seed=2)
    assert tdc(maps, (8, 8)).shape == (2, 48, 8, 8)
    f4, f3, f2 = (maps[i].clone().requires_grad_() for i in (2, 1, 0))
    entered = []
    tdc.top.register_forward_hook(lambda module, inputs, output: entered.append(inputs[0]))
    tdc((f2, f3, f4), (8, 8))
    inside = torch.autograd.grad(entered[0].sum(), (f3, f4, f2), allow_unused=True)
    assert [g is None for g in inside] == [False, False, True]


# --- decoder and losses ----------------------------------------------------------------------------------------


def test_scales_are_the_published_ones():
    """60, 30, 15, 8 cells on PASCAL and 81, 40, 20, 10 on COCO; a map of one cell stays one."""
    assert [a for a, _ in scale_sizes(60, 60)] == [60, 30, 15, 8]
    assert [a for a, _ in scale_sizes(81, 81)] == [81, 40, 20, 10]
    assert scale_sizes(1, 2) == [(1, 2), (1, 1), (1, 1), (1, 1)]
    decoder = FourScales(256, 49)
    assert decoder.merge[0][0].weight.shape == (256, 561, 1, 1)
    assert decoder.join[0][0].weight.shape == (256, 1024, 1, 1)


def test_support_triplet_by_hand():
    """Hardest cell on the class against the mean of the rest; a support without a rest does not count."""
    # unit features of three cells: on the class (1,0) and (0,1), beside it (-1,0); anchor (2,0)
    f = torch.tensor([[[[1.0, 0.0, -3.0]], [[0.0, 2.0, 0.0]]]]).repeat(2, 1, 1, 1)
    thing = torch.tensor([[[True, True, False]], [[True, True, True]]])
    rest = torch.tensor([[[False, False, True]], [[False, False, False]]])
    anchor = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    expected = 0.5 + math.sqrt(2) - 2  # below 0
    assert expected < 0
    assert support_triplet(anchor, f, thing, rest, 0.5) == 0
    assert support_triplet(anchor, f, thing, rest, 1.0).item() == pytest.approx(1 + math.sqrt(2) - 2, abs=1e-5)
    assert support_triplet(anchor[1:], f[1:], thing[1:], rest[1:], 1.0) == 0


def test_query_triplet_by_hand():
    """Doubt is pulled to the prototype and the rest pushed from it; mean over the batch."""
    anchor = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    doubt, rest = torch.tensor([[0.0, 1.0], [0.0, 5.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    loss = query_triplet(anchor, Regions(anchor, doubt, rest), 0.5)
    assert loss.item() == pytest.approx((0.5 + math.sqrt(2)) / 2, abs=1e-5)  # the second one is met: 0.5 + 0 - 2 < 0


def test_a_perfect_prototype_has_a_finite_gradient():
    """Where a cell equals the anchor the distance is 0 and its gradient no NaN."""
    anchor = torch.tensor([[1.0, 0.0]], requires_grad=True)
    f = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    thing = torch.tensor([[[True, False]]])
    (support_triplet(anchor, f, thing, ~thing, 2.0)).backward()
    assert anchor.grad.isfinite().all()


# --- the network -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [{}, {"standardise": True, "similarities": True}])
def test_gradients_reach_every_trained_group(build, base_set, ours):
    """Each trained part moves; backbone and base learner do not."""
    network = build(shots=2, base=4, base_dim=16, **ours).train()
    with torch.no_grad():
        network.mix_shots[0].weight.abs_()  # both of its channels speak
    network.losses(episodes_of(base_set, 2))["loss"].backward()
    moved = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for group in (*GROUPS, *(["match"] if ours else [])):
        assert any(n.startswith(f"{group}.") for n in moved), group
    assert not {n for n in moved if n.startswith("backbone.") or ".base_learner." in n}
    assert not any(m.training for m in network.ensemble.base_learner.modules())
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert trained == moved


def test_loss_is_the_sum_of_its_parts(build, base_set):
    """Final, meta, scales and triplets count one each; without an ensemble final and meta are one."""
    parts = build().losses(episodes_of(base_set))
    assert parts["loss"].item() == pytest.approx(
        (2 * parts["final"] + parts["inner"] + parts["triplet"]).item(), rel=1e-5
    )


def test_state_keys(build):
    """What is saved: the trained groups, the class names' vectors by number and name, and nothing of the backbone."""
    state = trainable_state(build(base=4, base_dim=16))
    assert {key.split(".")[0] for key in state} == {*GROUPS, "words"}
    words = sorted(key for key in state if key.startswith("words."))
    assert words == sorted(f"words.{i}.{name}" for i, name in enumerate(NAMES) if i)
    assert not any(key.startswith("match") for key in state)
    assert "standardise.running_mean" in trainable_state(build(standardise=True))


def test_without_the_query_prototype(build, base_set):
    """The general prototype is the support's, and neither the query's regions nor their loss are left."""
    network, batch, seen = build(query_prototype=False), episodes_of(base_set), []
    network.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    network.align.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network(*told(batch))
    assert len(seen) == 2
    assert torch.equal(*seen)
    half, both = build(), []
    half.decoder.register_forward_hook(lambda module, inputs, output: both.append(inputs[1]))
    half.align.register_forward_hook(lambda module, inputs, output: both.append(output))
    with torch.no_grad():
        half(*told(batch))
    torch.testing.assert_close(both[2], 0.5 * both[0] + 0.5 * both[1])
    assert network.losses(batch)["triplet"] < half.losses(batch)["triplet"]


def test_hidden_class_is_hidden_in_training_alone(build, base_set):
    """The ensemble must not know the class of a training episode; a tested one is told nothing of it."""
    network, batch, told_of = build(base=4, base_dim=16), episodes_of(base_set), []
    assert isinstance(network.ensemble, Ensemble)
    network.ensemble.register_forward_hook(lambda module, inputs, output: told_of.append(inputs[3]))
    network.losses(batch)
    network.train().losses(batch)
    assert told_of[0] is None
    assert torch.equal(told_of[1], batch.classes)


@pytest.mark.parametrize("stride", [16, 32])
def test_other_strides(backbone_folder, base_set, vectors, stride):
    """Levels of several sizes are brought to that of f3."""
    config = FssConfig(name="symnet", backbone="", options={"dim": 8, "text": str(vectors)})
    backbone = Backbone.from_pretrained(backbone_folder, stride=stride, precision="float32")
    network = build_fss_model(config, backbone).eval()
    network.name_classes(NAMES)
    with torch.no_grad():
        found = network(*told(episodes_of(base_set)))
    assert found.shape == (2, 4, 4)
    assert found.isfinite().all()


# --- names -----------------------------------------------------------------------------------------------------


def test_a_loaded_model_knows_its_names_without_the_source(build, base_set, vectors, tmp_path):
    """Bit for bit the same for the classes of training; a new name asks the source, and says so where it is gone."""
    source = tmp_path / "own.txt"
    source.write_text(vectors.read_text())
    network, batch = build(text=str(source)), episodes_of(base_set)
    network.save_pretrained(tmp_path / "m")
    assert load_file(tmp_path / "m" / "model.safetensors")["words.1.red box"].shape == (5,)
    fresh = FssNetwork.from_pretrained(tmp_path / "m")
    with torch.no_grad():
        expected = network(*told(batch))
        assert torch.equal(fresh(*told(batch)), expected)
        source.unlink()
        again = FssNetwork.from_pretrained(tmp_path / "m")
        again.name_classes(NAMES)
        assert torch.equal(again(*told(batch)), expected)
        again.name_classes([NAMES[0], *reversed(NAMES[1:])])
        assert not torch.equal(again(*told(batch)), expected)
    with pytest.raises(InputError, match=r"own\.txt holds no word vectors"):
        again.name_classes(("background", "cup"))
    picture, labels = base_set[0]
    shown = [picture], [labels > 0]
    assert predict_fss(again, picture, *shown, name="red box").shape == labels.shape
    with pytest.raises(InputError, match="no vector of the word 'zebra'"):
        predict_fss(build(), picture, *shown, name="zebra")


def test_names_are_needed(backbone, base_set, vectors):
    """A model that reads names says what is missing; one without text works without."""
    batch = episodes_of(base_set)
    silent = build_fss_model(FssConfig(name="symnet", backbone="", options={"dim": 8, "text": str(vectors)}), backbone)
    with pytest.raises(RuntimeError, match="name_classes"):
        silent(*told(batch))
    plain = build_fss_model(FssConfig(name="symnet", backbone="", options={"dim": 8}), backbone).eval()
    plain.name_classes(("background", "whatever"))
    assert plain(*told(batch)).isfinite().all()


def test_text_matters(build, base_set):
    """Another name for the same pictures gives another answer."""
    network, batch = build(), episodes_of(base_set)
    with torch.no_grad():
        found = network(*told(batch))
        network.name_classes(("background", *["cup"] * 6))
        assert not torch.equal(network(*told(batch)), found)
