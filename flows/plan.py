"""What a run would reuse, resume or compute, and why; found without loading any model.

A run asks the store about every file of every shard. Whoever only wants to know asks its index (`pipeline.index`)
about shards of pictures: that takes seconds for a million of them, and does not see a file that was damaged since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from flows import steps
from flows.data import DataSets, find_data, novel_names, store_of
from flows.generators import known_batch
from flows.rounds import FirstRound, first_round, has_second_round, labels_base, waiting_prompts
from flows.shares import Share, shared
from flows.steps import CHAIN, SHARD, Step
from pipeline.config import Config
from pipeline.hashing import fingerprint, fingerprints
from pipeline.index import StoreIndex
from pipeline.store import Finished, RunStore, StageRecord

_GUESSED_SECONDS = {
    "prompts": 3.0, "images": 15.0, "teacher": 100.0, "annotate": 4.0, "filter": 2.0, "relabel": 1.0, "refine": 3.0,
    "agreement": 4.0, "hidden": 70.0, "dataset": 1.0, "start": 100.0, "train": 100.0, "scores": 10.0,
}  # fmt: skip
"""Of one shard of picto on one core, until the store knows better."""
_GUESSED_BYTES = {"images": 250_000, "dataset": 1_000_000, "teacher": 4_000_000, "start": 4_000_000, "train": 4_000_000}

_OF_PICTURES = {"images", "annotate", "filter", "relabel", "refine", "dataset"}
"""Stages that have at least one file for every picture."""


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
    """All stages of a run with the records of the finished shards; a quick plan lacks those of pictures."""

    stages: dict[str, StagePlan]
    records: list[StageRecord]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(stage.reuse == stage.total for stage in self.stages.values())


def make_plan(
    config: Config, until: str = "scores", pictures: int | None = None, share: Share | None = None, *,
    quick: bool = False,
) -> Plan:  # fmt: skip
    """Look up every shard of a run up to a stage, in both rounds where there are two.

    Args:
        config: of the run.
        until: last stage.
        pictures: only the first so many a class, of the first round; None: all.
        share: of the pictures of the first round; None: all.
        quick: ask the store's index about the shards of pictures, not every file of them.
    """
    config = known_batch(config)
    look = _Look(store_of(config), quick)
    if not has_second_round(config, until) or pictures or share:
        _walk(first_round(config), look, until, pictures, share)
    else:
        first = _walk(first_round(config), look, "train")
        _walk(config, look, until, first=first, known=first)
    return Plan(look.finish(), look.records)


def plan_round(
    config: Config, until: str, pictures: int | None, share: Share | None, first: FirstRound | None
) -> Plan:  # fmt: skip
    """Look up every shard of one round; arguments as of `make_plan`.

    Args:
        config: of this round alone.
        until: last stage.
        pictures: only the first so many a class.
        share: of the pictures.
        first: what a second round begins with; None: this is the first one.
    """
    config = known_batch(config)
    look = _Look(store_of(config), quick=False)
    begun = _Walk(list(first.banks), list(first.sharp), first.model) if first else None
    _walk(config, look, until, pictures, share, first=begun)
    return Plan(look.finish(), look.records)


@dataclass
class _Walk:
    """What a round gives, None where it is not there yet; ``found`` are the models that both rounds have."""

    banks: list[Finished | None] = field(default_factory=list)
    sharp: list[Finished | None] = field(default_factory=list)
    after: Finished | None = None
    images: list[Finished | None] = field(default_factory=list)
    found: dict[str, Finished | None] = field(default_factory=dict)


def _walk(
    config: Config, look: _Look, until: str, pictures: int | None = None, share: Share | None = None, *,
    first: _Walk | None = None, known: _Walk | None = None,
) -> _Walk:  # fmt: skip
    """Look up the shards of one round.

    Args:
        config: of the round.
        look: looks up and counts.
        until: last stage.
        pictures: only the first so many a class.
        share: of the pictures.
        first: what a second round begins with.
        known: a round that was looked up and counted before: what it shares with this one is not counted again.
    """
    apart = steps.start_of(config) is not config
    look.reach(until, apart)
    data = find_data(config)
    walk = _Walk(found=known.found if known else {})
    more = first is not None and waiting_prompts(config) > 0
    if not walk.found:
        walk.found = _without_pictures(config, look, data, apart)
    teacher, start = walk.found["teacher"], walk.found["start"]
    if known and not more:
        walk.banks, walk.images = known.banks, known.images
    else:
        walk.banks = _more_banks(config, look, first) if first and more else [
            look("prompts", lambda n=name: steps.prompts_step(config, n)) for name in novel_names(config)  # type: ignore[misc]
        ]
        walk.images = _images(config, look, walk.banks, pictures, share)
    labeller = first.after if first and config.experiment.second_round.label else teacher
    labelling = _labelling(config, labeller)
    for shard in walk.images:
        for series in labelling:
            shard = look.each(series, shard, labeller)
        walk.sharp.append(shard)
    models = {"teacher": teacher, "before": walk.found["before"]}
    if walk.sharp:
        dataset = look("dataset", lambda: steps.dataset_step(config, [_sure(s) for s in walk.sharp]), *walk.sharp)
        hidden = _hidden(config, look, data, first.after) if first and labels_base(config) else []
        walk.after = models["after"] = _real(look, "train", data, lambda d: steps.train_step(
            config, d, _sure(start), dataset, [_sure(shard) for shard in hidden]
        ), start, dataset, *hidden)  # fmt: skip
    for name, model in models.items():
        if data and "validation" not in data:
            break
        _real(look, "scores", data, lambda d, n=name, m=model: steps.scores_step(config, d, _sure(m), n), model)  # type: ignore[misc]
    return walk


def _without_pictures(
    config: Config, look: _Look, data: DataSets | None, apart: bool
) -> dict[str, Finished | None]:
    """Look up the models that no synthetic picture is needed for."""
    teacher = _real(look, "teacher", data, lambda d: steps.teacher_step(config, d))
    start = _real(look, "start", data, lambda d: steps.start_step(config, d)) if apart else teacher
    before = _real(look, "train", data, lambda d: steps.train_step(config, d, _sure(start), None), start)
    return {"teacher": teacher, "start": start, "before": before}


def _more_banks(config: Config, look: _Look, first: _Walk) -> list[Finished | None]:
    """Look up the agreement of the first round's model with its labels, and the banks that follow from it."""
    model = first.after
    agreed = [
        look("agreement", lambda s=shard: steps.agreement_step(config, _sure(s), _sure(model)), shard, model)  # type: ignore[misc]
        for shard in first.sharp
    ]
    return [
        look("prompts", lambda n=name, b=bank: steps.more_prompts_step(  # type: ignore[misc]
            config, n, _sure(b), [_sure(shard) for shard in agreed]
        ), bank, *agreed)
        for name, bank in zip(novel_names(config), first.banks, strict=True)
    ]  # fmt: skip


