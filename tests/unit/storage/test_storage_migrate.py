"""The schema and how a database gets there: the same on both back ends, once, whole, and never by accident."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from services import Backend, PostgresDatabase
from sqlalchemy import Engine, inspect, select, text

from sovereign_ext import storage
from sovereign_ext.cli.main import main
from sovereign_ext.errors import LogUnavailable
from sovereign_ext.secret import Secret
from sovereign_ext.storage.documents import Document, DocumentStore
from sovereign_ext.storage.engine import open_postgres
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.migrate import current_revision, ensure_schema, upgrade
from sovereign_ext.storage.resources import ResourceStore, create
from sovereign_ext.storage.schema import REVISION, findings, metadata

sys.path.insert(0, str(Path(__file__).parents[1] / "metering"))

from findings_world import facts, finding, found, some_facts


def alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def at_revision(database: Backend, revision: str) -> Engine:
    """An engine on the database, migrated that far only."""
    engine = database.engine(migrated=False)
    config = alembic()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    return engine


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return current_revision(connection)


def test_migrations_make_the_tables_that_the_code_uses(database: Backend) -> None:
    """The schema after all migrations is the schema in ``schema.py``, and its revision is the newest script."""
    engine = database.engine()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        found = inspect(connection)
        for table in metadata.sorted_tables:
            named = {index["name"]: index["column_names"] for index in found.get_indexes(table.name)}
            assert all(named[str(i.name)] == [c.name for c in i.columns] for i in table.indexes), table.name
    assert revision(engine) == REVISION
    assert ScriptDirectory.from_config(alembic()).get_heads() == [REVISION]


def test_metadata_makes_what_the_migrations_make(database: Backend) -> None:
    """Column by column, with types and defaults as the database itself names them."""
    engine = database.engine()

    def described() -> dict[str, list[tuple[str, str, bool]]]:
        with engine.connect() as connection:
            found = inspect(connection)
            return {
                name: [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)]
                + [("primary key", str(found.get_pk_constraint(name)["constrained_columns"]), False)]
                for name in metadata.tables
            }

    migrated = described()
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert described() == migrated


def test_a_log_of_the_first_schema_is_migrated(database: Backend) -> None:
    """Its entries stay, and documents can be kept beside them."""
    engine = at_revision(database, "0001")
    entries = EntryStore(engine)
    entries.create_head("origin")
    entries.append([Row("outcome", "t", "d", 1, b"body", bytes(32), b"{}", b"{}")])
    assert upgrade(engine) == "0001"
    assert revision(engine) == REVISION
    documents, policy = DocumentStore(engine), Document("policy", b"{}")
    documents.put_all([policy])
    assert documents.get_many([policy.digest]) == {policy.digest: policy}
    assert [row.body for row in entries.rows(0, 9)] == [b"body"]
    entries.close()


def test_what_was_found_before_there_was_a_table_is_in_it(database: Backend) -> None:
    """As if its entries were written now; one that cannot be read is passed over."""
    rng = random.Random(2)
    said = [some_facts(rng, number) for number in range(450)]
    said.append(facts(*(found("jwt", str(number)) for number in range(100)), count=140))
    damaged = replace(finding(facts(found()), told=False), envelope=b"{}")
    other = Row("outcome", "acme", "o", 1, b"", bytes(32), b"{}", b"{}")

    def rows(*, told: bool) -> list[Row]:
        made = [finding(each, told=told) for each in said]
        return [other, *made[:200], damaged, *made[200:]]

    def stored(engine: Engine) -> list[dict[str, object]]:
        with engine.connect() as connection:
            query = select(findings).order_by(findings.c.idx, findings.c.place)
            return [dict(each._mapping) for each in connection.execute(query)]

    engine = at_revision(database, "0004")
    entries = EntryStore(engine)
    entries.create_head("origin")
    entries.append(rows(told=False))
    assert upgrade(engine) == "0004"
    migrated = stored(engine)
    assert len(migrated) == sum(len(each.found) for each in said)
    database.execute("DELETE FROM findings")
    database.execute("DELETE FROM log_entries")
    database.execute("UPDATE log_head SET next = 0")
    entries.append(rows(told=True))
    assert stored(engine) == migrated
    entries.close()


def test_a_start_migrates_sqlite_and_refuses_an_old_postgresql(database: Backend) -> None:
    """Other replicas may still use it: an operator says when."""
    engine = at_revision(database, "0003")
    if database.kind == "sqlite":
        ensure_schema(engine)
    else:
        with pytest.raises(LogUnavailable, match=r"at revision 0003, .* run `sovereign db upgrade`"):
            ensure_schema(engine)
        assert revision(engine) == "0003"
        assert upgrade(engine) == "0003"
        ensure_schema(engine)
    assert revision(engine) == REVISION
    assert upgrade(engine) == REVISION


def test_a_database_from_a_newer_release_is_refused(database: Backend) -> None:
    """An unknown revision is an error that says so, also to ``upgrade``."""
    engine = database.engine()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for what in (ensure_schema, upgrade):
        with pytest.raises(LogUnavailable, match="not known to this release: it is at revision 9999"):
            what(engine)
    assert revision(engine) == "9999"


def test_a_migration_that_fails_changes_nothing(database: Backend) -> None:
    """Half a schema would be a database that no release knows."""
    engine = at_revision(database, "0003")
    database.execute("CREATE TABLE key_use (other INT)")  # in the way of the fourth
    with pytest.raises(Exception, match="key_use"):
        upgrade(engine)
    with engine.connect() as connection:
        assert current_revision(connection) == "0003"
        assert not inspect(connection).has_table("resources")
    database.execute("DROP TABLE key_use")
    assert upgrade(engine) == "0003"


@pytest.mark.services
def test_names_are_in_the_same_order_in_every_language(postgres: PostgresDatabase) -> None:
    """A database that sorts as English does gives pages as SQLite and Python do: lists are merged with the file's."""
    name = f"{postgres.name}_en"
    postgres.execute(
        f"CREATE DATABASE {name} LOCALE_PROVIDER icu ICU_LOCALE 'en' TEMPLATE template0"
        f" OWNER {postgres.server.role}"
    )
    engine = open_postgres(Secret(postgres.server.url(name)))
    ensure_schema(engine)
    entries, store = EntryStore(engine), ResourceStore(engine)
    entries.create_head("origin")
    names = ["t/a-b", "t/ab", "t/a.c", "t/a_b", "t/B", "t/a", "t/\u00e4", "t/z"]
    for number, each in enumerate(names):
        row = Row("change", "", f"d{number}", 1, b"", bytes(32), b"{}", b"{}")
        entries.change(row, create(each, "any", "", "{}", 1))
    with engine.connect() as connection:
        probe = "SELECT n FROM (VALUES ('t/a-b'), ('t/ab'), ('t/B')) AS v(n) ORDER BY n"
        assert connection.exec_driver_sql(probe).scalars().all() != ["t/B", "t/a-b", "t/ab"], "it is English"
    paged: list[str] = []
    while page := store.page("any", "t", paged[-1] if paged else "", 3):
        paged += [found.name for found in page]
    assert paged == sorted(names)
    entries.close()
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.services
def test_replicas_that_start_at_once_migrate_once(postgres: PostgresDatabase) -> None:
    """On an empty database all of them come up."""
    engines = [open_postgres(Secret(postgres.url)) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ensure_schema, engines))
    assert {revision(engine) for engine in engines} == {REVISION}
    for engine in engines:
        engine.dispose()


