"""Prefect's server of a run."""

import pytest

from flows.server import Server


@pytest.mark.slow
def test_two_servers_start_at_once_on_a_new_database(monkeypatch, tmp_path):
    """Runs that start together in a new output folder do not break each other's database."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr("flows.server._has_server", lambda: False)
    with Server(tmp_path) as first, Server(tmp_path) as second:
        first.start()
        second.start()
        assert first.wait() != second.wait()
