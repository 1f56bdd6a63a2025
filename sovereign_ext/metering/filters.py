"""The filter of audit rows and of findings: a small part of AIP-160, ``field op value`` joined by ``AND``.

``tenant = "acme" AND time >= "2026-11-01T00:00:00Z" AND status >= 500``. Fields and their types are the caller's, of
audit rows ``FIELDS``; text knows ``=`` and ``!=``, numbers and times also ``<``, ``<=``, ``>`` and ``>=``. Values may
stand in double quotes, with ``\\"`` and ``\\\\`` inside. What a row does not say is empty text, or 0. Not here: ``OR``,
``NOT``, functions.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from sovereign_ext.errors import CallerError

MAX_CHARS: Final = 2_000
MAX_TERMS: Final = 32
_MAX_NUMBER: Final = (1 << 62) - 1


class Type(Enum):
    """What a field holds, in words."""

    TEXT = "text"
    NUMBER = "a whole number"
    TIME = "a time like 2026-11-01T00:00:00Z"


FIELDS: Final[Mapping[str, Type]] = {
    "index": Type.NUMBER,
    "time": Type.TIME,
    "tenant": Type.TEXT,
    "kind": Type.TEXT,
    "decision_id": Type.TEXT,
    "key": Type.TEXT,
    "model": Type.TEXT,
    "provider": Type.TEXT,
    "deployment": Type.TEXT,
    "policy": Type.TEXT,
    "endpoint": Type.TEXT,
    "result": Type.TEXT,
    "status": Type.NUMBER,
    "error_code": Type.TEXT,
}
"""What a filter of audit rows may name. All but the first five are members of the predicate."""

STORED: Final = ("index", "time", "tenant", "kind", "decision_id")
"""Those that the database knows without reading the entry."""

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM: Final = re.compile(
    r'\s*(?P<field>[a-z_]+)\s*(?P<op>!=|<=|>=|=|<|>)\s*(?:"(?P<quoted>(?:[^"\\]|\\["\\])*)"|(?P<bare>[^\s"]+))',
    re.ASCII,
)
_AND: Final = re.compile(r"\s+AND(?=\s)")


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. ``value`` is text, a whole number, or a time in Unix milliseconds."""

    field: str
    op: str
    value: Any

    def holds(self, found: Any) -> bool:
        """Whether ``found`` satisfies it. What is of another type is taken for absent."""
        if not isinstance(found, type(self.value)):
            found = type(self.value)()
        return _COMPARE[self.op](found, self.value)

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """``[first, behind)`` of a comparison with a number or a time."""
        value: int = self.value
        return {
            "=": (value, value + 1),
            "!=": (None, None),
            "<": (None, value),
            "<=": (None, value + 1),
            ">": (value + 1, None),
            ">=": (value, None),
        }[self.op]


@dataclass(frozen=True, slots=True)
class Filter:
    """All terms must hold."""

    terms: tuple[Term, ...] = ()

    @property
    def stored(self) -> tuple[Term, ...]:
        """Those that the database answers."""
        return tuple(term for term in self.terms if term.field in STORED)

    @property
    def said(self) -> tuple[Term, ...]:
        """Those that take the predicate."""
        return tuple(term for term in self.terms if term.field not in STORED)

    def between(self, field: str) -> tuple[int | None, int | None]:
        """``[first, behind)`` of all comparisons with a number or a time."""
        bounds = [term.bounds for term in self.terms if term.field == field]
        firsts = [first for first, _ in bounds if first is not None]
        ends = [behind for _, behind in bounds if behind is not None]
        return max(firsts, default=None), min(ends, default=None)


def parse_filter(text: str, fields: Mapping[str, Type] = FIELDS) -> Filter:
    """Read a filter over ``fields``; empty text lets everything through.

    Raises ``CallerError`` 400 ``invalid_filter``.
    """
    if len(text) > MAX_CHARS:
        raise _invalid(f"at most {MAX_CHARS} characters")
    terms: list[Term] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        if terms:
            joined = _AND.match(text, at)
            if joined is None:
                raise _invalid(f"expected AND at character {at + 1}")
            at = joined.end()
        match = _TERM.match(text, at)
        if match is None:
            raise _invalid(f"expected field op value at character {at + 1}")
        terms.append(_term(match, fields))
        at = match.end()
    if len(terms) > MAX_TERMS:
        raise _invalid(f"at most {MAX_TERMS} comparisons")
    return Filter(tuple(terms))


def _term(match: re.Match[str], fields: Mapping[str, Type]) -> Term:
    field, op, quoted = match["field"], match["op"], match["quoted"]
    kind = fields.get(field)
    if kind is None:
        raise _invalid(f"there is no field {field}; there are {', '.join(fields)}")
    if kind is Type.TEXT and op not in ("=", "!="):
        raise _invalid(f"{field} is text, it takes = and !=")
    text = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return Term(field, op, _value(field, kind, text))


def _value(field: str, kind: Type, text: str) -> Any:
    if kind is Type.TEXT:
        if "\0" in text:  # PostgreSQL's text takes none, so nothing has one
            raise _invalid(f"{field} takes text without NUL characters")
        return text
    if kind is Type.NUMBER:
        if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and int(text) <= _MAX_NUMBER:
            return int(text)
    else:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = None
        if time is not None and time.tzinfo is not None:
            return round(time.timestamp() * 1_000)
    raise _invalid(f"{field} takes {kind.value}")


def _invalid(text: str) -> CallerError:
    return CallerError(400, f"the filter cannot be read: {text}", code="invalid_filter", param="filter")
