"""A Ray cluster of two nodes on this machine."""

import os
import socket
from contextlib import ExitStack

import pytest

os.environ |= {  # Ray reads them when it is imported
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "60",
}  # fmt: skip

pytest.importorskip("ray", reason="make test-ray installs Ray")


@pytest.fixture(autouse=True, scope="session")
def only_loopback():
    """Nothing is refused: to learn this machine's own address Ray connects a socket that sends nothing."""


def _node():
    """One CPU; ports of its own for Ray's agents, so that no node waits for them to choose."""
    agents = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in agents]
        for one in sockets:
            one.bind(("", 0))
        return {"num_cpus": 1, **{agent: one.getsockname()[1] for agent, one in zip(agents, sockets, strict=True)}}


def _start(node, tries=4):
    """Start a node; Ray gives its agents fifteen seconds, which is little on a machine with much other work."""
    for _ in range(tries - 1):
        try:
            return node()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return node()


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each; Ray is not connected to it yet."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"include_dashboard": False}
    nodes = _start(lambda: Cluster(initialize_head=True, head_node_args={**head, **_node()}))
    _start(lambda: nodes.add_node(**_node()))
    yield nodes
    ray.shutdown()
    nodes.shutdown()
