"""Tiny runs of the whole chain, and the command line in this process."""

import shutil
import sys

import pytest
from rich.console import Console

from benchmarks.chromium import Chromium, find_chromium
from flows.cli import main
from flows.data import prepare_data, store_of
from flows.learning import train_teacher_stage
from flows.run import run
from flows.settings import load_config
from flows.steps import teacher_step
from flows.wiring import backbone_path, load_model
from pipeline.hashing import hash_files


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
def chromium():
    """One browser for all tests of pages, which skip themselves where there is none."""
    with Chromium(find_chromium()) as chromium:
        yield chromium


@pytest.fixture
def visit(chromium):
    """Open a page and wait for it; at the end nothing may have complained, and nothing outside was asked for."""

    def show(page, ready):
        chromium.resize(1280, 900)
        chromium.open("about:blank#")
        chromium.complaints.clear()
        chromium.requests.clear()
        chromium.open(page.as_uri())
        chromium.until(ready)
        return chromium

    yield show
    assert chromium.complaints == []
    assert [address for address in chromium.requests if not address.startswith(("file:", "data:", "about:"))] == []


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a run take seconds."""
    return [
        "experiment.base_pictures=40", "experiment.validation_pictures=20", "experiment.prompts.per_class=2",
        "experiment.prompts.max_similarity=0.99", "experiment.generate.steps=2", "experiment.train.base_steps=3",
        "experiment.train.final_steps=2", "experiment.train.batch=2", "execution.workers=1",
        "execution.report_pictures=0", "experiment.second_round.base=false",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny):
    """A teacher of a few steps, in a folder of its own: its config and record."""
    config = load_config(None, [*tiny, f"execution.output={tmp_path_factory.mktemp('teacher')}"])
    return config, train_teacher_stage(config, prepare_data(config))


@pytest.fixture(scope="session")
def put_seeing_teacher(trained):
    """Finish a config's teacher with the trained weights and a large offset for novel classes."""
    source = store_of(trained[0]).folder(trained[1])

    def work(draft):
        model = load_model(source, backbone_path("picto"), "cpu")
        model.fusion.offsets.data[2] = 20.0
        model.save(draft.folder)
        draft.content = hash_files(draft.folder, ["model.safetensors"])

    def put(config):
        step = teacher_step(config, prepare_data(config))
        store_of(config).compute(step.stage, step.shard, step.recipe, work)

    return put


@pytest.fixture(scope="session")
def overrides(tmp_path_factory, tiny, put_seeing_teacher):
    """The tiny run, in whose store lies a teacher that sees novel things everywhere, so that every stage has work."""
    output = tmp_path_factory.mktemp("out")
    lenient = ["experiment.filter.min_similarity=-1", "experiment.filter.min_area=0"]
    overrides = [*tiny, *lenient, f"execution.output={output}", "execution.report_pictures=1"]
    put_seeing_teacher(load_config(None, overrides))
    return overrides


@pytest.fixture(scope="module")
def apart(overrides, tmp_path_factory):
    """The tiny run's overrides with a copy of its store, for a file of tests that adds what others would find."""
    output = next(pair.partition("=")[2] for pair in overrides if pair.startswith("execution.output"))
    folder = tmp_path_factory.mktemp("twice")
    shutil.copytree(f"{output}/store", folder / "store")
    shutil.copytree(f"{output}/data", folder / "data")
    return [*(pair for pair in overrides if not pair.startswith("execution.output")), f"execution.output={folder}"]


@pytest.fixture(scope="session")
def finished(prefect, overrides):
    """One whole run: its config, folder and the plan before it. Tests may add to its store what no other test finds."""
    config = load_config(None, overrides)
    folder, plan = run(config, "tiny", "scores", Console(quiet=True))
    assert folder
    return config, folder, plan
