"""Loads a diffusers text-to-image pipeline as the settings ask for, checks that it is whole, and places it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.backends.diffusion_family import DENOISERS, Family, precision_of, repeated_blocks
from pipeline.backends.memory import is_short_of_memory, within_memory
from pipeline.config import GenerateSettings, GeneratorExecution
from pipeline.errors import InputError, cause_of, not_fetched

_SMALLER = (
    "set execution.generator.offload=encoders, model or sequential (each slower than the one before), or "
    "experiment.generate.quantize=int8 or nf4"
)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def fetch_pipeline(name: str, revision: str | None, variant: str | None) -> Path:
    """Give the folder of a pipeline of the hub; only the files that it needs are downloaded.

    Args:
        name: such as owner/model.
        revision: commit, tag or branch; None: main.
        variant: which files of several, such as fp16.

    Raises:
        InputError: it is not to be had.
    """
    from diffusers import DiffusionPipeline

    loader: Any = DiffusionPipeline
    try:
        return Path(loader.download(name, revision=revision, variant=variant, use_safetensors=True))
    except Exception as error:  # the hub's client raises many classes
        raise not_fetched(name, revision, error) from error


def load_pipeline(family: Family, settings: GenerateSettings, device: str, speed: GeneratorExecution) -> Any:
    """Load a pipeline from its folder onto a device; nothing is downloaded.

    Args:
        family: of its folder.
        settings: of the experiment.
        device: where it draws.
        speed: how it is fitted to the device; what the pipeline lacks is left out (`Family.lacks`).

    Raises:
        InputError: weights are missing, damaged or of the wrong shape, or the settings do not fit the pipeline.
        OutOfMemory: the weights do not fit on the device.
    """
    family.check(settings, speed, device)
    from diffusers import AutoPipelineForText2Image

    loader: Any = AutoPipelineForText2Image
    place = f"the generator in {family.folder}"
    dtype = _DTYPES[precision_of(settings, device)]
    options: dict[str, Any] = {name: None for name, kind in family.parts.items() if kind is None}
    if settings.safety == "off" and family.parts.get("safety_checker"):
        options |= {"safety_checker": None, "requires_safety_checker": False}
    quantized = _quantized_parts(family) if settings.quantize != "none" else []
    if quantized:
        options["quantization_config"] = _quantization(settings.quantize, family, quantized, dtype)

    def loaded() -> Any:
        try:
            pipe = loader.from_pretrained(
                family.folder, dtype=dtype, variant=settings.variant, use_safetensors=True,
                local_files_only=True, **options,
            )  # fmt: skip
            _check_whole(pipe, family.folder, settings.variant, quantized)
        except Exception as error:  # every part has its own class of errors, some of them plain Exceptions
            if is_short_of_memory(error):
                raise
            raise InputError(f"{place} cannot be loaded ({cause_of(error)}): get it anew") from error
        return pipe

    pipe = within_memory(loaded, f"{place} does not fit into memory: {_SMALLER}")
    if settings.scheduler:
        kind = family.scheduler(settings.scheduler)
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **settings.scheduler.model_dump(exclude={"name"}))
    if getattr(pipe, "watermark", None) is not None:
        pipe.watermark = None  # SDXL draws one where a package happens to be installed
    within_memory(lambda: _place(pipe, family, device, speed), f"{place} does not fit on {device}: {_SMALLER}")
    lacking = family.lacks(settings, speed)
    if settings.vae_tiling and "vae_tiling" not in lacking:
        pipe.vae.enable_tiling()
    if speed.vae_slicing and "vae_slicing" not in lacking:
        pipe.vae.enable_slicing()
    if speed.compile:
        compile_blocks(pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def compile_blocks(pipe: Any) -> None:
    """Compile the blocks that the denoisers repeat; each is compiled when it is first run."""
    for network in (getattr(pipe, name, None) for name in DENOISERS):
        for block in network.modules() if network is not None else ():
            if type(block).__name__ in repeated_blocks(network):
                block.compile()


def _place(pipe: Any, family: Family, device: str, speed: GeneratorExecution) -> None:
    if speed.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif speed.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    elif speed.offload == "encoders" and family.rests_encoders:
        for name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module) and name not in family.encoders:
                part.to(device)
    else:
        pipe.to(device)


def _quantized_parts(family: Family) -> list[str]:
    """List what is worth it: denoisers, and text encoders other than CLIP, which is small."""
    encoders = [name for name in family.encoders if "CLIP" not in str(family.parts[name])]
    return [name for name in DENOISERS if family.parts.get(name)] + encoders


def _quantization(form: str, family: Family, names: list[str], dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    def config(library: Any) -> Any:
        if form == "nf4":
            return library.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig() if form == "int8" else Float8WeightOnlyConfig())

    quantization: Any = diffusers
    return quantization.PipelineQuantizationConfig(
        quant_mapping={name: config(transformers if name in family.encoders else diffusers) for name in names}
    )


def _check_whole(pipe: Any, folder: Path, variant: str | None, quantized: list[str]) -> None:
    """Refuse files with too few tensors: the libraries would only warn and leave the rest random.

    Tensors are counted, not named, because old checkpoints use other names. Quantised parts hold other tensors.
    """
    from safetensors import safe_open

    for name, part in pipe.components.items():
        files = sorted((folder / name).glob(f"*.{variant}*.safetensors" if variant else "*.safetensors"))
        if not isinstance(part, torch.nn.Module) or not files or name in quantized:
            continue
        stored = 0
        for file in files:
            with safe_open(file, framework="pt") as opened:
                stored += len(opened.keys())
        needed = len({tensor.data_ptr() for tensor in part.state_dict().values()})
        if stored < needed:
            raise ValueError(f"{name} holds {stored} tensors where {needed} are needed")
