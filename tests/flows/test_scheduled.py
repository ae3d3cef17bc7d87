import pytest

from flows.settings import load_config, with_whole_paths
from pipeline.errors import InputError


def test_the_form_knows_every_setting(prefect):
    """The parameters' schema has the settings with descriptions and limits, as the pages show them."""
    from prefect.utilities.callables import parameter_schema

    from flows.scheduled import scheduled

    schema = parameter_schema(scheduled).model_dump()
    assert list(schema["properties"]) == ["name", "grow", "while_running", "config"]
    budget = schema["definitions"]["PromptSettings"]["properties"]["per_class"]
    assert (budget["description"], budget["minimum"]) == ("accepted prompts a class", 1)
    assert all(one["description"] for one in schema["properties"].values())
    assert schema["properties"]["grow"]["minimum"] == 0
    assert schema["properties"]["while_running"]["enum"] == ["refuse", "queue"]


def test_a_wrong_schedule_is_named(prefect):
    """A cron expression that is none is told in a sentence."""
    from flows.scheduled import serve

    with pytest.raises(InputError, match="--cron 'every night' is no cron expression: give minute, hour"):
        serve(load_config(), "picto", cron="every night", every=None, grow=0, while_running="refuse")


def test_cron_is_read_in_a_time_zone(prefect, monkeypatch):
    """--timezone goes to the schedule, which is UTC without it; one that is none is told."""
    from flows import scheduled

    given = []
    monkeypatch.setattr(type(scheduled.scheduled), "serve", lambda _, **more: given.append(more["schedule"]))
    for zone in ("Europe/Berlin", None):
        scheduled.serve(
            load_config(), "picto", cron="0 2 * * *", every=None, grow=0, while_running="refuse", timezone=zone
        )
    assert [(one.cron, one.timezone) for one in given] == [("0 2 * * *", "Europe/Berlin"), ("0 2 * * *", None)]
    with pytest.raises(InputError, match="--timezone 'Berlin' is no time zone: give an IANA name"):
        scheduled.serve(
            load_config(), "picto", cron="0 2 * * *", every=None, grow=0, while_running="refuse", timezone="Berlin"
        )


def test_two_schedules_are_refused(call):
    """Either --cron or --every."""
    code, _, told = call("serve", "--cron", "0 2 * * *", "--every", "60")
    assert code == 2
    assert "give one of them" in told
    assert "give --cron too" in call("serve", "--timezone", "Europe/Berlin")[2]


def test_a_server_that_does_not_answer_is_named(call, monkeypatch, tmp_path):
    """PREFECT_API_URL without a server ends with a sentence before anything is registered."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, _, told = call("serve", "--set", f"execution.output={tmp_path}")
    assert code == 2
    assert told.startswith("syn4seg: no Prefect server answers at PREFECT_API_URL=http://127.0.0.1:9/api")


def test_a_served_config_means_the_same_in_any_folder(monkeypatch, tmp_path):
    """Relative folders become absolute, since the runs are started elsewhere."""
    monkeypatch.chdir(tmp_path)
    placed = with_whole_paths(load_config(None, ["execution.output=here"]))
    assert placed.execution.output == str(tmp_path / "here")
    assert placed.experiment == load_config().experiment
