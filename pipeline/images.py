"""The only reader and writer of pictures and label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.classes import ClassSplit
from pipeline.errors import InputError
from pipeline.types import LabelMap, Picture

_ORIENTATION = 0x0112
"""Tag of EXIF; from 5 on height and width are exchanged."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Modes that Pillow turns into RGB without clipping."""
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_picture(path: Path) -> Picture:
    """Read a picture as uint8 RGB (H, W, 3), turned upright; of 16 bits in grey the upper 8 are taken.

    Raises:
        InputError: the file is missing, not a whole picture, or its numbers have no range that is known.
    """
    with _opened(path, "picture") as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))  # as Pillow does with colours
        if upright.mode not in _EIGHT_BIT:
            raise InputError(
                f"{path} is a picture of mode {upright.mode}: 8 bits a channel, or 16 in grey, are expected; save it "
                "as an 8-bit PNG"
            )
        return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def size_of(path: Path) -> tuple[int, int]:
    """Give height and width of a picture, turned upright, from its header.

    Raises:
        InputError: the file is missing or not a picture.
    """
    if not path.is_file():
        raise InputError(_missing(path, "picture"))
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except _UNREADABLE as error:
        raise InputError(_unreadable(path, "picture", error)) from error


def read_labels(path: Path) -> LabelMap:
    """Read a label file, indexed by a palette or single-channel, as uint8 ids (H, W).

    Raises:
        InputError: the file is missing, not whole, or holds colours instead of ids.
    """
    with _opened(path, "mask") as image:
        if image.mode not in ("P", "L"):
            raise InputError(
                f"{path} is a mask of mode {image.mode}: a palette or one-channel 8-bit file of class ids is expected"
            )
        return np.asarray(image, dtype=np.uint8)


def read_pair(picture: Path, mask: Path, split: ClassSplit) -> tuple[Picture, LabelMap]:
    """Read a picture and its mask of dataset ids, turned into split ids.

    Raises:
        InputError: a file is missing or broken, their sizes differ, or the mask holds a foreign id.
    """
    pixels, labels = read_picture(picture), read_labels(mask)
    check_size(labels, pixels.shape[:2], str(mask), str(picture))
    try:
        return pixels, split.from_dataset(labels)
    except InputError as error:
        raise InputError(f"{mask}: {error}") from error


def check_size(labels: LabelMap, size: tuple[int, ...], mask: str, picture: str) -> None:
    """Look that a mask, (H, W), is as large as its picture of ``size`` (H, W).

    Raises:
        InputError: it is not; ``mask`` and ``picture`` name them.
    """
    if labels.shape != tuple(size):
        raise InputError(
            f"{mask} is {labels.shape[1]}x{labels.shape[0]} but its picture {picture} is "
            f"{size[1]}x{size[0]}: both must have the same size"
        )


def write_picture(path: Path, picture: Picture, quality: int = 95) -> None:
    """Write uint8 RGB (H, W, 3) as PNG, or as JPEG without colour subsampling, by the file's ending.

    Raises:
        InputError: the file cannot be written.
    """
    image = Image.fromarray(picture)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        _save(image, path, quality=quality, subsampling=0)
    else:
        _save(image, path)


def write_labels(path: Path, labels: LabelMap, flavour: Literal["index", "palette"] = "index") -> None:
    """Write ids, uint8 (H, W), as PNG: single-channel, or with the VOC colours as palette.

    Raises:
        InputError: the file cannot be written.
    """
    image = Image.fromarray(labels)
    if flavour == "palette":
        image = image.convert("P")
        image.putpalette(voc_palette().ravel().tolist())
    _save(image, path)


def write_indexed(path: Path, codes: LabelMap, colours: NDArray[np.uint8]) -> None:
    """Write codes, uint8 (H, W), as PNG whose palette is ``colours``, uint8 (256, 4) of red, green, blue and opacity.

    Raises:
        InputError: the file cannot be written.
    """
    image = Image.fromarray(codes).convert("P")
    image.putpalette(colours[:, :3].ravel().tolist())
    _save(image, path, transparency=colours[:, 3].tobytes())


def voc_palette() -> Picture:
    """Give the VOC colours, uint8 (256, 3): bits 0, 3, 6 of an id fill red from the top, 1, 4, 7 green, 2, 5 blue."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    ids = np.arange(256)
    for place in range(8):
        for channel in range(3):
            bit = (ids >> (3 * place + channel)) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


def _opened(path: Path, kind: str) -> Image.Image:
    if not path.is_file():
        raise InputError(_missing(path, kind))
    try:
        image = Image.open(path)
        image.load()
    except _UNREADABLE as error:
        raise InputError(_unreadable(path, kind, error)) from error
    return image


def _missing(path: Path, kind: str) -> str:
    return f"{kind} {path} does not exist: check the path or the file list that names it"


def _unreadable(path: Path, kind: str, error: Exception) -> str:
    return f"{kind} {path} cannot be read ({error}): the file is damaged, get it anew"


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): check rights and space") from error
