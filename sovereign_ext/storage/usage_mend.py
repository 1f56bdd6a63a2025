"""Puts usage right where it is not what the entries say: a log that is older than usage, or a damaged table.

Takes what the rows of a slice of entries should be; who knows that is ``metering``. Each call is one transaction that
keeps new entries waiting, so it may run beside a live log, be broken off and be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Connection, Engine, func, insert, select, union

from sovereign_ext.storage.schema import log_head, usage, usage_hours
from sovereign_ext.storage.usage import (
    COUNTS,
    DIMENSIONS,
    HOUR_COLUMNS,
    HOUR_MS,
    StoredUsage,
    UsageRow,
    UsageStore,
    add_to_hours,
    began,
    by_hour,
    insert_rows,
    select_rows,
    stored_usage,
)

_NAMES: Final = ("hour", *DIMENSIONS, "calls", *COUNTS)


def mend_rows(engine: Engine, start: int, end: int, wanted: Sequence[StoredUsage]) -> int:
    """Make ``wanted`` the rows of the entries in ``[start, end)``, and correct the hours that they belong to.

    Gives how many were missing, wrong or too many.
    """
    right = {each.index: each.row for each in wanted}
    query = select_rows().where(usage.c.idx >= start, usage.c.idx < end)
    with engine.connect() as connection:
        if {each.index: each.row for each in map(stored_usage, connection.execute(query))} == right:
            return 0
    with engine.connect() as connection:
        _lock(connection)
        there = {each.index: each.row for each in map(stored_usage, connection.execute(query))}
        wrong = sorted(i for i in there.keys() | right.keys() if there.get(i) != right.get(i))
        for index in wrong:
            connection.execute(usage.delete().where(usage.c.idx == index))
        new = [{"idx": index, **asdict(right[index])} for index in wrong if index in right]
        if new:
            connection.execute(insert_rows(), new)
        _add(connection, [right[index] for index in wrong if index in right], 1)
        _add(connection, [there[index] for index in wrong if index in there], -1)
        connection.commit()
    return len(wrong)


def mend_hours(engine: Engine, tenant: str, since_hour: int, until_hour: int) -> int:
    """Make the sums of a tenant's hours those of its rows; how many hours differed."""
    wrong = differing_hours(engine, tenant, since_hour, until_hour)
    for hour in wrong:
        with engine.connect() as connection:
            _lock(connection)
            _resum(connection, tenant, hour, hour + 1)
            connection.commit()
    return len(wrong)


def differing_hours(engine: Engine, tenant: str, since_hour: int, until_hour: int) -> list[int]:
    """The hours whose sums are not those of their rows, rising. Both as of one moment."""
    with UsageStore(engine).moment() as connection:
        there = _by_place(connection, _kept(tenant, since_hour, until_hour))
        right = _by_place(connection, _summed(tenant, since_hour, until_hour))
    return sorted({place[0] for place in there.keys() | right.keys() if there.get(place) != right.get(place)})


def _add(connection: Connection, rows: Sequence[UsageRow], sign: int) -> None:
    """Add rows to the sums of their hours, or take them out. Summing the hour anew would cost all its rows."""
    if not rows:
        return
    sums = [dict(zip(HOUR_COLUMNS, values, strict=True)) for values in by_hour(rows)]
    amounts = ("calls", *COUNTS)
    signed = [{**each, **{name: sign * each[name] for name in amounts}} for each in sums]
    connection.execute(add_to_hours(connection.dialect.name), signed)
    for each in sums if sign < 0 else ():
        table = usage_hours.c
        empty = (table.tenant == each["tenant"], table.hour == each["hour"], table.calls == 0)
        connection.execute(usage_hours.delete().where(*empty))


def _lock(connection: Connection) -> None:
    """Nobody appends until the transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(select(log_head.c.next).with_for_update())


def _resum(connection: Connection, tenant: str, since_hour: int, until_hour: int) -> None:
    table = usage_hours.c
    mine = (table.tenant == tenant, table.hour >= since_hour, table.hour < until_hour)
    connection.execute(usage_hours.delete().where(*mine))
    connection.execute(insert(usage_hours).from_select(_NAMES, _summed(tenant, since_hour, until_hour)))


def _kept(tenant: str, since_hour: int, until_hour: int) -> Any:
    table = usage_hours.c
    mine = (table.tenant == tenant, table.hour >= since_hour, table.hour < until_hour)
    return select(*(table[name] for name in _NAMES)).where(*mine)


def _summed(tenant: str, since_hour: int, until_hour: int) -> Any:
    hour = (usage.c.time_ms // HOUR_MS).label("hour")
    places = [usage.c[name] for name in DIMENSIONS]
    query = select(hour, *places, func.count(), *(func.sum(usage.c[name]) for name in COUNTS))
    return query.where(*began(tenant, since_hour * HOUR_MS, until_hour * HOUR_MS)).group_by(hour, *places)


def _by_place(connection: Connection, query: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    amounts = len(COUNTS) + 1
    found = connection.execute(query)
    return {tuple(values[:-amounts]): tuple(map(int, values[-amounts:])) for values in found}


def hours_of(engine: Engine, tenant: str) -> tuple[int, int]:
    """Hours ``[start, end)`` outside of which the tenant has neither rows nor sums."""
    rows = select(func.min(usage.c.time_ms), func.max(usage.c.time_ms)).where(usage.c.tenant == tenant)
    kept = select(func.min(usage_hours.c.hour), func.max(usage_hours.c.hour)).where(
        usage_hours.c.tenant == tenant
    )
    with engine.connect() as connection:
        first, last = connection.execute(rows).one()
        least, most = connection.execute(kept).one()
    found = [each // HOUR_MS for each in (first, last) if each is not None]
    found += [each for each in (least, most) if each is not None]
    return (min(found), max(found) + 1) if found else (0, 0)


def everybody(engine: Engine) -> list[str]:
    """Every tenant that has rows or sums."""
    query = union(select(usage.c.tenant), select(usage_hours.c.tenant))
    with engine.connect() as connection:
        return sorted(connection.execute(query).scalars())
