"""What the commands share: options that mean the same everywhere, and how scores are shown and written."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token, validators
from rich.console import Console
from rich.table import Table

from flows import turns
from flows.settings import as_override
from pipeline.errors import InputError

out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

Source = Annotated[
    str | None, Parameter(help="YAML file or preset, or several as in pascal5i_fold1+sd15; picto unless given.")
]
Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", negative=(), help="key=value, such as experiment.filter.min_similarity=0.7; repeatable."),
]
Elsewhere = Annotated[
    list[str] | None,
    Parameter(name="--set", negative=(), help="execution.KEY=VALUE, such as execution.device=cpu; repeatable."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON instead of a table.")]
NoWeights = Annotated[
    bool,
    Parameter(negative=(), help="Look at the config alone: weights and data need not be here, what is needed is told."),
]  # fmt: skip
Count = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Days = Annotated[int, Parameter(validator=validators.Number(gte=0))]
SomeCount = Annotated[int | None, Parameter(validator=validators.Number(gte=1))]


def _is_here(kind: Any, folder: Path) -> None:
    if re.match(r"\w{2,}:/", str(folder)):
        raise ValueError(
            "This is a URL: give the folder that stands for it here, execution.cache or the one below "
            "~/.cache/syn4seg that a run names; what is to compute takes it by --output URL"
        )


def _place(kind: Any, tokens: Sequence[Token]) -> Path:
    return Path(tokens[0].value).expanduser()


Output = Annotated[Path, Parameter(help="The output folder.", validator=_is_here, converter=_place)]
"""Of commands that look into it."""
Into = Annotated[
    str | None, Parameter(name="--output", help="The output folder, or its URL; that of the config unless given.")
]
"""Of commands that compute, see `placed`."""
OutputOrUrl = Annotated[str, Parameter(help="The output folder, or its URL.")]


def _are_some(kind: Any, numbers: list[int]) -> None:
    if not numbers:
        raise ValueError("Got nothing, expected one number or several, such as 0 1.")


Numbers = Annotated[list[int], Parameter(consume_multiple=True, negative=(), validator=_are_some)]
Growth = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=0), help="Prompts a class to add to those of the largest finished run of this "
        "config; finished shards are kept.",
    ),
]  # fmt: skip
WhileRunning = Annotated[
    turns.WhileRunning, Parameter(help="What to do while another run of the same config goes on.")
]


def placed(into: str | None, overrides: Sequence[str] | None) -> list[str]:
    """Give the overrides of a command that computes, of which ``--output`` is the first."""
    return [*([] if into is None else [as_override("execution.output", into)]), *(overrides or ())]


def name_of(config: str | None) -> str:
    """Give the name of a config: its files', without the endings."""
    return "+".join(Path(part).stem for part in config.split("+")) if config else "picto"


def say_name(folder: Path, name: str | None) -> None:
    """Tell who asked for a run by a name that an equal finished run, which was found instead, does not have."""
    if name is not None and folder.name.split("-", 2)[-1] != name:
        print(
            f"syn4seg: --name {name} names nothing, since an equal run is finished, {folder.name}: for another run "
            "change a setting, such as --set experiment.seed=1; for another name move that folder away and run again",
            file=sys.stderr,
        )


def one_of(name: str, known: tuple[str, ...], what: str) -> str:
    """Give a name that is known.

    Raises:
        InputError: it is not; ``what`` says of what kind it should be.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"unknown {what} {name!r}: expected one of {', '.join(known)}{hint}")


def write_scores(to: Path | None, scores: dict[str, Any]) -> None:
    """Write scores to a file for `flows.results`, where one is named."""
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n")


def print_scores(scores: dict[str, Any]) -> None:
    """Print what ``scores.json`` holds as a table."""
    where = f"{scores['dataset']} by a model of {scores['trained_on']}" if "trained_on" in scores else scores["dataset"]
    out.print(f"{where} fold {scores['fold']}, {scores['shots']}-shot, seed {scores['seed']}")
    if "fss" in scores:
        found = scores["fss"]
        table = Table(f"{found['shots']}-shot, in %", "mIoU", "FB-IoU", *found["per_class"], box=None)
        rows = [[found["miou"], found["fb_iou"], *found["per_class"].values()]]
        table.add_row(str(scores.get("model", "")), *("" if v is None else f"{100 * v:.1f}" for v in rows[0]))
        out.print(table)
        streams = len(found["per_seed"])
        out.print(
            f"{found['episodes']} episodes x {streams} seeds (deviation {100 * found['miou_std']:.1f}), "
            f"counted at {found['resolution']} size{', multi-scale' if found.get('multiscale') else ''}"
        )
        return
    if scores.get("protocol") == "fss":
        return
    if not any(isinstance(found, dict) and "novel_miou" in found for found in scores.values()):
        out.print("no scores")
        return
    names = {
        "matching": "prototype matching", "teacher": "teacher", "before": "without synthetic",
        "after": "with synthetic",
    }  # fmt: skip
    table = Table("mIoU in %", "novel", "base", "mean", "harmonic", box=None)
    for key, label in names.items():
        if key in scores:
            row = [f"{100 * scores[key][f'{kind}_miou']:.1f}" for kind in ("novel", "base", "mean", "harmonic")]
            table.add_row(label, *row)
    out.print(table)


def print_json(value: object) -> None:
    """Print JSON to stdout."""
    print(json.dumps(value, indent=1))


def number(value: object) -> str:
    """Give a cell of a table: fractions in per cent, nothing for None."""
    return f"{100 * value:.1f}" if isinstance(value, float) else "" if value is None else str(value)


def size_of(count: float) -> str:
    """Give bytes in a unit that suits them."""
    step, unit = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e5 else (1e3, "kB")
    return f"{count / step:.1f} {unit}"


def duration(seconds: float) -> str:
    """Give seconds in a unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
