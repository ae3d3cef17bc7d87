"""Shards computed by the actors of a Ray cluster."""

import os
import time
from concurrent.futures import BrokenExecutor

import pytest
import ray
from rich.console import Console

from flows.data import store_of
from flows.ray_pool import Actors, _Actor, connect, count_actors
from flows.run import run
from flows.settings import load_config
from flows.workers import Workers
from pipeline.errors import InputError, OutOfMemory
from pipeline.hashing import list_files

TINY = [
    "experiment.base_pictures=40", "experiment.validation_pictures=20", "experiment.prompts.per_class=2",
    "experiment.prompts.max_similarity=0.99", "experiment.prompts.classes=[boat,bottle]", "experiment.generate.steps=2",
    "experiment.train.base_steps=3", "experiment.train.batch=2", "experiment.annotate.prompt_odds=1e6",
    "experiment.filter.min_similarity=-1", "experiment.filter.min_area=0", "execution.workers=1",
]  # fmt: skip


@pytest.fixture
def config(cluster, tmp_path):
    """A tiny run on the cluster."""
    return load_config(None, [
        *TINY, "execution.runner=ray", f"execution.address={cluster.address}", "execution.workers=0",
        f"execution.output={tmp_path / 'ray'}",
    ])  # fmt: skip


def dataset_of(config):
    (folder,) = (config.execution.folder / "store" / "dataset").iterdir()
    return {name: (folder / name).read_bytes() for name in list_files(folder) if name != "record.json"}


@pytest.fixture(scope="module")
def alone(prefect, tmp_path_factory):
    """The same run in one process of this machine."""
    config = load_config(None, [*TINY, f"execution.output={tmp_path_factory.mktemp('alone')}"])
    run(config, "alone", "dataset", Console(quiet=True))
    return config


@pytest.mark.parametrize("runner", ["ray", "prefect-ray"])
def test_two_nodes_give_the_bytes_of_one_process(config, alone, runner):
    """One process of this machine and a cluster of two nodes: the same shards, the same dataset, byte for byte."""
    config = config.model_copy(update={"execution": config.execution.model_copy(update={"runner": runner})})
    _, plan = run(config, "ray", "dataset", Console(quiet=True))
    assert not plan.complete
    one, two = ({(r.place, r.content) for r in store_of(c).records()} for c in (alone, config))
    assert len(two) == 2 + 1 + 5 * 2 + 1
    assert two == one
    assert len(dataset_of(config)) > 8
    assert dataset_of(config) == dataset_of(alone)


def test_every_node_has_an_actor_that_stays(config):
    """Work goes to both nodes, and to the same processes again; what it tells is heard here."""
    heard = []
    pool = Actors(config, count_actors(config), lambda *message: heard.append(message))

    def where():
        from flows.progress import tell

        time.sleep(1)
        tell("images", "boat-000", 0.5)
        return ray.get_runtime_context().get_node_id(), os.getpid()

    rounds = [{f.result(120) for f in [pool.submit(where), pool.submit(where)]} for _ in range(2)]
    pool.end()
    assert len({node for node, _ in rounds[0]}) == 2
    assert rounds[0] == rounds[1]
    assert heard == [("images", "boat-000", 0.5)] * 4


