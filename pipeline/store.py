"""The run store: finished shards of stages as folders, found again by what they were computed from.

A shard's folder is ``<stage>/<shard>-<fingerprint>``. The fingerprint hashes its recipe: the stage's version and
settings, the content of its own inputs, the weights. Work happens in a ``.partial`` folder, renamed when whole, so
a folder with a ``record.json`` is finished and never changes. A lock that the system frees when its process dies keeps
two processes off one shard; a ``.partial`` that can be locked is therefore stale and is computed again.

With a mirror the folder here is what of it was computed or asked for here. A shard goes there before it counts here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.errors import InputError
from pipeline.hashing import Recipe, fingerprint, hash_arrays, hash_files, hash_json, list_files
from pipeline.images import read_labels, read_picture, write_labels, write_picture
from pipeline.mirror import Mirror
from pipeline.types import Sample, bare_reason

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MOST_WAITING = 16
"""Samples that wait for their files to be written, two batches of pictures."""
PATIENCE = 600.0
"""Seconds in which the first process of a training must have begun a shard that the others wait for."""
USE_NOTED = 3600.0
"""Seconds for which a shard's use, once noted, is not noted again."""
_LIBRARIES = ("numpy", "scipy", "pillow", "torch", "diffusers", "transformers", "segment-anything")


@dataclass(frozen=True)
class Finished:
    """Names a finished shard and what came out: all that the recipes of later stages read.

    Attributes:
        stage: name of the stage.
        shard: name of the shard.
        fingerprint: hash of the recipe.
        content: hash of what came out, free of dates, paths and library versions.
    """

    stage: str
    shard: str
    fingerprint: str
    content: str

    @property
    def place(self) -> str:
        """Its folder below the store."""
        return f"{self.stage}/{self.shard}-{self.fingerprint}"


@dataclass(frozen=True)
class StageRecord(Finished):
    """What a stage says about one finished shard; all that tasks hand to each other.

    Attributes:
        recipe: what the shard was computed from.
        counts: how many of what.
        dropped: reason -> number of samples.
        seconds: wall time.
        versions: library -> version and model of the hub -> commit, for people; no part of any hash.
        files: file -> bytes, by which a damaged shard is noticed.
        warnings: sentences that whoever runs it should read; none in records from before there were any.
    """

    recipe: Recipe
    counts: Mapping[str, int]
    dropped: Mapping[str, int]
    seconds: float
    versions: Mapping[str, str]
    files: Mapping[str, int]
    warnings: Sequence[str] = ()


@dataclass
class Draft:
    """A shard while it is computed: write files into ``folder`` and fill in the counts.

    Attributes:
        folder: the ``.partial`` folder.
        scratch: a folder that outlives a kill, for checkpoints; deleted when the shard is finished.
        counts: how many of what.
        dropped: reason -> number of samples.
        content: hash of the outcome; None means all files but those named in ``notes``.
        notes: files that tell of the work and not of its outcome, such as a training log with times.
        warnings: sentences that whoever runs it should read.
    """

    folder: Path
    scratch: Path
    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    content: str | None = None
    notes: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def write_samples(self, samples: Iterable[Sample], pictures: Mapping[str, Path] | None = None) -> None:
        """Write the sample table with its arrays, and count; files are written beside the making of further samples.

        Args:
            samples: the shard's samples, dropped ones included; they may be made one by one.
            pictures: sample id -> its picture in another shard's folder; None writes the pictures here.
        """
        rows: list[dict[str, Any]] = []
        waiting: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(1) as writer:
            for sample in samples:
                waiting.append(writer.submit(self._write, sample, pictures))
                if len(waiting) > MOST_WAITING:
                    rows.append(waiting.popleft().result())
            rows += [row.result() for row in waiting]
        (self.folder / "samples.jsonl").write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
        self.content = hash_json([{k: v for k, v in r.items() if k not in {"picture", "labels", "free"}} for r in rows])
        reasons = [row["reason"] for row in rows]
        self.dropped = dict(Counter(bare_reason(reason) for reason in reasons if reason))
        self.counts = {"samples": len(rows), "kept": reasons.count(None), **self.counts}

    def _write(self, sample: Sample, pictures: Mapping[str, Path] | None) -> dict[str, Any]:
        """Write the arrays of a sample; gives its row of the table."""
        row: dict[str, Any] = {"id": _checked(sample.id), "name": sample.name, "prompt": sample.prompt}
        row |= {"seed": sample.seed, "picture": f"images/{sample.id}.png", "labels": None, "free": None}
        row |= {"scores": {k: round(float(v), 6) for k, v in sample.scores.items()}, "reason": sample.reason}
        row["hash"] = hash_arrays(sample.picture, sample.labels, sample.free)
        if pictures is None:
            write_picture(self._file(row["picture"]), sample.picture)
        else:
            row["picture"] = os.path.relpath(pictures[sample.id], self.folder.resolve())
        if sample.labels is not None and sample.free is not None:
            row |= {"labels": f"labels/{sample.id}.png", "free": f"labels/{sample.id}.free.png"}
            write_labels(self._file(row["labels"]), sample.labels)
            write_labels(self._file(row["free"]), sample.free.astype(np.uint8))
        return row

    def _file(self, relative: str) -> Path:
        path = self.folder / relative
        path.parent.mkdir(exist_ok=True)
        return path


