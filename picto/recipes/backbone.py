"""The backbone: a small `ResNetForImageClassification` of the pretraining classes, none of which is in any fold.

Recipe, phase 1: one thing a scene, 80 kinds, pictures of 64 px enlarged to 80..144, mirrored and varied in look, Muon,
bf16 autocast, stride 32. Phase 2: one to three things a scene, stages 3 and 4 dilated to stride 8, the classifier asked
at every cell: cross-entropy where a thing covers it, no opinion (all kinds alike) on the background. That makes the
features fit for segmentation; half of the steps stay those of phase 1, so that both strides work.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetForImageClassification

from picto.other_things import PRETRAINING_CLASSES
from picto.recipes import training
from picto.recipes.augment import vary_look
from picto.scenes import draw_scene
from picto.seeds import scene_rng
from pipeline.backends.precision import fast_autocast

KINDS = [kind for kinds in PRETRAINING_CLASSES.values() for kind in kinds]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 128
SIDES = (80, 96, 112, 128, 128, 128, 144)
"""Sides that a batch may be enlarged to; the small ones stand for small things."""

BATCH = 32
TARGET = training.WEIGHTS / "backbone"


def build() -> ResNetForImageClassification:
    """Build the untrained model."""
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=3, embedding_size=32, hidden_sizes=[32, 64, 128, 256], depths=[2, 2, 2, 2],
            layer_type="basic", downsample_in_first_stage=False,
            id2label=dict(enumerate(KINDS)), label2id={kind: i for i, kind in enumerate(KINDS)},
        )
    )


def draw_batch(purpose: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes ``start``... of one thing: pictures (B, 3, H, W) in 0..1, kinds (B,)."""
    scenes = [draw_scene(scene_rng(purpose, i), PRETRAINING_CLASSES, things=1) for i in range(start, start + count)]
    x = torch.from_numpy(np.stack([s.picture for s in scenes])).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor([KINDS.index(s.things[0].kind) for s in scenes])


