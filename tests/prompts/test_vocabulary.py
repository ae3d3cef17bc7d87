"""Vocabularies, the grammar agent, and their agreement with the drawn world."""

import pytest

from picto.pen import COLOURS
from picto.scenes import BACKGROUNDS, LOW_CONTRAST, SIZES, caption
from picto.things import FOLD_CLASSES
from pipeline.classes import PASCAL, PICTO
from prompts.agents import GrammarAgent
from prompts.errors import InputError
from prompts.vocabulary import load_vocabulary


def test_picto_words_are_those_of_the_drawn_world() -> None:
    """The generator knows only the words that it was trained on, so both lists must be the same."""
    words = load_vocabulary("picto")
    shared = {a.name: dict(a.values) for a in words.attributes}
    assert tuple(words.classes) == PICTO
    assert {n: list(c.own[0].values) for n, c in words.classes.items()} == {n: list(k) for n, k in FOLD_CLASSES.items()}
    assert shared == {"colour": {c: c for c in COLOURS}, "background": BACKGROUNDS, "size": {s: s for s in SIZES}}
    assert words.forbidden == {frozenset({("colour", c), ("background", b)}) for c, b in LOW_CONTRAST}


def test_picto_sentences_are_the_captions_of_the_drawn_world() -> None:
    """A sentence is letter for letter the caption of the same attributes, whichever are left out."""
    words = load_vocabulary("picto")
    proposals = GrammarAgent(words, 3).propose("umbrella", 10_000)
    assert len(proposals) > 500
    for p in proposals:
        values = {k: p.attributes.get(k) for k in ("kind", "colour", "background", "size")}
        assert p.text == caption("umbrella", **values)
    assert words.sentence("boat", {}) == "a boat"


def test_pascal_has_every_class_and_names_it() -> None:
    """Every class of PASCAL VOC has sentences, and each of them names the class."""
    words = load_vocabulary("pascal")
    assert tuple(words.classes) == PASCAL
    for name in PASCAL:
        for p in GrammarAgent(words, 0).propose(name, 50):
            assert words.names(name, p.text)
            assert not any(odd in p.text for odd in ("{", "}", "  ", " ,"))
    assert words.names("tvmonitor", "a television in a bar")
    assert not words.names("car", "a carpet on the floor")
    assert "an airplane" in words.sentence("aeroplane", {"subject": "single"})


def test_agent_covers_every_value_before_it_repeats_one() -> None:
    """Among the first sentences no value of a colour is said twice more often than another."""
    agent = GrammarAgent(load_vocabulary("picto"), 7)
    for name in PICTO:
        said = [p.attributes for p in agent.propose(name, 120)]
        for attribute in ("colour", "background", "kind", "size"):
            counts = [sum(s.get(attribute) == v for s in said) for v in {s[attribute] for s in said if attribute in s}]
            assert max(counts) - min(counts) <= 3, (name, attribute, counts)
        assert sum(len(s) >= 3 for s in said) > 80


def test_agent_is_deterministic_distinct_and_ends() -> None:
    """The stream is a function of the seed, never repeats, respects forbidden pairs and ends with an empty list."""
    words = load_vocabulary("picto")
    whole = GrammarAgent(words, 0).propose("key", 10_000)
    parts = GrammarAgent(words, 0)
    assert [p.text for p in parts.propose("key", 13) + parts.propose("key", 9_000)] == [p.text for p in whole]
    assert parts.propose("key", 5) == []
    assert len({p.text for p in whole}) == len(whole)
    assert all((p.attributes.get("colour"), p.attributes.get("background")) not in LOW_CONTRAST for p in whole)
    assert [p.text for p in GrammarAgent(words, 1).propose("key", 20)] != [p.text for p in whole[:20]]
    # (8 colours + none) x (8 backgrounds + none) less 16 pairs, x (2 kinds + none) x (2 sizes + none)
    assert len(whole) == (9 * 9 - 16) * 3 * 3


def test_unknown_names_are_told_with_the_nearest() -> None:
    """An unknown class or dataset is one clear sentence."""
    with pytest.raises(InputError, match="did you mean 'boat'"):
        GrammarAgent(load_vocabulary("picto"), 0).propose("baot", 1)
    with pytest.raises(InputError, match="picto"):
        load_vocabulary("ade20k")
