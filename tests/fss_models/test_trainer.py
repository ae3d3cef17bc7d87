import contextlib
import gc
import json
import sys
import threading

import pytest
import torch
from torch import nn

from fss_models.layers import poly_factor, rate_factor
from fss_models.optimiser import Optimiser
from fss_models.randomness import numpy_rng, seeded
from fss_models.trainer import Choice, Place, _update, train_steps
from pipeline.config import LoopSettings
from pipeline.errors import InputError


class Killed(Exception):
    """Stands for a kill."""


class Line(nn.Module):
    """A small network with dropout and batch statistics, as the real ones have."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, batch, step):
        """Give the squared error."""
        x, y = batch
        return {"loss": (self.net(x) - y).square().mean()}


class Pair(tuple):
    """Two tensors that move to a device together."""

    def to(self, device):
        """Move."""
        return Pair(t.to(device) for t in self)


def batches(number):
    rng = numpy_rng("line", number)
    x = torch.from_numpy(rng.normal(size=(6, 4))).float()
    return Pair((x, torch.stack([x.sum(1), x[:, 0]], 1)))


def train(steps=12, place=None, module=None, choice=None, lr=1e-2, **settings):
    line = module or Line()
    train_steps(
        line, line, batches, steps, lr, LoopSettings(**settings), seed=1, place=place or Place(), name="line",
        choice=choice,
    )
    return line


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize("kind", ["muon", "sgd", "adamw"])
@pytest.mark.parametrize("killed_at", [1, 5, 8])
def test_resumed_at_any_step(kind, killed_at, tmp_path, monkeypatch):
    """Killed at any step and resumed, weights and log are those of the undisturbed run, average and choice included."""
    monkeypatch.setattr("fss_models.trainer.SAVE_EVERY", 3)
    settings = {"optimiser": kind, "ema": 0.7, "accumulate": 2, "schedule": "poly"}

    def choice(line):
        return Choice(4, lambda: line.net[0].weight.sum().item())

    def kill(step, total, told):
        if step == killed_at:
            raise Killed

    line = Line()
    whole = train(module=line, choice=choice(line), place=Place(tmp_path / "whole"), **settings)
    line = Line()
    with contextlib.suppress(Killed):
        train(module=line, choice=choice(line), place=Place(tmp_path / "cut", kill), **settings)
    line = Line()
    resumed = train(module=line, choice=choice(line), place=Place(tmp_path / "cut"), **settings)
    assert same(whole, resumed)
    logs = [[json.loads(s) for s in (tmp_path / f / "line.jsonl").read_text().splitlines()] for f in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0] if "miou" in line] == [4, 8, 12]


def test_accumulated_batches_are_one_large_step():
    """The gradient of a step is the mean over its batches."""
    grown = []

    def stop(step, total, told):
        raise Killed

    class Plain(Line):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(self.net[0], self.net[3])

    one = Plain()
    with contextlib.suppress(Killed):
        train(steps=2, module=one, place=Place(progress=stop), accumulate=3, optimiser="sgd")
    line = Plain()
    loss = torch.stack([line(batches(i), 0)["loss"] for i in range(3)]).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(line.parameters(), 1.0)
    for (name, p), q in zip(line.named_parameters(), one.parameters(), strict=True):
        grown.append(name)
        torch.testing.assert_close(q.data, p.data - 1e-2 * rate_factor(0, 2) * (p.grad + 1e-4 * p.data))
    assert len(grown) == 4


@pytest.mark.parametrize(("clip", "norm"), [(0, None), (0.01, 0.01)])
def test_gradients_are_clipped_as_set(clip, norm):
    """A step of SGD is rate times gradient plus decay: the whole gradient, or one of the norm that was asked for."""
    line, start = Line(), Line()
    train(steps=1, module=line, optimiser="sgd", schedule="poly", lr=1.0, clip=clip)
    with seeded(1, "line", "dropout", 0):
        start(batches(0), 0)["loss"].backward()
    whole = nn.utils.clip_grad_norm_(start.parameters(), float("inf"))
    factor = norm / whole if norm else 1
    for p, q in zip(start.parameters(), line.parameters(), strict=True):
        torch.testing.assert_close(q.data, p.data - (factor * p.grad + 1e-4 * p.data), atol=1e-5, rtol=1e-4)


def test_poly_schedule_by_hand():
    """The rate starts at its peak, is 0.5 ** 0.9 half-way and stays positive."""
    assert poly_factor(0, 10) == 1
    assert poly_factor(5, 10) == pytest.approx(0.5**0.9)
    assert poly_factor(9, 10) > 0


def test_average_weights_by_hand():
    """With decay 0.5 the weights are w1 / 4 + w2 / 4 + w3 / 2, where the first step starts the average."""
    seen = []
    line = Line()
    place = Place(progress=lambda *told: seen.append(line.net[0].weight.detach().clone()))
    train(steps=3, module=line, place=place, ema=0.5)
    torch.testing.assert_close(line.net[0].weight.data, seen[0] / 4 + seen[1] / 4 + seen[2] / 2)


def test_best_weights_are_kept():
    """The kept weights are those of the look with the highest score."""
    line, seen = Line(), []

    def score():
        seen.append(line.net[0].weight.detach().clone())
        return [0.2, 0.6, 0.4][len(seen) - 1]

    train(steps=6, module=line, choice=Choice(2, score))
    assert torch.equal(line.net[0].weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_batches_may_come_from_other_processes():
    """Prepared ahead or not, the weights are the same and the global random state is left alone."""
    before = torch.random.get_rng_state()
    plain = train(steps=3)
    ahead = train(steps=3, place=Place(readers=1))
    assert same(plain, ahead)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(sys.platform == "win32", reason="readers are not forked there")
def test_readers_end_quietly(monkeypatch):
    """A call that the parent's libraries leave for the exit of threads, and that fails in a child, is not heard of."""
    heard = []

    def fail():
        raise AssertionError("this belongs to the parent")

    monkeypatch.setattr(threading, "_threading_atexits", [fail])
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    train(steps=2, place=Place(readers=1))
    gc.collect()
    assert not heard


