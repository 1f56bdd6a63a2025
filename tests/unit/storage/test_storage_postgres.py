"""PostgreSQL's connections: durable whatever the settings, bounded whatever hangs, and silent about the URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from services import PostgresDatabase
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_postgres
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.frozen import FROZEN_MS
from sovereign_ext.storage.migrate import ensure_schema

CANARY = "canary-a93b"
PATIENCE_S = 1.0
SLACK_S = 1.5
"""What a loaded machine may add."""
HEAD = " AND relation = 'log_head'::regclass"


def row(number: int) -> Row:
    return Row("outcome", "t", f"d{number}", 1, b"body", bytes(32), b"{}", b"{}")


@pytest.fixture
def engine(postgres: PostgresDatabase) -> Iterator[Engine]:
    engine = open_postgres(Secret(postgres.url), patience_s=PATIENCE_S)
    ensure_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[EntryStore]:
    store = EntryStore(engine)
    store.create_head("origin")
    yield store
    store.close()


def shown(engine: Engine, setting: str) -> str:
    with engine.connect() as connection:
        return str(connection.exec_driver_sql(f"SHOW {setting}").scalar_one())


def duration(call: Callable[[], object]) -> float:
    """How long it takes to fail."""
    begun = time.monotonic()
    with pytest.raises((OperationalError, psycopg.OperationalError)):
        call()
    return time.monotonic() - begun


@pytest.mark.services
@pytest.mark.parametrize(
    ("chosen", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
def test_a_commit_waits_for_the_disk(chosen: str, used: str, postgres: PostgresDatabase) -> None:
    """Whatever the database's own setting is; a stricter one stays."""
    postgres.execute(f"ALTER DATABASE {postgres.name} SET synchronous_commit = '{chosen}'")
    engine = open_postgres(Secret(postgres.url))
    assert shown(engine, "synchronous_commit") == used
    with engine.connect() as connection:
        connection.rollback()
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == used, (
            "a rollback keeps it"
        )
    engine.dispose()


@pytest.mark.services
def test_serialisation_of_appends_needs_read_committed(postgres: PostgresDatabase) -> None:
    """Another default would make replicas fail each other."""
    postgres.execute(f"ALTER DATABASE {postgres.name} SET default_transaction_isolation = 'serializable'")
    engine = open_postgres(Secret(postgres.url))
    assert shown(engine, "transaction_isolation") == "read committed"
    assert (
        shown(engine.execution_options(isolation_level="AUTOCOMMIT"), "transaction_isolation")
        == "read committed"
    )
    engine.dispose()


@pytest.mark.services
def test_a_server_that_is_not_durable_is_refused(postgres: PostgresDatabase) -> None:
    """Before anything is promised."""
    postgres.execute("ALTER SYSTEM SET fsync = off")
    try:
        postgres.restart()
        engine = open_postgres(Secret(postgres.url))
        with pytest.raises(OperationalError, match="fsync is off"):
            shown(engine, "fsync")
        engine.dispose()
    finally:
        postgres.execute("ALTER SYSTEM RESET fsync")
        postgres.restart()


@pytest.mark.services
def test_text_is_utf8(postgres: PostgresDatabase) -> None:
    """Another encoding would change what was signed, or refuse it."""
    name = f"{postgres.name}_latin"
    postgres.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 OWNER {postgres.server.role}"
    )
    engine = open_postgres(Secret(postgres.server.url(name)))
    with pytest.raises(OperationalError, match="encoding is LATIN1"):
        shown(engine, "fsync")
    engine.dispose()
    postgres.execute(f"DROP DATABASE {name}")


@pytest.mark.services
def test_a_frozen_server_fails_a_call_in_time(store: EntryStore, postgres: PostgresDatabase) -> None:
    """Its kernel acknowledges everything, so no limit of TCP ends the wait. Afterwards it works again, and an answer
    that came late is nobody's."""
    assert store.append([row(0)]) == 0
    postgres.freeze()
    assert PATIENCE_S <= duration(lambda: store.append([row(1)])) < PATIENCE_S + SLACK_S
    store.reset()
    assert duration(lambda: store.append([row(1)])) < 2 + SLACK_S, "connecting has a limit of its own"
    store.reset()
    assert duration(store.size) < 2 * (2 + SLACK_S)
    postgres.thaw()
    assert store.append([row(1)]) == 1
    assert store.extent() == (2, 1)


@pytest.mark.services
@pytest.mark.parametrize("how", ["kill", "restart", "disconnect"])
def test_pooled_connections_that_died_are_noticed(
    how: str, engine: Engine, postgres: PostgresDatabase
) -> None:
    """No read fails for them once the server is there again."""
    connections = [engine.connect() for _ in range(5)]
    for each in connections:
        each.close()
    getattr(postgres, how)()
    postgres.start()
    for _ in range(6):
        assert shown(engine, "fsync") == "on"


