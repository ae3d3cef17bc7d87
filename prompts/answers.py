"""What a language model answers: one JSON object a line, read with patience for chatter and none for wrong objects."""

from __future__ import annotations

import json
import re
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from prompts.agents import Proposal

LONGEST = 60
"""Words of a sentence: CLIP reads 77 tokens and cuts the rest off."""
MOST = 64
"""Sentences of an answer; what comes after them is not looked at."""

_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class _Line(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    sentence: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    attributes: dict[_Short, _Short] = {}


class Answer(NamedTuple):
    """The sentences of an answer, and why each other part of it was none."""

    proposals: list[Proposal]
    invalid: list[str]


def read_answer(text: str, name: str) -> Answer:
    """Read every JSON object ``{"sentence": ..., "attributes": {...}}`` of an answer.

    Objects may stand alone, in a list or over several lines; code fences, numbering, words around them and a model's
    thoughts in ``<think>`` are passed over. An answer without any object counts as one invalid part.

    Args:
        text: the answer.
        name: the class that was asked for.
    """
    text = _THOUGHTS.sub("", text)
    decoder, at = json.JSONDecoder(), 0
    proposals: list[Proposal] = []
    invalid: list[str] = []
    while len(proposals) < MOST and (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
            line = _Line.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            invalid.append(f"{'.'.join(map(str, first['loc'])) or 'the object'}: {first['msg']}")
            continue
        except (ValueError, RecursionError):
            invalid.append("no JSON object in one line")
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
            continue
        sentence = " ".join(line.sentence.split())
        if reason := _objection(sentence):
            invalid.append(reason)
        else:
            proposals.append(Proposal(sentence, name, line.attributes))
    if not proposals and not invalid:
        invalid.append("no JSON object in the answer")
    return Answer(proposals, invalid)


def _objection(sentence: str) -> str | None:
    if not sentence.isprintable():
        return "a sentence has characters that cannot be printed"
    if len(sentence.split()) > LONGEST:
        return f"a sentence has more than {LONGEST} words"
    return None
