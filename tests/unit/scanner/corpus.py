"""Requests with secrets in them, and what must come out: the redacted body byte by byte, each finding's place.

A request is a tree of JSON values in which a ``Leaf`` stands for a string (or a member's name) that is put together
from pieces: text, and secrets as they are written there. Rendering walks the tree once in the order of its bytes,
writes the body and the redacted body side by side, counts the secrets and keeps their pointers: what is expected
comes from how the request was made, never from looking for anything. Deliberately knows nothing of the scanner.

Text may hold *escape characters*, which become JSON escapes on writing: ``escaped`` makes them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_LOWER, _UPPER, _OUTER, _SOLIDUS = 0xE000, 0xE100, 0xE200, 0xE300
SHOWN: Final = 200
"""Characters of a member's name in a pointer; of longer ones the rest is cut."""

_RAW: Final = re.compile("[\ue000-\ue17f\ue300]")
_RAW_OUTER: Final = re.compile("[\ue200-\ue27f]")


@dataclass(frozen=True, slots=True)
class Planted:
    """A secret in a text, or a part of it."""

    kind: str
    secret: bytes
    """In canonical form, whole."""
    text: str
    """As it is written here."""
    first: bool = True
    """Whether the replacement goes here; the other parts are cut out."""


Piece = str | Planted


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string: ``wrap`` makes it of the pieces' text (base64, for instance)."""

    pieces: tuple[Piece, ...]
    wrap: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Nested:
    """A string that holds JSON, such as a tool call's arguments."""

    value: Any


@dataclass(frozen=True, slots=True)
class Expected:
    """A finding that must be reported, in the order of places."""

    kind: str
    number: int
    pointer: str
    length: int


@dataclass(frozen=True, slots=True)
class Case:
    """A body and what must become of it."""

    name: str
    body: bytes
    redacted: bytes
    findings: tuple[Expected, ...]
    secrets: tuple[bytes, ...]
    """In canonical form."""
    also: Case | None = None
    """The same body, where nothing in it tells whether the last line of the secret is one, and the line stays."""


@dataclass(slots=True)
class _Walk:
    numbers: dict[str, dict[bytes, int]] = field(default_factory=dict)
    found: list[Expected] = field(default_factory=list)

    def marker(self, planted: Planted, pointer: str) -> str:
        if not planted.first:
            return ""
        numbers = self.numbers.setdefault(planted.kind, {})
        number = numbers.setdefault(planted.secret, len(numbers) + 1)
        self.found.append(Expected(planted.kind, number, pointer, len(planted.secret)))
        return f"[REDACTED:{planted.kind}:{number}]"


Style = Mapping[str, Any]
STYLES: Final[tuple[Style, ...]] = (
    {"ensure_ascii": False},
    {"ensure_ascii": True},
    {"ensure_ascii": False, "separators": (",", ":")},
    {"ensure_ascii": True, "separators": (",", ":")},
    {"ensure_ascii": False, "indent": 2},
)
"""Arguments of ``json.dumps``: how clients write."""


def case(name: str, value: Any, style: Style = STYLES[0]) -> Case:
    """Write the request ``value`` with its secrets, and as it must be redacted."""
    walk = _Walk()
    before, after = _render(value, "", walk)
    secrets = dict.fromkeys(secret for numbers in walk.numbers.values() for secret in numbers)
    return Case(name, _body(before, style), _body(after, style), tuple(walk.found), tuple(secrets))


def _render(value: Any, pointer: str, walk: _Walk) -> tuple[Any, Any]:
    match value:
        case dict():
            return _members(value, pointer, walk)
        case list():
            pairs = [_render(each, _below(pointer, str(index)), walk) for index, each in enumerate(value)]
            return [before for before, _ in pairs], [after for _, after in pairs]
        case Leaf():
            return _leaf(value, pointer, walk)
        case Nested():
            # A finding in JSON inside a string is at the string: a pointer does not go further.
            before, after = _render(value.value, _Within(pointer), walk)
            return write_json(before), write_json(after)
        case _:
            return value, value


class _Within(str):
    """The pointer of a string, for all that is inside."""

    __slots__ = ()


def _members(value: dict[Any, Any], pointer: str, walk: _Walk) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = {}, {}
    for name, member in value.items():
        if isinstance(name, Leaf):
            # The pointer is that of the redacted body, which is the one that its readers have.
            numbered = _Walk({kind: dict(numbers) for kind, numbers in walk.numbers.items()})
            _, renamed = _leaf(name, "", numbered)
            inner = _below(pointer, plain(renamed))
            before_name, after_name = _leaf(name, inner, walk)
        else:
            inner, before_name, after_name = _below(pointer, name), name, name
        before[before_name], after[after_name] = _render(member, inner, walk)
    return before, after


def _below(pointer: str, name: str) -> str:
    if isinstance(pointer, _Within):
        return pointer
    shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    return pointer + "/" + shown.replace("~", "~0").replace("/", "~1")


def _leaf(leaf: Leaf, pointer: str, walk: _Walk) -> tuple[str, str]:
    before = "".join(piece if isinstance(piece, str) else piece.text for piece in leaf.pieces)
    after = "".join(piece if isinstance(piece, str) else walk.marker(piece, pointer) for piece in leaf.pieces)
    return (before, after) if leaf.wrap is None else (leaf.wrap(before), leaf.wrap(after))


def _body(value: Any, style: Style) -> bytes:
    return _RAW_OUTER.sub(_outer, write_json(value, style)).encode()


def write_json(value: Any, style: Style = STYLES[0]) -> str:
    """``value`` as JSON, its escape characters as escapes; those of ``escaped(outer=True)`` stay."""
    text = json.dumps(value, **{**style, "ensure_ascii": False})
    text = _RAW.sub(_escape, text)
    return _ascii(text) if style["ensure_ascii"] else text


def _ascii(text: str) -> str:
    """``json.dumps`` would escape the escape characters as well."""
    return re.sub("[^\x00-\x7f\ue200-\ue27f]", lambda found: json.dumps(found[0])[1:-1], text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == _SOLIDUS:
        return "\\/"
    return f"\\u{code - _LOWER:04x}" if code < _UPPER else f"\\u{code - _UPPER:04X}"


def _outer(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]) - _OUTER:04x}"


def escaped(char: str, *, upper: bool = False, outer: bool = False) -> str:
    r"""The escape character for an ASCII character, written ``\u0073``; ``outer``: in the body, not further in."""
    return chr((_OUTER if outer else _UPPER if upper else _LOWER) + ord(char))


SOLIDUS: Final = chr(_SOLIDUS)
r"""Written ``\/``."""


def written(text: str) -> str:
    """``text`` with its escapes written out, for texts that are no JSON strings themselves."""
    return _RAW_OUTER.sub(_outer, _RAW.sub(_escape, text))


def plain(text: str) -> str:
    """``text`` as a JSON reader will see it."""
    read: str = json.loads(_RAW_OUTER.sub(_outer, write_json(text)))
    return read


def in_base64(text: str) -> str:
    """A document of this text."""
    return base64.b64encode(written(text).encode()).decode()
