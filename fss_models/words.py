"""Vectors of class names: from a CLIP text encoder, or from a file of word vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipeline.backends.text import ClipText
from pipeline.errors import InputError, cause_of

NONE = "none"
"""The source of a model that reads no text."""


class Words(nn.Module):
    """The vectors of the classes' names, by number; saved with the model, each under its number and name.

    A name that it has met is not looked up again, so that a loaded model needs its source for new names alone.

    Args:
        source: folder of a CLIP text encoder, file of word vectors (see `vectors_of`), or "none".
        dim: length of a vector; 0 asks the source.

    Raises:
        InputError: the source cannot be read.
    """

    table: Tensor

    def __init__(self, source: str, dim: int = 0) -> None:
        super().__init__()
        self.source = source
        self.dim = dim or (0 if source == NONE else _length(source))
        self._known: dict[str, Tensor] = {}
        self._names: tuple[str, ...] = ()
        self.register_buffer("table", torch.zeros(0, self.dim), persistent=False)

    def name(self, names: Sequence[str]) -> None:
        """Say what the classes are called, by number; 0 is the background, which no episode is about.

        Raises:
            InputError: the source is needed and gone, has vectors of another length, or none for a name.
        """
        new = [name for name in dict.fromkeys(names[1:]) if name not in self._known] if self.source != NONE else []
        if new:
            vectors = vectors_of(self.source, new)
            if vectors.shape[1] != self.dim:
                raise InputError(
                    f"{self.source} has vectors of {vectors.shape[1]} numbers, the model was built for {self.dim}: "
                    "give it the source that it was trained with"
                )
            self._known.update(zip(new, vectors, strict=True))
        self._number(tuple(names))

    def forward(self, classes: Tensor) -> Tensor:
        """Give the vectors (B, D) of classes (B,); without text D is 0.

        Raises:
            RuntimeError: the classes have no names yet.
        """
        if not self.dim:
            return self.table.new_zeros(len(classes), 0)
        if not len(self.table):
            raise RuntimeError("call name_classes first: this model reads the names of the classes")
        return self.table[classes]

    def _number(self, names: tuple[str, ...]) -> None:
        self._names = names
        nothing = torch.zeros(self.dim)
        rows = [nothing, *(self._known.get(name, nothing) for name in names[1:])]
        self.table = torch.stack(rows).to(self.table.device)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for number, name in enumerate(self._names if self.dim else ()):
            if number:
                destination[f"{prefix}{number}.{name}"] = self.table[number].clone()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        own = {key.removeprefix(prefix): x for key, x in state_dict.items() if key.startswith(prefix)}
        if own:
            found = {int(number): name for number, name in (key.split(".", 1) for key in own)}
            self._known.update({found[int(key.split(".", 1)[0])]: x.cpu().clone() for key, x in own.items()})
            self._number(("background", *(found[number] for number in sorted(found))))


def vectors_of(source: str, names: Sequence[str]) -> Tensor:
    """Give one vector a name, float32 (N, D).

    Args:
        source: a folder that `pipeline.backends.text.ClipText` reads, which gives unit vectors; or a file of word
            vectors, which are given as they are: lines of a word and its numbers as in word2vec's text format and
            GloVe (with or without a first line of counts), or ``.safetensors`` with a tensor (D,) a word. A name that
            is not in a file as a whole ("dining table", "dining_table" or "diningtable") is the mean of its words.
        names: such as "dining table".

    Raises:
        InputError: the source cannot be read, or has no vector for a name.
    """
    plain = [name.replace("_", " ") for name in names]
    path = Path(source)
    if path.is_dir():
        return torch.from_numpy(ClipText.from_folder(path).encode(plain))
    forms = {name: _forms(name) for name in plain}
    found = _read(path, {word for options in forms.values() for form in options for word in form})
    rows = []
    for name, options in forms.items():
        whole = next((form for form in options if all(word in found for word in form)), None)
        if whole is None:
            lacking = next(word for word in options[-1] if word not in found)
            raise InputError(
                f"{source} has no vector of the word {lacking!r} (class {name!r}): add it, or take a text encoder"
            )
        rows.append(np.mean([found[word] for word in whole], axis=0, dtype=np.float32))
    if len({len(row) for row in rows}) > 1 or not all(np.isfinite(row).all() for row in rows):
        raise InputError(f"{source} has vectors of several lengths or with numbers that are not finite: get it anew")
    by_name = dict(zip(forms, rows, strict=True))
    return torch.from_numpy(np.stack([by_name[name] for name in plain]))


def _forms(name: str) -> list[list[str]]:
    """List the ways to look a name up: as a whole, then word by word; as it is written, then in small letters."""
    found: list[list[str]] = []
    for text in dict.fromkeys((name, name.lower())):
        words = re.findall(r"[^\W_]+", text)
        found += [[text], ["_".join(words)], ["".join(words)], words]
    return [form for form in found if form and all(form)] or [[name]]


def _length(source: str) -> int:
    path = Path(source)
    if path.is_dir():
        return ClipText.from_folder(path).dim
    for vector in _stored(path, None):
        return len(vector[1])
    raise InputError(f"{source} holds no word vectors: expected lines of a word and its numbers")


def _read(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    return dict(_stored(path, wanted))


def _stored(path: Path, wanted: set[str] | None) -> Iterable[tuple[str, np.ndarray]]:
    """Go through the words of a file and their vectors; only the wanted ones where some are named."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as file:
                for word in file.keys() if wanted is None else wanted & set(file.keys()):
                    yield word, np.asarray(file.get_tensor(word), np.float32).ravel()
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                word, *numbers = line.rstrip().split(" ")
                if len(numbers) > 1 and (wanted is None or word in wanted):
                    yield word, np.array(numbers, np.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{path} holds no word vectors ({cause_of(error)}): expected lines of a word and its numbers, a "
            ".safetensors file of one tensor a word, or the folder of a CLIP text encoder"
        ) from error
