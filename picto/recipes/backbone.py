"""The backbone: a small `ResNetForImageClassification` of the pretraining classes, none of which is in any fold.

Recipe: one thing a scene, 80 kinds, pictures of 64 px enlarged to 80..144, mirrored and varied in look, Muon, bf16
autocast. Stride 32, as trained; who needs finer features dilates the last two stages.
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
    """Train and save; resumes from its checkpoint."""
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
        x = preprocess(vary_look(x, generator), side).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x).logits.float()
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
    train(parser.parse_args().steps)
