"""Text to pictures with a diffusers pipeline, and the vectors of its own text encoders for the prompt bank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.backends.text import hush, pooled
from pipeline.errors import InputError, cause_of
from pipeline.hashing import hash_files, list_files
from pipeline.types import Floats, Picture

_WEIGHTS = (".safetensors", ".json", ".txt")
"""Endings of the files that decide what a pipeline draws: weights, settings, vocabularies."""

_TEXT_BATCH = 64


class DiffusionGenerator:
    """Draws pictures with any diffusers text-to-image pipeline; an `ImageGenerator` and a `TextEncoder`.

    Every picture has its own CPU generator, so that it does not depend on its neighbours; pictures are drawn in
    batches of a fixed size.

    Args:
        pipe: the pipeline.
        weights_id: names its weights.
        steps: denoising steps.
        guidance: classifier-free guidance (CFG) scale.
        batch: pictures at once.
        guidance_rescale: 0..1, pulls over-saturated pictures back where the noise schedule ends at zero SNR.
        size: side of a picture in pixels, the pipeline's own unless given.
    """

    def __init__(
        self, pipe: Any, weights_id: str, steps: int, guidance: float, *,
        batch: int = 8, guidance_rescale: float = 0.0, size: int | None = None,
    ) -> None:
        pipe.set_progress_bar_config(disable=True)
        self.weights_id = weights_id
        self._pipe = pipe
        self._batch = batch
        self._options: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance}
        if guidance_rescale:
            self._options["guidance_rescale"] = guidance_rescale
        if size is not None:
            self._options |= {"height": size, "width": size}
        self._guided = guidance > 1

    @classmethod
    def from_folder(
        cls, folder: Path, steps: int, guidance: float, *, device: str = "cpu", batch: int = 8,
        guidance_rescale: float = 0.0, size: int | None = None,
    ) -> DiffusionGenerator:
        """Load a pipeline from a folder: float32 on a CPU, bfloat16 on a GPU; nothing is downloaded.

        Raises:
            InputError: the folder is no pipeline, or its weights are missing, damaged or of the wrong shape.
        """
        if not (folder / "model_index.json").is_file():
            raise InputError(
                f"no generator in {folder}: a folder with model_index.json, as diffusers saves it, is expected; "
                "picto's own is made by make picto-weights"
            )
        for library in ("transformers", "diffusers"):  # in this order, as diffusers imports transformers
            hush(library)
        from diffusers import AutoPipelineForText2Image

        loader: Any = AutoPipelineForText2Image
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        try:
            pipe = loader.from_pretrained(folder, dtype=dtype, local_files_only=True, low_cpu_mem_usage=False)
            _check_whole(pipe, folder)
        except Exception as error:  # every part has its own class of errors, some of them plain Exceptions
            raise InputError(f"the generator in {folder} cannot be loaded ({cause_of(error)}): get it anew") from error
        names = [name for name in list_files(folder) if name.endswith(_WEIGHTS)]
        return cls(
            pipe.to(device), hash_files(folder, names), steps, guidance,
            batch=batch, guidance_rescale=guidance_rescale, size=size,
        )

    @torch.inference_mode()
    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        """Draw one picture a prompt, uint8 RGB (H, W, 3); values that are not finite become black.

        Raises:
            ValueError: there are not as many seeds as prompts.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts came with {len(seeds)} seeds")
        encoded = self._encoded(list(dict.fromkeys(prompts)))
        pictures: list[Picture] = []
        for start in range(0, len(prompts), self._batch):
            now = list(prompts[start : start + self._batch])
            generators = [torch.Generator("cpu").manual_seed(s) for s in seeds[start : start + self._batch]]
            text = _stacked([encoded[p] for p in now]) if encoded else {"prompt": now}
            drawn = self._pipe(**text, generator=generators, output_type="np", **self._options).images
            pictures += list((np.nan_to_num(drawn).clip(0, 1) * 255).round().astype(np.uint8))
        return pictures

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Floats:
        """Give one unit vector a sentence from the pipeline's CLIP encoders, float32 (N, C).

        Those of several encoders are joined as Stable Diffusion 3 (SD3) joins them; see `text.pooled`.
        Source: Syn4Seg, HDIG: phi(p) / ||phi(p)||.
        """
        pairs = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
        blocks: list[NDArray[np.float32]] = []
        for start in range(0, len(sentences), _TEXT_BATCH):
            now = list(sentences[start : start + _TEXT_BATCH])
            parts = [
                pooled(getattr(self._pipe, tokenizer), getattr(self._pipe, encoder), now)
                for tokenizer, encoder in pairs
                if "CLIP" in type(getattr(self._pipe, encoder, None)).__name__
            ]
            blocks.append(np.concatenate(parts, axis=1))
        vectors = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def _encoded(self, sentences: list[str]) -> dict[str, dict[str, torch.Tensor]]:
        """Encode every sentence once; nothing for other families, which take sentences and encode them themselves."""
        from diffusers import StableDiffusionPipeline

        plain = isinstance(self._pipe, StableDiffusionPipeline)
        if not plain:
            return {}
        encoded: dict[str, dict[str, torch.Tensor]] = {}
        for start in range(0, len(sentences), _TEXT_BATCH):
            now = sentences[start : start + _TEXT_BATCH]
            told, silent = self._pipe.encode_prompt(now, self._pipe.device, 1, self._guided)
            for i, sentence in enumerate(now):
                encoded[sentence] = {"prompt_embeds": told[i]}
                if silent is not None:
                    encoded[sentence]["negative_prompt_embeds"] = silent[i]
        return encoded


def _check_whole(pipe: Any, folder: Path) -> None:
    """Refuse files with too few tensors: the libraries would only warn and leave the rest random.

    Tensors are counted, not named, because old checkpoints use other names.
    """
    from safetensors import safe_open

    for name, part in pipe.components.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if not isinstance(part, torch.nn.Module) or not files:
            continue
        stored = 0
        for file in files:
            with safe_open(file, framework="pt") as opened:
                stored += len(opened.keys())
        needed = len({tensor.data_ptr() for tensor in part.state_dict().values()})
        if stored < needed:
            raise ValueError(f"{name} holds {stored} tensors where {needed} are needed")


def _stacked(entries: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([entry[name] for entry in entries]) for name in entries[0]}
