"""The stage of prompts: the bank of a class, and in the second round what is added to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from flows import asking, steps, wiring
from flows.data import novel_names, store_of, vocabulary_of
from flows.report.banks import DIVERSITY
from flows.stages import compute_shard, write_lines
from pipeline.agreement import FILE
from pipeline.config import Config
from pipeline.store import Draft, StageRecord
from prompts.bank import Prompt, PromptBank
from prompts.budget import OFFERED, choose_prompts, share_prompts
from prompts.build import Growth, class_prompt
from prompts.diversity import diversity


def write_prompts(config: Config, name: str) -> StageRecord:
    """Fill the prompt bank of a class."""
    settings, step = config.experiment.prompts, steps.prompts_step(config, name)
    vocabulary = vocabulary_of(config)

    def work(draft: Draft) -> None:
        if not settings.enabled:
            write_lines(draft, "prompts.jsonl", [asdict(class_prompt(vocabulary, name))])
            draft.counts = {"prompts": 1}
            return
        bank = PromptBank(vocabulary, settings.max_similarity)
        growth = asking.grow(config, step, name, bank, draft)
        _write_bank(config, draft, bank, growth, growth.prompts)

    return compute_shard(config, step, work)


def write_more_prompts(
    config: Config, name: str, bank: StageRecord, agreement: Sequence[StageRecord]
) -> StageRecord:
    """Fill the prompt bank of a class for the second round, see `prompts.budget`.

    Args:
        config: of the run.
        name: the class.
        bank: of the first round.
        agreement: of all shards of all classes.
    """
    step, settings = steps.more_prompts_step(config, name, bank, agreement), config.experiment.prompts

    def work(draft: Draft) -> None:
        kept = steps.read_prompts(store_of(config).folder(bank))
        found = _agreement(config, agreement)
        shares = share_prompts(
            {one: [row["agreement"] for row in rows] for one, rows in found.items()},
            (settings.per_class - len(kept)) * len(found),
        )
        wanted = settings.model_copy(update={"per_class": len(kept) + OFFERED * shares[name]})
        grown = PromptBank(vocabulary_of(config), settings.max_similarity)
        growth = asking.grow(config.with_experiment(prompts=wanted), step, name, grown, draft)
        of_prompt = [[row["agreement"] for row in found[name] if row["prompt"] == prompt.text] for prompt in kept]
        means = [float(np.mean(values)) if values else 0.0 for values in of_prompt]
        chosen = choose_prompts(kept, means, growth.prompts[len(kept) :], shares[name])
        _write_bank(config, draft, grown, growth, [*kept, *chosen])

    return compute_shard(config, step, work)


def _agreement(config: Config, records: Sequence[StageRecord]) -> dict[str, list[dict[str, Any]]]:
    """Give class -> rows of all its samples."""
    rows = [
        json.loads(line)
        for record in records
        for line in (store_of(config).folder(record) / FILE).read_text().splitlines()
    ]
    return {name: [row for row in rows if row["name"] == name] for name in novel_names(config)}


def _write_bank(config: Config, draft: Draft, bank: PromptBank, growth: Growth, prompts: Sequence[Prompt]) -> None:
    vectors = wiring.encoder_of(config)([p.text for p in prompts])
    write_lines(draft, "prompts.jsonl", [asdict(p) for p in prompts])
    write_lines(draft, "refused.jsonl", [asdict(r) for r in bank.refused])
    np.save(draft.folder / "vectors.npy", vectors)
    told = {"accepted": diversity(vectors), "unfiltered": diversity(growth.unfiltered)}
    (draft.folder / DIVERSITY).write_text(json.dumps(told) + "\n")
    draft.notes = (*draft.notes, DIVERSITY)
    offers = {"prompts": len(prompts), "offered": growth.offered, "refused": len(bank.refused)}
    draft.counts = {**offers, **draft.counts}
    draft.warnings += [growth.warning] if growth.warning else []
