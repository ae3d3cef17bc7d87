"""Kill ``syn4seg run`` with SIGKILL at random moments, give the same command again, and compare the end.

    python tests/by_hand/kill_nine.py --output /tmp/kills

1. The chain runs undisturbed in OUTPUT/undisturbed.
2. In OUTPUT/killed the same command is killed again and again. The moments are drawn by the seed and spread evenly over
   the stages: data, prompts, images, teacher, labels, dataset, training and scores. Every third kill hits the parent
   alone, whose workers and server must then end by themselves; the others hit the whole process group.
3. The command runs to its end. Dataset, weights, scores and the contents of all shards must equal those of the
   undisturbed run, nothing that was finished at a kill may have been computed again, no interrupted work be left over.
4. With another APF threshold, `syn4seg plan` must say that no picture is drawn, and the run must draw none.

The table is Markdown. Exit 0: the same. Exit 1: not the same, with the reason in the last line. Logs stay in OUTPUT.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from flows.settings import load_config
from flows.steps import CHAIN
from flows.workers import count_workers
from pipeline.hashing import hash_files, hash_json, list_files
from pipeline.store import RunStore

# Two workers and three shards a class. The filter is lenient, so that a teacher of few steps leaves a dataset.
SMALL = (
    "execution.workers=2", "experiment.base_pictures=300", "experiment.validation_pictures=60",
    "experiment.prompts.per_class=44", "experiment.prompts.max_similarity=0.99", "experiment.generate.steps=3",
    "experiment.train.base_steps=160", "experiment.train.final_steps=80", "experiment.train.batch=4",
    "experiment.annotate.prompt_odds=1e6", "experiment.filter.min_similarity=-1", "experiment.filter.min_area=0",
)  # fmt: skip
THRESHOLD = "experiment.filter.min_similarity=0.3"
STAGES = ("data", *CHAIN)
TRAINED = ("teacher", "train")
ORPHAN_SECONDS = 20
"""Patience with processes whose parent was killed."""


class Broken(Exception):
    """A promise was not kept."""


class Chain:
    """The command ``syn4seg run`` and the folder that it writes to.

    Args:
        folder: its output folder.
        settings: ``key=value`` of the run.
    """

    def __init__(self, folder: Path, settings: list[str]) -> None:
        self.folder = folder
        self.store = RunStore(folder / "store")
        self._settings = [*settings, f"execution.output={folder}"]

    def command(self, verb: str, *more: str) -> list[str]:
        """Give the command line."""
        overrides = [part for setting in (*self._settings, *more) for part in ("--set", setting)]
        return [str(Path(sys.executable).with_name("syn4seg")), verb, *overrides]

    def start(self, log: Path, *more: str) -> subprocess.Popen[bytes]:
        """Start the run in a process group of its own; ``log`` gets what it says."""
        with log.open("wb") as file:
            return subprocess.Popen(self.command("run", *more), stdout=file, stderr=file, start_new_session=True)

    def finish(self, log: Path, *more: str) -> None:
        """Run to the end."""
        if self.start(log, *more).wait():
            raise Broken(f"the run failed: {last_line(log)} ({log})")

    def amounts(self) -> Counter[str]:
        """Count what lies on the disk: drawn scenes, training steps, finished shards of the other stages."""
        found = Counter(data=len(list(self.folder.glob("data/picto/*/JPEGImages/*.jpg"))))
        for folder in self.store.root.glob("*/*"):
            stage = folder.parent.name
            if folder.suffix == ".partial":  # it may be renamed at any moment
                continue
            if stage in TRAINED:
                found[stage] += sum(lines_of(path) for path in folder.glob("*.jsonl"))
            elif (folder / "record.json").exists():
                found[stage] += 1
        return found

    def done(self, whole: Counter[str]) -> float:
        """Give how far it is, 0..1: the mean over stages of the share of what the ``whole`` run left."""
        amounts = self.amounts()
        return sum(min(1.0, amounts[stage] / whole[stage]) for stage in STAGES) / len(STAGES)

    def finished(self) -> dict[str, int]:
        """Give when each finished shard was committed, in nanoseconds."""
        return {r.place: (self.store.folder(r) / "record.json").stat().st_mtime_ns for r in self.store.records()}

    def unfinished(self, since: float) -> list[str]:
        """List what was begun after a moment and is not whole."""
        folders = [*self.folder.glob("data/picto/*.partial"), *self.store.root.glob("*/*.partial")]
        begun = sorted(p for p in folders if p.stat().st_mtime >= since)
        return [f"{p.parent.name}/{p.stem.rsplit('-', 1)[0]}{steps_lost(p.with_suffix('.scratch'))}" for p in begun]

    def outcome(self) -> dict[str, str]:
        """Give what must not depend on kills, as hashes."""
        run = (self.folder / "runs" / "latest").resolve()
        records = list(self.store.records())
        (dataset,) = [r for r in records if r.stage == "dataset"]
        if not dataset.counts["pictures"]:
            raise Broken("the dataset is empty, so that equal datasets show nothing: change the settings")
        scores = {k: v for k, v in json.loads((run / "scores.json").read_text()).items() if k != "seconds"}
        return {
            f"dataset: content hash ({dataset.counts['pictures']} pictures)": dataset.content,
            "dataset: bytes of its files": hash_files(run / "dataset", list_files(run / "dataset")),
            **{
                f"weights: {name}": hash_files(run / "checkpoints" / name, ["model.safetensors"])
                for name in ("teacher", "before", "after")
            },
            "scores.json without seconds": hash_json(scores),
            f"contents of all {len(records)} shards": hash_json(sorted([r.place, r.content] for r in records)),
        }


def main() -> int:
    """Give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="how many (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--output", type=Path, required=True, help="folder that does not exist yet, for both runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting; repeatable")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} is there already: give a new folder, or delete it")
    options.output.mkdir(parents=True)
    settings = [*SMALL, *options.set]
    try:
        compare(options.output.resolve(), settings, options.kills, random.Random(options.seed))
    except Broken as broken:
        print(f"NOT the same: {broken}")
        return 1
    print("same")
    return 0


