"""Boxes to masks with SAM: `segment_anything` by checkpoint, SAM and SAM 2 of transformers by folder.

Source: Syn4Seg, SABR (box prompts, one mask a box).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.backends.memory import within_memory
from pipeline.backends.precision import Autocast, Precision, autocast_of
from pipeline.backends.sam_transformers import TransformersSam, model_type_of
from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import load_small_sam
from pipeline.errors import InputError, cause_of
from pipeline.types import Floats, Picture

CHECKPOINTS = ("vit_b", "vit_l", "vit_h")
"""Kinds of the original checkpoints, as in ``vit_h=PATH``."""

_BOXES = 256
"""Most boxes in one batch of the decoder, which takes some 30 MB for each at 1,024 pixels."""


_SMALLER = (
    "out of memory in SAM: set experiment.refine.precision=bf16, a smaller experiment.refine.model or "
    "execution.workers=1"
)


class SamNetwork(Protocol):
    """A SAM that looks at one picture at a time."""

    def look(self, picture: Picture) -> None:
        """Embed a picture, uint8 RGB (H, W, 3), and keep what came out."""
        ...

    def answer(self, boxes: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give masks, bool (R, H, W), and predicted IoUs (R,) for boxes (R, 4) xyxy, right and bottom inclusive."""
        ...


class SamRefiner:
    """A `BoundaryRefiner`: one pass of the encoder a picture, all its boxes in one pass of the decoder.

    The embedding of the latest picture is kept, so that asking about it again costs the decoder alone.

    Args:
        network: the SAM.
    """

    def __init__(self, network: SamNetwork) -> None:
        self.network = network
        self._seen: Picture | None = None

    @classmethod
    def from_checkpoint(cls, model: str | Path, *, device: str = "cpu", precision: Precision = "auto") -> SamRefiner:
        """Load a SAM; nothing is downloaded.

        Args:
            model: "vit_b=PATH", "vit_l=PATH", "vit_h=PATH" of an original checkpoint; or a folder with config.json and
                *.safetensors: a ``SamModel`` or ``Sam2Model`` as transformers saves it, or a small `Sam`, whose config
                has no ``model_type`` (see `small_sam`).
            device: where it runs, such as cpu or cuda:1.
            precision: of the encoder, see `precision.autocast_of`; the decoder always computes in float32.

        Raises:
            InputError: the weights are missing, damaged or of the wrong shape, or those of no SAM.
        """
        kind, _, path = str(model).partition("=")
        if path and kind not in CHECKPOINTS:
            raise InputError(f"unknown kind of SAM {kind!r}: expected {', '.join(CHECKPOINTS)}, as in vit_h=PATH")
        place = Path(path or model)
        if not (place.is_file() if path else any(place.glob("*.safetensors"))):
            raise InputError(f"no SAM weights at {place}: restore them or give a folder or vit_h=PATH that exists")
        autocast = autocast_of(device, precision)
        try:
            if path:
                sam = load_segment_anything().sam_model_registry[kind](checkpoint=path)
                return cls(OriginalSam(sam.to(device).eval(), autocast))
            if model_type_of(place) is None:
                return cls(OriginalSam(load_small_sam(place).to(device), autocast))
            return cls(TransformersSam.from_folder(place, device, autocast))
        except InputError:
            raise
        except Exception as error:  # torch, safetensors and transformers raise plain Exceptions for damaged files
            raise InputError(f"the SAM weights {place} cannot be loaded ({cause_of(error)}): get them anew") from error

    @torch.inference_mode()
    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give a mask and a predicted IoU for every box on one picture.

        Args:
            picture: uint8 RGB (H, W, 3).
            boxes: float32 (R, 4) xyxy in pixels, right and bottom exclusive.

        Returns:
            masks: bool (R, H, W).
            scores: float32 (R,), the IoU that SAM predicts for each.

        Raises:
            OutOfMemory: the picture or its boxes do not fit into memory.
        """
        height, width = picture.shape[:2]
        if len(boxes) == 0:
            return np.zeros((0, height, width), dtype=bool), np.zeros(0, dtype=np.float32)
        return within_memory(lambda: self._segmented(picture, boxes), _SMALLER)

    def _segmented(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        if self._seen is None or not np.array_equal(self._seen, picture):
            self._seen = None  # stays so where the encoder fails
            self.network.look(picture)
            self._seen = picture.copy()
        # SAM's boxes name the outermost pixels, so its right and bottom are inclusive
        inclusive = np.asarray(boxes, dtype=float) - np.array([0, 0, 1, 1])
        parts = [self.network.answer(inclusive[i : i + _BOXES]) for i in range(0, len(inclusive), _BOXES)]
        masks = np.concatenate([masks.cpu().numpy() for masks, _ in parts])
        return masks, np.concatenate([scores.float().cpu().numpy() for _, scores in parts])


class OriginalSam:
    """A `Sam` of `segment_anything`.

    Args:
        sam: in evaluation mode, on its device.
        autocast: number format of its encoder.
    """

    def __init__(self, sam: Any, autocast: Autocast) -> None:
        self._predictor = load_segment_anything().SamPredictor(sam)
        self._autocast = autocast

    def look(self, picture: Picture) -> None:
        """Embed a picture, see `SamNetwork`."""
        with self._autocast():
            self._predictor.set_image(picture)
        self._predictor.features = self._predictor.features.float()

    def answer(self, boxes: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give masks and predicted IoUs, see `SamNetwork`."""
        predictor = self._predictor
        scaled = predictor.transform.apply_boxes(boxes, predictor.original_size)
        masks, scores, _ = predictor.predict_torch(
            point_coords=None, point_labels=None, multimask_output=False,
            boxes=torch.as_tensor(scaled, dtype=torch.float, device=predictor.device),
        )
        return masks[:, 0], scores[:, 0]
