"""The processes that compute shards. They know no Prefect: a task hands its work over and waits for the record."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from flows.progress import Report, set_reporter
from pipeline.config import Config

P = ParamSpec("P")
T = TypeVar("T")


def count_workers(config: Config) -> int:
    """Give the number of processes: as set, or by itself two for picto (where there are two cores) and else one.

    One process keeps one copy of every model, so more of them must be asked for where models are large.
    """
    if config.execution.workers:
        return config.execution.workers
    return min(2, os.cpu_count() or 1) if config.experiment.generate.model == "picto" else 1


class Workers:
    """Runs functions in ``count`` processes, or here when that is one; use it by ``with``.

    Args:
        count: number of processes.
        threads: CPU threads a process.
        report: hears of the progress.
    """

    def __init__(self, count: int, threads: int, report: Report) -> None:
        self.count = count
        self._threads = threads
        self._report = report
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[str, Future[Any]] = {}
        self._one_at_a_time = threading.Lock()
        self.error: BaseException | None = None

    def __enter__(self) -> Workers:
        if self.count == 1:
            limit_threads(self._threads)
            set_reporter(self._report)
            return self
        spawn = multiprocessing.get_context("spawn")
        self._queue: Any = spawn.SimpleQueue()
        arguments = (self._queue, self._threads, os.getpid())
        self._pool = ProcessPoolExecutor(self.count, spawn, _start_worker, arguments)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        if error:
            self.stop(error)
        self.end()

    def end(self) -> None:
        """End the processes when they have done what they were given."""
        set_reporter(None)
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._queue.put(None)
            self._listener.join(timeout=5)
            self._pool = None

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Give ``work(...)``, computed by the next free process.

        After the first error nothing further is begun and ``error`` holds it.
        """
        self._go_on()
        try:
            if self._pool is None:
                with self._one_at_a_time:
                    self._go_on()
                    return work(*args, **kwargs)
            begun = self._begun.pop(_key(work, args), None)
            return cast(T, begun.result()) if begun else self._pool.submit(work, *args, **kwargs).result()
        except Exception as error:
            self.stop(error)
            raise

    def begin(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin what `run` will be asked for with the same arguments, while the caller has other things to do."""
        if self._pool:
            self._begun[_key(work, args)] = self._pool.submit(work, *args, **kwargs)

    def check(self) -> None:
        """Raise the error of work that was begun and has failed."""
        for future in self._begun.values():
            if future.done():
                future.result()

    def stop(self, error: BaseException) -> None:
        """End the processes for an error, the first of which is kept; what they were computing is lost, as by a kill.

        Nothing further is begun.
        """
        if self.error is None:
            self.error = error
            if self._pool:
                for process in multiprocessing.active_children():
                    process.terminate()

    def _go_on(self) -> None:
        if self.error:
            raise RuntimeError("an earlier shard failed")

    def _listen(self) -> None:
        while (message := self._queue.get()) is not None:
            self._report(*message)


def _key(work: Callable[..., Any], args: tuple[Any, ...]) -> str:
    return f"{work.__module__}.{work.__qualname__}{args!r}"


def limit_threads(threads: int) -> None:
    """Set the number of CPU threads for libraries that are imported later, and for torch."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _start_worker(queue: Any, threads: int, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    set_reporter(lambda *message: queue.put(message))
    limit_threads(threads)
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which Python reports as leaked when a process is ended


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
