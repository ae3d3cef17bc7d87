"""What IIR sees before it decides: class activation, core and local part, prior and foreground probability.

The few-shot part of the model is `fss.IirFss`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fss_models.augment import fit, unfit
from fss_models.cam import split_regions
from fss_models.gfss import GfssModel
from fss_models.layers import resize
from fss_models.seen import see_supports
from pipeline.types import Floats, Mask, Picture


@dataclass(frozen=True, eq=False)
class SupportMaps:
    """The first support of a class: picture uint8 (H, W, 3), cam float (H, W) in 0..1, core and local bool (H, W)."""

    picture: Picture
    cam: Floats
    core: Mask
    local: Mask
    threshold: float


@dataclass(frozen=True, eq=False)
class QueryMaps:
    """A query for a class: cam, prior and probability, float (H, W) in 0..1; active bool (H, W), cam above tau."""

    cam: Floats
    active: Mask
    prior: Floats
    probability: Floats


@torch.no_grad()
def support_maps(model: GfssModel, place: int) -> SupportMaps:
    """Give what the model sees of the first support of a novel class.

    Args:
        model: with supports, in evaluation mode.
        place: of the class among the novel ones.
    """
    pictures, masks = model.support_tensors()
    size = masks.shape[-2:]
    levels = model.backbone(pictures[place])
    masks = masks == 1
    seen, _ = see_supports(model.backbone, levels, masks[place : place + 1])
    threshold = float(model.support_code()["threshold"][place, 0])
    cam = resize(seen.cam[:1, None], size)[0]
    core, local = split_regions(cam > threshold, masks[place, :1])
    shown = (pictures[place, 0] * 255).round().to(torch.uint8).permute(1, 2, 0)
    return SupportMaps(shown.cpu().numpy(), _array(cam[0]), _bool(core[0]), _bool(local[0]), threshold)


@torch.no_grad()
def query_maps(model: GfssModel, picture: Picture, place: int) -> QueryMaps:
    """Give what the model sees of a query, by the first support of a novel class.

    Args:
        model: with supports, in evaluation mode.
        picture: uint8 RGB (H, W, 3).
        place: of the class among the novel ones.
    """
    size = picture.shape[:2]
    code = {name: x[place : place + 1] for name, x in model.support_code().items()}
    side = max(model.side, min(max(size), model.backbone.input_size))
    x, _ = fit(picture, np.zeros(size, np.uint8), side)
    levels = model.few_shot.see(x[None].to(code["threshold"].device))
    seen = model.few_shot.see_queries(levels, code, (side, side))
    decoded = model.few_shot.decode_seen(seen, levels, code)
    maps = [seen.cam[:, 0], decoded.prior, decoded.logits.sigmoid()]
    cam, prior, probability = (unfit(one, size)[0] for one in maps)
    return QueryMaps(_array(cam), _bool(cam > code["threshold"][0, 0]), _array(prior), _array(probability))


def _array(x: Tensor) -> Floats:
    return np.asarray(x.float().cpu().numpy(), dtype=np.float32)


def _bool(x: Tensor) -> Mask:
    return np.asarray(x.cpu().numpy(), dtype=bool)
