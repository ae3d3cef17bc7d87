"""Sym-Net's decoder: features, prototype, prior and hyper-correlation, mixed at four scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.convolutions import Residual, head, mixed
from fss_models.layers import resize

SCALES = 4


def scale_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Give the sizes of the four scales, each half of the one before: 60, 30, 15, 8 cells; 81, 40, 20, 10."""
    return [(max(1, round(height / 2**i)), max(1, round(width / 2**i))) for i in range(SCALES)]


class FourScales(nn.Module):
    """The decoder. Source: Sym-Net (systems.md 6.6), after PFENet's feature enrichment.

    Args:
        dim: width d of features and prototype.
        maps: channels of the other maps: hyper-correlation, prior, and what may come beside.
    """

    def __init__(self, dim: int, maps: int) -> None:
        super().__init__()
        self.merge = nn.ModuleList(mixed(2 * dim + maps, dim) for _ in range(SCALES))
        self.carry = nn.ModuleList(mixed(2 * dim, dim) for _ in range(SCALES - 1))
        self.residual = nn.ModuleList(Residual(dim) for _ in range(SCALES))
        self.inner = nn.ModuleList(head(dim, 1) for _ in range(SCALES))
        self.join = nn.Sequential(mixed(SCALES * dim, dim), Residual(dim))
        self.head = head(dim, 1)

    def forward(self, f: Tensor, prototype: Tensor, maps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give foreground logits (B, h, w), and those of the four scales, each of its own size.

        Args:
            f: features of the queries (B, d, h, w).
            prototype: (B, d).
            maps: the other maps (B, M, h, w).
        """
        size, scales, inner = f.shape[-2:], [], []
        for i, small in enumerate(scale_sizes(*size)):
            tiled = prototype[..., None, None].expand(-1, -1, *small)
            z = self.merge[i](torch.cat([F.adaptive_avg_pool2d(f, small), tiled, resize(maps, small)], 1))
            if i:
                z = z + self.carry[i - 1](torch.cat([z, resize(scales[-1], small)], 1))
            scales.append(self.residual[i](z))
            inner.append(self.inner[i](scales[-1])[:, 0])
        joined = self.join(torch.cat([resize(z, size) for z in scales], 1))
        return self.head(joined)[:, 0], inner
