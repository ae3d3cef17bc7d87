"""The folder of a run: its settings, lineage, scores, dataset, models and report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flows.data import split_of, store_of
from flows.presets import parse
from flows.rounds import FirstRound
from flows.settings import as_override, dump_config, load_config
from flows.steps import BESIDE, CHAIN
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hashing import list_files
from pipeline.store import StageRecord

FIRST = Path("checkpoints") / "first"
"""In a run's folder: the final model of the first round, where there are two."""
FIRST_LINEAGE = "first_round.json"
"""In a run's folder: the lineage of the first round, where there are two."""
LABELLING = ("annotate", "filter", "relabel", "refine")
SCORES = ("base_miou", "novel_miou", "mean_miou", "harmonic_miou")
_ABOUT = ("dataset", "fold", "shots", "seed", "labels")
_OF_MODELS = {**dict.fromkeys(("teacher", "before", "after"), SCORES), "fss": ("miou", "fb_iou")}


def write_run(
    config: Config, name: str, records: Sequence[StageRecord], preview: Mapping[str, Any] | None = None,
    first: Sequence[StageRecord] = (),
) -> Path:  # fmt: skip
    """Write the folder of a run, or give that of an equal run.

    Args:
        config: of the run.
        name: ends the folder's name.
        records: of all its shards.
        preview: of a preview, what ``preview.json`` is to hold.
        first: records of the first round, where there are two.

    Returns:
        ``runs/<date>-<name>``; ``runs/latest`` links to it, unless it is a preview.
    """
    runs = config.execution.folder / "runs"
    lineage = _lineage(records)
    with store_of(config).lock("runs"):  # one writer at a time, so that what lies in new.partial was interrupted
        folder = _same_run(config, lineage)
        if folder is None:
            folder = runs / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
            partial = runs / "new.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            (partial / "experiment.yaml").write_text(dump_config(config))
            (partial / "lineage.json").write_text(json.dumps(lineage, indent=1))
            (partial / "scores.json").write_text(json.dumps(scores_of(config, records), indent=1))
            if preview:
                (partial / "preview.json").write_text(json.dumps(preview, indent=1))
            _link_results(config, records, partial)
            if begun := FirstRound.of(first):
                (partial / FIRST_LINEAGE).write_text(json.dumps(_lineage(first), indent=1))
                _link_tree(store_of(config).folder(begun.model), partial / FIRST)
            partial.rename(folder)
        if not preview:
            latest = runs / "latest"
            latest.unlink(missing_ok=True)
            latest.symlink_to(folder.name)
    if not (folder / "report").exists():  # outside the lock, for it takes a while
        from flows.report import write_report

        write_report(folder)
    store_of(config).publish(folder, "lineage.json")
    return folder


