import numpy as np
import pytest
import torch
from scipy.special import softmax

from fss_models.attention import CrossAttention, directional_mask
from fss_models.cam import best_threshold, split_regions
from fss_models.iir import IIR
from fss_models.layers import cosine_map, gram_distance, masked_average, region_min_max
from fss_models.priors import local_map, prior_map, similarities
from fss_models.seen import Seen


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_directional_mask_by_hand():
    """On 3 queries and 3 supports only the two conflicting best matches are dropped, at [i*, j]."""
    logits = torch.tensor([[[5.0, 0.0, 1.0], [1.0, 4.0, 0.0], [0.0, 1.0, 3.0]]])  # best query of support j is j
    support = torch.tensor([[True, True, False]])
    query = torch.tensor([[1, 0, 1]])
    expected = torch.tensor([[[False, False, False], [False, True, False], [False, False, True]]])
    assert torch.equal(directional_mask(logits, support, query), expected)


def test_directional_mask_is_not_transposed():
    """When support 0 matches query 2, the entry is [2, 0] and not [0, 2]."""
    logits = torch.tensor([[[0.0, 2.0, 2.0], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])
    mask = directional_mask(logits, torch.tensor([[True, False, False]]), torch.tensor([[0, 0, 0]]))
    assert mask[0, 2, 0]
    assert mask.sum() == 1


def test_unlabelled_queries_conflict_with_nothing():
    """Query positions of label 255 lose no entry."""
    mask = directional_mask(random(1, 4, 4), torch.tensor([[True, False, True, False]]), torch.full((1, 4), 255))
    assert not mask.any()


def test_a_query_without_entries_still_attends():
    """If every entry of a query is dropped, the output is finite."""
    block = CrossAttention(8, 0.0)
    key = torch.zeros(1, 5, 8)
    out, share = block(random(1, 5, 8), key, torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5))
    assert torch.isfinite(out).all()
    assert share == 1


def seen(pairs, shots, size=6, seed=0):
    query = Seen(
        random(pairs, 5, size, size, seed=seed), random(pairs, 7, size, size, seed=seed + 1),
        random(pairs, 9, size, size, seed=seed + 2), random(pairs, shots, size, size, seed=seed + 3).sigmoid(),
    )
    n = pairs * shots
    support = Seen(
        random(n, 5, size, size, seed=seed + 4), random(n, 7, size, size, seed=seed + 5),
        random(n, 9, size, size, seed=seed + 6), random(n, size, size, seed=seed + 7).sigmoid(),
    )
    return query, support, random(pairs, shots, 12, 12, seed=seed + 8) > 0


