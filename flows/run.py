"""A run from config to the run's folder: check, look up, compute what is missing, write the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from flows import wiring
from flows.addresses import check_address
from flows.asking import check_agent
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
from flows.devices import check_device
from flows.generators import check_generator, settle_batch
from flows.plan import Plan, make_plan, plan_round
from flows.progress import Board, set_reporter
from flows.rounds import FirstRound, first_round, has_second_round, waiting_prompts
from flows.runs import write_run
from flows.server import Server, set_prefect_env
from flows.settings import with_whole_paths
from flows.shares import LAST, Share
from flows.steps import CHAIN, start_of
from flows.turns import WhileRunning, take_turn
from flows.weights import resolve
from flows.workers import on_cluster, workers_of
from pipeline.config import AUTO, Config
from pipeline.datasets.pictures import count_pixels
from pipeline.errors import InputError, OutOfMemory, listed
from pipeline.mirror import mirror_of
from pipeline.store import StageRecord

MOST_NAMED = 5
"""Shards that an error names."""
NEEDS = {"ray": ("ray",), "prefect-ray": ("ray", "prefect_ray")}
"""Packages of the runners on a cluster."""

Finish = Callable[..., Path]
"""What writes a run's folder from the records of its shards, and ``first``, the final model of a first round."""


def run(
    config: Config, name: str, until: str, console: Console, *, while_running: WhileRunning = "refuse",
    show: bool = False, share: Share | None = None,
) -> tuple[Path | None, Plan]:  # fmt: skip
    """Run the chain up to a stage.

    Args:
        config: of the run.
        name: of the run's folder.
        until: last stage.
        console: shows the progress.
        while_running: what to do while another run of the same config goes on.
        show: go through the flow even where nothing is left to do, so that Prefect's pages show it.
        share: only so much of the pictures, up to `shares.LAST` at most; None: all.

    Returns:
        The run's folder (None where ``until`` stops before the scores), and the plan that was found at the start.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    check_name(name)
    config = settled(config)
    if share and CHAIN.index(until) > CHAIN.index(LAST):
        raise InputError(f"--shards goes up to {LAST}, got --until {until}: join the shares by a run without --shards")
    finish = partial(write_run, config, name) if until == CHAIN[-1] else None
    found = compute(config, until, console, name, finish=finish, while_running=while_running, show=show, share=share)
    return found.folder, found.plan


def settled(config: Config) -> Config:
    """Give a config whose batch of pictures is a number, see `generators.settle_batch`.

    Raises:
        InputError: something that the user can mend.
    """
    if config.experiment.generate.batch != AUTO:
        return config
    if on_cluster(config):
        raise InputError(
            "experiment.generate.batch=auto is found out on this machine, and the nodes of a Ray cluster may have "
            "other GPUs: set a number"
        )
    check_inputs(config)
    check_writable(config)
    return settle_batch(config)


def check_name(name: str) -> None:
    """Look that a run's name can be that of a folder.

    Raises:
        InputError: it cannot.
    """
    if Path(name).name != name:
        raise InputError(f"the run's name {name!r} is no name of a folder: leave out '/'")


class Computed(NamedTuple):
    """What was computed.

    Attributes:
        records: of all shards of the last round.
        plan: of the last round, as it was found at its start.
        folder: of the run, where one was written.
        first: records of the first round, where there are two.
    """

    records: list[StageRecord]
    plan: Plan
    folder: Path | None
    first: Sequence[StageRecord] = ()


def compute(
    config: Config, until: str, console: Console, name: str, *, pictures: int | None = None,
    finish: Finish | None = None, while_running: WhileRunning = "refuse", show: bool = False,
    server: Server | None = None, share: Share | None = None,
) -> Computed:  # fmt: skip
    """Compute the shards of the chain up to a stage, in two rounds where the config wants them (`flows.rounds`).

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
        share: see `run`.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    config = settled(config)
    check_inputs(config)
    if note := note_on_lists(config):
        console.print(note)
    check_writable(config)
    if on_cluster(config):  # whose processes may have other working folders
        config = with_whole_paths(config)
    one = partial(_compute_round, console=console, while_running=while_running, show=show)
    if not has_second_round(config, until) or pictures or share:
        return one(first_round(config), until, name=name, pictures=pictures, finish=finish, server=server, share=share)
    with nullcontext(server) if server else Server(config.execution.folder) as server:
        before = one(first_round(config), "train", name=f"{name}, first round", server=server)
        begun = FirstRound.of(before.records)
        if begun is None:
            raise InputError("the second round has nothing to begin with: no picture of the first one was usable")
        console.print("the second round begins with the first one's final model")
        ended = partial(finish, first=before.records) if finish else None
        found = one(config, until, name=name, finish=ended, server=server, first=begun)
    return found._replace(first=before.records)


