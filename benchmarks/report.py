"""A report of many samples: how long it takes to build and to open, and how much memory the browser takes.

    python -m benchmarks.report --samples 10000

The reference is the promise of docs/report.md: 10,000 samples open in under 3 s and stay under 200 MB of the page's
process. The run is made of coloured discs, without any model.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chromium import Chromium, find_chromium
from benchmarks.harness import Figure, Goal, Skipped, Stopwatch, command
from flows.report import write_report
from flows.settings import dump_config, load_config
from pipeline.classes import ClassSplit
from pipeline.store import Draft, RunStore, StageRecord
from pipeline.types import Sample


@dataclass(frozen=True)
class Size:
    """How many samples, the side of their pictures in pixels, and a folder that keeps the run ("": none does)."""

    samples: int = 10_000
    side: int = 64
    output: str = ""


SHARD = 200
OPENED = 7
"""How often the page is opened."""
SPLIT = ClassSplit.of("picto", 0)
SENTENCES = ("a plain {}", "two of {} <b>in the rain</b>", "a {} & a cloud", "a {} at \"night\"</script>")


def make_run(output: Path, samples: int, side: int = 64) -> Path:
    """Make a finished run of discs: prompts, pictures and labels of all stages, some dropped at each."""
    config = load_config(None, [f"execution.output={output}"])
    store, records = RunStore(output / "store"), []
    names = [SPLIT.novel[number * len(SPLIT.novel) // samples] for number in range(samples)]
    for name in dict.fromkeys(names):
        records.append(_prompts(store, name, names.count(name)))
    for start in range(0, samples, SHARD):
        numbers = range(start, min(start + SHARD, samples))
        histories = [_history(number, names[number], side) for number in numbers]
        images = None
        for place, stage in enumerate(("images", "annotate", "filter", "relabel", "refine")):
            part = [history[place] for history in histories]
            images = _shard(store, stage, f"shard-{start // SHARD:05d}", part, images)
            records.append(images)
    run = output / "runs" / "20260101-000000-discs"
    run.mkdir(parents=True)
    lineage: dict[str, dict[str, dict[str, str]]] = {}
    for record in records:
        entry = {"fingerprint": record.fingerprint, "content": record.content}
        lineage.setdefault(record.stage, {})[record.shard] = entry
    (run / "experiment.yaml").write_text(dump_config(config))
    (run / "lineage.json").write_text(json.dumps(lineage))
    (run / "scores.json").write_text(json.dumps(_scores()))
    return run


def _prompts(store: RunStore, name: str, count: int) -> StageRecord:
    def work(draft: Draft) -> None:
        rng = np.random.default_rng(len(name))
        sentences = [SENTENCES[i % len(SENTENCES)].format(name) + f" {i}" for i in range(count)]
        accepted = [{"text": s, "name": name, "attributes": {"kind": s.split()[0]},
                     "similarity": float(rng.uniform(0.5, 0.93))} for s in sentences]  # fmt: skip
        reason = "too similar to an accepted sentence (0.95)"
        refused = [{**row, "reason": reason, "similarity": 0.95, "nearest": sentences[0]} for row in accepted]
        for file, rows in (("prompts", accepted), ("refused", refused)):
            lines = ({k: v for k, v in row.items() if file == "prompts" or k != "attributes"} for row in rows)
            (draft.folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        vectors = rng.normal(size=(count, 64))
        np.save(draft.folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        draft.counts = {"prompts": count, "offered": 2 * count, "refused": count}

    return store.compute("prompts", name, {"version": 1}, work)


def _shard(store: RunStore, stage: str, shard: str, samples: list[Sample], before: StageRecord | None) -> StageRecord:
    pictures = store.pictures(before) if before else None
    return store.compute(stage, shard, {"version": 1}, lambda draft: draft.write_samples(samples, pictures))


def _history(number: int, name: str, side: int) -> list[Sample]:
    """Give one sample after each stage; one in five is dropped on the way."""
    rng = np.random.default_rng(number)
    rows, columns = np.indices((side, side)) / side - rng.uniform(0.3, 0.7, (2, 1, 1))
    distance = np.hypot(rows, columns)
    picture = np.where((distance < 0.25)[..., None], rng.integers(0, 255, 3), rng.integers(0, 255, 3)).astype(np.uint8)
    picture = np.clip(picture + rng.normal(0, 6, (side, side, 1)), 0, 255).astype(np.uint8)
    sample = Sample(f"{name}-{number:04d}-0", name, SENTENCES[number % 4].format(name), (1 << 62) + number, picture)
    label, nothing = SPLIT.id_of(name), np.zeros((side, side), bool)
    free = (distance < 0.3) & (columns > 0)
    scores = {"found": 0.3, "certainty": float(rng.uniform(0.2, 1)), "odds": 5.0}
    filtered = {"apf_kept": 3.0, "apf_freed": float(free.mean()), "apf_best": float(rng.uniform(0.1, 0.9))}
    overlap = float(rng.uniform(0.2, 1))
    repaired = {"sabr_regions": 1.0, "sabr_skipped": float(overlap < 0.4), "sabr_overlap": overlap, "sabr_changed": 0.1}
    discs = [np.where(distance < r, label, 0).astype(np.uint8) for r in (0.3, 0.3, 0.28, 0.25)]
    steps = [sample, sample.labelled(discs[0], nothing, **scores)]
    steps.append(steps[-1].labelled(np.where(free, 255, discs[1]).astype(np.uint8), free, **filtered))
    steps.append(steps[-1].labelled(discs[2], nothing, apr_claimed=0.1))
    steps.append(steps[-1].labelled(discs[3], nothing, **repaired))
    at = int(rng.integers(0, 25))
    reasons = {0: "the picture is almost uniform", 1: f"the teacher sees no {name}",
               3: f"no pixel resembles the supports of {name}", 4: f"nothing of {name} is left"}  # fmt: skip
    if at in reasons:
        gone = steps[at].dropped(reasons[at])
        steps = steps[:at] + [gone] * (5 - at)
    return steps


def _scores() -> dict[str, object]:
    per_class = dict.fromkeys(SPLIT.names, 0.5)
    found = {"novel_miou": 0.22, "base_miou": 0.57, "mean_miou": 0.4, "harmonic_miou": 0.32, "per_class": per_class}
    after = {**found, "novel_miou": 0.46, "harmonic_miou": 0.51, "per_class": {**per_class, "boat": 0.7}}
    return {"dataset": "picto", "fold": 0, "shots": 1, "seed": 0, "model": "iir", "protocol": "gfss-diam",
            "before": found, "after": after, "labels": {}, "seconds": {}}  # fmt: skip


def browse(page: Path, program: str) -> dict[str, float]:
    """Open a report and turn its pages; gives seconds and MB."""
    with Chromium(program) as browser:
        empty = browser.memory()
        opened, busy = [], []
        for _ in range(OPENED):
            browser.open("about:blank#")
            start, spent = time.monotonic(), browser.cpu()
            browser.open(page.as_uri())
            browser.until("document.querySelectorAll('.sample').length > 0")
            opened.append(time.monotonic() - start)
            busy.append(browser.cpu() - spent)
        browser.run("document.getElementById('gallery').scrollIntoView()")
        time.sleep(1)
        first = browser.memory()
        pages = int(browser.run("document.querySelector('#gallery-page').max"))
        for turn in range(min(30, pages - 1)):
            browser.run("document.querySelector('[data-go=next]').click()")
            browser.until(f"document.querySelector('#gallery-page').value === '{turn + 2}'")
            time.sleep(0.1)
        start = time.monotonic()
        browser.run("(() => { const s = document.getElementById('gallery-sort'); s.value = 'sabr_overlap';"
                    " s.dispatchEvent(new Event('change')); })()")  # fmt: skip
        browser.until("document.querySelector('#gallery-page').value === '1'")
        sorted_in = time.monotonic() - start
        time.sleep(1)
        last = browser.memory()
        assert not browser.complaints, browser.complaints
    return {
        "open_s_first": opened[0], "open_s_median": float(np.median(opened)), "open_s_least": min(opened),
        "open_cpu_s_median": float(np.median(busy)),
        "sort_s": sorted_in, "page_mb": first["page"], "page_mb_after_30_pages": last["page"],
        "heap_mb": last["heap"], "empty_page_mb": empty["page"], "all_mb": last["all"], "all_empty_mb": empty["all"],
    }  # fmt: skip


def measure(size: Size) -> list[Figure]:
    """Make, build, open."""
    program = find_chromium()
    if program is None:
        raise Skipped("no Chromium found: set CHROMIUM to the program")
    with tempfile.TemporaryDirectory() as nowhere:
        output = Path(size.output or nowhere)
        existing = sorted(output.glob("runs/*-discs"))
        run = existing[0] if existing else make_run(output, size.samples, size.side)
        watch = Stopwatch()
        with watch:
            page = write_report(run)
        files = [path for path in page.parent.rglob("*") if path.is_file()]
        found = browse(page, program)
    what, promise = f"report of {size.samples:,} samples", "the promise of docs/report.md"
    built = {"built in s": watch.wall, "files": len(files), "MB": sum(path.stat().st_size for path in files) / 1e6}
    return [
        Figure("report", f"opening the {what}", promise, found["open_s_median"], 3, "s", Goal("most", 1),
               built | found),
        Figure("report_memory", f"page of the {what}", promise, found["page_mb_after_30_pages"], 200, "MB",
               Goal("most", 1)),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
