"""Training: the teacher on base pictures and supports, the final model on synthetic pictures too.

Every draw belongs to (seed, step), so that a training that was killed and resumed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.backbones import Backbone
from fss_models.batches import Batch, Draws, FinalBatches, TeacherBatches, binary
from fss_models.calibrate import fit_on_batches, fit_on_held_out
from fss_models.data import Arrays, Labelled
from fss_models.fss import SeenBatch
from fss_models.gfss import OPTIONS, GfssConfig, GfssModel
from fss_models.layers import resize
from fss_models.trainer import Place, train_steps
from pipeline.classes import IGNORE
from pipeline.config import FinalOptions, TrainSettings
from pipeline.protocols import DIAM, GfssProtocol
from pipeline.types import Support

FEW_SHOT_EVERY = {"teacher": 2, "adapt": 4, "final": 4}
"""Phase -> the few-shot part learns in every so-many-th step; IIR's costs twice what the base learner does."""

LATE_RATE = 0.5
"""Peak rate of the phases that start from trained weights, as a fraction."""


class Step(nn.Module):
    """The losses of one batch; base learner and few-shot part share a backbone pass.

    Args:
        model: the network to train.
        phase: teacher, adapt or final; in the latter two novel classes are trained too.
    """

    def __init__(self, model: GfssModel, phase: str) -> None:
        super().__init__()
        self.model, self.phase = model, phase

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the losses, with or without the few-shot part's; "loss" is what to minimise."""
        model = self.model
        levels = model.few_shot.see(batch.pictures)
        # 1. Base learner: cross-entropy on all pictures.
        logits = resize(model.base_learner(levels)[1], batch.labels.shape[-2:])
        labels = self._without_hidden_novel(logits, batch)
        ce = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="none")
        base = _weighted(ce, labels != IGNORE, batch.weights)
        if step % FEW_SHOT_EVERY[self.phase]:
            return {"loss": base, "base": base}
        # 2. Few-shot part: each query with its own support, and its neighbour's, whose class it mostly does not show.
        e = len(batch.episodes)
        order = torch.arange(e, device=logits.device)
        query, support = torch.cat([order, order]), torch.cat([order, order.roll(1)])
        told = model.few_shot.seen_losses(SeenBatch(
            levels.take(query), binary(labels[query], batch.episodes[support]), levels.take(order + e),
            binary(batch.labels[e:], batch.episodes)[:, None], batch.episodes, support, batch.weights[query],
            batch.weights[e:],
        ))  # fmt: skip
        parts = {name: told[name] for name in told if name not in ("loss", "final")}
        return {"loss": base + told["loss"], "base": base, "decoder": told.get("final", told["loss"]), **parts}

    def _without_hidden_novel(self, logits: Tensor, batch: Batch) -> Tensor:
        """Ignore background that may be an unlabelled novel thing: the model itself says so."""
        if self.phase == "teacher":
            return batch.labels
        novel = logits.detach().softmax(1)[:, 1 + self.model.config.base :].sum(1)
        unsure = batch.hidden[:, None, None] & (batch.labels == 0) & (novel > 0.5)
        return torch.where(unsure, IGNORE, batch.labels)


