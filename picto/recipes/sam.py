"""The boundary model: a small `segment_anything` `Sam`, trained for boxes and points on the pretraining classes only.

Recipe: 1 to 3 things a scene, a box and a point for each thing in one decoder batch, 5 cross-entropy + dice + MSE
of the predicted IoU, least loss of the three outputs, Muon, EMA, bf16 autocast. (The focal loss of the original draws
masks too small here: its logits were best cut at -0.5.)
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from picto.other_things import PRETRAINING_CLASSES
from picto.recipes import training
from picto.recipes.augment import vary_look
from picto.scenes import Scene, draw_scene
from picto.seeds import scene_rng
from picto.things import FOLD_CLASSES
from pipeline.backends.precision import fast_autocast
from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import build_sam, load_small_sam

CONFIG = {
    "img_size": 64, "patch_size": 4, "embed_dim": 128, "depth": 5, "num_heads": 4, "use_rel_pos": False,
    "window_size": 0, "prompt_dim": 64, "decoder_depth": 2, "decoder_heads": 4, "decoder_mlp_dim": 256,
    "iou_head_dim": 64, "mask_in_chans": 16,
}
"""Pictures are taken at their own 64 px, so that the low-resolution masks are already the masks."""

BATCH = 16
JITTER = 0.1
"""Each side of a box moves by at most this fraction of the box's side."""

TARGET = training.WEIGHTS / "sam"
MEASURED = range(500, 1000)
"""Held-out scenes of the final figures; the first ones were looked at while the recipe was chosen."""


def boxes_of(masks: torch.Tensor) -> torch.Tensor:
    """Give the tight boxes (N, 4) of masks, bool (N, H, W), as x0, y0, x1, y1 of their outermost pixels."""
    columns, rows = masks.any(1).float(), masks.any(2).float()
    low = torch.stack([columns.argmax(1), rows.argmax(1)], 1)
    high = torch.stack(
        [columns.shape[1] - 1 - columns.flip(1).argmax(1), rows.shape[1] - 1 - rows.flip(1).argmax(1)], 1
    )
    return torch.cat([low, high], 1).float()


def jitter(boxes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move every side of boxes (N, 4) by up to ``JITTER`` of the box's extent."""
    extent = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)
    moves = (2 * torch.rand(boxes.shape, generator=generator) - 1) * JITTER * extent
    return (boxes + moves).clamp(0, CONFIG["img_size"] - 1)


