"""Strict JSON: a signed document is read member by member, and what nobody asked for is refused.

A name that appears twice would let two readers see two documents (RFC 8259 §4), a number with a fraction has no
single spelling, and a member we do not know could change the meaning of those we do. What the members mean is
``statements``' and ``manifest``'s matter.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from sovereign_ext.config.reasons import PATTERNS
from sovereign_ext.config.references import shown
from sovereign_ext.config.trust import DIGEST_PATTERN
from sovereign_ext.errors import StatementError

HEX_SHA256: Final = r"^[0-9a-f]{64}$"
HEX_DIGEST: Final = r"^(?:[0-9a-f]{2}){16,64}$"
_WORDS: Final = {**PATTERNS, HEX_SHA256: "64 lower-case hex digits", HEX_DIGEST: "a digest in lower-case hex"}
_DIGEST: Final = re.compile(DIGEST_PATTERN.removeprefix("^").removesuffix("$"))
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


def read_json(raw: bytes, *, fractions: bool = False) -> Any:
    """UTF-8 JSON with unique names and, unless ``fractions``, whole numbers. Raises ``StatementError``."""
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=float if fractions else _no_fraction,
            parse_constant=_no_fraction,
        )
    except UnicodeDecodeError:
        raise StatementError("is not UTF-8 text") from None
    except (ValueError, RecursionError):
        # ValueError: also a number of thousands of digits. Its text would quote the document.
        raise StatementError("is not JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StatementError("has the same member name twice in one object")
    return found


def _no_fraction(_: str) -> NoReturn:
    raise StatementError("has a number that is not a whole number")


def time_text(seconds: int) -> str:
    """Unix seconds as RFC 3339 in UTC, the one spelling that statements use."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME_FORMAT).zfill(20)


def read_time(text: str) -> int | None:
    """The reverse of ``time_text``; ``None`` for any other spelling."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return int(datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def read_base64(text: str) -> bytes | None:
    """RFC 4648 §4 base64 in its one canonical spelling; ``None`` for any other."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if b64encode(data).decode() == text else None


class Fields:
    """One JSON object that is being read. Each method takes a member away; ``done`` refuses what is left.

    ``at`` is where the object stands, a dotted path. Every method raises ``StatementError``.
    """

    def __init__(self, value: object, at: str = "") -> None:
        if not isinstance(value, Mapping):
            raise StatementError("expected an object", at)
        self.at = at
        """Where the object stands."""
        self._left: dict[str, Any] = dict(value)

    def path(self, name: str) -> str:
        """Where the member ``name`` stands."""
        return f"{self.at}.{name}" if self.at else name

    def has(self, name: str) -> bool:
        """Whether there is such a member that was not taken yet."""
        return name in self._left

    def take(self, name: str) -> Any:
        """The member as it is."""
        if name not in self._left:
            raise StatementError("is missing", self.path(name))
        return self._left.pop(name)

    def text(self, name: str, pattern: str | None = None, *, most: int = 1_000) -> str:
        """A text of 1 to ``most`` characters; ``pattern`` is one that ``config`` or this module has words for."""
        return self._text(self.take(name), self.path(name), pattern, most)

    def exactly(self, name: str, expected: str) -> None:
        """A text that can only be one."""
        found = self.text(name)
        if found != expected:
            raise StatementError(f"expected '{expected}', got {shown(found)}", self.path(name))

    def digest(self, name: str) -> str:
        """``sha256:`` and 64 lower-case hex digits."""
        return self._digest(self.take(name), self.path(name))

    def time(self, name: str) -> int:
        """A time as ``time_text`` writes it, in Unix seconds."""
        found = read_time(self.text(name))
        if found is None:
            raise StatementError("expected a time such as 2027-01-31T12:00:00Z", self.path(name))
        return found

    def number(self, name: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        found = self.take(name)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise StatementError(f"expected a whole number from {least} to {most}", self.path(name))
        return found

    def bytes(self, name: str, *, most: int) -> bytes:
        """Canonical base64 of at most ``most`` characters."""
        found = read_base64(self.text(name, most=most))
        if found is None:
            raise StatementError("is not base64 in its canonical spelling", self.path(name))
        return found

    def items(self, name: str, *, least: int = 1, most: int = 1_000) -> list[tuple[str, Any]]:
        """The items of a list, each with its path."""
        found = self.take(name)
        if not isinstance(found, list) or not least <= len(found) <= most:
            raise StatementError(f"expected a list of {least} to {most} items", self.path(name))
        return [(f"{self.path(name)}[{index}]", item) for index, item in enumerate(found)]

    def texts(self, name: str, pattern: str, *, least: int = 1) -> tuple[str, ...]:
        """A list of different texts."""
        return self._distinct(name, lambda item, at: self._text(item, at, pattern, 1_000), least)

    def digests(self, name: str) -> tuple[str, ...]:
        """A list of different digests, at least one."""
        return self._distinct(name, self._digest, 1)

    def done(self) -> None:
        """Refuses members that nobody took."""
        for name in self._left:
            raise StatementError("is not a member of this format", self.path(name[:80]))

    def _distinct(self, name: str, read: Callable[[object, str], str], least: int) -> tuple[str, ...]:
        found = tuple(read(item, at) for at, item in self.items(name, least=least))
        if len(set(found)) != len(found):
            raise StatementError("has an item twice", self.path(name))
        return found

    @staticmethod
    def _text(found: object, at: str, pattern: str | None, most: int) -> str:
        if not isinstance(found, str) or not 1 <= len(found) <= most:
            raise StatementError(f"expected a text of 1 to {most} characters", at)
        if not found.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in found):
            raise StatementError("holds half a surrogate pair", at)
        if pattern is not None and not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), found):
            raise StatementError(f"expected {_WORDS[pattern]}", at)
        return found

    @staticmethod
    def _digest(found: object, at: str) -> str:
        if not isinstance(found, str) or not _DIGEST.fullmatch(found):
            raise StatementError("expected 'sha256:' and 64 lower-case hex digits", at)
        return found
