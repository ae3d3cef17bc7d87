"""Hugging Face ImageFolder: ``train/<id>.jpg``, ``train/masks/<id>.png`` and ``train/metadata.jsonl``.

A column whose name ends in ``file_name`` is read as picture, so `datasets` gives the columns ``image`` and ``mask``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.export.items import Item
from pipeline.export.place import copy_file, json_line


def export_imagefolder(items: Iterable[Item], folder: Path) -> None:
    """Write the items into a new folder."""
    train = folder / "train"
    train.mkdir()
    with (train / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as table:
        for item in items:
            names = {"file_name": f"{item.id}.jpg", "mask_file_name": f"masks/{item.id}.png"}
            copy_file(item.picture, train / names["file_name"])
            copy_file(item.mask, train / names["mask_file_name"])
            table.write(json_line({**item.facts(), **names}) + "\n")
