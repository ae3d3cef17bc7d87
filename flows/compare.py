"""Models side by side: each variant trained and scored over folds, seeds and shots, one file of scores each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import wiring
from flows.beforehand import check_chains
from flows.data import labelled, prepare_data, split_of
from flows.fss import check_fss, classes_of_scores, network_of, trained_and_scored, with_shots
from flows.progress import Board, set_reporter
from flows.results import NAMES, OWN, slug
from flows.run import compute
from flows.runs import scores_of
from flows.server import Server
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


@dataclass(frozen=True)
class Grid:
    """What every variant is trained and scored on.

    Attributes:
        protocol: fss, gfss-diam or gfss-capl.
        folds: of the data set.
        seeds: of the trainings; a model that learns nothing is scored with the first of them alone.
        shots: supports; a variant of fss is trained once, with the config's shots, and scored with each of these.
    """

    protocol: str
    folds: Sequence[int]
    seeds: Sequence[int]
    shots: Sequence[int]


def compare_models(
    source: str | None, overrides: Sequence[str], variants: Sequence[Variant], grid: Grid, to: Path, console: Console
) -> list[Path]:
    """Train and score every variant on every fold and seed; what the store holds is not done again.

    Under fss a variant is an episodic model. Under a GFSS protocol it is a final learner of the whole chain, scored
    without and with the synthetic pictures; pictures, labels and teacher are the same for all where their settings are.

    Args:
        source: config or preset that the variants change.
        overrides: ``key=value`` that hold for all of them.
        variants: the rows.
        grid: folds, seeds and shots.
        to: folder for ``DATASET-PROTOCOL-VARIANT-foldF-Kshot-seedS.json``.
        console: shows the progress.

    Returns:
        The files.

    Raises:
        InputError: something that the user can mend; what can be known before the first training is told before it.
    """
    _check_names(variants)
    fss = grid.protocol == "fss"
    shots = (None,) if fss else tuple(grid.shots)
    common = [*overrides, "experiment.generate.enabled=false" if fss else f"experiment.protocol={grid.protocol}"]
    model = load_config(source, overrides).experiment.model.name
    configs: dict[tuple[Variant, int, int, int | None], Config] = {}
    for variant in variants:
        for fold in grid.folds:
            for seed in grid.seeds:
                for k in shots:
                    changes = [*common, *variant.changes(model), f"experiment.fold={fold}", f"experiment.seed={seed}"]
                    changes += [f"experiment.shots={k}"] if k else []
                    configs[variant, fold, seed, k] = config = load_config(variant.source or source, changes)
                if fss and config.experiment.model.name == "matching":
                    break
    if fss:
        _check_episodes(list(configs.values()), grid.shots, console)
    else:
        check_chains(list(configs.values()), console)
    files: list[Path] = []
    costs: dict[Variant, dict[str, Any]] = {}
    to.mkdir(parents=True, exist_ok=True)
    with nullcontext() if fss else Server(next(iter(configs.values())).execution.folder) as server:
        for done, ((variant, fold, seed, _), config) in enumerate(configs.items()):
            console.print(f"{done + 1} of {len(configs)}: {variant.name}, fold {fold}, seed {seed}")
            stem = f"{slug(Path(config.experiment.dataset).stem)}-{grid.protocol}-{slug(variant.name)}-fold{fold}"
            each = _learner(config, server, console) if server else _episodic(config, grid.shots, console)
            for scores in each:
                file = to / f"{stem}-{scores['shots']}shot-seed{seed}.json"
                files.append(file)
                told = {**scores, "model": variant.name}
                if fss:
                    known = _known_cost(file, told)
                    told["cost"] = costs[variant] = known or costs.get(variant) or _cost(config)
                file.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    return files


def _check_names(variants: Sequence[Variant]) -> None:
    """Look that files can be named after the variants.

    Raises:
        InputError: a name has nothing that can stand in a file's name, or two have the same.
    """
    named: dict[str, str] = {}
    for name in (variant.name for variant in variants):
        if not slug(name):
            raise InputError(f"--vary: got the name {name!r}, expected some of a to z or 0 to 9: files are named by it")
        if slug(name) in named:
            raise InputError(
                f"--vary: the names {named[slug(name)]!r} and {name!r} would have the same files: give each row a name "
                "of its own, as in --vary 'NAME: key=value'"
            )
        named[slug(name)] = name


def _check_episodes(configs: Sequence[Config], shots: Sequence[int], console: Console) -> None:
    """Look whether every model of episodes can be trained, and scored with each number of shots.

    Raises:
        InputError: something that the user can mend.
    """
    for config in configs:
        check_fss(config)
    with Board({"data": 3}, console) as board:
        set_reporter(board.show)
        for config in configs:
            data = prepare_data(config)
            for k in shots:
                classes_of_scores(with_shots(config, k), data)
            _built(config)
        set_reporter(None)


def _built(config: Config) -> Any:
    from fss_models.fss import build_fss_model

    network = network_of(config)
    return build_fss_model(network, wiring.load_backbone(network.backbone, config.experiment.fss.stride))


def _episodic(config: Config, shots: Sequence[int], console: Console) -> Iterator[dict[str, Any]]:
    experiment = config.experiment
    for k, scores in zip(shots, trained_and_scored(config, shots, console), strict=True):
        yield {
            "dataset": split_of(config).dataset, "fold": experiment.fold, "shots": k, "seed": experiment.seed,
            "protocol": "fss", "trained_shots": experiment.shots, "chosen": experiment.fss.choose, "fss": scores,
        }  # fmt: skip
        console.print(f"   {k}-shot: mIoU {100 * scores['miou']:.1f}")


def _known_cost(file: Path, told: dict[str, Any]) -> dict[str, Any] | None:
    """Give the cost that stands beside the same scores, so that going on changes no file."""
    known = json.loads(file.read_text()) if file.exists() else {}
    return known.get("cost") if all(known.get(key) == value for key, value in told.items()) else None


def _cost(config: Config) -> dict[str, Any]:
    from fss_models.cost import measure_cost

    model = _built(config)
    model.name_classes(split_of(config).names)
    data = labelled(config, prepare_data(config)["base"])
    side = config.experiment.fss.side or max(data[0][1].shape)
    return measure_cost(model.to(wiring.device_of(config)), side, config.experiment.shots)


def _learner(config: Config, server: Server, console: Console) -> Iterator[dict[str, Any]]:
    records = compute(config, "scores", console, "compare", server=server).records
    scores = scores_of(config, records)
    del scores["teacher"]  # it is the same for all learners
    yield scores
    told = [f"{NAMES[part]} {100 * scores[part]['novel_miou']:.1f}" for part in OWN if part in scores]
    console.print(f"   {scores['shots']}-shot, novel mIoU: {', '.join(told)}")
