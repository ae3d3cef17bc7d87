"""What every shard is computed from. The flow and `syn4seg plan` both ask here, so that they always agree."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.data import (
    DataSets,
    prepare_data,
    protocol_of,
    read_supports,
    scored_places,
    side_of,
    split_of,
    store_of,
    supports_content,
    words_id,
)
from flows.weights import IDENTITY, generator_id, gfss_text_of, pinned, text_of, weights_id
from pipeline.classes import DATASETS
from pipeline.config import (
    Config,
    FinalSettings,
    ModelOptions,
    NetworkOptions,
    PromptSettings,
    Settings,
    TeacherSettings,
    TrainSettings,
)
from pipeline.datasets import is_own
from pipeline.errors import InputError
from pipeline.generate import Order, plan_samples
from pipeline.hashing import Recipe, hash_json
from pipeline.store import Finished, StageRecord
from prompts import budget, language
from prompts.bank import Prompt
from prompts.transcript import Exchange, find_transcript

CHAIN = ("prompts", "images", "teacher", "annotate", "filter", "relabel", "refine", "dataset", "train", "scores")
"""All stages in the order of their work."""

BESIDE = ("fss", "start", "agreement", "hidden")
"""Stages beside the chain: FSS models, a final model's own start, and two of a second round."""

SHARD = 20
"""Pictures a shard; they are drawn as one batch plan, so this number changes results where batches do."""

BASE_SHARD = 500
"""Base pictures a shard of the stage that labels what they hide."""

_MODULES = {
    "prompts": "prompts.build", "images": "pipeline.generate", "annotate": "pipeline.annotate",
    "filter": "pipeline.filtering", "relabel": "pipeline.relabel", "refine": "pipeline.refine",
    "dataset": "pipeline.assemble", "agreement": "pipeline.agreement",
    "hidden": "pipeline.hidden",
}  # fmt: skip
TEACHER_VERSION = 5
FINAL_VERSION = 4
SCORES_VERSION = 1
FSS_VERSION = 2
MATCHING_VERSION = 2
CONTROLS_VERSION = 1
PREPARE_VERSION = 1

KIN = {"iir", "i2r"}
"""Models that share the options which are fields of `pipeline.config.NetworkOptions`; others have ``few_shot``."""

FSS_SCORE_SETTINGS = ("episodes", "seeds", "resolution", "multiscale")
"""Settings of FSS that change its scores and not the model."""


@dataclass(frozen=True)
class Step:
    """One shard of one stage, finished or not."""

    stage: str
    shard: str
    recipe: Recipe

    def on(self, shard: str, **inputs: str) -> Step:
        """Give the step that does the same to another shard, whose recipe differs in some inputs alone."""
        return Step(self.stage, shard, {**self.recipe, "inputs": {**self.recipe["inputs"], **inputs}})


def prompts_step(config: Config, name: str) -> Step:
    """The prompt bank of a class."""
    prompts = config.experiment.prompts
    settings = _chosen(prompts, without=("classes", "language"))
    weights = generator_id(config.experiment.generate) if prompts.enabled else None
    recipe = _recipe("prompts", settings, weights=weights, seed=config.experiment.seed)
    inputs: dict[str, Any] = {"class": name, "dataset": split_of(config).dataset}
    if words := words_id(config, name):
        inputs["words"] = words
    if prompts.enabled and prompts.agent != "grammar":
        inputs["language"] = _language(prompts, name)
    return Step("prompts", shard_name(name), {**recipe, "inputs": inputs})


def agreement_step(config: Config, sharp: Finished, model: Finished) -> Step:
    """How far the first round's final model agrees with the labels of a shard."""
    return _label_step(
        config, "agreement", config.experiment.annotate, sharp, model=model.content, **_known_size(config)
    )


