"""For all tests: one thread, no network but loopback, nothing outside temporary folders."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

os.environ |= {
    "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_HOME": tempfile.mkdtemp(prefix="prefect-"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "280", "PREFECT_API_REQUEST_TIMEOUT": "280",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error",
}  # fmt: skip
os.environ.pop("PREFECT_API_URL", None)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def only_loopback():
    """Refuse connections that leave this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise RuntimeError(f"a test tried to reach {address}")
        return connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def prefect():
    """Prefect's own test server. One for all: a second server in one process waits for the first for ever."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=280):
        yield


@pytest.fixture
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).parents[1]


@pytest.fixture
def shared(root):
    """Give the folder of shared data beside the repository, or the one that SYN4SEG_SHARED_DATA names."""
    folder = Path(os.environ.get("SYN4SEG_SHARED_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no shared data")
    return folder
