"""The command line ``syn4seg``. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter, validators
from rich.console import Console
from rich.table import Table

from flows.settings import load_config
from flows.steps import CHAIN
from pipeline.config import Config
from pipeline.errors import InputError

HELP = """Synthetic training data for generalized few-shot segmentation.

Prompts, pictures, first labels, filtered, relabelled, sharpened, dataset, trained model, scores. Finished shards are
kept in outputs/store and used again; kill a run and start it again, and it goes on.

    syn4seg run                                   the embedded example, minutes on two cores
    syn4seg run --set experiment.fold=1           another fold
    syn4seg plan my.yaml                          what a run would compute, and why
"""

QUIET = {"TRANSFORMERS_VERBOSITY": "critical", "DIFFUSERS_VERBOSITY": "critical", "TQDM_DISABLE": "1"}
"""Environment in which libraries leave stderr to the progress and the one sentence of an error."""

PROTOCOLS = ("fss", "gfss-diam", "gfss-capl")

app = App(name="syn4seg", help=HELP, version_flags=["--version"])
out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

Source = Annotated[str | None, Parameter(help="YAML file or preset; picto unless given.")]
Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", negative=(), help="key=value, such as experiment.filter.min_similarity=0.7; repeatable."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON instead of a table.")]
Count = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Output = Annotated[Path, Parameter(help="The output folder.")]


@app.command
def run(
    config: Source = None, /, *, set_: Overrides = None, until: str = "scores", name: str | None = None,
    json_: AsJson = False,
) -> None:  # fmt: skip
    """Run the whole chain and print the scores without and with synthetic pictures.

    Parameters
    ----------
    until
        Stop after this stage: prompts, images, teacher, annotate, filter, relabel, refine, dataset, train or scores.
    name
        Name of the run's folder; that of the config unless given.
    """
    from flows.run import run as run_chain

    chosen = load_config(config, set_ or ())
    folder, plan = run_chain(chosen, name or _name_of(config), _stage(until), Console(stderr=True))
    if folder is None:
        reused = sum(stage.reuse for stage in plan.stages.values())
        total = sum(stage.total for stage in plan.stages.values())
        out.print(f"done up to {until}: {total} shards, {reused} of them from earlier runs")
        return
    scores = json.loads((folder / "scores.json").read_text())
    if json_:
        _print_json({"run": str(folder), **scores})
        return
    _print_scores(scores)
    if scores["labels"] and not scores["labels"]["refine"]["kept"]:
        print(
            "syn4seg: every synthetic picture was dropped, so both final models are the same: "
            "look into the report, or lower experiment.filter.min_similarity", file=sys.stderr,
        )  # fmt: skip
    out.print(f"report   {folder / 'report' / 'index.html'}\nscores   {folder / 'scores.json'}", soft_wrap=True)


@app.command
def plan(config: Source = None, /, *, set_: Overrides = None, until: str = "scores", json_: AsJson = False) -> None:
    """Show for each stage what a run would reuse, resume or compute, and why. Computes nothing."""
    from flows.plan import make_plan

    found = make_plan(load_config(config, set_ or ()), _stage(until))
    stages = list(found.stages.values())
    if json_:
        _print_json({"complete": found.complete, "stages": [asdict(stage) for stage in stages]})
        return
    table = Table("stage", "shards", "reuse", "resume", "compute", "time", "why", box=None)
    for stage in stages:
        why = "; ".join(f"{reason} ({count})" for reason, count in sorted(stage.why.items(), key=lambda w: -w[1])[:3])
        numbers = [str(n) for n in (stage.total, stage.reuse, stage.resume, stage.compute)]
        table.add_row(stage.stage, *numbers, _duration(stage.seconds) if stage.seconds else "", why)
    out.print(table)
    size = sum(stage.bytes for stage in stages)
    seconds = sum(stage.seconds for stage in stages)
    left = f"left: about {_duration(seconds)} on one core, {size / 1e6:.0f} MB"
    out.print("nothing is left to do" if found.complete else left)


@app.command
def check(config: Source = None, /, *, set_: Overrides = None, json_: AsJson = False) -> None:
    """Look at devices, weights, data, disk, versions and prompts; computes nothing."""
    from flows.inspection import inspect

    rows = inspect(load_config(config, set_ or ()))
    if json_:
        _print_json(rows)
    else:
        table = Table("", "what", "found", box=None)
        for row in rows:
            table.add_row("ok" if row["ok"] else "MISSING", row["what"], row["found"])
        out.print(table)
    missing = [row["what"] for row in rows if not row["ok"]]
    if missing:
        raise InputError(f"not ready: {', '.join(missing)}; the table says what to do")


@app.command
def status(*, output: Output = Path("outputs"), json_: AsJson = False) -> None:
    """List the runs with their scores, and what the store holds."""
    from flows.runs import list_runs
    from pipeline.store import RunStore

    runs = list_runs(output)
    shards: dict[str, int] = {}
    for record in RunStore(output / "store").records():
        shards[record.stage] = shards.get(record.stage, 0) + 1
    interrupted = [str(p.relative_to(output)) for p in sorted((output / "store").glob("*/*.partial"))]
    if json_:
        _print_json({"runs": runs, "shards": shards, "interrupted": interrupted})
        return
    heads = list(dict.fromkeys(key for row in runs for key in row))
    table = Table(*heads, box=None)
    for row in runs:
        table.add_row(*(_number(row.get(key)) for key in heads))
    out.print(table if runs else "no run yet: syn4seg run")
    out.print("finished shards: " + (", ".join(f"{k} {shards[k]}" for k in (*CHAIN, "fss") if k in shards) or "none"))
    for path in interrupted:
        out.print(f"interrupted or in work: {path}")


@app.command
def clean(*, output: Output = Path("outputs"), yes: bool = False, json_: AsJson = False) -> None:
    """List store folders that no run refers to, and interrupted work; delete them with --yes."""
    from flows.runs import used_places

    store, used = output / "store", used_places(output)
    folders = [p for p in sorted(store.glob("*/*")) if p.is_dir() and p.parent.name != ".locks"]
    unused = [p for p in folders if p.relative_to(store).as_posix() not in used]
    sizes = {p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in unused}
    if json_:
        _print_json([{"folder": str(p), "bytes": size} for p, size in sizes.items()])
    else:
        for path, size in sizes.items():
            out.print(f"{size / 1e6:9.1f} MB  {path}", soft_wrap=True)
    if yes:
        for path in unused:
            shutil.rmtree(path, ignore_errors=True)
    if not json_:
        verb = "deleted" if yes else "could be deleted with --yes"
        out.print(f"{len(unused)} folders, {sum(sizes.values()) / 1e6:.1f} MB {verb}")


@app.command
def report(run: str = "latest", /, *, output: Output = Path("outputs"), json_: AsJson = False) -> None:
    """Build the page of a finished run anew: RUN/report/index.html, to be opened from disk.

    Parameters
    ----------
    run
        Name of a run, or its end.
    """
    from flows.report import write_report
    from flows.runs import find_run

    page = write_report(find_run(output, run))
    if json_:
        _print_json({"report": str(page)})
    else:
        out.print(f"report   {page}", soft_wrap=True)


@app.command
def train(
    config: Source = None, /, *, set_: Overrides = None, model: str = "iir", protocol: str = "gfss-diam",
    data: Annotated[str | None, Parameter(help="A finished run, or an exported VOC folder: train on it too.")] = None,
    name: str | None = None, output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Train and score a model on its own: on episodes (fss), or on base and support pictures (gfss-diam, gfss-capl).

    Killed and started again, it goes on from its last checkpoint.

    Parameters
    ----------
    model
        iir or i2r; matching is the reference of fss that learns nothing.
    protocol
        fss, gfss-diam or gfss-capl.
    name
        Name of the run's folder; that of the config and the protocol unless given.
    """
    from flows.standalone import train_alone

    _known_model(model, protocol)
    chosen = _alone(config, set_, model, protocol, output)
    follows = int(os.environ.get("RANK", "0")) > 0  # accelerate launch: the first process speaks for all
    console = Console(stderr=True, quiet=follows)
    folder = train_alone(chosen, name or f"{_name_of(config)}-{protocol}", protocol, data, console)
    if follows:
        return
    scores = json.loads((folder / "scores.json").read_text())
    if json_:
        _print_json({"run": str(folder), **scores})
        return
    _print_scores(scores)
    out.print(f"models   {folder / 'checkpoints'}\nscores   {folder / 'scores.json'}", soft_wrap=True)


