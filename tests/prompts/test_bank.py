"""The bank's rule of acceptance and its growth."""

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts import bank as bank_module
from prompts.agents import GrammarAgent, Proposal
from prompts.bank import PromptBank
from prompts.build import class_prompt, grow_bank
from prompts.errors import InputError
from prompts.vocabulary import load_vocabulary

WORDS = load_vocabulary("picto")


def bag_of_words(sentences: Sequence[str]) -> np.ndarray:
    """A small honest text encoder: the sum of a fixed random vector of every word, as a unit vector."""
    def vector(word: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(word.encode())).normal(size=32)

    rows = np.array([np.sum([vector(w) for w in s.split()], axis=0) for s in sentences])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def boats(count: int) -> list[Proposal]:
    return [Proposal(f"a boat number {i}", "boat") for i in range(count)]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 90), limit=st.floats(-0.5, 0.99), block=st.integers(1, 40),
    large=st.sampled_from([0, 100, 10**9]),
)  # fmt: skip
def test_every_accepted_pair_is_below_the_limit(seed: int, count: int, limit: float, block: int, large: int) -> None:
    """Accepted pairs stay below the limit, and a plain loop accepts the same, whichever way the products are taken."""
    vectors = np.random.default_rng(seed).normal(size=(count, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors.flags.writeable = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bank_module, "_BLOCK", block)
        patch.setattr(bank_module, "_LARGE", large)
        bank = PromptBank(WORDS, limit)
        bank.offer(boats(count), vectors)
    expected: list[int] = []
    for i in range(count):
        if not expected or max(float(vectors[i] @ vectors[j]) for j in expected) < limit:
            expected.append(i)
    kept = [int(p.text.split()[-1]) for p in bank.prompts]
    assert kept == expected
    gram = vectors[kept] @ vectors[kept].T - 2 * np.eye(len(kept))
    assert gram.max() < limit + 1e-6
    assert len(bank.prompts) + len(bank.refused) == count


def test_similarity_and_the_nearest_are_recorded() -> None:
    """The first prompt has similarity -1; a refusal names the accepted sentence that it was nearest to."""
    bank = PromptBank(WORDS, 0.9)
    bank.offer(boats(3), np.array([[1, 0], [0, 1], [0.1, 0.995]], np.float32))
    assert [p.similarity for p in bank.prompts] == [-1, 0]
    refusal, = bank.refused
    assert refusal.nearest == "a boat number 1"
    assert refusal.similarity == pytest.approx(0.995, abs=1e-3)
    assert "0.9" in refusal.reason


def test_duplicates_and_sentences_without_the_class_are_refused() -> None:
    """A repeated sentence and one that does not name the class are refused with their own reason."""
    bank = PromptBank(WORDS, 1.0)
    proposals = [Proposal("a boat", "boat"), Proposal("a boat", "boat"), Proposal("a red car", "boat")]
    bank.offer(proposals, np.eye(3, dtype=np.float32))
    assert [p.text for p in bank.prompts] == ["a boat"]
    assert "same sentence" in bank.refused[0].reason
    assert "does not name the class boat" in bank.refused[1].reason


def test_a_bank_refuses_vectors_that_do_not_fit() -> None:
    """A wrong number of vectors, vectors that are no unit vectors and mixed classes are bad calls."""
    bank = PromptBank(WORDS, 0.9)
    with pytest.raises(ValueError, match="shape"):
        bank.offer(boats(2), np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match="length 1"):
        bank.offer(boats(2), 2 * np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match="one class"):
        bank.offer([Proposal("a boat", "boat"), Proposal("a car", "car")], np.eye(2, dtype=np.float32))


def test_asking_for_more_only_appends() -> None:
    """A bank grown to 60 begins with the bank grown to 20, in one go or in two."""
    def grown(*wanted: int) -> list[str]:
        bank, agent = PromptBank(WORDS, 0.93), GrammarAgent(WORDS, 0)
        for count in wanted:
            prompts = grow_bank(bank, agent, bag_of_words, "boat", count).prompts
        return [p.text for p in prompts]

    assert len(grown(20)) == 20
    assert grown(60)[:20] == grown(20)
    assert grown(20, 60) == grown(60)


def test_a_bank_that_cannot_be_filled_says_what_to_do() -> None:
    """With at least half of the wanted prompts there is a warning, with fewer an error, both with the figures."""
    bank = PromptBank(WORDS, 0.5)
    count = len(grow_bank(bank, GrammarAgent(WORDS, 0), bag_of_words, "boat", 1, budget=5000).prompts)
    assert count == 1
    agent = GrammarAgent(WORDS, 0)
    agent.propose("boat", 64)
    with pytest.raises(InputError, match=r"of 500 wanted, after \d+ proposals: raise prompts.max_similarity"):
        grow_bank(bank, agent, bag_of_words, "boat", 500)
    found = len(bank.of("boat"))
    growth = grow_bank(bank, agent, bag_of_words, "boat", found + 1)
    assert growth.warning is not None
    assert len(growth.prompts) == found


def test_a_poor_stream_is_given_up_early() -> None:
    """An agent that repeats itself is stopped after some blocks, long before the budget."""
    class Parrot:
        def propose(self, name: str, wanted: int, *told: object) -> list[Proposal]:
            return [Proposal(f"a {name}", name)] * wanted

    with pytest.raises(InputError, match="after 320 proposals"):
        grow_bank(PromptBank(WORDS, 0.9), Parrot(), bag_of_words, "boat", 10, budget=10**6, patience=4)


def test_the_class_prompt_is_the_plain_name() -> None:
    """Without a bank the prompt is the class name with its article."""
    assert class_prompt(WORDS, "umbrella").text == "an umbrella"
