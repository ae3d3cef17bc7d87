"""A Ray cluster of two nodes on this machine."""

import os

import pytest

pytest.importorskip("ray", reason="make test-ray installs Ray")

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture(autouse=True, scope="session")
def only_loopback():
    """Nothing is refused: to learn this machine's own address Ray connects a socket that sends nothing."""


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each; Ray is not connected to it yet."""
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
