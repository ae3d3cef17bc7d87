"""Muon in the number format that the machine computes fastest in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backends.precision import knows_bfloat16

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, steepest at zero. Source: Jordan et al., Muon."""


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, for matrices.

    The same steps as ``torch.optim.Muon``, which computes in bfloat16 on every machine and is some 15 times slower
    where the processor does not know it (decisions.md, training). A step has the root mean square of AdamW's.

    Args:
        matrices: parameters (out, in).
        lr: rate.
        momentum: of the average of gradients, Nesterov's way.
        weight_decay: decoupled, as in AdamW.
        steps: of the Newton-Schulz iteration.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.01,
        steps: int = 4,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})
        self.dtype = torch.bfloat16 if knows_bfloat16() else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; matrices without a gradient stay as they are."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state: dict[str, Any] = self.state[p]
                average = state.setdefault("momentum_buffer", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(average, group["momentum"]), group["steps"], self.dtype)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonal(matrix: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of a matrix (m, n) to about 1 by Newton-Schulz iterations, computed in ``dtype``."""
    a, b, c = QUINTIC
    x = matrix.to(dtype)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
