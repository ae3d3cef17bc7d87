"""Preparing a backbone for IIR: it learns the base classes, then its own classifier learns to read it again."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.backbones import enlarged
from fss_models.base_learner import PspHead
from fss_models.ensemble import Ensemble
from fss_models.layers import masked_average, rate_factor, resize, resize_labels
from fss_models.networks import IMAGENET_MEAN, IMAGENET_STD, Convolutional, input_size, read_network, take_apart
from fss_models.randomness import seeded
from pipeline.classes import IGNORE
from pipeline.errors import InputError, cause_of

HEAD = "base_learner.safetensors"
Batches = Callable[[int], tuple[Tensor, Tensor]]
"""Step -> pictures float (B, 3, H, W) in 0..1 and base labels uint8 (B, H, W), 0..B and 255; B is 2 at least."""


class PreparationSettings(BaseModel):
    """Settings of the preparation; the defaults are IIR's where they are known (systems.md 5.7)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=2, description="of both phases together")
    first: float = Field(0.5, ge=0, le=1, description="share of the steps for the first phase; 0 distils alone")
    lr: float = Field(2.5e-4, gt=0, description="peak rate of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    warm: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then a half cosine")
    temperature: float = Field(3.0, gt=0, description="T of the distillation")
    dim: int = Field(512, ge=8, description="channels of the base learner's penultimate features")
    seed: int = Field(0, ge=0, description="of the base learner's initial weights and of dropout")


def prepare_backbone(
    source: str | Path,
    batches: Batches,
    base: int,
    folder: str | Path,
    settings: PreparationSettings,
    *,
    device: str = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Fine-tune a convolutional classifier on base classes and keep its own classifier in step.

    1. A PSPNet, backbone and head, learns the base classes by cross-entropy; every layer is trained.
    2. All but the classifier is frozen; on features averaged over base things, the classifier learns what the original
       network says of the same things: cross-entropy with its choice + T^2 KL at temperature T. Without that the own
       class c* and the CAM would mean nothing any more.

    Source: IIR, pre-training (systems.md 5.7). Plain AdamW stands for its schedule-free one; norms are in evaluation
    mode in the second phase.

    Args:
        source: a backbone as `Backbone.from_pretrained` takes it.
        batches: see `Batches`.
        base: base classes B.
        folder: gets a transformers folder, which is a backbone, and the base learner for IIR's ensemble beside it.
        settings: see `PreparationSettings`.
        device: where to train.
        progress: told (step, steps, loss).

    Returns:
        The folder.

    Raises:
        InputError: the backbone is missing or not convolutional.
    """
    network, preprocessing = read_network(Path(source))
    parts = take_apart(network)
    if not isinstance(parts, Convolutional):
        raise InputError(f"the backbone in {source} is not convolutional: only such a one can be prepared")
    original = copy.deepcopy(network)  # before training, with parts of its own
    teacher = take_apart(original)
    network.to(device), original.to(device)
    mean, std = (
        torch.tensor(preprocessing.get(key, default), device=device)[:, None, None]
        for key, default in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD))
    )
    least = input_size(preprocessing)
    with torch.no_grad():
        high = _top(parts, torch.zeros(1, 3, 64, 64, device=device)).shape[1]
    with seeded(settings.seed, "base learner"):
        head = PspHead(high, 1 + base, dim=settings.dim).to(device)

    def drawn(step: int) -> tuple[Tensor, Tensor]:
        pictures, labels = batches(step)
        return (enlarged(pictures.to(device), least) - mean) / std, labels.to(device)

    def base_loss(step: int) -> Tensor:
        pixels, labels = drawn(step)
        logits = resize(head(_top(parts, pixels)), labels.shape[-2:])
        return F.cross_entropy(logits, labels.long(), ignore_index=IGNORE)

    def classifier_loss(step: int) -> Tensor:
        pixels, labels = drawn(step)
        things = (labels > 0) & (labels != IGNORE)
        shown = things.flatten(1).any(1)
        with torch.no_grad():
            pooled, expected = (_things(p, pixels[shown], things[shown]) for p in (parts, teacher))
            seen = pooled.any(1) & expected.any(1)  # the mask of a small thing vanishes at the fourth level
            pooled, expected = pooled[seen], teacher.head(expected[seen])
        return distillation(parts.head(pooled), expected, settings.temperature)

    first = round(settings.first * settings.steps)
    network.train(), head.train()
    _train([*network.parameters(), *head.parameters()], base_loss, range(first), settings, progress)
    network.eval(), head.eval()
    network.requires_grad_(False)
    parts.head.requires_grad_(True)
    _train(list(parts.head.parameters()), classifier_loss, range(first, settings.steps), settings, progress)

    folder = Path(folder)
    network.requires_grad_(True).cpu().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")
    save_file({key: tensor.cpu().contiguous() for key, tensor in head.state_dict().items()}, folder / HEAD)
    return folder


def distillation(scores: Tensor, expected: Tensor, temperature: float) -> Tensor:
    """Give CE(scores, argmax expected) + T^2 KL(expected_T || scores_T), mean over the rows; zero without rows.

    Args:
        scores: of the student, (N, classes).
        expected: of the teacher, (N, classes).
        temperature: T.
    """
    if not len(scores):
        return 0.0 * scores.sum()
    soft = [(x / temperature).log_softmax(1) for x in (scores, expected)]
    kl = F.kl_div(*soft, reduction="batchmean", log_target=True)
    return F.cross_entropy(scores, expected.argmax(1)) + temperature**2 * kl


def read_base_learner(ensemble: Ensemble, folder: str | Path) -> None:
    """Give an ensemble the base learner that `prepare_backbone` left beside the backbone.

    Raises:
        InputError: there is none, or one for other classes or another backbone.
    """
    path = Path(folder) / HEAD
    if not path.exists():
        raise InputError(f"no {HEAD} in {folder}: prepare the backbone first, or leave the ensemble out (base: 0)")
    try:
        ensemble.base_learner.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"{path} does not fit this model ({cause_of(error)}): prepare the backbone anew") from error


def _train(
    parameters: list[nn.Parameter],
    loss_of: Callable[[int], Tensor],
    steps: range,
    settings: PreparationSettings,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    """Train for a range of steps; the rate rises and falls over the steps of both phases, as published."""
    optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    for step in steps:
        with seeded(settings.seed, "preparation", step):
            loss = loss_of(step)
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * rate_factor(step, settings.steps, settings.warm, settings.warm)
        optimiser.step()
        optimiser.zero_grad()
        if progress:
            progress(step + 1, settings.steps, loss.item())


def _top(parts: Convolutional, pixels: Tensor) -> Tensor:
    for module in itertools.chain([parts.stem], parts.stages):
        pixels = module(pixels)
    return pixels


def _things(parts: Convolutional, pixels: Tensor, things: Tensor) -> Tensor:
    """Average the fourth level over bool masks (B, H, W), brought to its size."""
    f4 = _top(parts, pixels)
    return masked_average(f4, resize_labels(things, f4.shape[-2:]))
