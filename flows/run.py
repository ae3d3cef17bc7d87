"""A run from config to the run's folder: check, look up, compute what is missing, write the results."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from flows import wiring
from flows.data import (
    check_data,
    check_maps,
    find_data,
    note_on_lists,
    novel_names,
    prepare_data,
    split_of,
    store_of,
)
from flows.plan import Plan, make_plan
from flows.progress import Board, set_reporter
from flows.runs import write_run
from flows.server import Server, set_prefect_env
from flows.steps import CHAIN, start_of
from flows.turns import WhileRunning, take_turn
from flows.weights import resolve
from flows.workers import Workers, count_workers
from pipeline.config import Config
from pipeline.datasets.pictures import count_pixels
from pipeline.errors import InputError, listed
from pipeline.store import StageRecord

Finish = Callable[[list[StageRecord]], Path]
"""What writes a run's folder from the records of its shards."""


def run(
    config: Config, name: str, until: str, console: Console, *, while_running: WhileRunning = "refuse",
    show: bool = False,
) -> tuple[Path | None, Plan]:  # fmt: skip
    """Run the chain up to a stage.

    Args:
        config: of the run.
        name: of the run's folder.
        until: last stage.
        console: shows the progress.
        while_running: what to do while another run of the same config goes on.
        show: go through the flow even where nothing is left to do, so that Prefect's pages show it.

    Returns:
        The run's folder (None where ``until`` stops before the scores), and the plan that was found at the start.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    check_name(name)
    finish = partial(write_run, config, name) if until == CHAIN[-1] else None
    found = compute(config, until, console, name, finish=finish, while_running=while_running, show=show)
    return found.folder, found.plan


def check_name(name: str) -> None:
    """Look that a run's name can be that of a folder.

    Raises:
        InputError: it cannot.
    """
    if Path(name).name != name:
        raise InputError(f"the run's name {name!r} is no name of a folder: leave out '/'")


class Computed(NamedTuple):
    """The records of all shards, the plan that was found at the start, and the run's folder where one was written."""

    records: list[StageRecord]
    plan: Plan
    folder: Path | None


def compute(
    config: Config, until: str, console: Console, name: str, *, pictures: int | None = None,
    finish: Finish | None = None, while_running: WhileRunning = "refuse", show: bool = False,
    server: Server | None = None,
) -> Computed:  # fmt: skip
    """Compute the shards of the chain up to a stage.

    Args:
        config: of the run.
        until: last stage.
        console: shows the progress.
        name: by which Prefect's pages know the run.
        pictures: only the first so many of every class; None: all.
        finish: writes the run's folder from the records and gives it; None: none is written.
        while_running: see `run`.
        show: see `run`.
        server: one that several computations of this process share; None: one for this alone.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    check_inputs(config)
    if note := note_on_lists(config):
        console.print(note)
    check_writable(Path(config.execution.output))
    with take_turn(config, while_running, console.print):
        if find_data(config) is None:
            with Board({"data": 3}, console) as board:
                set_reporter(board.show)
                prepare_data(config)
        plan = make_plan(config, until, pictures)
        if plan.complete and not show:
            return Computed(plan.records, plan, finish(plan.records) if finish else None)
        check_pictures(config, plan)
        try:
            return _compute(config, until, plan, console, name, pictures, finish, server)
        except InputError:
            store_of(config).sweep()  # of what the other workers had begun
            raise


def check_inputs(config: Config) -> None:
    """Look that device, weights and data sets are there, and that own pictures and masks are as they should be.

    Raises:
        InputError: one of them is not.
    """
    experiment = config.experiment
    check_device(config.execution.device)
    for key, part in (("teacher", experiment.teacher), ("model", experiment.model)):
        if part.name == "matching":
            raise InputError(
                f"experiment.{key}.name: prototype matching learns nothing and is for --protocol fss: choose another "
                "model"
            )
    for one in (config, start_of(config)):
        resolve(one.experiment.teacher.backbone, "backbone")
        wiring.teacher_options(one)
    if experiment.generate.enabled:
        if experiment.generate.source == "oracle" and experiment.dataset != "picto":
            raise InputError(
                f"experiment.generate.source: oracle is for picto, whose scenes can be drawn; {experiment.dataset} has "
                "copy-paste"
            )
        if experiment.generate.source == "model" or experiment.prompts.enabled:
            resolve(experiment.generate.model, "generator")
        if experiment.refine.enabled:
            resolve(experiment.refine.model, "sam")
    check_maps(config)
    check_own(config)
    find_data(config)


def check_own(config: Config) -> None:
    """Look that own pictures and masks are as they should be; does nothing for other data sets.

    Raises:
        InputError: something is wrong; a line a thing.
    """
    if wrong := check_data(config):
        raise InputError(listed(wrong))


def check_device(name: str) -> None:
    """Look that torch knows a device and, where it is a GPU, sees it.

    Raises:
        InputError: it does not.
    """
    if name in ("auto", "cpu"):
        return
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"execution.device: got {name!r}, expected auto, cpu, cuda or cuda:1") from error
    seen = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise InputError(f"execution.device: got {name!r}, but torch sees {seen} GPUs: choose auto or cpu")


def check_pictures(config: Config, plan: Plan) -> None:
    """Read what is to be trained or scored on once, so that a damaged picture is told before hours of work.

    Raises:
        InputError: a picture or mask is damaged.
    """
    data, split = find_data(config) or {}, split_of(config)
    stages = {"base": ("teacher", "start", "train"), "validation": ("scores",)}
    for purpose, readers in stages.items():
        if any(stage.reuse < stage.total for name, stage in plan.stages.items() if name in readers):
            count_pixels(data[purpose].pictures, split, data[purpose].cache, decode=True)


def check_writable(output: Path) -> None:
    """Make the output folder.

    Raises:
        InputError: it cannot be made or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder {output} ({error.strerror}): "
            "choose another one with --set execution.output=FOLDER"
        ) from error


def _compute(
    config: Config, until: str, plan: Plan, console: Console, name: str, pictures: int | None, finish: Finish | None,
    shared: Server | None,
) -> Computed:  # fmt: skip
    from flows import learning, stages

    output = Path(config.execution.output)

    totals = {stage.stage: stage.total for stage in plan.stages.values()}
    data = find_data(config)
    count = 1 if plan.complete else count_workers(config)
    workers = Workers(count, config.execution.threads, lambda *m: board.show(*m))
    set_prefect_env(output)
    with nullcontext(shared) if shared else Server(output) as server, Board(totals, console) as board, workers:
        # Prefect takes a while to start; the workers begin meanwhile with what the flow asks for first.
        if data and plan.stages.get("teacher"):
            workers.begin(learning.train_teacher_stage, config, data)
        for bank in novel_names(config):
            workers.begin(stages.write_prompts, config, bank)
        from flows.synthesize import run_synthesis

        try:
            records, folder = run_synthesis(
                config, name, until, workers, board.fraction, server.wait(workers.check), pictures, finish
            )
            return Computed(records, plan, folder)
        except Exception as error:
            raise workers.error or error from None
