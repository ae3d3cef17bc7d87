"""The flow: prompts, pictures, first labels, filtered, relabelled, sharpened, dataset, trained model, scores."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows import tasks
from flows.data import find_data, novel_names
from flows.steps import CHAIN, images_steps, start_of
from pipeline.config import Config
from pipeline.store import StageRecord


def run_synthesis(
    config: Config, until: str, workers: int, api_url: str | None, pictures: int | None = None
) -> list[StageRecord]:
    """Run the flow with as many tasks at once as there are workers, on a server or on Prefect's own choice of one."""
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    with temporary_settings({PREFECT_API_URL: api_url} if api_url else {}):
        return synthesize.with_options(task_runner=runner)(config, until, pictures)


@flow(name="syn4seg", persist_result=False, validate_parameters=False)
def synthesize(config: Config, until: str = "scores", pictures: int | None = None) -> list[StageRecord]:
    """Give the records of all shards up to a stage, of the first ``pictures`` a class or all of them.

    Finished ones cost a look into the store.
    """
    data = find_data(config)
    if data is None:
        raise RuntimeError("prepare_data comes before the flow")
    wanted = CHAIN[: CHAIN.index(until) + 1]

    # What needs neither prompts nor pictures starts first, so that it runs beside them.
    teacher = tasks.train_teacher.submit(config, data) if "teacher" in wanted else None
    banks = [tasks.write_prompts.submit(config, name) for name in novel_names(config)]
    images = []
    if "images" in wanted and config.experiment.generate.enabled:
        shards = [shard for bank in banks for shard in images_steps(config, bank.result(), pictures)]
        images = [tasks.draw_images.submit(config, step, orders) for step, orders in shards]
    start = teacher
    if "train" in wanted and start_of(config) is not config:
        start = tasks.train_start.submit(config, data)
    before = tasks.train_final.submit(config, data, start, None) if "train" in wanted else None

    first = [tasks.annotate.submit(config, s, teacher) for s in images] if "annotate" in wanted else []
    repaired = [tasks.filter_and_relabel.submit(config, s, teacher) for s in first] if "filter" in wanted else []
    sharp = [tasks.refine.submit(config, s) for s in repaired] if "refine" in wanted else []
    dataset = tasks.assemble.submit(config, sharp) if sharp and "dataset" in wanted else None
    after = tasks.train_final.submit(config, data, start, dataset) if dataset and before else None

    scored = "scores" in wanted and "validation" in data
    models = {"teacher": teacher, "before": before, "after": after} if scored else {}
    scores = [tasks.score.submit(config, data, model, name) for name, model in models.items() if model]
    singles = [f for f in dict.fromkeys((teacher, start, dataset, before, after)) if f]
    records = [f.result() for f in (*banks, *images, *first, *sharp, *singles, *scores)]
    return records + [record for both in repaired for record in both.result()]
