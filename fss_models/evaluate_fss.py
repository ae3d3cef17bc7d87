"""Scoring an FSS model on episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fss_models.augment import fit, unfit
from fss_models.data import Labelled
from fss_models.encoded import Encoded, shown
from fss_models.episodes import Episode, EpisodeSampler
from fss_models.fss import EpisodeBatch, FssModel
from fss_models.metrics import ForegroundScores
from fss_models.multiscale import PLAIN, VIEWS
from pipeline.classes import ClassSplit

Progress = Callable[[int, int], None]
Resolution = Literal["original", "network"]


@torch.no_grad()
def evaluate_fss(
    model: FssModel, data: Labelled, split: ClassSplit, *, shots: int = 1, episodes: int = 1000,
    seeds: Sequence[int] = (0, 1, 2, 3, 4), resolution: Resolution = "original", side: int = 0,
    classes: Sequence[int] | None = None, min_pixels: int = 60, multiscale: bool = False, batch: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a model on the episodes of every seed.

    Intersections and unions are added up over the episodes of a seed by class; see `metrics.ForegroundScores`. A
    picture goes through the backbone once, and a support is encoded once, for all episodes that show it.

    Args:
        model: any FSS model.
        data: pictures with all labels, split ids.
        split: the classes.
        shots: K supports an episode.
        episodes: how many a seed; published: 1,000 on PASCAL, 4,000 on COCO.
        seeds: name the streams of episodes; published: five.
        resolution: "original" scores at the size of the label file, "network" on the square that the model saw.
        side: of that square in pixels; 0 takes the one of training, else the longer side of the first picture.
        classes: split ids to draw from; the novel ones unless given.
        min_pixels: a picture counts for a class from so many pixels on; published: 2,048.
        multiscale: predictions are means over IIR's three views of a query; takes three times as long.
        batch: episodes at once.
        progress: told (episodes done, total).

    Returns:
        ``miou`` and ``fb_iou`` (means over the seeds), ``miou_std``, ``fb_iou_std``, ``per_class`` (name -> IoU, mean
        over the seeds), ``per_seed`` and the settings; fractions in 0..1.
    """
    model.eval()
    model.name_classes(split.names)
    side = square_side(model, data, side)
    encoded = Encoded(model, data, side, views=VIEWS if multiscale else PLAIN)
    labels = tuple(classes if classes is not None else split.novel_ids)
    per_seed = []
    for number, seed in enumerate(seeds):
        sampler = EpisodeSampler(
            data.counts, labels, shots=shots, min_pixels=min_pixels, seed=seed, first="picture",
            names=split.names,
        )
        scores = ForegroundScores()
        for start in range(0, episodes, batch):
            drawn = [sampler.draw(i) for i in range(start, min(start + batch, episodes))]
            for episode, margins in zip(drawn, encoded.margins(drawn), strict=True):
                picture, truth = shown(data, episode.query, episode.label)
                if resolution == "network":
                    truth = fit(picture, truth, side)[1].numpy()
                predicted = unfit(margins, truth.shape) > 0
                scores.add(episode.label, truth, predicted.cpu().numpy())
            if progress:
                progress(number * episodes + start + len(drawn), len(seeds) * episodes)
        told = scores.scores()
        told["per_class"] = {split.names[label]: iou for label, iou in scores.per_class().items()}
        per_seed.append({"seed": int(seed), **told})
    return {
        **{key: float(np.mean([s[key] for s in per_seed])) for key in ("miou", "fb_iou")},
        **{f"{key}_std": float(np.std([s[key] for s in per_seed])) for key in ("miou", "fb_iou")},
        "per_class": _mean_by_name([s["per_class"] for s in per_seed], [split.names[label] for label in labels]),
        "per_seed": per_seed, "episodes": episodes, "shots": shots, "resolution": resolution, "side": side,
        "min_pixels": min_pixels, "multiscale": multiscale,
    }


def fitted_batch(data: Labelled, episodes: Sequence[Episode], side: int) -> EpisodeBatch:
    """Give episodes as squares, see `augment.fit`."""
    items = [[fit(*shown(data, p, e.label), side) for p in (e.query, *e.supports)] for e in episodes]
    return episode_batch(items, [e.label for e in episodes])


def episode_batch(items: Sequence[Sequence[tuple[Tensor, Tensor]]], labels: Sequence[int]) -> EpisodeBatch:
    """Stack episodes, each a query followed by its supports as (picture, mask with 0, 1 and 255), into a batch."""
    pictures = torch.stack([torch.stack([x for x, _ in episode]) for episode in items])
    masks = torch.stack([torch.stack([y for _, y in episode]) for episode in items])
    return EpisodeBatch(pictures[:, 0], masks[:, 0], pictures[:, 1:], masks[:, 1:], torch.tensor(labels))


def square_side(model: FssModel, data: Labelled, side: int) -> int:
    """Give the side of the squares: as asked, that of training, or the longer side of the first picture."""
    return side or model.config.side or max(data[0][1].shape)


def _mean_by_name(rows: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float | None]:
    """Average each name over the seeds that drew it; None where none did."""
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}
