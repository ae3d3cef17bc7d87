"""Processes and their GPUs; what fails one shard and what ends the run."""

import os
import subprocess
import sys

import pytest
import torch

from flows import devices
from flows.devices import deal, shared_gpus
from flows.processes import Processes
from flows.run import settled
from flows.settings import load_config
from flows.workers import Workers, count_workers
from pipeline.errors import InputError, OutOfMemory

MEET = """
import os, sys, time
from pathlib import Path
folder, gpu = Path(sys.argv[1]), os.environ["CUDA_VISIBLE_DEVICES"]
(folder / gpu).touch()
while len(list(folder.iterdir())) < 2:
    time.sleep(0.05)
print(gpu)
"""


def test_every_process_has_its_own_gpu(tmp_path):
    """Of two processes at work at once each sees one GPU, and not the other's."""
    pool = Processes(2, 1, ("3", "GPU-5f"), lambda *_: None)
    command = [sys.executable, "-c", MEET, str(tmp_path)]
    seen = [pool.submit(subprocess.check_output, command, text=True) for _ in range(2)]
    assert sorted(future.result(120).strip() for future in seen) == ["3", "GPU-5f"]
    pool.end()


def test_gpus_are_dealt_in_turns():
    """As many to each process as to any other, but for one."""
    assert deal(("0", "1"), 2) == ["0", "1"]
    assert deal(("0", "1"), 5) == ["0", "1", "0", "1", "0"]
    assert deal(("0", "1", "2"), 2) == ["0", "1"]
    assert deal((), 4) == []


def test_gpus_are_those_that_may_be_used(monkeypatch):
    """What CUDA_VISIBLE_DEVICES names, else all by number; a worker each, unless the config names device or number."""
    config = load_config(None, [])
    assert count_workers(config) == min(2, os.cpu_count())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(devices, "NODES", ("/",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert shared_gpus(config) == ("0", "1", "2")
    assert count_workers(config) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-5f,7")
    assert shared_gpus(config) == ("4", "GPU-5f", "7")
    for device in ("cpu", "cuda:1"):
        assert shared_gpus(load_config(None, [f"execution.device={device}"])) == ()
    assert count_workers(load_config(None, ["execution.workers=5"])) == 5


def test_a_batch_of_this_machine_is_not_for_a_cluster():
    """With Ray the batch is a number: what fits here says nothing of the nodes."""
    config = load_config(None, ["execution.runner=ray", "experiment.generate.batch=auto"])
    with pytest.raises(InputError, match=r"batch=auto is found out on this machine.*set a number"):
        settled(config)


def test_want_of_memory_is_the_shards_alone():
    """After OutOfMemory the next work is done; after any other error none is."""
    with Workers(1, 1, lambda *_: None) as workers:
        with pytest.raises(OutOfMemory, match="batch=4"):
            workers.run(_raise, OutOfMemory("take batch=4"))
        assert workers.run(len, "abc") == 3
        with pytest.raises(ZeroDivisionError):
            workers.run(_raise, ZeroDivisionError())
        with pytest.raises(RuntimeError, match="an earlier shard failed"):
            workers.run(len, "abc")
        assert isinstance(workers.error, ZeroDivisionError)


def test_a_lost_process_is_told():
    """A process that the system ended gives a sentence that says what to do."""
    with Workers(2, 1, lambda *_: None, lambda report: Processes(2, 1, (), report)) as workers:
        with pytest.raises(RuntimeError, match=r"worker process is gone.*lower execution\.workers"):
            workers.run(os._exit, 9)
        assert workers.error


def test_prefects_processes_stay_and_give_errors_as_they_are(prefect, monkeypatch):
    """One process for all, with its GPU and threads, whose progress is heard; its errors are those of our processes."""
    heard = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "NODES", ("/",))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")

    def work():
        from flows.progress import tell

        tell("images", "boat-000", 0.5)
        return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]

    def short():
        raise OutOfMemory("take batch=4")

    with _prefects(heard) as workers:
        first = workers.run(work)
        with pytest.raises(OutOfMemory, match="take batch=4"):
            workers.run(short)
        assert workers.run(work) == first
        assert first[0] != os.getpid()
        assert first[1:] == ("3", "2")
        with pytest.raises(ZeroDivisionError):
            workers.run(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="an earlier shard failed"):
            workers.run(work)
    assert heard == [("images", "boat-000", 0.5)] * 2


def test_a_process_that_prefect_ends_is_told(prefect):
    """Where Prefect's engine fails it calls exit, as this does; the run ends with a sentence and does not wait."""
    with _prefects([]) as workers, pytest.raises(RuntimeError, match="worker process is gone"):
        workers.run(lambda: exit(1))


def _prefects(heard):
    from flows.runner_pool import PrefectProcesses

    config = load_config(None, ["execution.runner=prefect", "execution.threads=2"])
    return Workers(1, 1, lambda *message: heard.append(message), lambda report: PrefectProcesses(config, 1, report))


def _raise(error):
    raise error
