"""The run as a Prefect deployment: the flow that a server starts, with a form of all settings, and its serving.

Prefect reads the types of the parameters, so that they are not put off by an import from __future__.
"""

import io
import json
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from prefect import State, flow, get_run_logger
from prefect.client.schemas.schedules import CronSchedule
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.states import Cancelled, Completed
from prefect.types.entrypoint import EntrypointType
from pydantic import NonNegativeInt, ValidationError
from rich.console import Console

from flows.run import run
from flows.settings import check_config
from flows.synthesize import FLOW
from flows.turns import AlreadyRunning, WhileRunning, grown
from pipeline.config import Config
from pipeline.errors import InputError

WIDTH = 120
"""Columns of the log lines."""


class _Log(io.TextIOBase):
    """A file whose lines go to the log of the flow run."""

    def __init__(self) -> None:
        self._logger = get_run_logger()
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._logger.info(line)
        return len(text)


def _run_name() -> str:
    return f"{flow_run.parameters['name']} {datetime.now():%m-%d %H:%M}"


@flow(name=FLOW, flow_run_name=_run_name, persist_result=False)
def scheduled(
    name: str = "picto", grow: NonNegativeInt = 0, while_running: WhileRunning = "refuse",
    config: Config = Config(),  # noqa: B008
) -> State[Any]:  # fmt: skip
    """Prompts, pictures, first labels, filtered, relabelled, sharpened, dataset, trained model, scores.

    The same run as that of `syn4seg run`: the same store, run folder and report.

    Args:
        name: ends the name of the run's folder
        grow: prompts a class that are added to those of the largest finished run; 0: none
        while_running: what to do while a run of the same config goes on
        config: what a config file holds
    """
    console = Console(file=_Log(), width=WIDTH)  # type: ignore[arg-type]
    chosen = grown(check_config(config), grow)
    try:
        folder, plan = run(chosen, name, "scores", console, while_running=while_running, show=True)
    except AlreadyRunning as error:
        return Cancelled(message=str(error))
    assert folder
    told = [f"{chosen.experiment.prompts.per_class} prompts a class" + ", all from earlier runs" * plan.complete]
    scores = json.loads((folder / "scores.json").read_text())
    if "before" in scores and "after" in scores:
        novel = (f"{100 * scores[which]['novel_miou']:.1f}" for which in ("before", "after"))
        told.append(f"novel mIoU in % {' -> '.join(novel)}")
    return Completed(message="; ".join(told))


def serve(
    config: Config, name: str, *, cron: str | None, every: int | None, grow: int, while_running: WhileRunning,
    timezone: str | None = None,
) -> None:  # fmt: skip
    """Register the deployment and execute its runs until the process is stopped.

    Args:
        config: the values that the form begins with.
        name: of the deployment and of the runs' folders.
        cron: when to run, such as ``0 2 * * *``.
        every: seconds from one run to the next; neither: only when asked for on Prefect's pages.
        grow: prompts a class that every run adds.
        while_running: refuse or queue; queued runs wait as "late" until the one before is done.
        timezone: in which cron is read, such as Europe/Berlin; None: UTC.

    Raises:
        InputError: the cron expression is none, or the time zone.
    """
    if timezone and timezone not in available_timezones():
        raise InputError(f"--timezone {timezone!r} is no time zone: give an IANA name, such as Europe/Berlin")
    if cron:
        try:
            CronSchedule(cron=cron)
        except ValidationError as error:
            raise InputError(
                f"--cron {cron!r} is no cron expression: give minute, hour, day, month and weekday, "
                'such as "0 2 * * *" for every night at two'
            ) from error
    parameters = {"config": config.model_dump(mode="json"), "name": name, "grow": grow, "while_running": while_running}
    scheduled.serve(
        name=name, schedule=Cron(cron, timezone=timezone) if cron else None, interval=every,
        parameters=parameters, entrypoint_type=EntrypointType.MODULE_PATH,
        limit=1 if while_running == "queue" else None, print_starting_message=False,
    )  # fmt: skip