def hidden_steps(config: Config, data: DataSets, model: Finished) -> list[tuple[Step, range]]:
    """What the first round's final model finds in the background of base pictures: shards, each with its places."""
    experiment = config.experiment
    settings = experiment.second_round.model_dump(include={"min_novel_score", "doubt"})
    settings |= experiment.annotate.model_dump(include={"flip"})
    inputs = {"base": data["base"].content(), "split": _fold(config), "model": model.content, **_protocol(config)}
    any_step = Step("hidden", "", {**_recipe("hidden", settings), "inputs": inputs})
    count = len(data["base"].pictures.ids)
    parts = [range(start, min(start + BASE_SHARD, count)) for start in range(0, count, BASE_SHARD)]
    return [
        (any_step.on(f"base-{number:03d}", places=f"{part.start}-{part.stop}"), part)
        for number, part in enumerate(parts)
    ]


def more_prompts_step(config: Config, name: str, bank: Finished, agreement: Sequence[Finished]) -> Step:
    """The prompt bank of a class in the second round: that of the first, and what was chosen by the agreement."""
    step = prompts_step(config, name)
    return step.on(
        step.shard, first=bank.content, agreement=hash_json([shard.content for shard in agreement]),
        budget=hash_json([budget.VERSION, config.experiment.second_round.prompts]),
    )  # fmt: skip


def _language(settings: PromptSettings, name: str) -> dict[str, Any]:
    """What the answers of a language model depend on: the model and its settings, or the answers themselves."""
    chosen = settings.language
    asked: dict[str, Any] = {"version": language.VERSION, "requests": chosen.requests}
    if settings.agent == "replay":
        recorded = replayed(settings, name)
        answers = hash_json([exchange.answer for exchange in recorded])
        return {**asked, "requests": requests_of(settings, recorded), "answers": answers}
    weights = weights_id(chosen.model, "chat model") if settings.agent == "instruct" else chosen.model
    return {**asked, **chosen.model_dump(include={"revision", "temperature", "max_tokens"}), "model": weights}


def replayed(settings: PromptSettings, name: str) -> list[Exchange]:
    """Read the exchanges about a class that the agent ``replay`` plays.

    Raises:
        InputError: there are none.
    """
    return find_transcript(transcript_of(settings), name)


def transcript_of(settings: PromptSettings) -> Path:
    """Give where the transcripts lie that the agent ``replay`` plays.

    Raises:
        InputError: none is named.
    """
    if not settings.language.transcript:
        raise InputError("experiment.prompts.language.transcript is empty: give a transcript.jsonl or a folder of them")
    return Path(settings.language.transcript)


def requests_of(settings: PromptSettings, recorded: Sequence[Exchange]) -> int:
    """Give how many requests a class may take: as set, but the agent ``replay`` plays all that were recorded."""
    most = settings.language.requests
    return max(most, len(recorded)) if settings.agent == "replay" else most


def copies_of(config: Config) -> int:
    """Give how often a prompt is drawn; the class name alone is drawn as often as a bank would be."""
    copies = config.experiment.generate.images_per_prompt
    return copies if config.experiment.prompts.enabled else copies * config.experiment.prompts.per_class


def orders_of(config: Config, bank: Finished) -> list[Order]:
    """List the pictures that a class's bank asks for."""
    return plan_samples(read_prompts(store_of(config).folder(bank)), config.experiment.seed, copies_of(config))


def images_steps(config: Config, bank: Finished, most: int | None = None) -> list[tuple[Step, list[Order]]]:
    """All shards of pictures of a class, or those of its first ``most`` pictures, each with what to draw."""
    orders, any_step = orders_of(config, bank)[:most], images_step(config)
    parts = [orders[start : start + SHARD] for start in range(0, len(orders), SHARD)]
    return [
        (any_step.on(images_shard(bank, number), orders=orders_hash(part)), part) for number, part in enumerate(parts)
    ]


def images_step(config: Config) -> Step:
    """The recipe that all shards of pictures share, still without their orders; see `Step.on`."""
    if source := _source(config):
        return Step("images", "", {**_recipe("images", {}), "inputs": source})
    settings = _chosen(config.experiment.generate, without=(*IDENTITY, "images_per_prompt", "enabled"))
    recipe = _recipe("images", settings, weights=generator_id(config.experiment.generate))
    return Step("images", "", {**recipe, "inputs": {}})


def images_shard(bank: Finished, number: int) -> str:
    """Give the name of a shard of a bank's pictures."""
    return f"{bank.shard}-{number:03d}"


