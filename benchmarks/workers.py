"""Two workers of one thread against one, and one worker with two threads beside them, on shards of picto's pictures.

    python -m benchmarks.workers --shards 4

What is timed is the drawing of all shards, after every worker has loaded its models. Needs two free cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.harness import Figure, Goal, Skipped, Stopwatch, Timing, apart, command
from flows.banks import write_prompts
from flows.settings import load_config
from flows.stages import draw_images
from flows.steps import SHARD, Step, images_steps
from flows.workers import Workers, workers_of
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.generate import Order

SPLIT = ClassSplit.of("picto", 0)
Shard = tuple[Config, Step, list[Order]]


@dataclass(frozen=True)
class Size:
    """How much is drawn."""

    shards: int = 4
    steps: int = 20


def drawn(size: Size, count: int, threads: int) -> Timing:
    """Time the drawing of all shards by ``count`` workers."""
    with tempfile.TemporaryDirectory() as folder:
        place = [f"execution.output={folder}", f"execution.workers={count}", f"execution.threads={threads}"]
        with workers_of(load_config(None, place), lambda *_: None) as workers:
            return _drawn(size, count, place, workers)


def _drawn(size: Size, count: int, place: list[str], workers: Workers) -> Timing:
    """Time the drawing, once every worker has loaded its models."""
    def shards(name: str, wanted: int) -> list[Shard]:
        config = load_config(None, [
            *place, f"experiment.prompts.classes=[{name}]", f"experiment.prompts.per_class={wanted}",
            f"experiment.generate.steps={size.steps}",
        ])  # fmt: skip
        bank = workers.run(write_prompts, config, name)
        return [(config, step, orders) for step, orders in images_steps(config, bank)]

    with ThreadPoolExecutor(count) as threads_that_wait:

        def draw(todo: list[Shard]) -> None:
            list(threads_that_wait.map(lambda one: workers.run(draw_images, *one), todo))

        first = [shard for name in SPLIT.novel[1 : 1 + count] for shard in shards(name, 1)]
        list(threads_that_wait.map(lambda one: workers.run(draw_and_wait, *one, count), first))
        todo, watch = shards(SPLIT.novel[0], size.shards * SHARD), Stopwatch()
        with watch:
            draw(todo)
    return watch.timing


def draw_and_wait(config: Config, step: Step, orders: list[Order], count: int) -> None:
    """Draw a shard, and keep this worker busy until so many have done so: each has its models then."""
    draw_images(config, step, orders)
    (config.execution.folder / f"ready-{os.getpid()}").touch()
    while len(list(config.execution.folder.glob("ready-*"))) < count:
        time.sleep(0.1)


def measure(size: Size) -> list[Figure]:
    """Time one worker, two workers, and one with two threads, each in a process of its own."""
    if (os.cpu_count() or 1) < 2:
        raise Skipped("this machine has one core: two workers need two")
    one, two, threads = (apart(drawn, size, *how).wall for how in ((1, 1), (2, 1), (1, 2)))
    pictures = size.shards * SHARD
    return [Figure(
        "workers", "2 workers of 1 thread", "1 worker of 1 thread", pictures / two, pictures / one, "pictures/s",
        Goal("least", 1.7), {"1 worker of 2 threads, pictures/s": pictures / threads, "its ratio": one / threads},
    )]  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
