"""Training: the teacher on base pictures and supports, the final model on synthetic pictures too.

Every draw belongs to (seed, step), so that a training that was killed and resumed gives the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models import build_model
from fss_models.backbones import Backbone
from fss_models.batches import Batch, FinalBatches, TeacherBatches
from fss_models.calibrate import fit_on_batches, fit_on_held_out
from fss_models.data import Arrays, Labelled
from fss_models.gfss import GfssConfig, GfssModel
from fss_models.layers import rate_factor, resize
from fss_models.optimiser import Optimiser
from fss_models.randomness import seeded
from pipeline.classes import IGNORE
from pipeline.config import TrainSettings
from pipeline.types import Support

Progress = Callable[[int, int, dict[str, float]], None]
SAVE_EVERY = 50
DECODER_EVERY = {"teacher": 2, "adapt": 4, "final": 4}
"""Phase -> the decoder learns in every so-many-th step, since it costs twice what the base learner does."""

LATE_RATE = 0.5
"""Peak rate of the phases that start from trained weights, as a fraction."""


@dataclass(frozen=True)
class Place:
    """Where and how a training runs: nothing here changes its result on equal hardware.

    Attributes:
        folder: for checkpoints and ``metrics.jsonl``; None keeps nothing.
        progress: told (step, total, losses) after every step.
        device: of the model.
    """

    folder: Path | None = None
    progress: Progress | None = None
    device: str = "cpu"

    def part(self, done: int, total: int) -> Place:
        """Give the place of a part of a training: progress counts from ``done`` of ``total``."""
        if self.progress is None:
            return self
        whole = self.progress
        return replace(self, progress=lambda step, _, losses: whole(done + step, total, losses))


class Step(nn.Module):
    """The losses of one batch; base learner and decoder share a backbone pass.

    Args:
        model: the network to train.
        final: whether novel classes are trained too.
        synthetic_weight: loss weight of synthetic pictures (w_syn).
    """

    def __init__(self, model: GfssModel, *, final: bool, synthetic_weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.final, self.synthetic_weight = model, final, synthetic_weight

    def forward(self, batch: Batch, *, decode: bool) -> dict[str, Tensor]:
        """Give the losses, with or without the decoder's; "loss" is what to minimise."""
        model = self.model
        levels = model.backbone(batch.pictures)
        weight = torch.where(batch.synthetic, self.synthetic_weight, 1.0)
        # 1. Base learner: cross-entropy on all pictures.
        logits = resize(model.base_learner(levels)[1], batch.labels.shape[-2:])
        labels = self._without_hidden_novel(logits, batch)
        ce = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="none")
        base = _weighted(ce, labels != IGNORE, weight)
        if not decode:
            return {"loss": base, "base": base}
        # 2. Decoder: each query with its own support, and with its neighbour's, whose class it mostly does not show.
        e = len(batch.episodes)
        order = torch.arange(e, device=logits.device)
        other = order.roll(1)
        masks = (batch.labels[e:] == batch.episodes[:, None, None])[:, None]
        seen, classes = model.see_supports(levels.take(order + e), masks)
        code = model.decoder.encode_supports(seen, masks)
        query, support = torch.cat([order, order]), torch.cat([order, other])
        truth = _binary(labels[query], batch.episodes[support])
        queries = model.see_queries(levels.take(query), classes[support])
        out = model.decoder.decode(queries, code.take(support), truth)
        # 3. IIR's losses, one foreground logit instead of two channels.
        w = weight[query]
        main = _bce(out.logits, truth, w)
        aux = torch.stack([_bce(a, truth, w) for a in out.aux.unbind(1)]).mean()
        own = _binary(batch.labels[e:], batch.episodes)
        ws = weight[e:]
        head = _bce(code.logits[:, 0], own, ws)
        aux_s = torch.stack([_bce(a, own, ws) for a in code.aux[:, 0].unbind(1)]).mean()
        decoder = 1.5 * main + 0.5 * head + 0.5 * (aux + aux_s)
        return {"loss": base + decoder, "base": base, "decoder": main, "masked": out.masked}

    def _without_hidden_novel(self, logits: Tensor, batch: Batch) -> Tensor:
        """Ignore background that may be an unlabelled novel thing: the model itself says so."""
        if not self.final:
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
) -> GfssModel:
    """Train base learner and decoder on base pictures, then give the base learner novel outputs from the supports.

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
    """
    place = place or Place()
    first, second = settings.base_steps, max(settings.base_steps // 3, 1) if adapt else 0
    model = build_model(config, backbone).to(place.device)
    side = base[0][0].shape[0]
    # 1. Base classes.
    batches = TeacherBatches(base, config.base, settings.batch, side, seed)
    _run(Step(model, final=False), batches, first, settings.lr, seed, place.part(0, first + second), "teacher")
    fit_on_held_out(model, base, len(supports), seed)
    # 2. Novel classes from their supports.
    model.set_supports(supports)
    if not adapt:
        return model.eval()
    labelled = label_supports(model, supports)
    model.grow(len(supports))
    novel = FinalBatches(base, labelled, None, config.base, settings.batch, side, seed)
    late = place.part(first, first + second)
    _run(Step(model, final=True), novel, second, settings.lr * LATE_RATE, seed, late, "adapt")
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
) -> GfssModel:
    """Train on from the teacher, on base pictures and supports, with or without synthetic pictures.

    Args:
        teacher: left as it is.
        base: base pictures, novel pixels hidden as background.
        supports: of the N novel classes, in the order of their split ids.
        synthetic: pictures of novel classes with repaired labels, or None; the steps are the same.
        settings: steps, batch, rate, share and weight of synthetic pictures.
        seed: of every draw.
        place: see `Place`.
    """
    place = place or Place()
    model = build_model(teacher.config, teacher.backbone).to(place.device)
    model.load_state_dict(teacher.state_dict())
    model.set_supports(supports)
    labelled = label_supports(teacher, supports)
    side = base[0][0].shape[0]
    batches = FinalBatches(
        base, labelled, synthetic, teacher.config.base, settings.batch, side, seed, settings.synthetic_share
    )
    step = Step(model, final=True, synthetic_weight=settings.synthetic_weight)
    _run(step, batches, settings.final_steps, settings.lr * LATE_RATE, seed, place, "final")
    if synthetic is not None:
        fit_on_batches(model, batches, first=settings.final_steps)
    return model.eval()


