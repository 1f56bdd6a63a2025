"""Texts that stand in several pieces: neighbouring text parts of a ``content`` array, which the model reads as one.

A run is what stands in one array, part beside part. A part that is not text ends it, and so does the end of the
message. What a text part is, is taken broadly (``text`` of whatever type, ``refusal``, bare strings as vLLM takes
them): what is made of a part is the provider's choice. Arrays by other names (``input`` of embeddings, ``stop``)
hold texts that nobody joins. Where a part has a member twice, the last one counts, as for nearly all parsers.
Source: OpenAI API reference, chat completions (2026): ``messages[].content[]``, ``prediction.content[]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sovereign_ext.scanner.hints import ARRAY, ESCAPED, Hints
from sovereign_ext.scanner.places import Places, Raw

_NAMES: Final = frozenset({"type", "text", "refusal"})

_ARRAY: Final = rb'"content"\s*+:\s*+\['
_COLON: Final = re.compile(rb"\s*+:")
_TEXT: Final = re.compile(rb'"text"\s*+:')
_REFUSAL: Final = re.compile(rb'"refusal"\s*+:\s*+"')
_TEXT_FIRST: Final = re.compile(
    _ARRAY + rb'\s*+\{\s*+(?:"type"\s*+:\s*+"[a-z_]*+"\s*+,\s*+)?"(?:text"\s*+:|refusal"\s*+:\s*+")'
)
_OTHERS: Final = rb"[][\s,0-9a-zE.+-]*+"  # elements that are no strings and no objects
_BARE_FIRST: Final = re.compile(_ARRAY + _OTHERS + rb'"')
_BARE_LATER: Final = re.compile(rb"\}" + _OTHERS + rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"\s*+[],]', re.DOTALL)


def may_have_runs(body: bytes, hints: Hints) -> bool:
    """Whether ``text_runs`` could find any: nearly always by ``hints`` alone, else by a few searches. Never wrong when
    it says no.

    No is the answer also where each array has one text, its first part: clients write whole conversations so.
    """
    if any(_COLON.match(body, end) for end in hints.get(ESCAPED, ())):
        return True
    if ARRAY not in hints:
        return False
    texts = len(_TEXT.findall(body)) + len(_REFUSAL.findall(body))
    if texts > 1 and texts != len(_TEXT_FIRST.findall(body)):
        return True
    return bool(_BARE_FIRST.search(body) or _BARE_LATER.search(body))


def text_runs(places: Places) -> list[tuple[Raw, ...]]:
    """For each run of two or more neighbouring text parts the contents of their strings, in order.

    A run's strings may be empty; they belong to it all the same. Raw bytes: escapes are not undone.
    """
    runs = []
    for texts in _texts(places):
        run: list[Raw] = []
        before = -1
        for index, number in texts.items():
            if index != before + 1:
                runs.append(tuple(run))
                run = []
            run.append(places.raw(number))
            before = index
        runs.append(tuple(run))
    return [run for run in runs if len(run) > 1]


def _texts(places: Places) -> Iterator[dict[int, int]]:
    """For each ``content`` array the numbers of its texts, by their index in it, in order."""
    owners, steps, parents, indices, objects = places.structure
    arrays: dict[int, dict[int, int]] = {}
    parts: dict[int, dict[str, int]] = {}
    for container, parent in enumerate(parents):
        if objects[container]:
            if parent in arrays:
                parts[container] = {}
        elif objects[parent] and places.text(indices[container]) == "content":
            arrays[container] = {}
    if not arrays:
        return
    for number, owner in enumerate(owners):
        if owner in parts:
            name = steps[number]
            if name != number and (said := places.text(name)) in _NAMES:
                parts[owner][said] = number
                text = _text(places, parts[owner])
                if text is not None:
                    arrays[parents[owner]][indices[owner]] = text
        elif owner in arrays:
            arrays[owner][steps[number]] = number
    yield from arrays.values()


def _text(places: Places, members: dict[str, int]) -> int | None:
    """The string that is the part's text: the one that its type says, or the only one it has."""
    kind = members.get("type")
    if kind is not None and places.text(kind) == "refusal" and "refusal" in members:
        return members["refusal"]
    return members.get("text", members.get("refusal"))
