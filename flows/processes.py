"""Worker processes of this machine, each with a GPU of its own where there is one."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from flows.devices import deal, take_gpu
from flows.progress import Report, set_reporter

T = TypeVar("T")


class Setup:
    """What processes of this machine begin with, and the way back for what they tell.

    Args:
        count: number of processes.
        threads: CPU threads a process.
        gpus: GPUs that they share, see `flows.devices`.
        report: hears of the progress.

    Attributes:
        arguments: of `start`, which each process calls first.
    """

    def __init__(self, count: int, threads: int, gpus: Sequence[str], report: Report) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._told: Any = spawn.SimpleQueue()
        own: Any = spawn.SimpleQueue()
        for gpu in deal(gpus, count):
            own.put(gpu)
        self.arguments = (self._told, own if gpus else None, threads, os.getpid())
        self._report = report
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def end(self) -> None:
        """Hear what was told until now, and nothing further."""
        self._told.put(None)
        self._listener.join(timeout=5)

    def _listen(self) -> None:
        while (message := self._told.get()) is not None:
            self._report(*message)


class Processes:
    """A `flows.workers.Pool` of spawned processes, which end with this one, however it ends.

    Args:
        count: number of processes.
        threads: CPU threads a process.
        gpus: GPUs that they share, see `flows.devices`.
        report: hears of the progress.
    """

    def __init__(self, count: int, threads: int, gpus: Sequence[str], report: Report) -> None:
        self._setup = Setup(count, threads, gpus, report)
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, spawn, start, self._setup.arguments)

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the next free process compute ``work(...)``."""
        return self._pool.submit(work, *args, **kwargs)

    def end(self) -> None:
        """End the processes when they are done with what they compute; nothing further is begun."""
        self._pool.shutdown(cancel_futures=True)
        self._setup.end()

    def kill(self) -> None:
        """End the processes at once."""
        for process in multiprocessing.active_children():
            process.terminate()


def limit_threads(threads: int) -> None:
    """Set the number of CPU threads for libraries that are imported later, and for torch."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def start(told: Any, own: Any, threads: int, parent: int) -> None:
    """Begin a process: a GPU of its own, its threads, its progress, and its end with the process ``parent``."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if own is not None:
        take_gpu(own.get())
    set_reporter(lambda *message: told.put(message))
    limit_threads(threads)
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which Python reports as leaked when a process is ended


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
