"""Drawing through the chain's own stage against loops over the same diffusers pipeline, on picto.

    python -m benchmarks.synthesis --pictures 40

Ours is the stage as a worker runs it: text encoded once, batches, checks, PNG files, hashes, the shard's record on the
disk. One reference is the bare loop: batches of the same size and no files. The other is the way of tools that call the
pipeline once a picture, which encodes the text each time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Figure, Goal, alternate, command
from flows.banks import write_prompts
from flows.data import store_of
from flows.settings import load_config
from flows.stages import draw_images
from flows.steps import images_steps
from flows.weights import resolve
from flows.workers import limit_threads
from pipeline.generate import Order

BATCH = 8
NAME = "boat"


@dataclass(frozen=True)
class Size:
    """How much is drawn."""

    pictures: int = 40
    steps: int = 20
    repeats: int = 3


def measure(size: Size) -> list[Figure]:
    """Draw in turn by the stage, by the bare loop and one by one."""
    limit_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(None, [
            f"execution.output={folder}", f"experiment.prompts.classes=[{NAME}]",
            f"experiment.prompts.per_class={size.pictures}", f"experiment.generate.steps={size.steps}",
        ])  # fmt: skip
        shards = images_steps(config, write_prompts(config, NAME))
        orders = [order for _, part in shards for order in part]
        pipe = _pipeline()

        def ours() -> None:
            shutil.rmtree(Path(folder) / "store" / "images", ignore_errors=True)
            for step, part in shards:
                draw_images(config, step, part)

        def loop(batch: int) -> list[Any]:
            parts = [orders[start : start + batch] for start in range(0, len(orders), batch)]
            return [picture for part in parts for picture in _bare(pipe, part, size.steps, config)]

        ours()
        store = store_of(config)
        drawn = [s.picture for r in store.records() if r.stage == "images" for s in store.samples(r)]
        pairs = zip(drawn, loop(BATCH), strict=True)
        if max(int(np.abs(a.astype(int) - np.asarray(b).astype(int)).max()) for a, b in pairs) > 1:
            raise RuntimeError("the stage and the bare loop draw other pictures")
        stage, bare, single = alternate(ours, lambda: loop(BATCH), lambda: loop(1), repeats=size.repeats, warm=0)
    what, count = f"synthesis of {size.pictures} pictures, {size.steps} steps", size.pictures
    return [
        Figure(name, what, against, count / stage.wall, count / other.wall, "pictures/s", goal,
               {"CPU ratio": other.cpu / stage.cpu})
        for name, against, other, goal in (
            ("synthesis", f"bare loop, batches of {BATCH}", bare, Goal("least", 0.95)),
            ("synthesis_single", "one call a picture", single, None),
        )
    ]  # fmt: skip


def _pipeline() -> Any:
    import torch
    from diffusers import AutoPipelineForText2Image

    pipe: Any = AutoPipelineForText2Image.from_pretrained(resolve("picto", "generator"), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _bare(pipe: Any, part: list[Order], steps: int, config: Any) -> list[Any]:
    import torch

    generators = [torch.Generator("cpu").manual_seed(order.seed) for order in part]
    guidance = config.experiment.generate.guidance
    drawn: list[Any] = pipe(
        [order.prompt for order in part], generator=generators, num_inference_steps=steps, guidance_scale=guidance
    ).images
    return drawn


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
