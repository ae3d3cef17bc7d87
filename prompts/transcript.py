"""The transcript of a language model: what it was asked and answered, kept, and played again without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prompts.answers import read_answer
from prompts.bank import PromptBank
from prompts.errors import InputError

Message = dict[str, str]
"""``role`` (system, user, assistant) and ``content``, as chat templates and endpoints take them."""


class ChatModel(Protocol):
    """A language model that follows instructions."""

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        """Answer; the same seed gives the same answer where the model can."""
        ...


@dataclass(frozen=True)
class Exchange:
    """One question about a class, and its answer."""

    name: str
    request: list[Message]
    answer: str


class Transcript:
    """The exchanges about one class: the recorded ones are played first, whatever is asked, then the model answers.

    Args:
        name: the class.
        recorded: exchanges to play.
        model: answers what comes after them; None: nobody does.
        keep: is given every new exchange before it is used, since it may have been paid for.
    """

    def __init__(
        self, name: str, recorded: Sequence[Exchange], model: ChatModel | None, keep: Callable[[Exchange], None]
    ) -> None:
        self._name, self._recorded, self._model, self._keep = name, recorded, model, keep
        self.used: list[Exchange] = []

    def ask(self, request: list[Message], seed: int) -> str | None:
        """Give the next answer, or None where the recorded ones are used up and there is no model."""
        if len(self.used) < len(self._recorded):
            exchange = self._recorded[len(self.used)]
        elif self._model is None:
            return None
        else:
            exchange = Exchange(self._name, request, self._model(request, seed))
            self._keep(exchange)
        self.used.append(exchange)
        return exchange.answer


def read_transcript(path: Path, *, torn: bool = False) -> list[Exchange]:
    """Read the exchanges of a file, in order.

    Args:
        path: JSON Lines with ``class``, ``request`` and ``answer``.
        torn: the last line may be half written, and is left out then.

    Raises:
        InputError: it cannot be read, or a line is no exchange.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the transcript {path}: give a transcript.jsonl or a folder of them") from error
    exchanges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (torn and number == len(lines)):
            continue
        try:
            row = json.loads(line)
            request = [{"role": str(m["role"]), "content": str(m["content"])} for m in row["request"]]
            if not isinstance(row["answer"], str) or not isinstance(row["class"], str):
                raise TypeError
            exchanges.append(Exchange(row["class"], request, row["answer"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"line {number} of the transcript {path} is no exchange: expected JSON with class, request and answer"
            ) from error
    return exchanges


def find_transcript(place: Path, name: str) -> list[Exchange]:
    """Read the exchanges about a class in a file, or in the ``transcript.jsonl`` files of a folder and those in it.

    Of several files about the class the longest is taken, if it goes on from where the others end.

    Raises:
        InputError: there is none, or two contradict each other.
    """
    files = sorted(place.rglob("transcript.jsonl")) if place.is_dir() else [place]
    found = {file: [e for e in read_transcript(file) if e.name == name] for file in files}
    longest = max(found, key=lambda file: len(found[file]), default=None)
    if longest is None or not found[longest]:
        raise InputError(f"no transcript about {name!r} in {place}: give a transcript.jsonl of it or a folder with one")
    for file, exchanges in found.items():
        if exchanges != found[longest][: len(exchanges)]:
            raise InputError(f"{file} and {longest} are two transcripts about {name!r}: name one of them")
    return found[longest]


def line_of(exchange: Exchange) -> str:
    """Give an exchange as a line of a file."""
    return _line({"class": exchange.name, "request": exchange.request, "answer": exchange.answer})


def lines_with_outcome(exchanges: Iterable[Exchange], bank: PromptBank) -> Iterator[str]:
    """Give exchanges as lines of a file, each with its sentences that were accepted, or refused and why.

    Args:
        exchanges: all that the bank grew from at first, in order.
        bank: of one class.
    """
    refusals, waiting = iter(bank.refused), {p.text for p in bank.prompts}
    for exchange in exchanges:
        row: dict[str, Any] = {"class": exchange.name, "request": exchange.request, "answer": exchange.answer}
        answer = read_answer(exchange.answer, exchange.name)
        row |= {"accepted": [], "refused": [], "invalid": answer.invalid}
        for proposal in answer.proposals:
            if proposal.text in waiting:
                waiting.remove(proposal.text)
                row["accepted"].append(proposal.text)
            elif refusal := next(refusals, None):
                row["refused"].append({"sentence": refusal.text, "reason": refusal.reason})
        yield _line(row)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"
