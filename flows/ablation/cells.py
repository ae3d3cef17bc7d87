"""One cell: a rung on one fold and seed with K shots, from config to scores; a line each in ``ablation-cells.jsonl``.

The line says what it was computed from (``identity``), so that a further run, on this or another machine, computes only
what is new, and which settings its ablation started from (``base``): a folder holds those of one base a data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from flows import steps
from flows.ablation.rungs import Rung
from flows.audit.items import choose_items
from flows.beforehand import check_chains
from flows.data import store_of
from flows.results import slug
from flows.rounds import FirstRound
from flows.run import compute
from flows.runs import SCORES
from flows.server import Server
from flows.settings import load_config
from pipeline.config import Config, Settings
from pipeline.errors import InputError
from pipeline.hashing import hash_json
from pipeline.store import StageRecord

FILE = "ablation-cells.jsonl"


@dataclass(frozen=True)
class Cell:
    """A rung with its place and its config.

    Attributes:
        rung: what is changed.
        config: with these changes.
        base: hash of the settings that were changed; it is the same at every place.
    """

    rung: Rung
    config: Config
    base: str

    @property
    def key(self) -> dict[str, Any]:
        """What names it: rung, data set, shots, fold and seed."""
        experiment = self.config.experiment
        return {
            "rung": self.rung.name, "dataset": slug(Path(experiment.dataset).stem), "shots": experiment.shots,
            "fold": experiment.fold, "seed": experiment.seed,
        }  # fmt: skip

    @property
    def identity(self) -> str:
        """Hash of everything that its scores are computed from, but for the code between two versions."""
        return hash_json([self.config.experiment.model_dump(mode="json"), steps.versions()])


def list_cells(
    source: str | None, overrides: Sequence[str], rungs: Sequence[Rung], folds: Sequence[int], seeds: Sequence[int],
    shots: Sequence[int],
) -> list[Cell]:  # fmt: skip
    """Give all cells, those that share most work beside each other.

    Raises:
        InputError: a config is not valid.
    """
    cells = []
    for k in shots:
        for fold in folds:
            for seed in seeds:
                kept = [f"experiment.fold={fold}", f"experiment.seed={seed}"]
                given = [*overrides, f"experiment.shots={k}"]
                base = _base_of(load_config(source, [*given, *kept]))
                cells += [Cell(rung, load_config(source, [*given, *rung.changes, *kept]), base) for rung in rungs]
    return cells


def _base_of(config: Config) -> str:
    """Hash the settings of a config but for its place, defaults too, so that a changed default is another base."""
    return hash_json(_recipe_of(config.experiment.model_copy(update={"shots": 1, "fold": 0, "seed": 0})))


def _recipe_of(settings: Settings) -> dict[str, Any]:
    values = {name: (value, getattr(settings, name)) for name, value in settings.recipe().items()}
    return {name: _recipe_of(own) if isinstance(own, Settings) else told for name, (told, own) in values.items()}


def compute_cells(cells: Sequence[Cell], to: Path, labels: int, console: Console) -> None:
    """Train and score all cells that the folder's file does not hold yet.

    Args:
        cells: what to compute.
        to: folder of the file; every finished cell is a line of it at once.
        labels: labelled pictures a class on which the labels of a rung are judged; 0: none.
        console: shows the progress.

    Raises:
        InputError: something that the user can mend; what can be known before the first training is told before it.
    """
    held = read_cells(to)
    for cell in cells:
        _check_base(to, held, cell.key["dataset"], cell.base)
    known = {(_place(row), row["identity"]): row for row in held}
    left = [cell for cell in cells if not _answers(known.get((_place(cell.key), cell.identity)), cell, labels)]
    check_chains([cell.config for cell in left], console)
    for cell in left:
        if labels and cell.rung.stage:
            choose_items(cell.config, labels)
    folder = left[0].config.execution.folder if left else Path()
    with Server(folder) as server:
        for number, cell in enumerate(left):
            told = ", ".join(f"{name} {value}" for name, value in cell.key.items() if name != "dataset")
            console.print(f"{number + 1} of {len(left)}: {told}")
            row = {**cell.key, **_computed(cell, labels, server, console)}
            _write_cell(to, {**row, "identity": cell.identity, "base": cell.base})
            console.print(f"   novel {100 * row['novel_miou']:.1f}, harmonic {100 * row['harmonic_miou']:.1f}")


def _answers(row: Mapping[str, Any] | None, cell: Cell, labels: int) -> bool:
    """Say whether a row of a cell has all that is asked for; older ones do not tell how many labels were judged."""
    if row is None:
        return False
    return not (labels and cell.rung.stage) or ("labels" in row and row.get("labelled", labels) == labels)


def _check_base(folder: Path, rows: Sequence[Mapping[str, Any]], dataset: str, base: str) -> None:
    """Look that rows of a data set come from the same settings; older ones do not tell.

    Raises:
        InputError: they do not.
    """
    if any(row["dataset"] == dataset and row.get("base", base) != base for row in rows):
        raise InputError(
            f"{folder / FILE} holds cells of {dataset} that were computed with other settings (config or --set), which "
            "the means would mix with these: give another folder by --to"
        )


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a folder; none where it has no file.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}): delete the line, its cell is computed again") from error


def _write_cell(folder: Path, row: dict[str, Any]) -> None:
    """Put a row into the file, in the place of one of the same name; the file is whole at any time.

    Several processes may do so at once, such as one a seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{FILE}.lock"):
        held = read_cells(folder)
        _check_base(folder, held, row["dataset"], row["base"])
        rows = [*(old for old in held if _place(old) != _place(row)), row]
        rows.sort(key=lambda one: (one["dataset"], one["shots"], one["rung"], one["fold"], one["seed"]))
        partial = folder / f"{FILE}.new"
        partial.write_text("".join(json.dumps(one) + "\n" for one in rows))
        partial.rename(folder / FILE)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("rung", "dataset", "shots", "fold", "seed"))


