"""The page about an exported data set: what is in it, what made it, whose rights hold, how to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.classes import ClassSplit
from pipeline.export.items import Tally
from pipeline.export.place import write_lines

_LICENCES = {
    "picto": "Apache-2.0, as Syn4Seg", "stable-diffusion-3": "Stability AI Community License",
    "stable-diffusion-v1": "CreativeML Open RAIL-M", "stable-diffusion-2": "CreativeML Open RAIL++-M",
    "stable-diffusion-xl": "CreativeML Open RAIL++-M", "vit_b": "Apache-2.0 (Segment Anything)",
    "vit_l": "Apache-2.0 (Segment Anything)", "vit_h": "Apache-2.0 (Segment Anything)",
    "microsoft/resnet": "Apache-2.0", "facebook/dinov2": "Apache-2.0",
}  # fmt: skip
"""Beginning of a model's name, or of its last part -> what its makers say; for the card, not legal advice."""
_COCO = "annotations CC BY 4.0, pictures under Flickr's terms"
_DATA_LICENCES = {
    "picto": _LICENCES["picto"], "pascal": "pictures under Flickr's terms", "coco": _COCO, "coco2017": _COCO,
}  # fmt: skip
"""The same of data sets, by their whole name."""
_UNKNOWN = "not known to Syn4Seg: see its makers' page"
_EXAMPLES = 3
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Model:
    """A model that had a part in it.

    Attributes:
        role: what it did.
        name: as in the settings, without folders.
        weights: hash of its files, or its name on the Hub.
    """

    role: str
    name: str
    weights: str


@dataclass(frozen=True)
class Origin:
    """Where an export comes from; nothing in it depends on the day or the machine's folders.

    Attributes:
        split: classes.
        experiment: all settings that change results.
        models: that had a part in it.
        libraries: library -> version, when the pictures were drawn.
        dropped: reason -> generated pictures that were left out.
    """

    split: ClassSplit
    experiment: Mapping[str, Any]
    models: Sequence[Model]
    libraries: Mapping[str, str]
    dropped: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        split = self.split
        return {
            "dataset": split.dataset, "fold": split.fold, "novel": list(split.novel),
            "classes": {str(i): name for i, name in enumerate(("background", *split.all_names))}, "ignore": 255,
            "experiment": dict(self.experiment), "libraries": dict(self.libraries), "dropped": dict(self.dropped),
            "models": [{"role": m.role, "name": m.name, "weights": m.weights, "licence": licence_of(m.name)}
                       for m in self.models],
        }  # fmt: skip


def licence_of(name: str) -> str:
    """Give what is known of the licence of a model by its name."""
    low = name.lower()
    parts = (low, low.rsplit("/", 1)[-1])
    return next((text for begin, text in _LICENCES.items() if any(p.startswith(begin) for p in parts)), _UNKNOWN)


def write_card(
    path: Path, origin: Origin, tally: Tally, prompts: Mapping[str, Sequence[str]], command: str,
    use: tuple[str, str],
) -> None:  # fmt: skip
    """Write the card in the form that Hugging Face shows.

    Args:
        path: README.md of the export.
        origin: where it comes from.
        tally: what was written.
        prompts: class -> some of its prompts.
        command: that exports it again.
        use: lines of code or settings that read it, and a sentence about them.
    """
    split, count = origin.split, len(tally.ids)
    models = [f"| {m.role} | {m.name} | `{m.weights}` | {licence_of(m.name)} |" for m in origin.models]
    classes = [f"| {n} | {split.all_names.index(n) + 1} | {c} | {_shown(prompts.get(n, ()))} |"
               for n, c in tally.per_class.items()]  # fmt: skip
    dropped = ", ".join(f"{reason} ({number})" for reason, number in sorted(origin.dropped.items()))
    left_out = f"Left out: {dropped}; `dropped.jsonl` says which and why." if dropped else "Nothing was left out."
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(origin.libraries.items()))
    every = ", ".join(f"{number} {name}" for number, name in enumerate(split.all_names, start=1))
    write_lines(path, [
        *_front(origin, count), "",
        f"# Synthetic pictures for {split.dataset}, fold {split.fold}", "",
        f"{count} generated pictures with label maps of {len(tally.per_class)} novel classes, made by Syn4Seg for "
        "generalized few-shot segmentation. No picture was taken by a camera, and no label was drawn by hand.", "",
        "| class | id | pictures | prompts, for example |", "|---|---|---|---|", *classes, "",
        f"Labels are ids of {split.dataset}: 0 background, {every}, 255 ignore. Base classes occur beside the novel "
        f"ones where the teacher was sure of them. {left_out}", "",
        "## Read it", "", "```", use[0], "```", "", f"{use[1][0].upper()}{use[1][1:]}.", "",
        "## Made by", "", "| part | model | weights | licence |", "|---|---|---|---|", *models, "",
        f"The models that label have seen base pictures and supports of {split.dataset} "
        f"({_data_licence(split)}). Licences are as Syn4Seg knows them by name; whoever passes the data set on is "
        "to look them up and to follow them.", "",
        "```sh", "syn4seg run experiment.yaml", command, "```", "",
        f"`experiment.yaml` has all settings: {_settings(origin.experiment)}. Libraries: {libraries}.",
    ])  # fmt: skip


def write_settings(path: Path, origin: Origin) -> None:
    """Write all settings as a config that runs again."""
    text = yaml.safe_dump({"experiment": dict(origin.experiment)}, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _front(origin: Origin, count: int) -> list[str]:
    licences = [_data_licence(origin.split), *(licence_of(model.name) for model in origin.models)]
    own = all(licence.startswith("Apache-2.0") for licence in licences)
    size = next((text for limit, text in _SIZES if count < limit), "n>1M")
    return [
        "---", f"license: {'apache-2.0' if own else 'other'}", "task_categories:", "- image-segmentation", "tags:",
        "- synthetic", "- few-shot", "size_categories:", f"- {size}", "---",
    ]  # fmt: skip


def _settings(experiment: Mapping[str, Any]) -> str:
    """Name the settings that a reader asks for first."""
    paths = ("seed", "shots", "prompts.agent", "prompts.per_class", "prompts.max_similarity", "generate.steps",
             "generate.guidance")  # fmt: skip
    told = []
    for path in paths:
        group, _, key = path.rpartition(".")
        told.append(f"{path} {(experiment[group] if group else experiment)[key]}")
    return ", ".join(told)


def _data_licence(split: ClassSplit) -> str:
    return _DATA_LICENCES.get(split.dataset, _UNKNOWN)


def _shown(prompts: Sequence[str]) -> str:
    return "; ".join(f'"{text}"' for text in prompts[:_EXAMPLES]).replace("|", "/")