class RunStore:
    """The folder of finished shards; knows no stage.

    Args:
        root: the store's folder, ``store`` in the output folder; made when the first shard is.
        mirror: the output folder elsewhere, or None.
        versions: gives what a record's versions hold beside the libraries, from its stage and recipe.
    """

    def __init__(
        self, root: Path, mirror: Mirror | None = None,
        versions: Callable[[str, Recipe], Mapping[str, str]] = lambda stage, recipe: {},
    ) -> None:  # fmt: skip
        self.root = root
        self._mirror, self._more_versions = mirror, versions

    def find(self, stage: str, shard: str, recipe: Recipe) -> StageRecord | None:
        """Give the record of a finished shard whose files are all there, or None; its use is noted, see `last_use`."""
        folder = self._folder(stage, shard, recipe)
        _note_use(folder)
        return self.read(folder)

    def read(self, folder: Path) -> StageRecord | None:
        """Give the record of a folder of the store, or None where it is not whole."""
        if record := _read_whole(folder):
            return record
        text = self._mirror.read(f"{self.root.name}/{_place(folder)}/record.json") if self._mirror else None
        return _parsed(text) if text else None

    def compute(self, stage: str, shard: str, recipe: Recipe, work: Callable[[Draft], None]) -> StageRecord:
        """Give the record of a shard; compute it where it is not finished.

        Args:
            stage: name of the stage.
            shard: name of the shard.
            recipe: everything that changes the outcome.
            work: writes the outcome into the draft. When it raises, nothing of it stays but its checkpoints.
        """
        found = self.find(stage, shard, recipe)
        if found:
            return found
        folder = self._folder(stage, shard, recipe)
        partial = folder.with_name(folder.name + ".partial")
        with self.lock(f"{stage}-{folder.name}"):
            found = self.read(folder)
            if found:
                return found
            for stale in (partial, folder):
                shutil.rmtree(stale, ignore_errors=True)
            partial.mkdir(parents=True)
            (partial / "owner.json").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
            start = time.monotonic()
            draft = Draft(partial, folder.with_name(folder.name + ".scratch"))
            try:
                work(draft)
            except Exception:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            (partial / "owner.json").unlink()
            seconds, versions = time.monotonic() - start, {**_versions(), **self._more_versions(stage, recipe)}
            record = _record(stage, shard, recipe, draft, seconds, versions)
            with (partial / "record.json").open("w") as file:
                json.dump(asdict(record), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            self._finish(partial, folder)
            shutil.rmtree(draft.scratch, ignore_errors=True)
        return record

    def follow(self, stage: str, shard: str, recipe: Recipe, work: Callable[[Draft], None] | None) -> StageRecord:
        """Give the record of a shard that another process computes, for trainings that run in several processes.

        Args:
            stage: name of the stage.
            shard: name of the shard.
            recipe: as of `compute`.
            work: the same work, whose outcome is thrown away but which the other process waits for; None only waits.

        Raises:
            InputError: the other process failed or is gone: nobody is computing the shard.
        """
        folder = self._folder(stage, shard, recipe)
        if work is not None and not self.read(folder):
            with tempfile.TemporaryDirectory() as nowhere:
                work(Draft(Path(nowhere), folder.with_name(folder.name + ".scratch")))
        limit = time.monotonic() + PATIENCE
        while not (found := self.read(folder)) and time.monotonic() < limit:
            time.sleep(0.2)
        if not found:  # the lock is free when the other process has finished, or is gone
            with self.lock(f"{stage}-{folder.name}").acquire(poll_interval=0.2):
                found = self.read(folder)
        if not found:
            raise InputError(
                f"the first process has stopped without finishing {stage}/{shard}: see what it said, and give the same "
                "command again"
            )
        return found

    def lock(self, name: str) -> FileLock:
        """Give the lock of a name, to be used by ``with``; the system frees it when its process dies.

        Raises:
            InputError: the folder cannot be written.
        """
        locks = self.root / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write to the output folder {self.root.parent} ({error.strerror}): "
                "choose another one with --set execution.output=FOLDER"
            ) from error
        return FileLock(locks / f"{name}.lock")

    def sweep(self) -> None:
        """Delete what processes that are gone left half written; checkpoints stay."""
        for partial in self.root.glob("*/*.partial"):
            self.remove(partial)

    def remove(self, folder: Path, unused_since: float = inf) -> bool:
        """Delete a folder of the store, unless a process works at its shard or it was used since a time.

        Args:
            folder: a shard's, or its ``.partial`` or ``.scratch``.
            unused_since: seconds since the epoch.

        Returns:
            Whether it is gone.
        """
        shard = folder.stem if folder.suffix in (".partial", ".scratch") else folder.name
        with suppress(Timeout), self.lock(f"{folder.parent.name}-{shard}").acquire(timeout=0):
            if last_use(folder) <= unused_since:
                shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    def folder(self, record: Finished) -> Path:
        """Give the folder of a finished shard, fetched where it is not here.

        Raises:
            InputError: it is damaged in the mirror.
        """
        folder = self.root / record.place
        if self._mirror:
            self._fetch(folder)
        return folder

    def samples(self, record: StageRecord) -> list[Sample]:
        """Read the samples of a finished shard."""
        pictures, folder = self.pictures(record), self.folder(record)
        return [_read_sample(folder, row, pictures[row["id"]]) for row in self.rows(record)]

    def rows(self, record: StageRecord) -> list[dict[str, Any]]:
        """Read the sample table of a finished shard without its arrays."""
        return [json.loads(line) for line in (self.folder(record) / "samples.jsonl").read_text().splitlines()]

    def pictures(self, record: StageRecord) -> dict[str, Path]:
        """Give sample id -> picture, for a shard that labels the same pictures without copying them."""
        folder = self.folder(record)
        found = {row["id"]: (folder / row["picture"]).resolve() for row in self.rows(record)}
        if self._mirror:
            for shard in {path.parents[1] for path in found.values()}:
                self._fetch(shard)
        return found

    def adopt(self, other: RunStore, record: StageRecord) -> bool:
        """Copy a finished shard of another store into this one; nothing here is overwritten.

        Returns:
            Whether it was copied; False where it is here, and in the mirror, already.

        Raises:
            InputError: it is not what its name says, or here with other content.
        """
        folder, source = self.root / record.place, other.folder(record)
        if record.fingerprint != fingerprint(record.stage, record.recipe) or source.name != folder.name:
            raise InputError(f"{source} is not what its record.json says: move it away; it can be computed again")
        with self.lock(f"{record.stage}-{folder.name}"):
            if here := self.read(folder):
                if here.content != record.content:
                    raise InputError(
                        f"{source} and {folder} were computed from the same settings and differ, as other hardware, "
                        "library versions or threads make them: keep one of them, and delete what was computed from "
                        "the other"
                    )
                _note_use(folder)
                return self._push_again(folder)
            partial = folder.with_name(folder.name + ".partial")
            for stale in (partial, folder):
                shutil.rmtree(stale, ignore_errors=True)
            shutil.copytree(source, partial)
            if _read_whole(partial) != record:
                shutil.rmtree(partial)
                raise InputError(f"{source} is damaged: move it away; it can be computed again")
            self._finish(partial, folder)
            _note_use(folder)
        return True

    def publish(self, folder: Path, last: str) -> None:
        """Copy a folder that lies beside the store to the mirror, once, the file ``last`` at the end."""
        name = folder.relative_to(self.root.parent).as_posix()
        if self._mirror and self._mirror.read(f"{name}/{last}") is None:
            self._mirror.push(folder, name, last)

    def records(self) -> Iterator[StageRecord]:
        """Go through all finished shards."""
        for path in sorted(self.root.glob("*/*/record.json")):
            if path.parent.suffix != ".partial" and (record := self.read(path.parent)):
                yield record

    def _folder(self, stage: str, shard: str, recipe: Recipe) -> Path:
        return self.root / _checked(stage) / f"{_checked(shard)}-{fingerprint(stage, recipe)}"

    def _finish(self, partial: Path, folder: Path) -> None:
        """Make a whole draft a finished shard: first in the mirror, so that no kill leaves it here alone."""
        if self._mirror:
            self._mirror.push(partial, f"{self.root.name}/{_place(folder)}", "record.json")
        partial.rename(folder)

    def _push_again(self, folder: Path) -> bool:
        """Copy a shard that is here to a mirror that has lost it; gives whether that was needed."""
        place = f"{self.root.name}/{_place(folder)}"
        lost = self._mirror is not None and self._mirror.read(f"{place}/record.json") is None
        if self._mirror and lost:
            self._mirror.push(folder, place, "record.json")
        return lost

    def _fetch(self, folder: Path) -> None:
        """Copy a shard from the mirror where it is not whole here."""
        if _read_whole(folder):
            return
        with self.lock(f"{folder.parent.name}-{folder.name}"):
            record = self.read(folder)
            if not self._mirror or not record or _read_whole(folder):
                return
            partial = folder.with_name(folder.name + ".partial")
            for stale in (partial, folder):
                shutil.rmtree(stale, ignore_errors=True)
            place = f"{self.root.name}/{_place(folder)}"
            with suppress(FileNotFoundError):
                self._mirror.pull(place, [*record.files, "record.json"], partial)
            if not _read_whole(partial):
                shutil.rmtree(partial, ignore_errors=True)
                raise InputError(f"{self._mirror.url}/{place} is damaged: delete it; it can be computed again")
            partial.rename(folder)