def _computed(cell: Cell, labels: int, server: Server, console: Console) -> dict[str, Any]:
    found = compute(cell.config, "scores", console, "ablate", server=server)
    records, part = found.records, cell.rung.part
    record = next((r for r in records if r.stage == "scores" and r.shard == part), None)
    if record is None:
        raise InputError(
            f"the rung {cell.rung.name} has no final model, since no synthetic picture was usable: loosen "
            "experiment.filter.min_similarity, or leave the rung out by --rungs"
        )
    scores = json.loads((store_of(cell.config).folder(record) / "scores.json").read_text())
    row = {name: scores[name] for name in SCORES}
    row["pictures"] = sum(r.counts["pictures"] for r in records if r.stage == "dataset") if part == "after" else 0
    used = {r.place: r.seconds for r in (*_used(found.first, part), *_used(records, part))}
    row["seconds"] = round(sum(used.values()), 1)
    if labels and cell.rung.stage:
        first = FirstRound.of(found.first) if cell.config.experiment.second_round.label else None
        row["labels"] = _label_quality(cell.config, labels, cell.rung.stage, first.model if first else None)
        row["labelled"] = labels
    return row


def _used(records: Sequence[StageRecord], part: str) -> Iterator[StageRecord]:
    """Give the records that a final model needed."""
    for record in records:
        trained = record.stage == "train" and record.shard == part
        synthesis = part == "after" and record.stage not in ("train", "scores")
        if trained or synthesis or record.stage in ("teacher", "start"):
            yield record


def _label_quality(
    config: Config, per_class: int, stage: str, labeller: StageRecord | None
) -> dict[str, float | None]:
    """Give precision, recall and IoU of a stage's labels on labelled pictures, means over classes."""
    from flows.audit.run import judged_rows

    rows = judged_rows(config, per_class, labeller)
    row = next(row for row in rows if row["class"] == "mean" and row["stage"] == stage)
    return {name: row[name] for name in ("precision", "recall", "iou", "boundary_iou")}
