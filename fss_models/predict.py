"""Label maps of pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fss_models.augment import fit, unfit
from fss_models.data import Arrays
from fss_models.decision import ARGMAX, ExpectedIou, votes
from fss_models.episodes import Episode
from fss_models.evaluate_fss import fitted_batch
from fss_models.gfss import GfssModel
from fss_models.layers import resize
from fss_models.multiscale import predict_multiscale
from pipeline.types import LabelMap, Mask, Picture


@torch.no_grad()
def predict_gfss(model: GfssModel, picture: Picture, expected_iou: ExpectedIou = ARGMAX) -> LabelMap:
    """Give the split id of every pixel, uint8 (H, W).

    The picture is brought to the size of the supports, or to that which the backbone enlarges them to where it is
    larger, so that things have the size that the model knows.

    Args:
        model: with supports, in evaluation mode.
        picture: uint8 RGB (H, W, 3).
        expected_iou: of base and novel classes, see `decision`.
    """
    x, _ = fit(picture, np.zeros(picture.shape[:2], np.uint8), known_side(model, model.side, picture))
    log = model.log_probabilities(x[None].to(model.fusion.offsets.device))[0]
    return unfit(votes(log, model.config.base, expected_iou), picture.shape[:2]).argmax(0).to(torch.uint8).cpu().numpy()


@torch.no_grad()
def predict_fss(
    model: Any, picture: Picture, pictures: Sequence[Picture], masks: Sequence[Mask], *, name: str,
    multiscale: bool = False,
) -> LabelMap:
    """Give 1 on the class that the supports show and 0 elsewhere, uint8 (H, W).

    Args:
        model: any FSS model, in evaluation mode.
        picture: the query, uint8 RGB (H, W, 3).
        pictures: K supports, uint8 RGB, of any sizes.
        masks: bool (H, W) each, True on the class.
        name: of the class.
        multiscale: the mean over three views of the query, see `multiscale.VIEWS`.
    """
    nothing = np.zeros(picture.shape[:2], np.uint8)
    data = Arrays([picture, *pictures], [nothing, *(m.astype(np.uint8) for m in masks)], 2)
    episode = Episode(1, 0, tuple(range(1, len(data))))
    batch = fitted_batch(data, [episode], known_side(model, model.config.side, picture)).to(model.backbone.mean.device)
    model.name_classes(("background", name))
    shown = batch.query, batch.supports, batch.masks, batch.classes
    margins = 2 * predict_multiscale(model, *shown) - 1 if multiscale else model(*shown).float()
    return (unfit(margins[0], picture.shape[:2]) > 0).to(torch.uint8).cpu().numpy()


def known_side(model: Any, trained: int, picture: Picture) -> int:
    """Give the longer side in pixels at which a model knows things: that of its training, or the backbone's."""
    return max(trained, min(max(picture.shape[:2]), model.backbone.input_size))


def at_known_size(model: Any, trained: int, pictures: Sequence[Picture]) -> Tensor:
    """Give pictures of one size as (B, 3, h, w) in 0..1, their longer side as `known_side` says."""
    size = pictures[0].shape[:2]
    side = known_side(model, trained, pictures[0])
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return resize(x, torch.Size([max(1, round(n * side / max(size))) for n in size]))