def last_use(folder: Path) -> float:
    """Give when a folder of the store was last written or, where it is a finished shard, asked for.

    Returns:
        Seconds since the epoch, for a finished shard at most `USE_NOTED` too early.
    """
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # it is written or deleted meanwhile
            times.append(path.lstat().st_mtime)
    return max(times)


def _note_use(folder: Path) -> None:
    """Give a finished shard's record the time of now; the shard may lie in a mirror alone, or be another user's."""
    record = folder / "record.json"
    with suppress(OSError):
        if time.time() - record.stat().st_mtime > USE_NOTED:
            os.utime(record)


def _record(
    stage: str, shard: str, recipe: Recipe, draft: Draft, seconds: float, versions: Mapping[str, str]
) -> StageRecord:
    files = list_files(draft.folder)
    content = draft.content or hash_files(draft.folder, [f for f in files if f not in draft.notes])
    sizes = {name: (draft.folder / name).stat().st_size for name in files}
    return StageRecord(
        stage, shard, fingerprint(stage, recipe), content, dict(recipe), draft.counts, draft.dropped, round(seconds, 2),
        versions, sizes, draft.warnings,
    )  # fmt: skip


def _read_whole(folder: Path) -> StageRecord | None:
    """Read the record of a folder whose files are all there, or None."""
    try:
        record = _parsed((folder / "record.json").read_bytes())
        whole = record and all((folder / name).stat().st_size == size for name, size in record.files.items())
    except OSError:
        return None
    return record if whole else None


def _parsed(text: bytes) -> StageRecord | None:
    with suppress(ValueError, TypeError):
        return StageRecord(**json.loads(text))
    return None


def _place(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _read_sample(folder: Path, row: Mapping[str, Any], place: Path) -> Sample:
    picture = read_picture(place)
    labels = None if row["labels"] is None else read_labels(folder / row["labels"])
    free = None if row["free"] is None else read_labels(folder / row["free"]).astype(bool)
    return Sample(
        row["id"], row["name"], row["prompt"], row["seed"], picture, labels, free, row["scores"], row["reason"]
    )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot be a file name: use letters, digits, '-', '_' and '.' only")
    return name


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
