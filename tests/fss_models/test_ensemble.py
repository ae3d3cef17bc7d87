"""BAM's ensemble, the loss, and the three views of a query."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from fss_models.ensemble import Ensemble
from fss_models.iir import IIR, Decoded, SupportCode
from fss_models.iir_loss import iir_loss
from fss_models.layers import gram_distance
from fss_models.multiscale import VIEWS, predict_multiscale
from fss_models.seen import Seen


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def ensemble():
    """Build an ensemble of three base classes, its joining weights moved from their start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ensemble(9, 3, 8).eval()


def test_at_the_start_the_decoder_decides(ensemble):
    """With weights [1, 0] the result is p_fg - p_bg: foreground exactly where the decoder says so."""
    meta = random(2, 6, 6)
    final = ensemble(meta, random(2, 9, 3, 3, seed=1), torch.tensor([0.3, 0.7]))
    torch.testing.assert_close(final, 2 * meta.sigmoid() - 1)


def test_ensemble_against_numpy(ensemble):
    """With other weights it is [bg; fg'] of the published formula, as the difference of the two."""
    with torch.no_grad():
        ensemble.adjust.weight.copy_(torch.tensor([0.9, -0.4]).view(1, 2, 1, 1))
        ensemble.join.weight.copy_(torch.tensor([0.7, 0.5]).view(1, 2, 1, 1))
    meta, f4, psi = random(2, 3, 3), random(2, 9, 3, 3, seed=1), torch.tensor([0.3, 0.7])
    p_fg, factor = expit(meta.numpy()), psi.numpy()[:, None, None]
    base = softmax(ensemble.base_learner(f4).detach().numpy(), 1)[:, 1:].sum(1)
    bg, fg = 0.9 * (1 - p_fg) - 0.4 * factor, 0.9 * p_fg - 0.4 * factor
    np.testing.assert_allclose(ensemble(meta, f4, psi).detach(), fg - (0.7 * bg + 0.5 * base), atol=1e-5)


def test_the_episodes_class_is_hidden(ensemble):
    """What the base learner takes for the hidden class is no base thing; the background never is."""
    f4 = random(2, 9, 3, 3)
    p = ensemble.base_learner(f4).softmax(1)
    torch.testing.assert_close(ensemble.base_map(f4), 1 - p[:, 0])
    hidden = ensemble.base_map(f4, torch.tensor([1, 3]))
    torch.testing.assert_close(hidden, torch.stack([p[0, 2:].sum(0), p[1, 1:3].sum(0)]))


def test_the_base_learner_stays_frozen(ensemble):
    """Training mode and gradients reach the joining convolutions alone."""
    ensemble.train()
    assert not any(m.training for m in ensemble.base_learner.modules())
    ensemble(random(1, 3, 3), random(1, 9, 3, 3), torch.ones(1)).sum().backward()
    assert all(p.grad is None for p in ensemble.base_learner.parameters())
    assert ensemble.adjust.weight.grad.any()


