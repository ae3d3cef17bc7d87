"""XGrad-CAM at layer 3: where the backbone sees one of its own classes, and the threshold that fits a support mask."""

from __future__ import annotations

import torch
from torch import Tensor

from fss_models.backbones import Backbone
from fss_models.layers import TINY, resize, resize_labels

THRESHOLDS = 51


def own_class(backbone: Backbone, f3: Tensor, masks: Tensor, token: Tensor | None = None) -> Tensor:
    """Give the pretraining class c* (B,) that the backbone sees in masked pictures.

    Args:
        backbone: the frozen classifier.
        f3: third levels (B, C3, h, w) of the unmasked pictures.
        masks: float (B, H, W) in 0..1.
        token: as in `Levels`.
    """
    with torch.no_grad():
        cells, score = backbone.as_trained(f3 * resize(masks[:, None].float(), f3.shape[-2:]), token)
        return score(cells).argmax(1)


def xgrad_cam(
    backbone: Backbone, f3: Tensor, classes: Tensor, token: Tensor | None = None, *,
    size: tuple[int, int] | torch.Size | None = None,
) -> Tensor:  # fmt: skip
    """Give the class activation maps (B, h, w), stretched to 0..1 a picture, for class c* of each picture.

    Source: XGrad-CAM as IIR uses it: w_k = sum(G_k A_k) / (sum(A_k) + eps), map = ReLU(sum_k w_k A_k).

    Args:
        backbone: the frozen classifier.
        f3: third levels (B, C3, h, w) of whole pictures.
        classes: pretraining classes (B,).
        token: as in `Levels`.
        size: of the maps: the picture's in IIR; by default that of f3.
    """
    cells, score = backbone.as_trained(f3.detach(), token)
    with torch.enable_grad():
        cells = cells.clone().requires_grad_()
        chosen = score(cells).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, cells)
    cells = cells.detach()
    weights = (gradient * cells).sum((2, 3)) / (cells.sum((2, 3)) + TINY)
    cam = torch.einsum("bc,bchw->bhw", weights, cells).relu()
    cam = resize(cam[:, None], size or f3.shape[-2:])[:, 0]
    low, high = cam.flatten(1).amin(1), cam.flatten(1).amax(1)
    return (cam - low[:, None, None]) / (high - low + TINY)[:, None, None]


def best_threshold(cam: Tensor, masks: Tensor) -> Tensor:
    """Give the threshold tau (B,) in {0, 0.02, ..., 1} at which the map overlaps most with the mask.

    Source: IIR, tau = argmax IoU(1[cam > tau], M), strict; the same tau is used on the query.

    Args:
        cam: maps (B, h, w) in 0..1.
        masks: bool (B, H, W); the maps are enlarged to them.
    """
    cam = resize(cam[:, None], masks.shape[-2:]).flatten(1)
    masks = masks.flatten(1).bool()
    levels = torch.linspace(0, 1, THRESHOLDS, device=cam.device)
    # of each pixel, how many thresholds it is above; of each threshold, how many pixels are above it
    passed = torch.bucketize(cam, levels)
    place = passed + (THRESHOLDS + 1) * torch.arange(len(cam), device=cam.device)[:, None]
    both, active = (
        torch.bincount(x.flatten(), minlength=len(cam) * (THRESHOLDS + 1)).view(len(cam), -1)
        .flip(1).cumsum(1).flip(1)[:, 1:]
        for x in (place[masks], place)
    )  # fmt: skip
    either = active + masks.sum(1, keepdim=True) - both
    return levels[(both.float() / either.float().clamp(min=1)).argmax(1)]


def split_regions(active: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Split masks into core (CAM-active) and local parts.

    Args:
        active: bool (B, h, w).
        masks: bool (B, H, W), brought to (h, w).

    Returns:
        Two bool maps (B, h, w) that do not overlap and together are the mask.
    """
    masks = resize_labels(masks, active.shape[-2:])
    return masks & active, masks & ~active
