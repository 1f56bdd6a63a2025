"""YAML for people: a document as block YAML with comments above the parts they explain.

What is short goes on one line; what is long and stands in the document twice is written once (anchor and alias, YAML
1.2 section 3.2.2), and so is each comment. Reading it back gives the same document, which the tests hold.
Deliberately not here: parsing, and any style but this one.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any as Json
from typing import Final

import yaml

_WIDTH: Final = 116
_MANY: Final = 24
"""Values that never fit on one line."""
_SHARED_SIZE: Final = 200
"""Characters that a repeated part must have to be worth an anchor."""

Notes = Mapping[str, str]
"""Comments by path. A path is keys joined by ``/``; an element of a list goes by its ``name``, else by its index. It
matches a place whose path ends with it, and is said at the first of them."""


def dump(document: dict[str, Json], notes: Notes, *, head: str = "") -> str:
    """The document as YAML text. ``head`` and notes are wrapped; an empty line in them stays one."""
    writer = _Writer(document, notes)
    lines = [*_comment(head, ""), *([""] if head else []), *writer.mapping(document, "", "")]
    return "\n".join(lines) + "\n"


def unused(documents: list[dict[str, Json]], notes: Notes) -> set[str]:
    """The paths of ``notes`` that match nothing in any of the documents."""
    there = {path for document in documents for path in _paths(document, "")}
    return {note for note in notes if not any(_ends(path, note) for path in there)}


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """On one line nothing is an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class _Writer:
    def __init__(self, document: dict[str, Json], notes: Notes) -> None:
        self._notes = dict(notes)  # those that are still to be said
        self._shared = _repeated(document)
        self._anchors: dict[str, str] = {}

    def mapping(self, value: dict[str, Json], path: str, indent: str) -> Iterator[str]:
        for key, inner in value.items():
            here = f"{path}/{key}"
            yield from self._say(here, indent)
            yield from self._entry(f"{indent}{_flow(key)}:", inner, here, indent + "  ")

    def _sequence(self, value: list[Json], path: str, indent: str) -> Iterator[str]:
        for number, inner in enumerate(value):
            here = f"{path}/{_name(inner, number)}"
            yield from self._say(here, indent)
            if isinstance(inner, dict) and self._opens(inner, here, len(indent) + 2):
                lines = self.mapping(inner, here, indent + "  ")
                first = next(lines)
                while first.lstrip().startswith("#"):  # a note on the first key goes above the dash
                    yield indent + first.lstrip()
                    first = next(lines)
                yield f"{indent}- {first[len(indent) + 2 :]}"
                yield from lines
            else:
                yield from self._entry(f"{indent}-", inner, here, indent + "  ")

    def _entry(self, head: str, value: Json, path: str, indent: str) -> Iterator[str]:
        if _is_text(value):
            yield f"{head} |"
            yield from (f"{indent}{line}".rstrip() for line in value.splitlines())
            return
        if not self._is_block(value, path, len(head) + 1):
            yield f"{head} {_flow(value)}"
            return
        text = _flow(value)
        if text in self._anchors:
            yield f"{head} *{self._anchors[text]}"
            return
        if text in self._shared:
            self._anchors[text] = f"same{len(self._anchors) + 1}"
            head += f" &{self._anchors[text]}"
        yield head
        if isinstance(value, dict):
            yield from self.mapping(value, path, indent)
        else:
            yield from self._sequence(value, path, indent)

    def _opens(self, value: dict[str, Json], path: str, column: int) -> bool:
        """Whether an element's first key stands beside its dash: not where there is an anchor to be named."""
        return self._is_block(value, path, column) and _flow(value) not in self._shared

    def _is_block(self, value: Json, path: str, column: int) -> bool:
        if not isinstance(value, dict | list) or not value:
            return False
        if len(list(islice(_leaves(value), _MANY))) == _MANY:  # spares looking at the text of whole listeners
            return True
        noted = any(self._note(each) for each in _paths(value, path))
        return noted or column + len(_flow(value)) > _WIDTH

    def _say(self, path: str, indent: str) -> list[str]:
        note = self._note(path)
        return _comment(self._notes.pop(note), indent) if note else []

    def _note(self, path: str) -> str:
        return next((note for note in self._notes if _ends(path, note)), "")


def _ends(path: str, note: str) -> bool:
    return path == f"/{note}" or path.endswith(f"/{note}")


def _is_text(value: Json) -> bool:
    """Lines that stand as they are in a literal block (YAML 1.2 section 8.1.2)."""
    if not isinstance(value, str) or "\n" not in value[:-1] or not value.endswith("\n"):
        return False
    lines = value.removesuffix("\n").split("\n")
    return all(line.isprintable() and line == line.rstrip() for line in lines) and all(
        (lines[0], lines[-1], not lines[0].startswith(" "))
    )


def _name(value: Json, number: int) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else str(number)


def _paths(value: Json, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        pairs = [(f"{path}/{key}", inner) for key, inner in value.items()]
    elif isinstance(value, list):
        pairs = [(f"{path}/{_name(inner, number)}", inner) for number, inner in enumerate(value)]
    else:
        return
    for here, inner in pairs:
        yield here
        yield from _paths(inner, here)


def _repeated(document: Json) -> set[str]:
    """The text of every large part that is written more than once, other than inside of another such part."""
    seen: Counter[str] = Counter()

    def look(value: Json) -> None:
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list) and len(text := _flow(inner)) >= _SHARED_SIZE:
                seen[text] += 1
                if seen[text] == 1:
                    look(inner)

    look(document)
    return {text for text, times in seen.items() if times > 1}


def _leaves(value: Json) -> Iterator[Json]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def _flow(value: Json) -> str:
    return _flow_of(json.dumps(value))


@lru_cache(maxsize=10_000)
def _flow_of(document: str) -> str:
    """The same parts are asked for again and again, and PyYAML is slow."""
    text: str = yaml.dump(
        json.loads(document),
        Dumper=_Plain,
        default_flow_style=True,
        sort_keys=False,
        width=1_000_000,
        allow_unicode=True,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, indent: str) -> list[str]:
    lines = []
    for paragraph in text.strip().splitlines() if text else []:
        wrapped = textwrap.wrap(paragraph, _WIDTH - len(indent) - 2) or [""]
        lines += [f"{indent}# {line}".rstrip() for line in wrapped]
    return lines
