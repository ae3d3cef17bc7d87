"""FSS models side by side: each variant trained and scored over folds, seeds and shots, one file of scores each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flows.fss import trained_and_scored
from flows.settings import load_config
from flows.steps import KIN
from pipeline.config import Config
from pipeline.errors import InputError


@dataclass(frozen=True)
class Variant:
    """A row of the comparison: its name, what it changes in the config, and a config of its own where it has one."""

    name: str
    overrides: tuple[str, ...]
    source: str | None = None

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read "a name: key=value key=value", "a name: preset key=value", or the bare name of a model.

        Raises:
            InputError: neither of them.
        """
        name, colon, rest = text.partition(":")
        changes = tuple(rest.split())
        source = changes[0] if changes and "=" not in changes[0] else None
        changes = changes[1:] if source else changes
        if colon and (not (source or changes) or any("=" not in change for change in changes)):
            raise InputError(f"--vary {text!r}: expected a model's name or 'a name: [preset] key=value', such as 'iir' "
                             "or 'Sym-Net, short: picto_symnet experiment.fss.steps=50'")
        if not colon:
            changes = (f"experiment.model.name={name}",)
        return cls(name.strip(), changes, source)

    def changes(self, model: str) -> tuple[str, ...]:
        """Give what it changes in a config of a model, whose options go with the models that share them."""
        bare = self.overrides == (f"experiment.model.name={self.name}",)
        if not bare or self.name == model or {self.name, model} <= KIN:
            return self.overrides
        return (*self.overrides, "experiment.fss.options={}")


def compare_fss(
    source: str | None, overrides: Sequence[str], variants: Sequence[Variant], *, folds: Sequence[int],
    seeds: Sequence[int], shots: Sequence[int], to: Path, console: Console,
) -> list[Path]:
    """Train and score every variant on every fold and seed; what the store holds is not done again.

    A variant is trained once a fold and seed, with the config's shots, and scored with each number of shots.

    Args:
        source: config or preset that the variants change.
        overrides: ``key=value`` that hold for all of them.
        variants: the rows.
        folds: of the data set.
        seeds: of the trainings; a model that learns nothing is scored with the first of them alone.
        shots: supports an episode, at scoring.
        to: folder for ``DATASET-fss-VARIANT-foldF-Kshot-seedS.json``.
        console: shows the progress.

    Returns:
        The files.

    Raises:
        InputError: something that the user can mend; told before the first training where it can be.
    """
    configs: dict[tuple[Variant, int, int], Config] = {}
    model = load_config(source, overrides).experiment.model.name
    for variant in variants:
        for fold in folds:
            for seed in seeds:
                own = [*overrides, *variant.changes(model), f"experiment.fold={fold}", f"experiment.seed={seed}"]
                own.append("experiment.generate.enabled=false")
                configs[variant, fold, seed] = config = load_config(variant.source or source, own)
                if config.experiment.model.name == "matching":
                    break
    files: list[Path] = []
    for done, ((variant, fold, seed), config) in enumerate(configs.items()):
        stem = f"{_slug(Path(config.experiment.dataset).stem)}-fss-{_slug(variant.name)}-fold{fold}"
        wanted = {k: to / f"{stem}-{k}shot-seed{seed}.json" for k in shots}
        files += wanted.values()
        console.print(f"{done + 1} of {len(configs)}: {variant.name}, fold {fold}, seed {seed}")
        for k, scores in zip(shots, trained_and_scored(config, shots, console), strict=True):
            told = {"dataset": config.experiment.dataset, "fold": fold, "shots": k, "seed": seed, "protocol": "fss"}
            told |= {"model": variant.name, "trained_shots": config.experiment.shots}
            told |= {"chosen": config.experiment.fss.choose, "fss": scores}
            to.mkdir(parents=True, exist_ok=True)
            wanted[k].write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
            console.print(f"   {k}-shot: mIoU {100 * scores['miou']:.1f}")
    return files


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


