"""The index of a store: what the records of finished shards say, in one file a stage, so that none of them is read.

It lies in ``<store>/.index``, is written by those who look, and may be deleted at any time. A stage's file holds while
the stage's folder has the time that it had, since every shard that is finished, deleted or computed again changes it.
Otherwise the folder is listed, and the records of shards that are new, or whose own folder has another time, are read.

So the index knows which shards are finished. Whether a file inside one has been damaged since is not looked at here:
that is `RunStore.find`, which every run asks about every shard.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.hashing import Recipe, fingerprint
from pipeline.store import Finished, RunStore

FOLDER = ".index"

_FORM = 1
"""Of the files; one of another form is made anew."""

_SETTLED = 2.0
"""Seconds: a folder that was changed so shortly before it was looked at may change again without another time."""


@dataclass
class _Stage:
    """What is known of one stage.

    Attributes:
        time: of the stage's folder when it was listed, ns.
        shards: folder name -> [content, seconds, bytes, time of the folder in ns], of finished shards.
        damaged: names of folders without a record.
        changed: whether the file is to be written again.
    """

    time: int = 0
    shards: dict[str, tuple[str, float, int, int]] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    changed: bool = False


class StoreIndex:
    """Finds finished shards of a store by their names; every stage is looked at once, when it is first asked for.

    Args:
        store: the store.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._begun = time.time_ns()
        self._stages: dict[str, _Stage] = {}
        self._named: dict[str, dict[str, list[str]]] = {}

    def find(self, stage: str, shard: str, mark: str) -> Finished | None:
        """Give a finished shard by its fingerprint, or None."""
        known = self._stage(stage).shards.get(f"{shard}-{mark}")
        return Finished(stage, shard, mark, known[0]) if known else None

    def usual(self, stage: str) -> tuple[float, float] | None:
        """Give the mean seconds and bytes of a stage's finished shards; None without any."""
        shards = self._stage(stage).shards.values()
        return (fmean(s[1] for s in shards), fmean(s[2] for s in shards)) if shards else None

    def why(self, stage: str, shard: str, recipe: Recipe) -> str:
        """Say why a shard that was not found has to be computed."""
        folder, known = self._store.root / stage, self._stage(stage)
        name = f"{shard}-{fingerprint(stage, recipe)}"
        if (folder / f"{name}.partial").exists():
            return "was interrupted"
        if name in known.damaged or name in known.shards:
            return "files are missing"
        if stage not in self._named:
            self._named[stage] = {}
            for other in known.shards:
                self._named[stage].setdefault(other.rpartition("-")[0], []).append(other)
        others = self._named[stage].get(shard, ())
        newest = max(others, key=lambda other: known.shards[other][3], default=None)
        record = _record(folder / newest) if newest else None
        if record is None:
            return "not computed yet"
        old, new = _flat(record["recipe"]), _flat(recipe)
        changes = [f"{k} {_short(old.get(k))} -> {_short(new.get(k))}" for k in new if old.get(k) != new[k]]
        return "changed: " + ", ".join(changes[:3]) if changes else "not computed yet"

    def remembered(self, name: str, make: Callable[[], Sequence[str]]) -> list[str]:
        """Give what ``make()`` gives, which must follow from ``name`` alone; it is kept beside the index."""
        file = self._store.root / FOLDER / f"{name}.json"
        with suppress(OSError, ValueError):
            return [str(one) for one in json.loads(file.read_text())]
        made = list(make())
        _write(file, made)
        return made

    def save(self) -> None:
        """Write what has changed; a folder that cannot be written stays as it is."""
        settled = self._begun - int(_SETTLED * 1e9)
        for stage, known in self._stages.items():
            if known.changed:
                shards = {name: row for name, row in known.shards.items() if row[3] < settled}
                whole = known.time < settled and len(shards) == len(known.shards) and not known.damaged
                _write(self._file(stage), {"form": _FORM, "time": known.time if whole else 0, "shards": shards})
                known.changed = False

    def _stage(self, stage: str) -> _Stage:
        if stage not in self._stages:
            self._stages[stage] = self._look(stage)
        return self._stages[stage]

    def _look(self, stage: str) -> _Stage:
        """Read a stage's file and bring it up to date with the stage's folder."""
        folder = self._store.root / stage
        try:
            now = folder.stat().st_mtime_ns
        except OSError:
            return _Stage()
        saved = _read(self._file(stage))
        if saved.time == now:
            return saved
        found = _Stage(now, changed=True)
        with os.scandir(folder) as entries:
            times = {e.name: e.stat().st_mtime_ns for e in entries if not e.name.endswith((".partial", ".scratch"))}
        for name, at in times.items():
            row = saved.shards.get(name)
            if row is None or row[3] != at:
                record = _record(folder / name)
                if record is None:
                    found.damaged.add(name)
                    continue
                row = record["content"], record["seconds"], sum(record["files"].values()), at
            found.shards[name] = row
        return found

    def _file(self, stage: str) -> Path:
        return self._store.root / FOLDER / f"{stage}.json"


def _record(folder: Path) -> dict[str, Any] | None:
    """Read a record as it was written, whatever has become of the shard's files since."""
    try:
        told = json.loads((folder / "record.json").read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and {"content", "seconds", "files", "recipe"} <= told.keys() else None


def _read(file: Path) -> _Stage:
    try:
        told = json.loads(file.read_text())
        return _Stage(told["time"], dict(told["shards"])) if told["form"] == _FORM else _Stage()
    except (OSError, ValueError, KeyError, TypeError):
        return _Stage()


def _write(file: Path, value: object) -> None:
    """Write a file at once or not at all; another process may be writing it too."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(value, separators=(",", ":")))
        part.replace(file)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}" if prefix else key).items()}


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 24 else text[:21] + "..."
