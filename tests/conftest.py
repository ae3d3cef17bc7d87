"""For all tests: one thread, no network but loopback, nothing outside temporary folders."""

import json
import os
import socket
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory):
    """Give the folder of a tiny, untrained pipeline by its kind (see tests/tiny_generators.py), each made once."""
    from tests.tiny_generators import save_tiny_generator

    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = save_tiny_generator(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory):
    """The folder of a tiny, untrained chat model."""
    from tests.tiny_generators import save_tiny_chat_model

    return save_tiny_chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def shared(root):
    """Give the folder of shared data beside the repository, or the one that SYN4SEG_SHARED_DATA names."""
    folder = Path(os.environ.get("SYN4SEG_SHARED_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no shared data")
    return folder


class ChatServer(ThreadingHTTPServer):
    """A loopback server that speaks OpenAI's chat protocol.

    Attributes:
        replies: given in turn, the last one for ever: the answer's text; (status, headers, body); seconds of silence;
            or a function of the question that gives one of these.
        asked: (path, headers, question) of every request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.replies, self.asked = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, dict(self.headers), question))
        reply = server.replies[min(len(server.asked), len(server.replies)) - 1]
        reply = reply(question) if callable(reply) else reply
        if isinstance(reply, float):
            time.sleep(reply)
            return
        if isinstance(reply, str):
            reply = (200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}))
        status, headers, body = reply
        self.send_response(status)
        for name, value in {"Content-Length": len(body.encode()), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def chat_server(monkeypatch):
    """A chat endpoint on this machine, asked without any proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
