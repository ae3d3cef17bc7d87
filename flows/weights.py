"""From the names in a config to files, and the identity of weights, without loading them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from flows.known import known
from pipeline.config import Config, GenerateSettings, ModelOptions, RefineSettings
from pipeline.errors import InputError
from pipeline.hashing import Recipe, hash_files, hash_json, list_files

S = TypeVar("S", GenerateSettings, RefineSettings)

_HUB = re.compile(r"\w[\w.-]*/[\w.-]+")
_LARGE = 1 << 30
_MARK = {
    "generator": "model_index.json", "backbone": "config.json", "sam": "config.json", "chat model": "config.json",
}  # fmt: skip
WEIGHTS = (".safetensors", ".json", ".txt", ".model")
"""Endings of the files that decide what a model computes: weights, settings, vocabularies."""
_SAM = ("vit_b", "vit_l", "vit_h")
_FILES = {"backbone": (".safetensors",), "text": (".safetensors", ".txt", ".vec")}
"""Endings of what is one file."""
NO_TEXT = "none"
IDENTITY = ("model", "revision", "variant", "precision", "quantize")
"""Settings of a generator that say which numbers it computes with; its text vectors depend on them too."""


def resolve(name: str, part: str) -> str:
    """Give the folder, file or hub name that a model's name in the config stands for.

    Args:
        name: "picto", a path (of a backbone also a MobileNetV2's ``.safetensors`` file), "vit_h=PATH" of a SAM's
            original checkpoint, or a hub name such as "stabilityai/stable-diffusion-3.5-large".
        part: generator, backbone, sam, chat model, or text: a CLIP text encoder or a file of word vectors (see
            `fss_models.words`); picto's is that of its generator.

    Raises:
        InputError: nothing is there, or not what is expected.
    """
    if part == "text":
        place = resolve(name, "generator") if name == "picto" else name
        if name == NO_TEXT or Path(place).exists() or _HUB.fullmatch(place):
            return place
        raise _nothing(name, part)
    place = str(Path(__file__).parents[1] / "picto" / "weights" / part) if name == "picto" else name
    kind, _, file = place.partition("=")
    if (part == "sam" and kind in _SAM and Path(file).is_file()) or _is_whole(Path(place), part):
        return place
    if part == "backbone" and place.endswith(".safetensors") and Path(place).is_file():  # see networks.read_network
        return place
    if _HUB.fullmatch(place) and not Path(place).exists():
        return place
    raise _nothing(place, part, ", or run make picto-weights" if name == "picto" else "")


def kind_of_place(name: str, part: str) -> str:
    """Say what a model's name stands for, without looking whether it is there.

    Args:
        name: as in `resolve`.
        part: as in `resolve`.

    Returns:
        picto, none (of text), file, folder or hub.

    Raises:
        InputError: it can be none of them.
    """
    kind, equals, file = name.partition("=")
    place = Path(name)
    if (name == "picto" and part != "chat model") or (part == "text" and name == NO_TEXT):
        return name
    if equals and part == "sam" and kind in _SAM and file:
        return "file"
    if not equals and (place.is_file() or place.suffix in _FILES.get(part, ())):
        return "file"
    if place.is_dir() or name.startswith(("./", "../", "/")):
        return "folder"
    if not equals and _HUB.fullmatch(name):
        return "hub"
    raise _nothing(name, part)


def _nothing(place: str, part: str, more: str = "") -> InputError:
    if part == "text":
        return InputError(
            f"no text encoder and no word vectors at {place!r}: give picto, the folder of a CLIP text encoder, a hub "
            "name such as owner/model, a file of word vectors, or none"
        )
    own = "" if part == "chat model" else "picto, "
    checkpoints = "vit_b=FILE, vit_l=FILE, vit_h=FILE, " if part == "sam" else ""
    return InputError(
        f"no {part} at {place!r}: give {own}a folder with {_MARK[part]} and *.safetensors, {checkpoints}"
        f"or a hub name such as owner/model{more}"
    )


def weights_id(name: str, part: str) -> str:
    """Give what identifies a model's weights: a hash of the files, or the hub name.

    Files of more than 1 GiB count by name and size, since hashing them would take minutes in every plan.
    """
    place = Path(resolve(name, part).partition("=")[2] or resolve(name, part))
    if not place.exists():
        return name
    root, files = place.parent, [place.name]
    if place.is_dir():
        root, files = place, [f for f in list_files(place) if f.endswith(WEIGHTS)]
    stats = tuple((f, (root / f).stat().st_size, (root / f).stat().st_mtime_ns) for f in files)
    return _hash(root, stats)


def check_revision(key: str, model: str, revision: str | None) -> None:
    """Look that a revision is set for a model of the hub alone.

    Args:
        key: of the settings, such as experiment.refine.
        model: its name there.
        revision: as set.

    Raises:
        InputError: the model is on this disk, so that its files alone say what it is.
    """
    if revision is not None and (not _HUB.fullmatch(model) or Path(model).exists()):
        raise InputError(f"{key}.revision: got {revision!r}, but {model!r} is not a hub name: leave the revision out")


def pinned(settings: S) -> S:
    """Give the settings of a generator or a SAM with the revision at which it is taken.

    That is the one that is set, else of a model of the hub its known commit, so that nothing changes when main moves.
    """
    model = known(settings.model, "generator" if isinstance(settings, GenerateSettings) else "sam")
    if settings.revision is not None or model is None or Path(settings.model).exists():
        return settings
    return settings.model_copy(update={"revision": model.revision})


def snapshot_of(model: str, part: str, revision: str | None) -> Path | None:
    """Give the folder of a model of the hub, named by its commit, where it is on this machine; else None."""
    if not _HUB.fullmatch(model) or Path(model).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, _MARK[part], revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def commits_of(config: Config, stage: str, recipe: Recipe) -> dict[str, str]:
    """Give the models of the hub that a shard was computed with: name -> commit.

    Args:
        config: of the run.
        stage: of the shard.
        recipe: of the shard; without weights no model is used.
    """
    if not recipe.get("weights"):
        return {}
    experiment, language = config.experiment, config.experiment.prompts.language
    generate, refine = pinned(experiment.generate), pinned(experiment.refine)
    generator, sam = ("generator", generate.model, generate.revision), ("sam", refine.model, refine.revision)
    writer = ("chat model", language.model if experiment.prompts.agent == "instruct" else "", language.revision or None)
    first, final = (("backbone", part.backbone, None) for part in (experiment.teacher, experiment.model))
    models: dict[str, list[tuple[str, str, str | None]]] = {
        "prompts": [generator, writer], "images": [generator], "refine": [sam], "audit": [sam], "teacher": [first],
        "start": [final], "train": [final], "fss": [final],
    }  # fmt: skip
    found = {model: snapshot_of(model, part, revision) for part, model, revision in models.get(stage, [])}
    return {model: folder.name for model, folder in found.items() if folder}


def generator_id(settings: GenerateSettings) -> str:
    """Give what identifies a generator's weights: those of `weights_id`, and what else of `IDENTITY` there is.

    Raises:
        InputError: nothing is there, or a revision is asked of a folder.
    """
    weights, settings = weights_id(settings.model, "generator"), pinned(settings)
    check_revision("experiment.generate", settings.model, settings.revision)
    chosen = {key: value for key in IDENTITY[1:] if (value := settings.recipe().get(key))}
    return " ".join([weights, *(f"{key}={value}" for key, value in chosen.items())])


def text_of(config: Config) -> str | None:
    """Give the name of what the class names of an FSS model become vectors by; None where the model reads no names.

    Raises:
        InputError: none is named, and the data set has none of its own.
    """
    experiment = config.experiment
    return _text(config, experiment.model.name, experiment.fss.options, "fss.options")


def gfss_text_of(config: Config) -> str | None:
    """Give the same of the few-shot part of the teacher, a GFSS model.

    Raises:
        InputError: none is named, and the data set has none of its own.
    """
    teacher = config.experiment.teacher
    return _text(config, teacher.name, teacher.options.few_shot, "{teacher,model}.options.few_shot")


def _text(config: Config, name: str, options: ModelOptions, key: str) -> str | None:
    if name != "symnet":
        return None
    named = options.model_dump().get("text")
    if named is None and config.experiment.dataset != "picto":
        raise InputError(
            f"symnet reads the names of the classes: set experiment.{key}.text to the folder or hub name of a "
            "CLIP text encoder (such as openai/clip-vit-base-patch32) or to a file of word vectors; none does without"
        )
    return str(named or "picto")


def _is_whole(folder: Path, part: str) -> bool:
    """Whether a folder has its mark, and weights beside every config of a network."""
    configs = folder.glob("*/config.json" if part == "generator" else "config.json")
    return (folder / _MARK[part]).is_file() and all(any(c.parent.glob("*.safetensors")) for c in configs)


@lru_cache(maxsize=16)
def _hash(root: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    small = [name for name, size, _ in stats if size < _LARGE]
    large = [[name, size] for name, size, _ in stats if size >= _LARGE]
    return hash_json([hash_files(root, small), large])
