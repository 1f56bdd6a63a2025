r"""Whether anything can come of a place that the engine names, by the raw bytes right behind it: asked before a region
is made of them, which takes fifty times as long.

An answer may be yes without need, never no: what may hide something (percent signs, ``\u``, bytes outside of ASCII)
lets everything go on, and so does the end of what is looked at. Specs: RFC 8259 for escapes; ``canonical`` for what
joining lines takes out. Deliberately knows no format, and undoes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

Follows = Callable[[bytes, int], bool]
"""``follows(body, to)``: whether something can come of the match that ends at ``to``."""

Begins = tuple[bytes, bytes]
"""Characters, and how a run of them must begin (``Detector.begins``)."""

_SEEN: Final = 200
"""Bytes that are looked at. A run that is longer may begin with anything."""

# Groups are repeated greedily here, never possessively: CPython before 3.11.5 is wrong about where those end. They are
# made so that they have nothing to give back.
# This is of what joining lines takes out, in JSON or not.
_BETWEEN: Final = rb"(?:[ \t\r\n>|]|\\++(?:[nrt]|(?![nrtu])))"
_UNSURE: Final = rb"[%\x80-\xff]|\\++u|\Z"
_BREAK: Final = rb"(?:[ \t]|\\++t?)*(?:(?<=\\)[nr]|[\r\n])(?:[ \t>|]|\\++t)*"
_TAKEN_OUT: Final = re.compile(_BETWEEN + b"+")
_GOES_ON: Final = re.compile(_BETWEEN + b"*(?:" + _UNSURE + b")")
"""Behind a run: what follows hides something, or was not read."""


@cache
def rest_follows(rests: frozenset[bytes]) -> Follows:
    """Asks for one of ``rests``, second halves of anchors, behind a match that ends with a line end's first byte.

    There are a hundred such questions, of which a process asks a few: each is compiled when it is asked first.
    """

    @cache
    def found() -> re.Pattern[bytes]:
        return re.compile(_then(map(_rest, sorted(rests))))

    return lambda body, to: found().match(body, to - 1, to + _SEEN) is not None


def run_follows(begins: Iterable[Begins]) -> Follows:
    """Asks for a run of one of these behind an anchor, on its line and the next ones."""
    asked = [(_run(characters), re.compile(beginning)) for characters, beginning in sorted(set(begins))]

    def follows(body: bytes, to: int) -> bool:
        for run, beginning in asked:
            seen = run.match(body, to, to + _SEEN)
            if seen is None or _GOES_ON.match(body, seen.end(), to + _SEEN):
                return True
            if beginning.match(_TAKEN_OUT.sub(b"", seen[0])):
                return True
        return False

    return follows


def either(one: Follows | None, other: Follows | None) -> Follows | None:
    """Asks both, where something can come of a match in two ways; ``None`` where it can in any case."""
    if one is other or one is None or other is None:
        return one and other
    return lambda body, to: one(body, to) or other(body, to)


def _rest(rest: bytes) -> bytes:
    """Its characters, with anything between them that joining lines takes out."""
    expression = re.escape(rest[-1:])
    for at in range(len(rest) - 2, -1, -1):
        expression = re.escape(rest[at : at + 1]) + _then([expression])
    return expression


def _then(expressions: Iterable[bytes]) -> bytes:
    """One of ``expressions`` in the same line or a later one, or what may hide it."""
    return _BETWEEN + b"*(?:" + b"|".join((*expressions, _UNSURE)) + b")"


def _run(characters: bytes) -> re.Pattern[bytes]:
    """A run over lines."""
    line = characters + b"*+"
    return re.compile(line + b"(?:" + _BREAK + line + b")*")
