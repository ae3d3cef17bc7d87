"""What every rung changes in the config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.settings import load_config
from pipeline.errors import InputError

_SWITCHES = ("experiment.prompts.enabled", "experiment.filter.enabled", "experiment.relabel.enabled",
             "experiment.refine.enabled")


@dataclass(frozen=True)
class Rung:
    """A row of the table.

    Attributes:
        name: of the rung.
        changes: ``key=value`` in the config.
        below: the rung that it is compared with, or "".
        stage: the labelling stage whose labels are trained on, or "".
        part: which final model it is: "before", without synthetic pictures, or "after".
    """

    name: str
    changes: tuple[str, ...]
    below: str = ""
    stage: str = ""
    part: str = "after"


def _switched(on: int) -> tuple[str, ...]:
    return tuple(f"{key}={'true' if place < on else 'false'}" for place, key in enumerate(_SWITCHES))


LADDER = (
    Rung("none", _switched(0), part="before"),
    Rung("class-name", _switched(0), "none", "annotate"),
    Rung("hdig", _switched(1), "class-name", "annotate"),
    Rung("apf", _switched(2), "hdig", "filter"),
    Rung("apr", _switched(3), "apf", "relabel"),
    Rung("sabr", _switched(4), "apr", "refine"),
)
"""The paper's ladder: every rung adds a part."""

CONTROLS = (
    Rung("copy-paste", (*_switched(0), "experiment.generate.source=copy-paste"), "none"),
    Rung("oracle", (*_switched(0), "experiment.generate.source=oracle"), "sabr"),
)
"""As many further pictures from elsewhere."""

RUNGS = {rung.name: rung for rung in (*LADDER, *CONTROLS)}

SWEEPS = {
    "bank-lambda": ("experiment.prompts.max_similarity", ("0.85", "0.9", "0.93", "0.97", "1")),
    "apf-lambda": ("experiment.filter.min_similarity", ("0", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7")),
    "apr-lambda": ("experiment.relabel.min_similarity", ("0", "0.2", "0.3", "0.4", "0.5", "0.6")),
    "beta": ("experiment.relabel.blend", ("0", "0.25", "0.5", "0.75", "1")),
    "band": ("experiment.refine.band", ("0.03", "0.06", "0.1", "0.15", "0.2")),
    "images": ("experiment.prompts.per_class", ("10", "20", "40", "80")),
    "shots": ("experiment.shots", ("1", "2", "5", "10")),
}
"""Name -> key and values, around picto's defaults."""


def chosen_rungs(names: Sequence[str], sweeps: Sequence[str]) -> list[Rung]:
    """Give the rungs of those names, and a rung for every value of the sweeps.

    Args:
        names: of rungs; "ladder" stands for the paper's, "all" for every one.
        sweeps: a name, "all", or KEY=V,V,... with a key of the config.

    Raises:
        InputError: an unknown one.
    """
    found: dict[str, Rung] = {}
    for name in names:
        several = {"all": tuple(RUNGS), "ladder": tuple(rung.name for rung in LADDER)}.get(name, (name,))
        for one in several:
            if one not in RUNGS:
                raise InputError(f"--rungs {one}: expected ladder, all or some of {', '.join(RUNGS)}")
            found[one] = RUNGS[one]
    wanted = [name for sweep in sweeps for name in (SWEEPS if sweep == "all" else (sweep,))]
    for sweep in wanted:
        for rung in _sweep(sweep):
            found[rung.name] = rung
    return list(found.values())


def _sweep(text: str) -> list[Rung]:
    key, equals, values = text.partition("=")
    if not equals:
        if text not in SWEEPS:
            raise InputError(f"--sweep {text}: expected all, KEY=V,V or one of {', '.join(SWEEPS)}")
        return [Rung(f"{text}={value}", (f"{SWEEPS[text][0]}={value}",)) for value in SWEEPS[text][1]]
    key = key if key.startswith("experiment.") else f"experiment.{key}"
    rungs = [Rung(f"{key.removeprefix('experiment.')}={value}", (f"{key}={value}",)) for value in values.split(",")]
    for rung in rungs:
        load_config("picto", rung.changes)
    return rungs
