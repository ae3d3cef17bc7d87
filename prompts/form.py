"""Whether words that somebody wrote have the form of ``vocabularies/*.yaml``; a sentence for each mistake."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompts.vocabulary import Vocabulary

NOUNS = ("one", "many", "also")
"""What a class can have beside the words of its attributes."""

_GROUPS = ("templates", "attributes", "classes", "forbidden")
_FIELDS = ("a", "one", "many", "thing")
_TAKEN = sorted({*_FIELDS, *NOUNS, "template"})
_FIELD = re.compile(r"{(\w+)}")
_QUOTED = "a number, yes or no needs quotes"
_LIST = f"a list such as [on the grass, at night]; {_QUOTED}"
_Odd = Iterator[tuple[str, object, str]]
"""Where something stands, what stands there and what was expected."""


def wrong_form(words: Mapping[str, Any]) -> list[str]:
    """Tell what has another form than in ``vocabularies/*.yaml``; every group is optional."""
    wrong = [f"{where}: got {reprlib.repr(odd)}, expected {form}" for where, odd, form in _odd(words)]
    return unknown("words", words, _GROUPS) + wrong


def unknown(what: str, found: Collection[object], known: Collection[str]) -> list[str]:
    """Tell which names are not known, each with the nearest that is."""
    wrong = []
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            wrong.append(f"unknown {what} {name!r}: expected one of {', '.join(known)}{hint}")
    return wrong


def wrong_braces(vocabulary: Vocabulary, attributes: Collection[str]) -> list[str]:
    """Tell which texts have braces that name nothing; ``attributes`` are the names of all that there are."""
    said = [(a.name, a) for a in vocabulary.attributes]
    said += [(f"{name}.{a.name}", a) for name, words in vocabulary.classes.items() for a in words.own]
    within = {"kind"} | {name for _, a in said for text in a.values.values() for name in _FIELD.findall(text)}
    known = (*_FIELDS, *attributes)
    texts = [(f"template {n}", t, known) for n, parts in enumerate(vocabulary.templates, start=1) for t in parts]
    for where, a in said:  # what stands within other words is put there as it is
        texts += [(where, text, ("a",) if a.name in within else known) for text in a.values.values()]
    return [
        f"{where}: got {text!r}, expected no braces but {', '.join(f'{{{name}}}' for name in names)}"
        for where, text, names in texts
        if not set(_FIELD.findall(text)) <= {*names} or re.search("[{}]", _FIELD.sub("", text))
    ]


def _odd(words: Mapping[str, Any]) -> _Odd:
    templates = words.get("templates", [["{thing}"]])
    if not isinstance(templates, list) or not templates or not all(t and not [*_no_texts(t)] for t in templates):
        yield "templates", templates, 'a list of templates, each a list of parts: [["{a} {thing}", "{scene}"]]'
    for group, look in (("attributes", _odd_attribute), ("classes", _odd_class)):
        entries = words.get(group) or {}
        if isinstance(entries, Mapping):
            for name, entry in entries.items():
                yield from look(f"{group}.{name}", name, entry)
        else:
            yield group, entries, "names, each with its words"
    forbidden = words.get("forbidden") or []
    for entry in forbidden if isinstance(forbidden, list) else [None]:
        if not isinstance(entry, Mapping) or [*_no_values(entry)]:
            yield "forbidden", entry or forbidden, f"a list of pairs: [{{scene: indoors, light: dusk}}]; {_QUOTED}"


def _odd_attribute(where: str, name: object, entry: object) -> _Odd:
    if not isinstance(name, str) or name in _TAKEN:
        yield where, name, f"a name that is none of {', '.join(_TAKEN)}; {_QUOTED}"
    if not isinstance(entry, Mapping) or not {*entry} <= {"values", "absent"}:
        yield where, entry, "{values: [red, blue], absent: 0.2}, or one of both"
        return
    absent = entry.get("absent", 0)
    if not isinstance(absent, int | float) or not 0 <= absent <= 1:
        yield f"{where}.absent", absent, "a number from 0 to 1"
    for odd in _no_values(entry.get("values", [])):
        yield f"{where}.values", odd, _LIST


def _odd_class(where: str, _: object, entry: object) -> _Odd:
    if not isinstance(entry, Mapping):
        yield where, entry, "its words, such as {scene: [on the grass, at night]}"
        return
    for key, value in entry.items():
        if key not in NOUNS:
            yield from ((f"{where}.{key}", odd, _LIST) for odd in _no_values(value))
            continue
        nouns, form = (value, "a list such as [toadstool]") if key == "also" else ([value], "a noun")
        odd = [*_no_texts(nouns)] or [noun for noun in nouns if not noun.strip() or re.search("[{}]", noun)]
        yield from ((f"{where}.{key}", noun, f"{form}, without braces; {_QUOTED}") for noun in odd)


def _no_values(values: object) -> Iterator[object]:
    """Give what is no text in the values of an attribute: a list, or names with words or with lists."""
    if not isinstance(values, Mapping):
        yield from _no_texts(values)
        return
    for key, entry in values.items():
        yield from _no_texts([key])
        yield from _no_texts(entry if isinstance(entry, list) else [entry])


def _no_texts(texts: object) -> Iterator[object]:
    """Give what is no text in a list of texts, or the whole where it is no list."""
    yield from (text for text in texts if not isinstance(text, str)) if isinstance(texts, list) else [texts]
