"""Where shards are computed: in this process, in others of this machine, or on a Ray cluster. Knows no Prefect.

A task hands its work over and waits for the record.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from flows.devices import shared_gpus
from flows.processes import Processes, limit_threads
from flows.progress import Report, set_reporter
from pipeline.config import Config
from pipeline.errors import OutOfMemory

P = ParamSpec("P")
T = TypeVar("T")


class Pool(Protocol):
    """Processes that compute; the models that they load stay in them."""

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the next free process compute ``work(...)``."""

    def end(self) -> None:
        """End the processes when they are done with what they compute; nothing further is begun."""

    def kill(self) -> None:
        """End the processes at once."""


OpenPool = Callable[[Report], Pool]
"""Starts the processes of a pool; they report their progress."""


def on_cluster(config: Config) -> bool:
    """Tell whether shards are computed on a Ray cluster."""
    return config.execution.runner in ("ray", "prefect-ray")


def count_workers(config: Config) -> int:
    """Give the number of processes: as set, or by itself one a GPU, without any two for picto and else one.

    One process keeps one copy of every model, so more of them must be asked for where models are large.
    """
    if on_cluster(config):
        from flows.ray_pool import count_actors

        return count_actors(config)
    if config.execution.workers:
        return config.execution.workers
    if gpus := shared_gpus(config):
        return len(gpus)
    return min(2, os.cpu_count() or 1) if config.experiment.generate.model == "picto" else 1


def workers_of(config: Config, report: Report, *, alone: bool = False) -> Workers:
    """Give the workers that the config asks for, or this process alone."""
    execution = config.execution
    count = 1 if alone else count_workers(config)
    if execution.runner == "ray" and not alone:
        from flows.ray_pool import Actors

        return Workers(count, execution.threads, report, partial(Actors, config, count))
    if execution.runner.startswith("prefect") and not alone:

        def open_runner(report: Report) -> Pool:
            from flows.runner_pool import PrefectProcesses, PrefectRay

            return (PrefectRay if on_cluster(config) else PrefectProcesses)(config, count, report)

        return Workers(count, execution.threads, report, open_runner, late=True)
    if count == 1:
        return Workers(1, execution.threads, report)
    return Workers(count, execution.threads, report, partial(Processes, count, execution.threads, shared_gpus(config)))


class Workers:
    """Runs functions in a pool of processes, or here where there is none; use it by ``with``.

    Args:
        count: how many functions are computed at once.
        threads: CPU threads of this process where it computes itself.
        report: hears of the progress.
        open_pool: starts the processes; None: this process computes, one function at a time.
        late: the processes need Prefect's server and are started by `open`, inside the run's flow; what is begun before
            that begins with the flow.

    Attributes:
        error: what ended the work, None while it goes on.
        short: shard -> why it did not fit into the memory; the others go on.
    """

    def __init__(
        self, count: int, threads: int, report: Report, open_pool: OpenPool | None = None, *, late: bool = False
    ) -> None:
        self.count = count
        self.error: BaseException | None = None
        self.short: dict[str, OutOfMemory] = {}
        self._threads = threads
        self._report = report
        self._open_pool = open_pool
        self._late = late
        self._pool: Pool | None = None
        self._begun: dict[str, Future[Any]] = {}
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Workers:
        if not self._open_pool:
            limit_threads(self._threads)
            set_reporter(self._report)
        elif not self._late:
            self.open()
        return self

    def open(self) -> None:
        """Start the processes, if that has not been done."""
        if self._open_pool and not self._pool:
            self._pool = self._open_pool(self._report)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        if error:
            self.stop(error)
        self.end()

    def end(self) -> None:
        """End the processes when they have done what they were given."""
        set_reporter(None)
        if self._pool:
            self._pool.end()
            self._pool = None

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Give ``work(...)``, computed by the next free process.

        After the first error nothing further is begun and ``error`` holds it; want of memory is the shard's alone.

        Raises:
            OutOfMemory: the work does not fit into the memory.
        """
        self._go_on()
        try:
            return self._run(work, *args, **kwargs)
        except OutOfMemory as error:
            sentence = str(error)
        except BrokenExecutor as error:
            lost = RuntimeError(
                "a worker process is gone, most often because the machine ran out of main memory: lower "
                "execution.workers; the same command goes on from here"
            )
            self.stop(lost)
            raise lost from error
        except Exception as error:
            self.stop(error)
            raise
        raise OutOfMemory(sentence)  # a new one: the traceback of the old one keeps the arrays in the memory

    def begin(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin what `run` will be asked for with the same arguments, while the caller has other things to do."""
        if self._pool:
            self._begun[_key(work, args)] = self._pool.submit(work, *args, **kwargs)

    def check(self) -> None:
        """Raise the error of work that was begun and has failed."""
        for future in self._begun.values():
            if future.done() and not isinstance(future.exception(), OutOfMemory):
                future.result()

    def stop(self, error: BaseException) -> None:
        """End the processes for an error, the first of which is kept; what they were computing is lost, as by a kill.

        Nothing further is begun.
        """
        if self.error is None:
            self.error = error
            if self._pool:
                self._pool.kill()

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._open_pool is None:
            with self._one_at_a_time:
                self._go_on()
                return work(*args, **kwargs)
        assert self._pool
        begun = self._begun.pop(_key(work, args), None)
        return cast(T, begun.result()) if begun else self._pool.submit(work, *args, **kwargs).result()

    def _go_on(self) -> None:
        if self.error:
            raise RuntimeError("an earlier shard failed")


def _key(work: Callable[..., Any], args: tuple[Any, ...]) -> str:
    return f"{work.__module__}.{work.__qualname__}{args!r}"
