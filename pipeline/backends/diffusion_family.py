"""What a diffusers pipeline can do, read from its folder and its classes; no weights are loaded."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backends.text import hush
from pipeline.config import GenerateSettings, GeneratorExecution, SchedulerSettings
from pipeline.errors import InputError, cause_of

DENOISERS = ("transformer", "transformer_2", "unet", "unet_2")
QUANTIZERS = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}
"""Number format -> package that computes with it."""

_FIXED = {"prompt", "generator", "output_type", "return_dict", "num_images_per_prompt", "latents"}
_OWN = {
    "num_inference_steps": "steps", "guidance_scale": "guidance", "guidance_rescale": "guidance_rescale",
    "negative_prompt": "negative_prompt", "height": "size", "width": "size",
}  # fmt: skip
"""Arguments of a pipeline's call that have a setting of their own."""


@dataclass(frozen=True)
class Family:
    """A pipeline's class and parts.

    Attributes:
        folder: as diffusers saves a pipeline.
        kind: the class that draws from text.
        parts: name -> name of its class; None where the pipeline goes without it.
    """

    folder: Path
    kind: Any
    parts: dict[str, str | None]

    @classmethod
    def of(cls, folder: Path) -> Family:
        """Read ``model_index.json``.

        Raises:
            InputError: it is not there or damaged, or its pipeline does not draw from text.
        """
        if not (folder / "model_index.json").is_file():
            raise InputError(
                f"no generator in {folder}: a folder with model_index.json, as diffusers saves it, is expected; "
                "picto's own is made by make picto-weights"
            )
        try:
            index = json.loads((folder / "model_index.json").read_text())
            name = str(index["_class_name"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the generator in {folder} cannot be loaded ({cause_of(error)}): get it anew") from error
        parts = {k: v[1] for k, v in index.items() if isinstance(v, list) and len(v) == 2}
        return cls(folder, _text_to_image(name, folder), parts)

    @classmethod
    def named(cls, kind: str, folder: Path) -> Family:
        """Give a pipeline by its class alone, whose folder is not here yet and whose parts are not known.

        Raises:
            InputError: it does not draw from text.
        """
        return cls(folder, _text_to_image(kind, folder), {})

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the text encoders that are there."""
        return tuple(name for name, kind in self.parts.items() if name.startswith("text_encoder") and kind)

    @property
    def remembers_text(self) -> bool:
        """Whether the text can be encoded apart from the pictures, once a shard."""
        return hasattr(self.kind, "encode_prompt") and "prompt_embeds" in self._call

    @property
    def rests_encoders(self) -> bool:
        """Whether its text encoders can wait on the CPU while pictures are drawn."""
        return bool(self.encoders) and self.remembers_text

    def arguments(self, settings: GenerateSettings) -> dict[str, Any]:
        """Give the arguments of the pipeline's call, but for the prompts.

        Guidance is the scale of classifier-free guidance under the name that the pipeline has for it: FLUX and
        Qwen-Image call it ``true_cfg_scale`` and compute it only beside a negative prompt. In a model that was
        distilled with guidance (``guidance_embeds``) it is the distilled one.

        Raises:
            InputError: the pipeline does not take one of them.
        """
        chosen: dict[str, Any] = {"num_inference_steps": settings.steps}
        if "true_cfg_scale" in self._call and not self._guidance_is_distilled():
            guided = settings.guidance > 1
            chosen["true_cfg_scale"] = settings.guidance if guided else 1.0
            chosen |= {"negative_prompt": " "} if guided else {}
        elif "guidance_scale" in self._call:
            chosen["guidance_scale"] = settings.guidance
        if settings.guidance_rescale:
            chosen["guidance_rescale"] = settings.guidance_rescale
        if settings.negative_prompt is not None:
            chosen["negative_prompt"] = settings.negative_prompt
        if settings.size is not None:
            chosen |= {"height": settings.size, "width": settings.size}
        for name in chosen:
            if name not in self._call:
                key = _OWN[name]
                raise InputError(f"experiment.generate.{key}: {self.kind.__name__} takes no {name}: leave it out")
        return chosen | self._options(settings)

    def lacks(self, settings: GenerateSettings, speed: GeneratorExecution) -> list[str]:
        """List what is asked for and cannot be applied to this pipeline."""
        absent = {
            "vae_tiling": settings.vae_tiling and not hasattr(self._vae(), "use_tiling"),
            "vae_slicing": speed.vae_slicing and not hasattr(self._vae(), "use_slicing"),
            "compile": speed.compile and not any(repeated_blocks(self._class(name)) for name in DENOISERS),
            "offload": speed.offload == "encoders" and not self.rests_encoders,
        }
        return [name for name, lacking in absent.items() if lacking]

    def tell(self, settings: GenerateSettings, speed: GeneratorExecution, device: str) -> str:
        """Say in one line what will be applied and what this pipeline lacks.

        Raises:
            InputError: a setting does not fit the pipeline, the device or what is installed.
        """
        self.check(settings, speed, device)
        told = [self.kind.__name__, precision_of(settings, device)]
        told.append("text encoded once a shard" if self.remembers_text else "text encoded anew with every batch")
        told += [f"{settings.quantize} weights"] if settings.quantize != "none" else []
        told += [settings.scheduler.name] if settings.scheduler else []
        if self.parts.get("safety_checker"):
            told.append("safety checker drops what it flags" if settings.safety == "keep" else "safety checker off")
        lacking = self.lacks(settings, speed)
        asked = {
            "vae_tiling": settings.vae_tiling, "vae_slicing": speed.vae_slicing, "compile": speed.compile,
            "offload": speed.offload != "none",
        }  # fmt: skip
        told += [name if name != "offload" else f"offload {speed.offload}"
                 for name, wanted in asked.items() if wanted and name not in lacking]  # fmt: skip
        return ", ".join(told) + (f"; this pipeline lacks: {', '.join(lacking)}" if lacking else "")

    def check(self, settings: GenerateSettings, speed: GeneratorExecution, device: str) -> None:
        """Look that all settings fit the pipeline, the device and what is installed.

        Raises:
            InputError: one of them does not.
        """
        self.check_names(settings)
        if speed.offload in ("model", "sequential") and device == "cpu":
            raise InputError(
                f"execution.generator.offload: got {speed.offload!r}, which needs a GPU, but the device is {device}: "
                "set it to none or encoders"
            )
        if settings.quantize == "nf4" and device == "cpu":
            raise InputError(
                "experiment.generate.quantize: nf4 needs a GPU, and the device is cpu: set it to none, int8 or fp8"
            )
        if (package := QUANTIZERS.get(settings.quantize)) and importlib.util.find_spec(package) is None:
            raise InputError(
                f"experiment.generate.quantize: {settings.quantize} needs {package}, which is not installed: "
                "pip install 'syn4seg[quant]'"
            )

    def check_names(self, settings: GenerateSettings) -> None:
        """Look that the class takes the arguments, and diffusers has the scheduler with its options.

        Raises:
            InputError: one of them is unknown, or the scheduler does not fit.
        """
        self.arguments(settings)
        if settings.scheduler:
            self.scheduler(settings.scheduler)

    def scheduler(self, wanted: SchedulerSettings) -> Any:
        """Give the class of another scheduler when it fits the model and knows its options.

        Raises:
            InputError: diffusers has no such scheduler, it has no such option, or one of the two integrates a flow and
                the other removes noise, so that pictures would be noise.
        """
        import diffusers

        key = "experiment.generate.scheduler"
        kind = getattr(diffusers, wanted.name, None)
        if not (inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)):
            known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
            hint = _nearest(wanted.name, known) or "give one such as LCMScheduler"
            raise InputError(f"{key}.name: diffusers has no scheduler {wanted.name!r}: {hint}")
        options, known = wanted.model_dump(exclude={"name"}), list(inspect.signature(kind).parameters)
        for name in options:
            if name not in known:
                hint = _nearest(name, known) or f"it has {', '.join(known)}"
                raise InputError(f"{key}.{name}: {wanted.name} has no such option: {hint}")
        own, config = self.parts.get("scheduler"), self._config("scheduler", "scheduler_config.json")
        kept = {name: value for name, value in config.items() if name in known}
        if own and _is_flow(wanted.name, kept | options) != _is_flow(own, config):
            need = "one for flow matching" if _is_flow(own, config) else "one for diffusion"
            raise InputError(f"{key}.name: {wanted.name} does not fit this model, whose own is {own}: give {need}")
        return kind

    @property
    def _call(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.kind.__call__).parameters)

    def _options(self, settings: GenerateSettings) -> dict[str, Any]:
        options = settings.options.model_dump()
        for name in options:
            key = f"experiment.generate.options.{name}"
            if name in _OWN:
                raise InputError(f"{key}: set experiment.generate.{_OWN[name]} in its place")
            if name not in self._call or name in _FIXED:
                hint = _nearest(name, sorted(set(self._call) - _FIXED)) or "leave it out"
                raise InputError(f"{key}: {self.kind.__name__} takes no such argument: {hint}")
        return options

    def _guidance_is_distilled(self) -> bool:
        return bool(self._config("transformer").get("guidance_embeds"))

    def _vae(self) -> Any:
        """Build the autoencoder without weights, or give None: whether it can slice is known by its instances only."""
        kind = self._class("vae")
        if kind is None:
            return None
        import torch

        with torch.device("meta"):
            return kind.from_config(self._config("vae"))

    def _class(self, name: str) -> Any:
        import diffusers

        return getattr(diffusers, self.parts.get(name) or "", None)

    def _config(self, name: str, file: str = "config.json") -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / name / file).read_text()))
        except (OSError, ValueError):
            return {}


def precision_of(settings: GenerateSettings, device: str) -> str:
    """Give the number format that is computed in: fp32, bf16 or fp16."""
    if settings.precision != "auto":
        return settings.precision
    return "fp32" if device == "cpu" else "bf16"


def repeated_blocks(network: Any) -> set[str]:
    """Give the names of the classes that a network repeats, such as its transformer blocks.

    Diffusers lists them for compilation, but not for all networks (SD 3 is one that it leaves out); those that must
    stay on one device are the same ones.
    """
    return set(getattr(network, "_repeated_blocks", None) or getattr(network, "_no_split_modules", None) or ())


def _is_flow(scheduler: str, config: dict[str, Any]) -> bool:
    return "FlowMatch" in scheduler or bool(config.get("use_flow_sigmas"))


def _nearest(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else None


def _text_to_image(name: str, folder: Path) -> Any:
    for library in ("transformers", "diffusers"):  # in this order, as diffusers imports transformers
        hush(library)
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as KNOWN
    from diffusers.pipelines.auto_pipeline import _get_task_class

    try:
        return _get_task_class(KNOWN, name)
    except ValueError:
        raise InputError(
            f"the generator in {folder} is a {name}, which diffusers does not know as a text-to-image pipeline: "
            "choose another model"
        ) from None
