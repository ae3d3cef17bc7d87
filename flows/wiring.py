"""From config to models; the only place that chooses among backends. Every model is built once a process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.addresses import key_of
from flows.data import read_supports, store_of
from flows.devices import check_device
from flows.weights import NO_TEXT, check_revision, gfss_text_of, pinned, resolve, text_of
from pipeline.annotate import features_twice, look_twice
from pipeline.config import Config, GenerateSettings, GeneratorExecution
from pipeline.errors import InputError
from pipeline.prototypes import centred, support_prototype
from pipeline.store import Finished
from pipeline.types import BoundaryRefiner, Floats, Picture, Support, Teacher
from prompts.agents import TextEncoder
from prompts.transcript import ChatModel

if TYPE_CHECKING:
    from pipeline.backends.precision import Precision
    from pipeline.backends.stable_diffusion import DiffusionGenerator


def device_of(config: Config) -> str:
    """Give the device: as set, or the first GPU where there is one.

    Raises:
        InputError: it is not there, such as that of a run from another machine.
    """
    check_device(config.execution.device)
    if config.execution.device != "auto":
        return config.execution.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def chat_model_of(config: Config) -> ChatModel:
    """Give the language model that writes prompts.

    Raises:
        InputError: it is not there, or its key is not.
    """
    settings, endpoint = config.experiment.prompts.language, config.execution.endpoint
    if config.experiment.prompts.agent == "instruct":
        folder = _folder(resolve(settings.model, "chat model"), settings.revision)
        return _instruct(folder, settings.temperature, settings.max_tokens, device_of(config))
    from pipeline.backends.endpoint import ChatEndpoint

    return ChatEndpoint(
        endpoint.url, settings.model, key=key_of(endpoint), temperature=settings.temperature,
        max_tokens=settings.max_tokens, timeout=endpoint.timeout, retries=endpoint.retries,
    )  # fmt: skip


def encoder_of(config: Config) -> TextEncoder:
    """Give the generator's own text encoder."""
    return generator_of(config).encode


def generator_of(config: Config) -> DiffusionGenerator:
    """Give what turns prompts into pictures."""
    return _generator(
        generator_place(config), config.experiment.generate, device_of(config), config.execution.generator
    )


def generator_place(config: Config) -> Path:
    """Give the folder of the generator; one that is on the hub is downloaded.

    Raises:
        InputError: nothing is there, it could not be downloaded, or a revision is set for what is no hub name.
    """
    settings = pinned(config.experiment.generate)
    place = Path(resolve(settings.model, "generator"))
    check_revision("experiment.generate", settings.model, settings.revision)
    if place.exists():
        return place
    from pipeline.backends.diffusion_loading import fetch_pipeline

    return fetch_pipeline(settings.model, settings.revision, settings.variant)


def refiner_of(config: Config) -> BoundaryRefiner:
    """Give the promptable segmenter."""
    return _refiner(refiner_place(config), device_of(config), config.experiment.refine.precision)


def refiner_place(config: Config) -> str:
    """Give the folder of the promptable segmenter, or "vit_h=PATH"; one that is on the hub is downloaded.

    Raises:
        InputError: nothing is there, it could not be downloaded, or a revision is set for what is no hub name.
    """
    settings = pinned(config.experiment.refine)
    place = resolve(settings.model, "sam")
    check_revision("experiment.refine", settings.model, settings.revision)
    if "=" in place:
        return place
    return _folder(place, settings.revision, ("*.json", "*.safetensors"))


def teacher_of(config: Config, record: Finished) -> Teacher:
    """Give the model that makes the first labels, as a finished shard holds it: the teacher, or a final model."""
    return teacher_at(config, store_of(config).folder(record), final=record.stage == "train")


def teacher_at(config: Config, folder: Path, *, final: bool = False) -> Teacher:
    """Give the model that makes the first labels, from its folder; ``final``: it was trained as final model."""
    part = config.experiment.model if final else config.experiment.teacher
    return _teacher(folder, backbone_path(part.backbone), device_of(config), config.experiment.annotate.batch)


def prototypes_of(config: Config, record: Finished) -> dict[str, Floats]:
    """Give what APF and APR compare with: the prototype of every novel class, from features as `seen_features` gives.

    Args:
        config: names the supports.
        record: the teacher's shard, see `teacher_of`.

    Raises:
        InputError: a support's mask is empty.
    """
    return prototypes_at(config, store_of(config).folder(record), final=record.stage == "train")