def _compute_round(
    config: Config, until: str, *, name: str, console: Console, while_running: WhileRunning, show: bool,
    pictures: int | None = None, finish: Finish | None = None, server: Server | None = None,
    share: Share | None = None, first: FirstRound | None = None,
) -> Computed:  # fmt: skip
    """Compute one round; ``first`` is what a second one begins with, the rest as of `compute`."""
    with take_turn(config, while_running, console.print, share):
        if find_data(config) is None:
            with Board({"data": 3}, console) as board:
                set_reporter(board.show)
                prepare_data(config)
        plan = plan_round(config, until, pictures, share, first)
        if plan.complete and not show:
            found = Computed(plan.records, plan, finish(plan.records) if finish else None)
            _warn(found.records, console)
            return found
        if plan.stages["prompts"].reuse < plan.stages["prompts"].total:
            check_agent(config)
        check_pictures(config, plan)
        try:
            found = _compute(config, until, plan, console, name, pictures, finish, server, share, first)
            _warn(found.records, console)
            return found
        except InputError:
            store_of(config).sweep()  # of what the other workers had begun
            raise


def _warn(records: Sequence[StageRecord], console: Console) -> None:
    """Tell what the shards of a run warn of, those that were there before too."""
    for record in records:
        for sentence in record.warnings:
            console.print(f"warning: {record.stage} {record.shard}: {sentence}", markup=False, soft_wrap=True)


def check_inputs(config: Config) -> None:
    """Look that device, weights and data sets are there, and that own pictures and masks are as they should be.

    Raises:
        InputError: one of them is not.
    """
    experiment = config.experiment
    check_device(config.execution.device)
    if on_cluster(config) and not all(map(find_spec, NEEDS[config.execution.runner])):
        raise InputError(f"execution.runner={config.execution.runner} needs Ray: pip install 'syn4seg[ray]'")
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
            wiring.generator_place(config)
            check_generator(config)
        if experiment.refine.enabled:
            wiring.refiner_place(config)
    if config.execution.endpoint.url or config.execution.endpoint.key_variable:
        check_address(config.execution.endpoint)
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


def check_writable(config: Config) -> None:
    """Make the output folder.

    Raises:
        InputError: it cannot be made or written.
    """
    output = config.execution.folder
    if mirror := mirror_of(config.execution.output):
        mirror.check()
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
    shared: Server | None, share: Share | None, first: FirstRound | None,
) -> Computed:  # fmt: skip
    from flows import banks, learning

    output, apart = config.execution.folder, share.name if share else ""
    totals = {stage.stage: stage.total for stage in plan.stages.values()}
    data = find_data(config)
    workers = workers_of(config, lambda *m: board.show(*m), alone=plan.complete)
    set_prefect_env(output, apart)
    with nullcontext(shared) if shared else Server(output, apart) as server, Board(totals, console) as board, workers:
        server.start()
        # Prefect takes a while to start; the workers begin meanwhile with what the flow asks for first.
        if data and plan.stages.get("teacher") and not (share and share.number > 1):
            workers.begin(learning.train_teacher_stage, config, data)
        for bank in () if first and waiting_prompts(config) else novel_names(config):
            workers.begin(banks.write_prompts, config, bank)
        from flows.synthesize import run_synthesis

        try:
            records, folder = run_synthesis(
                config, name, until, workers, board.fraction, server.wait(workers.check), pictures, finish, share,
                first,
            )
            make_plan(config, until, pictures, quick=True)  # writes the index, so that the next one is quick
            return Computed(records, plan, folder)
        except Exception as error:
            raise workers.error or _short_of_memory(workers.short) or error from None


def _short_of_memory(short: Mapping[str, OutOfMemory]) -> OutOfMemory | None:
    """Tell of all shards that were too large for the memory in one sentence."""
    if not short:
        return None
    names, reasons = sorted(short), sorted({str(error) for error in short.values()})
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return OutOfMemory(
        f"too large for the memory: {', '.join(names[:MOST_NAMED])}{more}: {'; '.join(reasons)}. All others that do "
        "not hang on them are finished and kept"
    )
