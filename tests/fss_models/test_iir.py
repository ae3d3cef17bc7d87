from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax

from fss_models.attention import CrossAttention, directional_mask
from fss_models.cam import best_threshold, split_regions
from fss_models.iir import IIR, PRESETS, PUBLISHED, Compat, preset
from fss_models.layers import cosine_map, gram_distance, masked_average, region_min_max
from fss_models.priors import category_prior, local_map, prior_map, similarities
from fss_models.seen import Seen
from pipeline.errors import InputError


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
    with torch.no_grad():  # as drawn, both hidden units may be dead
        for i, layer in enumerate(iir.mix_shots):
            layer.weight.copy_(random(*layer.weight.shape, seed=i).abs() * 20 ** i)
    code = iir.encode_supports(support, masks)
    weights = iir.shot_weights(query.f2, code.f2)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert shots == 1 or (weights.amax(1) > 1.2 * weights.amin(1)).all()
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


# --- IIR to the letter against an independent NumPy reading -------------------------------------------------------


def enlarged(x, size):
    """Resize (h, w) bilinearly to a whole multiple or fraction of its size, pixel centres, edges clamped."""
    def axis(n, m):
        place = (np.arange(m) + 0.5) * n / m - 0.5
        low = np.floor(place).astype(int)
        part = place - low
        return np.clip(low, 0, n - 1), np.clip(low + 1, 0, n - 1), part

    (a, b, s), (c, d, t) = axis(x.shape[0], size[0]), axis(x.shape[1], size[1])
    rows = x[a] * (1 - s)[:, None] + x[b] * s[:, None]
    return rows[:, c] * (1 - t) + rows[:, d] * t


def test_inter_image_refinement_against_numpy():
    """Threshold, regions, both prototypes, prior and local map of one support equal the formulas read with NumPy.

    The sizes are those of IIR without dilation, divided: f2 of 8 cells, f3 of 4, f4 of 2, pictures of 16 pixels.
    """
    generator = np.random.default_rng(0)
    f2, f3, f4 = (generator.normal(size=(c, n, n)).astype(np.float32) for c, n in ((3, 8), (4, 4), (5, 2)))
    cam, mask = 0.4 * generator.random((16, 16)).astype(np.float32), np.zeros((16, 16), bool)
    mask[1:14, 2:12] = True
    cam[2:13, 1:9] += 0.6
    iir = build_letter(mid=7, high=5)
    support = Seen(*(torch.from_numpy(x)[None] for x in (f2, f3, f4, cam)))
    code = iir.encode_supports(support, torch.from_numpy(mask)[None, None])
    # 1. tau = argmax over 0, 0.02 .. 1 of IoU(1[cam > tau], M)
    ious = [((cam > t) & mask).sum() / max(((cam > t) | mask).sum(), 1) for t in np.linspace(0, 1, 51)]
    tau = np.linspace(0, 1, 51)[int(np.argmax(ious))]
    assert code.threshold.item() == pytest.approx(tau)
    core, local = mask & (cam > tau), mask & ~(cam > tau)
    # 2. high-level prototypes: masked averages over bilinearly resized regions, of unit length
    for region, found in ((core, code.core), (local, code.local)):
        weight = enlarged(region.astype(np.float64), (2, 2))
        p = (f4 * weight).sum((1, 2)) / weight.sum()
        np.testing.assert_allclose(found[0, 0], p / np.linalg.norm(p), atol=1e-5)
    # 3. mid-level prototypes in ReLU(W [F3; F2])
    f2_down = np.stack([enlarged(x, (4, 4)) for x in f2])
    w = iir.project_support[0].weight.detach().numpy()[:, :, 0, 0]
    f = np.maximum(np.einsum("oc,chw->ohw", w, np.concatenate([f3, f2_down])), 0)
    mid = {}
    for name, region in (("whole_mid", mask), ("core_mid", core), ("local_mid", local)):
        weight = enlarged(region.astype(np.float64), (4, 4))
        mid[name] = (f * weight).sum((1, 2)) / weight.sum()
        np.testing.assert_allclose(getattr(code, name)[0, 0].detach(), mid[name], atol=1e-4)
    # 4. prior at the size of F4, with tau of the support on the query's map
    cam_q, f4_q = np.roll(cam, 5, 1), generator.normal(size=(5, 2, 2)).astype(np.float32)
    query = support._replace(f4=torch.from_numpy(f4_q)[None], cam=torch.from_numpy(cam_q)[None, None])
    active = (cam_q > tau)[np.ix_([4, 12], [4, 12])]  # the pixel at the centre of each cell
    assert active.tolist() == [[False, True], [False, True]]
    prior = np.zeros((2, 2))
    for region, p in ((active, code.core[0, 0].numpy()), (~active, code.local[0, 0].numpy())):
        cosine = np.einsum("chw,c->hw", f4_q / np.linalg.norm(f4_q, axis=0), p)
        low, high = cosine[region].min(), cosine[region].max()
        prior[region] = ((cosine - low) / (high - low))[region]
    np.testing.assert_allclose(iir.decode(query, code).prior[0], prior, atol=1e-5)
    # 5. local map of the query, seen through the input of the blocks
    weight = enlarged((cam_q > tau).astype(np.float64), (4, 4))
    local_np = mid["core_mid"][:, None, None] * weight + mid["local_mid"][:, None, None] * (1 - weight)
    caught = []
    handle = iir.merge.register_forward_hook(lambda _, inputs, __: caught.append(inputs[0]))
    iir.decode(query, code)
    handle.remove()
    dim = iir.config.dim
    assert caught[0].shape == (1, 3 * dim + 1, 4, 4)
    np.testing.assert_allclose(caught[0][0, dim : 2 * dim, 1, 2].detach(), mid["whole_mid"], atol=1e-4)
    np.testing.assert_allclose(caught[0][0, 2 * dim : 3 * dim].detach(), local_np, atol=1e-4)
    np.testing.assert_allclose(caught[0][0, -1].detach(), enlarged(prior, (4, 4)), atol=1e-5)


