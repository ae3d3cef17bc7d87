"""Writes the report of a run: the page's own files, its data as scripts, its pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.data import split_of, store_of
from flows.devices import check_device
from flows.report.banks import write_banks
from flows.report.found import Found, find_shards
from flows.report.gallery import CHUNK, PER_FOLDER, write_samples
from flows.report.looks import write_looks
from flows.report.pictures import FREE, class_colours
from flows.report.script import write_script
from flows.report.summary import (
    chain_of,
    classes_of,
    curves_of,
    lineage_of,
    settings_of,
    versions_of,
    work_of,
)
from flows.report.why import limits_of
from flows.runs import config_of_run, read_scores, read_told
from flows.settings import check_changes
from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import Config

PAGE = Path(__file__).parent / "page"


def write_report(run: Path, overrides: Sequence[str] = ()) -> Path:
    """Write ``report/`` of a finished run anew, from its lineage and the store beside it.

    Args:
        run: its folder, ``<output>/runs/<name>``.
        overrides: ``key=value`` of what is to be different in ``execution``.

    Returns:
        The page, ``report/index.html``.

    Raises:
        InputError: a picture, a label or a table of the run is damaged, or its device is not there.
    """
    check_changes(overrides)
    config = config_of_run(run, overrides)
    if config.execution.report_pictures:
        check_device(config.execution.device)
    partial, folder = run / "report.partial", run / "report"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(PAGE, partial)
    found, split, limits = find_shards(run, store_of(config)), split_of(config), limits_of(config)
    banks = write_banks(found, partial)
    gallery = write_samples(found, split, limits, partial)
    looks = write_looks(config, run, found, partial)
    write_script(partial / "data" / "lineage.js", "lineage", lineage_of(found))
    write_script(partial / "data" / "summary.js", "summary", {
        "run": {"name": run.name, "data": split.dataset, "missing": list(found.missing)},
        "scores": read_scores(run), "preview": _preview(run),
        "labels": _labels(split), "chain": chain_of(found, split, gallery, banks),
        "classes": classes_of(split, gallery, banks),
        "limits": limits, "samples": {**gallery.as_json(split), "chunk": CHUNK, "per_folder": PER_FOLDER},
        "looks": looks, **_background(config, found),
    })  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder / "index.html"


def _preview(run: Path) -> dict[str, Any] | None:
    """Give what a preview tells of the whole run; None of a whole run."""
    return read_told(run / "preview.json") if (run / "preview.json").exists() else None


def _labels(split: ClassSplit) -> dict[str, Any]:
    """Give names and colours by split id, and the codes that are no class."""
    colours = class_colours(split)
    return {
        "names": split.names, "base": split.base, "novel": split.novel, "free": FREE, "ignore": IGNORE,
        "colours": [f"rgb({r} {g} {b})" for r, g, b, _ in colours[: len(split.names)].tolist()],
    }  # fmt: skip


def _background(config: Config, found: Found) -> dict[str, Any]:
    return {
        "curves": curves_of(found), "work": work_of(config, found), "versions": versions_of(found),
        "settings": settings_of(config),
    }  # fmt: skip
