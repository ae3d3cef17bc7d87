"""The commands that train, score and use models on their own; `flows.cli` registers them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, get_args

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.console import (
    AsJson,
    Elsewhere,
    Into,
    Numbers,
    Output,
    Overrides,
    SomeCount,
    Source,
    name_of,
    one_of,
    out,
    placed,
    print_json,
    print_scores,
    say_name,
    write_scores,
)
from flows.settings import load_config
from pipeline.config import Config, ModelSettings

PROTOCOLS = ("fss", "gfss-diam", "gfss-capl")

Changes = Annotated[
    list[str] | None,
    Parameter(name="--set", negative=(), help="execution.KEY=VALUE or experiment.fss.KEY=VALUE; repeatable."),
]
MultiScale = Annotated[
    bool, Parameter(negative=(), help="fss: take the mean over three views of the query, as IIR's tables do.")
]


def train(
    config: Source = None, /, *, set_: Overrides = None, model: str | None = None, protocol: str = "gfss-diam",
    data: Annotated[str | None, Parameter(help="A finished run, or an exported VOC folder: train on it too.")] = None,
    name: str | None = None, to: Path | None = None, output: Into = None, json_: AsJson = False,
) -> None:  # fmt: skip
    """Train and score a model on its own: on episodes (fss), or on base and support pictures (gfss-diam, gfss-capl).

    Killed and started again, it goes on from its last checkpoint.

    Parameters
    ----------
    model
        iir, i2r, symnet or rifenet; of fss also matching, the reference that learns nothing; that of the config
        unless given. With gfss-* the final learner; the teacher is experiment.teacher.name.
    protocol
        fss, gfss-diam or gfss-capl.
    name
        Name of the run's folder; that of the config and the protocol unless given.
    to
        Also write the scores to this file, for python -m flows.results.
    """
    from flows.standalone import train_alone

    _known_model(model or "iir", protocol)
    chosen = _alone(config, placed(output, set_), model, protocol)
    _known_model(chosen.experiment.model.name, protocol)
    follows = int(os.environ.get("RANK", "0")) > 0  # accelerate launch: the first process speaks for all
    console = Console(stderr=True, quiet=follows)
    folder = train_alone(chosen, name or f"{name_of(config)}-{protocol}", protocol, data, console)
    if follows:
        return
    say_name(folder, name)
    scores = json.loads((folder / "scores.json").read_text())
    write_scores(to, scores)
    if json_:
        print_json({"run": str(folder), **scores})
        return
    print_scores(scores)
    out.print(f"models   {folder / 'checkpoints'}\nscores   {folder / 'scores.json'}", soft_wrap=True)


def prepare(
    config: Source = None, /, *, to: Path, set_: Overrides = None, output: Into = None,
    json_: AsJson = False,
) -> None:  # fmt: skip
    """Prepare a backbone for IIR: it learns the base classes, then its own classifier learns to read it again.

    Writes a transformers folder with the base learner of IIR's ensemble beside it. Killed and started again, it goes on
    from its last checkpoint.

        syn4seg prepare --set experiment.fold=1 --to backbones/picto-1
        syn4seg train --protocol fss --set experiment.fold=1 --set experiment.model.backbone=backbones/picto-1
            --set experiment.fss.options.base=15

    Steps, batch and rate are experiment.prepare.KEY; the backbone to start from is experiment.model.backbone.

    Parameters
    ----------
    to
        Folder to write; it must not be there yet.
    """
    from flows.data import split_of
    from flows.prepare import prepare as prepare_folder

    chosen = load_config(config, placed(output, set_))
    folder = prepare_folder(chosen, to, Console(stderr=True))
    base, dim = len(split_of(chosen).base), chosen.experiment.prepare.dim
    uses = {"experiment.model.backbone": str(folder), "experiment.fss.options.base": base}
    uses |= {} if dim == 512 else {"experiment.fss.options.base_dim": dim}
    if json_:
        print_json({"backbone": str(folder), "set": uses})
        return
    out.print(f"backbone {folder}", soft_wrap=True)
    out.print("use it by " + " ".join(f"--set {key}={value}" for key, value in uses.items()), soft_wrap=True)


def evaluate(
    *, run: str = "latest", set_: Changes = None, dataset: str | None = None, model: str | None = None,
    protocol: str | None = None, matching: bool = False, shots: SomeCount = None, episodes: SomeCount = None,
    seeds: SomeCount = None, resolution: str | None = None, multiscale: MultiScale = False, to: Path | None = None,
    output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Score the models of a finished run again on the validation pictures, from its checkpoints.

    What a model was trained with stays as it was; what an episode of fss is and where it is drawn from can be changed.

        syn4seg evaluate --run pascal-fss --shots 5
        syn4seg evaluate --run pascal-fss --dataset deepglobe --set execution.data=/datasets

    Parameters
    ----------
    run
        Name of a run, or its end.
    dataset
        Score an fss model on all classes of another data set, by name or by its YAML.
    model
        iir, i2r, symnet, rifenet or matching; that of the run unless given.
    protocol
        fss, gfss-diam or gfss-capl; that of the run unless given.
    matching
        Also score plain prototype matching, the reference to beat; trains its base learner first (GFSS).
    shots
        Supports an episode of fss; those of training unless given.
    episodes
        Episodes of fss a seed; published: 1000 on PASCAL, 4000 on COCO.
    seeds
        Streams of episodes of fss.
    resolution
        original or network: where fss counts pixels.
    to
        Also write the scores to this file, for python -m flows.results.
    """
    from flows.runs import find_run
    from flows.standalone import evaluate_alone

    if resolution is not None:
        one_of(resolution, ("original", "network"), "resolution")
    _known_model(model or "iir", protocol or "fss")
    asked = {"episodes": episodes, "seeds": seeds, "resolution": resolution, "multiscale": multiscale or None}
    changes = [*(set_ or ()), *(f"experiment.fss.{k}={v}" for k, v in asked.items() if v is not None)]
    scores = evaluate_alone(
        find_run(output, run), protocol, model, changes, Console(stderr=True), shots=shots, dataset=dataset,
        matching=matching,
    )  # fmt: skip
    write_scores(to, scores)
    if json_:
        print_json(scores)
    else:
        print_scores(scores)


