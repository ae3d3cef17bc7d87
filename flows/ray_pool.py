"""Workers on a Ray cluster: an actor a GPU, or a node where there is none. The only file that connects to Ray.

Actors keep their models and their GPU for the whole run. Ray's tasks would not: Ray ends a process after one task with
a GPU, so that the models would be loaded again for every shard.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from flows.data import prepare_data, store_of
from flows.processes import limit_threads
from flows.progress import Report, set_reporter
from pipeline.config import Config
from pipeline.errors import InputError, cause_of

T = TypeVar("T")

PROGRESS_SECONDS = 1.0
TRIES = 2
"""How often a shard is begun when its actor is lost; one that ends each of them has a cause of its own."""
PASSED_ON = ("HF_", "TRANSFORMERS_", "DIFFUSERS_", "TQDM_")
"""Beginnings of the environment variables that actors take over, but for tokens."""


def connect(config: Config) -> Any:
    """Give the library, connected to the cluster of the config, or to one of this machine's own.

    Raises:
        InputError: no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        address = config.execution.address or None
        try:
            ray.init(address, include_dashboard=None if address else False, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers at execution.address={config.execution.address!r} ({cause_of(error)}): start "
                "one with ray start --head, or leave the address out for this machine alone"
            ) from error
    return ray


def count_actors(config: Config) -> int:
    """Give the number of actors: as set, else one a GPU of the cluster, or a node where there is none.

    Raises:
        InputError: the cluster has no room for so many, or cannot be reached, or cannot reach Prefect's server.
    """
    ray, execution = connect(config), config.execution
    there = ray.cluster_resources()
    gpus = gpus_of(ray, config)
    room, what = (gpus, "GPUs") if gpus else (int(there.get("CPU", 0)) // execution.threads, "actors' CPUs")
    if execution.workers > room:
        raise InputError(
            f"execution.workers: got {execution.workers}, but the Ray cluster has room for {room} ({what}): lower it"
        )
    nodes = [node for node in ray.nodes() if node["Alive"]]
    machines = {node["NodeManagerAddress"] for node in nodes}
    if execution.runner == "prefect-ray" and len(machines) > 1 and not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            "execution.runner=prefect-ray: nodes report to Prefect's server themselves, and that of a run is seen by "
            "its own machine alone: start one with prefect server start --host 0.0.0.0 and name it in PREFECT_API_URL, "
            "or take execution.runner=ray"
        )
    return execution.workers or gpus or len(nodes)


class Actors:
    """A `flows.workers.Pool` on a Ray cluster.

    When an actor is lost with its node, another one computes its shard.

    Args:
        config: of the run; every node needs this package, the weights, and the output folder or its URL.
        count: number of actors.
        report: hears of the progress.
    """

    def __init__(self, config: Config, count: int, report: Report) -> None:
        self._ray = connect(config)
        self._report = report
        gpus = 1 if gpus_of(self._ray, config) else 0
        kind = self._ray.remote(
            num_cpus=config.execution.threads, num_gpus=gpus, max_concurrency=2, scheduling_strategy="SPREAD"
        )(_Actor)
        self._setup = setup_of(config)
        self._actors = [kind.remote(*self._setup) for _ in range(count)]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for actor in self._actors:
            self._free.put(actor)
        self._lost = 0
        self._count_lost = threading.Lock()
        self._over = False
        self._threads = ThreadPoolExecutor(count)

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the next free actor compute ``work(...)``."""
        return self._threads.submit(self._compute, work, args, kwargs)

    def end(self) -> None:
        """End the actors when they are done with what they compute; nothing further is begun."""
        self._threads.shutdown(cancel_futures=True)
        self.kill()
        remove_mark(self._setup)

    def kill(self) -> None:
        """End the actors at once."""
        self._over = True
        for actor in self._actors:
            self._ray.kill(actor)

    def _compute(self, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        for _ in range(TRIES):
            actor = self._free.get()
            if actor is None:
                self._free.put(None)
                break
            try:
                found: T = self._ask(actor, work, args, kwargs)
            except self._ray.exceptions.RayActorError:
                self._lose()
                continue
            except self._ray.exceptions.RayTaskError as error:
                self._free.put(actor)
                raise (error.cause or error) from None
            self._free.put(actor)
            return found
        raise RuntimeError(
            "an actor of the Ray cluster was lost, and so was the one that took over its shard, or there is none left: "
            "see ray status and the nodes' memory; the same command goes on from here"
        )

    def _ask(self, actor: Any, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        shard = actor.compute.remote(work, args, kwargs)
        done = False
        while not done:
            done = bool(self._ray.wait([shard], timeout=PROGRESS_SECONDS)[0])
            for message in self._ray.get(actor.told.remote()):
                self._report(*message)
        found: T = self._ray.get(shard)
        return found

    def _lose(self) -> None:
        with self._count_lost:
            self._lost += 1
            if self._over or self._lost == len(self._actors):
                self._free.put(None)


class _Actor:
    """A process of the cluster that computes one shard at a time and tells of its progress meanwhile."""

    def __init__(self, config: Config, folder: str, environment: dict[str, str], mark: Path | None) -> None:
        os.environ |= environment
        if Path(folder).is_dir():  # relative paths of the config mean what they mean where the run was started
            os.chdir(folder)
        self._messages: list[tuple[str, str, float]] = []
        limit_threads(config.execution.threads)
        self._wrong: InputError | None = None
        if mark and not mark.exists():
            self._wrong = InputError(
                f"the node {socket.gethostname()} of the Ray cluster does not see {mark.parents[2]}: set "
                "execution.output to a folder on a disk that all nodes share, or to a URL"
            )
            return
        try:
            prepare_data(config)  # where the nodes do not share the folder
        except InputError as error:
            self._wrong = error

    def compute(self, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if self._wrong:
            raise self._wrong
        set_reporter(lambda *message: self._messages.append(message))
        return work(*args, **kwargs)

    def told(self) -> list[tuple[str, str, float]]:
        """Give what was told since this was asked last."""
        messages = self._messages[:]
        del self._messages[: len(messages)]
        return messages


Setup = tuple[Config, str, dict[str, str], Path | None]
"""What a process of the cluster begins with: config, working folder, environment, mark in the output folder."""


def setup_of(config: Config) -> Setup:
    """Give what the processes of a cluster begin with."""
    environment = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON) and "TOKEN" not in k}
    return config, str(Path.cwd()), environment, None if "://" in config.execution.output else _put_mark(config)


def remove_mark(setup: Setup) -> None:
    """Remove the mark in the output folder when the processes have ended."""
    if mark := setup[-1]:
        mark.unlink(missing_ok=True)


def on_node(
    setup: Setup, work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[T, list[tuple[str, str, float]]]:
    """Compute ``work(...)`` in any process of the cluster; gives what it told too."""
    actor = _Actor(*setup)
    return actor.compute(work, args, kwargs), actor.told()


def _put_mark(config: Config) -> Path:
    """Leave a file in the output folder, by which an actor knows that its folder of that name is the same one."""
    store = store_of(config)
    with store.lock("ray"):
        mark = store.root.resolve() / ".locks" / f"ray-{uuid.uuid4().hex}"
        mark.touch()
    return mark


def gpus_of(ray: Any, config: Config) -> int:
    """Give the number of GPUs of a cluster that the run uses."""
    return int(ray.cluster_resources().get("GPU", 0)) if config.execution.device in ("auto", "cuda") else 0
