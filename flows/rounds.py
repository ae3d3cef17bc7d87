"""The second round: the final model of the first one says where pictures are wanted, and labels them anew.

The first round is the whole chain of a config of its own, `first_round`, so that a run without a second round, and one
that was stopped between the two, share all of its shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.data import protocol_of
from flows.steps import CHAIN
from pipeline.config import Config, SecondRoundSettings
from pipeline.store import StageRecord


@dataclass(frozen=True)
class FirstRound:
    """What the second round begins with.

    Attributes:
        banks: prompts of every class, in their order.
        sharp: repaired labels of every shard of pictures.
        model: trained on these.
    """

    banks: Sequence[StageRecord]
    sharp: Sequence[StageRecord]
    model: StageRecord

    @classmethod
    def of(cls, records: Sequence[StageRecord]) -> FirstRound | None:
        """Find it among the records of a run up to its final model; None where no picture was usable."""
        made = {stage: [r for r in records if r.stage == stage] for stage in ("prompts", "refine")}
        model = next((r for r in records if (r.stage, r.shard) == ("train", "after")), None)
        return cls(made["prompts"], made["refine"], model) if model else None


def has_second_round(config: Config, until: str = CHAIN[-1]) -> bool:
    """Say whether the chain goes through a second round; up to the stages of single pictures it has only the first."""
    synthesis = config.experiment.generate
    if not synthesis.enabled or synthesis.source != "model":
        return False
    if config.experiment.second_round.label or waiting_prompts(config):
        return CHAIN.index(until) >= CHAIN.index("dataset")
    return labels_base(config) and CHAIN.index(until) >= CHAIN.index("train")


def labels_base(config: Config) -> bool:
    """Say whether the second round labels what base pictures hide; some protocols leave out those that hide any."""
    return config.experiment.second_round.base and not protocol_of(config).drop_novel


def waiting_prompts(config: Config) -> int:
    """Give how many prompts a class, on average, wait for the second round."""
    prompts = config.experiment.prompts
    share = config.experiment.second_round.prompts if prompts.enabled else 0
    return min(round(share * prompts.per_class), prompts.per_class - 1)


def first_round(config: Config) -> Config:
    """Give the config of the first round alone."""
    experiment = config.experiment
    first = experiment.prompts.per_class - waiting_prompts(config)
    prompts = experiment.prompts.model_copy(update={"per_class": first})
    return config.with_experiment(prompts=prompts, second_round=SecondRoundSettings())
