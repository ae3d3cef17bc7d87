"""Scoring a model on a labelled set, and plain prototype matching as the reference to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fss_models.augment import as_tensors, unfit
from fss_models.data import Labelled
from fss_models.decision import ARGMAX, ExpectedIou, votes
from fss_models.gfss import GfssModel
from fss_models.layers import masked_average, resize, resize_labels
from fss_models.metrics import ConfusionMatrix, gfss_scores
from pipeline.classes import ClassSplit
from pipeline.protocols import DIAM, GfssProtocol

Progress = Callable[[int, int], None]


@torch.no_grad()
def evaluate_gfss(
    model: GfssModel, data: Labelled, split: ClassSplit, protocol: GfssProtocol = DIAM, *, side: int = 0,
    batch: int = 16, progress: Progress | None = None, expected_iou: ExpectedIou = ARGMAX,
) -> dict[str, Any]:
    """Score a model with its supports.

    Confusion counts are added up over the whole set; the supports are encoded once for all pictures.

    Args:
        model: any GFSS model.
        data: pictures with all labels, split ids.
        split: the classes.
        protocol: where pixels are counted, and what is reported.
        side: of the squares that the model sees, in pixels; 0 leaves pictures as they are.
        batch: pictures at once.
        progress: told (pictures done, total).
        expected_iou: of base and novel classes, see `decision`.

    Returns:
        Every aggregate of `metrics.gfss_scores`, and ``reported``, those of the protocol's papers.
    """
    model.eval()

    def predict(pictures: Tensor) -> Tensor:
        return votes(model.log_probabilities(pictures), model.config.base, expected_iou)

    return _score(predict, model, data, split, batch, progress, protocol, side)


@torch.no_grad()
def prototype_matching(
    model: GfssModel, base: Labelled, data: Labelled, split: ClassSplit, *, pictures: int = 200, batch: int = 16,
    protocol: GfssProtocol = DIAM, side: int = 0,
) -> dict[str, Any]:
    """Score plain prototype matching: the base learner, overruled where a support prototype is nearest.

    Prototypes are unit means of penultimate features: of the base labels over base pictures, of the novel classes
    over their supports. A pixel goes to a novel class if that prototype has the highest cosine of all.

    Args:
        model: a model with supports; its decoder and fusion are not used.
        base: base pictures, novel hidden.
        data: pictures to score.
        split: the classes.
        pictures: base pictures that the base prototypes come from.
        batch: pictures at once.
        protocol: see `evaluate_gfss`.
        side: see `evaluate_gfss`.
    """
    model.eval()
    known, device = 1 + model.config.base, model.fusion.offsets.device
    sums = 0.0
    for start in range(0, min(pictures, len(base)), batch):
        x, y = as_tensors(base, range(start, min(start + batch, pictures, len(base))), device, side)
        f = F.normalize(model.features(x), dim=1)
        one_hot = F.one_hot(resize_labels(y, f.shape[-2:]).long(), 256)[..., :known].float()
        sums = sums + torch.einsum("bchw,bhwl->lc", f, one_hot)
    prototypes = F.normalize(torch.cat([sums, novel_prototypes(model)]), dim=1)

    def predict(x: Tensor) -> Tensor:
        features, logits = model.base_learner(model.backbone(x))
        cosine = torch.einsum("bchw,lc->blhw", F.normalize(features, dim=1), prototypes)
        nearest = resize(cosine, x.shape[-2:]).argmax(1)
        label = torch.where(nearest >= known, nearest, resize(logits[:, :known], x.shape[-2:]).argmax(1))
        return F.one_hot(label, len(prototypes)).permute(0, 3, 1, 2).float()

    return _score(predict, model, data, split, batch, None, protocol, side)


@torch.no_grad()
def novel_prototypes(model: GfssModel) -> Tensor:
    """Give the mean unit feature of each novel class over its supports, (N, C), without what lies beside them."""
    x, masks = model.support_tensors()
    f = F.normalize(model.features(x.flatten(0, 1)), dim=1)
    thing = (masks.flatten(0, 1)[:, None] == 1).float()
    return masked_average(f, resize(thing, f.shape[-2:])[:, 0]).unflatten(0, masks.shape[:2]).mean(1)


def _enlarges(protocol: GfssProtocol, side: int) -> bool:
    return bool(side) and protocol.resolution == "original"


def _score(
    predict: Callable[[Tensor], Tensor],
    model: GfssModel,
    data: Labelled,
    split: ClassSplit,
    batch: int,
    progress: Progress | None,
    protocol: GfssProtocol,
    side: int,
) -> dict[str, Any]:
    """Score what gives (B, 1+B+N, H, W), of each pixel something that is greatest at its label.

    Where labels are scored at their own size, this is enlarged: logits of a model, as published (systems.md 3), and
    votes of prototype matching, which has none.
    """
    matrix = ConfusionMatrix(len(split.names))
    for start in range(0, len(data), batch):
        places = range(start, min(start + batch, len(data)))
        x, y = as_tensors(data, places, model.fusion.offsets.device, side)
        p = predict(x)
        if _enlarges(protocol, side):
            for place, one in zip(places, p, strict=True):
                truth = data[place][1]
                matrix.add(truth, unfit(one, truth.shape).argmax(0).cpu().numpy())
        else:
            matrix.add(y.cpu().numpy(), p.argmax(1).cpu().numpy())
        if progress:
            progress(places.stop, len(data))
    scores = gfss_scores(matrix, split)
    return {**scores, "reported": protocol.reported(scores)}