def compare(
    config: Source = None, /, *, vary: Annotated[list[str], Parameter(negative=())], set_: Overrides = None,
    folds: Numbers, seeds: Numbers, shots: Numbers, protocol: str = "fss",
    to: Path = Path("outputs/results"), output: Into = None, json_: AsJson = False,
) -> None:  # fmt: skip
    """Train and score models side by side over folds, seeds and shots; print the tables, draw a chart.

    Of fss each is trained once a fold and seed and scored with every number of shots. Of gfss-diam and gfss-capl each
    is the final learner of the whole chain, without and with the synthetic pictures. Stopped and started again, it
    goes on.

        syn4seg compare picto_fss --folds 0 1 2 3 --seeds 0 1 2 --shots 1 5 --vary iir --vary matching
            --vary "without local: experiment.fss.options.prototypes=core" --vary "Sym-Net: picto_symnet"
        syn4seg compare picto --protocol gfss-diam --folds 0 --seeds 0 --shots 1 --vary iir --vary i2r

    Parameters
    ----------
    protocol
        fss, gfss-diam or gfss-capl.
    vary
        A model's name, or "a name: key=value key=value"; repeatable. A preset may stand before the keys, in place of
        CONFIG.
    to
        Folder for a file of scores each and the charts, for python -m flows.results.
    """
    from flows.charts import draw_charts
    from flows.compare import Grid, Variant, compare_models
    from flows.results import tables

    chosen = [Variant.parse(text) for text in vary]
    own = placed(output, set_)
    grid = Grid(one_of(protocol, PROTOCOLS, "protocol"), folds, seeds, shots)
    files = compare_models(config, own, chosen, grid, to, Console(stderr=True))
    charts = draw_charts(to)
    if json_:
        print_json([{"file": str(file), **json.loads(file.read_text())} for file in files])
        return
    print(tables(to))
    for chart in charts:
        out.print(f"chart    {chart}", soft_wrap=True)


def predict(
    source: Annotated[Path, Parameter(help="A picture, or a folder of pictures.")], /, *, run: str = "latest",
    which: str | None = None, supports: Path | None = None, multiscale: MultiScale = False, set_: Elsewhere = None,
    to: Path = Path("predictions"), output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Write a label map and an overlay for a picture, or for each picture of a folder.

    Parameters
    ----------
    run
        Name of a run, or its end.
    which
        Model of the run: after, before, teacher or fss; the first of these that it has unless given.
    supports
        For an fss model: folder of pictures NAME.jpg of the class, each with its mask NAME.png, not 0 on the class.
    to
        Folder for labels/NAME.png (ids of the data set, with palette) and overlays/NAME.png.
    """
    from flows.predict import predict_files
    from flows.runs import find_run

    rows = predict_files(
        source, find_run(output, run), which, supports, to, multiscale=multiscale, overrides=set_ or ()
    )
    if json_:
        print_json(rows)
        return
    table = Table("picture", "labels", "overlay", "share of the picture", box=None)
    for row in rows:
        found = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["classes"].items()) or "background only"
        table.add_row(row["picture"], row["labels"], row["overlay"], found)
    out.print(table)


def _known_model(name: str, protocol: str) -> None:
    one_of(protocol, PROTOCOLS, "protocol")
    known = get_args(ModelSettings.model_fields["name"].annotation)
    one_of(name, tuple(n for n in known if protocol == "fss" or n != "matching"), "model")


def _alone(config: str | None, overrides: list[str], model: str | None, protocol: str) -> Config:
    """Read the config of a model on its own: no synthesis, and a GFSS protocol as named."""
    chosen = ["experiment.generate.enabled=false"]
    if model:
        chosen.append(f"experiment.model.name={model}")
    if protocol != "fss":
        chosen.append(f"experiment.protocol={protocol}")
    return load_config(config, [*chosen, *overrides])
