"""An FSS model as the pipeline's teacher of one class, for data sets whose masks are of one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fss_models.augment import as_tensors
from fss_models.data import Arrays
from fss_models.layers import resize
from fss_models.predict import at_known_size
from pipeline.types import Floats, Picture, Support


class FssTeacher:
    """Implements `pipeline.types.Teacher` for background and one class; features are the backbone's f3, as in matching.

    Pictures are brought to the size at which the model knows things, see `predict.known_side`, and probabilities back.

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
        self._side = model.config.side or side
        pictures, fitted = as_tensors(data, range(len(data)), device, self._side)
        model.name_classes(("background", support.name))
        with torch.no_grad():
            code = model.encode(model.see(pictures), fitted, torch.ones(len(masks), dtype=torch.long, device=device))
        self._code = {name: x[None] for name, x in code.items()}

    @torch.no_grad()
    def features(self, pictures: Sequence[Picture]) -> Floats:
        """Give features (N, C, h, w) of pictures of one size; nothing is decoded."""
        return np.concatenate([self._model.see(self._shown(one)).f3.float().cpu().numpy() for one in pictures])

    @torch.no_grad()
    def look(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Give features (N, C, h, w) and probabilities (N, 2, H, W) of pictures of one size."""
        features, probabilities = [], []
        for picture in pictures:
            x = self._shown(picture)
            levels = self._model.see(x)
            logits = self._model.decode(levels, self._code, tuple(x.shape[-2:])).float()
            thing = resize(logits[:, None], picture.shape[:2]).sigmoid()
            probabilities.append(torch.cat([1 - thing, thing], 1).cpu().numpy())
            features.append(levels.f3.float().cpu().numpy())
        return np.concatenate(features), np.concatenate(probabilities)

    def _shown(self, picture: Picture) -> Tensor:
        """Give a picture as (1, 3, h, w) in 0..1, at the size that the model knows."""
        return at_known_size(self._model, self._side, [picture]).to(self._model.backbone.mean.device)