def test_prefects_tasks_are_on_both_nodes_and_end_with_the_run(config, prefect):
    """Shards of prefect-ray go to both nodes and tell their progress; errors are themselves, and stop what goes on."""
    from flows.runner_pool import PrefectRay

    heard = []

    def where():
        from flows.progress import tell

        time.sleep(2)
        tell("images", "boat-000", 1.0)
        return ray.get_runtime_context().get_node_id()

    def short():
        raise OutOfMemory("take batch=4")

    with Workers(2, 1, lambda *message: heard.append(message), lambda report: PrefectRay(config, 2, report)) as workers:
        pool = workers._pool
        assert len({future.result(120) for future in [pool.submit(where), pool.submit(where)]}) == 2
        assert heard == [("images", "boat-000", 1.0)] * 2
        with pytest.raises(OutOfMemory, match="take batch=4"):
            workers.run(short)
        with pytest.raises(RuntimeError, match="worker process is gone"):
            workers.run(os._exit, 1)
    with Workers(2, 1, lambda *_: None, lambda report: PrefectRay(config, 2, report)) as workers:
        long = workers._pool.submit(time.sleep, 600)
        with pytest.raises(ZeroDivisionError):
            workers.run(lambda: 1 // 0)
        with pytest.raises(BrokenExecutor):
            long.result(60)
    assert not list((config.execution.folder / "store" / ".locks").glob("ray-*"))


def test_a_lost_actor_loses_no_shard(config, tmp_path):
    """Another actor computes what was begun; when that is lost too, the run ends with a sentence."""

    def fall(times):
        mark = tmp_path / f"{times}-{time.monotonic_ns()}"
        if len(list(tmp_path.glob(f"{times}-*"))) < times:
            mark.touch()
            os._exit(1)
        return "done"

    with Workers(2, 1, lambda *_: None, lambda report: Actors(config, 2, report)) as workers:
        assert workers.run(fall, 1) == "done"
    with Workers(2, 1, lambda *_: None, lambda report: Actors(config, 2, report)) as workers:
        with pytest.raises(RuntimeError, match="so was the one that took over its shard"):
            workers.run(fall, 9)
        with pytest.raises(RuntimeError, match="an earlier shard failed"):
            workers.run(fall, 1)


def test_errors_come_back_as_they_are(config):
    """Want of memory on a node is the shard's alone here too."""

    def short():
        raise OutOfMemory("take batch=4")

    with Workers(1, 1, lambda *_: None, lambda report: Actors(config, 1, report)) as workers:
        with pytest.raises(OutOfMemory, match="take batch=4"):
            workers.run(short)
        assert workers.run(len, "abc") == 3
        with pytest.raises(ZeroDivisionError):
            workers.run(lambda: 1 // 0)
        assert isinstance(workers.error, ZeroDivisionError)


def test_room_of_the_cluster(config):
    """More workers than the cluster has room for would wait for ever, and are refused."""
    assert count_actors(config) == 2
    many = config.model_copy(update={"execution": config.execution.model_copy(update={"workers": 3})})
    with pytest.raises(InputError, match=r"execution\.workers: got 3, but the Ray cluster has room for 2"):
        count_actors(many)


def test_nodes_that_do_not_reach_prefects_server_are_told(config, monkeypatch):
    """With prefect-ray the nodes of other machines need a server that they see; our actors need none."""
    nodes = [{**node, "NodeManagerAddress": f"10.0.0.{place}"} for place, node in enumerate(ray.nodes())]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert count_actors(config) == 2
    theirs = config.model_copy(update={"execution": config.execution.model_copy(update={"runner": "prefect-ray"})})
    with pytest.raises(InputError, match="name it in PREFECT_API_URL"):
        count_actors(theirs)
    monkeypatch.setenv("PREFECT_API_URL", "http://10.0.0.0:4200/api")
    assert count_actors(theirs) == 2


def test_a_node_without_the_folder_is_told(config):
    """A node whose folder of that name is another one would compute what nobody sees, and says so instead."""
    pool = Actors(config, 1, lambda *_: None)
    pool.submit(len, "abc").result(120)
    pool.end()
    assert not list((config.execution.folder / "store" / ".locks").glob("ray-*"))
    other = ray.remote(_Actor).remote(config, "/", {}, config.execution.folder.resolve() / "store" / ".locks" / "gone")
    with pytest.raises(InputError, match=r"does not see .*/ray: set execution.output to a folder on a disk"):
        raise _cause(lambda: ray.get(other.compute.remote(len, ("abc",), {})))


def _cause(call):
    with pytest.raises(ray.exceptions.RayTaskError) as error:
        call()
    return error.value.cause


def test_no_cluster_is_a_sentence(config, cluster):
    """An address where nothing answers."""
    ray.shutdown()
    wrong = config.model_copy(update={"execution": config.execution.model_copy(update={"address": "nowhere"})})
    with pytest.raises(InputError, match=r"no Ray cluster answers at execution\.address='nowhere'"):
        connect(wrong)
