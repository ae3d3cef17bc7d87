"""What a run would reuse, resume or compute, and why; found without loading any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean

from flows import steps
from flows.data import DataSets, find_data, novel_names, store_of
from flows.generators import known_batch
from flows.shares import Share, shared
from flows.steps import CHAIN, SHARD, Step
from pipeline.config import Config
from pipeline.store import RunStore, StageRecord

_GUESSED_SECONDS = {
    "prompts": 3.0, "images": 15.0, "teacher": 100.0, "annotate": 4.0, "filter": 2.0, "relabel": 1.0, "refine": 3.0,
    "dataset": 1.0, "start": 100.0, "train": 100.0, "scores": 10.0,
}  # fmt: skip
"""Of one shard of picto on one core, until the store knows better."""
_GUESSED_BYTES = {"images": 250_000, "dataset": 1_000_000, "teacher": 4_000_000, "start": 4_000_000, "train": 4_000_000}


@dataclass
class StagePlan:
    """One stage of a plan.

    Attributes:
        stage: name.
        reuse: finished shards.
        resume: shards whose work was interrupted; they are computed anew.
        compute: shards to compute.
        why: reason -> number of shards it holds for.
        seconds: estimate of the work that is left, on one core.
        bytes: estimate of what it will take on the disk.
    """

    stage: str
    reuse: int = 0
    resume: int = 0
    compute: int = 0
    why: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: int = 0

    @property
    def total(self) -> int:
        """Number of its shards."""
        return self.reuse + self.resume + self.compute


@dataclass
class Plan:
    """All stages of a run with the records of the finished shards."""

    stages: dict[str, StagePlan]
    records: list[StageRecord]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(stage.reuse == stage.total for stage in self.stages.values())


def make_plan(
    config: Config, until: str = "scores", pictures: int | None = None, share: Share | None = None
) -> Plan:
    """Look up every shard of a run up to a stage, of the first ``pictures`` a class or all of them, or of a share."""
    config = known_batch(config)
    wanted = CHAIN[: CHAIN.index(until) + 1]
    apart = "train" in wanted and steps.start_of(config) is not config
    if apart:
        place = wanted.index("train")
        wanted = (*wanted[:place], "start", *wanted[place:])
    look = _Look(store_of(config), wanted)
    data = find_data(config)
    banks = [look("prompts", lambda n=name: steps.prompts_step(config, n)) for name in novel_names(config)]  # type: ignore[misc]
    teacher = _real(look, "teacher", data, lambda d: steps.teacher_step(config, d))
    start = _real(look, "start", data, lambda d: steps.start_step(config, d)) if apart else teacher
    before = _real(look, "train", data, lambda d: steps.train_step(config, d, _sure(start), None), start)

    sharp = []
    for images in _images(config, look, banks, pictures, share):
        first = look("annotate", lambda i=images: steps.annotate_step(config, i, _sure(teacher)), images, teacher)  # type: ignore[misc]
        trusted = look("filter", lambda f=first: steps.filter_step(config, f, _sure(teacher)), first, teacher)  # type: ignore[misc]
        filled = look("relabel", lambda t=trusted: steps.relabel_step(config, t, _sure(teacher)), trusted, teacher)  # type: ignore[misc]
        sharp.append(look("refine", lambda f=filled: steps.refine_step(config, f), filled))  # type: ignore[misc]
    models = {"teacher": teacher, "before": before}
    if sharp:
        dataset = look("dataset", lambda: steps.dataset_step(config, [_sure(s) for s in sharp]), *sharp)
        models["after"] = _real(
            look, "train", data, lambda d: steps.train_step(config, d, _sure(start), dataset), start, dataset
        )
    for name, model in models.items():
        if data and "validation" not in data:
            break
        _real(look, "scores", data, lambda d, n=name, m=model: steps.scores_step(config, d, _sure(m), n), model)  # type: ignore[misc]
    return Plan(look.finish(), look.records)


def _images(
    config: Config, look: _Look, banks: list[StageRecord | None], most: int | None, share: Share | None
) -> list[StageRecord | None]:
    if not config.experiment.generate.enabled:
        return []
    found = []
    for place, bank in enumerate(banks):
        if bank:
            shards = shared(steps.images_steps(config, bank, most), place, share)
            found += [look("images", lambda s=step: s) for step, _ in shards]  # type: ignore[misc]
        else:
            pictures = config.experiment.prompts.per_class * config.experiment.generate.images_per_prompt
            count = -(-min(pictures, most or pictures) // SHARD)
            found += [look("images", None, None) for _ in shared(range(count), place, share)]
    return found


class _Look:
    """Looks shards up and keeps count."""

    def __init__(self, store: RunStore, wanted: tuple[str, ...]) -> None:
        self.records: list[StageRecord] = []
        self._store = store
        self._stages = {stage: StagePlan(stage) for stage in wanted}

    def __call__(
        self, stage: str, step: Callable[[], Step] | None, *needed: StageRecord | None, because: str = ""
    ) -> StageRecord | None:
        """Give the record of a finished shard; ``step`` is only asked when all that is needed is there."""
        if stage not in self._stages:
            return None
        plan = self._stages[stage]
        if step is None or any(record is None for record in needed):
            plan.compute += 1
            self._note(plan, because or "earlier stages come first")
            return None
        wanted = step()
        found = self._store.find(wanted.stage, wanted.shard, wanted.recipe)
        if found:
            plan.reuse += 1
            self.records.append(found)
            return found
        why = self._store.why(wanted.stage, wanted.shard, wanted.recipe)
        if why == "was interrupted":
            plan.resume += 1
        else:
            plan.compute += 1
        self._note(plan, why)
        return None

    def finish(self) -> dict[str, StagePlan]:
        """Give the stages with estimates from what such shards took before."""
        known: dict[str, list[StageRecord]] = {}
        for record in self._store.records():
            known.setdefault(record.stage, []).append(record)
        for stage, plan in self._stages.items():
            left = plan.resume + plan.compute
            before = known.get(stage, [])
            seconds = mean(r.seconds for r in before) if before else _GUESSED_SECONDS[stage]
            size = mean(sum(r.files.values()) for r in before) if before else _GUESSED_BYTES.get(stage, 20_000)
            plan.seconds, plan.bytes = left * seconds, int(left * size)
        return self._stages

    def _note(self, plan: StagePlan, why: str) -> None:
        plan.why[why] = plan.why.get(why, 0) + 1


def _real(
    look: _Look, stage: str, data: DataSets | None, step: Callable[[DataSets], Step], *needed: StageRecord | None
) -> StageRecord | None:
    """Look up a shard that depends on the real pictures."""
    if data is None:
        return look(stage, None, because="the data sets are to be drawn")
    return look(stage, lambda: step(data), *needed)


def _sure(record: StageRecord | None) -> StageRecord:
    if record is None:
        raise RuntimeError("asked for a step whose inputs are missing")
    return record
