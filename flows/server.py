"""Prefect's settings, in one place; what the user has set in the environment stands."""

from __future__ import annotations

import os
from pathlib import Path


def set_prefect_env(output: Path) -> None:
    """Set what Prefect reads on import: everything inside ``output``, quiet, no telemetry, a patient start.

    Without PREFECT_API_URL Prefect starts a server of its own for the time of the run; with it the run shows up there.
    """
    home = (output / "prefect").resolve()
    defaults = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)
