"""A headless Chromium, driven through a pipe: no port, no driver, no package.

Source: the DevTools protocol; messages are JSON, each ended by a zero byte, on file descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = 60.0
"""Seconds within which any answer comes."""


def find_chromium() -> str | None:
    """Give the program, that of the environment's CHROMIUM or one on the path, or None."""
    return os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """A browser with one page; use it by ``with``.

    Attributes:
        complaints: what the console, the page and the network said of errors, in order.
        requests: every address that was asked for.
    """

    def __init__(self, program: str, *, width: int = 1280, height: int = 900, scale: float = 1.0) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._number, self._buffer = 0, b""
        (read, self._write), (self._read, write) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]  # away from 3 and 4
        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "--no-sandbox",
                 "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                 "--disable-background-networking", "--mute-audio", "about:blank"]  # fmt: skip
        script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *flags], pass_fds=high, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (read, write, *high):
            os.close(end)
        target = next(t for t in self._send("Target.getTargets", on_page=False)["targetInfos"] if t["type"] == "page")
        attach = {"targetId": target["targetId"], "flatten": True}
        self._session: str = self._send("Target.attachToTarget", on_page=False, **attach)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        self.resize(width, height, scale)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._send("Browser.close", on_page=False)
            self.process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def resize(self, width: int, height: int, scale: float = 1.0, *, mobile: bool = False) -> None:
        """Set the size of the window in CSS pixels, and how many dots one of them has."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self._send("Emulation.setDeviceMetricsOverride", **size)

    def dark(self, on: bool) -> None:
        """Prefer dark or light colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self._send("Emulation.setEmulatedMedia", features=[feature])

    def open(self, address: str) -> float:
        """Open a page; gives the seconds until its load event."""
        start = time.monotonic()
        self._send("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")
        return time.monotonic() - start

    def run(self, script: str) -> Any:
        """Give the value of an expression in the page; waits for promises.

        Raises:
            RuntimeError: the script failed.
        """
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = WAIT) -> None:
        """Wait until an expression is true.

        Raises:
            RuntimeError: it is not within these seconds.
        """
        end = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > end:
                raise RuntimeError(f"still not true after {seconds:g} s: {script}")
            time.sleep(0.02)

    def press(self, key: str, code: int) -> None:
        """Press a key, such as "Tab" (9) or "ArrowRight" (39)."""
        for kind in ("rawKeyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        shot = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def memory(self) -> dict[str, float]:
        """Give MB: the page's heap of JavaScript, and the proportional memory of its process and of all processes."""
        self._send("HeapProfiler.collectGarbage")
        mine = _family(self.process.pid)
        sizes = {pid: _proportional(pid) for pid in mine}
        pages = [sizes[pid] for pid in mine if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        heap = self.run("performance.memory.usedJSHeapSize") / 1e6
        return {"heap": heap, "page": max(pages, default=0.0), "all": sum(sizes.values())}

    def cpu(self) -> float:
        """Give the CPU seconds that all processes of the browser have taken."""
        ticks = 0
        for pid in _family(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _send(self, method: str, *, on_page: bool = True, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if on_page:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], WAIT)[0]:
                raise RuntimeError(f"Chromium did not answer for {WAIT:g} s")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Network.loadingFailed" and not told.get("canceled"):
            self.complaints.append(f"not loaded: {told['errorText']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"])[:500])
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _family(int(child))
    return found


def _proportional(pid: int) -> float:
    """Give the proportional set size of a process in MB: shared pages count by halves, thirds and so on."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("Pss:")), 0.0)
