"""The GFSS network as the pipeline's teacher: NumPy in, NumPy out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from fss_models.gfss import GfssModel
from pipeline.types import Floats, Picture


class GfssTeacher:
    """Implements `pipeline.types.Teacher`; features are the base learner's penultimate ones.

    Args:
        model: a trained model with supports.
        batch: pictures at once; part of the plan, since results differ in the last bits between batch sizes.
    """

    def __init__(self, model: GfssModel, batch: int = 16) -> None:
        self._model, self._batch = model.eval(), batch
        digest = hashlib.blake2b(model.backbone.weights_id.encode(), digest_size=8)
        for name, tensor in {**model.trainable_state(), **(model._supports or {})}.items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        self.weights_id = digest.hexdigest()

    @torch.no_grad()
    def look(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Give features (N, C, h, w) and class probabilities (N, 1+B+N, H, W) of pictures of one size."""
        device = self._model.fusion.offsets.device
        features, probabilities = [], []
        for start in range(0, len(pictures), self._batch):
            x = torch.from_numpy(np.stack(pictures[start : start + self._batch])).to(device)
            f, p = self._model.look(x.permute(0, 3, 1, 2).float() / 255)
            features.append(f.cpu().numpy())
            probabilities.append(p.cpu().numpy())
        return np.concatenate(features), np.concatenate(probabilities)
