"""Import of `segment_anything` on machines where torchvision is missing or broken.

segment_anything 1.0 needs torchvision in two places only: to resize a picture, and for the non-maximum suppression of
its automatic mask generator. Without torchvision the first is replaced by Pillow, which is what torchvision calls, and
the second refuses to be built. Everything else is the real package.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import InputError


class ResizeLongestSide:
    """Scales pictures, points and boxes so that the longer side becomes ``target_length`` pixels."""

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Scale a picture, uint8 (H, W, C), bilinearly."""
        from PIL import Image

        height, width = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Scale points (..., 2) in x, y order; ``original_size`` is (H, W)."""
        height, width = self.get_preprocess_shape(original_size[0], original_size[1], self.target_length)
        return np.asarray(coords, dtype=float) * (width / original_size[1], height / original_size[0])

    def apply_boxes(self, boxes: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Scale boxes (B, 4) in x0, y0, x1, y1 order; ``original_size`` is (H, W)."""
        return self.apply_coords(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Give the scaled (H, W)."""
        scale = long_side_length / max(oldh, oldw)
        return int(oldh * scale + 0.5), int(oldw * scale + 0.5)


class SamAutomaticMaskGenerator:
    """Stands where the real generator would need torchvision."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise InputError(
            "SamAutomaticMaskGenerator needs torchvision, which does not import here; "
            "install torchvision beside a matching torch, or prompt SAM with boxes."
        )


def load_segment_anything() -> ModuleType:
    """Import the real `segment_anything`, with stand-ins for two submodules where torchvision does not work."""
    if "segment_anything" in sys.modules:
        return sys.modules["segment_anything"]
    try:
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError):  # a torchvision built for another torch raises RuntimeError
        for name, stand_in in (
            ("segment_anything.utils.transforms", ResizeLongestSide),
            ("segment_anything.automatic_mask_generator", SamAutomaticMaskGenerator),
        ):
            module = ModuleType(name)
            setattr(module, stand_in.__name__, stand_in)
            sys.modules[name] = module
    return importlib.import_module("segment_anything")
