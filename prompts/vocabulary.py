"""The words of a dataset, of ``vocabularies/<dataset>.yaml`` or ``any.yaml``: templates, attributes, classes, pairs.

A template is a list of parts. A part names attributes in braces and is left out of the sentence when one of them is
not said. ``{a}`` is the article of the next word, ``{thing}`` the kind or else the class's own noun, ``{one}`` and
``{many}`` the noun in singular and plural. The words of an attribute may name other attributes too, which are left out
where they are not said. Values may stand in groups, and a forbidden pair may name a group, a list, or "*" for all.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from prompts.errors import InputError
from prompts.form import NOUNS, unknown, wrong_braces, wrong_form

Values = dict[str, str]
"""Attribute -> value, without the attributes that are not said."""

_NONE: frozenset[tuple[str, str]] = frozenset()
_FOLDER = Path(__file__).parent / "vocabularies"


@dataclass(frozen=True)
class Attribute:
    """One thing that a sentence can say.

    Attributes:
        name: such as "colour".
        values: value -> its words in a sentence.
        absent: share of sentences that do not say it, 0..1.
    """

    name: str
    values: Mapping[str, str]
    absent: float = 0.0


@dataclass(frozen=True)
class ClassWords:
    """How a class is called: noun, plural, every word that names it, and attributes that only it has."""

    one: str
    many: str
    named_by: tuple[str, ...]
    own: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """The words of one dataset.

    Attributes:
        dataset: its name.
        templates: each a tuple of parts.
        attributes: what every class's sentences can say.
        classes: class -> its words.
        forbidden: pairs of (attribute, value) that must not meet.
    """

    dataset: str
    templates: tuple[tuple[str, ...], ...]
    attributes: tuple[Attribute, ...]
    classes: Mapping[str, ClassWords]
    forbidden: frozenset[frozenset[tuple[str, str]]] = frozenset()

    def words_of(self, name: str) -> ClassWords:
        """Give the words of a class.

        Raises:
            InputError: the vocabulary has no such class.
        """
        if name not in self.classes:
            nearest = difflib.get_close_matches(name, self.classes, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise InputError(f"the vocabulary {self.dataset} has no class {name!r}{hint}")
        return self.classes[name]

    def attributes_of(self, name: str) -> tuple[Attribute, ...]:
        """Give the attributes that a class's sentences can say: its own, the shared ones, and which template."""
        if name not in self._said:
            own = self.words_of(name).own
            taken = {a.name for a in own}
            shared = [self._sayable(a, own) for a in self.attributes if a.name not in taken]
            template = Attribute("template", {str(i): "" for i in range(len(self.templates))})
            said = (*own, *(a for a in shared if a.values))
            self._said[name] = (*said, template) if len(self.templates) > 1 else said
        return self._said[name]

    @cached_property
    def _said(self) -> dict[str, tuple[Attribute, ...]]:
        return {}

    def allows(self, values: Values) -> bool:
        """Say whether no two of the values are a forbidden pair."""
        items = set(values.items())
        return all(self._foes.get(item, _NONE).isdisjoint(items) for item in items)

    @cached_property
    def _foes(self) -> dict[tuple[str, str], frozenset[tuple[str, str]]]:
        foes: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        for pair in self.forbidden:
            for item in pair:
                foes[item] = foes.get(item, _NONE) | (pair - {item})
        return foes

    def _sayable(self, shared: Attribute, own: Sequence[Attribute]) -> Attribute:
        """Leave out what no sentence of a class can say, such as lamp light where every scene is outdoors."""
        values = {
            value: words for value, words in shared.values.items()
            if all(any(self.allows({shared.name: value, a.name: other}) for other in a.values) for a in own)
        }  # fmt: skip
        return Attribute(shared.name, values, shared.absent)

    def sentence(self, name: str, values: Mapping[str, str]) -> str:
        """Write the sentence for some values; what is not given is not said."""
        words = self.words_of(name)
        spoken = {a.name: a.values[values[a.name]] for a in self.attributes_of(name) if a.name in values}
        nouns = {"one": words.one, "many": words.many, "thing": spoken.get("kind", words.one), "a": "{a}"}
        within = defaultdict(str, spoken | nouns)
        fields = {k: " ".join(v.format_map(within).split()) for k, v in spoken.items()} | nouns
        parts = self.templates[int(values.get("template", "0"))]
        said = [p.format(**fields) for p in parts if all(f in fields for f in re.findall(r"{(\w+)}", p))]
        text = " ".join(part for part in said if part).replace(" ,", ",")
        return re.sub(r"{a} (?=(\w))", lambda m: "an " if m[1].lower() in "aeiou" else "a ", text)

    def names(self, name: str, text: str) -> bool:
        """Say whether a sentence names the class, by its noun, a synonym or a plural, as a word of its own.

        A word that is part of another class's name does not count: a hot dog is no dog.
        """
        if name not in self._patterns:
            mine = self.words_of(name).named_by
            others = {w for n, words in self.classes.items() if n != name for w in words.named_by if w not in mine}
            longer = [w for w in others if any(_found([m], w) for m in mine)]
            self._patterns[name] = re.compile(f"{_any_of(longer)}|({_any_of(mine)})", re.IGNORECASE)
        return any(match[1] for match in self._patterns[name].finditer(text))

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern[str]]:
        return {}


def _any_of(words: Sequence[str]) -> str:
    """Give the pattern of any of some words, with a space or a hyphen between the parts of a word."""
    spelt = "|".join(re.escape(w).replace(r"\ ", r"[\s-]+") for w in sorted(words, key=len, reverse=True))
    return rf"(?<!\w)(?:{spelt})(?!\w|-\w)" if words else r"(?!)"


