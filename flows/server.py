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

from pipeline.errors import InputError, cause_of

START_SECONDS = 600
"""Patience with the server's start: ten seconds on an idle machine, minutes on one with busy cores."""
ANSWER_SECONDS = 30
PAGES_PORT = 4200
"""Where Prefect's pages are unless something else is there."""


def set_prefect_env(output: Path, apart: str = "", *, quiet: bool = True) -> None:
    """Set what Prefect reads on import: files inside ``output``, no telemetry; what is set already stands.

    Args:
        output: the output folder.
        apart: a folder in Prefect's for this run alone, where others may go on in the output folder on other machines.
        quiet: no log, for a run whose progress is shown here; else Prefect's log is here and on its pages.
    """
    silence = {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    defaults = {
        "PREFECT_HOME": str((output / "prefect" / apart).resolve()),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START_SECONDS),
        "PREFECT_API_REQUEST_TIMEOUT": "300",
        # waits of 2, 4, 8, ... seconds, since servers of runs beside this one may hold the database
        "PREFECT_CLIENT_MAX_RETRIES": "8",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        **(silence if quiet else {}),
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


class Server:
    """A server for one run or several, or for as long as runs are served; use it by ``with``.

    It starts when it is first needed, and not at all where Prefect has a server already. Runs of one process share one:
    Prefect's event queue keeps calling the first that a process had.

    Args:
        output: gets the database and the log, in ``prefect/``.
        apart: see `set_prefect_env`.
        pages: also show Prefect's pages and start what is scheduled.
    """

    def __init__(self, output: Path, apart: str = "", *, pages: bool = False) -> None:
        self._home = output / "prefect" / apart
        self._pages = pages
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    def __enter__(self) -> Server:
        return self

    def start(self) -> None:
        """Start it, if that has not been done; `wait` waits until it answers."""
        if not self._process and not _has_server():
            self._home.mkdir(parents=True, exist_ok=True)
            port = _free_port(PAGES_PORT if self._pages else 0)
            self._url = f"http://127.0.0.1:{port}/api"
            command = [sys.executable, "-m", "flows.server", str(port), str(os.getpid())]
            if self._pages:
                command.append("pages")
            environment = {**os.environ, "PREFECT_UI_API_URL": self._url}
            with (self._home / "server.log").open("wb") as log:
                # in a session of its own, so that Ctrl-C leaves it to hear how the run ended
                self._process = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
                )

    def __exit__(self, *_: Any) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def wait(self, check: Callable[[], None] = lambda: None) -> str | None:
        """Start the server and wait until it answers; gives its address, or None where Prefect has one already.

        Args:
            check: asked again and again; what it raises ends the wait.

        Raises:
            RuntimeError: it does not start.
            InputError: the one that PREFECT_API_URL names does not answer.
        """
        self.start()
        if not self._process:
            if named := os.environ.get("PREFECT_API_URL"):
                _check_server(named)
            return None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            check()
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=5):
                    return self._url
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"Prefect's server does not start: see {self._home / 'server.log'}")


def _has_server() -> bool:
    if os.environ.get("PREFECT_API_URL"):
        return True
    if "prefect" not in sys.modules:
        return False
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() is not None


def _check_server(url: str) -> None:
    """Look that a server answers, be it only to ask for a password.

    Raises:
        InputError: it does not.
    """
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER_SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Prefect server answers at PREFECT_API_URL={url} ({cause_of(error)}): start one with "
            "prefect server start, or unset the variable to go without"
        ) from error


def _free_port(wanted: int) -> int:
    """Give a free port of this machine, the wanted one if it can be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return _free_port(0)
        return int(probe.getsockname()[1])


def _serve(port: int, parent: int, pages: bool) -> None:
    """Serve until the process that asked for it is gone."""

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import uvicorn
    from filelock import FileLock
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_HOME

    class OneAtATime(uvicorn.Server):
        """Servers that make one database at once would break each other."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            with FileLock(PREFECT_HOME.value() / ".start.lock"):
                await super().startup(sockets)

    app = create_app(ephemeral=not pages, final=True)
    OneAtATime(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")).run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), "pages" in sys.argv[3:])
