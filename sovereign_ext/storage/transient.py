"""Which errors of a database are worth trying again at once, by PostgreSQL's SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html. SQLite has none: it waits for locks by itself.
"""

from __future__ import annotations

from typing import Final

_CLASSES: Final = ("08", "40")  # connection exception; transaction rollback: serialisation, deadlock
_LOCK_TIMEOUT: Final = "55P03"  # a lock was not to be had in time
_STATES: Final = frozenset({
    _LOCK_TIMEOUT,
    "25P03",  # idle in transaction for too long: we were frozen
    "57P01",  # the session was ended, by the administrator or by whoever took us for frozen, or the server stops
    "57P02",  # a process of the server crashed
    "57P03",  # the server is starting
    "57P05",  # the session was idle for too long
})  # fmt: skip


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed now, on a new connection. Says nothing of whether this one did."""
    cause = _cause(error)
    if not _is_postgres(cause):
        return False
    state = getattr(cause, "sqlstate", None)
    if state is None:  # not the server's: the connection was lost, or could not be made
        return type(cause).__name__ == "OperationalError"
    return state.startswith(_CLASSES) or state in _STATES


def is_lock_timeout(error: BaseException) -> bool:
    """Whether PostgreSQL gave up waiting for a lock."""
    cause = _cause(error)
    return _is_postgres(cause) and getattr(cause, "sqlstate", None) == _LOCK_TIMEOUT


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error


def _is_postgres(cause: BaseException) -> bool:
    return type(cause).__module__.startswith("psycopg")