def compare(output: Path, settings: list[str], kills: int, rng: random.Random) -> None:
    """Run undisturbed and killed, print the tables, and raise `Broken` where they differ."""
    whole, killed = Chain(output / "undisturbed", settings), Chain(output / "killed", settings)
    start = time.monotonic()
    whole.finish(output / "undisturbed.log")
    amounts, wanted = whole.amounts(), whole.outcome()
    shards = Counter(place.split("/")[0] for place in whole.finished())
    print(f"undisturbed: {time.monotonic() - start:.0f} s; shards: {dict(shards)}\n")

    workers = count_workers(load_config(None, settings))
    kept = kill_often(killed, amounts, kills, workers, rng)
    start = time.monotonic()
    killed.finish(output / "last.log")
    print(f"\nto the end: {time.monotonic() - start:.0f} s\n")
    now, found = killed.finished(), killed.outcome()
    again = [place for place, moment in kept.items() if now.get(place) != moment]
    if again:
        raise Broken(f"computed again though finished: {', '.join(again)}")
    rest = [str(p) for p in killed.folder.rglob("*.partial")]
    if rest:
        raise Broken(f"interrupted work is left over: {', '.join(rest)}")

    print("| what | undisturbed | killed |\n|---|---|---|")
    for (name, one), (_, other) in zip(wanted.items(), found.items(), strict=True):
        print(f"| {name} | {one} | {other} |")
    if wanted != found:
        raise Broken("the hashes differ")
    change_threshold(killed, output / "threshold.log")