@app.command
def evaluate(
    *, run: str = "latest", model: str | None = None, protocol: str | None = None, matching: bool = False,
    shots: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    episodes: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    seeds: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    resolution: str | None = None, to: Path | None = None, output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Score the models of a finished run again on the validation pictures, from its checkpoints.

    Parameters
    ----------
    run
        Name of a run, or its end.
    model
        iir, i2r or matching; that of the run unless given.
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
        _one_of(resolution, ("original", "network"), "resolution")
    _known_model(model or "iir", protocol or "fss")
    asked = {"episodes": episodes, "seeds": seeds, "resolution": resolution}
    scores = evaluate_alone(
        find_run(output, run), protocol, model, {k: v for k, v in asked.items() if v is not None}, shots=shots,
        matching=matching,
    )  # fmt: skip
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n")
    if json_:
        _print_json(scores)
    else:
        _print_scores(scores)


@app.command
def compare(
    config: Source = None, /, *, vary: Annotated[list[str], Parameter(negative=())], set_: Overrides = None,
    folds: Annotated[list[int], Parameter(consume_multiple=True, negative=())],
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())],
    shots: Annotated[list[int], Parameter(consume_multiple=True, negative=())],
    to: Path = Path("outputs/results"), output: Output = Path("outputs"),
) -> None:  # fmt: skip
    """Train and score FSS models side by side over folds, seeds and shots, and print the tables.

    Each is trained once a fold and seed and scored with every number of shots. Stopped and started again, it goes on.

        syn4seg compare picto_fss --folds 0 1 2 3 --seeds 0 1 2 --shots 1 5 --vary iir --vary matching
            --vary "without local: experiment.fss.options.prototypes=core"

    Parameters
    ----------
    vary
        A model's name, or "a name: key=value key=value"; repeatable.
    to
        Folder for a file of scores each, for python -m flows.results.
    """
    from flows.compare import Variant, compare_fss
    from flows.results import tables

    chosen = [Variant.parse(text) for text in vary]
    own = [f"execution.output={output}", *(set_ or ())]
    compare_fss(config, own, chosen, folds=folds, seeds=seeds, shots=shots, to=to, console=Console(stderr=True))
    print(tables(to))


