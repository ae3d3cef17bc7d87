"""Config files by path or by name, and what they extend, as one tree of plain values."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

from pipeline.datasets import is_own
from pipeline.errors import InputError

PRESETS = Path(__file__).parent / "configs"
_FOLDERS = ("", "parts", "episodes")
"""Of the presets; other folders hold what presets name."""

Tree = dict[str, Any]


def presets() -> dict[str, Path]:
    """Give the presets by name."""
    return {path.stem: path for folder in _FOLDERS for path in sorted((PRESETS / folder).glob("*.yaml"))}


def read_config(source: str) -> Tree:
    """Read a config with all that it extends.

    ``extends: NAME`` or ``extends: [NAME, ...]`` names presets, or files by a path that is relative to the file itself
    and ends in .yaml. Later ones go over earlier ones and the file over all of them, key by key. The path of an
    own-classes YAML is made absolute: it is looked for beside the file that names it, then in the working folder.

    Args:
        source: a YAML file, the name of a preset, or several joined by ``+``, of which later ones go over earlier ones,
            such as ``pascal5i_fold1+sd15``.

    Raises:
        InputError: a file is missing, no YAML, no config, or extends itself.
    """
    tree: Tree = {}
    for name in [source] if Path(source).exists() else source.split("+"):
        tree = merged(tree, _read(_find(name), ()))
    return tree


def merged(below: Tree, above: Tree) -> Tree:
    """Give two trees as one: groups key by key, of all else what stands above."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def place_dataset(tree: Tree, beside: Path) -> None:
    """Make the path of an own-classes YAML absolute; it is looked for in a folder, then in the working folder."""
    experiment = tree.get("experiment")
    name = experiment.get("dataset") if isinstance(experiment, dict) else None
    if isinstance(experiment, dict) and isinstance(name, str) and is_own(name):
        path = beside / name
        experiment["dataset"] = str((path if path.exists() else Path(name)).resolve())


def parse(text: str, where: str) -> Any:
    """Read YAML.

    Raises:
        InputError: it is none; ``where`` says what was read.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            mark = error.problem_mark
            reason = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
        raise InputError(f"{where} is no YAML ({reason}): mend it there") from error


def is_file_name(name: str) -> bool:
    """Say whether a config is named by its path; else it is a preset."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def _find(name: str, beside: Path = Path()) -> Path:
    return beside / name if is_file_name(name) else presets().get(name, Path(name))


def _read(path: Path, above: tuple[Path, ...]) -> Tree:
    """Read a file with all that it extends; ``above`` are the files that led here."""
    chain = (*above, path.resolve())
    if chain[-1] in above:
        raise InputError(f"{path} extends itself ({' > '.join(p.name for p in chain)}): take one of them out")
    tree = parse(_text(path, above[-1] if above else None), str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected the groups experiment: and execution:, got {type(tree).__name__}")
    extended = tree.pop("extends", [])
    names = [extended] if isinstance(extended, str) else extended
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: extends: got {extended!r}, expected a name or a list such as [pascal5i, sd15]")
    place_dataset(tree, path.parent)
    below: Tree = {}
    for name in names:
        below = merged(below, _read(_find(name, path.parent), chain))
    return merged(below, tree)


def _text(path: Path, extending: Path | None) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        known = presets()
        near = difflib.get_close_matches(str(path), known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        who = f" that {extending} extends" if extending else ""
        raise InputError(
            f"cannot read the config {str(path)!r}{who}: give a YAML file or one of {', '.join(sorted(known))}{hint}"
        ) from error
