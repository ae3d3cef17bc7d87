"""Growing a bank: propose, encode, accept, until enough sentences are kept or hardly any is new any more.

Source: Syn4Seg, HDIG (the loop of proposals).
"""

from __future__ import annotations

from dataclasses import dataclass

from prompts.agents import PromptAgent, TextEncoder
from prompts.bank import Prompt, PromptBank
from prompts.errors import InputError
from prompts.vocabulary import Vocabulary

VERSION = 1

BLOCK = 64
"""Sentences proposed and encoded at once; fixed, so that the bank does not depend on how many are wanted."""


@dataclass(frozen=True)
class Growth:
    """The first ``wanted`` accepted sentences of a class, how many were offered for them, and a warning or None."""

    prompts: tuple[Prompt, ...]
    offered: int
    warning: str | None = None


def grow_bank(
    bank: PromptBank,
    agent: PromptAgent,
    encoder: TextEncoder,
    name: str,
    wanted: int,
    *,
    budget: int | None = None,
    patience: int = 16,
) -> Growth:
    """Fill the bank until it holds ``wanted`` sentences of the class.

    The bank grows in whole blocks and may end up with more; the first ``wanted`` are always the same.

    Args:
        bank: grows.
        agent: proposes sentences.
        encoder: puts them into the generator's text space.
        name: the class.
        wanted: how many are to be accepted.
        budget: most proposals, 100 for each wanted sentence unless given, but at least 2,000.
        patience: stop after so many blocks in a row of which fewer than 1 in 100 sentences was accepted.

    Raises:
        InputError: fewer than half of the wanted sentences could be found.
    """
    budget = budget if budget is not None else max(2000, 100 * wanted)
    offered = poor = 0
    while len(bank.of(name)) < wanted and offered < budget and poor < patience:
        before = len(bank.of(name))
        proposals = agent.propose(name, BLOCK, [p.text for p in bank.of(name)])
        if not proposals:
            break
        bank.offer(proposals, encoder([p.text for p in proposals]))
        offered += len(proposals)
        poor = poor + 1 if len(bank.of(name)) - before < len(proposals) / 100 else 0
    prompts = bank.of(name)[:wanted]
    if len(prompts) == wanted:
        return Growth(prompts, offered)
    message = (
        f"the prompt bank has {len(prompts)} sentences for {name!r} of {wanted} wanted, after {offered} proposals: "
        f"raise prompts.max_similarity (now {bank.max_similarity:g}) or lower prompts.per_class"
    )
    if 2 * len(prompts) < wanted:
        raise InputError(message)
    return Growth(prompts, offered, message)


def class_prompt(vocabulary: Vocabulary, name: str) -> Prompt:
    """Give the plainest sentence, the class name alone, as used when the bank is switched off."""
    return Prompt(vocabulary.sentence(name, {}), name)
