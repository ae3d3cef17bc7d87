"""The agent that asks a language model: what it asks, how it reads answers, when it stops; and its transcript."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts import language
from prompts.agents import GrammarAgent
from prompts.answers import MOST, read_answer
from prompts.bank import PromptBank
from prompts.build import Growth, grow_bank
from prompts.errors import InputError
from prompts.language import WINDOW, LanguageAgent
from prompts.transcript import (
    Exchange,
    Message,
    Transcript,
    find_transcript,
    line_of,
    lines_with_outcome,
    read_transcript,
)
from prompts.vocabulary import load_vocabulary

WORDS = load_vocabulary("pascal")
PLACES = ("lake", "sea", "river", "harbour", "canal", "pond", "fjord", "bay", "quay", "beach")


def directions(sentences: Sequence[str]) -> np.ndarray:
    """A text encoder in which every sentence has its own direction, and those about the same place nearly the same."""
    vectors = np.zeros((len(sentences), 2 * len(PLACES)), np.float32)
    for row, sentence in zip(vectors, sentences, strict=True):
        place = next((i for i, word in enumerate(PLACES) if word in sentence), len(PLACES) - 1)
        row[place], row[len(PLACES) + place] = 1, 0.01 * len(sentence)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def told(*sentences: str) -> str:
    """An answer with some sentences, as a well-behaved model gives it."""
    return "\n".join(json.dumps({"sentence": s, "attributes": {"scene": s.split()[-1]}}) for s in sentences)


class Scripted:
    """A chat model that gives the listed answers in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.requests, self.seeds = answers, list[str](), list[int]()

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        """Answer."""
        self.requests.append(messages[-1]["content"])
        self.seeds.append(seed)
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


Grown = tuple[Growth, PromptBank, Transcript, LanguageAgent]


def grown(wanted: int, model: Scripted | None, recorded: Sequence[Exchange] = (), requests: int = 50) -> Grown:
    """Grow a bank of boats."""
    bank, kept = PromptBank(WORDS, 0.9), list[Exchange]()
    transcript = Transcript("boat", recorded, model, kept.append)
    agent = LanguageAgent(WORDS, "boat", transcript.ask, 7, requests)
    growth = grow_bank(bank, agent, directions, "boat", wanted, fallback=GrammarAgent(WORDS, 0))
    assert kept == transcript.used[len(recorded) :]
    return growth, bank, transcript, agent


def test_answers_are_read_with_patience() -> None:
    """Fences, numbering, lists, chatter, thoughts and several lines an object are passed over; attributes are kept."""
    text = """<think>maybe {"sentence": "a thought"}</think>Sure! Here they are:
```json
1. {"sentence": " a  boat on\\na lake ", "attributes": {"scene": "lake", "count": 1}},
[{"sentence": "two boats", "attributes": {}}, {"sentence": "a red boat"}]
{
  "sentence": "a boat at a pier"
}
```
Anything else?"""
    answer = read_answer(text, "boat")
    assert [p.text for p in answer.proposals] == ["a boat on a lake", "two boats", "a red boat", "a boat at a pier"]
    assert answer.proposals[0].attributes == {"scene": "lake", "count": "1"}
    assert answer.invalid == []


def test_what_is_not_valid_is_refused_and_counted() -> None:
    """Broken JSON, missing sentences, wrong types, control characters and very long sentences each have a reason."""
    lines = ['{"sentence": "a boat"', '{"text": "a boat"}', '{"sentence": 3, "attributes": ["x"]}', '{"sentence": ""}',
             '{"sentence": "a \\u0007boat"}', json.dumps({"sentence": "boat " * 61}), '{"sentence": "a fine boat"}']
    answer = read_answer("\n".join(lines), "boat")
    assert [p.text for p in answer.proposals] == ["a fine boat"]
    assert len(answer.invalid) == 6
    assert "no JSON object" in answer.invalid[0]
    assert "more than 60 words" in answer.invalid[-1]
    assert read_answer("I cannot help with that.", "boat").invalid == ["no JSON object in the answer"]
    assert len(read_answer("", "boat").invalid) == len(read_answer('{"a":' * 100_000, "boat").invalid) == 1
    assert len(read_answer('{"sentence": "a boat"}\n' * (MOST + 9), "boat").proposals) == MOST


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from('{}[]",:\n\\ abu0d8sentence'), max_size=200))
def test_no_answer_breaks_the_reader(text: str) -> None:
    """Whatever comes, there are sentences or reasons, and every sentence can be written down."""
    answer = read_answer(text, "boat")
    assert answer.proposals or answer.invalid
    assert all(p.text.encode() for p in answer.proposals)


def test_requests_name_what_is_near_what_was_refused_and_what_is_rare() -> None:
    """The second request tells of the kept sentences, of refusals with reasons, and of parts that were no JSON."""
    model = Scripted(
        told("a boat on a lake", "a small boat on a lake", "a car at the sea") + "\n{broken",
        told(*(f"a boat on a {place}" for place in PLACES)),
    )
    growth, bank, transcript, _ = grown(5, model)
    assert [p.text for p in growth.prompts][:2] == ["a boat on a lake", "a boat on a sea"]
    first, second = model.requests
    assert "boat" in first
    assert "Already there" not in first
    assert "- a boat on a lake" in second
    assert "a small boat on a lake: too similar" in second
    assert "a car at the sea: it does not name the class boat" in second
    assert "- 1 x no JSON object in one line" in second
    assert "- scene: " in second
    assert model.seeds[0] != model.seeds[1]
    rows = [json.loads(line) for line in lines_with_outcome(transcript.used, bank)]
    assert rows[0]["accepted"] == ["a boat on a lake"]
    assert [r["sentence"] for r in rows[0]["refused"]] == ["a small boat on a lake", "a car at the sea"]
    assert rows[0]["invalid"] == ["no JSON object in one line"]
    assert rows[1]["refused"][0]["sentence"] == "a boat on a lake"
    assert rows[0]["request"][-1]["content"] == first


