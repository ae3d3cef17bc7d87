"""Vocabularies, the grammar agent, and their agreement with the drawn world."""

import re
from typing import Any

import pytest

from picto.pen import COLOURS
from picto.scenes import BACKGROUNDS, LOW_CONTRAST, SIZES, caption
from picto.things import FOLD_CLASSES
from pipeline.classes import COCO, PASCAL, PICTO
from prompts.agents import GrammarAgent
from prompts.errors import InputError
from prompts.vocabulary import load_vocabulary, own_vocabulary


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


@pytest.mark.parametrize(("dataset", "names"), [("pascal", PASCAL), ("coco", COCO)])
def test_published_classes_have_words_of_their_own(dataset: str, names: tuple[str, ...]) -> None:
    """Of each class's first 200 sentences no two are equal, all name it, and no value is said thrice as often."""
    words = load_vocabulary(dataset)
    assert tuple(words.classes) == names
    for name in names:
        proposals = GrammarAgent(words, 0).propose(name, 200)
        assert len({p.text for p in proposals}) == 200
        for p in proposals:
            assert words.names(name, p.text)
            assert words.allows(p.attributes)
            assert not any(odd in p.text for odd in ("{", "}", "  ", " ,"))
            assert len(p.text.split()) < 45
        assert {"look", "pose", "scene", "beside"} <= {a.name for a in words.words_of(name).own}
        for attribute in words.attributes_of(name):
            counts = [sum(p.attributes.get(attribute.name) == v for p in proposals) for v in attribute.values]
            assert 0 < max(counts) <= 3 * min(counts), (name, attribute.name, counts)


def test_both_years_of_coco_have_the_same_words() -> None:
    """The data sets differ in their pictures alone."""
    assert load_vocabulary("coco2017").classes == load_vocabulary("coco").classes


def test_scenes_and_weather_fit() -> None:
    """It neither rains indoors nor do aeroplanes fly in a hangar; groups of values are forbidden as a whole."""
    words = load_vocabulary("pascal")
    assert not words.allows({"scene": "in a kitchen", "weather": "in the rain"})
    assert not words.allows({"scene": "in a hangar", "pose": "flying"})
    assert words.allows({"scene": "over the sea", "pose": "flying", "weather": "in the rain"})
    lights = {a.name: a.values for a in words.attributes_of("aeroplane")}["light"]
    assert "warm lamp light" in lights  # there is a hangar
    sign = {a.name: a.values for a in load_vocabulary("coco").attributes_of("stop sign")}
    assert "warm lamp light" not in sign["light"]
    assert "in fog" in sign["weather"]
    assert "weather" not in {a.name for a in words.attributes_of("tvmonitor")}


def test_a_class_is_named_by_whole_words() -> None:
    """Synonyms and plurals in any spelling count; parts of words and of other classes' names do not."""
    pascal, coco = load_vocabulary("pascal"), load_vocabulary("coco")
    assert "an airplane" in pascal.sentence("aeroplane", {"subject": "single"})
    for name, text in [("tvmonitor", "a television in a bar"), ("aeroplane", "Two JETS over the sea"),
                       ("pottedplant", "three potted-plants on a desk"), ("person", "the children's table")]:
        assert pascal.names(name, text)
    for name, text in [("car", "a carpet on the floor"), ("cat", "a cat-shaped cushion"), ("bus", "a busy street")]:
        assert not pascal.names(name, text)
    for name, text in [("dog", "a hot dog on a plate"), ("bear", "two teddy bears on a bed")]:
        assert not coco.names(name, text)
    assert coco.names("dog", "a dog eats a hot dog")
    assert coco.names("knife", "two knives on a board")
    assert coco.names("mouse", "a mouse beside a keyboard")


def test_groups_and_pairs_are_checked() -> None:
    """A forbidden entry that is no pair is told in a sentence; lists and groups multiply out."""
    words = {"attributes": {"pose": {"values": {"high": ["up", "over"], "low": ["down"]}}},
             "forbidden": [{"pose": "high", "weather": "*"}, {"pose": ["down"], "light": "overcast light"}]}
    vocabulary = own_vocabulary("mine", ["mole"], words)
    assert not vocabulary.allows({"pose": "over", "weather": "in fog"})
    assert vocabulary.allows({"pose": "down", "weather": "in fog"})
    assert not vocabulary.allows({"pose": "down", "light": "overcast light"})
    with pytest.raises(InputError, match="is no pair"):
        own_vocabulary("mine", ["mole"], {"forbidden": [{"pose": "x"}]})