def scores_of(config: Config, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Give what ``scores.json`` holds; fractions in 0..1."""
    experiment = config.experiment
    scores: dict[str, Any] = {
        "dataset": split_of(config).dataset, "fold": experiment.fold, "shots": experiment.shots,
        "seed": experiment.seed, "model": experiment.model.name,
        "protocol": "fss" if any(r.stage == "fss" for r in records) else experiment.protocol,
    }  # fmt: skip
    store = store_of(config)
    for record in records:
        if record.stage == "scores":
            scores[record.shard] = json.loads((store.folder(record) / "scores.json").read_text())
    scores["labels"] = {stage: labels for stage in LABELLING if (labels := _labels(records, stage))}
    scores["seconds"] = {s: round(sum(r.seconds for r in records if r.stage == s), 1) for s in (*CHAIN, *BESIDE)}
    return scores


def find_run(output: Path, name: str) -> Path:
    """Give the folder of a run: its name, the end of its name, "latest", or a path.

    Raises:
        InputError: there is none.
    """
    runs = output / "runs"
    found = [p for p in (runs / name, Path(name)) if (p / "lineage.json").exists()]
    found += sorted(p for p in runs.glob(f"*{name}") if (p / "lineage.json").exists())[::-1]
    if not found:
        names = [p.name for p in sorted(runs.glob("*"), reverse=True) if (p / "lineage.json").exists()]
        ends = {n: n.split("-", 2)[-1] for n in names}  # without the date
        near = [n for n in names if get_close_matches(name, (n, ends[n]), 1)][:3]
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise InputError(f"no run {name!r} in {runs}: syn4seg status lists the runs, syn4seg run makes one{hint}")
    return found[0].resolve()


def config_of_run(run: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config of a run, whose output folder may have been moved since.

    Args:
        run: its folder, ``<output>/runs/<name>``; one that lies alone elsewhere has the output folder that it names.
        overrides: ``key=value``, as of `settings.load_config`.

    Raises:
        InputError: it is damaged, or an override does not go with it.
    """
    read_settings(run)
    path = str(run / "experiment.yaml")
    try:
        config = load_config(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    here = "cache" if "://" in config.execution.output else "output"
    moved = [as_override(f"execution.{here}", run.parent.parent)] if run.parent.name == "runs" else []
    return load_config(path, [*moved, *overrides])


def list_runs(output: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Give name, settings and scores of every run, oldest first, and a sentence on every one that is damaged."""
    rows, damaged = [], []
    for run in folders_of(output):
        try:
            read_settings(run)
            read_lineage(run)
            scores = read_scores(run)
        except InputError as error:
            damaged.append(str(error))
            continue
        row = {"run": run.name, **{k: scores[k] for k in ("dataset", "fold", "shots", "seed")}}
        for which in ("before", "after"):
            row |= {f"{which}_{s}": scores[which][s] for s in ("novel_miou", "harmonic_miou") if which in scores}
        row |= {f"fss_{s}": scores["fss"][s] for s in ("miou", "fb_iou") if "fss" in scores}
        rows.append(row)
    return rows, damaged


def read_settings(run: Path) -> dict[str, Any]:
    """Read what a run's ``experiment.yaml`` says under ``experiment``, unchecked.

    Raises:
        InputError: it is damaged.
    """
    path = run / "experiment.yaml"
    try:
        told = parse(path.read_text(), "it")
    except (OSError, ValueError, InputError) as error:
        raise _damaged(path, str(error)) from error
    groups = told if isinstance(told, dict) else {}
    if not all(isinstance(groups.get(key), dict) for key in Config.model_fields):
        raise _damaged(path, f"expected the groups {', '.join(Config.model_fields)}")
    return dict(groups["experiment"])


def read_scores(run: Path) -> dict[str, Any]:
    """Read the ``scores.json`` of a run.

    Raises:
        InputError: it is damaged.
    """
    scores = read_told(run / "scores.json")
    lacking = [key for key in _ABOUT if key not in scores]
    for model, keys in _OF_MODELS.items():
        held = scores.get(model, dict.fromkeys(keys))
        lacking += [f"{model}.{key}" for key in keys if not isinstance(held, dict) or key not in held]
    if lacking:
        raise _damaged(run / "scores.json", f"it lacks {', '.join(lacking)}")
    return scores


def read_lineage(run: Path, name: str = "lineage.json") -> dict[str, dict[str, dict[str, str]]]:
    """Read the lineage of a run: stage -> shard -> ``fingerprint`` and ``content``.

    Raises:
        InputError: it is damaged.
    """
    told = read_told(run / name)
    for shards in told.values() or [None]:
        entries = shards.values() if isinstance(shards, dict) else [None]
        if not all(isinstance(entry, dict) and "fingerprint" in entry for entry in entries):
            raise _damaged(run / name, "expected stages, their shards, and a fingerprint of each")
    return told


def read_told(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run's folder.

    Raises:
        InputError: it is damaged.
    """
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(told, dict):
        raise _damaged(path, "expected an object")
    return told


def used_places(output: Path) -> set[str]:
    """Give the store folders that a run refers to, as stage/shard-fingerprint.

    Raises:
        InputError: a lineage is damaged.
    """
    used = set()
    for run in folders_of(output):
        for name in ("lineage.json", *([FIRST_LINEAGE] if (run / FIRST_LINEAGE).exists() else ())):
            for stage, shards in read_lineage(run, name).items():
                used |= {f"{stage}/{shard}-{entry['fingerprint']}" for shard, entry in shards.items()}
    return used


def folders_of(output: Path) -> Iterator[Path]:
    """Go through the folders of finished runs, whole or damaged, oldest first."""
    for folder in sorted((output / "runs").glob("*")):
        there = any((folder / name).exists() for name in ("experiment.yaml", "lineage.json", "scores.json"))
        if there and folder.suffix != ".partial" and not folder.is_symlink():
            yield folder


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is damaged ({why}): move {path.parent} away; the same syn4seg run writes it again from the store"
    )


def _lineage(records: Sequence[StageRecord]) -> dict[str, dict[str, dict[str, str]]]:
    return {
        stage: {r.shard: {"fingerprint": r.fingerprint, "content": r.content} for r in records if r.stage == stage}
        for stage in (*CHAIN, *BESIDE)
        if stage in CHAIN or any(r.stage == stage for r in records)
    }


def _same_run(config: Config, lineage: dict[str, Any]) -> Path | None:
    wanted = config.experiment.model_dump(mode="json")
    for folder in reversed(list(folders_of(config.execution.folder))):
        with suppress(InputError):  # a damaged run is none
            if read_lineage(folder) == lineage and read_settings(folder) == wanted and read_scores(folder):
                return folder
    return None


def _labels(records: Sequence[StageRecord], stage: str) -> dict[str, float]:
    """Count a labelling stage: samples, kept ones, and shares of the kept pictures' pixels."""
    counts = [r.counts for r in records if r.stage == stage]
    if not counts:
        return {}
    pixels = max(sum(c["pixels"] for c in counts), 1)
    shares = {f"{k}_share": sum(c[f"{k}_pixels"] for c in counts) / pixels for k in ("novel", "free", "ignored")}
    return {"samples": sum(c["samples"] for c in counts), "kept": sum(c["kept"] for c in counts), **shares}


def _link_results(config: Config, records: Sequence[StageRecord], folder: Path) -> None:
    store = store_of(config)
    for record in records:
        if record.stage in ("dataset", "teacher", "train", "fss"):
            name = "dataset" if record.stage == "dataset" else f"checkpoints/{_model_name(record)}"
            _link_tree(store.folder(record), folder / name)


def _model_name(record: StageRecord) -> str:
    return record.stage if record.stage in ("teacher", "fss") else record.shard


def _link_tree(source: Path, target: Path) -> None:
    """Repeat a folder by hard links, or by copies where the disk has none."""
    for name in list_files(source):
        if name == "record.json":
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