def train_teacher(
    base: Labelled,
    supports: Sequence[Support],
    config: GfssConfig,
    settings: TrainSettings,
    *,
    seed: int = 0,
    place: Place | None = None,
    backbone: Backbone | None = None,
    adapt: bool = True,
    side: int = 0,
    names: Sequence[str] = (),
    protocol: GfssProtocol = DIAM,
) -> GfssModel:
    """Train base learner and few-shot part on base pictures, then give the former novel outputs from the supports.

    Args:
        base: base pictures, novel pixels hidden as background.
        supports: of the N novel classes, in the order of their split ids.
        config: the network.
        settings: steps, batch and rate; the second phase has a third as many steps as the first.
        seed: of every draw.
        place: see `Place`.
        backbone: given where several models share one.
        adapt: false leaves the second phase out; the features have then never seen a support, which is what
            `evaluate.prototype_matching` should stand on.
        side: of the squares that the model sees, in pixels; 0: as high as the first picture.
        protocol: says how large a thing a support shows, see `fit_on_held_out`.
        names: of all classes by split id, for errors and for few-shot parts that read text.

    Raises:
        InputError: fewer than two pictures of a base class, or a few-shot part that cannot be trained.
    """
    place = place or Place()
    first, second = settings.base_steps, max(settings.base_steps // 3, 1) if adapt else 0
    model = GfssModel(config, backbone).to(place.device)
    if names:
        model.name_classes(names)
    draws = _draws(base, settings, side, seed)
    # 1. Base classes.
    batches = TeacherBatches(base, config.base, settings.batch, draws, names)
    _run(Step(model, "teacher"), batches, first, settings.lr, settings, seed, place.part(0, first + second))
    fit_on_held_out(model, base, len(supports), seed, side, min_pixels=settings.min_pixels, protocol=protocol)
    # 2. Novel classes from their supports.
    model.set_supports(supports, side)
    if not adapt:
        return model.eval()
    labelled = label_supports(model, supports)
    model.grow(len(supports))
    novel = FinalBatches(base, labelled, None, config.base, settings.batch, draws)
    late = place.part(first, first + second)
    _run(Step(model, "adapt"), novel, second, settings.lr * LATE_RATE, settings, seed, late)
    return model.eval()


def train_final(
    teacher: GfssModel,
    base: Labelled,
    supports: Sequence[Support],
    synthetic: Labelled | None,
    settings: TrainSettings,
    *,
    seed: int = 0,
    place: Place | None = None,
    side: int = 0,
    options: FinalOptions | None = None,
    confidence: NDArray[np.float32] | None = None,
) -> GfssModel:
    """Train on from a teacher, on base pictures and supports, with or without synthetic pictures.

    Args:
        teacher: of the final model's own kind, which may be another than that which made the labels; left as it is.
        base: base pictures, novel pixels hidden as background.
        supports: of the N novel classes, in the order of their split ids.
        synthetic: pictures of novel classes with repaired labels, or None; the steps are the same.
        settings: steps, batch, rate, share and weight of synthetic pictures.
        seed: of every draw.
        place: see `Place`.
        side: as of the teacher.
        options: in which the network differs from the teacher's.
        confidence: how the synthetic pictures weigh among themselves, float32 (N,) of mean 1; None: all alike.
    """
    place = place or Place()
    changes = options.model_dump(include=set(OPTIONS), exclude_none=True) if options else {}
    model = GfssModel(teacher.config.model_copy(update=changes), teacher.backbone).to(place.device)
    model.load_state_dict(teacher.state_dict())
    model.set_supports(supports, side)
    labelled = label_supports(teacher, supports)
    weights = None
    if synthetic is not None:
        alike = np.ones(len(synthetic), np.float32) if confidence is None else confidence
        weights = np.float32(settings.synthetic_weight) * alike
    batches = FinalBatches(
        base, labelled, synthetic, teacher.config.base, settings.batch, _draws(base, settings, side, seed),
        settings.synthetic_share, weights,
    )  # fmt: skip
    _run(Step(model, "final"), batches, settings.final_steps, settings.lr * LATE_RATE, settings, seed, place)
    if synthetic is not None:
        fit_on_batches(model, batches, first=settings.final_steps)
    return model.eval()


@torch.no_grad()
def label_supports(teacher: GfssModel, supports: Sequence[Support]) -> Arrays:
    """Give the supports with labels: the class by its mask; what else the teacher takes for a base thing is 255.

    Supports come with base things relabelled as background, which must not be learnt as background, unless the
    protocol gives their labels.
    """
    pictures, labels = [], []
    first = 1 + teacher.config.base
    for k, support in enumerate(supports):
        if support.labels is not None:
            pictures += support.pictures
            labels += support.labels
            continue
        for picture, mask in zip(support.pictures, support.masks, strict=True):
            x = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
            x = x.to(teacher.fusion.offsets.device)
            logits = resize(teacher.base_learner(teacher.backbone(x))[1], mask.shape)
            thing = (logits[0, :first].softmax(0)[1:].sum(0) > 0.5).cpu().numpy()
            label = np.where(thing, np.uint8(IGNORE), np.uint8(0))
            label[mask] = first + k
            pictures.append(picture)
            labels.append(label)
    return Arrays(pictures, labels, first + len(supports))


def _draws(base: Labelled, settings: TrainSettings, side: int, seed: int) -> Draws:
    scale = settings.scale if settings.augment == "recipe" else None
    return Draws(side or base[0][0].shape[0], seed, scale, settings.min_pixels)


def _run(
    step: Step, batches: Callable[[int], Batch], steps: int, lr: float, settings: TrainSettings, seed: int, place: Place
) -> None:
    train_steps(step, step.model, batches, steps, lr, settings, seed=seed, place=place, name=step.phase)


def _weighted(loss: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """Average a loss (P, H, W) over known pixels, pictures weighted by (P,)."""
    w = known * weight[:, None, None]
    return (loss * w).sum() / w.sum().clamp(min=1)
