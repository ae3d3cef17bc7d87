"""The processes that compute shards. They know no Prefect: a task hands its work over and waits for the record."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

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

    def __exit__(self, *_: Any) -> None:
        set_reporter(None)
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._queue.put(None)
            self._listener.join(timeout=5)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Give ``work(...)``, computed by the next free process."""
        if self._pool is None:
            return work(*args, **kwargs)
        return self._pool.submit(work, *args, **kwargs).result()

    def warm_up(self, work: Callable[[], None]) -> None:
        """Let every process do ``work``, such as slow imports, without waiting for it."""
        if self._pool:
            for _ in range(self.count):
                self._pool.submit(work)

    def _listen(self) -> None:
        while (message := self._queue.get()) is not None:
            self._report(*message)


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


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
