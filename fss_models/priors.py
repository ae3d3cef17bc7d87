"""Where the class may be in the query: prior, local map and plain similarities, from prototypes. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fss_models.layers import cosine_map, masked_average, region_min_max, resize, resize_labels


def prior_map(f4: Tensor, active: Tensor, core: Tensor, local: Tensor) -> Tensor:
    """Match like with like: CAM-active cells with the core prototype, the others with the local one.

    Source: IIR, P = N_C(cos(F4 C, p_core)) + N_{1-C}(cos(F4 (1 - C), p_local)), N = min-max inside a region.

    Args:
        f4: (B, C4, h, w).
        active: bool (B, H, W), brought to (h, w) by nearest neighbour.
        core: (B, C4).
        local: (B, C4); a prototype of zeros gives a prior of zeros in its region.

    Returns:
        (B, h, w) in 0..1.
    """
    active = resize_labels(active, f4.shape[-2:])
    return region_min_max(cosine_map(f4, core), active) + region_min_max(cosine_map(f4, local), ~active)


def matched_prior(f4: Tensor, support: Tensor) -> Tensor:
    """Match each cell with the support cell that it is most like.

    Source: PFENet, P = N(max_j cos(F4(x), F4_s(j) M(j))), N = min-max over the picture.

    Args:
        f4: (B, C4, h, w).
        support: masked top level (B, C4, h', w'); cells of zeros are like nothing, with a cosine of 0.

    Returns:
        (B, h, w) in 0..1.
    """
    cells, seen = F.normalize(f4.flatten(2), dim=1), F.normalize(support.flatten(2), dim=1)
    best = (cells.transpose(1, 2) @ seen).amax(2).unflatten(1, f4.shape[-2:])
    return region_min_max(best, torch.ones_like(best, dtype=torch.bool))


def category_prior(f4: Tensor, cam: Tensor, support: Tensor) -> Tensor:
    """Match a whole picture with one representation of the class that support and query make together.

    Source: I2R, "category-specific high level representations which aggregate global semantic cues from support and
    query images"; that sentence of its abstract is all the evidence, the formula is ours: r = p_s + p_q, each of unit
    length, p_q = CAM-weighted average of the picture's own F4, P = N(cos(F4, r)).

    Args:
        f4: (B, C4, h, w).
        cam: (B, H, W) in 0..1 for the support's class, brought to (h, w).
        support: prototypes of the support's whole mask (B, C4), of unit length or zero.

    Returns:
        (B, h, w) in 0..1.
    """
    own = masked_average(f4, resize(cam[:, None], f4.shape[-2:])[:, 0])
    cosine = cosine_map(f4, support + F.normalize(own, dim=1))
    return region_min_max(cosine, torch.ones_like(cosine, dtype=torch.bool))


def local_map(core: Tensor, local: Tensor, active: Tensor) -> Tensor:
    """Give R = p_core C + p_local (1 - C), (B, d, h, w), from prototypes (B, d) and active cells (B, h, w) in 0..1."""
    active = active[:, None]
    return core[..., None, None] * active + local[..., None, None] * (1 - active)


def similarities(mid: Tensor, f4: Tensor, p_mid: Tensor, p_high: Tensor) -> Tensor:
    """Give the cosines (B, 2, h, w) with the prototypes of the whole mask, at the middle levels and at the top.

    Ours. The prior is stretched to 0..1 in every picture, so it cannot say that the class is absent. In GFSS it mostly
    is, and these cosines can. They also go straight into the logit: the blocks alone first learn what a thing is, and
    only much later whether it is one of the class.
    """
    return torch.stack([cosine_map(mid, p_mid), cosine_map(resize(f4, mid.shape[-2:]), p_high)], 1)


def contrast_prototypes(f3: Tensor, thing: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Give the prototypes (B, C) of soft regions (B, h, w), from f3 (B, C, h, w) of unit length a cell."""
    cells = F.normalize(f3, dim=1)
    return masked_average(cells, thing), masked_average(cells, rest)


def contrast(f3: Tensor, thing: Tensor, rest: Tensor) -> Tensor:
    """Give the cosine with one prototype (B, C) minus that with the other, (B, 1, h, w): prototype matching.

    Source: PANet, see `fss.Matching`.
    """
    return (cosine_map(f3, thing) - cosine_map(f3, rest))[:, None]


SPM_WINDOWS = ((5, 5), (7, 1), (1, 7))
"""Height and width of Sym-Net's windows: a square for what is local, strips for what is global."""


def window_means(f4: Tensor, masks: Tensor, windows: Sequence[tuple[int, int]] = SPM_WINDOWS) -> Tensor:
    """Give what `self_activation_prior` needs of supports, (B, W, C4): the mean unit vector of the pooled masked cells.

    Args:
        f4: (B, C4, h, w) of the whole picture.
        masks: (B, h, w) in 0..1; cells outside count as zeros, as published.
        windows: W of odd height and width.
    """
    masked = f4 * masks[:, None]
    return torch.stack([F.normalize(_pooled(masked, window), dim=1).mean((2, 3)) for window in windows], 1)


def self_activation_prior(
    f4: Tensor, means: Tensor, windows: Sequence[tuple[int, int]] = SPM_WINDOWS
) -> Tensor:
    """Give where a query looks like the support and is strongly active itself; nothing is trained.

    Source: Sym-Net, SPM (systems.md 6.2): r(x) = |q_x| mean_y cos(q_x, s_y) for pooled cells q_x of the query and s_y
    of the masked support, stretched to 0..1 and averaged over the windows. The norm cancels that of the cosine: r(x) is
    q_x times the mean unit vector of the support, and pooling after that product is the same as before it.

    Args:
        f4: of the queries, (B, C4, h, w).
        means: of one support each, (B, W, C4), see `window_means`.
        windows: W of odd height and width.

    Returns:
        (B, h, w) in 0..1.
    """
    products = torch.einsum("bchw,bkc->bkhw", f4, means)
    whole = torch.ones_like(products[:, 0], dtype=torch.bool)
    return torch.stack([
        region_min_max(_pooled(product[:, None], window)[:, 0], whole)
        for product, window in zip(products.unbind(1), windows, strict=True)
    ]).mean(0)  # fmt: skip


def _pooled(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Average over windows around every cell; cells beyond the edge count as zeros."""
    return F.avg_pool2d(x, window, stride=1, padding=(window[0] // 2, window[1] // 2))
