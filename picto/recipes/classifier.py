"""The judge of the generator: a small classifier of drawn portraits, fixed before any picture was generated.

It names class, kind, colour and background. Its weights are not shipped: they are trained in two minutes and kept in
``outputs/``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from picto.pen import COLOURS
from picto.recipes import training
from picto.recipes.augment import soften
from picto.scenes import BACKGROUNDS, Scene, draw_portrait
from picto.seeds import scene_rng
from picto.things import FOLD_CLASSES
from pipeline.backends.precision import fast_autocast

CLASSES = list(FOLD_CLASSES)
KINDS = [kind for kinds in FOLD_CLASSES.values() for kind in kinds]
HEADS = {"class": CLASSES, "kind": KINDS, "colour": list(COLOURS), "background": list(BACKGROUNDS)}
"""What is judged, and the names it chooses from."""

SEED = 7
PORTRAITS = 24_000
SAMPLES = 72_000
BATCH = 48


class Classifier(nn.Module):
    """Five convolutions, mean over the picture, and a linear head for each of ``HEADS``."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 24, 48, 96, 160, 160]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if 1 <= i <= 3 else 1
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(160, len(choices)) for name, choices in HEADS.items()})

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Give the features (B, 160) of pictures (B, 3, H, W) in 0..1."""
        return self.body((x - 0.5) * 4).mean((2, 3))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Give the logits (B, choices) of each head for pictures (B, 3, H, W) in 0..1."""
        features = self.features(x)
        return {name: head(features) for name, head in self.heads.items()}


def labels_of(name: str, kind: str, colour: str, background: str) -> list[int]:
    """Give the numbers of the four right answers, in the order of ``HEADS``."""
    return [choices.index(x) for choices, x in zip(HEADS.values(), (name, kind, colour, background), strict=True)]


def draw_portraits(purpose: str, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw portraits, the classes in turn: pictures uint8 (N, H, W, 3) and labels (N, 4)."""
    scenes: list[Scene] = [
        draw_portrait(scene_rng(purpose, i), CLASSES[i % len(CLASSES)]) for i in range(start, start + count)
    ]
    labels = [labels_of(s.things[0].name, s.things[0].kind, s.things[0].colour, s.background) for s in scenes]
    return np.stack([s.picture for s in scenes]), np.array(labels)


def as_batch(pictures: np.ndarray) -> torch.Tensor:
    """Turn pictures uint8 (N, H, W, 3) into float (N, 3, H, W) in 0..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def fit(pictures: np.ndarray, labels: np.ndarray, seed: int, samples: int, lr: float = 3e-3) -> Classifier:
    """Train a classifier until it has seen ``samples`` pictures; ``seed`` decides weights, order and changes."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier().train()
    optimiser = training.MuonAdamW(model.named_parameters(), lr=lr, lr_rest=lr, rest=("heads",))
    steps = samples // BATCH
    for step in range(steps):
        pick = torch.randint(len(pictures), (BATCH,), generator=generator).numpy()
        x = soften(as_batch(pictures[pick]), generator).contiguous(memory_format=torch.channels_last)
        right = torch.from_numpy(labels[pick])
        with fast_autocast():
            logits = model(x)
        loss = torch.stack([F.cross_entropy(out.float(), right[:, i]) for i, out in enumerate(logits.values())]).sum()
        loss.backward()
        optimiser.step(training.trapezoid(step, steps))
    return model.eval()


@torch.no_grad()
def accuracy(model: Classifier, pictures: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Give the share of right answers of each head."""
    right = [right_answers(model, pictures[i : i + 100], labels[i : i + 100]) for i in range(0, len(pictures), 100)]
    return dict(zip(HEADS, np.concatenate(right).mean(0).round(4).tolist(), strict=True))


@torch.no_grad()
def right_answers(model: Classifier, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell for each picture and head whether the answer is right, bool (N, 4)."""
    logits = model(as_batch(pictures))
    return np.stack([out.argmax(1).numpy() for out in logits.values()], 1) == labels


def judge() -> Classifier:
    """Load the judge, or train it where there is none yet."""
    if state := training.load_checkpoint("judge"):
        model = Classifier()
        model.load_state_dict(state)
        return model.eval()
    model = fit(*draw_portraits("classifier", 0, PORTRAITS), SEED, SAMPLES)
    training.save_checkpoint("judge", model.state_dict())
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    log = training.Log("classifier")
    log.write(held_out=accuracy(judge(), *draw_portraits("classifier-test", 0, 2400)))
