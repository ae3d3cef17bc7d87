"""Folders that are made once, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_folder(folder: Path, is_made: Callable[[], bool], write: Callable[[Path], None]) -> None:
    """Write a folder where it is not made yet; of several processes one writes it, and the others wait for it.

    Args:
        folder: what is to be there; what is not made as it should be is replaced.
        is_made: says whether it is there as it should be.
        write: fills an empty folder, which gets its name when all is written.
    """
    if is_made():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if is_made():
            return
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
