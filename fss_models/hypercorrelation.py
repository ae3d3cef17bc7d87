"""Top-down hyper-correlation: how alike query and support are block by block, and what convolutions make of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.layers import resize

ENTRIES = 1 << 24
"""Cosines that are in memory at once: 64 MiB of float32, whatever the size of the maps."""

NARROW, WIDE = 16, 48
"""Channels on the way and in the end."""


@torch.no_grad()
def likeness_maps(
    query: Tensor, support: Tensor, inside: Tensor, channels: Sequence[int], entries: int = ENTRIES
) -> Tensor:
    """Give a map a block: the mean over the support's cells on the class of their cosine, no less than 0.

    Source: Sym-Net, TDC (systems.md 6.5); HSNet for cosines of every block. Only cells on the class are compared, and
    in parts, so that 60 x 60 cells against 60 x 60 need no more than ``entries`` cosines of memory.

    Args:
        query: what the blocks of a level say, (B, sum of channels, h, w), see `backbones.Levels`.
        support: the same of one support each, (B, sum of channels, h', w').
        inside: the supports' cells on the class, bool (B, h', w'); none gives zeros.
        channels: of each of the n blocks.
        entries: cosines at once.

    Returns:
        float32 (B, n, h, w), in 0..1.
    """
    flat, cells = inside.flatten(1), query[0, 0].numel()
    count = flat.sum(1)
    most = int(count.max())
    if not most:
        return query.new_zeros(len(query), len(channels), *query.shape[-2:], dtype=torch.float32)
    # the cells on the class first, as many as the largest class has; those beyond a class's own are zeros
    order = flat.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    own = flat.gather(1, order)[:, None].float()
    step = max(1, entries // (len(query) * most))
    maps = []
    for q, s in zip(*(x.flatten(2).split(list(channels), 1) for x in (query, support)), strict=True):
        q = F.normalize(q.float(), dim=1).transpose(1, 2)
        s = F.normalize(s.gather(2, order[:, None].expand(-1, s.shape[1], -1)).float(), dim=1) * own
        parts = [(q[:, i : i + step] @ s).clamp(0, 1).sum(2) for i in range(0, cells, step)]
        maps.append(torch.cat(parts, 1) / count.clamp(min=1)[:, None])
    return torch.stack(maps, 1).unflatten(2, query.shape[-2:])


class HyperCorrelation(nn.Module):
    """TDC: the maps of the blocks, joined from the top level down to what the decoder reads.

    Source: Sym-Net (systems.md 6.5).

    Args:
        blocks: how many the levels f2, f3 and f4 have.
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.lift = nn.ModuleList(nn.Conv2d(n, NARROW, 1) for n in blocks)
        self.top, self.down = _convolution(), _convolution()
        self.out = nn.Conv2d(NARROW, WIDE, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Give (B, 48, h, w) of a size from the maps (B, n, ., .) of f2, f3 and f4."""
        low, middle, high = (
            lift(resize(x, (size[0], size[1]))) for lift, x in zip(self.lift, maps, strict=True)
        )
        return self.out(self.down(self.top(middle + high) + low))


def _convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(NARROW, NARROW, 3, padding=1), nn.GroupNorm(1, NARROW), nn.ReLU())
