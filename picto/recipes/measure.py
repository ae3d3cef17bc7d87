"""Measures the generator against drawn pictures: ``python -m picto.recipes.measure``.

Four questions: does the judge name what the prompt asked for as often as on drawn portraits; do two seeds of one prompt
differ as much as two drawings; does a classifier learn as much from generated pictures; and, by eye, the two sheets in
``outputs/picto-weights/``. Prompts, seeds, the drawn test set and the classifier are fixed here and in `classifier`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from picto.pen import COLOURS
from picto.recipes import training
from picto.recipes.classifier import (
    CLASSES,
    Classifier,
    accuracy,
    as_batch,
    draw_portraits,
    fit,
    judge,
    labels_of,
    right_answers,
)
from picto.scenes import BACKGROUNDS, LOW_CONTRAST, caption
from picto.things import FOLD_CLASSES

MARKS = {"class": 0.98, "kind": 0.95, "colour": 0.98}
"""Accepted ratio of generated to drawn accuracy."""

TRAINED_MARK = 0.85
PROMPT_SEED = 11
TEST_PORTRAITS = 2400
TRAIN_PICTURES, TRAIN_START, TRAIN_SAMPLES, TRAIN_SEEDS = 2000, 1_000_000, 24_000, (0, 1, 2)
PAIRS = 200
KEYS = 50
BATCH = 16


@dataclass(frozen=True)
class Wish:
    """What one prompt asks for, and the seed of its picture."""

    name: str
    kind: str
    colour: str
    background: str
    seed: int

    @property
    def prompt(self) -> str:
        """The sentence."""
        return caption(self.name, kind=self.kind, colour=self.colour, background=self.background)

    @property
    def labels(self) -> list[int]:
        """The right answers."""
        return labels_of(self.name, self.kind, self.colour, self.background)


def draw_wishes(count: int, first: int = 0, names: list[str] = CLASSES) -> list[Wish]:
    """Draw prompts with classes, kinds and visible pairs of colour and background in turn, each equally often."""
    rng = np.random.default_rng([PROMPT_SEED, first])
    looks = [(c, b) for c in COLOURS for b in BACKGROUNDS if (c, b) not in LOW_CONTRAST]
    order = np.concatenate([rng.permutation(len(looks)) for _ in range(count // len(looks) + 1)])
    wishes = []
    for i in range(count):
        name = names[i % len(names)]
        kinds = list(FOLD_CLASSES[name])
        colour, background = looks[order[i]]
        wishes.append(Wish(name, kinds[i // len(names) % len(kinds)], colour, background, first + i))
    return wishes


def generate(wishes: list[Wish], steps: int, guidance: float) -> np.ndarray:
    """Draw the wishes with the shipped pipeline in single precision: uint8 (N, H, W, 3)."""
    from diffusers import StableDiffusionPipeline

    folder = training.WEIGHTS / "generator"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for start in range(0, len(wishes), BATCH):
        batch = wishes[start : start + BATCH]
        pictures.append(
            pipeline(
                [w.prompt for w in batch], num_inference_steps=steps, guidance_scale=guidance, output_type="np",
                generator=[torch.Generator().manual_seed(w.seed) for w in batch],
            ).images
        )
    return (np.concatenate(pictures) * 255).round().astype(np.uint8)


@torch.no_grad()
def difference(model: Classifier, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean distance of pictures (N, H, W, 3) in pairs: absolute difference of pixels 0..1, and of the features."""
    a, b = as_batch(first), as_batch(second)
    features = (model.features(a) - model.features(b)).norm(dim=1)
    return {"pixels": round(float((a - b).abs().mean()), 4), "features": round(float(features.mean()), 3)}


