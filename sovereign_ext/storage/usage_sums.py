"""Sums of usage by time bucket and by what they are asked for, a page at a time.

Reads ``usage_hours`` only, so a year of a tenant with a million calls costs what its hours do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, case, distinct, func, literal, select, tuple_

from sovereign_ext.storage.schema import usage_hours
from sovereign_ext.storage.usage import COUNTS, Totals

DIMENSIONS: Final = ("tenant", "model", "provider", "key", "price_source", "margin_percent")
"""What sums may be taken by, besides time."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which sums: of the hours in ``[since_hour, until_hour)``, counted since 1970 in UTC.

    ``buckets`` are the first hours of the buckets, rising, the first not after ``since_hour``; a whole number instead
    is the width of buckets that begin at its multiples. ``group_by`` is a part of ``DIMENSIONS``; ``where`` gives
    columns the only values that count.
    """

    since_hour: int
    until_hour: int
    buckets: int | tuple[int, ...]
    group_by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """One group: the first hour of its bucket, the values it is grouped by, the sums, and who said the prices."""

    hour: int
    group: tuple[str, ...]
    totals: Totals
    price_sources: tuple[str, ...] = ()


Place = tuple[int, tuple[str, ...]]
"""Bucket and values of a group: where a page ends."""


def sums(
    connection: Connection, asked: Question, after: Place | None = None, limit: int | None = None
) -> list[Sum]:
    """The groups in the order of bucket and values, those behind ``after``, at most ``limit``."""
    query = _query(connection.dialect.name, asked, after)
    found = connection.execute(query if limit is None else query.limit(limit)).all()
    width = len(asked.group_by)
    return [
        Sum(
            int(values[0]),
            tuple(values[1 : width + 1]),
            Totals(*map(int, values[width + 2 :])),
            tuple(sorted(filter(None, str(values[width + 1]).split(",")))),
        )
        for values in found
    ]


def _query(dialect: str, asked: Question, after: Place | None) -> Select[Any]:
    table = usage_hours.c
    bucket, groups = _bucket(asked.buckets).label("bucket"), [table[name] for name in asked.group_by]
    names = (
        func.group_concat(distinct(table.price_source))
        if dialect == "sqlite"
        else func.string_agg(distinct(table.price_source), ",")
    )
    amounts = [func.sum(table[name]) for name in ("calls", *COUNTS)]
    query = select(bucket, *groups, names, *amounts).where(
        table.hour >= asked.since_hour, table.hour < asked.until_hour
    )
    query = query.where(*(table[name] == value for name, value in asked.where))
    if after is not None:
        # Rows of one group are all before or all behind the place, so that this may stand before the grouping.
        hour, group = after
        behind = _bucket(asked.buckets) > hour
        if groups:
            same = (_bucket(asked.buckets) == hour) & (tuple_(*groups) > tuple_(*map(literal, group)))
            behind = behind | same
        query = query.where(table.hour >= hour, behind)
    return query.group_by(bucket, *groups).order_by(bucket, *groups)


def _bucket(buckets: int | tuple[int, ...]) -> Any:
    hour = usage_hours.c.hour
    if isinstance(buckets, int):
        return hour - hour % buckets
    first, *later = buckets
    if not later:
        return literal(first)
    ends = [(hour < end, start) for start, end in zip(buckets, later, strict=False)]
    return case(*ends, else_=later[-1])
