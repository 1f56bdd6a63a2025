"""Frees the head of the log from a router that was frozen while it held it.

``idle_in_transaction_session_timeout`` is not enough. The server starts that timer when it says that it is ready for a
query, and stops it at the next message, whatever that is. So it does not run from the first row of a pipeline to its
end, nor in the middle of a long message, nor after the Flush that psycopg sends behind the Sync that ends a pipeline
(each ``executemany`` is one): a router that is stopped there keeps its locks for as long as it is stopped, because its
kernel goes on acknowledging. ``transaction_timeout`` would do, but came with PostgreSQL 17.

So whoever waited for the head in vain looks who holds it, and ends sessions whose client says nothing. Nothing is lost
by that: their transaction is rolled back, and a router that was only slow tries it again. It takes the right to end
them, which a role has over its own sessions. SQLite's lock is a file's, and is not looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, text

from sovereign_ext.storage.transient import is_lock_timeout

FROZEN_MS: Final = 2_000
"""How long a router that is frozen in the middle of an append holds up the others: so long PostgreSQL waits for its
next statement, and so long they wait for the head before they look who has it."""

SILENT_MS: Final = 1_000
"""How long a client that holds the head may say nothing; it says something every few microseconds. Less than the wait:
who waits already for a second when it freezes ends it at the first look as well."""

_LIMITS: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '{ms}', {local}),
       set_config('lock_timeout', least(setting::integer, {ms})::text, {local})
FROM pg_settings WHERE name = 'lock_timeout'
"""

# Who waits for the row has these locks on the table as well, but waits for a lock, not for a client. A LOCK TABLE is
# somebody's intention, and has other modes. Sessions of roles that are not ours have no wait_event for us.
_END: Final = text("""
SELECT a.pid, pg_terminate_backend(a.pid)
FROM pg_stat_activity AS a
WHERE a.wait_event = 'ClientRead' AND a.pid <> pg_backend_pid()
  AND a.state_change < clock_timestamp() - :silent_ms * interval '1 millisecond'
  AND a.pid IN (SELECT pid FROM pg_locks
                WHERE granted AND mode IN ('RowExclusiveLock', 'RowShareLock')
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND relation = to_regclass('log_head'))
""")

_log = logging.getLogger(__name__)


def limits(*, local: bool) -> str:
    """SQL that sets the limits of a session that will hold the head; ``local`` for one transaction."""
    return _LIMITS.format(ms=FROZEN_MS, local=str(local).lower())


@contextmanager
def freeing(engine: Engine) -> Iterator[None]:
    """Around a wait for the head: if it was in vain because of a frozen session, that is ended, for the next try.

    The error is raised all the same.
    """
    try:
        yield
    except Exception as error:
        if is_lock_timeout(error):
            _end_frozen(engine)
        raise


def _end_frozen(engine: Engine) -> None:
    try:
        with engine.connect() as connection:
            ended = [int(pid) for pid, done in connection.execute(_END, {"silent_ms": SILENT_MS}) if done]
    except Exception as failure:  # whoever cannot look has his error
        _log.warning("cannot look who holds the log: %s", type(failure).__name__)
        return
    for pid in ended:
        _log.warning("ended the session of a frozen router that held the log: process %d of PostgreSQL", pid)
