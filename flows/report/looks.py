"""What only the models can show: predictions before and after, IIR's maps, similarities beside their thresholds."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flows import wiring
from flows.data import DataSets, find_data, scored_places, split_of, validation_of
from flows.report.found import Found, History, read_histories
from flows.report.pictures import class_colours, codes_of, heat, heat_colours, write_strip, write_thumbnail
from flows.runs import FIRST
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.datasets.pictures import count_pixels, read_split
from pipeline.errors import InputError
from pipeline.filtering import judged_regions
from pipeline.prototypes import cosine_map
from pipeline.regions import enlarge
from pipeline.relabel import blended_prototype
from pipeline.types import Floats, LabelMap, Mask, Picture

MODELS = ("teacher", "before", "after")
MOST = 40
"""Validation pictures that are shown at most."""
LEAST = 0.03
"""Share of a picture that the class has in those, where there are any."""
MEASURED = 2
"""Generated pictures whose similarities are measured again, for each validation picture of a class."""
BINS = 40
CORE, LOCAL = 1, 2


def write_looks(config: Config, run: Path, found: Found, folder: Path) -> dict[str, Any]:
    """Load the models of a run, look at a few pictures with them, and write what they see.

    Args:
        config: of the run.
        run: its folder, with the checkpoints.
        found: its shards.
        folder: of the report.

    Returns:
        What the page shows; ``note`` says why there is nothing, where that is so.
    """
    start = time.monotonic()
    names = [name for name in MODELS if (run / "checkpoints" / name).exists()]
    looks: dict[str, Any] = {"models": names}
    if not names or not config.execution.report_pictures:
        return looks
    try:
        if found.of("images"):
            looks["similarities"] = _similarities(config, run, found)
        data = find_data(config)
        if data and "validation" in data:
            models = {name: _model(config, run, name) for name in names}
            shown = _choose(config, data)
            looks["predictions"] = _predictions(config, models, shown, folder)
            looks["maps"] = _maps(models[names[-1]], shown, split_of(config), folder)
            looks["mapped"] = names[-1]
    except (InputError, OSError) as error:
        looks["note"] = f"not shown in full: {error}"
    looks["seconds"] = round(time.monotonic() - start, 1)
    return looks


def _model(config: Config, run: Path, name: str) -> Any:
    part = config.experiment.teacher if name == "teacher" else config.experiment.model
    return wiring.load_model(run / "checkpoints" / name, wiring.backbone_path(part.backbone), wiring.device_of(config))


def _choose(config: Config, data: DataSets) -> list[tuple[str, Picture, LabelMap]]:
    """Choose scored pictures of every novel class by lot, of those that show enough of it: class, picture, labels."""
    split, pictures = split_of(config), validation_of(data).pictures
    if pictures.classes is not None:
        return []
    counts = count_pixels(pictures, split, validation_of(data).cache)
    places = np.array(scored_places(config))
    shown = []
    for name in split.novel:
        area = counts[places, split.all_names.index(name) + 1] / counts[places].sum(1)
        order = [int(place) for place in places[area >= (LEAST if (area >= LEAST).any() else 1e-9)]]
        random.Random(f"report/{name}").shuffle(order)
        for place in order[: config.execution.report_pictures]:
            shown.append((name, *read_split(pictures, place, split)))
    return shown[:MOST]


def _predictions(
    config: Config, models: Mapping[str, Any], shown: list[tuple[str, Picture, LabelMap]], folder: Path
) -> list[dict[str, Any]]:
    from fss_models.predict import predict_gfss

    rows, split = [], split_of(config)
    for number, (name, picture, truth) in enumerate(shown):
        labels = [predict_gfss(model, picture, config.experiment.expected_iou) for model in models.values()]
        stem = folder / "looks" / f"prediction-{number:02d}"
        size = write_thumbnail(stem.with_suffix(".jpg"), picture)
        strip = [codes_of(one.astype(np.uint8)) for one in (truth, *labels)]
        write_strip(stem.with_suffix(".png"), strip, class_colours(split))
        target = split.id_of(name)
        found = {which: _iou(one, truth, target) for which, one in zip(models, labels, strict=True)}
        present = sorted({int(i) for one in (truth, *labels) for i in np.unique(one)})
        rows.append({"file": stem.name, "class": name, "size": size, "iou": found, "present": present})
    return rows


def _iou(labels: LabelMap, truth: LabelMap, label: int) -> float:
    here, there = (labels == label) & (truth != 255), truth == label
    return round(float((here & there).sum() / max((here | there).sum(), 1)), 4)


def _maps(
    model: Any, shown: list[tuple[str, Picture, LabelMap]], split: ClassSplit, folder: Path
) -> list[dict[str, Any]]:
    """Write for the first picture of every class: CAM split of its support, its own CAM, prior and probability.

    There are such maps of IIR and I2R alone.
    """
    from fss_models.fss import IirFss
    from fss_models.maps import query_maps, support_maps

    if not isinstance(model.few_shot, IirFss):
        return []
    first = {name: picture for name, picture, _ in reversed(shown)}
    parts = np.zeros((256, 4), np.uint8)
    parts[CORE], parts[LOCAL] = (255, 120, 0, 255), (0, 150, 255, 255)
    rows = []
    for place, name in enumerate(split.novel):
        if name not in first:
            continue
        support, query = support_maps(model, place), query_maps(model, first[name], place)
        stem = f"maps-{place:02d}"
        regions = np.where(support.core, CORE, np.where(support.local, LOCAL, 0)).astype(np.uint8)
        sizes = []
        for end, picture, heats, region in (
            ("support", support.picture, [support.cam], regions),
            ("query", first[name], [query.cam, query.prior, query.probability], query.active.astype(np.uint8) * CORE),
        ):
            sizes.append(write_thumbnail(folder / "looks" / f"{stem}-{end}.jpg", picture))
            write_strip(folder / "looks" / f"{stem}-{end}.png", [heat(one) for one in heats], heat_colours())
            write_strip(folder / "looks" / f"{stem}-{end}-parts.png", [region], parts)
        rows.append({"file": stem, "class": name, "support": sizes[0], "query": sizes[1],
                     "threshold": round(support.threshold, 2),
                     "split": [round(float(m.mean()), 4) for m in (support.core, support.local)]})  # fmt: skip
    return rows


def _similarities(config: Config, run: Path, found: Found) -> dict[str, Any]:
    """Measure again, on the first pictures of every class, the cosines that APF and APR compare with thresholds."""
    again = config.experiment.second_round.label and (run / FIRST).is_dir()
    labeller = run / FIRST if again else run / "checkpoints" / "teacher"
    teacher = wiring.teacher_at(config, labeller, final=again)
    prototypes = wiring.prototypes_at(config, labeller, final=again)
    values: dict[str, dict[str, list[Floats]]] = {}
    wanted = MEASURED * config.execution.report_pictures
    for history in read_histories(found):
        name = history.last["name"]
        of_class = values.setdefault(name, {"filter": [], "relabel": []})
        first, freed = history.labels("annotate"), history.labels("filter")
        if len(of_class["filter"]) >= wanted or history.dropped_at in ("images", "annotate") or not first or not freed:
            continue
        features = wiring.seen_features(config, teacher, [history.picture()])[0]
        parts, pixels = _measured(config, history, features, prototypes[name], first[0], freed)
        of_class["filter"].append(parts)
        of_class["relabel"].append(pixels)
    return {name: {stage: _histogram(parts) for stage, parts in of.items()} for name, of in values.items()}


def _measured(
    config: Config, history: History, features: Floats, prototype: Floats, first: LabelMap,
    freed: tuple[LabelMap, Mask],
) -> tuple[Floats, Floats]:
    """Give the cosine of every region of the first label, and of every pixel that APF freed."""
    target = split_of(config).id_of(history.last["name"])
    regions = judged_regions(first == target, features, prototype, config.experiment.filter)
    parts = [region.similarity for region in regions]
    blended = blended_prototype(prototype, features, freed[0] == target, config.experiment.relabel.blend)
    pixels = enlarge(cosine_map(features, blended), first.shape)[freed[1]]
    return np.array(parts, np.float32), pixels


def _histogram(parts: list[Floats]) -> dict[str, Any] | None:
    values = np.concatenate(parts) if parts else np.zeros(0)
    if not values.size:
        return None
    counts, edges = np.histogram(values, BINS, (min(-0.2, float(values.min())), 1.0))
    return {"low": round(float(edges[0]), 4), "high": 1.0, "counts": counts.tolist(), "pictures": len(parts)}