def orders_key(config: Config, bank: Finished, most: int | None) -> str:
    """Hash what `orders_hashes` follow from."""
    version = importlib.import_module(_MODULES["images"]).VERSION
    return hash_json([bank.content, config.experiment.seed, copies_of(config), most, SHARD, version])


def orders_hashes(config: Config, bank: Finished, most: int | None = None) -> list[str]:
    """Hash the orders of every shard of a class's pictures, or of its first ``most`` pictures."""
    return [str(step.recipe["inputs"]["orders"]) for step, _ in images_steps(config, bank, most)]


def orders_hash(part: Sequence[Order]) -> str:
    """Hash the orders of one shard."""
    return hash_json([[o.id, o.prompt, o.seed] for o in part])


def _source(config: Config) -> dict[str, Any]:
    """What the pictures of a control are made of; nothing for those of a generator."""
    source = config.experiment.generate.source
    if source == "model":
        return {}
    found: dict[str, Any] = {"source": source, "source_version": CONTROLS_VERSION, "split": _fold(config)}
    if source == "copy-paste":
        data = prepare_data(config)
        found |= {"base": data["base"].content(), "supports": supports_content(read_supports(config))}
    return found


def versions() -> dict[str, int]:
    """Give the version of every stage, by name."""
    modules = {stage: importlib.import_module(module).VERSION for stage, module in _MODULES.items()}
    apart = {"controls": CONTROLS_VERSION, "budget": budget.VERSION}
    return {**modules, **apart, "teacher": TEACHER_VERSION, "train": FINAL_VERSION, "scores": SCORES_VERSION}


def teacher_step(config: Config, data: DataSets) -> Step:
    """The model that makes the first labels."""
    experiment = config.experiment
    train = {**experiment.train.model_dump(include={"base_steps", "batch", "lr"}), **_later(experiment.train)}
    if experiment.dataset != "picto":
        train["support_pixels"] = protocol_of(config).support_pixels
    if experiment.teacher.name not in KIN:
        train["names"] = hash_json(split_of(config).names)
    text = gfss_text_of(config)
    inputs = {**_real(config, data), **({"text": weights_id(text, "text")} if text else {})}
    return Step("teacher", experiment.teacher.name, {
        "version": TEACHER_VERSION, "settings": {**_network(experiment.teacher), **train}, "seed": experiment.seed,
        "weights": weights_id(experiment.teacher.backbone, "backbone"), "inputs": inputs,
    })  # fmt: skip


def start_of(config: Config) -> Config:
    """Give the config whose teacher the final model starts from: its own where the two are of one kind.

    Only the same network can take over the teacher's weights. Another one has to learn the base classes first: its
    teacher is the final model's kind, trained by the same recipe for as long, and makes no labels.
    """
    teacher, model = config.experiment.teacher, config.experiment.model
    alike, own = model.name == teacher.name, model.options.model_dump(exclude_none=True)
    if alike and model.backbone == teacher.backbone and model.options.few_shot in (
        ModelOptions(), teacher.options.few_shot
    ):
        return config
    options = teacher.options.model_dump(exclude_none=True)
    if alike:
        options["few_shot"] |= own["few_shot"]
    elif {model.name, teacher.name} <= KIN:
        options["few_shot"] = own["few_shot"]
    else:
        options = {"base_dim": teacher.options.base_dim, **own}
    start = TeacherSettings(name=model.name, backbone=model.backbone, options=NetworkOptions(**options))
    return config.with_experiment(teacher=start)


def start_step(config: Config, data: DataSets) -> Step:
    """The model that the final one starts from: the teacher, or one of the final model's kind."""
    start = start_of(config)
    step = teacher_step(start, data)
    return step if start is config else Step("start", step.shard, step.recipe)


def annotate_step(config: Config, images: Finished, teacher: Finished) -> Step:
    """First labels of a shard."""
    return _label_step(
        config, "annotate", config.experiment.annotate, images, teacher=teacher.content, **_known_size(config)
    )


def filter_step(config: Config, first: Finished, teacher: Finished) -> Step:
    """APF on a shard."""
    return _label_step(config, "filter", config.experiment.filter, first, **_guides(config, teacher))


