"""WebDataset: tars of pictures in order, each picture's files side by side.

``train-000000.tar`` and so on without gaps; of every picture ``<id>.jpg``, ``<id>.json`` and ``<id>.mask.png``. Equal
exports are equal byte for byte: no times, no owners.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pipeline.export.items import Item
from pipeline.export.place import gone, json_line


def export_webdataset(items: Iterable[Item], folder: Path, per_tar: int = 1000) -> int:
    """Write the items into a new folder and give the number of tars.

    Args:
        items: N items.
        folder: is there.
        per_tar: pictures a tar.
    """
    rest, tars = iter(items), 0
    while part := list(islice(rest, per_tar)):
        with tarfile.open(folder / f"train-{tars:06d}.tar", "w") as tar:
            for item in part:
                _add(tar, f"{item.id}.jpg", _bytes(item.picture))
                _add(tar, f"{item.id}.json", json_line(item.facts()).encode())
                _add(tar, f"{item.id}.mask.png", _bytes(item.mask))
        tars += 1
    return tars


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise gone(path) from error
