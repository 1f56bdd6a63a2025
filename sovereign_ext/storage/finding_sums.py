"""Sums over places of credentials, by what they are asked for: how many, in how many calls, first and last seen.

Counted over ``findings`` each time, as far as the question goes back, and refused where that is too far: how many calls
there were cannot be added up of what was added up before. Pages are of one moment: the log only grows, so a question
that ends at an index has the same answer for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from sovereign_ext.storage.findings import Place, Question, along, beside, last_of
from sovereign_ext.storage.schema import findings

DIMENSIONS: Final = ("tenant", "key", "policy", "action", "kind", "fingerprint")
"""What sums may be taken by."""

MOST_SUMMED: Final = 500_000
"""Places that one question may go over: seconds of the database's time."""

_PLACES: Final = 1 << 20
"""More than an entry can tell of; two numbers of a place become one by it."""

_MOST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Sum:
    """One group: the values it is grouped by, and its sums.

    ``count`` is of places, ``calls`` of the calls they were in. Times, the earliest and the latest, are Unix
    milliseconds; ``first`` and ``last`` are places in their order.
    """

    group: tuple[str, ...]
    count: int
    calls: int
    first_ms: int
    last_ms: int
    first: Place
    last: Place


def within(connection: Connection, asked: Question) -> bool:
    """Whether the question goes over no more than ``MOST_SUMMED`` places."""
    return last_of(connection, along(asked), MOST_SUMMED + 1, newest_first=False) is None


def sums(
    connection: Connection, asked: Question, group_by: tuple[str, ...], after: Place | None, limit: int
) -> list[Sum]:
    """The groups, at most ``limit``, the one that was seen last first; those behind the one whose last place is
    ``after``. No place is in two groups, so the order is total."""
    if after is not None and not group_by:
        return []  # there is one sum
    table = findings.c
    groups = [table[name] for name in group_by]
    place = table.idx * _PLACES + table.place
    last = func.max(place)
    query = select(
        *groups,
        func.count(),
        func.count(table.idx.distinct()),
        func.min(table.time_ms),
        func.max(table.time_ms),
        func.min(place),
        last,
    ).where(*along(asked), *beside(asked))
    query = query.group_by(*groups).order_by(last.desc()).limit(limit)
    if after is not None:
        made_up = after[0] * _PLACES + after[1]
        query = query.having(last < min(made_up, _MOST))
    return [
        _sum(tuple(values), len(group_by))
        for values in connection.execute(query).all()
        if values[-1] is not None  # the sum over nothing
    ]


def untold(connection: Connection, asked: Question) -> int:
    """How many more places the calls had, whose entries count them and do not tell of them."""
    table = findings.c
    calls = select(table.idx, func.max(table.count - table.told).label("more")).where(
        *along(asked), *beside(asked), table.count > table.told
    )
    query = select(func.sum(calls.group_by(table.idx).subquery().c.more))
    return int(connection.execute(query).scalar() or 0)


def _sum(values: tuple[Any, ...], width: int) -> Sum:
    count, calls, first_ms, last_ms, first, last = map(int, values[width:])
    return Sum(values[:width], count, calls, first_ms, last_ms, divmod(first, _PLACES), divmod(last, _PLACES))
