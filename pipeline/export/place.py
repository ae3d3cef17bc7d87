"""The folder of an export: it appears whole or not at all, and nothing that is there is lost."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import InputError
from pipeline.hashing import list_files

NOTE = "export.json"
"""Says what was exported; its entry ``"export"`` identifies it."""
_LOCK = ".lock"


@contextmanager
def new_folder(to: Path, identity: str) -> Iterator[Path]:
    """Give a folder to write into; it gets its name at the end, and is gone where the work fails.

    A folder that holds the same export already gets what is missing or was changed in it; its other files stay.

    Args:
        to: the folder to be; its parents are made.
        identity: hash of everything that the export depends on; `NOTE` tells it.

    Raises:
        InputError: something else is there, another process is at it, or it cannot be written.
    """
    target = check_target(to, identity)
    partial = target.with_name(f"{target.name}.partial")
    with _told(to):
        partial.mkdir(parents=True, exist_ok=True)
        lock = FileLock(partial / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process is exporting to {to}: wait for it, or choose another folder") from None
    try:
        with _told(to):
            for left in partial.iterdir():  # of a process that was killed
                if left.name != _LOCK:
                    _remove(left)
            yield partial
            _publish(partial, target)
    finally:
        lock.release()
        shutil.rmtree(partial, ignore_errors=True)
        (target / _LOCK).unlink(missing_ok=True)


def check_target(to: Path, identity: str) -> Path:
    """Look that an export may be written to a folder, and give its absolute path.

    Raises:
        InputError: it is a file, or holds something else than the same export.
    """
    target = to.resolve()
    if target.exists() and not target.is_dir():
        raise InputError(f"{to} is a file: give a folder that is new or empty")
    if target.is_dir() and any(target.iterdir()) and read_note(target).get("export") != identity:
        held = read_note(target)
        what = f"another export ({held['format']} of {held['dataset']} fold {held['fold']})" if held else "other files"
        raise InputError(f"{to} holds {what}: give a folder that is new or empty")
    return target


def read_note(folder: Path) -> dict[str, Any]:
    """Give what the note of an export says; empty where there is none."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and {"export", "format", "dataset", "fold"} <= note.keys() else {}


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def json_line(value: Mapping[str, Any]) -> str:
    """Give canonical JSON on one line."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes.

    Raises:
        InputError: it is gone.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise gone(source) from error


def gone(path: Path) -> InputError:
    """Give the error about a file of the store that is not there."""
    return InputError(f"{path} is gone from the store: syn4seg run makes it again")


def _publish(partial: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        partial.rename(target)
        return
    for name in list_files(partial):
        there = target / name
        if name == _LOCK or (there.is_file() and filecmp.cmp(partial / name, there, shallow=False)):
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        (partial / name).replace(there)


@contextmanager
def _told(to: Path) -> Iterator[None]:
    """Turn what the system says about a folder into one sentence."""
    try:
        yield
    except OSError as error:
        place = error.filename or to
        raise InputError(f"{place} cannot be written ({error.strerror or error}): check rights and space") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
