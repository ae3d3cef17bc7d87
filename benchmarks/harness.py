"""What the benchmarks share: how they are timed, what a figure says, where it is written, and their command line.

A benchmark is a module with a frozen dataclass ``Size``, whose fields are its options, and ``measure(size)``, which
gives figures. Each figure has a named reference, measured in the same run or promised by the documentation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")

OUTPUT = Path("outputs/benchmarks.json")


class Skipped(Exception):
    """What a benchmark needs is not here; the sentence says what."""


@dataclass(frozen=True)
class Goal:
    """A mark for a figure: its ratio (or ours) is to be at most, or at least, a number."""

    kind: str
    limit: float
    of: str = "ratio"

    def __str__(self) -> str:
        return f"{'' if self.of == 'ratio' else self.of + ' '}{'<=' if self.kind == 'most' else '>='} {self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: unique among all benchmarks.
        what: what was measured.
        against: the reference.
        ours: in ``unit``.
        reference: in ``unit``.
        unit: of both.
        goal: the mark, where there is one.
        more: further numbers, by name.
    """

    name: str
    what: str
    against: str
    ours: float
    reference: float
    unit: str
    goal: Goal | None = None
    more: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours over the reference."""
        return self.ours / self.reference

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.of == "ratio" else self.ours
        return value <= self.goal.limit if self.goal.kind == "most" else value >= self.goal.limit


@dataclass(frozen=True)
class Timing:
    """Medians over the repeats, in seconds: by the clock, and of this process on all its cores."""

    wall: float
    cpu: float


def alternate(*works: Callable[[], Any], repeats: int = 3, warm: int = 1) -> list[Timing]:
    """Time several works in turn, so that whatever else the machine does hits all of them alike.

    Args:
        works: what is compared.
        repeats: timed rounds.
        warm: rounds before these, which allocate, load and compile.
    """
    found: list[list[Timing]] = [[] for _ in works]
    for turn in range(warm + repeats):
        for place, work in enumerate(works):
            watch = Stopwatch()
            with watch:
                work()
            if turn >= warm:
                found[place].append(watch.timing)
    return [Timing(median(t.wall for t in rows), median(t.cpu for t in rows)) for rows in found]


@dataclass(frozen=True)
class Spent:
    """What a work took in a process of its own: `Timing` of the part that it timed, and the process's peak memory."""

    wall: float
    cpu: float
    peak_mib: float


def apart(work: Callable[..., T], *args: Any) -> T:
    """Give what a work gives in a new process, whose threads, models and peak memory are its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def spent_apart(work: Callable[..., Timing], *args: Any) -> Spent:
    """Do a work that times itself in a new process, and give its peak memory too."""
    return apart(_with_peak, work, args)


def _with_peak(work: Callable[..., Timing], args: tuple[Any, ...]) -> Spent:
    timing = work(*args)
    return Spent(timing.wall, timing.cpu, peak_mib())


class Stopwatch:
    """Adds up the time of the blocks that it is used on by ``with``."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._begun[0]
        self.cpu += time.process_time() - self._begun[1]

    @property
    def timing(self) -> Timing:
        """What was added up."""
        return Timing(self.wall, self.cpu)


def peak_mib() -> float:
    """Give the largest resident memory of this process so far, in MiB.

    Linux's ru_maxrss starts at that of the process that started this one, so that its VmHWM is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(line[1]) for line in lines if line[0] == "VmHWM:") / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def machine() -> str:
    """Describe the machine: processor, cores, memory, and a GPU where torch was loaded and sees one."""
    name = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        name = next(lines, name)
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    gpu = f", {cuda.get_device_name()}" if cuda and cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB{gpu}"


def entry(figure: Figure, size: Any, load: float) -> dict[str, Any]:
    """Give a figure as it is written to the JSON file."""
    told = {key: getattr(figure, key) for key in ("name", "ours", "reference", "ratio", "unit", "what", "against")}
    goal = {"goal": str(figure.goal) if figure.goal else None, "met": figure.met}
    where = {"machine": machine(), "load": round(load, 2), "time": round(time.time())}
    return {**told, **where, **goal, "more": figure.more, "size": dataclasses.asdict(size)}


def write(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Add entries to a JSON list, each in place of an earlier one of its name."""
    before = json.loads(file.read_text()) if file.exists() else []
    rows = {row["name"]: row for row in [*before, *entries]}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps(list(rows.values()), indent=1, allow_nan=False) + "\n")
    part.replace(file)


def table(entries: Sequence[dict[str, Any]]) -> str:
    """Give entries as Markdown."""
    lines = ["| name | what | ours | reference | unit | ratio | goal | met |", "|---|---|---|---|---|---|---|---|"]
    for row in entries:
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        numbers = f"{row['ours']:.4g} | {row['reference']:.4g} ({row['against']}) | {row['unit']} | {row['ratio']:.3g}"
        lines.append(f"| {row['name']} | {row['what']} | {numbers} | {row['goal'] or ''} | {met} |")
    return "\n".join(lines)


def command(
    doc: str | None, size: type[Any], measure: Callable[[Any], list[Figure]], argv: Sequence[str] | None = None
) -> int:
    """Run one benchmark from the command line, with an option for every field of its size.

    Returns:
        The exit code: 0, also where it was skipped.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(size):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default,
                            help=f"{field.default!r} unless given")  # fmt: skip
    parser.add_argument("--to", type=Path, default=OUTPUT, help="JSON file that the figures are added to")
    options = vars(parser.parse_args(argv))
    to, load = options.pop("to"), os.getloadavg()[0]
    chosen = size(**options)
    try:
        entries = [entry(figure, chosen, load) for figure in measure(chosen)]
    except Skipped as reason:
        print(f"skipped: {reason}")
        return 0
    write(entries, to)
    print(table(entries))
    for row in entries:
        if row["more"]:
            print(f"{row['name']}: " + ", ".join(f"{key} {value:.4g}" for key, value in row["more"].items()))
    print(f"{machine()}; load {load:.1f} at the start")
    return 0
