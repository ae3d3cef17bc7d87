"""`syn4seg plan` on a finished run of a million pictures, against a first look that reads every record.

    python -m benchmarks.plan --samples 100000

The store is made by this script: five banks of real size, and for every shard of 20 pictures a folder with its record
in each stage, under the fingerprints that the chain gives them. The pictures themselves are left out, since a plan
opens none. The whole command is timed, from the start of Python on.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Goal, command
from flows import steps
from flows.data import novel_names, prepare_data, store_of
from flows.settings import load_config
from flows.steps import SHARD, Step
from pipeline.config import Config
from pipeline.hashing import fingerprint, hash_json
from pipeline.index import FOLDER
from pipeline.store import Draft, RunStore, StageRecord

COPIES = 20
"""Pictures a prompt."""


@dataclass(frozen=True)
class Size:
    """How large the run is."""

    samples: int = 1_000_000
    repeats: int = 3


def overrides(output: Path, samples: int) -> list[str]:
    """Give what the run's config changes: data sets are small, since they are not what is measured."""
    return [
        f"execution.output={output}", f"experiment.generate.images_per_prompt={COPIES}",
        f"experiment.prompts.per_class={samples // COPIES // 5}", "experiment.base_pictures=20",
        "experiment.validation_pictures=10", "experiment.second_round.base=false",
    ]  # fmt: skip


def make_store(config: Config) -> int:
    """Fill a store with the shards of a finished run; gives how many there are."""
    data, store = prepare_data(config), store_of(config)
    banks = [_bank(config, store, name) for name in novel_names(config)]
    teacher = _finish(store, steps.teacher_step(config, data), [])
    before, sharp = _finish(store, steps.train_step(config, data, teacher, None), []), []
    count = 0
    for bank in banks:
        for step, orders in steps.images_steps(config, bank):
            ids = [order.id for order in orders]
            shard = _finish(store, step, [f"images/{i}.png" for i in ids])
            labels = [f"labels/{i}{end}.png" for i in ids for end in ("", ".free")]
            if not count:
                chain = [
                    steps.annotate_step(config, shard, teacher), steps.filter_step(config, shard, teacher),
                    steps.relabel_step(config, shard, teacher), steps.refine_step(config, shard),
                ]  # fmt: skip
            for any_step in chain:
                shard = _finish(store, any_step.on(shard.shard, samples=shard.content), labels)
            sharp.append(shard)
            count += 1
    ids = [f"{shard.shard}-{i}" for shard in sharp for i in range(SHARD)]
    folders = ("JPEGImages", "SegmentationClass", "SegmentationClassAug")
    dataset = _finish(store, steps.dataset_step(config, sharp), [f"{f}/{i}.png" for f in folders for i in ids])
    after = _finish(store, steps.train_step(config, data, teacher, dataset), [])
    for name, model in (("teacher", teacher), ("before", before), ("after", after)):
        _finish(store, steps.scores_step(config, data, model, name), [])
    return 5 * count + len(banks) + 7


def _bank(config: Config, store: RunStore, name: str) -> StageRecord:
    def work(draft: Draft) -> None:
        rows = ({"text": f"a photo of a {name}, number {i}", "name": name, "attributes": {}, "similarity": 0.5}
                for i in range(config.experiment.prompts.per_class))  # fmt: skip
        (draft.folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    step = steps.prompts_step(config, name)
    return store.compute(step.stage, step.shard, step.recipe, work)


def _finish(store: RunStore, step: Step, files: list[str]) -> StageRecord:
    """Write the record of a shard whose files are not there."""
    mark = fingerprint(step.stage, step.recipe)
    sizes = dict.fromkeys(files, 4000)
    record = StageRecord(
        step.stage, step.shard, mark, hash_json([step.shard, mark]), step.recipe, {"samples": SHARD, "kept": SHARD}, {},
        12.5, {"numpy": "2.0.0", "torch": "2.13.0", "diffusers": "0.42.0"}, sizes,
    )  # fmt: skip
    folder = store.folder(record)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(vars(record)))
    return record


def look(options: list[str]) -> tuple[float, float, dict[str, Any]]:
    """Give the seconds of the command, its CPU seconds, and what it said."""
    arguments = [part for option in options for part in ("--set", option)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "plan", "--json", *arguments],
        capture_output=True, text=True, check=True,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, json.loads(told.stdout)


def measure(size: Size) -> list[Figure]:
    """Make the store, plan without its index and with it."""
    with tempfile.TemporaryDirectory() as folder:
        options = overrides(Path(folder), size.samples)
        start = time.perf_counter()
        shards = make_store(load_config(None, options))
        made = time.perf_counter() - start
        time.sleep(3)  # until the index believes the times of the folders
        first, _, told = look(options)
        if not told["complete"]:
            raise RuntimeError(f"the plan does not know the made run: {told['stages']}")
        looks = [look(options)[:2] for _ in range(size.repeats)]
        again, cpu = (statistics.median(column) for column in zip(*looks, strict=True))
        shutil.rmtree(Path(folder) / "store" / FOLDER)
        cold, cold_cpu, _ = look(options)
    more = {"CPU s": cpu, "reference CPU s": cold_cpu, "shards": shards, "first look s": first, "store made in s": made}
    return [Figure(
        "plan", f"syn4seg plan, {size.samples:,} pictures", "without index: every record is read", again, cold, "s",
        Goal("most", 5, "ours"), more,
    )]  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
