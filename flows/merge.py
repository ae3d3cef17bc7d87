"""Finished shards of other output folders, such as those of a job array whose jobs share no disk, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.data import store_of
from flows.run import check_writable
from pipeline.config import Config, Execution
from pipeline.errors import InputError
from pipeline.store import RunStore


def merge_stores(folders: Sequence[Path], output: str) -> list[dict[str, Any]]:
    """Copy all finished shards of output folders into another one.

    What lies there already stays; what is interrupted or damaged is left where it is.

    Args:
        folders: output folders.
        output: the output folder, or its URL, that gets the shards.

    Returns:
        A row a folder: ``folder``, and how many ``shards`` it has, were ``copied``, and ``known`` already.

    Raises:
        InputError: a folder has no store, or a shard is there with other content; what was copied until then stays.
    """
    config = Config(execution=Execution(output=output))
    check_writable(config)
    into, rows = store_of(config), []
    for folder in folders:
        if not (folder / "store").is_dir():
            raise InputError(f"{folder} has no store/: give the output folder of a run")
    for folder in folders:
        source = RunStore(folder / "store")
        copied = [into.adopt(source, record) for record in source.records()]
        rows.append({"folder": str(folder), "shards": len(copied), "copied": sum(copied),
                     "known": len(copied) - sum(copied)})  # fmt: skip
    return rows
