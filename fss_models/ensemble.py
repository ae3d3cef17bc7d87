"""BAM's ensemble: what a frozen base learner takes for a base thing is background, whatever the decoder says."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.base_learner import PspHead
from fss_models.layers import resize


class Ensemble(nn.Module):
    """Joins the decoder's foreground with a base learner's map of base things.

    Source: BAM, as IIR uses it: bg' and fg' = conv([p; psi]), the same for both; bg = conv([bg'; base map]);
    final = [bg; fg'] as logits, here their difference. Both convolutions start as [1, 0], so that the decoder decides.

    Args:
        high: channels of f4.
        base: base classes B.
        dim: channels of the base learner's penultimate features.
    """

    def __init__(self, high: int, base: int, dim: int) -> None:
        super().__init__()
        self.base_learner = PspHead(high, 1 + base, dim=dim).requires_grad_(False)
        self.adjust, self.join = (nn.Conv2d(2, 1, 1, bias=False) for _ in range(2))
        for conv in (self.adjust, self.join):
            with torch.no_grad():
                conv.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
        self.base_learner.eval()

    def train(self, mode: bool = True) -> Ensemble:
        """Switch the joining convolutions; the base learner stays in evaluation mode."""
        super().train(mode)
        self.base_learner.eval()
        return self

    def forward(self, meta: Tensor, f4: Tensor, psi: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Give final foreground logits (P, h, w).

        Args:
            meta: the decoder's foreground logits (P, h, w).
            f4: fourth levels of the queries (P, C4, h4, w4).
            psi: BAM's adjustment factor (P,).
            hidden: base classes (P,), 1..B, that count as novel: those of the episodes in training.
        """
        size = meta.shape[-2:]
        base = resize(self.base_map(f4, hidden)[:, None], size)
        factor = psi[:, None, None, None].expand(-1, 1, *size)
        foreground = meta[:, None].sigmoid()
        bg, fg = (self.adjust(torch.cat([p, factor], 1)) for p in (1 - foreground, foreground))
        return (fg - self.join(torch.cat([bg, base], 1)))[:, 0]

    @torch.no_grad()
    def base_map(self, f4: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Give the probability (P, h4, w4) of any base thing but the hidden one."""
        p = self.base_learner(f4).softmax(1)
        if hidden is not None:
            p = p.index_put((torch.arange(len(p), device=p.device), hidden), p.new_zeros(()))
        return p[:, 1:].sum(1)


class ShotWeights(nn.ModuleList):
    """How much each of K supports counts for a query, by how unlike the pictures are.

    Source: BAM: Gram distances, sorted, through two small linear maps, unsorted, softmax.

    Args:
        shots: K; of another number of supports the nearer ones count more.
    """

    def __init__(self, shots: int) -> None:
        super().__init__([nn.Linear(shots, 2, bias=False), nn.Linear(2, shots, bias=False)])

    def forward(self, distances: Tensor) -> Tensor:
        """Give weights (P, S) that sum to one, from `layers.gram_distances` (P, S)."""
        if distances.shape[1] != self[0].in_features:  # calibrated for another number of shots
            return F.softmax(-distances, dim=1)
        ordered, order = distances.sort(1)
        scores = self[1](self[0](ordered).relu())
        return F.softmax(scores.gather(1, order.argsort(1)), dim=1)