def preprocess(x: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    """Enlarge bilinearly and normalise pictures (B, 3, H, W) in 0..1."""
    x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def train(steps: int, lr: float = 2e-3) -> None:
    """Phase 1: train and save; resumes from its checkpoint."""
    torch.manual_seed(0)
    log = training.Log("backbone")
    model = build().train()
    optimiser = training.MuonAdamW(
        model.named_parameters(), lr=lr, lr_rest=lr, rest=("embedder.embedder", "classifier")
    )
    start = 0
    if state := training.load_checkpoint("backbone"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    right = total = 0.0
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        x, kinds = draw_batch("backbone", step * BATCH, BATCH)
        side = SIDES[int(torch.randint(len(SIDES), (1,), generator=generator))]
        with fast_autocast():
            logits = model(_ready(x, generator, side)).logits.float()
        loss = F.cross_entropy(logits, kinds)
        loss.backward()
        optimiser.step(training.trapezoid(step, steps))
        right += float((logits.argmax(1) == kinds).float().mean())
        total += loss.item()
        if step % 200 == 199 or step == steps - 1:
            count = step % 200 + 1
            log.write(step=step + 1, loss=round(total / count, 4), accuracy=round(right / count, 4))
            right = total = 0.0
            training.save_checkpoint(
                "backbone", {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            )
    save(model)
    log.write(step=steps, held_out_accuracy=measure(), **{f"held_out_at_{s}": measure(s) for s in (80, 96, 144)})


def dilate(model: ResNetForImageClassification, *, on: bool) -> None:
    """Switch stages 3 and 4 between stride 8 in all (dilated) and stride 32 in all (as in phase 1)."""
    for number, (before, after) in {2: (1, 2), 3: (2, 4)}.items():
        stage = model.resnet.encoder.stages[number]
        convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
        wide = [m for m in convolutions if m.kernel_size == (3, 3)]
        for m in convolutions:
            entry = m is wide[0] or m.kernel_size == (1, 1)
            m.stride = (2, 2) if entry and not on else (1, 1)
        for m in wide:
            m.dilation = m.padding = ((before if m is wide[0] else after) if on else 1,) * 2


def draw_dense_batch(start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes of one to three things: pictures (B, 3, H, W) in 0..1, kinds (B, 16, 16).

    A cell has the kind that covers at least half of it, -1 where things cover less than a tenth, else -100 (unknown).
    """
    scenes = [draw_scene(scene_rng("backbone", i), PRETRAINING_CLASSES) for i in range(start, start + count)]
    x = torch.from_numpy(np.stack([s.picture for s in scenes])).permute(0, 3, 1, 2).float() / 255
    cells = torch.full((count, SIDE // 8, SIDE // 8), -1)
    for cell, scene in zip(cells, scenes, strict=True):
        masks = torch.from_numpy(np.stack([t.mask for t in scene.things])).float()
        shares = F.adaptive_avg_pool2d(masks, cell.shape)
        best, which = shares.max(0)
        kinds = torch.tensor([KINDS.index(t.kind) for t in scene.things])
        cell[shares.sum(0) >= 0.1] = -100
        cell[best >= 0.5] = kinds[which[best >= 0.5]]
    return x, cells


def dense_loss(model: ResNetForImageClassification, x: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Give the loss of the classifier at every cell, and its accuracy on things."""
    dilate(model, on=True)
    with fast_autocast():
        features = model.resnet(x).last_hidden_state
        logits = model.classifier[-1](features.movedim(1, -1)).float()
    thing, ground = cells >= 0, cells == -1
    named = F.cross_entropy(logits[thing], cells[thing])
    undecided = -logits[ground].log_softmax(-1).mean() - float(np.log(len(KINDS)))
    return named + 0.5 * undecided, float((logits[thing].argmax(-1) == cells[thing]).float().mean())


def train_dense(steps: int, lr: float = 1e-3) -> None:
    """Phase 2: go on from phase 1's weights, dense and as before in turn; resumes from its checkpoint."""
    log = training.Log("backbone")
    model = build().train()
    state = training.load_checkpoint("backbone-dense")
    model.load_state_dict((state or training.load_checkpoint("backbone"))["model"])
    optimiser = training.MuonAdamW(
        model.named_parameters(), lr=lr, lr_rest=lr, rest=("embedder.embedder", "classifier")
    )
    start = 0
    if state:
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    right = total = 0.0
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(1_000_000 + step)
        x, cells = draw_dense_batch(1_000_000 + step * 16, 16)
        loss, accuracy = dense_loss(model, _ready(x, generator, SIDE), cells)
        loss.backward()
        x, kinds = draw_batch("backbone", 2_000_000 + step * 16, 16)
        dilate(model, on=False)
        with fast_autocast():
            logits = model(_ready(x, generator, SIDE)).logits.float()
        F.cross_entropy(logits, kinds).backward()
        optimiser.step(training.trapezoid(step, steps, warm=50, hold=0.3))
        right += accuracy
        total += loss.item()
        if step % 100 == 99 or step == steps - 1:
            count = step % 100 + 1
            log.write(phase="dense", step=step + 1, loss=round(total / count, 4), accuracy=round(right / count, 4))
            right = total = 0.0
            training.save_checkpoint(
                "backbone-dense", {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            )
    dilate(model, on=False)
    save(model)
    others = {f"held_out_at_{s}": measure(s) for s in (80, 96, 144)}
    log.write(phase="dense", step=steps, held_out_accuracy=measure(), **others)


def _ready(x: torch.Tensor, generator: torch.Generator, side: int) -> torch.Tensor:
    return preprocess(vary_look(x, generator), side).contiguous(memory_format=torch.channels_last)


def save(model: nn.Module) -> None:
    """Write the weights, matrices in half precision and normalisation in single, beside their preprocessing."""
    state = {k: v.half() if v.ndim >= 2 else v for k, v in model.state_dict().items()}
    model.save_pretrained(TARGET, state_dict=state)
    settings = {
        "image_processor_type": "BitImageProcessor", "do_resize": True, "size": {"height": SIDE, "width": SIDE},
        "resample": 2, "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": list(MEAN), "image_std": list(STD), "do_convert_rgb": True,
    }
    (TARGET / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


@torch.no_grad()
def measure(side: int = SIDE, count: int = 1000) -> float:
    """Give the top-1 accuracy of the saved weights on held-out scenes, pictures enlarged to ``side``."""
    model = ResNetForImageClassification.from_pretrained(TARGET, dtype=torch.float32).eval()
    right = 0
    for start in range(0, count, 100):
        x, kinds = draw_batch("pretraining-test", start, 100)
        right += int((model(preprocess(x, side)).logits.argmax(1) == kinds).sum())
    return right / count


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="batches to train for (default 2000)")
    parser.add_argument("--dense-steps", type=int, default=900, help="steps of phase 2 (default 900)")
    arguments = parser.parse_args()
    if training.load_checkpoint("backbone-dense") is None:
        train(arguments.steps)
    train_dense(arguments.dense_steps)
