"""Label maps and overlays of pictures, from the models of a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flows import wiring
from flows.data import split_of
from flows.runs import load_run
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.images import read_labels, read_picture, voc_palette, write_labels, write_picture
from pipeline.types import LabelMap, Mask, Picture

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MODELS = ("after", "before", "teacher", "fss")
"""Models of a run, the first one preferred."""


def predict_files(
    source: Path, run: Path, which: str | None, supports: Path | None, to: Path, *, multiscale: bool = False
) -> list[dict[str, Any]]:
    """Write ``labels/<name>.png`` (dataset ids, VOC palette) and ``overlays/<name>.png`` for each picture.

    Args:
        source: a picture, or a folder of pictures.
        run: folder of a finished run.
        which: one of `MODELS`; None takes the first one that the run has.
        supports: of an FSS model: folder of pictures of the class, each with a mask ``<name>.png``.
        to: where the two folders are made.
        multiscale: of an FSS model: take the mean over three views of a picture, also where its run did not.

    Returns:
        A row a picture: its name, both files, and the share of the picture that each class has, 0..1.

    Raises:
        InputError: no pictures, no such model, supports missing or given in vain, or a file that cannot be read.
    """
    pictures = pictures_in(source)
    config = load_run(run)
    label, names, ids = _labeller(config, run, which, supports, multiscale=multiscale)
    rows = []
    for path in pictures:
        picture = read_picture(path)
        labels = label(picture)
        files = [to / part / f"{path.stem}.png" for part in ("labels", "overlays")]
        write_labels(files[0], ids(labels), "palette")
        write_picture(files[1], overlay(picture, ids(labels)))
        shares = np.bincount(labels.ravel(), minlength=len(names)) / labels.size
        found = {names[i]: round(float(shares[i]), 4) for i in np.flatnonzero(shares) if i}
        rows.append({"picture": path.name, "labels": str(files[0]), "overlay": str(files[1]), "classes": found})
    return rows


def pictures_in(source: Path) -> list[Path]:
    """List the pictures of a folder, or the one that was named.

    Raises:
        InputError: there is none, or two that would be written to the same file.
    """
    if source.is_file():
        return [source]
    found = sorted(p for p in source.glob("*") if p.suffix.lower() in ENDINGS) if source.is_dir() else []
    if not found:
        raise InputError(f"no pictures in {source}: expected a picture or a folder of {', '.join(ENDINGS)}")
    stems = [p.stem for p in found]
    if twice := {s for s in stems if stems.count(s) > 1}:
        raise InputError(f"{source} has several pictures named {min(twice)}: their label maps would be one file")
    return found


def overlay(picture: Picture, labels: LabelMap) -> Picture:
    """Tint a picture, uint8 (H, W, 3), by the VOC colours of its labels, uint8 (H, W); background stays as it is."""
    tinted = (picture.astype(np.uint16) + voc_palette()[labels]) // 2
    return np.where((labels == 0)[..., None], picture, tinted.astype(np.uint8))


def _labeller(
    config: Config, run: Path, which: str | None, supports: Path | None, *, multiscale: bool
) -> tuple[Callable[[Picture], LabelMap], tuple[str, ...], Callable[[LabelMap], LabelMap]]:
    """Give what labels a picture, the names of its labels, and what turns them into ids for others."""
    there = [name for name in MODELS if (run / "checkpoints" / name).exists()]
    name = which or (there[0] if there else "")
    if name not in there:
        raise InputError(f"{run.name} has no model {name!r}: it has {', '.join(there) or 'none'}")
    folder, device, backbone = run / "checkpoints" / name, wiring.device_of(config), _backbone(config, name)
    if name != "fss":
        from fss_models.predict import predict_gfss

        if supports is not None:
            raise InputError(f"--supports goes with fss models: model {name} of {run.name} knows its classes already")
        if multiscale:
            raise InputError(f"--multiscale goes with fss models: {name} of {run.name} is a GFSS model")
        split, model = split_of(config), wiring.load_model(folder, backbone, device)
        expected = config.experiment.expected_iou
        return lambda picture: predict_gfss(model, picture, expected), split.names, split.to_dataset
    from fss_models.fss import FssNetwork
    from fss_models.predict import predict_fss

    if supports is None:
        raise InputError(f"{run.name} holds an fss model: show it the class by --supports FOLDER")
    shown, masks = read_shown(supports)
    network = FssNetwork.load(folder, wiring.load_backbone(backbone, config.experiment.fss.stride)).to(device)
    multiscale = multiscale or config.experiment.fss.multiscale

    def label(picture: Picture) -> LabelMap:
        return predict_fss(network, picture, shown, masks, name=supports.name, multiscale=multiscale)

    return label, ("background", supports.name), lambda y: y


def read_shown(folder: Path) -> tuple[list[Picture], list[Mask]]:
    """Read the pictures of a class and their masks.

    In ``folder/pictures`` and ``folder/masks``, or beside each other as ``<name>.jpg`` and ``<name>.png``. The class is
    what is neither 0 nor 255 (ignore); in a mask of 0 and 255 alone it is 255.

    Raises:
        InputError: no picture, one without its mask, an empty mask, or one of another size.
    """
    apart = (folder / "pictures").is_dir()
    shown, drawn = (folder / "pictures", folder / "masks") if apart else (folder, folder)
    found = [p for p in sorted(shown.glob("*")) if p.suffix.lower() in ENDINGS and (apart or p.suffix != ".png")]
    if not found:
        raise InputError(f"no supports in {folder}: expected pictures NAME.jpg, each with its mask NAME.png")
    pictures, masks = [], []
    for path in found:
        pictures.append(read_picture(path))
        file = drawn / f"{path.stem}.png"
        labels = read_labels(file)
        mask = (labels > 0) & ((labels != 255) | (set(np.unique(labels)) <= {0, 255}))
        if mask.shape != pictures[-1].shape[:2] or not mask.any():
            raise InputError(f"{file} is empty or not of its picture's size: mask the class in it")
        masks.append(mask)
    return pictures, masks


def _backbone(config: Config, name: str) -> str:
    part = config.experiment.teacher if name == "teacher" else config.experiment.model
    return wiring.backbone_path(part.backbone)
