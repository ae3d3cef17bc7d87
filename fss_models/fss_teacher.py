"""An FSS model as the pipeline's teacher of one class, for data sets whose masks are of one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fss_models.augment import as_tensors
from fss_models.data import Arrays
from fss_models.layers import resize
from pipeline.types import Floats, Picture, Support


class FssTeacher:
    """Implements `pipeline.types.Teacher` for background and one class; features are the backbone's f3, as in matching.

    Args:
        model: any FSS model.
        support: the K masked pictures that show the class.
        weights_id: names the model's weights.
    """

    def __init__(self, model: Any, support: Support, weights_id: str) -> None:
        self._model, self.weights_id = model.eval(), weights_id
        masks = [mask.astype(np.uint8) for mask in support.masks]
        data, side = Arrays(support.pictures, masks, 2), max(max(mask.shape) for mask in masks)
        device = model.backbone.mean.device
        pictures, fitted = as_tensors(data, range(len(data)), device, model.config.side or side)
        model.name_classes(("background", support.name))
        self._supports, self._masks = pictures[None], fitted[None]
        self._class = torch.ones(1, dtype=torch.long, device=device)

    @torch.no_grad()
    def look(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Give features (N, C, h, w) and probabilities (N, 2, H, W) of pictures of one size."""
        features, probabilities = [], []
        for picture in pictures:
            x = torch.from_numpy(picture.copy()).to(self._supports.device).permute(2, 0, 1)[None].float() / 255
            logits = self._model(x, self._supports, self._masks, self._class).float()
            thing = resize(logits[:, None], x.shape[-2:]).sigmoid()
            probabilities.append(torch.cat([1 - thing, thing], 1).cpu().numpy())
            features.append(self._model.see(x).f3.float().cpu().numpy())
        return np.concatenate(features), np.concatenate(probabilities)