def test_what_a_reader_cannot_prepare_is_told():
    """An error in another process arrives with its own words."""

    def broken(number):
        raise InputError(f"picture {number} is damaged")

    line = Line()
    with pytest.raises(InputError, match="picture 0 is damaged"):
        train_steps(
            line, line, broken, 1, 1e-2, LoopSettings(), seed=1, place=Place(readers=1), name="line"
        )


def test_half_precision():
    """bf16 gives finite weights that differ from those of single precision; fp16 without a GPU is refused."""
    half = train(steps=3, precision="bf16")
    assert all(v.isfinite().all() for v in half.state_dict().values())
    assert not same(half, train(steps=3))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="precision fp16 is not to be had"):
            train(steps=1, precision="fp16")


def test_gradient_scaler_skips_what_overflowed():
    """With a gradient scaler a step is that of unscaled gradients; an infinite one is left out and halves the scale."""
    plain, scaled = (nn.Linear(3, 2, bias=False) for _ in range(2))
    scaled.load_state_dict(plain.state_dict())
    start = plain.weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    x = torch.ones(1, 3)
    for net, grad_scaler in ((plain, None), (scaled, scaler)):
        optimiser = Optimiser(net.named_parameters(), 0.1)
        loss = net(x).sum()
        (grad_scaler.scale(loss) if grad_scaler else loss).backward()
        _update(optimiser, grad_scaler, 1.0, 1.0)
    torch.testing.assert_close(scaled.weight, plain.weight)
    assert not torch.equal(plain.weight, start)
    before = scaled.weight.detach().clone()
    scaler.scale(scaled(x).sum() * float("inf")).backward()
    _update(Optimiser(scaled.named_parameters(), 0.1), scaler, 1.0, 1.0)
    assert torch.equal(scaled.weight, before)
    assert scaler.get_scale() == 512


def test_tensorboard_is_optional(tmp_path):
    """Its files are written where it is installed; where not, that is said."""
    try:
        from torch.utils import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="TensorBoard is not installed"):
            train(steps=1, place=Place(tensorboard=tmp_path))
    else:
        train(steps=1, place=Place(tensorboard=tmp_path))
        assert list(tmp_path.glob("line/events*"))
