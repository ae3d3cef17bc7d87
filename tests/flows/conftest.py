"""Tiny runs of the whole chain, and the command line in this process."""

import sys

import pytest

from flows.cli import main


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line; gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["syn4seg", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="session")
def prefect():
    """Prefect's own test server. One for all: a second server in one process waits for the first for ever."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=280):
        yield


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a run take seconds."""
    return [
        "experiment.base_pictures=40", "experiment.validation_pictures=20", "experiment.prompts.per_class=2",
        "experiment.prompts.max_similarity=0.99", "experiment.generate.steps=2", "experiment.train.base_steps=3",
        "experiment.train.final_steps=2", "experiment.train.batch=2", "execution.workers=1",
        "execution.report_pictures=0",
    ]  # fmt: skip
