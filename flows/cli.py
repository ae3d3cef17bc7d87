"""The command line ``syn4seg``. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from flows.cleaning import KEEP_DAYS, delete_leftovers, find_leftovers
from flows.cli_ablate import ablate
from flows.cli_audit import audit
from flows.cli_config import config as config_command
from flows.cli_look import diff, show, show_preview
from flows.cli_models import compare, evaluate, predict, prepare, train
from flows.console import (
    AsJson,
    Count,
    Days,
    Elsewhere,
    Growth,
    Into,
    NoWeights,
    Output,
    OutputOrUrl,
    Overrides,
    SomeCount,
    Source,
    WhileRunning,
    duration,
    name_of,
    number,
    one_of,
    out,
    placed,
    print_json,
    print_scores,
    say_name,
)
from flows.settings import load_config, with_whole_paths
from flows.steps import CHAIN
from pipeline.errors import NEXT, InputError

HELP = """Synthetic training data for generalized few-shot segmentation.

Prompts, pictures, first labels, filtered, relabelled, sharpened, dataset, trained model, scores. Finished shards are
kept in outputs/store and used again; kill a run and start it again, and it goes on.

    syn4seg run                                   the embedded example, minutes on two cores
    syn4seg run --set experiment.fold=1           another fold
    syn4seg plan my.yaml                          what a run would compute, and why
