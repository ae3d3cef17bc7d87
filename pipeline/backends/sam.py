"""Boxes to masks with `segment_anything`.

Source: Syn4Seg, SABR (box prompts, one mask a box).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import load_small_sam
from pipeline.errors import InputError, cause_of
from pipeline.types import Floats, Picture

_KINDS = ("vit_b", "vit_l", "vit_h")


class SamRefiner:
    """A `BoundaryRefiner`: one pass of the encoder a picture, all its boxes in one pass of the decoder.

    The embedding of the latest picture is kept, so that asking about it again costs the decoder alone.

    Args:
        sam: a `segment_anything` `Sam`.
        weights_id: names its weights.
    """

    def __init__(self, sam: Any, weights_id: str) -> None:
        self.weights_id = weights_id
        self._predictor = load_segment_anything().SamPredictor(sam)
        self._seen: Picture | None = None

    @classmethod
    def from_checkpoint(cls, model: str | Path, *, device: str = "cpu") -> SamRefiner:
        """Load a SAM.

        Args:
            model: a folder with config.json and model.safetensors, or "vit_b=PATH", "vit_l=PATH", "vit_h=PATH" of an
                original checkpoint.
            device: where it runs.

        Raises:
            InputError: the weights are missing, damaged or of the wrong shape.
        """
        kind, _, path = str(model).partition("=")
        file = Path(path) if path else Path(model) / "model.safetensors"
        if path and kind not in _KINDS:
            raise InputError(f"unknown kind of SAM {kind!r}: expected one of {', '.join(_KINDS)}, as in vit_h=PATH")
        if not file.is_file():
            raise InputError(f"no SAM weights at {file}: restore the file or give a folder or vit_h=PATH that exists")
        try:
            if path:
                sam = load_segment_anything().sam_model_registry[kind](checkpoint=str(file))
            else:
                sam = load_small_sam(Path(model))
        except InputError:
            raise
        except Exception as error:  # torch and safetensors raise plain Exceptions for damaged files
            raise InputError(f"the SAM weights {file} cannot be loaded ({cause_of(error)}): get them anew") from error
        with file.open("rb") as opened:
            weights_id = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
        return cls(sam.to(device).eval(), weights_id)

    @torch.inference_mode()
    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give a mask and a predicted IoU for every box on one picture.

        Args:
            picture: uint8 RGB (H, W, 3).
            boxes: float32 (R, 4) xyxy in pixels, right and bottom exclusive.

        Returns:
            masks: bool (R, H, W).
            scores: float32 (R,), the IoU that SAM predicts for each.
        """
        height, width = picture.shape[:2]
        if len(boxes) == 0:
            return np.zeros((0, height, width), dtype=bool), np.zeros(0, dtype=np.float32)
        predictor = self._predictor
        if self._seen is None or not np.array_equal(self._seen, picture):
            self._seen = None  # stays so where the encoder fails
            predictor.set_image(picture)
            self._seen = picture.copy()
        # SAM's boxes name the outermost pixels, so its right and bottom are inclusive
        inclusive = np.asarray(boxes, dtype=float) - np.array([0, 0, 1, 1])
        scaled = predictor.transform.apply_boxes(inclusive, (height, width))
        masks, scores, _ = predictor.predict_torch(
            point_coords=None, point_labels=None, multimask_output=False,
            boxes=torch.as_tensor(scaled, dtype=torch.float, device=predictor.device),
        )
        return masks[:, 0].cpu().numpy(), scores[:, 0].float().cpu().numpy()
