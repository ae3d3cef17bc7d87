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


PLAIN = ("experiment.second_round.label=false", "experiment.second_round.base=false",
         "experiment.second_round.prompts=0", "experiment.train.synthetic_confidence=0")
"""Without what goes beyond the paper."""


def _switched(on: int) -> tuple[str, ...]:
    return (*(f"{key}={'true' if place < on else 'false'}" for place, key in enumerate(_SWITCHES)), *PLAIN)


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
    Rung("copy-paste", (*_switched(0), "experiment.generate.source=copy-paste"), "sabr"),
    Rung("oracle", (*_switched(0), "experiment.generate.source=oracle"), "sabr"),
)
"""As many further pictures from elsewhere."""

BEYOND = (
    Rung("confidence", (*_switched(4), "experiment.train.synthetic_confidence=2"), "sabr", "refine"),
    Rung("adaptive", (*_switched(4), "experiment.second_round.prompts=0.5"), "sabr", "refine"),
    Rung("second-labels", (*_switched(4), "experiment.second_round.label=true"), "sabr", "refine"),
    Rung("second-base", (*_switched(4), "experiment.second_round.base=true"), "sabr", "refine"),
)
"""What goes beyond the paper, each on top of its whole chain."""

RUNGS = {rung.name: rung for rung in (*LADDER, *CONTROLS, *BEYOND)}

SWEEPS = {
    "bank-lambda": ("experiment.prompts.max_similarity", ("0.85", "0.9", "0.93", "0.97", "1")),
    "apf-lambda": ("experiment.filter.min_similarity", ("-0.5", "-0.1", "0", "0.1", "0.2", "0.4", "0.6")),
    "apf-contrast": ("experiment.filter.min_contrast", ("0.3", "0.5", "0.6", "0.7", "0.8", "0.9", "null")),
    "apr-margin": ("experiment.relabel.min_margin", ("0", "0.15", "0.25", "0.35", "null")),
    "apr-lambda": ("experiment.relabel.min_similarity", ("-0.1", "0", "0.1", "0.2", "0.4", "0.6")),
    "beta": ("experiment.relabel.blend", ("0", "0.25", "0.5", "0.75", "1")),
    "band": ("experiment.refine.band", ("0.03", "0.06", "0.1", "0.15", "0.2")),
    "images": ("experiment.prompts.per_class", ("10", "20", "40", "80")),
    "shots": ("experiment.shots", ("1", "2", "5", "10")),
}
"""Name -> key and values, around the paper's whole chain with picto's settings."""


def chosen_rungs(names: Sequence[str], sweeps: Sequence[str], dataset: str = "picto") -> list[Rung]:
    """Give the rungs of those names, and a rung for every value of the sweeps.

    Args:
        names: of rungs; "ladder" stands for the paper's, "beyond" for what goes beyond it, "all" for every one that
            the data set has.
        sweeps: a name, "all", or KEY=V,V,... with a key of the config.
        dataset: its name; only picto's scenes can be drawn with exact labels, which the oracle needs.

    Raises:
        InputError: an unknown one, or one that the data set has not.
    """
    every = tuple(name for name in RUNGS if name != "oracle" or dataset == "picto")
    groups = {"all": every, "ladder": tuple(r.name for r in LADDER), "beyond": tuple(r.name for r in BEYOND)}
    found: dict[str, Rung] = {}
    for name in names:
        several = groups.get(name, (name,))
        for one in several:
            if one not in RUNGS:
                raise InputError(f"--rungs {one}: expected ladder, beyond, all or some of {', '.join(RUNGS)}")
            if one not in every:
                raise InputError(f"--rungs {one}: {dataset} has no scenes to draw with exact labels, as picto has: "
                                 "leave it out, copy-paste is the control that every data set has")
            found[one] = RUNGS[one]
    wanted = [name for sweep in sweeps for name in (SWEEPS if sweep == "all" else (sweep,))]
    for sweep in wanted:
        for rung in _sweep(sweep):
            found[rung.name] = rung
    return list(found.values())


def _sweep(text: str) -> list[Rung]:
    own, equals, listed = text.partition("=")
    if not equals:
        if text not in SWEEPS:
            raise InputError(f"--sweep {text}: expected all, KEY=V,V or one of {', '.join(SWEEPS)}")
        key, values = SWEEPS[text]
        return [Rung(f"{text}={value}", (*_switched(4), f"{key}={value}"), "", "refine") for value in values]
    short = own.removeprefix("experiment.")
    key = f"experiment.{short}"
    if short in ("fold", "seed"):
        raise InputError(f"--sweep {text}: got the {short}, over which means are taken: give --{short}s 0 1 ...")
    rungs = [Rung(f"{key if short in SWEEPS else short}={value}", (f"{key}={value}",)) for value in listed.split(",")]
    for rung in rungs:
        load_config("picto", rung.changes)
    return rungs