def build_letter(mid=12, high=9, name="iir", **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IIR(mid, high, PRESETS[name], **{"dim": 16, "blocks": 3, **changes}).eval()


def with_shot_weights(iir):
    """Set the two small maps by hand: as drawn, both hidden units may be dead, and then all shots weigh the same."""
    with torch.no_grad():
        iir.mix_shots[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [3.0, -1.0, 1.0]]))
        iir.mix_shots[1].weight.copy_(torch.tensor([[3.0, -2.0], [-1.0, 1.0], [0.5, 4.0]]))
    return iir


def test_shot_weights_against_numpy():
    """K-shot weights: Gram distances sorted, K -> 2 -> K with a ReLU, put back in order, softmax."""
    iir = with_shot_weights(build_letter(shots=3))
    query, support = random(2, 4, 5, 5), random(2, 3, 4, 5, 5, seed=1)

    def gram(x):
        x = x.numpy().reshape(4, -1)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return x @ x.T

    found = iir.shot_weights(query, support).detach().numpy()
    down, up = (layer.weight.detach().numpy() for layer in iir.mix_shots)
    for p in range(2):
        psi = np.array([np.linalg.norm(gram(query[p]) - gram(support[p, s])) / 4 for s in range(3)])
        order = np.argsort(psi)
        scores = np.empty(3)
        scores[order] = up @ np.maximum(down @ psi[order], 0)
        assert np.ptp(softmax(scores)) > 0.1  # neither a mean of the shots ...
        assert (order != np.arange(3)).any()  # ... nor in order as they come
        np.testing.assert_allclose(found[p], softmax(scores), atol=1e-5)


def test_category_prior_against_numpy():
    """I2R's prior: cosine with the support's prototype plus the query's own CAM-weighted one, stretched to 0..1."""
    f4, cam, p = random(1, 5, 3, 3), random(1, 3, 3, seed=1).sigmoid(), random(1, 5, seed=2)
    p = p / p.norm()
    own = (f4 * cam).sum((2, 3)) / cam.sum()
    r = (p + own / own.norm())[0].numpy()
    cells = f4[0].numpy()
    cosine = np.einsum("chw,c->hw", cells, r) / np.linalg.norm(cells, axis=0) / np.linalg.norm(r)
    expected = (cosine - cosine.min()) / (cosine.max() - cosine.min())
    np.testing.assert_allclose(category_prior(f4, cam, p)[0], expected, atol=1e-5)


# --- presets and switches ----------------------------------------------------------------------------------------


def test_presets_to_the_letter():
    """The defaults are IIR's published ones, and I2R differs in its prototypes alone."""
    letter = PRESETS["iir"]
    assert (letter.dim, letter.blocks, letter.dropout, letter.feature_dropout) == (256, 6, 0.1, 0.5)
    assert letter.compat == Compat()
    assert (letter.standardise, letter.similarities, letter.contrast, letter.base) == (False, False, False, 0)
    assert PRESETS["i2r"] == letter.model_copy(update={"prototypes": "category"})
    assert all(PUBLISHED.compat.model_dump().values())
    with pytest.raises(InputError, match="unknown decoder 'x'"):
        preset("x")