def _hidden(
    config: Config, look: _Look, data: DataSets | None, model: Finished | None
) -> list[Finished | None]:
    """Look up what the first round's model finds in base pictures."""
    if data is None or model is None:
        return [look("hidden", None)]
    return [look("hidden", lambda s=step: s) for step, _ in steps.hidden_steps(config, data, model)]  # type: ignore[misc]


class _Series:
    """A stage on many shards, whose recipes differ in one input: the rest is looked up and written once.

    Args:
        stage: name of the stage.
        make: gives the step of any of the shards; asked when the first is looked up.
        key: the input that differs.
    """

    def __init__(self, stage: str, make: Callable[[], Step], key: str) -> None:
        self.stage = stage
        self._make, self._key = make, key

    def step(self, shard: str, value: str) -> Step:
        """Give the step of one shard."""
        return self._any.on(shard, **{self._key: value})

    @cached_property
    def mark(self) -> Callable[[str], str]:
        """From the input that differs to the fingerprint."""
        return fingerprints(self.stage, self._any.recipe, self._key)

    @cached_property
    def _any(self) -> Step:
        return self._make()


def _labelling(config: Config, teacher: Finished | None) -> list[_Series]:
    """Give the stages that label one shard of pictures after the other; what differs is the shard before."""
    anything = Finished("", "", "", "")
    makers: dict[str, Callable[[], Step]] = {
        "annotate": lambda: steps.annotate_step(config, anything, _sure(teacher)),
        "filter": lambda: steps.filter_step(config, anything, _sure(teacher)),
        "relabel": lambda: steps.relabel_step(config, anything, _sure(teacher)),
        "refine": lambda: steps.refine_step(config, anything),
    }
    return [_Series(stage, make, "samples") for stage, make in makers.items()]


