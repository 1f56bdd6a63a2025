"""The strings of a JSON body (RFC 8259), each with the bytes it stands in and its JSON pointer (RFC 6901).

A body is not parsed into values here: what is asked is *where* a string is. The bytes must be valid JSON in UTF-8; that
has been checked before (``openai.request``). Nothing here recurses, and all work is linear in the body.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate, count
from operator import add
from typing import Final, NamedTuple

MAX_NAME: Final = 200
"""Characters of a member's name that a pointer shows. A hostile name of megabytes is not repeated in each finding."""

_PIECE: Final = 1 << 15  # bytes that are split at once, so that the pieces do not fill the memory
_SHORT: Final = 64  # bytes
_MANY: Final = 4096  # entries
_PASSES: Final = 64

_VALUES: Final = b"0123456789+-.eE" + b"truefalsn" + b" \t\r\n"  # numbers, true, false, null; white space
_EMPTY: Final = re.compile(rb"\[,*+\]|\{\}")  # without its values: a container that holds no string
_RUN: Final = re.compile(rb",++|[][{}]")

# How one comes from one string to the next; a positive number is that many commas.
_ENTER_ARRAY, _ENTER_OBJECT, _LEAVE = -1, -2, -3
_MOVES: Final = {
    ord("["): _ENTER_ARRAY,
    ord("{"): _ENTER_OBJECT,
    ord("]"): _LEAVE,
    ord("}"): _LEAVE,
}
_TO_VALUE: Final = (0,)  # the colon


class Raw(NamedTuple):
    """The content of a string as it stands in the body, ``body[start:end]``: escapes untouched, without its quotes."""

    start: int
    end: int


class Places:
    """The strings of one body, values and names of members alike, numbered from 0 in the order of their places.

    Making one finds the quotes only; the first question about structure (``is_name``, ``name_of``, ``pointer``) walks
    the body once.

    A redacted body has the same strings in the same order, so number ``n`` is the same place in both. Ask the
    *redacted* body for pointers: names of members are part of them, and a name may hold a credential.
    """

    __slots__ = ("_body", "_quotes", "_structure")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._quotes = _quotes(body)
        self._structure: Structure | None = None

    def __len__(self) -> int:
        """How many strings there are."""
        return len(self._quotes) // 2

    def at(self, offset: int) -> int | None:
        """The number of the string whose content, or closing quote, stands at ``body[offset]``."""
        quote = bisect_left(self._quotes, offset) - 1  # the last one before the offset
        return quote // 2 if quote >= 0 and quote % 2 == 0 else None

    def raw(self, number: int) -> Raw:
        """Where the content of string ``number`` stands."""
        return Raw(self._quotes[2 * number] + 1, self._quotes[2 * number + 1])

    def is_name(self, number: int) -> bool:
        """Whether it is the name of an object's member, not a value."""
        return self.structure.steps[number] == number and self._in_object(number)

    def name_of(self, number: int) -> str | None:
        """The name of the member whose value it is (or that it is itself); ``None`` for an array's element."""
        return self.text(self.structure.steps[number]) if self._in_object(number) else None

    def text(self, number: int) -> str:
        """What string ``number`` says."""
        start, end = self.raw(number)
        return _unescaped(self._body[start:end])

    def pointer(self, number: int) -> str:
        """Its JSON pointer; that of the member, where it is a name.

        Names over ``MAX_NAME`` characters are cut, with ``…`` in place of the rest. Takes as many steps as it lies
        deep.
        """
        structure = self.structure
        tokens: list[str] = []
        within, step = structure.owners[number], structure.steps[number]
        while within:
            tokens.append(self._token(step) if structure.objects[within] else str(step))
            within, step = structure.parents[within], structure.places[within]
        return "".join("/" + token for token in reversed(tokens))

    @property
    def structure(self) -> Structure:
        """What holds what; found at the first question."""
        if self._structure is None:
            self._structure = _structure(self._body, self._quotes)
        return self._structure

    def _in_object(self, number: int) -> bool:
        return bool(self.structure.objects[self.structure.owners[number]])

    def _token(self, number: int) -> str:
        start, end = self.raw(number)
        # A character is at most twelve bytes (two escapes); what is cut there may end in half an escape.
        name = _unescaped(self._body[start : min(end, start + 12 * (MAX_NAME + 1))])
        if len(name) > MAX_NAME:
            name = name[:MAX_NAME] + "…"
        return name.replace("~", "~0").replace("/", "~1")


