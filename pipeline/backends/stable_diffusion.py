"""Text to pictures with any diffusers text-to-image pipeline; its text encoders also serve the prompt bank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.backends.diffusion_family import Family
from pipeline.backends.diffusion_loading import load_pipeline
from pipeline.backends.diffusion_text import PromptMemory
from pipeline.backends.memory import free_memory, within_memory
from pipeline.config import GenerateSettings, GeneratorExecution
from pipeline.errors import InputError, OutOfMemory, cause_of
from pipeline.types import Floats, Picture

_TOGETHER = 64
"""About so many sentences are encoded at once; a shard has fewer."""

_CPU_BATCH = 8

FLAGGED = "the safety checker flagged the picture"
NOT_FINITE = "the picture has values that are not finite"


class DiffusionGenerator:
    """Draws pictures with a diffusers text-to-image pipeline; an `ImageGenerator` and a `TextEncoder`.

    Every picture has its own CPU generator, so that it does not depend on its neighbours and its noise is the same on
    every device; pictures are drawn in batches of a fixed size, and every sentence is encoded once a call of `draw`.

    Args:
        pipe: the pipeline, as `diffusion_loading.load_pipeline` gives it.
        family: of its folder.
        settings: of the experiment.
        device: where it draws.
        speed: how it is fitted to the device.
    """

    def __init__(
        self, pipe: Any, family: Family, settings: GenerateSettings, device: str, speed: GeneratorExecution
    ) -> None:
        self._pipe, self._settings, self._family = pipe, settings, family
        self._arguments = family.arguments(settings)
        resting = speed.offload == "encoders" and family.rests_encoders
        self._text = PromptMemory(pipe, family.encoders, resting=resting, device=torch.device(device))

    @classmethod
    def from_folder(
        cls, folder: Path, settings: GenerateSettings, *, device: str = "cpu",
        speed: GeneratorExecution | None = None,
    ) -> DiffusionGenerator:  # fmt: skip
        """Load a pipeline from a folder as diffusers saves it; nothing is downloaded.

        Raises:
            InputError: the folder is no pipeline, its weights are missing, damaged or of the wrong shape, or the
                settings do not fit it.
            OutOfMemory: it does not fit on the device.
        """
        speed = speed or GeneratorExecution()
        family = Family.of(folder)
        return cls(load_pipeline(family, settings, device, speed), family, settings, device, speed)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[Picture, str | None]]:
        """Draw one picture a prompt.

        Args:
            prompts: N sentences.
            seeds: N seeds of the pictures' own generators.

        Returns:
            N pictures in the order of the prompts, each as soon as its batch is drawn: uint8 RGB (H, W, 3), and why it
            cannot be used, or None.

        Raises:
            ValueError: there are not as many seeds as prompts.
            InputError: the pipeline refuses its settings.
            OutOfMemory: a batch does not fit into memory.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts came with {len(seeds)} seeds")
        return self._draw(prompts, seeds)

    def encode(self, sentences: Sequence[str]) -> Floats:
        """Give one unit vector a sentence, float32 (N, C), of what the denoiser is fed; see `PromptMemory.vectors`."""
        return self._text.vectors(sentences)

    def largest_batch(self, most: int) -> int:
        """Give the largest power of two, up to ``most``, of pictures that fit into memory at once.

        They are drawn beside the encoded sentences of ``most`` pictures, as those of a shard are.

        Raises:
            OutOfMemory: not even one does.
        """
        sentences = [f"a photo of {i} things" for i in range(most)]
        fits, size = 0, 1
        with self._encoded_once(sentences):
            while size <= most:
                try:
                    self._pictures(sentences[:size], range(size), steps=min(2, self._settings.steps))
                except OutOfMemory:
                    if not fits:
                        raise
                    break
                fits, size = size, 2 * size
        free_memory()
        return fits

    def _draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[Picture, str | None]]:
        batch = self._settings.batch or _CPU_BATCH
        together = batch * max(1, _TOGETHER // batch)
        for first in range(0, len(prompts), together):
            some = prompts[first : first + together]
            with self._encoded_once(some):
                for start in range(0, len(some), batch):
                    now = list(some[start : start + batch])
                    yield from self._pictures(now, seeds[first + start : first + start + len(now)])

    def _encoded_once(self, sentences: Sequence[str]) -> AbstractContextManager[None]:
        """Encode none of the sentences twice while this lasts, where text is encoded apart from the pictures."""
        return self._text.of(sentences) if self._family.remembers_text else nullcontext()

    def _pictures(
        self, prompts: list[str], seeds: Sequence[int], steps: int | None = None
    ) -> list[tuple[Picture, str | None]]:
        """Draw one batch."""
        arguments = self._arguments | ({} if steps is None else {"num_inference_steps": steps})
        if "true_cfg_scale" in arguments and "negative_prompt" in arguments:  # not spread over the batch by diffusers
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

        def drawn() -> Any:
            try:
                with torch.inference_mode():
                    return self._pipe(prompt=prompts, generator=generators, output_type="np", **arguments)
            except ValueError as error:
                raise InputError(
                    f"{type(self._pipe).__name__} refuses the settings of experiment.generate ({cause_of(error)})"
                ) from error

        return list(zip(*_checked(within_memory(drawn, _advice(len(prompts)))), strict=True))


def _advice(batch: int) -> str:
    if batch > 1:
        half = batch // 2
        return f"out of memory at {batch} pictures a batch: set experiment.generate.batch={half}"
    return (
        "out of memory at one picture a batch: set execution.generator.offload=model, "
        "experiment.generate.vae_tiling=true, experiment.generate.quantize=int8 or a smaller experiment.generate.size"
    )


def _checked(output: Any) -> tuple[list[Picture], list[str | None]]:
    """Turn a pipeline's output into pictures, and say which cannot be used."""
    drawn = np.asarray(output.images)
    flagged = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    pictures = list((np.nan_to_num(drawn).clip(0, 1) * 255).round().astype(np.uint8))
    reasons: list[str | None] = [None if np.isfinite(one).all() else NOT_FINITE for one in drawn]
    if flagged:
        reasons = [FLAGGED if flag else reason for flag, reason in zip(flagged, reasons, strict=True)]
    return pictures, reasons