WRONG = [
    ({"classes": {"mole": {"scene": "on grass"}}}, "classes.mole.scene: got 'on grass', expected a list such as [on"),
    ({"classes": {"mole": {"scene": ["in a room", 1950]}}}, "classes.mole.scene: got 1950, expected a list"),
    ({"classes": {"mole": {"pose": {"up": ["flying", None]}}}}, "classes.mole.pose: got None, expected a list"),
    ({"classes": {"mole": {"also": "digger"}}}, "classes.mole.also: got 'digger', expected a list such as [toadstool]"),
    ({"classes": {"mole": {"one": True}}}, "classes.mole.one: got True, expected a noun"),
    ({"classes": {"mole": {"many": "{moles"}}}, "classes.mole.many: got '{moles', expected a noun, without braces"),
    ({"classes": {"mole": {"also": [" "]}}}, "classes.mole.also: got ' ', expected a list"),
    ({"classes": {"mole": None}}, "classes.mole: got None, expected its words"),
    ({"classes": ["mole"]}, "classes: got ['mole'], expected names, each with its words"),
    ({"classes": {7: {}}}, "unknown class 7: expected one of mole"),
    ({"attributes": "colour"}, "attributes: got 'colour', expected names"),
    ({"attributes": {"pose": ["up", "down"]}}, "attributes.pose: got ['up', 'down'], expected {values: [red, blue]"),
    ({"attributes": {"pose": {"values": "up"}}}, "attributes.pose.values: got 'up', expected a list"),
    ({"attributes": {"pose": {"value": ["up"]}}}, "attributes.pose: got {'value': ['up']}, expected {values:"),
    ({"attributes": {"pose": {"absent": 20}}}, "attributes.pose.absent: got 20, expected a number from 0 to 1"),
    ({"attributes": {"template": {"absent": 0.2}}}, "got 'template', expected a name that is none of a, also, many"),
    ({"templates": []}, "templates: got [], expected a list of templates"),
    ({"templates": "{a} {thing}"}, "templates: got '{a} {thing}', expected a list of templates"),
    ({"templates": ["{a} {thing}"]}, "templates: got ['{a} {thing}'], expected a list of templates"),
    ({"templates": [[]]}, "templates: got [[]], expected a list of templates"),
    ({"templates": [["{thing}"], ["{a} {thing}", "with {nothing}"]]}, "template 2: got 'with {nothing}', expected no"),
    ({"templates": [["{thing}", "{}"]]}, "template 1: got '{}', expected no braces but {a}, {one}, {many}, {thing}"),
    ({"classes": {"mole": {"pose": ["100% {cotton"]}}}, "mole.pose: got '100% {cotton', expected no braces but {a},"),
    ({"classes": {"mole": {"kind": ["big {one}"]}}}, "mole.kind: got 'big {one}', expected no braces but {a}"),
    ({"attributes": {"light": {"values": {"dim": "{thing!r}"}}}}, "words, light: got '{thing!r}', expected no braces"),
    ({"forbidden": {"pose": "x", "light": "y"}}, "forbidden: got {'light': 'y', 'pose': 'x'}, expected a list of"),
    ({"forbidden": [{"pose": 3, "light": "y"}]}, "forbidden: got {'light': 'y', 'pose': 3}, expected a list of"),
    ({"forbidden": [{"poses": "x", "light": "y"}]}, "attribute of a forbidden pair: 'poses'"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_words_of_the_wrong_form_are_told(words: dict[str, Any], sentence: str) -> None:
    """What would be split into letters, or fail when a sentence is written, is told in a sentence before."""
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        own_vocabulary("mine", ["mole"], words)
    assert "\n" not in str(error.value)


def test_every_mistake_in_the_words_is_told() -> None:
    """Two lists that are none are both named."""
    with pytest.raises(InputError, match=r"mole\.also: .*; .*mole\.scene: "):
        own_vocabulary("mine", ["mole"], {"classes": {"mole": {"also": "x", "scene": "y"}}})


def test_an_attribute_that_a_class_lacks_is_left_out() -> None:
    """Words may name any attribute; where a class has no values of it, nothing stands in its place."""
    words: dict[str, Any] = {
        "templates": [["{a} {look} {thing}", "{place}"], ["{place}", ", {subject}"]],
        "attributes": {"look": {"absent": 0.5}, "place": {"values": ["in {a} {look} field"]},
                       "subject": {"values": {"single": "{a} {look} {one}"}}},
        "classes": {"owl": {"look": ["white"]}},
    }  # fmt: skip
    agent = GrammarAgent(own_vocabulary("mine", ["mole", "owl"], words), 0)
    assert {p.text for p in agent.propose("mole", 9)} == {"in a field", "in a field, a mole"}
    assert "in a white field, a white owl" in {p.text for p in agent.propose("owl", 99)}


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
