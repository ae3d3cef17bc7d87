"""The text side of a diffusers pipeline: sentences encoded once a shard, and vectors for the prompt bank."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.backends.text import pooled
from pipeline.errors import InputError
from pipeline.types import Floats

_TEXT_BATCH = 64


class PromptMemory:
    """Stands in the place of a pipeline's ``encode_prompt`` and encodes every sentence of a shard once.

    The pipeline itself asks, with the arguments of its own family (lengths, instructions, negative prompts, guidance),
    and gets what its own method gave, sentence by sentence. So no list of names and orders of embeddings is needed,
    which differ from family to family. The first question of a shard encodes all of its sentences.

    Args:
        pipe: the pipeline.
        encoders: names of its text encoders.
        resting: text encoders wait on the CPU while pictures are drawn.
        device: where text is encoded.
    """

    def __init__(self, pipe: Any, encoders: Sequence[str], *, resting: bool, device: torch.device) -> None:
        self._pipe, self._names, self._resting, self._device = pipe, encoders, resting, device
        self._encode = getattr(pipe, "encode_prompt", None)
        self._sentences: dict[str, int] = {}
        self._kept: dict[str, Any] = {}

    @contextmanager
    def of(self, sentences: Sequence[str]) -> Iterator[None]:
        """Encode no sentence twice while this lasts; what was encoded is then let go."""
        self._sentences = {sentence: i for i, sentence in enumerate(dict.fromkeys(sentences))}
        self._pipe.encode_prompt = self
        try:
            yield
        finally:
            self._pipe.encode_prompt = self._encode
            self._sentences, self._kept = {}, {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the pipeline's own ``encode_prompt`` does."""
        bound = inspect.signature(self._encode).bind(*args, **kwargs)  # type: ignore[arg-type]
        prompt = bound.arguments.get("prompt")
        others = {name: value for name, value in bound.arguments.items() if name != "prompt"}
        asked = [prompt] if isinstance(prompt, str) else list(prompt or [])
        if not asked or any(isinstance(value, torch.Tensor) for value in others.values()):
            return self._encoded(bound)
        one_each = any(isinstance(value, list) and len(value) == len(asked) > 1 for value in others.values())
        given, count = repr(sorted(others.items())), len(self._sentences)
        if not one_each and set(asked) <= set(self._sentences):
            if given not in self._kept:
                bound.arguments["prompt"] = list(self._sentences)
                self._kept[given] = self._encoded(bound)
                bound.arguments["prompt"] = prompt
            if _has_rows(self._kept[given], count):
                return _picked(self._kept[given], [self._sentences[sentence] for sentence in asked], count)
        exactly = repr((prompt, given))
        if exactly not in self._kept:
            self._kept[exactly] = self._encoded(bound)
        return self._kept[exactly]

    @torch.inference_mode()
    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Give one unit vector a sentence, float32 (N, C), of what the denoiser is fed.

        - CLIP encoders with a projection (SDXL, SD 3): their pooled vectors, joined; that is the pipeline's own pooled
          prompt vector.
        - one CLIP encoder without (SD 1.x, picto): the mean of its token states, see `text.pooled`.
        - anything else: the pooled vector that the pipeline makes, where it makes one (FLUX), else the mean of the
          token states that its mask does not hide (PixArt, Sana, Qwen-Image).

        Source: Syn4Seg, HDIG: phi(p) / ||phi(p)||; which vector is ours.

        Raises:
            InputError: the pipeline encodes no sentences apart from its pictures.
        """
        blocks: list[NDArray[np.float32]] = []
        with self._awake():
            for start in range(0, len(sentences), _TEXT_BATCH):
                blocks.append(self._vectors(list(sentences[start : start + _TEXT_BATCH])))
        vectors = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def _vectors(self, sentences: list[str]) -> Floats:
        encoders = {name: getattr(self._pipe, name) for name in self._names}
        clip = {name: encoder for name, encoder in encoders.items() if "CLIP" in type(encoder).__name__}
        projected = {name: encoder for name, encoder in clip.items() if hasattr(encoder, "text_projection")}
        if chosen := projected or (clip if len(encoders) == 1 else {}):
            parts = [
                pooled(getattr(self._pipe, name.replace("text_encoder", "tokenizer")), encoder, sentences, self._device)
                for name, encoder in chosen.items()
            ]
            return np.concatenate(parts, axis=1)
        if self._encode is None:
            raise InputError(
                f"{type(self._pipe).__name__} encodes no sentences apart from its pictures, so that prompts cannot be "
                "compared: choose another model, or set experiment.prompts.enabled=false"
            )
        found = _mean_state(self._encode(**self._alone(sentences)), len(sentences))
        if found is None:  # nothing says which tokens are padding, so sentences must not be padded to each other
            each = [_mean_state(self._encode(**self._alone([s])), 1, whole=True) for s in sentences]
            found = torch.cat([vector for vector in each if vector is not None])
        return np.asarray(found.float().cpu().numpy(), dtype=np.float32)

    def _alone(self, sentences: list[str]) -> dict[str, Any]:
        """Give the arguments that the pipeline's call passes on to ``encode_prompt``: its own defaults come first."""
        ours = {"prompt": sentences, "device": self._device, "do_classifier_free_guidance": False}
        ours["num_images_per_prompt"] = 1
        call = inspect.signature(type(self._pipe).__call__).parameters
        chosen: dict[str, Any] = {}
        for name, parameter in inspect.signature(self._encode).parameters.items():  # type: ignore[arg-type]
            if name in ours:
                chosen[name] = ours[name]
            elif name in call and call[name].default is not inspect.Parameter.empty:
                chosen[name] = call[name].default
            elif parameter.default is inspect.Parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                chosen[name] = None
        return chosen

    def _encoded(self, asked: inspect.BoundArguments) -> Any:
        with self._awake():
            return self._encode(*asked.args, **asked.kwargs)  # type: ignore[misc]

    @contextmanager
    def _awake(self) -> Iterator[None]:
        resting = [getattr(self._pipe, name) for name in self._names] if self._resting else []
        try:
            for encoder in resting:
                encoder.to(self._device)
            yield
        finally:
            for encoder in resting:
                encoder.to("cpu")


