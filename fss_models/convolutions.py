"""Convolutions that the networks of PFENet's line share: projection, residual block, head."""

from __future__ import annotations

from torch import Tensor, nn


def projection(channels: int, dim: int, dropout: float) -> nn.Sequential:
    """Build what brings backbone levels to the decoder's width: 1x1 without bias, ReLU, whole channels dropped."""
    return nn.Sequential(nn.Conv2d(channels, dim, 1, bias=False), nn.ReLU(), nn.Dropout2d(dropout))


def mixed(channels: int, dim: int) -> nn.Sequential:
    """Build what mixes concatenated maps: 1x1 without bias, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, dim, 1, bias=False), nn.ReLU())


class Residual(nn.Module):
    """x + (3x3 convolution without bias, ReLU) twice, of maps (B, d, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers = [layer for _ in range(2) for layer in (nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.ReLU())]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Transform and add."""
        return x + self.layers(x)


def head(dim: int, classes: int = 2, dropout: float = 0.1) -> nn.Sequential:
    """Build a classifier of cells: 3x3 without bias, ReLU, whole channels dropped, 1x1."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(dropout), nn.Conv2d(dim, classes, 1)
    )
