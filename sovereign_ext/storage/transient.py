"""Which errors of a database are worth trying again at once, by PostgreSQL's SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html. SQLite has none: it waits for locks by itself.
"""

from __future__ import annotations

from typing import Final

_CLASSES: Final = ("08", "40")  # connection exception; transaction rollback: serialisation, deadlock
_STATES: Final = frozenset({
    "25P03",  # idle in transaction for too long: we were frozen
    "55P03",  # a lock was not to be had in time
    "57P01",  # the administrator ends the session, or the server stops
    "57P02",  # a process of the server crashed
    "57P03",  # the server is starting
    "57P05",  # the session was idle for too long
})  # fmt: skip


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed now, on a new connection. Says nothing of whether this one did."""
    cause = getattr(error, "orig", None) or error
    if not type(cause).__module__.startswith("psycopg"):
        return False
    state = getattr(cause, "sqlstate", None)
    if state is None:  # not the server's: the connection was lost, or could not be made
        return type(cause).__name__ == "OperationalError"
    return state.startswith(_CLASSES) or state in _STATES
