"""PostgreSQL as the database of several replicas: connections that are durable, and that give up in time.

A database that hangs must fail a call within seconds, whatever it is that hangs. So there are limits in the server (a
statement, a lock, a transaction that its client forgot), limits of TCP (a host that is gone), and one of our own on
every wait for an answer, because a server process that is stopped while its kernel goes on acknowledging trips none
of the others. A connection whose wait was given up is closed; the pool makes another one, and so it recovers by itself.

Each connection is made to wait for the disk at commit, and to see by each statement what others have committed,
whatever the role's or the database's own setting. Nothing here shows a URL: it holds the password. Imported only when
a PostgreSQL database is configured.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import conninfo
from sqlalchemy import Engine, create_engine, event

from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret

_INTERVAL_S: Final = 0.1  # psycopg's own: how often a wait looks up
_CONNECT_S: Final = 10
_SILENCE_S: Final = 30.0  # of a peer that acknowledges nothing
_PLAIN: Final = re.compile(r"[\w.:/,+-]*", re.ASCII)
_SHOWN: Final = ("host", "hostaddr", "port", "dbname", "user")

_SETTLE: Final = """
SELECT set_config('statement_timeout', %(statement)s, false),
       set_config('lock_timeout', %(lock)s, false),
       set_config('idle_in_transaction_session_timeout', %(idle)s, false),
       set_config('default_transaction_isolation', 'read committed', false),
       CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
            THEN set_config('synchronous_commit', 'on', false) END,
       current_setting('fsync'), current_setting('server_encoding')
"""
# A stricter synchronous_commit (remote_apply) is somebody's choice, and stays.


class Connection(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than ``patience_s`` seconds; ``None`` waits for ever."""

    patience_s: float | None = None

    def wait(self, gen: Any, interval: float = _INTERVAL_S, *more: Any, **named: Any) -> Any:
        """As psycopg's, but bounded. Raises ``OperationalError``, and closes the connection, when time is up."""
        if self.patience_s is not None:
            gen = self._bounded(gen, self.patience_s)
        return super().wait(gen, interval, *more, **named)

    def _bounded(self, gen: Generator[Any, Any, Any], patience_s: float) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + patience_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.close()  # an answer that comes late must not be taken for the next one's
                    raise psycopg.OperationalError(f"no answer within {patience_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        finally:
            gen.close()


def parameters(url: Secret, patience_s: float) -> dict[str, Any]:
    """The URL as libpq's parameters, with limits for what it leaves open. ``ConfigError`` does not show it."""
    try:
        given: dict[str, Any] = dict(conninfo.conninfo_to_dict(url.reveal()))
    except psycopg.Error:
        given = {}
    # A password with a "/" or "@" that was not escaped ends up in these, and libpq's messages name them.
    if not given or any(not _PLAIN.fullmatch(str(given.get(name, ""))) for name in _SHOWN):
        reason = "cannot be read (not shown); is every special character of the password escaped, such as %40 for @?"
        raise ConfigError(reason, field="storage.database")
    defaults = {
        "application_name": "sovereign",
        "client_encoding": "utf8",
        # Whoever waits long for an answer need not wait as long for a server. libpq takes 1 for 2.
        "connect_timeout": max(2, min(_CONNECT_S, round(patience_s / 2))),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": round(min(patience_s, _SILENCE_S) * 1000),
        "target_session_attrs": "read-write",  # of several hosts the primary
    }
    return {**defaults, **given}


def postgres_engine(url: Secret, patience_s: float, pool_size: int) -> Engine:
    """See ``engine.open_postgres``."""
    wanted = parameters(url, patience_s)
    # Without the URL, and without the values of statements in errors: openings and documents are among them.
    engine = create_engine(
        "postgresql+psycopg://",
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=patience_s,
        pool_pre_ping=True,
        pool_use_lifo=True,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> Connection:
        return _connected(wanted, patience_s, named.get("context"))

    return engine


@contextmanager
def without_limits(connection: Any) -> Iterator[None]:
    """Let statements of the open transaction on this SQLAlchemy connection take as long as they need.

    For migrations, which may rewrite a table. A peer that is gone is still noticed, by TCP.
    """
    driver: Connection = connection.connection.driver_connection
    before = driver.patience_s
    driver.patience_s = None
    try:
        connection.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM unnest(ARRAY['statement_timeout', 'lock_timeout',"
            " 'idle_in_transaction_session_timeout']) AS name"
        )
        yield
    finally:
        driver.patience_s = before


def _connected(wanted: dict[str, Any], patience_s: float, context: Any) -> Connection:
    connection: Connection = Connection.connect(**wanted, context=context, autocommit=True)
    try:
        connection.patience_s = patience_s
        limits = {
            "statement": f"{patience_s * 0.75:.3f}s",
            "lock": f"{patience_s * 0.5:.3f}s",
            "idle": f"{patience_s * 1.25:.3f}s",
        }
        found = connection.execute(_SETTLE, limits).fetchone()
        assert found is not None
        if found[5] != "on":
            raise psycopg.OperationalError("the server's fsync is off, so nothing it stores is durable")
        if found[6] != "UTF8":
            raise psycopg.OperationalError(f"the database's encoding is {found[6]}, it has to be UTF8")
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection
