"""What `syn4seg check --no-weights` looks at: all of a config that needs neither weights nor pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.asking import check_agent
from flows.data import dataset_of, novel_names, split_of, vocabulary_of
from flows.generators import tell_options
from flows.known import BF16, FP32, PICTURE_BYTES, Known, known
from flows.steps import start_of
from flows.weights import NO_TEXT, check_revision, gfss_text_of, kind_of_place, pinned, text_of
from flows.wiring import backbone_path, load_backbone
from pipeline.classes import DATASETS as LABEL_MAPS
from pipeline.config import Config, GenerateSettings, ModelOptions, RefineSettings
from pipeline.datasets import is_own
from pipeline.datasets.own import Own
from pipeline.errors import InputError, listed

CHECKPOINTS = "github.com/facebookresearch/segment-anything#model-checkpoints"
Looks = dict[str, Callable[[], str]]


def looks_without_weights(config: Config) -> Looks:
    """Give what is looked at: a row's name -> what gives its words, or raises an `InputError` where it is wrong."""
    experiment = config.experiment
    generate, refine = experiment.generate, experiment.refine
    looks: Looks = {
        "classes": lambda: _classes(config),
        "prompt agent": lambda: check_agent(config, here=False),
        "prompt words": lambda: words(config),
        "models": lambda: _models(config),
        "device": lambda: _device(config),
        "needs data": lambda: _data(config),
        "needs teacher's backbone": lambda: needs(experiment.teacher.backbone, "backbone"),
        "needs final backbone": lambda: needs(experiment.model.backbone, "backbone"),
    }
    if "symnet" in (experiment.teacher.name, experiment.model.name):
        looks["needs words' vectors"] = lambda: needs(_text(config), "text")
    if generate.enabled:
        looks["needs generator"] = lambda: needs_generator(config)
        looks["generator options"] = lambda: tell_options(config)
        if refine.enabled:
            looks["needs SAM"] = lambda: needs_sam(config)
        looks |= {"pictures": lambda: _pictures(config), "GPU": lambda: _gpu(config)}
    return looks


def needs(name: str, part: str) -> str:
    """Say what a model's name stands for and where it is to be had, without looking for it.

    Raises:
        InputError: the name stands for nothing.
    """
    place = kind_of_place(name, part)
    if place in ("picto", NO_TEXT):
        return "picto's own, in this repository" if place == "picto" else "none"
    here = "it is here" if Path(name.partition("=")[2] or name).exists() else "not here yet"
    model = known(name, part)
    said = f"a {place}, {here}"
    if place == "hub":
        said = "of the Hugging Face hub, downloaded by a run" + ("" if model else ", or a folder that is not here yet")
    if "=" in name:
        said += f", from {CHECKPOINTS}"
    return f"{name}: {said}{_told(model, part)}"


def needs_generator(config: Config) -> str:
    """Say the same of the generator, at its revision; errors as `_at_revision`."""
    return _at_revision("generate", pinned(config.experiment.generate), "generator")


def needs_sam(config: Config) -> str:
    """Say the same of the SAM, at its revision; errors as `_at_revision`."""
    return _at_revision("refine", pinned(config.experiment.refine), "sam")


def _at_revision(group: str, settings: GenerateSettings | RefineSettings, part: str) -> str:
    """Say what a model's name stands for, and its revision.

    Raises:
        InputError: the name stands for nothing, or a revision is set for what is no hub name.
    """
    said = needs(settings.model, part)
    check_revision(f"experiment.{group}", settings.model, settings.revision)
    return f"{said}; revision {settings.revision}" if settings.revision else said


def words(config: Config) -> str:
    """Say that every novel class has words for its prompts.

    Raises:
        InputError: one has none, or the words are of the wrong form.
    """
    if not _classes_known(config):
        return "looked at once the data set is here"
    vocabulary, split = vocabulary_of(config), split_of(config)
    for name in split.novel:
        vocabulary.words_of(name)
    return f"{len(vocabulary.templates)} templates, words for {', '.join(split.novel)}"


def _told(model: Known | None, part: str) -> str:
    if model is None:
        return "; its licence and size are not known here"
    size = f"{model.millions / 1000:.1f} billion" if model.millions >= 1000 else f"{model.millions} million"
    gate = ", gated: accept it on the model's page and log in with hf auth login" if model.gated else ""
    few = "; trained for few steps, its pictures are less varied" if model.few_steps else ""
    bytes_ = BF16 if part == "generator" else FP32
    return f"; {model.licence}{gate}; {size} parameters, {model.millions * bytes_ / 1000:.1f} GB{few}"


def _classes_known(config: Config) -> bool:
    """Say whether the classes can be told without the data set's files."""
    name = config.experiment.dataset
    return name in LABEL_MAPS or is_own(name)


def _classes(config: Config) -> str:
    experiment = config.experiment
    where = f"{experiment.dataset}, fold {experiment.fold}, {experiment.shots} shot{'s' * (experiment.shots > 1)}"
    if not _classes_known(config):
        return f"{where}: told by the data set's files"
    dataset = dataset_of(config) if is_own(experiment.dataset) else None
    if experiment.generate.enabled and isinstance(dataset, Own) and (wrong := list(dataset.unfit_names())):
        raise InputError(listed(wrong))
    split = split_of(config)
    return f"{where}: {len(split.base)} base, {len(split.novel)} novel"


def _models(config: Config) -> str:
    """Build every network on picto's backbone, which is at hand, so that its options are looked at."""
    from fss_models.fss import FssConfig, build_fss_model, trainable_state
    from fss_models.gfss import GfssConfig, GfssModel

    experiment, start = config.experiment, start_of(config)
    if experiment.teacher.name == "matching":
        raise InputError("experiment.teacher.name: prototype matching learns nothing: choose another model")
    folder = backbone_path("picto")
    backbone = load_backbone(folder)

    def without_text(name: str, options: ModelOptions) -> dict[str, Any]:
        return options.model_dump() | ({"text": NO_TEXT} if name == "symnet" else {})

    built: dict[str, Any] = {}
    parts = {"teacher": experiment.teacher}
    if start is not config:
        parts["final"] = start.experiment.teacher
    for use, part in parts.items():
        options = part.options.model_dump(exclude_none=True)
        options["few_shot"] = without_text(part.name, part.options.few_shot)
        built[f"{use} {part.name}"] = GfssModel(
            GfssConfig(name=part.name, backbone=folder, base=1, shots=experiment.shots, **options), backbone
        )
    name = experiment.model.name
    options = without_text(name, experiment.fss.options)
    built[f"episodes {name}"] = build_fss_model(FssConfig(name=name, backbone=folder, options=options), backbone)
    sizes = {use: sum(x.numel() for x in trainable_state(model).values()) / 1e6 for use, model in built.items()}
    return ", ".join(f"{use} {size:.1f} million" for use, size in sizes.items()) + " parameters on picto's backbone"


def _device(config: Config) -> str:
    name = config.execution.device
    if name == "auto":
        return "the first GPU where there is one"
    import torch

    try:
        torch.device(name)
    except RuntimeError as error:
        raise InputError(f"execution.device: got {name!r}, expected auto, cpu, cuda or cuda:1") from error
    return name


def _data(config: Config) -> str:
    name = config.experiment.dataset
    if name == "picto":
        return "drawn by the first run"
    data = dataset_of(config)
    return f"{data.where}; looked for {'beside ' + name if is_own(name) else 'in ' + config.execution.data}"


def _text(config: Config) -> str:
    """Give what names become vectors by: as in the GFSS models, or where those lack it as in the model of episodes."""
    try:
        found = gfss_text_of(config) or gfss_text_of(start_of(config))
    except InputError:
        if "text" not in config.experiment.fss.options.model_dump():
            raise
        found = text_of(config)
    return str(found)


def _count(config: Config) -> int:
    """Give how many pictures are drawn a class."""
    return config.experiment.prompts.per_class * config.experiment.generate.images_per_prompt


def _pictures(config: Config) -> str:
    each = _count(config)
    if not _classes_known(config):
        return f"{each:,} a class"
    total = each * len(novel_names(config))
    said = f"{total:,}, {each:,} a class"
    model = known(config.experiment.generate.model, "generator")
    side = config.experiment.generate.size or (model.side if model else None)
    return said if side is None else f"{said}; about {total * side**2 * PICTURE_BYTES / 1e9:.1f} GB on the disk"


def _gpu(config: Config) -> str:
    generate, refine = config.experiment.generate, config.experiment.refine
    if generate.model == "picto":
        return "none is needed"
    model, sam = known(generate.model, "generator"), known(refine.model, "sam") if refine.enabled else None
    if model is None:
        return "memory and time of this generator are not known here: run with --preview"
    memory = model.millions * BF16 / 1000 + (sam.millions * FP32 / 1000 if sam else 0)
    said = f"{memory:.0f} GB of weights (computed), and room to work"
    if model.step is None or not _classes_known(config):
        return f"{said}; no published time"
    seconds = model.step * generate.steps
    hours = seconds * _count(config) * len(novel_names(config)) / 3600
    return f"{said}; drawing takes about {hours:.1f} h, {seconds:.1f} s a picture by the published time of {model.card}"