@lru_cache(maxsize=2)
def prototypes_at(config: Config, folder: Path, *, final: bool = False) -> dict[str, Floats]:
    """Give the prototypes of a model in a folder, see `teacher_at` and `prototypes_of`."""
    teacher = teacher_at(config, folder, final=final)
    return {support.name: prototype_of(config, teacher, support) for support in read_supports(config)}


def prototype_of(config: Config, teacher: Teacher, support: Support) -> Floats:
    """Give the prototype of a class from its supports, see `prototypes_of`."""
    features = [seen_features(config, teacher, [picture])[0] for picture in support.pictures]
    prototype = support_prototype(features, support.masks)
    if prototype is None:
        raise InputError(f"the masks of the supports of {support.name!r} are empty: choose other supports")
    return prototype


def seen_features(config: Config, teacher: Teacher, pictures: Sequence[Picture]) -> list[Floats]:
    """Give the teacher's features of pictures, N maps (C, h, w), centred where the config says so."""
    return _centred(config, features_twice(teacher, pictures, flip=config.experiment.annotate.flip))


def seen_twofold(config: Config, teacher: Teacher, pictures: Sequence[Picture]) -> tuple[list[Floats], Floats]:
    """Give features as `seen_features` does, and class probabilities (N, 1+B+N, H, W), from one pass."""
    features, scores = look_twice(teacher, pictures, flip=config.experiment.annotate.flip)
    return _centred(config, features), scores


def _centred(config: Config, features: Floats) -> list[Floats]:
    return [centred(f) if config.experiment.filter.centre else f for f in features]


def backbone_path(name: str) -> str:
    """Give the folder of a backbone."""
    return _folder(resolve(name, "backbone"))


def fss_options(config: Config) -> dict[str, Any]:
    """Give the options of the FSS model, with places for names.

    Raises:
        InputError: the model reads class names, and there is nothing to read them by.
    """
    return {**config.experiment.fss.options.model_dump(), **_placed(text_of(config))}


def teacher_options(config: Config) -> dict[str, Any]:
    """Give the options of the teacher's network, with places for names.

    Raises:
        InputError: its few-shot part reads class names, and there is nothing to read them by.
    """
    options = config.experiment.teacher.options.model_dump(exclude_none=True)
    return {**options, "few_shot": {**options["few_shot"], **_placed(gfss_text_of(config))}}


def _placed(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    place = resolve(text, "text")
    return {"text": place if text == NO_TEXT else _folder(place)}


@lru_cache(maxsize=1)
def _generator(
    folder: Path, settings: GenerateSettings, device: str, speed: GeneratorExecution
) -> DiffusionGenerator:
    from pipeline.backends.stable_diffusion import DiffusionGenerator

    return DiffusionGenerator.from_folder(folder, settings, device=device, speed=speed)


@lru_cache(maxsize=1)
def _instruct(folder: str, temperature: float, max_tokens: int, device: str) -> ChatModel:
    from pipeline.backends.instruct import InstructModel

    return InstructModel.from_folder(Path(folder), temperature=temperature, max_tokens=max_tokens, device=device)


@lru_cache(maxsize=1)
def _refiner(model: str, device: str, precision: Precision) -> BoundaryRefiner:
    from pipeline.backends.sam import SamRefiner

    return SamRefiner.from_checkpoint(model, device=device, precision=precision)


@lru_cache(maxsize=1)
def _teacher(folder: Path, backbone: str, device: str, batch: int) -> Teacher:
    from fss_models.teacher import GfssTeacher

    return GfssTeacher(load_model(folder, backbone, device), batch)


def load_model(folder: Path, backbone: str, device: str) -> Any:
    """Load a GFSS model from a finished shard."""
    from fss_models.gfss import GfssModel

    return GfssModel.load(folder, load_backbone(backbone)).to(device)


@lru_cache(maxsize=1)
def load_backbone(folder: str, stride: int = 8) -> Any:
    """Load a frozen backbone."""
    from fss_models.backbones import Backbone

    return Backbone.from_pretrained(folder, stride=stride)


def _folder(place: str, revision: str | None = None, files: Sequence[str] | None = None) -> str:
    from fss_models.hub import fetch

    return str(fetch(place, revision, files))
