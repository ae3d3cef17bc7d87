"""The commands that look into finished runs; `flows.cli` registers them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.console import AsJson, Count, Output, duration, one_of, out, print_json, print_scores, say_name, size_of
from flows.steps import BESIDE, CHAIN
from pipeline.config import Config
from pipeline.errors import InputError

DIVERSITY = (
    "accepted sentences, and as many first proposals unfiltered: mean_cosine over all pairs, nearest_cosine to the "
    "nearest other one, effective: as how many wholly different ones they count (Vendi score)"
)
SHEETS = (".png", ".jpg", ".jpeg")
RunName = Annotated[str, Parameter(help="A run: its name, the end of its name, latest, or its folder.")]


def show(
    run: RunName = "latest", stage: str | None = None, /, *, sample: str | None = None, to: Path | None = None,
    output: Output = Path("outputs"), json_: AsJson = False,
) -> None:  # fmt: skip
    """Look into a run: its stages, the classes of one stage, or the story of one picture.

    The report tells the same in a browser, with all pictures.

        syn4seg show latest                           every stage: what it kept, why it dropped the rest, time, disk
        syn4seg show latest filter                    APF, a class a row, with the worst samples
        syn4seg show latest --sample boat-0003-0      what happened to this picture and why, with a contact sheet

    Parameters
    ----------
    stage
        prompts, images, teacher, annotate, filter, relabel, refine, dataset, train or scores; of a second round also
        agreement or hidden (what was found in base pictures).
    sample
        Id of a picture, as the report, the stages' tables and the file names tell it.
    to
        Of --sample: file of the contact sheet (.png, .jpg); RUN/looks/ID.png unless given.
    """
    from flows.runs import find_run

    if sample and stage:
        raise InputError(f"--sample tells of all stages: leave {stage!r} or --sample out")
    if to and not sample:
        raise InputError("--to names the contact sheet of a sample: give --sample ID too")
    if to and to.suffix.lower() not in SHEETS:
        raise InputError(f"--to {to}: expected a file that ends in {', '.join(SHEETS)}")
    wanted = stage if stage is None or stage in BESIDE else one_of(stage, CHAIN, "stage")
    folder = find_run(output, run)
    if sample:
        _show_sample(folder, sample, to or folder / "looks" / f"{sample}.png", as_json=json_)
    elif wanted:
        _show_stage(folder, wanted, as_json=json_)
    else:
        _show_run(folder, as_json=json_)


def show_preview(config: Config, name: str, pictures: int, *, named: bool, as_json: bool) -> None:
    """Run a preview; print its counts and what the whole run would take. ``named``: by whoever asked for it."""
    from flows.look import open_run
    from flows.preview import run_preview, told
    from flows.report.counts import count_pictures

    folder, found = run_preview(config, name, pictures, Console(stderr=True))
    say_name(folder, f"{name}-preview" if named else None)
    if as_json:
        print_json({"run": str(folder), "pictures": pictures, **found})
        return
    opened = open_run(folder)
    kept = count_pictures(opened.found, opened.split)
    out.print(f"{found['drawn']} pictures, {kept['refine'].kept} kept to the end; {told(found)}")
    table = Table("the whole run", "shards", "left", "time", "disk", "from", box=None)
    for row in found["stages"]:
        numbers = (str(row["total"]), str(row["left"]))
        table.add_row(row["stage"], *numbers, duration(row["seconds"]), size_of(row["bytes"]), row["from"])
    out.print(table)
    gpu = f", {found['gpu_hours']:.2g} GPU hours" if found["gpu_hours"] is not None else ""
    shared = f" ({duration(found['seconds'] / found['workers'])} by {found['workers']})" if found["workers"] > 1 else ""
    out.print(f"left: about {duration(found['seconds'])} by one process{shared}, {size_of(found['bytes'])}{gpu}")
    out.print(f"report   {folder / 'report' / 'index.html'}", soft_wrap=True)


def _show_run(folder: Path, *, as_json: bool) -> None:
    from flows.look import open_run, stages_of
    from flows.runs import read_scores

    opened = open_run(folder)
    rows, scores = stages_of(opened), read_scores(folder)
    if as_json:
        print_json({"run": str(folder), "stages": rows, "scores": scores, "missing": list(opened.found.missing)})
        return
    out.print(folder.name)
    table = Table("stage", "shards", "made", "kept", "dropped", "time", "disk", box=None)
    for row in rows:
        counts = ["" if row[key] is None else str(row[key]) for key in ("made", "kept")]
        why = _reasons(row["dropped"])
        table.add_row(row["stage"], str(row["shards"]), *counts, why, duration(row["seconds"]), size_of(row["bytes"]))
    out.print(table)
    if opened.found.missing:
        out.print(f"the store no longer has {len(opened.found.missing)} shards of this run; they are not counted")
    print_scores(scores)


def _show_stage(folder: Path, stage: str, *, as_json: bool) -> None:
    from flows.look import classes_of_stage, open_run
    from flows.report.samples import SCORES
    from flows.report.why import figure, limits_of

    opened = open_run(folder)
    rows = classes_of_stage(opened, stage)
    if as_json:
        print_json({"run": str(folder), "stage": stage, "rows": rows})
        return
    scores = list(dict.fromkeys(key for row in rows for key in row.get("scores", {})))
    plain = list(dict.fromkeys(key for row in rows for key in row if key not in ("scores", "worst")))
    worst = ["worst samples"] if any(row.get("worst") for row in rows) else []
    table = Table(*plain, *scores, *worst, box=None)
    for row in rows:
        cells = [_cell(key, row.get(key), stage) for key in plain]
        cells += [figure(row["scores"].get(key)) for key in scores]
        table.add_row(*cells, *([_worst(row["worst"])] if worst else []))
    out.print(f"{folder.name}, {stage}")
    out.print(table)
    if stage == "prompts":
        out.print(DIVERSITY)
    limits = limits_of(opened.config)
    for key, label, at, _, limit in SCORES:
        if at == stage and key in scores:
            told = f"; the limit {limit} is {limits[limit]}" if limit else ""
            out.print(f"{key}, mean over the pictures: {label}{told}")


def _show_sample(folder: Path, sample: str, sheet: Path, *, as_json: bool) -> None:
    from flows.look import open_run, story_of
    from flows.report.why import NAMES, figure
    from flows.sheet import write_sheet

    opened = open_run(folder)
    told, history, measured = story_of(opened, sample)
    _make(sheet.parent)
    write_sheet(sheet, history, measured, opened.split)
    if as_json:
        print_json({**told, "sheet": str(sheet)})
        return
    fate = "kept" if told["reason"] is None else f"{told['fate']}: {told['reason']}"
    out.print(f"{sample}, {fate}", markup=False)
    out.print(f"prompt   {json.dumps(told['prompt'], ensure_ascii=False)}\nseed     {told['seed']}", markup=False)
    table = Table("after", told["class"], "free", "ignored", "measured", box=None)
    for step in told["stages"]:
        pixels = [f"{step['pixels'][key]:,}" if step["pixels"] else "" for key in ("class", "free", "ignored")]
        measures = [
            f"{score['meaning']} {figure(score['value'])}" + (f" (limit {score['limit']})" if score["setting"] else "")
            for score in step["scores"].values()
        ]
        table.add_row(NAMES[step["stage"]], *pixels, "\n".join(measures))
    out.print(table)
    height, width = told["size"]
    out.print(f"Pixels of {width} x {height}. {told['story']}", markup=False)
    for line in told["why"]:
        out.print(f"- {line['stage']}: {line['text']}", markup=False)
    if not told["why"]:
        out.print("- reached every limit")
    out.print(f"sheet    {sheet}", soft_wrap=True)


def diff(
    run_a: RunName, run_b: RunName, /, *, worst: Count = 10, output: Output = Path("outputs"), json_: AsJson = False
) -> None:
    """Compare two runs: settings, counts by stage, scores, and the samples whose labels changed the most.

    Labels are compared by the IoU of the sample's class in both final label maps. Shards with the same content are not
    read.

        syn4seg diff picto strict
        syn4seg diff 20261125-101500-picto latest --worst 30 --json

    Parameters
    ----------
    worst
        How many changed samples to list.
    """
    from flows.diff import compare_runs
    from flows.runs import find_run

    found = compare_runs(find_run(output, run_a), find_run(output, run_b), worst)
    if json_:
        print_json(found)
        return
    out.print(f"A  {found['a']}\nB  {found['b']}")
    _print_settings(found["settings"], found["execution"])
    _print_counts(found["stages"])
    _print_changes(found["scores"])
    _print_samples(found["samples"])


def _print_settings(settings: Mapping[str, Any], execution: Mapping[str, Any]) -> None:
    if not settings:
        out.print("\nthe same settings")
    for title, changed in (("setting", settings), ("speed and place only", execution)):
        if changed:
            table = Table(title, "A", "B", box=None)
            for key, both in changed.items():
                table.add_row(key, *(json.dumps(value) for value in both))
            out.print()
            out.print(table)


def _print_counts(stages: Sequence[Mapping[str, Any]]) -> None:
    if not stages:
        return
    table = Table("stage", "made A", "made B", "kept A", "kept B", "dropped A", "dropped B", box=None)
    for row in stages:
        counts = ["" if row[side] is None else str(row[side][key]) for key in ("made", "kept") for side in "ab"]
        table.add_row(row["stage"], *counts, *(_reasons(row[side]["dropped"]) if row[side] else "" for side in "ab"))
    out.print()
    out.print(table)


def _print_changes(scores: Mapping[str, Any]) -> None:
    """Print the means of all models, and the classes of the last one."""
    if not scores:
        out.print("\nno model was scored in both")
        return
    last = list(scores)[-1]
    means = {f"{model} {key}": three for model, found in scores.items() for key, three in found["means"].items()}
    for title, rows in (("in %", means), (f"IoU of {last} in %", scores[last]["per_class"])):
        table = Table(title, "A", "B", "change", box=None)
        for name, (a, b, change) in rows.items():
            cells = ["–" if value is None else f"{100 * value:.1f}" for value in (a, b)]
            table.add_row(name, *cells, "–" if change is None else f"{100 * change:+.1f}")
        out.print()
        out.print(table)


def _print_samples(samples: Mapping[str, Any]) -> None:
    meanings = {
        "same": f"the same ({samples['unread']} in shards with the same content, which were not read)",
        "fates": "kept in one and dropped in the other", "labels": "kept in both with another label",
        "dropped": "dropped in both", "other": "of another prompt or seed",
    }  # fmt: skip
    told = [f"{samples[key]} {meaning}" for key, meaning in meanings.items() if samples[key]]
    out.print(f"\n{samples['both']} samples in both{': ' if told else ''}{', '.join(told)}")
    if not samples["worst"]:
        return
    table = Table("sample", "IoU", "A", "B", "", box=None)
    for row in samples["worst"]:
        agreement = "–" if row["iou"] is None else f"{100 * row['iou']:.1f}"
        table.add_row(row["id"], agreement, row["a"], row["b"], "" if row["same_picture"] else "drawn anew")
    out.print(table)
    out.print("syn4seg show RUN --sample ID tells why")


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in dropped.items())


def _worst(samples: Sequence[Mapping[str, Any]]) -> str:
    from flows.report.why import figure

    return ", ".join(
        f"{s['id']} ({'dropped' if 'reason' in s else figure(next(v for k, v in s.items() if k != 'id'))})"
        for s in samples
    )


def _cell(key: str, value: Any, stage: str) -> str:
    from flows.report.why import figure

    if key == "dropped":
        return _reasons(value)
    if key == "bytes":
        return size_of(value)
    if key == "losses":
        return ", ".join(f"{name} {figure(loss)}" for name, loss in value.items())
    if key == "seconds":
        return duration(value)
    if stage == "scores" and not isinstance(value, str):
        return "–" if value is None else f"{100 * value:.1f}"
    return "" if value is None else str(value)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}): choose another file with --to") from error