def test_width_of_the_input():
    """IIR's merging convolution reads 769 channels, I2R's 513: it has no map of local prototypes."""
    assert build_letter(dim=256, blocks=2).merge[0].in_channels == 769
    assert build_letter(name="i2r", dim=256, blocks=2).merge[0].in_channels == 513


def test_tokens_have_the_size_of_the_third_level():
    """Without dilation f2 is finer and f4 coarser than the tokens; maps of the pictures' size are welcome."""
    fine, top = random(2, 5, 12, 12, seed=30), random(2, 9, 3, 3, seed=31)
    query, support = (x._replace(f2=fine, f4=top) for x in seen(2, 1)[:2])
    query = query._replace(cam=random(2, 1, 48, 48).sigmoid())
    support = support._replace(cam=random(2, 48, 48).sigmoid())
    for name in PRESETS:
        logits = build_letter(name=name)(query, support, random(2, 1, 48, 48, seed=9) > 0)
        assert logits.shape == (2, 6, 6)
        assert torch.isfinite(logits).all()


def test_without_the_local_prototype_the_inactive_part_has_no_prior():
    """With the core prototype alone the prior is zero outside the CAM, and the same inside it."""
    query, support, masks = seen(2, 1)
    both, core = build_letter(), build_letter(prototypes="core")
    code = both.encode_supports(support, masks), core.encode_supports(support, masks)
    priors = both.decode(query, code[0]).prior, core.decode(query, code[1]).prior
    active = query.cam[:, 0] > code[0].threshold[..., None]
    assert torch.equal(priors[1], torch.where(active, priors[0], 0.0))
    assert not code[1].local_mid.any()


def test_i2r_looks_at_the_querys_own_map():
    """I2R's prior changes with the query's CAM, whose threshold it does not need."""
    query, support, masks = seen(1, 1)
    i2r = build_letter(name="i2r")
    code = i2r.encode_supports(support, masks)
    other = query._replace(cam=1 - query.cam)
    assert not torch.equal(i2r.decode(query, code).prior, i2r.decode(other, code).prior)
    assert not code.threshold.any()


def test_switched_off_dropout_needs_no_labels():
    """With directional dropout off, training labels change nothing."""
    query, support, masks = seen(2, 1)
    labels = (random(2, 12, 12, seed=20) > 0).to(torch.uint8)
    iir = build_letter(dropout=0.0, feature_dropout=0.0, directional_dropout=False).train()
    assert torch.equal(iir(query, support, masks, labels), iir(query, support, masks))


# --- the oddities of the published code --------------------------------------------------------------------------


def test_transposed_dropout_by_hand():
    """The published index: support 0, whose best query is 2, loses [0, 2] instead of [2, 0]; (0, 0) is always lost."""
    logits = torch.tensor([[[0.0, 2.0, 2.0], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])
    arguments = logits, torch.tensor([[True, False, False]]), torch.tensor([[0, 0, 0]])
    expected = torch.zeros(1, 3, 3, dtype=torch.bool)
    expected[0, 0, 0] = expected[0, 0, 2] = True
    assert torch.equal(directional_mask(*arguments, transposed=True), expected)


def test_detached_input_trains_no_projection():
    """The published projections get no gradient; with the flag off they do."""
    for detached in (True, False):
        iir = build_letter(compat={"detached_input": detached}).train()
        iir(*seen(2, 1)).sum().backward()
        assert (iir.project_query[0].weight.grad is None) == detached


def test_ignored_pixels_as_background():
    """With the flag, labels of 255 steer the dropout as zeros do; without it they steer nothing."""
    query, support, masks = seen(2, 1)
    unknown, zeros = torch.full((2, 12, 12), 255, dtype=torch.uint8), torch.zeros(2, 12, 12, dtype=torch.uint8)
    for flag in (True, False):
        iir = build_letter(dropout=0.0, feature_dropout=0.0, compat={"ignore_as_background": flag}).train()
        assert torch.equal(iir(query, support, masks, unknown), iir(query, support, masks, zeros)) == flag


def _keep_local(kept, _, inputs, __):
    kept.append(inputs[0][:, 32:48])


def test_last_shots_region():
    """With the flag, the first shots' maps of the query reach the prior but not the local map."""
    query, support, masks = seen(1, 2)
    for flag in (True, False):
        iir = build_letter(shots=2, compat={"last_shot_region": flag})
        code = iir.encode_supports(support, masks)
        locals_ = []
        handle = iir.merge.register_forward_hook(partial(_keep_local, locals_))
        for cam in (query.cam, torch.stack([1 - query.cam[:, 0], query.cam[:, 1]], 1)):
            iir.decode(query._replace(cam=cam), code)
        handle.remove()
        assert torch.equal(*locals_) == flag