@pytest.mark.services
def test_an_upgrade_may_take_its_time(postgres: PostgresDatabase) -> None:
    """The limits of ordinary statements do not hold for it, and hold again afterwards."""
    engine = open_postgres(Secret(postgres.url), patience_s=0.5)
    blocker = open_postgres(Secret(postgres.url))
    with ThreadPoolExecutor(1) as threads, blocker.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({0x736F76_6D6967})")
        waiting = threads.submit(upgrade, engine)
        with pytest.raises(TimeoutError):
            waiting.result(1.5)
        connection.rollback()
        assert waiting.result(30) is None
    with engine.connect() as connection, pytest.raises(Exception, match="statement timeout"):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    engine.dispose()
    blocker.dispose()


def test_alembic_is_not_imported_when_nothing_is_to_migrate(tmp_path: Path) -> None:
    """Opening a database that is up to date does not pay for Alembic, nor SQLite for PostgreSQL's driver."""
    code = (
        "import sys; from pathlib import Path; from sovereign_ext.storage.engine import open_sqlite;"
        "from sovereign_ext.storage.migrate import ensure_schema;"
        "ensure_schema(open_sqlite(Path(sys.argv[1])));"
        "print('alembic' in sys.modules, 'psycopg' in sys.modules)"
    )
    command_line = [sys.executable, "-c", code, str(tmp_path / "log.db")]
    said = [subprocess.check_output(command_line, text=True, timeout=60).split() for _ in range(2)]
    assert said == [["True", "False"], ["False", "False"]]


def test_db_status_and_upgrade(
    database: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator sees, on both; the URL is never shown."""
    arguments = ["--config", str(tmp_path / "sovereign.yaml"), "--state-dir", str(tmp_path / "state")]
    section = ""
    if database.url is None:
        (tmp_path / "state" / "log").mkdir(parents=True)
        database.path = tmp_path / "state" / "log" / "log.db"
    else:
        section = (
            "storage: {database: {url_env: DB}, shared: {url_env: V}, tiles: {directory: t}, log_keys_dir: k, "
            "key_hash: {env: K}}\n"
        )
        monkeypatch.setenv("DB", database.url.reveal())
    (tmp_path / "sovereign.yaml").write_text("version: 1\n" + section)
    at_revision(database, "0002")
    assert main(["db", "status", *arguments]) == 1
    assert capsys.readouterr().out == (
        f"database   {database.kind}\nrevision   0002\nneeded     {REVISION}\n"
    )
    assert main(["db", "upgrade", *arguments]) == 0
    assert main(["db", "upgrade", *arguments]) == 0
    assert main(["db", "status", *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"upgraded from revision 0002 to {REVISION}",
        f"already at revision {REVISION}",
        f"database   {database.kind}",
    ]


@pytest.mark.services
def test_db_commands_say_what_is_wrong_in_one_line(
    postgres: PostgresDatabase,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong password, a server that is down, no database at all."""
    (tmp_path / "sovereign.yaml").write_text(
        "version: 1\nstorage: {database: {url_env: DB}, shared: {url_env: V}, tiles: {directory: t}, "
        "log_keys_dir: k, key_hash: {env: K}}\n"
    )
    arguments = ["db", "status", "--config", str(tmp_path / "sovereign.yaml")]
    monkeypatch.setenv("DB", postgres.url.replace(postgres.server.password, "wrong-canary"))
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "password authentication failed" in said
    assert "wrong-canary" not in said
    monkeypatch.setenv("DB", postgres.url)
    postgres.stop()
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "Connection refused" in said
    assert postgres.server.password not in said
    (tmp_path / "sovereign.yaml").write_text("version: 1\n")
    assert main([*arguments, "--state-dir", str(tmp_path)]) == 1
    assert "there is no database in" in capsys.readouterr().err
