"""Who writes a class's prompts: the grammar, or a language model with its transcript."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows import wiring
from flows.addresses import check_address, key_of
from flows.data import novel_names, store_of, vocabulary_of
from flows.progress import tell
from flows.steps import Step, replayed, requests_of, transcript_of
from flows.weights import kind_of_place, resolve
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hashing import Recipe
from pipeline.store import Draft
from prompts.agents import GrammarAgent
from prompts.bank import PromptBank
from prompts.build import Growth, grow_bank
from prompts.language import LanguageAgent
from prompts.transcript import (
    Exchange,
    Transcript,
    line_of,
    lines_with_outcome,
    read_transcript,
)

FILE = "transcript.jsonl"


def grow(config: Config, step: Step, name: str, bank: PromptBank, draft: Draft) -> Growth:
    """Fill the bank of a class by the agent of the config; write the transcript of a language model into the draft.

    A language model goes on from the longest transcript of the same questions that is there: that of an interrupted
    run, or of a bank for which fewer or more sentences were wanted.

    Raises:
        InputError: the agent cannot be asked, or fewer than half of the wanted sentences were found.
    """
    experiment, settings = config.experiment, config.experiment.prompts
    vocabulary, encoder = vocabulary_of(config), wiring.encoder_of(config)
    grammar = GrammarAgent(vocabulary, experiment.seed)

    def progress(done: float) -> None:
        tell(step.stage, step.shard, done)

    if settings.agent == "grammar":
        return grow_bank(bank, grammar, encoder, name, settings.per_class, progress=progress)
    if settings.agent == "replay":
        recorded = replayed(settings, name)
        model = None
    else:
        recorded = _recorded(config, step, draft.scratch / FILE)
        model = wiring.chat_model_of(config)
    transcript = Transcript(name, recorded, model, _keeper(draft.scratch / FILE, recorded))
    agent = LanguageAgent(vocabulary, name, transcript.ask, experiment.seed, requests_of(settings, recorded))
    growth = grow_bank(bank, agent, encoder, name, settings.per_class, fallback=grammar, progress=progress)
    (draft.folder / FILE).write_text("".join(lines_with_outcome(transcript.used, bank)))
    draft.notes = (*draft.notes, FILE)
    draft.counts |= {"requests": len(transcript.used), "by_grammar": growth.by_fallback}
    if growth.by_fallback:
        draft.warnings.append(
            f"the language model wrote {len(growth.prompts) - growth.by_fallback} of {settings.per_class} prompts for "
            f"{name!r} ({agent.ended}); the grammar wrote {growth.by_fallback}"
        )
    return growth


def check_agent(config: Config, *, here: bool = True) -> str:
    """Look that whoever writes the prompts can be asked, without asking; gives who that is.

    Args:
        config: of the run.
        here: whether model, key and transcript have to be on this machine; else only the settings are looked at.

    Raises:
        InputError: a model, an address, a key or a transcript is missing.
    """
    settings = config.experiment.prompts
    language = settings.language
    if not settings.enabled:
        return "none: the class name alone"
    if settings.agent == "instruct":
        model = _named(language.model, "a folder or a hub name")
        if not here:
            return f"the chat model {model}, of a {kind_of_place(model, 'chat model')}"
        return f"the chat model {resolve(model, 'chat model')}"
    if settings.agent == "endpoint":
        _named(language.model, "the name that the server knows")
        check_address(config.execution.endpoint)
        if here:
            key_of(config.execution.endpoint)
        return f"{language.model} at {config.execution.endpoint.url}"
    if settings.agent == "replay":
        transcript = transcript_of(settings)
        for name in novel_names(config) if here else ():
            replayed(settings, name)
        return f"the transcript {transcript}"
    return "the vocabulary's grammar"


def _named(model: str, expected: str) -> str:
    if not model:
        raise InputError(f"experiment.prompts.language.model is empty: give {expected}")
    return model


def _recorded(config: Config, step: Step, unfinished: Path) -> list[Exchange]:
    """Give the longest transcript of the same questions."""
    found = [read_transcript(unfinished, torn=True)] if unfinished.exists() else []
    store = store_of(config)
    for path in sorted((store.root / step.stage).glob(f"{step.shard}-*/{FILE}")):
        record = None if path.parent.suffix == ".partial" else store.read(path.parent)
        if record and record.shard == step.shard and _question(record.recipe) == _question(step.recipe):
            found.append(read_transcript(path))
    return max(found, key=len, default=[])


def _question(recipe: Recipe) -> dict[str, Any]:
    """Leave out of a recipe what the questions do not depend on."""
    return {**recipe, "settings": {k: v for k, v in recipe["settings"].items() if k != "per_class"}}


def _keeper(path: Path, recorded: Sequence[Exchange]) -> Callable[[Exchange], None]:
    """Give what writes every new exchange behind the recorded ones, onto the disk."""
    begun = False

    def keep(exchange: Exchange) -> None:
        nonlocal begun
        path.parent.mkdir(parents=True, exist_ok=True)
        if not begun:
            whole = path.with_suffix(".new")
            whole.write_text("".join(map(line_of, recorded)))
            whole.replace(path)
            begun = True
        with path.open("a") as file:
            file.write(line_of(exchange))
            file.flush()
            os.fsync(file.fileno())

    return keep
