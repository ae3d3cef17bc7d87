"""From the names in a config to files, and the identity of weights, without loading them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pipeline.errors import InputError
from pipeline.hashing import hash_files, hash_json, list_files

_HUB = re.compile(r"\w[\w.-]*/[\w.-]+")
_LARGE = 1 << 30


def picto_weights(part: str) -> Path:
    """Give the folder of one of picto's models: generator, backbone or sam.

    Raises:
        InputError: it is not there.
    """
    import picto

    folder = Path(picto.__file__).parent / "weights" / part
    if not any(folder.glob("**/*.safetensors")):
        raise InputError(f"picto's {part} has no weights in {folder}: check the clone, or run make picto-weights")
    return folder


def resolve(name: str, part: str) -> str:
    """Give the folder, file or hub name that a model's name in the config stands for.

    Args:
        name: "picto", a path, "vit_h=PATH", or a hub name such as "stabilityai/stable-diffusion-3.5-large".
        part: generator, backbone or sam.

    Raises:
        InputError: nothing is there.
    """
    if name == "picto":
        return str(picto_weights(part))
    kind, equals, path = name.partition("=")
    if Path(path if equals else name).exists() or (not equals and _HUB.fullmatch(name)):
        return name
    raise InputError(
        f"no weights at {path or kind!r}: give picto, a folder, "
        + ("vit_b=FILE, vit_l=FILE or vit_h=FILE" if part == "sam" else "or a hub name such as owner/model")
    )


def weights_id(name: str, part: str) -> str:
    """Give what identifies a model's weights: a hash of the files, or the hub name.

    Files of more than 1 GiB count by name and size, since hashing them would take minutes in every plan.
    """
    place = Path(resolve(name, part).partition("=")[2] or resolve(name, part))
    if not place.exists():
        return name
    root, files = place.parent, [place.name]
    if place.is_dir():
        root, files = place, [f for f in list_files(place) if f.endswith((".safetensors", ".json", ".txt"))]
    stats = tuple((f, (root / f).stat().st_size, (root / f).stat().st_mtime_ns) for f in files)
    return _hash(root, stats)


@lru_cache(maxsize=16)
def _hash(root: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    small = [name for name, size, _ in stats if size < _LARGE]
    large = [[name, size] for name, size, _ in stats if size >= _LARGE]
    return hash_json([hash_files(root, small), large])
