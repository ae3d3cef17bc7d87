"""Hashes of what a shard is computed from and of what comes out; the same on every machine and library version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Recipe = Mapping[str, Any]
"""Everything that changes the outcome of a shard, as plain JSON values."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def fingerprint(stage: str, recipe: Recipe) -> str:
    """Give the hash of {stage, recipe}, 16 hexadecimal digits."""
    return hash_json({"stage": stage, **recipe})


def fingerprints(stage: str, recipe: Recipe, key: str) -> Callable[[str], str]:
    """Give `fingerprint` as a function of one input, for many shards whose recipes differ in that alone.

    Args:
        stage: name of the stage.
        recipe: of any of the shards.
        key: which of ``recipe["inputs"]`` differs.

    Returns:
        From the input to the fingerprint, four times as fast.
    """
    mark = "\0"
    inputs = {**recipe["inputs"], key: mark}
    before, after = _canonical({"stage": stage, **recipe, "inputs": inputs}).split(_canonical(mark))
    return lambda value: _short_hash(before + _canonical(value) + after)


def hash_json(value: object) -> str:
    """Give the hash of the canonical JSON of a value, 16 hexadecimal digits."""
    return _short_hash(_canonical(value))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_arrays(*arrays: np.ndarray | None) -> str:
    """Give the hash of decoded arrays (their type, shape and bytes), 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"none" if array is None else f"{array.dtype.str}{array.shape}".encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def hash_files(folder: Path, names: Sequence[str]) -> str:
    """Give the hash of files by their names and bytes, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            digest.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def list_files(folder: Path) -> list[str]:
    """List the files below a folder, sorted, as relative paths with forward slashes."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
