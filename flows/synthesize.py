"""The flow: prompts, pictures, first labels, filtered, relabelled, sharpened, dataset, trained model, scores, report.

Every stage is a subflow in a thread of its own, so that stages overlap: a shard goes on to the next stage as soon as
it is finished. How much is computed at once is decided by the workers alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows import tasks
from flows.data import DataSets, find_data, novel_names
from flows.overview import artifact_key, class_tables, summary
from flows.rounds import FirstRound, labels_base, waiting_prompts
from flows.shares import Share, shared
from flows.steps import BESIDE, CHAIN, hidden_steps, images_steps, start_of
from flows.workers import Workers
from pipeline.config import Config
from pipeline.store import StageRecord

FLOW = "syn4seg"
PROGRESS_SECONDS = 5
"""Between two looks at the progress; a look costs one request a stage that has moved."""

Shard = tuple[Any, ...]
"""What a stage is to do: the shard's name, a task, its arguments."""

Result = tuple[list[StageRecord], Path | None]


def run_synthesis(
    config: Config, name: str, until: str, workers: Workers, progress: Callable[[str], float], api_url: str | None,
    pictures: int | None = None, finish: Callable[[list[StageRecord]], Path] | None = None,
    share: Share | None = None, first: FirstRound | None = None,
) -> Result:  # fmt: skip
    """Run the flow; inside a flow run its stages become subflows of that one.

    Args:
        config: of the run.
        name: of the flow run.
        until: last stage.
        workers: compute the shards; they are ended before the run's folder is written.
        progress: gives the fraction of a stage that is done, 0..1.
        api_url: Prefect's server, or None for Prefect's own choice.
        pictures: only the first so many of every class; None: all.
        finish: writes the run's folder and gives it; None: none is written.
        share: of the pictures; None: all.
        first: what a second round begins with; None: this is the first, or the only one.

    Returns:
        The records of all shards, and the run's folder where one was written.
    """

    def synthesize(config: Config, until: str) -> Result:
        workers.open()
        stages = _Stages(config, until, workers, progress)
        with stages:
            _chain(config, stages.start, pictures, share, first)
        records = stages.records()
        workers.end()  # the report loads models too
        folder = tasks.write_report(finish, records) if finish else None
        _show(config, name, records, folder)
        return records, folder

    tasks.use_workers(workers)
    try:
        if FlowRunContext.get():
            return synthesize(config, until)
        with temporary_settings({PREFECT_API_URL: api_url} if api_url else {}):
            return flow(name=FLOW, flow_run_name=name, persist_result=False, validate_parameters=False)(synthesize)(
                config, until
            )
    finally:
        tasks.use_workers(None)


