"""One run of a config at a time, and what the next run of a growing budget is. Knows no Prefect."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout
from pydantic import ValidationError

from flows.data import store_of
from flows.runs import folders_of, read_settings
from flows.shares import Share
from pipeline.config import AUTO, Config, Experiment
from pipeline.errors import InputError
from pipeline.hashing import hash_json
from pipeline.store import RunStore

WhileRunning = Literal["refuse", "queue"]
"""What a second start of a config does while one runs."""

POLL_SECONDS = 1.0


class AlreadyRunning(InputError):
    """The same config runs already."""


@contextmanager
def take_turn(
    config: Config, while_running: WhileRunning, say: Callable[[str], object], share: Share | None = None
) -> Iterator[None]:
    """Keep other runs of the same experiment out of the same output folder; shares go beside each other.

    The system frees the lock when the process that holds it dies, by whatever.

    Args:
        config: of the run; its execution does not count but for the output folder.
        while_running: refuse, or queue for the end of the other run.
        say: takes the sentence that tells of the waiting.
        share: of the run.

    Raises:
        AlreadyRunning: another run of it goes on, and it is not to be waited for.
    """
    name = f"run-{hash_json(config.experiment.model_dump(mode='json'))[:16]}" + (f"-{share.name}" if share else "")
    lock = store_of(config).lock(name)
    owner = Path(lock.lock_file).with_suffix(".json")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        what = "this share of the config" if share else "this config"
        where = f"{what} is running already in {config.execution.output}{_told(owner)}"
        if while_running == "refuse":
            raise AlreadyRunning(f"{where}: wait for its end, or queue with --while-running queue") from error
        say(f"{where}: waiting for its end")
        lock.acquire(poll_interval=POLL_SECONDS)
    try:
        told = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M}"}
        owner.write_text(json.dumps(told))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_working(store: RunStore) -> bool:
    """Say whether a run of any config goes on in a store, or a shard of it is being computed."""
    owners = [path.stem for path in store.root.glob(".locks/run-*.json")]
    shards = [f"{path.parent.name}-{path.stem}" for path in store.root.glob("*/*.partial")]
    for name in (*owners, *shards):
        try:
            with store.lock(name).acquire(timeout=0):
                pass
        except Timeout:
            return True
    return False


def grown(config: Config, by: int) -> Config:
    """Give a config with a larger budget than the largest of its finished runs.

    Args:
        config: whose ``prompts.per_class`` is the budget of the first run.
        by: prompts a class that are added to those of the largest finished run that differs in nothing else. With
            ``generate.batch: auto`` the batch may differ, since a finished run tells the number that was found out.
    """
    wanted, found_out = _at(config.experiment, 1), config.experiment.generate.batch == AUTO
    budgets = [run.prompts.per_class for run in _finished(config) if _at(run, 1, found_out) == wanted]
    if not by or not budgets:
        return config
    budget = max(max(budgets) + by, config.experiment.prompts.per_class)
    return config.model_copy(update={"experiment": _at(config.experiment, budget)})


def _finished(config: Config) -> Iterator[Experiment]:
    for run in folders_of(config.execution.folder):
        if not (run / "preview.json").exists():
            with suppress(ValidationError, InputError):  # another version's settings, or damaged ones, are others
                yield Experiment.model_validate(read_settings(run))


def _at(experiment: Experiment, budget: int, found_out: bool = False) -> Experiment:
    changed: dict[str, Any] = {"prompts": experiment.prompts.model_copy(update={"per_class": budget})}
    if found_out:
        changed["generate"] = experiment.generate.model_copy(update={"batch": AUTO})
    return experiment.model_copy(update=changed)


def _told(owner: Path) -> str:
    try:
        told = json.loads(owner.read_text())
        return f" (process {told['pid']} on {told['host']}, since {told['since']})"
    except (OSError, ValueError, KeyError):
        return ""