def points_of(masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw one pixel of each mask, bool (N, H, W): points (N, 2) as x, y."""
    flat = torch.multinomial(masks.flatten(1).float(), 1, generator=generator)[:, 0]
    return torch.stack([flat % masks.shape[2], flat // masks.shape[2]], 1).float()


def mask_losses(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """5 cross-entropy + dice of logits (N, M, H, W) against target (N, H, W), one value a mask: (N, M)."""
    target = target[:, None].expand_as(logits)
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    probability = logits.sigmoid()
    overlap, total = (probability * target).sum((2, 3)), probability.sum((2, 3)) + target.sum((2, 3))
    return 5 * cross + 1 - (2 * overlap + 1) / (total + 1)


def overlaps(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU of logits (N, M, H, W), cut at 0, with target (N, H, W): (N, M)."""
    found, target = logits > 0, target[:, None] > 0
    return (found & target).sum((2, 3)) / (found | target).sum((2, 3)).clamp(min=1)


def prompt_loss(
    logits: torch.Tensor, quality: torch.Tensor, target: torch.Tensor, is_box: torch.Tensor
) -> torch.Tensor:
    """Loss of a decoder batch, summed over prompts.

    Boxes teach the single output, points half as much (one point may mean several things); of the three others only
    the best learns. ``quality`` (N, 4) is the predicted IoU of logits (N, 4, H, W).
    """
    losses = mask_losses(logits, target)
    with torch.no_grad():
        reached = overlaps(logits, target)
    single = losses[:, 0] * torch.where(is_box, 1.0, 0.5)
    return (single + losses[:, 1:].amin(1) + (quality - reached).square().mean(1)).sum()


def decode(
    sam: nn.Module, embeddings: torch.Tensor, masks: torch.Tensor, owner: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prompt pictures by a box and a point for each thing: logits, predicted IoU, target and which are boxes.

    The decoder takes one picture a call but adds a dense embedding to it for each prompt; handing it no picture, and
    each prompt's picture in that embedding, decodes the things of all pictures at once.

    Args:
        sam: the model.
        embeddings: of the pictures (B, C, h, w).
        masks: of the things, bool (N, H, W).
        owner: which picture each thing is in (N,).
        generator: of boxes and points.
    """
    boxes, points = jitter(boxes_of(masks), generator), points_of(masks, generator)
    with torch.autocast("cpu", enabled=False):
        corners, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
        spots, _ = sam.prompt_encoder(points=(points[:, None], torch.ones(len(points), 1)), boxes=None, masks=None)
        places = sam.prompt_encoder.get_dense_pe()
    logits, quality = sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embeddings[:1]), image_pe=places,
        sparse_prompt_embeddings=torch.cat([corners, spots]),
        dense_prompt_embeddings=(dense + embeddings[owner]).repeat(2, 1, 1, 1),
    )
    is_box = torch.arange(len(logits)) < len(boxes)
    return logits.float(), quality.float(), masks.repeat(2, 1, 1).float(), is_box


def train(steps: int, lr: float = 2e-3) -> None:
    """Train and save; resumes from its checkpoint, and exports the EMA weights now and then."""
    torch.manual_seed(0)
    log = training.Log("sam")
    sam = build_sam(CONFIG).train()
    rest = ("embed", "token", "hypernetworks", "output_upscaling", "iou_prediction")
    optimiser = training.MuonAdamW(sam.named_parameters(), lr=lr, lr_rest=lr, rest=rest)
    ema = training.Ema(sam, 0.998)
    start = 0
    if state := training.load_checkpoint("sam"):
        sam.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.shadow = state["ema"]
        start = state["step"]
    running = {"loss": 0.0, "box_iou": 0.0, "point_iou": 0.0}
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        scenes = [draw_scene(scene_rng("sam", step * BATCH + i), PRETRAINING_CLASSES) for i in range(BATCH)]
        x = torch.from_numpy(np.stack([s.picture for s in scenes])).permute(0, 3, 1, 2).float() / 255
        x = sam.preprocess(vary_look(x, generator) * 255)
        masks = torch.from_numpy(np.stack([thing.mask for scene in scenes for thing in scene.things]))
        owner = torch.tensor([i for i, scene in enumerate(scenes) for _ in scene.things])
        with fast_autocast():
            logits, quality, target, is_box = decode(sam, sam.image_encoder(x), masks, owner, generator)
        loss = prompt_loss(logits, quality, target, is_box) / len(logits)
        loss.backward()
        optimiser.step(training.trapezoid(step, steps))
        ema.update(sam, step)
        reached = overlaps(logits.detach(), target)
        running["loss"] += loss.item()
        running["box_iou"] += float(reached[is_box, 0].mean())
        running["point_iou"] += float(reached[~is_box, 1:].amax(1).mean())
        if step % 200 == 199 or step == steps - 1:
            count = step % 200 + 1
            log.write(step=step + 1, **{key: round(value / count, 4) for key, value in running.items()})
            running = dict.fromkeys(running, 0.0)
            training.save_checkpoint(
                "sam", {"model": sam.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.shadow,
                        "step": step + 1}
            )
            ema.swap(sam)
            save(sam)
            ema.swap(sam)
    log.write(
        step=steps, pretraining_classes=measure("pretraining-test", PRETRAINING_CLASSES),
        fold_classes=measure("tuning", FOLD_CLASSES),
    )


def save(sam: nn.Module) -> None:
    """Write weights in half precision and the numbers they were built from."""
    TARGET.mkdir(parents=True, exist_ok=True)
    save_file({key: value.half().contiguous() for key, value in sam.state_dict().items()}, TARGET / "model.safetensors")
    (TARGET / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def measure(purpose: str, classes: dict, scenes: range = MEASURED) -> dict[str, float]:
    """Prompt the saved model through `SamPredictor` on held-out scenes; mean IoU of things with 20 pixels or more.

    Returns:
        ``box`` (tight), ``jittered_box``, ``best_of_three`` (box, the output it believes in), ``point`` (likewise).
    """
    predictor = load_segment_anything().SamPredictor(load_small_sam(TARGET))
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[float]] = {"box": [], "jittered_box": [], "best_of_three": [], "point": []}
    for scene in (draw_scene(scene_rng(purpose, i), classes) for i in scenes):
        predictor.set_image(scene.picture)
        for mask in _large(scene):
            box, point = boxes_of(mask), points_of(mask, generator)
            for name, prompt in {
                "box": {"box": box[0].numpy(), "multimask_output": False},
                "jittered_box": {"box": jitter(box, generator)[0].numpy(), "multimask_output": False},
                "best_of_three": {"box": box[0].numpy()},
                "point": {"point_coords": point.numpy(), "point_labels": np.ones(1)},
            }.items():
                masks, scores, _ = predictor.predict(**prompt)
                best = torch.from_numpy(masks[scores.argmax()])
                found[name].append(float((best & mask[0]).sum() / (best | mask[0]).sum()))
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def _large(scene: Scene) -> list[torch.Tensor]:
    return [torch.from_numpy(t.mask)[None] for t in scene.things if t.mask.sum() >= 20]


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000, help="batches to train for (default 4000)")
    train(parser.parse_args().steps)
