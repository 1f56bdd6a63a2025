"""The top-level members of a JSON object, and the items of an array, as the bytes they came in (RFC 8259).

msgspec does it, except for lone surrogates in escapes (``"\\ud83d"``), which it refuses and providers send when
they cut an emoji in two; those are read with the slower standard library. Used for what providers send;
clients' requests are read more strictly (``request``).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import msgspec

Members = dict[str, msgspec.Raw]

_FAST: Final = msgspec.json.Decoder(Members)
_FAST_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def raw_members(body: bytes) -> Members | None:
    """The members of the object ``body``; ``None`` if it is none."""
    try:
        return _FAST.decode(_text(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if not _SURROGATE.search(body):
        return None
    try:
        return _slowly(body.decode())
    except (ValueError, IndexError, RecursionError):
        return None


def raw_items(body: bytes) -> list[msgspec.Raw] | None:
    """The items of the array ``body``; ``None`` if it is none."""
    try:
        return _FAST_ITEMS.decode(_text(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if not _SURROGATE.search(body):
        return None
    try:
        return _items_slowly(body.decode())
    except (ValueError, IndexError, RecursionError):
        return None


def _text(body: bytes) -> bytes:
    """``body``, if it is UTF-8, which msgspec asks only of what it opens. Raises ``UnicodeDecodeError``."""
    if not body.isascii():
        body.decode()
    return body


def _slowly(text: str) -> Members:
    """Raises ``ValueError`` or ``IndexError`` if ``text`` is no object."""
    members: Members = {}
    at = _expect(text, _after_space(text, 0), "{")
    closing = _after_space(text, at)
    while text[closing] != "}":
        name, at = _DECODER.raw_decode(text, _after_space(text, at))
        if not isinstance(name, str):
            raise ValueError("a member's name is no string")
        name.encode()  # a ValueError too: a name with half a character cannot be written again
        start = _after_space(text, _expect(text, _after_space(text, at), ":"))
        _, at = _DECODER.raw_decode(text, start)
        members[name] = msgspec.Raw(text[start:at].encode())
        closing = _after_space(text, at)
        if text[closing] != "}":
            at = _expect(text, closing, ",")
    if text[closing + 1 :].strip(" \t\n\r"):
        raise ValueError("text after the object")
    return members


def _items_slowly(text: str) -> list[msgspec.Raw]:
    """Raises ``ValueError`` or ``IndexError`` if ``text`` is no array."""
    items: list[msgspec.Raw] = []
    at = _expect(text, _after_space(text, 0), "[")
    closing = _after_space(text, at)
    while text[closing] != "]":
        start = _after_space(text, at)
        _, at = _DECODER.raw_decode(text, start)
        items.append(msgspec.Raw(text[start:at].encode()))
        closing = _after_space(text, at)
        if text[closing] != "]":
            at = _expect(text, closing, ",")
    if text[closing + 1 :].strip(" \t\n\r"):
        raise ValueError("text after the array")
    return items


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _expect(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise ValueError(f"expected {sign}")
    return at + 1


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final[Any] = json.JSONDecoder(parse_constant=_no_constant)
