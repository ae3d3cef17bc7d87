"""Prefect's settings in one place, and its server for the time of a run.

Prefect would start a server by itself, but that one outlives a killed run and keeps the run waiting while it starts.
This one starts beside the work and ends with the process that asked for it. With PREFECT_API_URL in the environment
the run reports to that server instead.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_SECONDS = 600
"""Patience with the server's start: ten seconds on an idle machine, minutes on one with busy cores."""


def set_prefect_env(output: Path) -> None:
    """Set what Prefect reads on import: files inside ``output``, quiet, no telemetry; what is set already stands."""
    defaults = {
        "PREFECT_HOME": str((output / "prefect").resolve()),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START_SECONDS),
        "PREFECT_API_REQUEST_TIMEOUT": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


class Server:
    """A server for one run; use it by ``with``. Does nothing where Prefect has a server already.

    Args:
        output: gets the database and the log, in ``prefect/``.
    """

    def __init__(self, output: Path) -> None:
        self._home = output / "prefect"
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    def __enter__(self) -> Server:
        if not _has_server():
            self._home.mkdir(parents=True, exist_ok=True)
            port = _free_port()
            with (self._home / "server.log").open("wb") as log:
                command = [sys.executable, "-m", "flows.server", str(port), str(os.getpid())]
                self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            self._url = f"http://127.0.0.1:{port}/api"
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def wait(self, check: Callable[[], None]) -> str | None:
        """Wait until the server answers; gives its address, or None where Prefect has one already.

        Args:
            check: asked again and again; what it raises ends the wait.

        Raises:
            RuntimeError: it does not start.
        """
        deadline = time.monotonic() + START_SECONDS
        while self._process and time.monotonic() < deadline and self._process.poll() is None:
            check()
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=5):
                    return self._url
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        if self._process:
            raise RuntimeError(f"Prefect's server does not start: see {self._home / 'server.log'}")
        return None


def _has_server() -> bool:
    if os.environ.get("PREFECT_API_URL"):
        return True
    if "prefect" not in sys.modules:
        return False
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(port: int, parent: int) -> None:
    """Serve until the process that asked for it is gone."""

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(create_app(ephemeral=True, final=True), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