def test_the_decoder_uses_it():
    """The final logits are the ensemble's, psi is the weighted Gram distance; classes are hidden in training only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        iir = IIR(12, 9, dim=16, blocks=2, shots=2, base=3, base_dim=8, dropout=0, feature_dropout=0).eval()
    query = Seen(random(1, 5, 6, 6), random(1, 7, 6, 6), random(1, 9, 6, 6), random(1, 2, 6, 6).sigmoid())
    support = Seen(random(2, 5, 6, 6), random(2, 7, 6, 6), random(2, 9, 6, 6), random(2, 6, 6, seed=3).sigmoid())
    masks = random(1, 2, 6, 6, seed=4) > 0
    with torch.no_grad():
        iir.ensemble.join.weight.copy_(torch.tensor([0.7, 0.5]).view(1, 2, 1, 1))
        iir.ensemble.adjust.weight.copy_(torch.tensor([0.9, -0.4]).view(1, 2, 1, 1))
        code = iir.encode_supports(support, masks)
        out = iir.decode(query, code)
        weights = iir.shot_weights(query.f2, code.f2)
        psi = sum(weights[:, s] * gram_distance(query.f2, code.f2[:, s]) for s in range(2))
        torch.testing.assert_close(out.final, iir.ensemble(out.logits, query.f4, psi))
        assert torch.equal(iir(query, support, masks), out.final)
        assert torch.equal(iir.decode(query, code, classes=torch.tensor([2])).final, out.final)
        told, untold = (iir.train().decode(query, code, classes=c).final for c in (torch.tensor([2]), None))
    assert not torch.equal(told, untold)


def code_of(logits, aux):
    nothing = torch.zeros(1)
    return SupportCode(*[nothing] * 9, logits, aux)


def test_loss_against_numpy():
    """Three parts by hand: final, both heads, auxiliary heads; label 255 counts nowhere."""
    final, meta, own = random(2, 4, 4), random(2, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
    aux_q, aux_s = random(2, 5, 4, 4, seed=3), random(2, 3, 5, 4, 4, seed=4)
    generator = np.random.default_rng(0)
    truth, masks = (generator.choice([0, 1, 255], s).astype(np.uint8) for s in ((2, 4, 4), (2, 3, 4, 4)))

    def ce(logits, labels):
        p = np.where(labels == 1, expit(logits.numpy()), expit(-logits.numpy()))
        return -np.log(p[labels != 255]).mean()

    out = Decoded(meta, aux_q, final, torch.zeros(()), final)
    expected = 1.5 * ce(final, truth) + 0.5 * 2 * (ce(meta, truth) + ce(own, masks))
    aux = np.mean([ce(a, truth) for a in aux_q.unbind(1)]) + np.mean([ce(a, masks) for a in aux_s.unbind(2)])
    arguments = out, code_of(own, aux_s), torch.from_numpy(truth), torch.from_numpy(masks)
    assert iir_loss(*arguments, weights=(1.5, 2.0, 3.0))["loss"].item() == pytest.approx(expected + 1.5 * aux, rel=1e-5)
    as_background = iir_loss(*arguments, ignore_as_background=True)["final"].item()
    assert as_background == pytest.approx(ce(final, np.where(truth == 255, 0, truth)), rel=1e-5)


def test_loss_enlarges_the_logits():
    """Logits of a quarter of the size are compared at the size of the labels."""
    small = torch.tensor([[[9.0, -9.0], [9.0, -9.0]]])
    truth = torch.zeros(1, 8, 8, dtype=torch.uint8)
    truth[:, :, :4] = 1
    out = Decoded(small, small[:, None], small, torch.zeros(()), small)
    found = iir_loss(out, code_of(small[:, None], small[:, None, None]), truth, truth[:, None])
    assert found["final"] < 0.2
    assert found["loss"] == pytest.approx(3 * found["final"].item(), rel=1e-5)


def test_views_of_a_query():
    """The model sees the query as it is, at 0.8, and at full size again but blurred; probabilities are averaged."""
    seen = []

    def model(query, supports, masks, classes):
        seen.append(query)
        return torch.full((1, 4, 4), float(len(seen)))

    query = torch.rand(1, 3, 40, 45, generator=torch.Generator().manual_seed(0))
    p = predict_multiscale(model, query, torch.rand(1, 1, 3, 40, 45), torch.ones(1, 1, 40, 45), torch.ones(1))
    assert [tuple(x.shape[-2:]) for x in seen] == [(40, 45), (32, 36), (40, 45)]
    assert torch.equal(seen[0], query)
    assert not torch.equal(seen[2], query)
    assert p.shape == (1, 40, 45)
    torch.testing.assert_close(p, torch.full_like(p, float(expit([1, 2, 3]).mean())))
    assert len(VIEWS) == 3


def test_one_view_is_the_model_itself():
    """With the first view alone the answer is the enlarged prediction."""
    logits = random(1, 8, 8)
    unused = torch.zeros(1)
    p = predict_multiscale(lambda *_: logits, torch.rand(1, 3, 8, 8), unused, unused, unused, views=((1.0,),))
    assert torch.equal(p, logits.sigmoid())