@pytest.mark.parametrize(("model", "requests", "why"), [
    (Scripted("no idea"), 50, f"0 of the {WINDOW} sentences of its last {WINDOW} answers"),
    (Scripted(told("a boat on a lake")), 50, f"0 of the {WINDOW} sentences"),
    (Scripted(told("a boat on a lake")), 2, "2 requests are the limit"),
])  # fmt: skip
def test_garbage_and_repeats_end_the_agent_and_the_grammar_goes_on(model: Scripted, requests: int, why: str) -> None:
    """An agent with nothing new to say is left after a few answers, and the grammar fills the bank."""
    growth, _, transcript, agent = grown(4, model, requests=requests)
    assert agent.ended is not None
    assert why in agent.ended
    assert len(growth.prompts) == 4
    assert growth.by_fallback == (4 if model.answers == ("no idea",) else 3)
    assert len(transcript.used) <= WINDOW + 1


def test_replay_needs_no_model_and_more_only_appends(tmp_path: Path) -> None:
    """A transcript gives the same bank; asked for more, it is played first, and the smaller bank is a prefix."""
    def model(*more: str) -> Scripted:
        return Scripted(told("a boat on a lake", "a boat at the sea"), "nothing", told("a boat on a river", *more))

    small, bank, transcript, _ = grown(3, model())
    file = tmp_path / "transcript.jsonl"
    file.write_text("".join(lines_with_outcome(transcript.used, bank)))
    recorded = find_transcript(tmp_path, "boat")
    assert recorded == transcript.used
    again, replayed, played, _ = grown(3, None, recorded)
    assert again.prompts == small.prompts
    assert again.offered == small.offered
    assert replayed.refused == bank.refused
    assert "".join(lines_with_outcome(played.used, replayed)) == file.read_text()

    later = Scripted(told("a boat in a harbour"), told("a boat on a pond"))
    large, _, longer, _ = grown(5, later, recorded)
    assert large.prompts[:3] == small.prompts
    assert longer.used[:3] == recorded
    assert len(later.requests) == 2
    short, _, _, agent = grown(4, None, recorded)
    assert short.by_fallback == 1
    assert agent.ended == "the transcript ended after 3 answers"


def test_transcripts_are_found_and_checked(tmp_path: Path) -> None:
    """The longest of several is taken when the others begin it; a torn last line is left out; mistakes are told."""
    one, two = (Exchange(name, [{"role": "user", "content": "?"}], "é\u2028") for name in ("boat", "car"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "transcript.jsonl").write_text(line_of(one))
    (tmp_path / "transcript.jsonl").write_text(line_of(one) + line_of(two) + line_of(one))
    assert find_transcript(tmp_path, "boat") == [one, one]
    assert find_transcript(tmp_path / "transcript.jsonl", "car") == [two]
    (tmp_path / "a" / "transcript.jsonl").write_text(line_of(Exchange("boat", [], "other")))
    check: list[tuple[Callable[[], object], str]] = [
        (lambda: find_transcript(tmp_path, "boat"), "are two transcripts about 'boat': name one"),
        (lambda: find_transcript(tmp_path, "cup"), "no transcript about 'cup'"),
        (lambda: find_transcript(tmp_path / "none", "cup"), "cannot read the transcript"),
    ]
    (tmp_path / "torn").write_text(line_of(one) + line_of(one)[:-9])
    assert read_transcript(tmp_path / "torn", torn=True) == [one]
    check.append((lambda: read_transcript(tmp_path / "torn"), "line 2 of the transcript"))
    for look, message in check:
        with pytest.raises(InputError, match=message):
            look()


def test_an_agent_is_for_one_class() -> None:
    """Its stop rules count one class's answers, so another class is a bad call."""
    with pytest.raises(ValueError, match="agent for 'boat'"):
        LanguageAgent(WORDS, "boat", lambda *_: None, 0, 1).propose("car", 1, [], [])


def test_requests_change_only_with_the_version() -> None:
    """When a request of picto's first class changes, raise prompts.language.VERSION, then pin the new hash."""
    requests: list[list[Message]] = []

    def ask(request: list[Message], seed: int) -> str:
        requests.append([*request, {"role": "seed", "content": str(seed)}])
        return told("a boat at sunset", "a red boat at sunset", "a car") + "{"

    bank, agent = PromptBank(load_vocabulary("picto"), 0.9), LanguageAgent(load_vocabulary("picto"), "boat", ask, 0, 2)
    grow_bank(bank, agent, directions, "boat", 2, fallback=GrammarAgent(load_vocabulary("picto"), 0))
    digest = hashlib.sha256(json.dumps(requests).encode()).hexdigest()[:16]
    assert (language.VERSION, len(requests), digest) == (1, 2, "eb89f8b4dd0d225e")
