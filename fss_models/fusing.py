"""Fitting the fusion's scalars on base classes that the decoder never saw, as if they were novel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fss_models.base_learner import hidden_as_background
from fss_models.data import Labelled
from fss_models.gfss import GfssModel
from fss_models.layers import resize
from fss_models.randomness import numpy_rng
from pipeline.classes import IGNORE

ROUNDS, QUERIES, PIXELS = 6, 8, 256


def fit_fusion(model: GfssModel, base: Labelled, held_out: tuple[int, ...], *, seed: int = 0) -> None:
    """Fit offsets and the decoder's weight in place, by the soft mean IoU of base and novel on pixels of base pictures.

    Likelihood would not do: a novel class is so rare that its most likely value is hardly ever the greatest.

    In each round the held-out classes get new supports. Their base output is given to the background, as if they had
    never been labelled. Half of the queries show one of them.

    Args:
        model: base learner and decoder are trained.
        base: base pictures, novel hidden.
        held_out: base labels that the decoder never saw.
        seed: of the draws.
    """
    model.eval()
    parts = [_round(model, base, held_out, numpy_rng(seed, "fusion", i)) for i in range(ROUNDS)]
    base_log, novel, truth = (torch.cat(p) for p in zip(*parts, strict=True))
    fusion = model.fusion
    known = truth != IGNORE
    base_log, novel, truth = base_log[known], novel[known], truth[known]
    optimiser = torch.optim.LBFGS(fusion.parameters(), lr=0.5, max_iter=60, line_search_fn="strong_wolfe")
    one_hot = F.one_hot(truth, novel.shape[1] + base_log.shape[1])

    def loss() -> Tensor:
        optimiser.zero_grad()
        # a weak pull to the start, for what these pixels do not decide
        pull = (fusion.offsets.square().sum() + (fusion.weights - 1).square().sum()) * 1e-3
        p = fusion(base_log, novel).exp()
        both = (p * one_hot).sum(0)
        iou = both / (p + one_hot).sum(0).sub(both).clamp(min=1e-6)
        shown = one_hot.any(0)
        old, new = (iou[part][shown[part]].mean() for part in (slice(1, fusion.known), slice(fusion.known, None)))
        value = pull - (old + new) / 2
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    fusion.zero_grad()


@torch.no_grad()
def _round(
    model: GfssModel, base: Labelled, held_out: tuple[int, ...], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Give base log probabilities (P, 1+B), decoder logits (P, N') and labels (P,) of some pixels."""
    device = model.fusion.offsets.device
    shots = model.config.shots
    supports, showing = [], []
    for label in held_out:
        found = np.flatnonzero(base.counts[:, label] >= 60)
        supports.append(rng.choice(found, shots, replace=len(found) < shots))
        showing.append(int(rng.choice(found)))
    anything = rng.choice(len(base), QUERIES, replace=len(base) < QUERIES)
    half = QUERIES // 2
    queries = [showing[i % len(showing)] for i in range(half)] + [int(i) for i in anything[: QUERIES - half]]

    pictures, labels = _tensors(base, [int(i) for places in supports for i in places], device)
    masks = labels.unflatten(0, (len(held_out), shots)) == torch.tensor(held_out, device=device)[:, None, None, None]
    code = model.encode(pictures.unflatten(0, (len(held_out), shots)), masks)

    pictures, labels = _tensors(base, queries, device)
    levels = model.backbone(pictures)
    hidden = torch.zeros(1 + model.config.base, dtype=torch.bool, device=device)
    hidden[list(held_out)] = True
    size = labels.shape[-2:]
    base_log = hidden_as_background(resize(model.base_learner(levels)[1], size), hidden)
    novel = resize(model.decode_all(levels, code), size)
    truth = labels.long()
    for i, label in enumerate(held_out):
        truth = torch.where(labels == label, model.fusion.known + i, truth)
    pixels = torch.from_numpy(rng.choice(truth.numel(), QUERIES * PIXELS, replace=False)).to(device)
    # a probability of exactly zero would stop the gradient
    base_log = base_log.clamp(min=-30)
    flat = [x.movedim(1, -1).flatten(0, 2)[pixels] for x in (base_log, novel)]
    return flat[0], flat[1], truth.flatten()[pixels]


def _tensors(base: Labelled, places: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    items = [base[p] for p in places]
    pictures = torch.from_numpy(np.stack([p for p, _ in items])).to(device).permute(0, 3, 1, 2).float() / 255
    return pictures, torch.from_numpy(np.stack([y for _, y in items])).to(device)
