"""The GFSS network as the pipeline's teacher: NumPy in, NumPy out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fss_models.gfss import GfssModel
from fss_models.layers import resize
from fss_models.predict import at_known_size
from pipeline.types import Floats, Picture


class GfssTeacher:
    """Implements `pipeline.types.Teacher`; features are the base learner's penultimate ones.

    Pictures are brought to the size at which the model knows things, see `predict.known_side`, and probabilities back.

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
    def features(self, pictures: Sequence[Picture]) -> Floats:
        """Give features (N, C, h, w) of pictures of one size; no class is decoded."""
        return np.concatenate([self._model.features(x).cpu().numpy() for x in self._batches(pictures)])

    @torch.no_grad()
    def look(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Give features (N, C, h, w) and class probabilities (N, 1+B+N, H, W) of pictures of one size."""
        size = pictures[0].shape[:2]
        features, probabilities = [], []
        for x in self._batches(pictures):
            f, p = self._model.look(x)
            features.append(f.cpu().numpy())
            probabilities.append(resize(p, size).cpu().numpy())
        return np.concatenate(features), np.concatenate(probabilities)

    def _batches(self, pictures: Sequence[Picture]) -> Iterator[Tensor]:
        device = self._model.fusion.offsets.device
        for start in range(0, len(pictures), self._batch):
            some = pictures[start : start + self._batch]
            yield at_known_size(self._model, self._model.side, some).to(device)
