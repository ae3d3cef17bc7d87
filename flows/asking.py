"""Who writes a class's prompts: the grammar, or a language model with its transcript."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows import wiring
from flows.data import novel_names, store_of, vocabulary_of
from flows.steps import Step, replayed
from flows.weights import resolve
from pipeline.config import Config, EndpointSettings
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
    if settings.agent == "grammar":
        return grow_bank(bank, grammar, encoder, name, settings.per_class)
    if settings.agent == "replay":
        recorded = replayed(settings, name)
        model = None
    else:
        recorded = _recorded(config, step, draft.scratch / FILE)
        model = wiring.chat_model_of(config)
    transcript = Transcript(name, recorded, model, _keeper(draft.scratch / FILE, recorded))
    agent = LanguageAgent(vocabulary, name, transcript.ask, experiment.seed, settings.language.requests)
    growth = grow_bank(bank, agent, encoder, name, settings.per_class, fallback=grammar)
    (draft.folder / FILE).write_text("".join(lines_with_outcome(transcript.used, bank)))
    draft.notes = (*draft.notes, FILE)
    draft.counts |= {"requests": len(transcript.used), "by_grammar": growth.by_fallback}
    if growth.by_fallback:
        draft.warnings.append(
            f"the language model wrote {len(growth.prompts) - growth.by_fallback} of {settings.per_class} prompts for "
            f"{name!r} ({agent.ended}); the grammar wrote {growth.by_fallback}"
        )
    return growth


def check_agent(config: Config) -> str:
    """Look that whoever writes the prompts can be asked, without asking; gives who that is.

    Raises:
        InputError: a model, an address, a key or a transcript is missing.
    """
    settings = config.experiment.prompts
    language = settings.language
    if not settings.enabled:
        return "none: the class name alone"
    if settings.agent == "instruct":
        return f"the chat model {resolve(_named(language.model, 'a folder or a hub name'), 'chat model')}"
    if settings.agent == "endpoint":
        _named(language.model, "the name that the server knows")
        check_address(config.execution.endpoint)
        key_of(config.execution.endpoint)
        return f"{language.model} at {config.execution.endpoint.url}"
    if settings.agent == "replay":
        for name in novel_names(config):
            replayed(settings, name)
        return f"the transcript {language.transcript}"
    return "the vocabulary's grammar"


def check_address(settings: EndpointSettings) -> None:
    """Look at an endpoint's address and the name of its key; what may be a key or a password is not repeated.

    Raises:
        InputError: one of them is not as it should be.
    """
    try:
        address = urlsplit(settings.url)
        known = address.scheme in ("http", "https") and bool(address.hostname)
        secret = address.username or address.password or address.query
    except ValueError:
        known = False
    if not known:
        raise InputError("execution.endpoint.url: expected an address such as http://localhost:8000/v1")
    if secret:
        raise InputError(
            "execution.endpoint.url holds a user name, a password or a query, and would be written into every run: "
            "put the key into an environment variable and name that in execution.endpoint.key_variable"
        )
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", settings.key_variable):
        raise InputError(
            "execution.endpoint.key_variable: expected the name of an environment variable, such as OPENAI_API_KEY, "
            "and not the key itself"
        )


def key_of(settings: EndpointSettings) -> str | None:
    """Give an endpoint's key out of the environment; None where it wants none.

    Raises:
        InputError: it is not there.
    """
    if not settings.key_variable:
        return None
    if not (key := os.environ.get(settings.key_variable, "").strip()):
        raise InputError(
            f"the environment variable {settings.key_variable} is not set: it should hold the key of "
            f"{settings.url} (execution.endpoint.key_variable)"
        )
    if not key.isascii() or not key.isprintable():
        raise InputError(f"the environment variable {settings.key_variable} holds no key: it has other characters")
    return key


def _named(model: str, expected: str) -> str:
    if not model:
        raise InputError(f"experiment.prompts.language.model is empty: give {expected}")
    return model


def _recorded(config: Config, step: Step, unfinished: Path) -> list[Exchange]:
    """Give the longest transcript of the same questions."""
    found = [read_transcript(unfinished, torn=True)] if unfinished.exists() else []
    store = store_of(config)
    for path in sorted((store.root / step.stage).glob(f"{step.shard}-*/{FILE}")):
        record = store.read(path.parent)
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
