"""Photometric changes that make drawn pictures look as soft and uneven as generated ones."""

from __future__ import annotations

import torch
from torch.nn import functional as F

SIGMAS = (0.0, 0.0, 0.5, 0.8, 1.1)
"""Blur in pixels of the picture, one of them drawn for each picture."""


def vary_look(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, recolour and disturb a batch at random.

    Args:
        x: pictures (B, 3, H, W), float in 0..1; not changed.
        generator: the only source of randomness.

    Returns:
        The varied pictures (B, 3, H, W), float, clipped to 0..1.
    """
    batch = len(x)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator)

    x = _blur(x, torch.tensor(SIGMAS)[torch.randint(len(SIGMAS), (batch,), generator=generator)])
    x = torch.einsum("bij,bjhw->bihw", _hue_turn(uniform(-0.35, 0.35).flatten()), x)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.7, 1.25)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(0.75, 1.25) + uniform(-0.1, 0.1)
    blotches = torch.randn(batch, 3, 8, 8, generator=generator) * uniform(0.0, 0.04)
    grain = torch.randn(x.shape, generator=generator) * uniform(0.0, 0.05)
    return (x + F.interpolate(blotches, size=x.shape[-2:], mode="bilinear") + grain).clamp(0, 1)


def soften(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, resize and disturb a batch (B, 3, H, W), float in 0..1, and leave its colours alone."""
    x = _blur(x, torch.tensor(SIGMAS)[torch.randint(len(SIGMAS), (len(x),), generator=generator)])
    zoom = 0.85 + 0.3 * torch.rand(len(x), 2, generator=generator)
    maps = torch.diag_embed(torch.cat([zoom, torch.ones(len(x), 1)], 1))[:, :2]
    x = F.grid_sample(
        x, F.affine_grid(maps, list(x.shape), align_corners=False), padding_mode="border", align_corners=False
    )
    grain = torch.randn(x.shape, generator=generator) * 0.04 * torch.rand(len(x), 1, 1, 1, generator=generator)
    return (x + grain).clamp(0, 1)


def _blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur each picture by its own Gaussian; sigma (B,) in pixels, 0 = not at all."""
    batch, channels, height, width = x.shape
    offset = torch.arange(-3, 4).float()
    kernel = torch.exp(-0.5 * (offset / sigma.clamp(min=0.05)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x.reshape(1, batch * channels, height, width), (3, 3, 3, 3), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    return flat.view_as(x)


def _hue_turn(angle: torch.Tensor) -> torch.Tensor:
    """Give the rotations (B, 3, 3) of RGB about its grey axis; angle (B,) in radians."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    return cos * torch.eye(3) + (1 - cos) * axis + sin * cross
