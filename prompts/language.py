"""The agent that lets a language model write: it asks, reads, tells the model what was refused, and knows when to stop.

Source: Syn4Seg, HDIG (an agent that sees what was accepted and refused); requests and stop rules are ours.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Sequence

from prompts.agents import Proposal
from prompts.answers import read_answer
from prompts.bank import Prompt, Refusal
from prompts.transcript import Message
from prompts.vocabulary import Vocabulary

VERSION = 1
"""Of the requests and of how answers are read; raised when the same model would be asked or understood otherwise."""

ASKED = 20
"""Sentences that a request asks for; fixed, so that requests do not depend on how many are wanted."""
WINDOW, LEAST = 4, 0.05
"""The agent stops when the last so many answers together had less than this share of accepted sentences."""
NEAR, RARE, TOLD = 10, 3, 5
"""How many kept sentences, values of an attribute and refused sentences a request names."""

_TASK = (
    "You write prompts for a text-to-image model. The pictures train a segmentation model, so the thing that is asked "
    "for must be clearly visible in each, and no two pictures should look alike. You answer with JSON Lines only."
)


class LanguageAgent:
    """Asks a language model for the sentences of one class; a `PromptAgent`.

    A request depends only on the class, the seed and what became of earlier answers, never on how many sentences are
    wanted. A bank for which more are wanted therefore begins with the smaller one, as long as the answers are the same.

    Args:
        vocabulary: words of the data set: how the class is called, and what sentences can say.
        name: the class.
        ask: takes messages and a seed, gives the answer, or None where there are no more answers.
        seed: of the run.
        requests: most questions.
    """

    def __init__(
        self, vocabulary: Vocabulary, name: str, ask: Callable[[list[Message], int], str | None], seed: int,
        requests: int,
    ) -> None:  # fmt: skip
        self._vocabulary, self._name, self._ask = vocabulary, name, ask
        self._seed, self._requests = seed, requests
        self._asked = self._kept = self._offered = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._invalid: list[str] = []
        self.ended: str | None = None
        """Why it has no more to say, or None."""

    def propose(
        self, name: str, wanted: int, kept: Sequence[Prompt], refused: Sequence[Refusal]
    ) -> list[Proposal]:
        """Give the sentences of the next answer that has any; none when the agent has ended, see `ended`."""
        if name != self._name:
            raise ValueError(f"an agent for {self._name!r} was asked about {name!r}")
        while self._goes_on(len(kept)):
            request = self._request(kept, refused)
            answer = self._ask(request, _seed_of(self._seed, name, self._asked))
            if answer is None:
                self.ended = f"the transcript ended after {self._asked} answers"
                break
            self._asked += 1
            proposals, self._invalid = read_answer(answer, name)
            self._offered = len(proposals) + len(self._invalid)
            if proposals:
                return proposals[:wanted]
            refused = ()
        return []

    def _goes_on(self, kept: int) -> bool:
        """Note what became of the last answer, and say whether to ask once more."""
        if self._offered:
            self._recent.append((kept - self._kept, self._offered))
        self._kept, self._offered = kept, 0
        accepted, offered = (sum(column) for column in zip(*self._recent, strict=True)) if self._recent else (0, 0)
        if len(self._recent) == WINDOW and accepted < LEAST * offered:
            self.ended = f"{accepted} of the {offered} sentences of its last {WINDOW} answers were new and valid"
        elif self._asked >= self._requests:
            self.ended = f"{self._asked} requests are the limit"
        return self.ended is None

    def _request(self, kept: Sequence[Prompt], refused: Sequence[Refusal]) -> list[Message]:
        words, attributes = self._vocabulary.words_of(self._name), self._vocabulary.attributes_of(self._name)
        said = [a for a in attributes if any(a.values.values())]
        lines = [
            _TASK,
            f"Write {ASKED} prompts for pictures of this: {words.one}.",
            f"Each must call it by one of these names, early in the sentence: {', '.join(words.named_by)}.",
            "Each is one plain English sentence of at most 40 words, and differs from all others in what is seen: "
            "number, pose, place, companions, view, light, weather.",
            'Answer with one JSON object a line and nothing else: {"sentence": "...", "attributes": {...}}. Attributes '
            f"repeat what the sentence says, as far as it does, by the keys {', '.join(a.name for a in said)}.",
        ]
        counts = Counter((key, value.lower()) for prompt in kept for key, value in prompt.attributes.items())
        lines.append("Hardly said so far, use some of it:")
        for attribute in said:
            rare = sorted(attribute.values, key=lambda value: counts[attribute.name, value.lower()])[:RARE]
            lines.append(f"- {attribute.name}: {'; '.join(rare)}")
        if kept:
            lines.append("Already there; nothing that means nearly the same:")
            lines += [f"- {text}" for text in _near(kept, refused)]
        if refused or self._invalid:
            lines.append("Refused of your last answer:")
            lines += [f"- {refusal.text}: {refusal.reason}" for refusal in refused[:TOLD]]
            lines += [f"- {count} x {reason}" for reason, count in Counter(self._invalid).most_common(TOLD)]
        return [{"role": "user", "content": "\n".join(lines)}]  # many chat templates refuse the role "system"


def _near(kept: Sequence[Prompt], refused: Sequence[Refusal]) -> list[str]:
    """Choose the kept sentences that refused ones were nearest to, most often first, then the newest."""
    nearest = [text for text, _ in Counter(r.nearest for r in refused if r.nearest).most_common()]
    return list(dict.fromkeys([*nearest, *(p.text for p in reversed(kept[-NEAR:]))]))[:NEAR]


def _seed_of(seed: int, name: str, number: int) -> int:
    """Give the seed of an answer, 31 bits as every library takes them."""
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
