"""Reads a config: YAML and ``--set key=value`` over the defaults of `pipeline.config`."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from flows.presets import is_file_name, parse, place_dataset, read_config
from pipeline.classes import DATASETS as LABEL_MAPS
from pipeline.classes import ClassSplit
from pipeline.config import Config, Settings
from pipeline.datasets import open_dataset
from pipeline.datasets.own import Own
from pipeline.errors import InputError


def load_config(source: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Give the checked config.

    Args:
        source: a YAML file, the name of a preset in ``flows/configs``, or several of them, see `presets.read_config`;
            None means picto.
        overrides: ``key=value`` with dotted keys, such as ``experiment.filter.min_similarity=0.7``; values are YAML.

    Raises:
        InputError: no such file, unknown key, wrong value, unknown dataset, fold or class.
    """
    tree = read_config(source or "picto")
    beside = Path(source).parent if source and is_file_name(source) else Path()
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: expected key=value, such as experiment.fold=1")
        _put(tree, key.strip(), parse(value, f"--set {override}"))
    place_dataset(tree, beside)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(_sentence(error)) from error
    return check_config(config)


def as_override(key: str, text: object) -> str:
    """Give ``key=value`` for `load_config` whose value is this text, whatever YAML would make of it: 2026, a # b."""
    return f"{key}={json.dumps(str(text), ensure_ascii=False)}"


def check_changes(overrides: Sequence[str], *more: str) -> None:
    """Look that overrides of a finished run change nothing that it is made of.

    Args:
        overrides: ``key=value``.
        more: beginnings of what may be changed besides ``execution``.

    Raises:
        InputError: one of them does.
    """
    may = ("execution.", *more)
    for override in overrides:
        if not override.strip().startswith(may):
            *others, last = (f"{key}KEY" if key.endswith(".") else key.rstrip("=") for key in may)
            known = f"{', '.join(others)} or {last}" if others else last
            raise InputError(f"--set {override}: a finished run stays as it is; another {known} can be given")


def check_config(config: Config) -> Config:
    """Give a config back when its data set, fold and classes are there.

    Raises:
        InputError: one of them is not.
    """
    name, fold = config.experiment.dataset, config.experiment.fold
    data, cache = Path(config.execution.data), config.execution.folder
    dataset = None if name == "picto" else open_dataset(name, data, cache)
    if name not in LABEL_MAPS and not isinstance(dataset, Own):
        return config  # its classes are told by its files, which are looked at when they are needed
    split = dataset.split(fold) if isinstance(dataset, Own) else ClassSplit.of(name, fold)
    classes = config.experiment.prompts.classes
    if len(set(classes)) < len(classes):
        raise InputError(f"experiment.prompts.classes: got {', '.join(classes)}: name each class once")
    for name in classes:
        if split.id_of(name) not in split.novel_ids:
            raise InputError(
                f"experiment.prompts.classes: {name!r} is no novel class of fold {split.fold}: "
                f"choose among {', '.join(split.novel)}"
            )
    return config


def with_whole_paths(config: Config) -> Config:
    """Give a config that means the same in any working folder."""
    written = {key: getattr(config.execution, key) for key in ("output", "data", "cache")}
    places = {key: str(Path(place).resolve()) for key, place in written.items() if place and "://" not in place}
    execution, experiment = config.execution.model_copy(update=places), config.experiment
    if named := experiment.prompts.language.transcript:
        language = experiment.prompts.language.model_copy(update={"transcript": str(Path(named).resolve())})
        prompts = experiment.prompts.model_copy(update={"language": language})
        experiment = experiment.model_copy(update={"prompts": prompts})
    return config.model_copy(update={"execution": execution, "experiment": experiment})


def dump_config(config: Config) -> str:
    """Give the fully resolved config as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def explain_config(config: Config) -> str:
    """Give the same with a comment on every key: what it takes and means."""
    return "".join(f"{line}\n" for line in _explained(config, ""))


def _explained(group: Settings, indent: str) -> Iterator[str]:
    values, end = group.model_dump(mode="json"), "...\n"  # which YAML puts behind a bare value
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Settings):
            yield f"{indent}{name}:  # {(type(value).__doc__ or '').splitlines()[0]}"
            yield from _explained(value, f"{indent}  ")
            continue
        written = yaml.safe_dump(values[name], default_flow_style=True, width=math.inf, allow_unicode=True)
        choices = " | ".join(map(str, get_args(field.annotation))) if get_origin(field.annotation) is Literal else ""
        comment = "; ".join(filter(None, (choices, field.description)))
        yield f"{indent}{name}: {written.removesuffix(end).strip()}" + (f"  # {comment}" if comment else "")


def valid_keys(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """List all dotted keys of a config, groups included."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += valid_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        inner = tree.setdefault(group, {})
        if not isinstance(inner, dict):
            raise InputError(_unknown(key))
        tree = inner
    tree[last] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(key)
    if first["type"].startswith(("greater_than", "less_than")):
        return f"{key}: got {first['input']!r}, expected a number {_limits(key)}"
    if first["type"] == "model_type":
        below = next((k for k in valid_keys() if k.startswith(f"{key}.")), f"{key}.NAME")
        return f"{key}: got {first['input']!r}, expected keys such as {below}"
    if first["type"] == "tuple_type":
        return f"{key}: got {first['input']!r}, expected a list such as [{first['input']}]"
    message = first["msg"].replace("Input should be a valid", "expected type").replace("Input should be", "expected")
    message = message.removeprefix("Value error, ")
    return f"{key}: got {first['input']!r}, {message}"


def _limits(key: str) -> str:
    """Say the range of a number, such as "from -1 to 1"."""
    model: Any = Config
    *groups, last = key.split(".")
    for group in groups:
        model = model.model_fields[group].annotation
    words = {"Ge": "from {}", "Gt": "above {}", "Le": "to {}", "Lt": "below {}"}
    limits = {type(m).__name__: getattr(m, type(m).__name__.lower(), None) for m in model.model_fields[last].metadata}
    return " ".join(words[kind].format(limits[kind]) for kind in words if kind in limits)


def _unknown(key: str) -> str:
    keys = valid_keys()
    same_end = [k for k in keys if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = same_end[:1] or difflib.get_close_matches(key, keys, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"the groups are {', '.join(Config.model_fields)}"
    return f"unknown key {key!r}: {hint}"
