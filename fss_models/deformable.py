"""Deformable attention on one level, and the sine code of positions.

Source: Deformable DETR (arXiv 2010.04159), here with `grid_sample` alone, so that no extension is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 10_000.0


class DeformableAttention(nn.Module):
    """Each cell gathers a few points around itself, whose offsets and weights are read from the cell.

    Args:
        dim: width d.
        heads: of d / heads channels each.
        points: a head and cell.
    """

    def __init__(self, dim: int, heads: int = 8, points: int = 9) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.offsets = nn.Linear(dim, heads * points * 2)
        self.weights = nn.Linear(dim, heads * points)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        for linear in (self.offsets, self.weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        # at the start, head i looks along its own direction at 1, 2, ... cells' distance
        angle = torch.arange(heads) * 2 * math.pi / heads
        way = torch.stack([angle.cos(), angle.sin()], 1)
        way = way / way.abs().amax(1, keepdim=True)
        steps = way[:, None] * torch.arange(1, points + 1)[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_(steps.flatten())

    def forward(self, asking: Tensor, x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        """Give the gathered tokens (B, T, d).

        Args:
            asking: tokens (B, T, d) that say where to look, with their positions.
            x: tokens (B, T, d) to be looked at; beside the map there are zeros.
            size: (h, w) with h * w = T.
        """
        batch, (h, w) = len(x), size
        value = self.value(x).transpose(1, 2).reshape(batch * self.heads, -1, h, w)
        # offsets are in cells, (x, y); grid_sample counts -1..1 from edge to edge
        offsets = self.offsets(asking).unflatten(2, (self.heads, self.points, 2))
        place = (centres(h, w, x.device)[:, None, None] + offsets) / x.new_tensor([w, h])
        grid = (2 * place - 1).transpose(1, 2).flatten(0, 1)
        found = F.grid_sample(value, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        weights = self.weights(asking).unflatten(2, (self.heads, self.points)).softmax(-1)
        mixed = (found * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
        return self.out(mixed.reshape(batch, -1, h * w).transpose(1, 2))


def centres(h: int, w: int, device: torch.device) -> Tensor:
    """Give the centres (h * w, 2) of cells as (x, y), in cells."""
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1) + 0.5


def sine_positions(dim: int, h: int, w: int, device: torch.device) -> Tensor:
    """Give the code (h * w, d) of positions: half for y, half for x, sines and cosines of d / 4 wavelengths each.

    Source: DETR, with positions stretched to 0..2 pi.
    """
    quarter = dim // 4
    waves = TEMPERATURE ** (torch.arange(quarter, device=device) / quarter)
    place = centres(h, w, device) + 0.5  # counted from 1 to the side
    angles = 2 * math.pi * place / place.new_tensor([w, h])
    code = [torch.stack([(a := angles[:, i, None] / waves).sin(), a.cos()], 2).flatten(1) for i in (1, 0)]
    return torch.cat(code, 1)
