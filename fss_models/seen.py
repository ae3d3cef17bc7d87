"""What a decoder sees of supports and queries: backbone levels, the masked top level, maps of the support's class."""

from __future__ import annotations

import torch
from torch import Tensor

from fss_models.backbones import Backbone, Levels
from fss_models.cam import own_class, xgrad_cam
from fss_models.iir import Seen
from fss_models.layers import resize


def see_supports(backbone: Backbone, levels: Levels, masks: Tensor) -> tuple[Seen, Tensor]:
    """Give what IIR sees of supports, levels of P * S pictures, masks bool (P, S, H, W), and their c* (P, S)."""
    flat = masks.flatten(0, 1).float()
    classes = own_class(backbone, levels.f3, flat)
    f4 = backbone.top(levels.f3 * resize(flat[:, None], levels.f3.shape[-2:]))
    cam = xgrad_cam(backbone, levels.f3, classes)
    return Seen(levels.f2, levels.f3, f4, cam), classes.unflatten(0, masks.shape[:2])


def see_queries(backbone: Backbone, levels: Levels, classes: Tensor) -> Seen:
    """Give what IIR sees of P queries for the classes c* (P, S) of their supports."""
    cams = [xgrad_cam(backbone, levels.f3, classes[:, s]) for s in range(classes.shape[1])]
    return Seen(levels.f2, levels.f3, levels.f4, torch.stack(cams, 1))
