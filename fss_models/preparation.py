"""Preparing a backbone for IIR: it learns the base classes, then its own classifier learns to read it again."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fss_models.backbones import enlarged
from fss_models.base_learner import PspHead
from fss_models.data import MILD, Labelled, vary
from fss_models.ensemble import Ensemble
from fss_models.layers import masked_average, rate_factor, resize, resize_labels
from fss_models.networks import IMAGENET_MEAN, IMAGENET_STD, Convolutional, input_size, read_network, take_apart
from fss_models.randomness import numpy_rng, seeded
from pipeline.classes import IGNORE
from pipeline.config import PrepareSettings
from pipeline.errors import InputError, cause_of

HEAD = "base_learner.safetensors"
SAVE_EVERY = 50
Batches = Callable[[int], tuple[Tensor, Tensor]]
"""Step -> pictures float (B, 3, H, W) in 0..1 and base labels uint8 (B, H, W), 0..B and 255; B is 2 at least."""


class BaseBatches:
    """Pictures of base classes, varied.

    Args:
        data: pictures with base labels alone.
        size: pictures a batch.
        side: of the squares in pixels.
        seed: of every draw.
    """

    def __init__(self, data: Labelled, size: int, side: int, seed: int) -> None:
        self.data, self.size, self.side, self.seed = data, size, side, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the batch of a step, see `Batches`."""
        rng = numpy_rng(self.seed, "prepare", step)
        places = rng.integers(len(self.data), size=self.size)
        items = [vary(*self.data[int(place)], self.side, MILD, rng) for place in places]
        return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def prepare_backbone(
    source: str | Path,
    batches: Batches,
    base: int,
    folder: str | Path,
    settings: PrepareSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
    scratch: Path | None = None,
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
        settings: steps, rate and what else belongs to the two phases.
        seed: of the base learner's initial weights and of dropout.
        device: where to train.
        progress: told (step, steps, loss).
        scratch: folder for checkpoints, from which the same call goes on; None keeps none.

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
    with seeded(seed, "base learner"):
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

    def train(parameters: Iterable[nn.Parameter], loss_of: Callable[[int], Tensor], steps: range) -> None:
        optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        checkpoint = _Checkpoint(scratch, {"network": network, "head": head}, optimiser, device)
        for step in range(checkpoint.restore(steps), steps.stop):
            with seeded(seed, "preparation", step):
                loss = loss_of(step)
            loss.backward()
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * rate_factor(step, settings.steps, settings.warm, settings.warm)
            optimiser.step()
            optimiser.zero_grad()
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps.stop:
                checkpoint.save(step + 1)
            if progress:
                progress(step + 1, settings.steps, loss.item())

    first = round(settings.first * settings.steps)
    network.train(), head.train()
    train([*network.parameters(), *head.parameters()], base_loss, range(first))
    network.eval(), head.eval()
    network.requires_grad_(False)
    parts.head.requires_grad_(True)
    train(parts.head.parameters(), classifier_loss, range(first, settings.steps))

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


class _Checkpoint:
    """The state of a preparation, where there is a folder for it."""

    def __init__(
        self, folder: Path | None, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer, device: str
    ) -> None:
        self._path = folder / "prepare.ckpt" if folder else None
        self._modules, self._optimiser, self._device = modules, optimiser, device

    def restore(self, steps: range) -> int:
        """Give the step to go on from, one of these or their end; restore what was saved there or later."""
        if self._path is None or not self._path.exists():
            return steps.start
        saved = torch.load(self._path, map_location=self._device, weights_only=True)
        for name, module in self._modules.items():
            module.load_state_dict(saved[name])
        if steps.start < saved["step"] < steps.stop:  # else it is the optimiser of the other phase
            self._optimiser.load_state_dict(saved["optimiser"])
        return max(steps.start, min(saved["step"], steps.stop))

    def save(self, step: int) -> None:
        """Keep the state after a step."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        state = {name: module.state_dict() for name, module in self._modules.items()}
        torch.save({**state, "optimiser": self._optimiser.state_dict(), "step": step}, partial)
        partial.replace(self._path)


def _top(parts: Convolutional, pixels: Tensor) -> Tensor:
    for module in itertools.chain([parts.stem], parts.stages):
        pixels = module(pixels)
    return pixels


def _things(parts: Convolutional, pixels: Tensor, things: Tensor) -> Tensor:
    """Average the fourth level over bool masks (B, H, W), brought to its size."""
    f4 = _top(parts, pixels)
    return masked_average(f4, resize_labels(things, f4.shape[-2:]))
