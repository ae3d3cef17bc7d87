"""Who proposes prompts, and who turns them into vectors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from prompts.vocabulary import Values, Vocabulary

if TYPE_CHECKING:
    from prompts.bank import Prompt, Refusal

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Proposal:
    """A sentence that an agent suggests for a class, with the attributes that it was made of."""

    text: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class PromptAgent(Protocol):
    """Writes sentences about a class."""

    def propose(
        self, name: str, wanted: int, kept: Sequence[Prompt], refused: Sequence[Refusal]
    ) -> list[Proposal]:
        """Propose further sentences; none means that it has no more.

        Args:
            name: the class.
            wanted: most sentences to propose.
            kept: all accepted so far.
            refused: what of the last proposals was refused, each with its reason and the kept one it was nearest to.
        """
        ...


class TextEncoder(Protocol):
    """Puts sentences into the generator's own text space."""

    def __call__(self, sentences: Sequence[str]) -> Vectors:
        """Give one unit vector a sentence, float32 (N, C)."""
        ...


class GrammarAgent:
    """Fills a vocabulary's templates; needs no network and no language model.

    Attributes are dealt like cards: the values of one attribute are shuffled into a deck and every value is dealt
    before the deck is shuffled anew, each attribute on its own (as in Latin hypercube sampling, LHS). A value that
    is forbidden beside those already dealt waits for the next sentence. No combination comes twice.

    Args:
        vocabulary: words of the dataset.
        seed: of the shuffles; every class has its own stream.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self._vocabulary = vocabulary
        self._seed = seed
        self._streams: dict[str, Iterator[Proposal]] = {}

    def propose(
        self, name: str, wanted: int, kept: Sequence[Prompt] = (), refused: Sequence[Refusal] = ()
    ) -> list[Proposal]:
        """Give the next ``wanted`` sentences of the class, fewer where the grammar ends, whatever became of others."""
        if name not in self._streams:
            self._streams[name] = self._stream(name)
        return list(itertools.islice(self._streams[name], wanted))

    def _stream(self, name: str) -> Iterator[Proposal]:
        words = self._vocabulary
        digest = hashlib.sha256(f"{self._seed}/{words.dataset}/{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        decks = {a.name: _Deck(list(a.values), rng) for a in words.attributes_of(name)}
        blanks = {a.name: _Deck(_share_of_blanks(a.absent), rng) for a in words.attributes_of(name)}
        seen: set[str] = set()
        idle = 0
        while idle < 200:  # so many repeats in a row: hardly any combination is left, the rest is listed below
            values: Values = {}
            for attribute, deck in decks.items():
                if blanks[attribute].deal() == "":
                    continue
                dealt = deck.deal(self._fits(values, attribute))
                if dealt is not None:
                    values[attribute] = dealt
            text = words.sentence(name, values)
            idle = idle + 1 if text in seen else 0
            if text not in seen:
                seen.add(text)
                yield Proposal(text, name, values)
            elif idle % 4:  # a repeat does not use up its values; now and then it must, to get out of a circle
                for attribute, value in values.items():
                    decks[attribute].take_back(value)
        for values in self._rest(name, rng):
            text = words.sentence(name, values)
            if text not in seen:
                seen.add(text)
                yield Proposal(text, name, values)

    def _fits(self, values: Values, attribute: str) -> Callable[[str], bool]:
        return lambda value: self._vocabulary.allows({**values, attribute: value})

    def _rest(self, name: str, rng: np.random.Generator) -> Iterator[Values]:
        """List every combination, each attribute's values in a shuffled order."""
        choices = []
        for attribute in self._vocabulary.attributes_of(name):
            options = [*attribute.values, *([""] if attribute.absent else [])]
            choices.append([(attribute.name, options[i]) for i in rng.permutation(len(options))])
        for combination in itertools.product(*choices):
            values = {attribute: value for attribute, value in combination if value}
            if self._vocabulary.allows(values):
                yield values


class _Deck:
    """Deals every card once before it is shuffled anew; a card that does not suit stays on top."""

    def __init__(self, cards: Sequence[str], rng: np.random.Generator) -> None:
        self._cards = list(cards)
        self._rng = rng
        self._left: list[str] = []

    def deal(self, suits: Callable[[str], bool] = lambda card: True) -> str | None:
        """Deal the first card for which ``suits(card)`` holds, or None where no card suits."""
        if not any(suits(card) for card in self._left):
            if not any(suits(card) for card in self._cards):
                return None
            self._left += [self._cards[i] for i in self._rng.permutation(len(self._cards))]
        return self._left.pop(next(i for i, card in enumerate(self._left) if suits(card)))

    def take_back(self, card: str) -> None:
        """Put a card under the deck."""
        self._left.append(card)


def _share_of_blanks(absent: float, cards: int = 20) -> list[str]:
    blanks = round(absent * cards)
    return [""] * blanks + ["said"] * (cards - blanks)
