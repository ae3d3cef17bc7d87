"""What a decoder sees of supports and queries: backbone levels, the masked top level, maps of the support's class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fss_models.backbones import Backbone, Levels
from fss_models.cam import own_class, xgrad_cam
from fss_models.layers import resize


class Seen(NamedTuple):
    """What the backbone says about pictures: f2 (P, C2, h2, w2), f3 (P, C3, h, w), f4 (P, C4, h4, w4), cam.

    For supports the leading dimension is P * S, f4 is of the masked picture and cam (P * S, hc, wc). For queries cam is
    (P, S, hc, wc): one map for the class c* of each shot. Maps are in 0..1; they have the pictures' size in IIR, and
    may have that of f3, which is quicker.
    """

    f2: Tensor
    f3: Tensor
    f4: Tensor
    cam: Tensor


def see_supports(
    backbone: Backbone, levels: Levels, masks: Tensor, cam_size: tuple[int, int] | torch.Size | None = None
) -> tuple[Seen, Tensor]:
    """Give what a decoder sees of supports and their pretraining classes c* (P, S).

    Args:
        backbone: the frozen classifier.
        levels: of P * S pictures.
        masks: bool (P, S, H, W), True on the class.
        cam_size: size of the maps, by default that of f3.
    """
    flat = masks.flatten(0, 1).float()
    classes = own_class(backbone, levels.f3, flat, levels.token)
    f4 = backbone.top(levels.f3 * resize(flat[:, None], levels.f3.shape[-2:]), levels.token)
    cam = xgrad_cam(backbone, levels.f3, classes, levels.token, size=cam_size)
    return Seen(levels.f2, levels.f3, f4, cam), classes.unflatten(0, masks.shape[:2])


def see_queries(
    backbone: Backbone, levels: Levels, classes: Tensor, cam_size: tuple[int, int] | torch.Size | None = None
) -> Seen:
    """Give what a decoder sees of P queries for the classes c* (P, S) of their supports; see `see_supports`."""
    cams = [xgrad_cam(backbone, levels.f3, c, levels.token, size=cam_size) for c in classes.unbind(1)]
    return Seen(levels.f2, levels.f3, levels.f4, torch.stack(cams, 1))