def kill_often(chain: Chain, whole: Counter[str], kills: int, workers: int, rng: random.Random) -> dict[str, int]:
    """Print one row a kill; give all shards that were finished at some kill, with the time of their commit."""
    kept: dict[str, int] = {}
    print("| kill | of | done before | done | s | last progress | lost |\n|---|---|---|---|---|---|---|", flush=True)
    for kill in range(1, kills + 1):
        # What is left is spread evenly over the kills that are left, so that every run gets somewhere.
        before = chain.done(whole)
        target = before + (1 - before) * rng.random() / (kills - kill + 1)
        log = chain.folder.with_name(f"kill-{kill:02d}.log")
        start, clock = time.monotonic(), time.time()
        run = chain.start(log)
        while run.poll() is None and chain.done(whole) < target:
            time.sleep(0.05)
        time.sleep(rng.random())
        if run.poll() is not None:
            raise Broken(f"the run ended by itself before kill {kill}, exit {run.returncode}: {last_line(log)} ({log})")
        seconds = time.monotonic() - start
        alone = kill % 3 == 0
        orphans = kill_parent(run) if alone else kill_group(run)
        lost = chain.unfinished(clock)
        kept = chain.finished() | kept
        whom = f"parent; others gone after {orphans:.1f} s" if alone else "group"
        cells = [str(kill), whom, f"{before:.0%}", f"{chain.done(whole):.0%}", f"{seconds:.0f}"]
        print(f"| {' | '.join([*cells, last_line(log, end=' %'), ', '.join(lost) or 'nothing'])} |", flush=True)
        if len(lost) > workers:
            raise Broken(f"kill {kill} lost {len(lost)} shards with {workers} workers")
    return kept


def kill_group(run: subprocess.Popen[bytes]) -> float:
    """Kill the parent with all its processes."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return wait_for_end(run.pid)


def kill_parent(run: subprocess.Popen[bytes]) -> float:
    """Kill the parent alone; gives the seconds until its processes were gone."""
    run.kill()
    run.wait()
    return wait_for_end(run.pid)


def wait_for_end(group: int) -> float:
    """Wait until no process of a group runs; those that are dead but not yet reaped do not count."""
    start = time.monotonic()
    while time.monotonic() - start < ORPHAN_SECONDS:
        table = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in table.splitlines()]
        if not any(int(pgid) == group and not state.startswith("Z") for pgid, state in rows):
            return time.monotonic() - start
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise Broken(f"processes outlived their killed parent by more than {ORPHAN_SECONDS} s")


def change_threshold(chain: Chain, log: Path) -> None:
    """Change APF's threshold in a finished run; nothing before the filter may be computed."""
    told = subprocess.run([*chain.command("plan", THRESHOLD), "--json"], capture_output=True, text=True, check=True)
    plan = {row["stage"]: row for row in json.loads(told.stdout)["stages"]}
    earlier = ("prompts", "images", "teacher", "annotate")
    left = {stage: plan[stage]["compute"] + plan[stage]["resume"] for stage in (*earlier, "filter")}
    print(f"\nplan with {THRESHOLD}: to compute {left}; filter: {', '.join(plan['filter']['why'])}")
    if any(left[stage] for stage in earlier) or plan["filter"]["reuse"]:
        raise Broken("the plan does not say that the filter is the first stage to be computed")

    def files() -> dict[str, Any]:
        paths = [p for stage in earlier for p in sorted(chain.store.root.glob(f"{stage}/**/*"))]
        return {str(p): p.stat().st_mtime_ns for p in paths}

    before = files()
    chain.finish(log, THRESHOLD)
    if files() != before:
        raise Broken("the changed threshold changed files of earlier stages")
    print(f"run with it: {len(before)} files and folders of {', '.join(earlier)} untouched\n")


def steps_lost(scratch: Path) -> str:
    """Say how many steps of a training were made since its last checkpoint."""
    if not scratch.exists():
        return ""
    import torch

    made = sum(lines_of(p) for p in scratch.glob("*.jsonl"))
    saved = sum(torch.load(p, weights_only=True)["step"] for p in scratch.glob("*.ckpt"))
    return f" ({made - saved} of {made} steps)"


def lines_of(path: Path) -> int:
    """Count the lines of a file, none where it is gone."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def last_line(log: Path, end: str = "") -> str:
    """Give the last line of a log that ends so, its spaces single."""
    lines = [" ".join(line.split()) for line in log.read_text(errors="replace").split("\n")]
    return next((line for line in reversed(lines) if line and line.endswith(end)), "nothing yet")


if __name__ == "__main__":
    sys.exit(main())
