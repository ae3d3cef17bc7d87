"""Your own classes: one YAML names base pictures with masks and a few masked pictures of each new class.

Paths are relative to the YAML. Every group is a folder of pictures and one of PNG masks with the same names. Base and
validation masks hold ids: 0 background, 1..B base classes in the order of the YAML, B+1.. novel ones, 255 ignore.
A support's mask is black and white: one value beside 0 shows the class, and 255 beside that value is ignored.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import Settings
from pipeline.datasets.pictures import FilePictures, Row, count_pixels
from pipeline.errors import InputError, cause_of, listed
from pipeline.hashing import hash_json
from pipeline.images import read_labels
from pipeline.protocols import BASE_PICTURES, BASE_PIXELS
from pipeline.types import LabelMap
from prompts.vocabulary import Vocabulary, own_vocabulary

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_DRAWN = r"[A-Za-z0-9][A-Za-z0-9 ._-]*"
"""Names of classes after which files can be named, see `pipeline.generate.plan_samples`."""


class Group(Settings):
    """Pictures with masks of the same names."""

    pictures: Path = Field(description="folder of pictures")
    masks: Path = Field(description="folder of PNG masks")


class Base(Group):
    """The base pictures."""

    classes: tuple[str, ...] = Field(min_length=1, description="names of the ids 1..B in the masks")


class OwnFile(Settings):
    """What the YAML says."""

    name: str = Field(pattern=_NAME, description="of the data set")
    base: Base
    novel: dict[str, Group] = Field(min_length=1, description="new class -> its supports")
    validation: Group | None = Field(None, description="pictures to score on")
    prompts: dict[str, Any] = Field({}, description="words, in the form of prompts/vocabularies/*.yaml")


@dataclass(frozen=True)
class Own:
    """The data set of a YAML.

    Attributes:
        path: the YAML.
        cache: folder for counted pixels.
    """

    path: Path
    cache: Path
    maps: bool = True
    lists: tuple[str, ...] = ()

    @cached_property
    def file(self) -> OwnFile:
        """What the YAML says.

        Raises:
            InputError: it is missing, no YAML, or says something unknown.
        """
        try:
            raw = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the data set {self.path} cannot be read: give the path of its YAML") from error
        except yaml.YAMLError as error:
            raise InputError(f"{self.path} is no YAML: {cause_of(error)}") from error
        try:
            found = OwnFile.model_validate(raw)
        except ValidationError as error:
            raise InputError(listed([f"{self.path}: {_sentence(one)}" for one in error.errors()])) from error
        names = [*found.base.classes, *found.novel]
        odd = [n for n in names if n == "background" or names.count(n) > 1 or not n.isprintable() or n != n.strip()]
        what = [f"the class name {n!r}" for n in dict.fromkeys(odd)]
        what += [f"{len(names)} classes"] * (len(names) >= IGNORE)
        if what:
            expected = "cannot be used: expected at most 254 different names"
            raise InputError(listed([f"{self.path}: {w} {expected}" for w in what]))
        return found

    @property
    def name(self) -> str:
        """Name of the data set, with what tells it from others of that name."""
        return f"{self.file.name}-{hash_json([*self.file.base.classes, '', *self.file.novel])[:6]}"

    @property
    def where(self) -> str:
        """Say where its form is told."""
        return "your own pictures, in the form that docs/own_data.md shows"

    @property
    def purposes(self) -> tuple[str, ...]:
        """What there are pictures for."""
        return ("base", "support", "validation") if self.file.validation else ("base", "support")

    def split(self, fold: int) -> ClassSplit:
        """Give the classes; there is one fold.

        Raises:
            InputError: another fold than 0.
        """
        names = (*self.file.base.classes, *self.file.novel)
        return ClassSplit.holding_out(self.name, fold, names, {0: tuple(self.file.novel)})

    def ready(self) -> bool:
        """There is nothing to prepare."""
        return True

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def pictures(self, purpose: str, fold: int) -> FilePictures:
        """Give the pictures of a purpose; supports are one-class items in the order of their names.

        Raises:
            InputError: a folder is missing or empty, or a picture has no mask.
        """
        wrong: list[str] = []
        pictures = self._pictures(purpose, wrong)
        if wrong:
            raise InputError(wrong[0])
        return pictures

    def vocabulary(self) -> Vocabulary:
        """Give the words for prompts: the generic ones, and those of the YAML above them.

        Raises:
            InputError: they name unknown classes or are of the wrong form.
        """
        try:
            return own_vocabulary(self.file.name, tuple(self.file.novel), self.file.prompts)
        except InputError as error:
            raise InputError(f"{self.path}: prompts: {error}") from error

    def problems(self, shots: int, *, drawn: bool = True) -> Iterator[str]:
        """Tell everything that is wrong, one sentence each, before any work; nothing if all is well.

        Args:
            shots: supports a class.
            drawn: whether pictures are to be drawn, whose files are named after the new classes.
        """
        try:
            split = self.split(0)
        except InputError as error:
            yield str(error)
            return
        if drawn:
            yield from self.unfit_names()
        try:
            self.vocabulary()
        except InputError as error:
            yield str(error)
        for purpose in self.purposes:
            wrong: list[str] = []
            pictures = self._pictures(purpose, wrong)
            counts = count_pixels(pictures, split, self.cache, wrong.append, decode=True) if pictures.rows else None
            yield from wrong
            if counts is not None and purpose == "base" and not wrong:
                yield from self._few_base(counts)
            if purpose == "support" and not wrong:
                yield from self._few_supports(pictures, shots)

    def unfit_names(self) -> Iterator[str]:
        """Tell which new classes drawn pictures cannot be named after, or not apart from those of another."""
        first_of: dict[str, str] = {}
        for name in self.file.novel:
            first = first_of.setdefault(re.sub("[^A-Za-z0-9]", "_", name), name)
            if not re.fullmatch(_DRAWN, name):
                yield (
                    f"{self.path}: files of drawn pictures cannot be named after the class {name!r}: expected letters "
                    "without accents, digits, spaces, '-', '_' and '.', a letter or digit first; rename it, its word "
                    "in prompts can be set by prompts.classes.NAME.one"
                )
            elif first != name:
                yield (
                    f"{self.path}: files of drawn pictures would have the same names for the classes {first!r} and "
                    f"{name!r}: rename one of them"
                )

    def _few_base(self, counts: NDArray[np.int64]) -> Iterator[str]:
        for label, name in enumerate(self.file.base.classes, start=1):
            found, advice = int((counts[:, label] >= BASE_PIXELS).sum()), "or leave the class out"
            if not counts[:, label].any():
                yield f"no base mask shows {name!r} (id {label}): add pictures of it, {advice}"
            elif found < BASE_PICTURES:
                yield (
                    f"{name!r} (id {label}) is shown on at least {BASE_PIXELS} pixels by {found} base picture"
                    f"{'s' * (found != 1)}, training needs {BASE_PICTURES}: add pictures of it, {advice}"
                )

    def _few_supports(self, pictures: FilePictures, shots: int) -> Iterator[str]:
        labels = [row.label for row in pictures.rows]
        for name in self.file.novel:
            found = labels.count(self._id(name))
            if 0 < found < shots:
                yield (
                    f"{name!r} has {found} support pictures in {self._folder(self.file.novel[name].pictures)}: "
                    f"experiment.shots is {shots}, add pictures or lower it"
                )

    def _pictures(self, purpose: str, wrong: list[str]) -> FilePictures:
        """List a purpose's pictures; what is missing is told in ``wrong``."""
        file = self.file
        if purpose == "support":
            rows = []
            for name, novel in file.novel.items():
                rows += self._rows(novel, self._id(name), f"{name}/", wrong)
            return FilePictures(self.path.parent, rows, _read_support)
        group = file.base if purpose == "base" else file.validation
        if group is None:
            raise InputError(f"{self.path} names no {purpose} pictures: add {purpose}: {{pictures: ..., masks: ...}}")
        return FilePictures(self.path.parent, self._rows(group, 0, "", wrong))

    def _rows(self, group: Group, label: int, prefix: str, wrong: list[str]) -> list[Row]:
        pictures, masks = self._folder(group.pictures), self._folder(group.masks)
        missing = [folder for folder in dict.fromkeys((pictures, masks)) if not folder.is_dir()]
        hint = f"does not exist: paths in {self.path} are relative to that file"
        wrong += [f"the folder {folder} {hint}" for folder in missing]
        if missing:
            return []
        before = len(wrong)
        rows: dict[str, Row] = {}
        for path in sorted(pictures.iterdir()):
            if path.suffix.lower() not in _ENDINGS or (pictures == masks and path.suffix == ".png"):
                continue
            mask = masks / f"{path.stem}.png"
            if path.stem in rows:
                wrong.append(f"{pictures} has two pictures named {path.stem}: their masks could not be told apart")
            elif not mask.is_file():
                wrong.append(f"the picture {path} has no mask: expected {mask}")
            else:
                rows[path.stem] = Row(prefix + path.stem, self._relative(path), self._relative(mask), label)
        if not rows and len(wrong) == before:
            wrong.append(f"the folder {pictures} holds no pictures: expected files ending in {', '.join(_ENDINGS)}")
        return list(rows.values())

    def _folder(self, path: Path) -> Path:
        return self.path.parent / path

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path.parent)).as_posix()

    def _id(self, name: str) -> int:
        return len(self.file.base.classes) + list(self.file.novel).index(name) + 1


def _read_support(path: Path) -> LabelMap:
    """Read a black-and-white mask: 1 on the class, 255 on ignored pixels.

    Raises:
        InputError: it shows nothing, or more than one value beside 0 and 255.
    """
    labels = read_labels(path)
    values = [int(v) for v in np.unique(labels) if v]
    shown = [v for v in values if v != IGNORE] or values
    if not shown:
        raise InputError(f"the support mask {path} is empty: mark the pixels of the class")
    if len(shown) > 1:
        raise InputError(
            f"the support mask {path} holds the ids {shown[0]} and {shown[1]}: expected one value beside 0 "
            "(and 255 for what is to be ignored)"
        )
    return np.where(labels == shown[0], np.uint8(1), labels)


def _sentence(error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = [*OwnFile.model_fields, *Base.model_fields]
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        return f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}")
    if error["type"] == "missing":
        return f"{key} is missing: see docs/own_data.md"
    return f"{key or 'the file'}: {error['msg']}, got {_shortened(error['input'])}"


def _shortened(value: object) -> str:
    return repr(value) if not isinstance(value, Mapping) else "a group of settings"