def build(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IIR(12, 9, dim=16, blocks=3, **settings)


def test_directional_dropout_is_for_training_only():
    """The query's labels change the output in training mode and never in evaluation mode."""
    query, support, masks = seen(2, 1)
    labels = (random(2, 12, 12, seed=20) > 0).to(torch.uint8)
    iir = build(dropout=0.0, feature_dropout=0.0)
    assert torch.equal(iir.eval()(query, support, masks, labels), iir(query, support, masks))
    assert not torch.equal(iir.train()(query, support, masks, labels), iir(query, support, masks))


def test_pairs_do_not_see_each_other():
    """Two pairs decoded together equal each decoded alone."""
    query, support, masks = seen(2, 1)
    iir = build().eval()
    both = iir(query, support, masks)
    for i in range(2):
        alone = iir(Seen(*(x[i : i + 1] for x in query)), Seen(*(x[i : i + 1] for x in support)), masks[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shots", [1, 3])
def test_order_of_shots_does_not_matter(shots):
    """K-shot weights sum to one and the result is the same for shots in another order."""
    query, support, masks = seen(2, shots)
    iir = build(shots=shots).eval()
    code = iir.encode_supports(support, masks)
    weights = iir.shot_weights(query.f2, code.f2)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    turned = [x.unflatten(0, (2, shots)).flip(1).flatten(0, 1) for x in support]
    other = iir(query._replace(cam=query.cam.flip(1)), Seen(*turned), masks.flip(1))
    torch.testing.assert_close(iir(query, support, masks), other, atol=1e-5, rtol=1e-4)


def test_empty_masks_give_finite_logits():
    """A support mask that vanishes at token size breaks nothing."""
    query, support, masks = seen(2, 1)
    assert torch.isfinite(build().eval()(query, support, torch.zeros_like(masks))).all()


def test_prior_against_an_independent_reading():
    """The prior equals a plain NumPy reading of the formula and lies in 0..1."""
    f4, core, local = random(2, 5, 4, 4), random(2, 5, seed=1), random(2, 5, seed=2)
    active = random(2, 4, 4, seed=3) > 0
    prior = prior_map(f4, active, core, local).numpy()
    assert prior.min() >= 0
    assert prior.max() <= 1
    for b in range(2):
        for region, p in ((active[b].numpy(), core[b].numpy()), (~active[b].numpy(), local[b].numpy())):
            cells = f4[b].numpy()[:, region].T
            cosine = cells @ p / np.linalg.norm(cells, axis=1) / np.linalg.norm(p)
            expected = (cosine - cosine.min()) / (cosine.max() - cosine.min())
            np.testing.assert_allclose(prior[b][region], expected, atol=1e-5)


def test_prior_of_one_region_only():
    """Where nothing is CAM-active the whole prior comes from the local prototype."""
    f4 = random(1, 5, 4, 4)
    none = torch.zeros(1, 4, 4, dtype=torch.bool)
    prior = prior_map(f4, none, random(1, 5, seed=1), random(1, 5, seed=2))
    other = prior_map(f4, none, random(1, 5, seed=9), random(1, 5, seed=2))
    assert torch.equal(prior, other)
    assert prior.max() == 1


def test_prototypes_by_hand():
    """Masked averages count the cells of the region alone, and an empty region gives zero."""
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    region = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(masked_average(features, region), torch.tensor([[2.5]]))
    assert masked_average(features, torch.zeros(1, 2, 2)).item() == 0


def test_local_map_takes_each_prototype_in_its_region():
    """Active cells hold the core prototype, the others the local one."""
    out = local_map(torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[[1.0, 0.0]]]))
    assert out.flatten().tolist() == [1.0, 2.0]


def test_regions_partition_the_mask():
    """Core and local do not overlap and are the mask together."""
    mask = random(3, 4, 4) > 0
    core, local = split_regions(random(3, 4, 4, seed=1) > 0, mask)
    assert not (core & local).any()
    assert torch.equal(core | local, mask)


def test_threshold_that_fits_best():
    """A map that is a soft copy of the mask gets a threshold that recovers it."""
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:3] = True
    cam = torch.where(mask, 0.7, 0.3)
    threshold = best_threshold(cam, mask)
    assert torch.equal(cam > threshold[:, None, None], mask)
    assert threshold.item() == pytest.approx(0.3, abs=0.02)


def test_min_max_guards():
    """An empty and a constant region give zeros, never NaN."""
    values = torch.ones(2, 2, 2)
    region = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]).bool()
    assert torch.equal(region_min_max(values, region), torch.zeros(2, 2, 2))


def test_cosine_of_zero_is_zero():
    """Zero features and zero prototypes match nothing."""
    assert torch.equal(cosine_map(torch.zeros(1, 3, 2, 2), torch.ones(1, 3)), torch.zeros(1, 2, 2))


def test_gram_distance_knows_the_same_picture():
    """A picture has distance zero to itself and more to another."""
    x, y = random(1, 4, 3, 3), random(1, 4, 3, 3, seed=1)
    assert gram_distance(x, x).item() == 0
    assert gram_distance(x, y).item() > 0.01


def test_attention_agrees_with_numpy():
    """Without dropout the attention of a cross block is softmax(QK/sqrt(d)) V."""
    block = CrossAttention(8, 0.0).eval()
    q, s = random(1, 5, 8), random(1, 5, 8, seed=1)
    fast, _ = block(q, s, torch.zeros(1, 5, dtype=torch.bool), None)
    logits = (block.query(q) @ block.key(s).transpose(1, 2)).detach().numpy() / np.sqrt(8)
    mixed = torch.from_numpy(softmax(logits, axis=-1)).float() @ block.value(s)
    out = block.norms[0](mixed) + q
    torch.testing.assert_close(fast, out + block.norms[1](block.network(out)), atol=1e-5, rtol=1e-4)


def test_similarities_can_say_absent():
    """The plain cosines of a picture without the class are low everywhere, although its prior still reaches one."""
    p_mid, p_high = random(1, 6, seed=1), random(1, 5, seed=2)
    absent = -p_mid[..., None, None].expand(1, 6, 3, 3) + 0.1 * random(1, 6, 3, 3, seed=3)
    f4 = -p_high[..., None, None].expand(1, 5, 3, 3) + 0.1 * random(1, 5, 3, 3, seed=4)
    assert similarities(absent, f4, p_mid, p_high).max() < -0.8
    assert prior_map(f4, torch.ones(1, 3, 3, dtype=torch.bool), p_high, p_high).max() == 1