def _has_rows(output: Any, count: int) -> bool:
    """Say whether an output's embeddings come first and sentence by sentence, and no other part has them further in."""
    parts = output if isinstance(output, tuple) else (output,)
    inner = [p for p in parts if isinstance(p, torch.Tensor) and p.ndim > 2 and len(p) != count and p.shape[1] == count]
    return len(parts[0]) == count and not inner


def _picked(output: Any, rows: list[int], count: int) -> Any:
    """Give the rows of what belongs to one sentence each, and everything else as it is."""
    if isinstance(output, tuple):
        return tuple(_picked(part, rows, count) for part in output)
    if isinstance(output, torch.Tensor) and output.ndim and len(output) == count:
        return output[rows]
    if isinstance(output, list) and len(output) == count:
        return [output[row] for row in rows]
    return output


def _mean_state(output: Any, count: int, *, whole: bool = False) -> torch.Tensor | None:
    """Give (N, C): the pooled vectors among a pipeline's embeddings, or the means of token states under their mask.

    Args:
        output: what ``encode_prompt`` gave.
        count: number of sentences, N.
        whole: take all token states where there is no mask; else None is given then.
    """
    parts = output if isinstance(output, tuple) else (output,)
    states: Any = parts[0]
    if isinstance(states, list):  # one (L, C) a sentence, not padded
        return torch.stack([state.float().mean(0) for state in states])
    flat = [p for p in parts[1:] if isinstance(p, torch.Tensor) and p.ndim == 2 and len(p) == count]
    masks = [p for p in flat if p.shape == states.shape[:2]]
    vectors = [p for p in flat if p.shape != states.shape[:2] and p.is_floating_point()]
    if vectors:
        return vectors[0]
    if masks:
        kept = masks[0].to(states.device)[..., None].float()
        mean: torch.Tensor = (states.float() * kept).sum(1) / kept.sum(1).clamp(min=1)
        return mean
    return torch.mean(states.float(), 1) if whole else None