"""

QUIET = {"TRANSFORMERS_VERBOSITY": "critical", "DIFFUSERS_VERBOSITY": "critical", "TQDM_DISABLE": "1"}
"""Environment in which libraries leave stderr to the progress and the one sentence of an error."""

app = App(name="syn4seg", help=HELP, version_flags=["--version"])
app.command(config_command, name="config")
for _command in (show, diff, ablate, audit, train, prepare, evaluate, compare, predict):
    app.command(_command)


@app.command
def run(
    config: Source = None, /, *, set_: Overrides = None, until: str | None = None, name: str | None = None,
    shards: str | None = None, preview: SomeCount = None, grow: Growth = 0, while_running: WhileRunning = "refuse",
    output: Into = None, json_: AsJson = False,
) -> None:  # fmt: skip
    """Run the whole chain and print the scores without and with synthetic pictures.

    Parameters
    ----------
    until
        Stop after this stage: prompts, images, teacher, annotate, filter, relabel, refine, dataset, train or scores.
    shards
        k/n: draw and label only the k-th of n parts of the pictures, for job arrays; a run without it joins them.
    name
        Name of the run's folder; that of the config unless given.
    preview
        Draw and label only the first so many pictures a class, write their report, and estimate the whole run.
    """
    from flows.run import run as run_chain
    from flows.shares import LAST, Share
    from flows.turns import grown

    chosen = grown(load_config(config, placed(output, set_)), grow)
    share = Share.parse(shards) if shards else None
    if preview:
        if until or share:
            raise InputError("--preview ends with the sharpened labels by itself: leave --until and --shards out")
        show_preview(chosen, name or name_of(config), preview, named=name is not None, as_json=json_)
        return
    last = _stage(until or (LAST if share else CHAIN[-1]))
    folder, plan = run_chain(
        chosen, name or name_of(config), last, Console(stderr=True), while_running=while_running, share=share
    )
    if folder is None:
        reused = sum(stage.reuse for stage in plan.stages.values())
        total = sum(stage.total for stage in plan.stages.values())
        if json_:
            print_json({"until": last, "share": shards, "shards": total, "reused": reused})
            return
        which = f" of the share {shards}" if share else ""
        out.print(f"done up to {last}: {total} shards{which}, {reused} of them from earlier runs")
        if share:
            command = shlex.join(["syn4seg", "run", *([config] if config else []), *(f"--set={s}" for s in set_ or ())])
            command += "" if output is None else f" --output={shlex.quote(output)}"
            out.print(f"when all {share.of} are done, this joins them: {command}", soft_wrap=True)
        return
    say_name(folder, name)
    scores = json.loads((folder / "scores.json").read_text())
    if json_:
        print_json({"run": str(folder), **scores})
        return
    print_scores(scores)
    if scores["labels"] and not scores["labels"]["refine"]["kept"]:
        print(
            "syn4seg: every synthetic picture was dropped, so both final models are the same: "
            "look into the report, or lower experiment.filter.min_similarity", file=sys.stderr,
        )  # fmt: skip
    out.print(f"report   {folder / 'report' / 'index.html'}\nscores   {folder / 'scores.json'}", soft_wrap=True)


@app.command
def serve(
    config: Source = None, /, *, set_: Overrides = None, cron: str | None = None, timezone: str | None = None,
    every: SomeCount = None, name: str | None = None, grow: Growth = 0, while_running: WhileRunning = "refuse",
    output: Into = None,
) -> None:  # fmt: skip
    """Run a config on a schedule and whenever Prefect's pages ask for it, until this is stopped.

    Uses the Prefect server that PREFECT_API_URL names, or starts one with its pages here. See docs/scheduling.md.

        syn4seg serve my.yaml --cron "0 2 * * *" --grow 20     every night, twenty prompts a class more each time
        syn4seg serve my.yaml                                  only when asked for

    Parameters
    ----------
    cron
        When to run: minute, hour, day of the month, month, weekday, in UTC unless --timezone says otherwise.
    timezone
        In which --cron is read, such as Europe/Berlin.
    every
        Seconds from one run to the next, in place of --cron.
    name
        Of the deployment and of the runs' folders; that of the config unless given.
    """
    from flows.run import check_inputs, check_writable
    from flows.server import Server, set_prefect_env

    if cron and every:
        raise InputError("--cron and --every are two schedules: give one of them")
    if timezone and not cron:
        raise InputError("--timezone says how --cron is read: give --cron too")
    chosen = with_whole_paths(load_config(config, placed(output, set_)))
    folder = chosen.execution.folder
    check_inputs(chosen)
    check_writable(chosen)
    set_prefect_env(folder, quiet=False)
    with Server(folder, pages=True) as server:
        url = server.wait() or os.environ["PREFECT_API_URL"]
        os.environ["PREFECT_API_URL"] = url
        from flows.scheduled import serve as serve_runs

        when = f"cron {cron} ({timezone or 'UTC'})" if cron else f"every {every} s" if every else "when asked for"
        title = name or name_of(config)
        out.print(f"serving {title}, {when}: pages at {url.removesuffix('/api')}, Ctrl-C stops it", soft_wrap=True)
        serve_runs(chosen, title, cron=cron, every=every, grow=grow, while_running=while_running, timezone=timezone)


@app.command
def plan(
    config: Source = None, /, *, set_: Overrides = None, until: str = "scores", output: Into = None,
    json_: AsJson = False,
) -> None:  # fmt: skip
    """Show for each stage what a run would reuse, resume or compute, and why. Computes nothing."""
    from flows.plan import make_plan

    found = make_plan(load_config(config, placed(output, set_)), _stage(until), quick=True)
    stages = list(found.stages.values())
    if json_:
        print_json({"complete": found.complete, "stages": [asdict(stage) for stage in stages]})
        return
    table = Table("stage", "shards", "reuse", "resume", "compute", "time", "why", box=None)
    for stage in stages:
        why = "; ".join(f"{reason} ({count})" for reason, count in sorted(stage.why.items(), key=lambda w: -w[1])[:3])
        numbers = [str(n) for n in (stage.total, stage.reuse, stage.resume, stage.compute)]
        table.add_row(stage.stage, *numbers, duration(stage.seconds) if stage.seconds else "", why)
    out.print(table)
    size = sum(stage.bytes for stage in stages)
    seconds = sum(stage.seconds for stage in stages)
    left = f"left: about {duration(seconds)} on one core, {size / 1e6:.0f} MB"
    out.print("nothing is left to do" if found.complete else left)


@app.command
def check(
    config: Source = None, /, *, set_: Overrides = None, no_weights: NoWeights = False, output: Into = None,
    json_: AsJson = False,
) -> None:  # fmt: skip
    """Look at devices, weights, data, disk, versions and prompts; computes nothing."""
    from flows.inspection import inspect

    rows = inspect(load_config(config, placed(output, set_)), weights=not no_weights)
    if json_:
        print_json(rows)
    else:
        table = Table("", "what", "found", box=None)
        for row in rows:
            table.add_row("ok" if row["ok"] else "WRONG" if no_weights else "MISSING", row["what"], row["found"])
        out.print(table)
    missing = [row["what"] for row in rows if not row["ok"]]
    if missing:
        raise InputError(f"{'wrong' if no_weights else 'not ready'}: {', '.join(missing)}; the table says what to do")


@app.command
def status(*, output: Output = Path("outputs"), json_: AsJson = False) -> None:
    """List the runs with their scores, and what the store holds."""
    from flows.runs import list_runs
    from pipeline.store import RunStore

    runs, damaged = list_runs(output)
    shards: dict[str, int] = {}
    for record in RunStore(output / "store").records():
        shards[record.stage] = shards.get(record.stage, 0) + 1
    interrupted = [str(p.relative_to(output)) for p in sorted((output / "store").glob("*/*.partial"))]
    if json_:
        print_json({"runs": runs, "damaged": damaged, "shards": shards, "interrupted": interrupted})
        return
    heads = list(dict.fromkeys(key for row in runs for key in row))
    table = Table(*heads, box=None)
    for row in runs:
        table.add_row(*(number(row.get(key)) for key in heads))
    out.print(table if runs else "no run yet: syn4seg run")
    for sentence in damaged:
        out.print(sentence, markup=False, soft_wrap=True)
    counts = [f"{stage} {shards[stage]}" for stage in (*CHAIN, "prepare", "fss") if stage in shards]
    out.print("finished shards: " + (", ".join(counts) or "none"))
    for path in interrupted:
        out.print(f"interrupted or in work: {path}")


@app.command
def clean(
    *, output: Output = Path("outputs"), older_than: Days = KEEP_DAYS, yes: bool = False, json_: AsJson = False
) -> None:
    """List what is left in the store that no run refers to and nothing has asked for lately; delete it with --yes.

    What a run in runs/ refers to stays, of both its rounds; delete the run's folder first. What a process is computing
    stays. All else stays for --older-than days since it was last written or asked for: a run that goes on or was
    killed, --until, --shards, compare, ablate, prepare and audit have no folder that names their shards.

    Parameters
    ----------
    older_than
        Days; 0: all that no run refers to. While a process works in the output folder it is 14 at least.
    """
    found = find_leftovers(output, older_than)
    gone = delete_leftovers(output, found) if yes else list(found.old)
    if json_:
        print_json([{"folder": str(path), "bytes": found.old[path]} for path in gone])
        return
    for path in gone:
        out.print(f"{found.old[path] / 1e6:9.1f} MB  {path}", soft_wrap=True)
    verb = "deleted" if yes else "could be deleted with --yes"
    out.print(f"{len(gone)} folders, {sum(found.old[path] for path in gone) / 1e6:.1f} MB {verb}")
    out.print(found.kept(), soft_wrap=True)


@app.command
def merge(*folders: Path, output: OutputOrUrl = "outputs", json_: AsJson = False) -> None:
    """Copy the finished shards of other output folders into this one; what is here already stays as it is.

        syn4seg run my.yaml --shards 1/2 --output one                       on one machine
        syn4seg run my.yaml --shards 2/2 --output two                       on another
        syn4seg merge one two && syn4seg run my.yaml                      draws and labels nothing again

    Parameters
    ----------
    folders
        Output folders of other runs, as execution.output names them.
    """
    from flows.merge import merge_stores

    if not folders:
        raise InputError("merge: name the output folders that are to be copied, such as syn4seg merge one two")
    rows = merge_stores(folders, output)
    if json_:
        print_json(rows)
        return
    table = Table("folder", "shards", "copied", "here already", box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)


@app.command
def report(
    run: str = "latest", /, *, set_: Elsewhere = None, output: Output = Path("outputs"), json_: AsJson = False
) -> None:
    """Build the page of a finished run anew: RUN/report/index.html, to be opened from disk.

    Parameters
    ----------
    run
        Name of a run, or its end.
    """
    from flows.report import write_report
    from flows.runs import find_run

    page = write_report(find_run(output, run), set_ or ())
    if json_:
        print_json({"report": str(page)})
    else:
        out.print(f"report   {page}", soft_wrap=True)


@app.command
def export(
    run: Annotated[str, Parameter(help="A run: its name, the end of its name, latest, or its folder.")], /, *,
    format_: Annotated[str, Parameter(name="--format")], to: Path, merge_with: str | None = None,
    base_list: str | None = None, prefix: str = "syn", per_tar: Count | None = None,
    output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Write the synthetic pictures of a finished run in a form that other tools read, with a card (README.md).

    The folder appears whole or not at all; the same export again restores what was changed in it.

        syn4seg export latest --format voc --to syn --merge-with data/VOC2012     GFSS trainers: lists of base + syn
        syn4seg export latest --format coco --to syn_coco                         pycocotools, detectron2
        syn4seg export latest --format webdataset --to syn_tars --per-tar 500     webdataset
        syn4seg export latest --format imagefolder --to syn_hf                    datasets, the Hub

    Parameters
    ----------
    format_
        voc, coco, webdataset or imagefolder.
    to
        Folder to write: new, empty, or the same export.
    merge_with
        Of voc: a base data set in VOC layout, or base for the run's own; lists name its files, nothing is copied.
    base_list
        Its list in ImageSets/Segmentation; train_aug, train or all unless given.
    prefix
        Begins the ids; give every run its own where exports of several runs are put together.
    per_tar
        Of webdataset: pictures a tar, 1000 unless given.
    """
    from flows.export import FORMATS, Wanted, export_run
    from flows.runs import find_run

    wanted = Wanted(one_of(format_, FORMATS, "format"), to, merge_with, base_list, prefix, per_tar)
    found = export_run(find_run(output, run), wanted, Console(stderr=True))
    if json_:
        print_json(found)
        return
    table = Table("class", "pictures", box=None)
    for name, count in found["per_class"].items():
        table.add_row(name, str(count))
    out.print(table)
    code, hint = found["use"]
    out.print(f"{found['pictures']} pictures in {to}, described in {to / 'README.md'}", soft_wrap=True)
    out.print(f"{code}\n{hint}", soft_wrap=True, markup=False)


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
    lines = [" ".join(line.split()) for line in str(error).split(NEXT)]
    print(f"syn4seg: {NEXT.join(lines)}{hint}", file=sys.stderr)
    sys.exit(code)


def _stage(name: str) -> str:
    return one_of(name, CHAIN, "stage")