def _chain(
    config: Config, stage: Callable[[str, Callable[[], Iterable[Shard]]], _Stage], only_first: int | None,
    share: Share | None, before: FirstRound | None,
) -> None:  # fmt: skip
    """Start all stages. Each reads the shards of earlier ones while these still go on."""
    data = find_data(config)
    if data is None:
        raise RuntimeError("prepare_data comes before the flow")
    names = novel_names(config)

    def one_teacher() -> Iterator[Shard]:
        if share and share.number > 1:  # the first share trains it; the others draw meanwhile, and find it then
            for _, drawn in images:
                drawn.wait()
        yield config.experiment.teacher.name, tasks.train_teacher, config, data

    def pictures() -> Iterator[Shard]:
        failed = False
        for place, (_, bank) in enumerate(banks):
            bank.wait()
            if not bank.state.is_completed():
                failed = True
                continue
            for step, orders in shared(images_steps(config, bank.result(), only_first), place, share):
                yield step.shard, tasks.draw_images, config, step, orders
        if failed:  # or the dataset would be made of the other classes alone
            raise RuntimeError("a bank of prompts has failed")

    def labeller() -> Any:
        return before.model if before and config.experiment.second_round.label else teacher.only()

    if before and waiting_prompts(config):
        agreement, first_banks = _agreement(config, stage, before), before.banks

        def more_prompts() -> Iterator[Shard]:
            agreed = [shard for _, shard in agreement]
            for name, bank in zip(names, first_banks, strict=True):
                yield name, tasks.write_more_prompts, config, name, bank, agreed

        banks = stage("prompts", more_prompts)
    else:
        banks = stage("prompts", lambda: ((name, tasks.write_prompts, config, name) for name in names))
    images = stage("images", pictures)
    teacher = stage("teacher", one_teacher)
    first = stage("annotate", lambda: ((n, tasks.annotate, config, s, labeller()) for n, s in images))
    repaired = stage("filter", lambda: ((n, tasks.filter_and_relabel, config, s, labeller()) for n, s in first))
    refined = stage("refine", lambda: ((n, tasks.refine, config, s) for n, s in repaired))

    def all_pictures() -> Iterator[Shard]:
        if sharp := [shard for _, shard in refined]:
            yield "all classes", tasks.assemble, config, sharp

    dataset = stage("dataset", all_pictures)

    begun = teacher
    if start_of(config) is not config:
        begun = stage("start", lambda: [(config.experiment.model.name, tasks.train_start, config, data)])

    hidden = _hidden(config, stage, data, before) if before and labels_base(config) else ()

    def models() -> Iterator[Shard]:
        yield "before", tasks.train_final, config, data, begun.only(), None
        for _, pictures in dataset:
            yield "after", tasks.train_final, config, data, begun.only(), pictures, [shard for _, shard in hidden]

    trained = stage("train", models)

    def scores() -> Iterator[Shard]:
        yield "teacher", tasks.score, config, data, teacher.only(), "teacher"
        for name, model in trained:
            yield name, tasks.score, config, data, model, name

    stage("scores", scores)


def _agreement(
    config: Config, stage: Callable[[str, Callable[[], Iterable[Shard]]], _Stage], before: FirstRound
) -> _Stage:
    """Start the stage that compares the first round's final model with its labels."""
    return stage("agreement", lambda: (
        (sharp.shard, tasks.write_agreement, config, sharp, before.model) for sharp in before.sharp
    ))  # fmt: skip


def _hidden(
    config: Config, stage: Callable[[str, Callable[[], Iterable[Shard]]], _Stage], data: DataSets, before: FirstRound
) -> _Stage:
    """Start the stage in which the first round's final model labels what base pictures hide."""
    return stage("hidden", lambda: (
        (step.shard, tasks.label_hidden, config, data, step, places, before.model)
        for step, places in hidden_steps(config, data, before.model)
    ))  # fmt: skip


def _show(config: Config, name: str, records: list[StageRecord], folder: Path | None) -> None:
    """Tell Prefect what there is to see."""
    scores = json.loads((folder / "scores.json").read_text()) if folder else {}
    key = artifact_key(name)
    for class_name, table in class_tables(config, records, scores).items():
        text = f"{class_name}: what each stage made, kept and dropped; IoU in %"
        create_table_artifact(table, key=f"{key}-{artifact_key(class_name)}", description=text)
    if folder:
        create_markdown_artifact(summary(config, scores, folder), key=f"{key}-scores", description="Scores in %")
        page = (folder / "report" / "index.html").resolve()
        create_link_artifact(page.as_uri(), link_text=str(page), key=f"{key}-report", description="The run's report")