@pytest.mark.services
def test_a_long_statement_ends(engine: Engine) -> None:
    """In the server too, so that it does not go on after its caller has gone."""
    with engine.connect() as connection:
        assert duration(lambda: connection.exec_driver_sql("SELECT pg_sleep(30)")) < PATIENCE_S + SLACK_S
        connection.rollback()
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1, "the connection lives on"


@pytest.mark.services
def test_a_replica_that_hangs_does_not_hold_the_log(engine: Engine, store: EntryStore) -> None:
    """Whoever took the head's lock and is then not heard of loses it."""
    with engine.connect() as hung:
        hung.exec_driver_sql("UPDATE log_head SET next = next + 1")
        begun = time.monotonic()
        while True:
            try:
                assert store.append([row(1)]) == 0, "what it had begun is undone"
                break
            except psycopg.OperationalError:
                store.reset()
                assert time.monotonic() - begun < 30
        with pytest.raises(
            DBAPIError, match=r"terminating connection|socket closed"
        ):  # the reason, if it was read in time
            hung.exec_driver_sql("SELECT 1")
        hung.invalidate()


@pytest.mark.services
def test_a_lock_is_not_waited_for_for_ever(engine: Engine, store: EntryStore) -> None:
    """Half the patience, so that the caller is told the cause."""
    with engine.connect() as holder:
        holder.exec_driver_sql("LOCK TABLE log_head IN EXCLUSIVE MODE")
        assert duration(lambda: store.append([row(1)])) < PATIENCE_S + SLACK_S
        store.reset()
        holder.rollback()
    assert store.append([row(1)]) == 0


@pytest.mark.services
@pytest.mark.parametrize(
    "held",
    [
        "LOCK TABLE log_head IN EXCLUSIVE MODE",
        "UPDATE log_head SET next = next + 1; SELECT pg_sleep(4)",
    ],
    ids=["on purpose", "at work"],
)
def test_only_a_frozen_holder_is_ended(held: str, postgres: PostgresDatabase) -> None:
    """Not somebody who locked the table and thinks, nor a transaction that is slow."""
    engine = open_postgres(Secret(postgres.url), patience_s=6.0)
    ensure_schema(engine)
    store = EntryStore(engine)
    store.create_head("origin")
    with engine.connect() as holder, ThreadPoolExecutor(1) as thread:
        holder.exec_driver_sql("SELECT 1")
        holding = thread.submit(holder.exec_driver_sql, held)
        while not postgres.execute("SELECT 1 FROM pg_locks WHERE granted AND mode ~ '^(RowE|E)xc'" + HEAD):
            time.sleep(0.01)
        assert duration(lambda: store.append([row(1)])) > FROZEN_MS / 1000 - 0.1
        holding.result(10)
        holder.commit()
    store.close()


@pytest.mark.services
def test_neither_errors_nor_repr_show_secrets(engine: Engine, postgres: PostgresDatabase) -> None:
    """Not the password, and not what a statement was given."""
    password = postgres.server.password
    assert password not in f"{engine!r} {engine.url} {engine.url.render_as_string(hide_password=False)}"
    with pytest.raises(ProgrammingError) as wrong, engine.connect() as connection:
        connection.execute(text("SELECT * FROM nothing WHERE a = :a"), {"a": CANARY})
    assert CANARY not in str(wrong.value)
    refused = open_postgres(Secret(postgres.url.replace(password, CANARY)))
    with pytest.raises(OperationalError) as caught:
        refused.connect()
    assert "password authentication failed" in str(caught.value)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert CANARY not in f"{seen} {seen!r}"
        seen = seen.__cause__ or seen.__context__
    refused.dispose()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@x@h/d",  # an @ that was not escaped: part of the password is in the host
        f"postgresql://u:{CANARY}/x@h/d",  # a slash: it is in the port, or the database's name
        f"postgresql://u:1/{CANARY}@h/d",
        f"postgresql://u:p@h/d?{CANARY}=1",
        f"postgresql://u:p@h/d?sslmode={CANARY}%",
        f"postgresql://[{CANARY}/d",
        CANARY,
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    """libpq's own messages would name parts of it."""
    with pytest.raises(ConfigError, match="not shown") as caught:
        open_postgres(Secret(url))
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_what_the_url_says_counts() -> None:
    """Our limits are defaults."""
    from sovereign_ext.storage.postgres import parameters  # noqa: PLC0415

    given = parameters(Secret("postgresql://u:p%40ss@a,b:5433/d?connect_timeout=9&sslmode=verify-full"), 8.0)
    assert (given["host"], given["password"], given["connect_timeout"]) == ("a,b", "p@ss", "9")
    assert (given["sslmode"], given["tcp_user_timeout"]) == ("verify-full", 8000)