def relabel_step(config: Config, trusted: Finished, teacher: Finished) -> Step:
    """APR on a shard; it reads features centred as APF's are."""
    guides = {**_guides(config, teacher), "centre": config.experiment.filter.centre}
    return _label_step(config, "relabel", config.experiment.relabel, trusted, **guides)


def refine_step(config: Config, filled: Finished) -> Step:
    """SABR on a shard."""
    settings = pinned(config.experiment.refine)
    step = _label_step(config, "refine", settings, filled)
    weights = weights_id(settings.model, "sam") if settings.enabled else None
    kept = {k: v for k, v in step.recipe["settings"].items() if k != "model"}
    return Step(step.stage, step.shard, {**step.recipe, "settings": kept, "weights": weights})


def dataset_step(config: Config, sharp: Sequence[Finished]) -> Step:
    """The labelled pictures of all shards in VOC layout."""
    inputs = {record.shard: record.content for record in sharp}
    return Step("dataset", _fold(config), {**_recipe("dataset", {}), "inputs": inputs})


def train_step(
    config: Config, data: DataSets, start: Finished, dataset: Finished | str | None, hidden: Sequence[Finished] = ()
) -> Step:
    """A final model, without or with the synthetic pictures; those of elsewhere are given by their content.

    Args:
        config: of the run.
        data: base and support pictures.
        start: the model that it starts from, see `start_of`.
        dataset: the synthetic pictures, or None.
        hidden: what was found in the background of the base pictures.
    """
    experiment = config.experiment
    plain = experiment.train.model_dump(
        include={"final_steps", "batch", "lr", "synthetic_share", "synthetic_weight"}
    )
    settings = {**_network(experiment.model), **plain, **_later(experiment.train)}
    if dataset is None:
        settings = {k: v for k, v in settings.items() if not k.startswith("synthetic")}
    synthetic = dataset.content if isinstance(dataset, Finished) else dataset
    inputs = {**_real(config, data), "teacher": start.content, "synthetic": synthetic}
    if hidden:
        inputs["hidden"] = hash_json([shard.content for shard in hidden])
    return Step("train", "after" if dataset else "before", {
        "version": FINAL_VERSION, "settings": settings, "weights": weights_id(experiment.model.backbone, "backbone"),
        "seed": experiment.seed, "inputs": inputs,
    })  # fmt: skip


def scores_step(config: Config, data: DataSets, model: Finished, name: str) -> Step:
    """What a model reaches on the validation pictures."""
    validation, expected = data["validation"].content(), config.experiment.expected_iou
    inputs: dict[str, Any] = {"model": model.content, "validation": validation, "split": _fold(config)}
    if expected != (1, 1):
        inputs["expected_iou"] = list(expected)
    if more := _protocol(config):
        inputs |= {**more, "places": hash_json(scored_places(config))}
        if protocol_of(config).resolution == "original":
            inputs["enlarged"] = "logits"  # probabilities before
    return Step("scores", name, {"version": SCORES_VERSION, "inputs": inputs})


def matching_step(config: Config, data: DataSets) -> Step:
    """What plain prototype matching reaches on the validation pictures."""
    inputs = {"teacher": teacher_step(config, data).recipe, "validation": data["validation"].content()}
    return Step("scores", "matching", {"version": MATCHING_VERSION, "inputs": inputs})


def prepare_step(config: Config, data: DataSets, backbone: str) -> Step:
    """A backbone prepared on base pictures; ``backbone`` is the folder that it starts from."""
    experiment = config.experiment
    return Step("prepare", "backbone", {
        "version": PREPARE_VERSION, "settings": experiment.prepare.model_dump(mode="json"), "seed": experiment.seed,
        "weights": weights_id(backbone, "backbone"), "inputs": {"base": data["base"].content(), "split": _fold(config)},
    })  # fmt: skip