class _Stage:
    """A stage while it runs: the shards that it has begun, which any number of others may read as they come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._begun: list[tuple[str, PrefectFuture[Any]]] = []
        self._change = threading.Condition()
        self._closed = False
        self._failed = False

    def __iter__(self) -> Iterator[tuple[str, PrefectFuture[Any]]]:
        at = 0
        while True:
            with self._change:
                self._change.wait_for(lambda: at < len(self._begun) or self._closed)  # noqa: B023
                if at == len(self._begun):
                    break
            yield self._begun[at]
            at += 1
        if self._failed:
            raise RuntimeError(f"the stage {self.name} has failed")

    def only(self) -> PrefectFuture[Any]:
        """Give its one shard."""
        return next(iter(self))[1]

    def begun(self) -> list[PrefectFuture[Any]]:
        """Give its shards so far."""
        with self._change:
            return [future for _, future in self._begun]

    def begin(self, name: str, shard: PrefectFuture[Any]) -> None:
        with self._change:
            self._begun.append((name, shard))
            self._change.notify_all()

    def close(self, failed: bool) -> None:
        with self._change:
            self._closed, self._failed = True, self._failed or failed
            self._change.notify_all()


class _Stages:
    """Runs stages as subflows, each in a thread; use it by ``with``, which waits for them and tells their progress."""

    def __init__(self, config: Config, until: str, workers: Workers, progress: Callable[[str], float]) -> None:
        self._wanted = set(CHAIN[: CHAIN.index(until) + 1])
        self._wanted |= {"agreement", "hidden"} | ({"start"} if "train" in self._wanted else set())
        if not config.experiment.generate.enabled:
            self._wanted -= {"images", "annotate", "filter", "relabel", "refine", "dataset"}
        if "validation" not in (find_data(config) or ()):
            self._wanted -= {"scores"}
        self._workers, self._progress = workers, progress
        self._stages: list[_Stage] = []
        self._told: dict[str, tuple[Any, int]] = {}
        self._threads = ThreadPoolExecutor(len(CHAIN) + len(BESIDE), thread_name_prefix="stage")
        self._running: list[Future[None]] = []

    def start(self, name: str, work: Callable[[], Iterable[Shard]]) -> _Stage:
        """Start a stage; one that is not wanted has no shards."""
        stage = _Stage(name)
        if name not in self._wanted:
            stage.close(failed=False)
            return stage
        title = "filter and relabel" if name == "filter" else name

        def subflow() -> None:
            failed = True
            try:
                for shard, task, *arguments in work():
                    stage.begin(shard, task.with_options(task_run_name=f"{title} {shard}").submit(*arguments))
                failed = False
            finally:
                stage.close(failed)
                for future in stage.begun():  # or Prefect would not begin the others when one fails
                    future.wait()
            for future in stage.begun():
                future.result()

        self._stages.append(stage)
        self._told[name] = create_progress_artifact(0.0, description=f"{title}, % of its shards"), 0
        runner: Any = ThreadPoolTaskRunner(max_workers=self._workers.count)
        run = flow(name=f"{FLOW} {title}", flow_run_name=title, task_runner=runner, persist_result=False)(subflow)

        def run_whole() -> None:
            try:
                run()
            except BaseException:
                stage.close(failed=True)  # where Prefect failed before the stage began, others would wait for it
                raise

        self._running.append(self._threads.submit(copy_context().run, run_whole))
        return stage

    def records(self) -> list[StageRecord]:
        """Give the records of all shards of all stages."""
        found = [future.result() for stage in self._stages for _, future in stage]
        return [record for one in found for record in (one if isinstance(one, tuple) else (one,))]

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        try:
            if not error:
                self._watch()
        except BaseException as found:
            error = found
            raise
        finally:
            if error and not (self._workers.short and isinstance(error, Exception)):
                self._workers.stop(error)
            self._threads.shutdown()

    def _watch(self) -> None:
        """Wait for all stages, or for the first that fails by more than a shard that is too large for the memory."""
        waiting, failed = set(self._running), None
        while waiting:
            done, waiting = wait(waiting, PROGRESS_SECONDS, FIRST_EXCEPTION)
            self._tell()
            for future in done:
                failed = failed or future.exception()
            if failed and not self._workers.short:
                break
        if failed:
            raise failed

    def _tell(self) -> None:
        for stage, (artifact, told) in self._told.items():
            done = int(100 * self._progress(stage))
            if done != told:
                update_progress_artifact(artifact, float(done))
                self._told[stage] = artifact, done