def _found(words: Sequence[str], text: str) -> bool:
    return re.search(_any_of(words), text, re.IGNORECASE) is not None


def _plural(word: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def load_vocabulary(dataset: str, names: Sequence[str] = ()) -> Vocabulary:
    """Read the vocabulary of a dataset; one without a file has the generic words for ``names``, if there are any.

    Raises:
        InputError: there is none, or its file is not a vocabulary.
    """
    if not (_FOLDER / f"{dataset}.yaml").is_file() and names:
        return own_vocabulary(dataset, names, {})
    return _vocabulary(dataset, _raw(dataset), f"{dataset}.yaml")


def own_vocabulary(dataset: str, names: Sequence[str], words: Mapping[str, Any]) -> Vocabulary:
    """Give the generic vocabulary for some classes, with words of their own above it.

    Args:
        dataset: its name.
        names: classes that need words; without own ones their name is the noun.
        words: in the form of ``vocabularies/*.yaml``, every group optional. ``templates`` replace the generic ones and
            drop its forbidden pairs, an attribute replaces the generic one of its name, ``classes`` and ``forbidden``
            are added.

    Raises:
        InputError: a group, class or attribute is unknown, or of the wrong form.
    """
    if wrong := wrong_form(words):
        raise InputError("; ".join(wrong))
    raw = _raw("any")
    if "templates" in words:
        raw |= {"attributes": {}, "forbidden": []}
    given = {group: told for group, told in words.items() if told}
    raw["attributes"] |= given.pop("attributes", {})
    raw["forbidden"] = [*raw["forbidden"], *given.pop("forbidden", [])]
    own = given.pop("classes", {})
    raw |= {**given, "classes": {name: own.get(name, {}) for name in names}}
    wrong = unknown("class", own, names)
    for name, entry in own.items():
        wrong += unknown(f"words of {name!r}:", entry, [*raw["attributes"], *NOUNS])
    for pair in words.get("forbidden") or []:
        wrong += unknown("attribute of a forbidden pair:", pair, raw["attributes"])
    if wrong:
        raise InputError("; ".join(wrong))
    return _vocabulary(dataset, raw, "the words")


def _raw(dataset: str) -> dict[str, Any]:
    path = _FOLDER / f"{dataset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.yaml")))
        raise InputError(f"there is no prompt vocabulary for {dataset!r}: the known ones are {known}")
    try:
        raw = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        if "words" not in raw:
            return raw
        source = _raw(raw["words"])
        names = raw.get("classes") or {name: name for name in source["classes"]}
        classes = {name: {"one": other, **source["classes"][other]} for name, other in names.items()}
        return {**source, "classes": classes}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.name} is not a vocabulary ({error}): compare it with picto.yaml") from error


def _vocabulary(dataset: str, raw: Mapping[str, Any], where: str) -> Vocabulary:
    try:
        vocabulary = _parse(dataset, raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where} is not a vocabulary ({error}): compare it with picto.yaml") from error
    if wrong := wrong_braces(vocabulary, raw["attributes"]):
        raise InputError("; ".join(f"{where}, {sentence}" for sentence in wrong))
    return vocabulary


def _parse(dataset: str, raw: Mapping[str, Any]) -> Vocabulary:
    said = raw["attributes"]
    absent = {name: float(entry.get("absent", 0)) for name, entry in said.items()}
    shared = tuple(_attribute(n, entry["values"], absent[n]) for n, entry in said.items() if "values" in entry)
    classes = {}
    for name, entry in raw["classes"].items():
        one = entry.get("one", name)
        many = entry.get("many", one + "s")
        names = [one, name, *entry.get("also", [])]
        named_by = dict.fromkeys([one, many, *names[1:], *(_plural(word) for word in names)])
        own = tuple(_attribute(a, entry[a], share) for a, share in absent.items() if a in entry)
        classes[name] = ClassWords(one, many, tuple(named_by), own)
    values: _Groups = {}
    for part in ({n: e["values"] for n, e in said.items() if "values" in e}, *raw["classes"].values()):
        for attribute in absent:
            for group, value in _grouped((part or {}).get(attribute, [])):
                values.setdefault(attribute, {}).setdefault(group, {})[value] = None
                values[attribute].setdefault("*", {})[value] = None
    forbidden = frozenset(pair for entry in raw.get("forbidden", []) for pair in _pairs(entry, values))
    return Vocabulary(dataset, tuple(tuple(t) for t in raw["templates"]), shared, classes, forbidden)


_Groups = dict[str, dict[str, dict[str, None]]]
"""Attribute -> group -> its values, of all classes together; each value is a group too, and "*" holds all."""


def _grouped(values: Mapping[str, Any] | list[str]) -> Iterator[tuple[str, str]]:
    """Give each value of an attribute with every group that it is in."""
    for key, entry in values.items() if isinstance(values, Mapping) else ((v, v) for v in values):
        for value in entry if isinstance(entry, list) else [key]:
            yield key, value
            yield value, value


def _pairs(entry: Mapping[str, Any], groups: _Groups) -> Iterator[frozenset[tuple[str, str]]]:
    sides = []
    for name, told in entry.items():
        named = told if isinstance(told, list) else [told]
        sides.append([(name, value) for one in named for value in groups.get(name, {}).get(one, [one])])
    if len(sides) != 2:
        raise ValueError(f"the forbidden {dict(entry)} is no pair")
    yield from (frozenset(pair) for pair in itertools.product(*sides))


def _attribute(name: str, values: Mapping[str, Any] | list[str], absent: float) -> Attribute:
    if isinstance(values, Mapping):
        listed = any(isinstance(entry, list) for entry in values.values())
        return Attribute(name, {v: v for _, v in _grouped(values)} if listed else dict(values), absent)
    return Attribute(name, {v: v for v in values}, absent)
