"""The command ``syn4seg audit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.console import AsJson, Count, Into, Overrides, Source, name_of, number, out, placed, print_json
from flows.settings import load_config

Axes = Annotated[
    list[str] | None,
    Parameter(
        name="--grid", negative=(),
        help="Values of one axis of the sweep, KEY=V,V,...: filter.min_similarity, relabel.blend or "
        "relabel.min_similarity; repeatable.",
    ),
]  # fmt: skip


def audit(
    config: Source = None, /, *, set_: Overrides = None, pictures: Count = 30,
    sweep: Annotated[bool, Parameter(negative=())] = False, grid: Axes = None, output: Into = None,
    json_: AsJson = False,
) -> None:  # fmt: skip
    """Measure every labelling stage on labelled pictures that go through it as if they had no labels.

    Precision, recall, IoU and boundary IoU of the first labels, APF, APR and SABR, by class, and a page with the worst
    pictures in the folder audits of the output. Trains the teacher of the config where it is not there yet. Picto has
    portraits for this; other data sets give validation pictures.

        syn4seg audit                                    picto, fold 0
        syn4seg audit my.yaml --pictures 10 --sweep      every lambda and beta too
        syn4seg audit --grid relabel.blend=0,0.5,1       values of your own

    A sweep chooses a setting on one half of the pictures and compares it with the current one on the other half.

    Parameters
    ----------
    pictures
        How many labelled pictures of each novel class at most.
    sweep
        Also try lambda of APF, lambda of APR and beta around the current setting, and suggest one.
    """
    from flows.audit import audit as measure
    from flows.audit.grid import Grid
    from flows.data import novel_names
    from flows.progress import Board, set_reporter

    chosen = load_config(config, placed(output, set_))
    axes = Grid.around(chosen, grid or ()) if sweep or grid else None
    purposes = 4 if chosen.experiment.dataset == "picto" else 0
    with Board({"data": purposes, "teacher": 1, "audit": len(novel_names(chosen))}, Console(stderr=True)) as board:
        set_reporter(board.show)
        found = measure(chosen, name_of(config), pictures, axes)
    if json_:
        print_json({**found.told, "page": str(found.page)})
        return
    _print_rows(found.told["rows"])
    if found.told["reported"]:
        out.print(
            f"{found.told['reported']} of these are pictures that scores are reported on: a setting that is chosen "
            "here is not free of them"
        )
    if "sweep" in found.told:
        _print_sweep(found.told["sweep"])
    out.print(f"page     {found.page}", soft_wrap=True)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    table = Table(*(key.replace("_", " ") for key in rows[0]), box=None)
    for place, row in enumerate(rows):
        again = place and rows[place - 1]["class"] == row["class"]
        cells = {**row, "class": "" if again else row["class"], "pictures": "" if again else row["pictures"]}
        table.add_row(*(number(value) for value in cells.values()))
    out.print(table)


def _print_sweep(found: Mapping[str, Any]) -> None:
    """Print the current and the suggested setting, their difference, and how to use the suggested one."""
    table = Table("", "current", "suggested", box=None)
    pair = [found["current"], found["suggested"]]
    for key in found["axes"]:
        table.add_row(key, *(f"{one['setting'][key]:g}" for one in pair))
    table.add_row("IoU where it was chosen", *(number(found["chosen_on"][name]) for name in ("current", "suggested")))
    for key in ("iou", "precision", "recall", "boundary_iou", "kept"):
        name = {"iou": "IoU", "boundary_iou": "boundary IoU"}.get(key, key)
        table.add_row(f"{name} on the other half", *(number(one[key]) for one in pair))
    out.print()
    out.print(table)
    out.print(verdict(found))
    if found["edge"]:
        out.print(f"it lies at the end of {' and '.join(found['edge'])}: values beyond may be better (--grid)")
    if not found["same"]:
        out.print(f"use it   {' '.join(f'--set {text}' for text in found['set'])}", soft_wrap=True)


def verdict(found: Mapping[str, Any]) -> str:
    """Say in a sentence what the suggested setting changes, and whether that is more than noise."""
    settings, (first, second) = len(found["chosen"]), found["halves"]
    if found["same"]:
        return f"of {settings} settings the current one is the best on {first} pictures: nothing to change"
    low, high = (100 * value for value in found["interval"])
    judged = "more than noise" if found["clear"] else "no more than noise, the current setting may stay"
    change = f"{100 * found['difference']:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
    return (
        f"suggested: of {settings} settings the best on {first} pictures; on {second} others it changes the current "
        f"one's IoU by {change}: {judged}"
    )