@torch.no_grad()
def label_supports(teacher: GfssModel, supports: Sequence[Support]) -> Arrays:
    """Give the supports with labels: the class by its mask; what else the teacher takes for a base thing is 255.

    Supports come with base things relabelled as background, which must not be learnt as background.
    """
    pictures, labels = [], []
    first = 1 + teacher.config.base
    for k, support in enumerate(supports):
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


def _run(
    step_module: Step,
    batches: Callable[[int], Batch],
    steps: int,
    lr: float,
    seed: int,
    place: Place,
    name: str,
) -> None:
    """Train for some steps through accelerate, from the last checkpoint where there is one."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=place.device == "cpu")
    model = step_module.model
    optimiser = Optimiser(model.named_parameters(), lr, plain=("classifier",))
    start = 0
    checkpoint = place.folder / f"{name}.ckpt" if place.folder else None
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, map_location=place.device, weights_only=True)
        model.load_state_dict(state["model"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    if place.folder:
        _keep_lines(place.folder, f"{name}.jsonl", start)
    wrapped = accelerator.prepare(step_module).train()
    for step in range(start, steps):
        with seeded(seed, name, "dropout", step):
            losses = wrapped(batches(step).to(accelerator.device), decode=step % DECODER_EVERY[name] == 0)
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(optimiser.parameters, 1.0)
        optimiser.step(rate_factor(step, steps))
        told = {key: round(value.item(), 5) for key, value in losses.items()}
        if place.folder:
            with (place.folder / f"{name}.jsonl").open("a") as file:
                file.write(json.dumps({"step": step + 1, **told}) + "\n")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                state = {"model": model.trainable_state(), "optimiser": optimiser.state_dict(), "step": step + 1}
                torch.save(state, checkpoint.with_suffix(".partial"))
                checkpoint.with_suffix(".partial").replace(checkpoint)
        if place.progress:
            place.progress(step + 1, steps, told)
    step_module.eval()


def _keep_lines(folder: Path, name: str, count: int) -> None:
    """Cut the log of a training that is resumed back to its checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    lines = path.read_text().splitlines(keepends=True)[:count] if path.exists() else []
    path.write_text("".join(lines))


def _binary(labels: Tensor, wanted: Tensor) -> Tensor:
    """Give 1 where labels (P, H, W) are the wanted one (P,), 255 where they are unknown, else 0."""
    return torch.where(labels == IGNORE, labels, (labels == wanted[:, None, None]).to(labels.dtype))


def _bce(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of logits (P, h, w), enlarged, against labels (P, H, W) with 0, 1, 255."""
    logits = resize(logits[:, None], truth.shape[-2:])[:, 0]
    loss = F.binary_cross_entropy_with_logits(logits, (truth == 1).float(), reduction="none")
    return _weighted(loss, truth != IGNORE, weight)


def _weighted(loss: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """Average a loss (P, H, W) over known pixels, pictures weighted by (P,)."""
    w = known * weight[:, None, None]
    return (loss * w).sum() / w.sum().clamp(min=1)
