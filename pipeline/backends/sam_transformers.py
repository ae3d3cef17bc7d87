"""SAM and SAM 2 as transformers has them, without its image processors, one of which needs torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.backends.precision import Autocast
from pipeline.backends.segment_anything_import import ResizeLongestSide
from pipeline.backends.text import hush
from pipeline.errors import InputError, cause_of
from pipeline.types import Picture

CLASSES = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
"""``model_type`` in config.json -> class. Checkpoints of SAM 2 are those of its video model, which holds this one."""

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225), "rescale_factor": 1 / 255}
"""What both were trained with; a folder may say otherwise."""


class TransformersSam:
    """A ``SamModel``, whose input is a picture's longer side scaled and padded, or a ``Sam2Model``, which stretches it.

    Masks are enlarged to the size of the picture and cut at 0, scores are the predicted IoUs; one mask a box.

    Args:
        model: in evaluation mode, on its device.
        mean: of the three channels of a picture in 0..255.
        std: their standard deviation.
        autocast: number format of the encoder.
    """

    def __init__(self, model: Any, mean: NDArray[np.float32], std: NDArray[np.float32], autocast: Autocast) -> None:
        self.model = model
        self._mean, self._std = (torch.as_tensor(x, device=model.device).view(3, 1, 1) for x in (mean, std))
        self._autocast = autocast
        self._stretch = model.config.model_type != "sam"
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._embedding: Any = None
        self._original = self._scaled = (0, 0)

    @classmethod
    def from_folder(cls, folder: Path, device: str, autocast: Autocast) -> TransformersSam:
        """Load a folder in float32; nothing is downloaded.

        Raises:
            InputError: it holds another model than a SAM, or weights of another shape or too few of them.
        """
        kind = model_type_of(folder)
        if kind not in CLASSES:
            raise InputError(
                f"{folder} holds a model of type {kind!r}, which is no SAM: expected {', '.join(CLASSES)}, such as "
                "facebook/sam-vit-huge or facebook/sam2.1-hiera-large"
            )
        hush("transformers")
        import transformers

        loader: Any = getattr(transformers, CLASSES[kind])
        model, loaded = loader.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, ignore_mismatched_sizes=True, output_loading_info=True
        )
        odd = [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]
        if odd:  # transformers only warns and leaves the rest random
            raise InputError(f"the weights in {folder} do not fit its config.json ({sorted(odd)[0]}): get both anew")
        mean, std = _normalisation(folder)
        return cls(model.to(device).eval(), mean, std, autocast)

    def look(self, picture: Picture) -> None:
        """Embed a picture, see `SamNetwork`."""
        height, width = self._original = picture.shape[:2]
        self._scaled = (
            (self._side, self._side) if self._stretch
            else ResizeLongestSide.get_preprocess_shape(height, width, self._side)
        )  # fmt: skip
        resized = Image.fromarray(picture).resize(self._scaled[::-1], Image.Resampling.BILINEAR)
        pixels = torch.as_tensor(np.array(resized), device=self.model.device).permute(2, 0, 1)
        pixels = (pixels - self._mean) / self._std
        pixels = torch.nn.functional.pad(pixels, (0, self._side - self._scaled[1], 0, self._side - self._scaled[0]))
        with self._autocast():
            found = self.model.get_image_embeddings(pixels[None])
        self._embedding = [level.float() for level in found] if self._stretch else found.float()

    def answer(self, boxes: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give masks and predicted IoUs, see `SamNetwork`."""
        (height, width), (rows, columns) = self._original, self._scaled
        scaled = boxes * np.array([columns / width, rows / height] * 2)
        found = self.model(
            image_embeddings=self._embedding, multimask_output=False,
            input_boxes=torch.as_tensor(scaled[None], dtype=torch.float, device=self.model.device),
        )
        masks = found.pred_masks[0]  # of R boxes and one mask each, (R, 1, 4h, 4w)
        if not self._stretch:
            masks = _enlarged(masks, (self._side, self._side))[..., :rows, :columns]
        return _enlarged(masks, (height, width))[:, 0] > 0, found.iou_scores[0, :, 0]


def model_type_of(folder: Path) -> str | None:
    """Give the ``model_type`` that a folder's config.json names, None where it names none or there is no config.

    Raises:
        InputError: the config is no JSON.
    """
    path = folder / "config.json"
    found = _read(path) if path.is_file() else {}
    return str(found["model_type"]) if "model_type" in found else None


def _normalisation(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give mean and deviation of pixels in 0..255, as the folder's image processor has them."""
    alone, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    said: dict[str, Any] = {}
    if alone.is_file():
        said = _read(alone)
    elif joint.is_file():
        said = _read(joint).get("image_processor", {})
    mean, std, factor = (said.get(key, usual) for key, usual in _IMAGENET.items())
    return np.asarray(mean, np.float32) / factor, np.asarray(std, np.float32) / factor


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no JSON ({cause_of(error)}): get it anew") from error


def _enlarged(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(masks, size, mode="bilinear", align_corners=False)
