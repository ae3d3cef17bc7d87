"""The fusion of base learner and decoder, and how its few weights are fitted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.classes import IGNORE


class Fusion(nn.Module):
    """A handful of scalars that turn both parts into one distribution.

    z_bg = log b_bg + a0, z_base = log b_base + a1, z_novel = w1 logit f + w2 log b_novel + a2. Started at a = 0,
    w = 1: with one novel class the result is f on it and (1 - f) b elsewhere.

    The weights are fitted (`fit`), the offsets are not: they take up how often novel things occur in the pictures of
    the fit, which is not how often they occur elsewhere. Measured in the log of 2026-11-20.

    Args:
        known: 1 + B, so that further outputs of the base learner are recognised as novel ones.
    """

    def __init__(self, known: int) -> None:
        super().__init__()
        self.known = known
        self.offsets = nn.Parameter(torch.zeros(3))
        self.weights = nn.Parameter(torch.ones(2))

    def forward(self, base: Tensor, novel: Tensor) -> Tensor:
        """Give log probabilities (B, 1+B+N, ...).

        Args:
            base: log probabilities of the base learner, (B, 1+B, ...) or with novel outputs (B, 1+B+N, ...).
            novel: the decoder's foreground logits (B, N, ...).
        """
        z = self.weights[0] * novel + self.offsets[2]
        if base.shape[1] > self.known:
            z = z + self.weights[1] * base[:, self.known :]
        old = [base[:, :1] + self.offsets[0], base[:, 1 : self.known] + self.offsets[1]]
        return F.log_softmax(torch.cat([*old, z], 1), dim=1)

    @torch.no_grad()
    def share(self) -> None:
        """Let both parts count half for novel classes, once the base learner has outputs for them too.

        Source: the logarithmic opinion pool with equal weights; both judge from the same few supports.
        """
        self.weights.mul_(0.5)

    def fit(self, base: Tensor, novel: Tensor, labels: Tensor, *, grown: bool, pull: float = 1e-3) -> None:
        """Fit the weights to labelled pixels by their likelihood; none becomes negative.

        Args:
            base: log probabilities of the base learner (P, L, h, w), as in `forward`.
            novel: the decoder's logits (P, N, h, w).
            labels: int (P, h, w), in the order of the outputs of `forward`; 255 counts nowhere.
            grown: whether the last N outputs of the base learner stand for the novel classes.
            pull: strength of the pull to the weights as they are.
        """
        start = self.weights.detach().clone()
        weights = start.clone().requires_grad_()
        known, beside = (base[:, : -novel.shape[1]], base[:, -novel.shape[1] :]) if grown else (base, 0 * novel)
        optimiser = torch.optim.LBFGS([weights], lr=0.5, max_iter=40)

        def loss() -> Tensor:
            optimiser.zero_grad()
            z = weights[0] * novel + weights[1] * beside
            value = F.cross_entropy(torch.cat([known, z], 1), labels, ignore_index=IGNORE)
            value = value + pull * (weights - start).square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimiser.step(loss)
        with torch.no_grad():
            self.weights.copy_(weights.clamp(min=0))
