"""Prefect's own task runners as pools: its processes on this machine, or the tasks of prefect-ray on a cluster.

A runner is entered once for all stages of a run, so that its processes keep their models. What a stage's task hands
over is a task run once more, of the run's own flow, which a process of the runner executes.
"""

from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, SettingsContext, get_settings_context
from prefect.runtime import task_run
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from flows.devices import shared_gpus
from flows.processes import Setup, start
from flows.progress import Report
from flows.ray_pool import TRIES, connect, gpus_of, on_node, remove_mark, setup_of
from pipeline.config import Config

T = TypeVar("T")

_own: dict[str, str] = {}
"""The environment variables that are this process's own: its GPU, its threads."""


def _compute(call: bytes) -> Any:
    os.environ |= _own  # Prefect has just set the parent's
    work, args, kwargs = cloudpickle.loads(call)
    return work(*args, **kwargs)


compute = task(name="shard", cache_policy=NO_CACHE, persist_result=False)(_compute)
"""The task of all shards. What it takes is pickled, since Prefect would look for futures in every part of a config."""


class _RunnerPool:
    """A `flows.workers.Pool` of a task runner of Prefect; it is made inside the run's flow.

    Args:
        runner: is entered at once.
        count: how many shards are handed to it at a time.
        context: in which it is used.
    """

    def __init__(self, runner: TaskRunner[Any], count: int, context: Context) -> None:
        self._context = context
        self._runner = context.run(runner.__enter__)
        self._waiting = ThreadPoolExecutor(count)
        self._begun: set[Any] = set()
        self._over = False

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the next free process compute ``work(...)``."""
        name = str(task_run.name or work.__name__)
        call = cloudpickle.dumps((work, args, kwargs))
        return self._waiting.submit(self._context.copy().run, self._wait, name, call)

    def end(self) -> None:
        """End the processes when they are done with what they compute; nothing further is begun."""
        self._waiting.shutdown(cancel_futures=True)
        self._context.run(self._runner.__exit__, None, None, None)

    def kill(self) -> None:
        """End what is computed at once, and begin nothing further."""
        self._over = True
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._end_begun()

    def _end_begun(self) -> None:
        raise NotImplementedError

    def _wait(self, name: str, call: bytes) -> Any:
        future = self._runner.submit(compute.with_options(task_run_name=name), {"call": call})
        self._begun.add(future)
        if self._over:  # meanwhile
            self._end_begun()
        try:
            return future.result()
        finally:
            self._begun.discard(future)


class PrefectProcesses(_RunnerPool):
    """Processes of this machine, by Prefect's `ProcessPoolTaskRunner`; they begin and end as ours do.

    Args:
        config: of the run.
        count: number of processes.
        report: hears of the progress.
    """

    def __init__(self, config: Config, count: int, report: Report) -> None:
        self._setup = Setup(count, config.execution.threads, shared_gpus(config), report)
        settings = get_settings_context()

        def same_server() -> Any:
            SettingsContext(profile=settings.profile, settings=settings.settings).__enter__()
            return lambda kind, message: (kind, message)

        # Prefect's thread that passes on its processes' events knows the environment's settings alone, and would start
        # a second server; it calls this first.
        runner = ProcessPoolTaskRunner(count, [same_server], _start, self._setup.arguments)
        super().__init__(runner, count, _context_of_run())

    def end(self) -> None:
        """End the processes when they are done with what they compute; nothing further is begun."""
        super().end()
        self._setup.end()

    def _end_begun(self) -> None:
        for process in multiprocessing.active_children():
            process.terminate()


class PrefectRay(_RunnerPool):
    """Tasks on a Ray cluster, by `RayTaskRunner`; Ray begins a shard anew whose node was lost.

    What a shard tells of its progress is heard when it is done.

    Args:
        config: of the run; every node needs what `flows.ray_pool.Actors` needs, and reaches Prefect's server.
        count: how many shards are computed at once.
        report: hears of the progress.
    """

    def __init__(self, config: Config, count: int, report: Report) -> None:
        from prefect_ray import RayTaskRunner
        from prefect_ray.context import RemoteOptionsContext

        self._ray = connect(config)  # Prefect's runner takes the connection that is there
        self._report = report
        self._ray_setup = setup_of(config)
        options = {
            "num_cpus": config.execution.threads, "num_gpus": 1 if gpus_of(self._ray, config) else 0,
            "max_retries": TRIES - 1, "scheduling_strategy": "SPREAD",
        }  # fmt: skip
        context = _context_of_run()
        context.run(RemoteOptionsContext(current_remote_options=options).__enter__)
        super().__init__(RayTaskRunner(config.execution.address or None), count, context)

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the next free process of the cluster compute ``work(...)``."""
        there: Callable[..., Any] = on_node
        return super().submit(there, self._ray_setup, work, args, kwargs)

    def end(self) -> None:
        """End when all is done that was begun."""
        super().end()
        remove_mark(self._ray_setup)

    def _end_begun(self) -> None:
        for future in list(self._begun):
            self._ray.cancel(future.wrapped_future, force=True)

    def _wait(self, name: str, call: bytes) -> Any:
        lost = self._ray.exceptions
        try:
            found, told = super()._wait(name, call)
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.TaskCancelledError) as error:
            raise BrokenExecutor(str(error)) from error
        for message in told:
            self._report(*message)
        return found


@flow(name="shards", persist_result=False)
def _no_flow() -> None:
    """Stand for the run's flow in the processes."""


def _context_of_run() -> Context:
    """Give the context of the run's flow, but for what of it no other process can take over: its function."""
    context = copy_context()
    if run := FlowRunContext.get():
        context.run(run.model_copy(update={"flow": _no_flow, "parameters": {}}).__enter__)
    return context


def _start(*arguments: Any) -> None:
    """Begin a process; where Prefect's engine fails it asks for the end of the process, which Python's pool survives.

    Its futures would then wait for ever. So the process ends, which the pool notices; Ctrl-C is left to the parent.
    """
    builtins.exit = os._exit  # type: ignore[assignment]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = dict(os.environ)
    start(*arguments)
    _own.update({name: value for name, value in os.environ.items() if before.get(name) != value})
