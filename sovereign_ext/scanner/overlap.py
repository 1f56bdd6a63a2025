"""Secrets that cover one another: which bytes are replaced, and by whose name.

Of two that overlap the one that begins first counts, of two that begin together the longer one, then the one whose
detector is first in the registry. What lies wholly within another is dropped; what sticks out of it is replaced by
itself, so that no rest of a secret stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Found(NamedTuple):
    """A secret in the bytes ``[start:end]``."""

    start: int
    end: int
    rank: int  # of its detector
    secret: bytes  # in canonical form


def resolved(found: Iterable[Found]) -> list[Found]:
    """``found`` in order of place and without overlaps. What is cut keeps the whole ``secret`` it is part of."""
    kept: list[Found] = []
    until = 0
    for one in sorted(found, key=_precedence):
        if one.end <= until:
            continue
        kept.append(one if one.start >= until else one._replace(start=until))
        until = one.end
    return kept


def _precedence(one: Found) -> tuple[int, int, int]:
    return one.start, -one.end, one.rank