def drawn_pairs(pictures: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair up drawn portraits of equal kind, colour and background."""
    alike = defaultdict(list)
    for i, key in enumerate(map(tuple, labels)):
        alike[key].append(i)
    pairs = np.array([(group[i], group[i + 1]) for group in alike.values() for i in range(0, len(group) - 1, 2)])
    return pictures[pairs[:, 0]], pictures[pairs[:, 1]]


def sheet(pictures: np.ndarray, columns: int, name: str) -> None:
    """Write pictures (N, H, W, 3) as a table, enlarged to twice their size."""
    n, h, w, _ = pictures.shape
    rows = n // columns
    table = pictures[: rows * columns].reshape(rows, columns, h, w, 3).swapaxes(1, 2).reshape(rows * h, columns * w, 3)
    training.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    Image.fromarray(table).resize((columns * w * 2, rows * h * 2)).save(training.CHECKPOINTS / f"{name}.png")


def compare_training(
    pictures: np.ndarray, labels: np.ndarray, tests: tuple[np.ndarray, np.ndarray]
) -> dict[str, list[float]]:
    """Train the same classifier on generated and on as many drawn pictures; class accuracy on drawn ones, by seed."""
    drawn = draw_portraits("classifier", TRAIN_START, len(pictures))
    return {
        source: [accuracy(fit(*data, seed, TRAIN_SAMPLES), *tests)["class"] for seed in TRAIN_SEEDS]
        for source, data in (("generated", (pictures, labels)), ("drawn", drawn))
    }


def measure(count: int, steps: int, guidance: float, train: bool) -> None:
    """Measure everything on ``count`` prompts and write it to the log."""
    log = training.Log("measure")
    model = judge()
    tests = draw_portraits("classifier-test", 0, TEST_PORTRAITS)
    drawn = accuracy(model, *tests)
    wishes = draw_wishes(count)
    labels = np.array([w.labels for w in wishes])
    pictures = generate(wishes, steps, guidance)

    # 1. Does the judge see what was asked for?
    generated = accuracy(model, pictures, labels)
    ratio = {head: round(generated[head] / drawn[head], 4) for head in generated}
    right = np.concatenate([right_answers(model, pictures[i : i + 100], labels[i : i + 100])
                            for i in range(0, count, 100)])
    by_class = {name: round(float(right[labels[:, 0] == i, 0].mean()), 3) for i, name in enumerate(CLASSES)}
    by_kind = {name: round(float(right[labels[:, 0] == i, 1].mean()), 3) for i, name in enumerate(CLASSES)}
    log.write(prompts=count, steps=steps, guidance=guidance, drawn=drawn, generated=generated, ratio=ratio,
              marks=MARKS, class_by_class=by_class, kind_by_class=by_kind)

    # 2. Do two seeds of one prompt differ?
    again = [Wish(w.name, w.kind, w.colour, w.background, w.seed + 5_000_000) for w in wishes[:PAIRS]]
    log.write(two_seeds=difference(model, pictures[:PAIRS], generate(again, steps, guidance)),
              two_drawings=difference(model, *drawn_pairs(*tests)))

    # 3. What is seen by eye?
    order = np.argsort(labels[:, 0], kind="stable")
    rows = order.reshape(len(CLASSES), -1)[:, :10] if count % len(CLASSES) == 0 else order[None]
    sheet(pictures[rows.ravel()], rows.shape[1], "sheet")
    sheet(generate(draw_wishes(KEYS, 2_000_000, ["key"]), steps, guidance), 10, "keys")

    # 4. Can a classifier learn from them?
    if train:
        rest = draw_wishes(TRAIN_PICTURES - count, 1_000_000)
        if rest:
            pictures = np.concatenate([pictures, generate(rest, steps, guidance)])
            labels = np.concatenate([labels, [w.labels for w in rest]])
        reached = compare_training(pictures[:TRAIN_PICTURES], labels[:TRAIN_PICTURES], tests)
        share = round(float(np.mean(reached["generated"]) / np.mean(reached["drawn"])), 4)
        log.write(trained_on=reached, ratio=share, mark=TRAINED_MARK)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000, help="how many prompts (default 1000)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the sampler (default 20)")
    parser.add_argument("--guidance", type=float, default=2.5, help="guidance scale (default 2.5)")
    parser.add_argument("--no-training", action="store_true", help="leave out the classifiers trained on pictures")
    chosen = parser.parse_args()
    measure(chosen.prompts, chosen.steps, chosen.guidance, not chosen.no_training)
