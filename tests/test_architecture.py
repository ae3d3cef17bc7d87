"""The shape of the house: who may import whom, and how large a file may be."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "prompts": {"prompts"},
    "pipeline": {"prompts", "pipeline"},
    "fss_models": {"prompts", "pipeline", "fss_models"},
    "picto": {"prompts", "pipeline", "picto"},
    "flows": {"prompts", "pipeline", "fss_models", "picto", "flows"},
}
HEAVY = ("torch", "diffusers", "transformers", "prefect", "accelerate")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    """A package imports only packages to its left."""
    foreign = set(MAY_IMPORT) - MAY_IMPORT[package]
    wrong = {str(p.relative_to(ROOT)): bad for p in sources(package) if (bad := packages_of(p) & foreign)}
    assert not wrong


def test_stages_know_no_torch():
    """The stages are arrays in, arrays out; only backends import torch."""
    wrong = [p for p in sources("prompts", "pipeline") if "backends" not in p.parts and "torch" in packages_of(p)]
    assert not wrong


def test_only_flows_knows_prefect():
    """Prefect can be taken out by rewriting five files."""
    users = {str(p.relative_to(ROOT)) for p in sources(*MAY_IMPORT) if "prefect" in packages_of(p)}
    names = ("tasks", "synthesize", "server", "scheduled", "runner_pool")
    assert users == {f"flows/{name}.py" for name in names}


def test_stages_read_no_clock_and_no_global_randomness():
    """A pure stage has no file-independent source of change."""
    stages = [ROOT / "pipeline" / f"{name}.py" for name in ("annotate", "filtering", "relabel", "refine", "regions")]
    assert all(path.exists() for path in stages)
    assert not {p.name for p in stages if packages_of(p) & {"time", "datetime", "random", "os"}}


@pytest.mark.parametrize("module", ["pipeline.store", "pipeline.refine", "prompts.build", "flows.cli", "flows.plan"])
def test_light_modules_load_nothing_heavy(module):
    """The command line and the stages start without the large libraries."""
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_wheel_has_every_file_that_a_run_reads():
    """What is no Python in the packages is package data, but for the logs of picto's recipes."""
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for package, patterns in globs.items() for p in patterns for path in (ROOT / package).glob(p)}
    there = {path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.*") if path.is_file()}
    left = [path for path in there - packed if path.suffix not in (".py", ".pyc") and "logs" not in path.parts]
    assert not left


def test_no_package_under_tests():
    """An __init__.py under tests/ would hide the real packages of the same names."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_files_stay_small():
    """No source file has more than 500 lines, but for the catalogue of drawings, which has one function a kind."""
    lines = {p.name: len(p.read_text().splitlines()) for p in sources(*MAY_IMPORT, "tests")}
    del lines["other_things.py"]
    assert not {name: count for name, count in lines.items() if count > 500}


def test_every_test_says_what_it_shows():
    """Each test function has a docstring of one sentence."""
    silent = [
        f"{path.name}::{node.name}"
        for path in sources("tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent


def test_settings_are_frozen_and_described():
    """Settings cannot change after they were fingerprinted, and refuse unknown keys."""
    from pipeline import config

    groups = [c for c in vars(config).values() if isinstance(c, type) and issubclass(c, config.Settings)]
    assert len(groups) > 8
    assert all(c.model_config["frozen"] and c.model_config["extra"] == "forbid" for c in groups)
