"""What a store holds that no run refers to, and how much of it may go.

The folder of a run names its shards. Much that is still needed has no such folder: a run that goes on or was killed,
``--until``, shares that wait to be joined, cells of ``compare`` and ``ablate``, ``prepare``, ``audit``. Nothing says of
a shard which of them will ask for it, so its age decides: whatever was written or asked for lately stays. So does
``git gc`` with objects that nothing refers to, which it keeps for two weeks (https://git-scm.com/docs/git-gc,
``--prune`` and "Notes"). A run asks for every shard that it needs when it begins; `store.last_use` tells.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.runs import used_places
from flows.turns import is_working
from pipeline.store import RunStore, last_use

KEEP_DAYS = 14
"""Of what no run refers to; while something works in the output folder it is the least."""
DAY = 86_400.0


@dataclass(frozen=True)
class Leftovers:
    """The folders of a store, by what is to become of them.

    Attributes:
        old: folder -> bytes, of those that nothing needs.
        recent: folder -> bytes, of those that no run refers to and that were used lately.
        of_runs: number of folders that a run refers to.
        days: the age that decided.
        since: the time that this was, in seconds since the epoch.
    """

    old: Mapping[Path, int]
    recent: Mapping[Path, int]
    of_runs: int
    days: int
    since: float

    def kept(self) -> str:
        """Say in one line what stays, and why."""
        size = sum(self.recent.values())
        return (
            f"kept: {self.of_runs} folders that runs refer to, and {len(self.recent)} ({size / 1e6:.1f} MB) in work or "
            f"used in the last {self.days} days, which what has no run's folder may need"
        )


def find_leftovers(output: Path, days: int = KEEP_DAYS) -> Leftovers:
    """Look through the store of an output folder.

    Args:
        output: the folder.
        days: how long what no run refers to stays; while something works in the folder at least `KEEP_DAYS`.

    Raises:
        InputError: the lineage of a run is damaged, so that nobody knows what it refers to.
    """
    store, used = RunStore(output / "store"), used_places(output)
    days = max(days, KEEP_DAYS) if is_working(store) else days
    since = time.time() - days * DAY
    old: dict[Path, int] = {}
    recent: dict[Path, int] = {}
    of_runs = 0
    for folder in sorted(store.root.glob("*/*")):
        if not folder.is_dir() or folder.parent.name.startswith("."):
            continue
        if folder.relative_to(store.root).as_posix() in used:
            of_runs += 1
        else:
            size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            (old if last_use(folder) <= since else recent)[folder] = size
    return Leftovers(old, recent, of_runs, days, since)


def delete_leftovers(output: Path, found: Leftovers) -> list[Path]:
    """Delete what nothing needs; what a process has taken up meanwhile, or cannot be deleted, stays.

    Returns:
        The folders that are gone.
    """
    store = RunStore(output / "store")
    return [folder for folder in found.old if store.remove(folder, found.since)]