def _images(
    config: Config, look: _Look, banks: list[Finished | None], most: int | None, share: Share | None
) -> list[Finished | None]:
    if not config.experiment.generate.enabled:
        return []
    found: list[Finished | None] = []
    series = _Series("images", lambda: steps.images_step(config), "orders")
    for place, bank in enumerate(banks):
        if bank:
            names = look.index.remembered(
                f"orders-{steps.orders_key(config, bank, most)}", lambda b=bank: steps.orders_hashes(config, b, most)  # type: ignore[misc]
            )
            shards = shared(list(enumerate(names)), place, share)
            found += [look.shard(series, steps.images_shard(bank, i), orders) for i, orders in shards]
        else:
            pictures = config.experiment.prompts.per_class * config.experiment.generate.images_per_prompt
            count = -(-min(pictures, most or pictures) // SHARD)
            found += [look("images", None) for _ in shared(range(count), place, share)]
    return found


class _Look:
    """Looks shards up and keeps count.

    Attributes:
        records: of the finished shards; a quick look has none of pictures.
        index: of the store.
    """

    def __init__(self, store: RunStore, quick: bool) -> None:
        self.records: list[StageRecord] = []
        self.index = StoreIndex(store)
        self._store, self._indexed = store, _OF_PICTURES if quick else set()
        self._stages: dict[str, StagePlan] = {}
        self._reached: set[str] = set()

    def reach(self, until: str, apart: bool) -> None:
        """Count the stages of a round up to one from now on; ``apart``: the final model has a start of its own."""
        wanted = list(CHAIN[: CHAIN.index(until) + 1])
        if apart and "train" in wanted:
            wanted.insert(wanted.index("train"), "start")
        self._reached = {*wanted, "agreement", "hidden"}
        self._stages = {stage: self._stages.get(stage, StagePlan(stage)) for stage in wanted} | self._stages

    def __call__(
        self, stage: str, step: Callable[[], Step] | None, *needed: Finished | None, because: str = ""
    ) -> Finished | None:
        """Give a finished shard; ``step`` is only asked when all that is needed is there."""
        if stage not in self._reached:
            return None
        plan = self._stages.setdefault(stage, StagePlan(stage))
        if step is None or any(shard is None for shard in needed):
            plan.compute += 1
            self._note(plan, because or "earlier stages come first")
            return None
        wanted = step()
        mark = fingerprint(stage, wanted.recipe) if stage in self._indexed else ""
        return self._found(plan, wanted.shard, mark, lambda: wanted)

    def shard(self, series: _Series, shard: str, value: str) -> Finished | None:
        """Give one of many finished shards."""
        if series.stage not in self._reached:
            return None
        mark = series.mark(value) if series.stage in self._indexed else ""
        return self._found(self._stages[series.stage], shard, mark, lambda: series.step(shard, value))

    def each(self, series: _Series, before: Finished | None, teacher: Finished | None) -> Finished | None:
        """Give the finished shard that labels another one by the teacher's help."""
        if before is None or teacher is None:
            return self(series.stage, None)
        return self.shard(series, before.shard, before.content)

    def finish(self) -> dict[str, StagePlan]:
        """Give the stages with estimates from what such shards took before; keeps the index for the next look."""
        for stage, plan in self._stages.items():
            if left := plan.resume + plan.compute:
                guess = _GUESSED_SECONDS[stage], _GUESSED_BYTES.get(stage, 20_000)
                seconds, size = self.index.usual(stage) or guess
                plan.seconds, plan.bytes = left * seconds, int(left * size)
        self.index.save()
        return self._stages

    def _found(self, plan: StagePlan, shard: str, mark: str, step: Callable[[], Step]) -> Finished | None:
        if plan.stage in self._indexed and (known := self.index.find(plan.stage, shard, mark)):
            plan.reuse += 1
            return known
        if record := self._store.find(plan.stage, shard, step().recipe):
            plan.reuse += 1
            self.records.append(record)
            return record
        why = self.index.why(plan.stage, shard, step().recipe)
        if why == "was interrupted":
            plan.resume += 1
        else:
            plan.compute += 1
        self._note(plan, why)
        return None

    def _note(self, plan: StagePlan, why: str) -> None:
        plan.why[why] = plan.why.get(why, 0) + 1


def _real(
    look: _Look, stage: str, data: DataSets | None, step: Callable[[DataSets], Step], *needed: Finished | None
) -> Finished | None:
    """Look up a shard that depends on the real pictures."""
    if data is None:
        return look(stage, None, because="the data sets are to be drawn")
    return look(stage, lambda: step(data), *needed)


def _sure(shard: Finished | None) -> Finished:
    if shard is None:
        raise RuntimeError("asked for a step whose inputs are missing")
    return shard