@app.command
def predict(
    source: Annotated[Path, Parameter(help="A picture, or a folder of pictures.")], /, *, run: str = "latest",
    which: str | None = None, supports: Path | None = None, to: Path = Path("predictions"),
    output: Output = Path("outputs"), json_: AsJson = False,
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

    rows = predict_files(source, find_run(output, run), which, supports, to)
    if json_:
        _print_json(rows)
        return
    table = Table("picture", "labels", "overlay", "share of the picture", box=None)
    for row in rows:
        found = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["classes"].items()) or "background only"
        table.add_row(row["picture"], row["labels"], row["overlay"], found)
    out.print(table)


@app.command
def audit(
    config: Source = None, /, *, set_: Overrides = None, pictures: Count = 200, json_: AsJson = False
) -> None:
    """Measure every labelling stage on labelled pictures that go through it as if they had no labels.

    Parameters
    ----------
    pictures
        How many labelled pictures to look at; those that show a novel class count.
    """
    from flows.audit import audit as measure
    from flows.progress import Board, set_reporter

    chosen = load_config(config, set_ or ())
    with Board({"data": 3, "teacher": 1, "audit": 1}, Console(stderr=True)) as board:
        set_reporter(board.show)
        rows = measure(chosen, pictures)
    if json_:
        _print_json(rows)
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(_number(value) for value in row.values()))
    out.print(table)


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 bad input."""
    debug = "--debug" in sys.argv
    tokens = [token for token in sys.argv[1:] if token != "--debug"]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except InputError as error:
        _fail(error, debug, code=2)
    except CycloptsError as error:
        _fail(error, debug, code=2, hint=" (syn4seg --help shows what there is)")
    except KeyboardInterrupt:
        print("syn4seg: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(error, debug, code=1, hint=f" ({type(error).__name__}; --debug shows where)")


def _fail(error: Exception, debug: bool, code: int, hint: str = "") -> None:
    if debug:
        traceback.print_exception(error)
    print(f"syn4seg: {' '.join(str(error).split())}{hint}", file=sys.stderr)
    sys.exit(code)


def _name_of(config: str | None) -> str:
    return Path(config).stem if config else "picto"


def _stage(name: str) -> str:
    return _one_of(name, CHAIN, "stage")


def _known_model(name: str, protocol: str) -> None:
    _one_of(protocol, PROTOCOLS, "protocol")
    _one_of(name, ("iir", "i2r", "matching") if protocol == "fss" else ("iir", "i2r"), "model")


def _alone(config: str | None, overrides: list[str] | None, model: str, protocol: str, output: Path) -> Config:
    """Read the config of a model on its own: no synthesis, and a GFSS protocol as named."""
    chosen = [f"experiment.model.name={model}", "experiment.generate.enabled=false", f"execution.output={output}"]
    if protocol != "fss":
        chosen.append(f"experiment.protocol={protocol}")
    return load_config(config, [*chosen, *(overrides or ())])


def _one_of(name: str, known: tuple[str, ...], what: str) -> str:
    if name in known:
        return name
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"unknown {what} {name!r}: expected one of {', '.join(known)}{hint}")


def _print_scores(scores: dict[str, Any]) -> None:
    out.print(f"{scores['dataset']} fold {scores['fold']}, {scores['shots']}-shot, seed {scores['seed']}")
    if "fss" in scores:
        found = scores["fss"]
        table = Table(f"{found['shots']}-shot, in %", "mIoU", "FB-IoU", *found["per_class"], box=None)
        rows = [[found["miou"], found["fb_iou"], *found["per_class"].values()]]
        table.add_row(str(scores.get("model", "")), *("" if v is None else f"{100 * v:.1f}" for v in rows[0]))
        out.print(table)
        streams = len(found["per_seed"])
        out.print(
            f"{found['episodes']} episodes x {streams} seeds (deviation {100 * found['miou_std']:.1f}), "
            f"counted at {found['resolution']} size"
        )
        return
    if scores.get("protocol") == "fss":
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


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1))


def _number(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else "" if value is None else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