class Structure(NamedTuple):
    """The objects and arrays of a body, numbered from 1 in order of place; 0 is what holds the body's one value.

    A *step* is where something stands in its container: the index in an array, the number of the name's string in an
    object.
    """

    owners: array[int]  # of each string: the container it is in
    steps: array[int]  # of each string: its step there
    parents: array[int]  # of each container: the one it is in
    places: array[int]  # of each container: its step there
    objects: bytearray  # of each container: whether it is an object


def _quotes(body: bytes) -> array[int]:
    """Offsets of all quotes that begin or end a string.

    Escapes are blanked out: in a run of backslashes, the first is always the beginning of an escape, so they pair off
    from the left, and a quote after an odd one is content. Then every quote left is one.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    found = array("I")
    at = 0
    while True:
        last = body.rfind(b'"', at, at + _PIECE)
        if last < 0:
            last = body.find(b'"', at)
            if last < 0:
                return found
        lengths = map(len, body[at:last].split(b'"'))
        found.extend(map(add, accumulate(lengths), count(at)))
        at = last + 1


def _structure(body: bytes, quotes: array[int]) -> Structure:
    """Walk from string to string; what matters is between them, and mostly the same few bytes."""
    owners, steps, parents, places = array("I"), array("I"), array("I", [0]), array("I", [0])
    objects = bytearray(1)
    known: dict[bytes, tuple[int, ...]] = {}
    before = within = step = 0
    is_object = 0
    ends = iter(quotes)
    for number, start in enumerate(ends):
        gap = body[before:start]
        moves = known.get(gap)
        if moves is None:
            moves = _moves(gap) if len(gap) > _SHORT else _short_moves(gap)
            if len(gap) <= _SHORT and len(known) < _MANY:
                known[gap] = moves
        if moves != _TO_VALUE:
            for move in moves:
                if move > 0:
                    step += move  # commas; where they are an object's, the step is set below
                elif move == _LEAVE:
                    step = places[within]
                    within = parents[within]
                else:
                    parents.append(within)
                    places.append(step)
                    objects.append(move == _ENTER_OBJECT)
                    within, step = len(objects) - 1, 0
            is_object = objects[within]
            if is_object and move:
                step = number
        owners.append(within)
        steps.append(step)
        before = next(ends) + 1
    return Structure(owners, steps, parents, places, objects)


def _moves(gap: bytes) -> tuple[int, ...]:
    """What leads from one string to the next: commas (how many), brackets, and a colon at the end (``0``).

    Containers that hold no string are left out, the innermost ones first: the depth of a body is bounded
    (``openai.request``), so are the passes.
    """
    marks = gap.translate(None, _VALUES)
    for _ in range(_PASSES if len(marks) > _SHORT else 0):
        marks, fewer = _EMPTY.subn(b"", marks)
        if not fewer:
            break
    moves = [_MOVES.get(run[0]) or len(run) for run in _RUN.findall(marks)]
    return (*moves, 0) if marks.endswith(b":") else tuple(moves)


_short_moves: Final = lru_cache(_MANY)(_moves)  # what bodies have in common; there are no strings in it


def _unescaped(raw: bytes) -> str:
    """What the content of a string says. Half an escape at its end is dropped; a lone surrogate is ``\\ufffd``."""
    text = raw.decode("utf-8", "replace")
    if "\\" not in text:
        return text
    whole = re.sub(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9A-Fa-f]{0,3})?\Z", r"\1", text)
    said = str(json.loads(f'"{whole}"', strict=False))
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
