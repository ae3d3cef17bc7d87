"""Growing a bank: propose, encode, accept, until enough sentences are kept or hardly any is new any more.

Source: Syn4Seg, HDIG (the loop of proposals).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prompts.agents import PromptAgent, TextEncoder, Vectors
from prompts.bank import Prompt, PromptBank, Refusal
from prompts.errors import InputError
from prompts.vocabulary import Vocabulary

VERSION = 1

BLOCK = 64
"""Sentences proposed and encoded at once; fixed, so that the bank does not depend on how many are wanted."""


@dataclass(frozen=True)
class Growth:
    """How a class's part of a bank came about.

    Attributes:
        prompts: the first ``wanted`` accepted sentences.
        offered: how many were offered for them.
        unfiltered: unit vectors of the first ``wanted`` sentences offered, whether accepted or not, float32 (N, C).
        by_fallback: how many of ``prompts`` the agent's stand-in wrote.
        warning: what is short of what was wanted, or None.
    """

    prompts: tuple[Prompt, ...]
    offered: int
    unfiltered: Vectors
    by_fallback: int = 0
    warning: str | None = None


def grow_bank(
    bank: PromptBank,
    agent: PromptAgent,
    encoder: TextEncoder,
    name: str,
    wanted: int,
    *,
    fallback: PromptAgent | None = None,
    budget: int | None = None,
    progress: Callable[[float], None] | None = None,
    patience: int = 16,
) -> Growth:
    """Fill the bank until it holds ``wanted`` sentences of the class.

    The bank grows in whole blocks and may end up with more; the first ``wanted`` are always the same, if those that
    an agent proposes depend on what it was told of earlier ones alone.

    Args:
        bank: grows.
        agent: proposes sentences.
        encoder: puts them into the generator's text space.
        name: the class.
        wanted: how many are to be accepted.
        fallback: proposes the rest when the agent has no more to say.
        budget: most proposals of an agent, 100 for each wanted sentence unless given, but at least 2,000.
        progress: hears after every block how much of the bank is filled, 0..1.
        patience: leave an agent after so many blocks in a row of which fewer than 1 in 100 sentences was accepted.

    Raises:
        InputError: fewer than half of the wanted sentences could be found.
    """
    budget = budget if budget is not None else max(2000, 100 * wanted)
    offered, own = 0, wanted
    unfiltered: list[Vectors] = []
    for number, writer in enumerate((agent, fallback)):
        if writer is None or len(bank.of(name)) >= wanted:
            continue
        own = len(bank.of(name)) if number else own
        refused: list[Refusal] = []
        asked = poor = 0
        while len(kept := bank.of(name)) < wanted and asked < budget and poor < patience:
            proposals = writer.propose(name, BLOCK, kept, refused)
            if not proposals:
                break
            vectors = encoder([p.text for p in proposals])
            refused = bank.offer(proposals, vectors)
            unfiltered.append(vectors[: max(0, wanted - offered - asked)])
            asked += len(proposals)
            if progress:
                progress(min(1.0, len(bank.of(name)) / wanted))
            poor = poor + 1 if len(proposals) - len(refused) < len(proposals) / 100 else 0
        offered += asked
    prompts = bank.of(name)[:wanted]
    first = np.concatenate(unfiltered) if unfiltered else np.zeros((0, 0), np.float32)
    by_fallback = max(0, len(prompts) - own)
    if len(prompts) == wanted:
        return Growth(prompts, offered, first, by_fallback)
    message = (
        f"the prompt bank has {len(prompts)} sentences for {name!r} of {wanted} wanted, after {offered} proposals: "
        f"raise prompts.max_similarity (now {bank.max_similarity:g}) or lower prompts.per_class"
    )
    if 2 * len(prompts) < wanted:
        raise InputError(message)
    return Growth(prompts, offered, first, by_fallback, message)


def class_prompt(vocabulary: Vocabulary, name: str) -> Prompt:
    """Give the plainest sentence, the class name alone, as used when the bank is switched off."""
    return Prompt(vocabulary.sentence(name, {}), name)