def fss_step(config: Config, data: DataSets, backbone: str) -> Step:
    """An FSS model, trained on episodes of base classes; ``backbone`` is its folder."""
    experiment = config.experiment
    settings = experiment.model.model_dump(exclude={"options"})  # those of GFSS
    settings |= experiment.fss.recipe(*FSS_SCORE_SETTINGS)
    inputs = {"base": data["base"].content(), "split": _fold(config)}
    if experiment.fss.choose == "test":
        inputs["test"] = data["validation"].content()
    if experiment.fss.choose == "base" and experiment.dataset not in DATASETS:
        inputs["held_out"] = "pictures or classes"  # the known label maps are held out as they always were
    if text := text_of(config):
        inputs["text"] = weights_id(text, "text")
    return Step("fss", experiment.model.name, {
        "version": FSS_VERSION, "settings": settings, "shots": experiment.shots,
        "weights": weights_id(backbone, "backbone"), "seed": experiment.seed, "inputs": inputs,
    })  # fmt: skip


def fss_scores_step(config: Config, data: DataSets, model: StageRecord) -> Step:
    """What an FSS model reaches on the episodes of the novel classes."""
    counted = {*FSS_SCORE_SETTINGS, "min_pixels", "side", "stride"}
    settings = config.experiment.fss.model_dump(mode="json", include=counted)
    inputs = {"model": model.content, "validation": data["validation"].content(), "split": _fold(config)}
    inputs["backbone"] = str(model.recipe["weights"])  # matching has no weights of its own
    return Step("scores", "fss", {
        "version": SCORES_VERSION, "settings": settings, "shots": config.experiment.shots, "inputs": inputs,
    })  # fmt: skip


def read_prompts(folder: Path) -> list[Prompt]:
    """Read the accepted prompts of a bank's folder, in order."""
    import json

    lines = (folder / "prompts.jsonl").read_text().splitlines()
    return [Prompt(**json.loads(line)) for line in lines]


def _label_step(config: Config, stage: str, settings: Settings, labels: Finished, **inputs: Any) -> Step:
    recipe = _recipe(stage, _chosen(settings))
    inputs = {"samples": labels.content, "split": _fold(config), **inputs}
    return Step(stage, labels.shard, {**recipe, "inputs": inputs})


def _guides(config: Config, teacher: Finished) -> dict[str, Any]:
    return {
        "teacher": teacher.content, "supports": supports_content(read_supports(config)), **_known_size(config)
    }  # fmt: skip


def _known_size(config: Config) -> dict[str, Any]:
    """Tell labels of pictures that are brought to the teacher's size from those before; picto's have that size."""
    experiment = config.experiment
    return {} if experiment.dataset == experiment.generate.model == "picto" else {"seen": "at the known size"}


def _real(config: Config, data: DataSets) -> dict[str, Any]:
    supports = supports_content(read_supports(config))
    return {"base": data["base"].content(), "supports": supports, "split": _fold(config), **_protocol(config)}


def _protocol(config: Config) -> dict[str, Any]:
    """The GFSS protocol and the side of its squares, where they are not those of the shards from before these."""
    experiment = config.experiment
    plain = experiment.dataset == "picto" and experiment.protocol == "gfss-diam"
    found: dict[str, Any] = {} if plain else {"protocol": experiment.protocol}
    if experiment.train.side or is_own(experiment.dataset):
        found["side"] = side_of(config)
    return found


def _network(settings: TeacherSettings | FinalSettings) -> dict[str, Any]:
    """Name and backbone of a GFSS model, and those options that are set."""
    options = settings.options.model_dump(exclude_none=True)
    return {**settings.model_dump(exclude={"options"}), **{k: v for k, v in options.items() if v != {}}}


def _later(settings: TrainSettings) -> dict[str, Any]:
    """The settings that came later, where they differ from the defaults, so that shards from before stay known."""
    apart = {"base_steps", "final_steps", "batch", "lr", "side", "synthetic_share", "synthetic_weight"}
    return settings.model_dump(mode="json", exclude=apart, exclude_defaults=True)


def _fold(config: Config) -> str:
    split = split_of(config)
    return f"{split.dataset}-{split.fold}"


def _recipe(stage: str, settings: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"version": importlib.import_module(_MODULES[stage]).VERSION, "settings": settings, **more}


def _chosen(settings: Settings, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that matter: a stage that is switched off is the same whatever else is set."""
    values = settings.recipe(*without)
    return values if values.get("enabled", True) else {"enabled": False}


def shard_name(name: str) -> str:
    """Give a class as the names of its shards begin with it."""
    return name.replace(" ", "_")
