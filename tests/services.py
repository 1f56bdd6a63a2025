"""Real PostgreSQL and a real Valkey or Redis for the tests, in temporary directories, on free ports of loopback.

Each pytest process (each worker of xdist) starts its own, once, when the first test wants it: a test may then stop,
freeze or kill a server without harm to another worker's. A test gets a database, or an empty Valkey, of its own. The
processes end with pytest, also when it is killed: the supervisor's guard sees to that. Nothing here looks at, or
needs, a server that the machine runs by itself.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from sqlalchemy import Engine

from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_postgres, open_sqlite
from sovereign_ext.storage.migrate import ensure_schema

PATIENCE_S = 60.0
_PREFIX = "sovereign-services-"
_QUESTION_S = 0.01


class Server:
    """One server process. It keeps its port and its directory over ``stop``, ``kill`` and ``start``."""

    name: str

    def __init__(self, directory: Path, leash: Leash) -> None:
        self.directory = directory
        self.port = free_ports(1)[0]
        self.password = secrets.token_hex(16)
        self._leash = leash
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process is there, also when it is frozen."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process that was started; its children are its own affair."""
        assert self._popen is not None, f"{self.name} does not run"
        return self._popen.pid

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return (self.directory / "output").read_text("utf-8", "replace")

    def start(self) -> None:
        """Start it, unless it runs; it answers when this returns."""
        if not self.running:
            self._forget()
            self._launch()
            self._wait_until(self._answers, "answer")

    def stop(self) -> None:
        """An orderly end: connections are closed, nothing that was committed is lost."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as in a crash of the machine, but that the disk keeps its cache."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """``stop`` and ``start``."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Connections stay, and new ones are taken by the kernel, but nobody answers until ``thaw``."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    _stop_signal = signal.SIGTERM

    def _launch(self) -> None:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _spawn(self, argv: list[str], stdin: bytes | None = None, **options: Any) -> None:
        with (self.directory / "output").open("ab") as out:
            self._popen = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=self.directory, process_group=0,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **options,
            )  # fmt: skip
        self._leash.add(self._popen.pid)
        assert self._popen.stdin is not None
        self._popen.stdin.write(stdin or b"")
        self._popen.stdin.close()

    def _family(self) -> list[psutil.Process]:
        if not self.running:
            return []
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    def _end(self, number: signal.Signals) -> None:
        if self._popen is None:
            return
        family = self._family()
        if self.running:
            self._popen.send_signal(number)
        self.thaw()
        self._popen.wait(PATIENCE_S)
        # PostgreSQL refuses to start again while a process of its last life is there.
        gone, left = psutil.wait_procs(family, PATIENCE_S)
        assert not left, f"{self.name}: {left} did not end, unlike {gone}"
        self._forget()

    def _forget(self) -> None:
        if self._popen is not None:
            self._popen.wait(PATIENCE_S)
            self._leash.drop(self._popen.pid)
            self._popen = None

    def _wait_until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert self.running, f"{self.name} ended:\n{self.output}"
            assert time.monotonic() < deadline, f"{self.name} did not {what}:\n{self.output}"
            time.sleep(_QUESTION_S)


class Postgres(Server):
    """A cluster with its defaults for durability. Databases belong to a role that is no superuser."""

    name = "PostgreSQL"
    role = "sovereign"
    _stop_signal = signal.SIGINT  # "fast": sessions are ended

    def __init__(self, directory: Path, leash: Leash) -> None:
        super().__init__(directory, leash)
        self._data = directory / "data"
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            user = _unprivileged()
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(directory, user.pw_uid, user.pw_gid)
        password_file = directory / "password"
        password_file.write_text(self.password)
        os.chown(password_file, directory.stat().st_uid, directory.stat().st_gid)
        made = subprocess.run(
            [
                program("initdb"), "--pgdata", str(self._data), "--username=postgres", "--encoding=UTF8",
                "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync",
            ],
            capture_output=True, text=True, cwd=directory, check=False, timeout=120, **self._as_user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self.start()
        self.execute(f"CREATE ROLE {self.role} LOGIN PASSWORD '{self.password}'")

    def url(self, database: str) -> str:
        """For the role that owns the databases."""
        return f"postgresql://{self.role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """One statement as the superuser, outside a transaction; the rows that it gives."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user="postgres", password=self.password,
            autocommit=True, connect_timeout=10,
        )  # fmt: skip

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "max_wal_size": "128MB",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._spawn([program("postgres"), "-D", str(self._data), *options], **self._as_user)

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


class Valkey(Server):
    """Valkey or Redis without persistence: a restart has lost everything."""

    name = "Valkey"

    @property
    def url(self) -> str:
        """Its first database, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Forget everything."""
        with self.client() as client:
            client.flushall()

    def client(self) -> redis.Redis:
        """A connection of the test's own."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, password=self.password, socket_timeout=10, retry=None
        )

    def _launch(self) -> None:
        lines = ("bind 127.0.0.1", f"port {self.port}", 'save ""', "appendonly no", f"dir {self.directory}")
        text = "\n".join((*lines, f"requirepass {self.password}", ""))
        self._spawn([program("valkey-server", "redis-server"), "-"], stdin=text.encode())

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class PostgresDatabase:
    """A database of one test's own, and the power over the server that has it."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)
        self.start, self.stop, self.kill, self.restart = (
            server.start,
            server.stop,
            server.kill,
            server.restart,
        )
        self.freeze, self.thaw = server.freeze, server.thaw

    def execute(self, statement: str) -> list[Any]:
        """One statement in it, as the superuser; the rows that it gives."""
        return self.server.execute(statement, self.name)

    def disconnect(self) -> int:
        """End every session in it, as an administrator or a fail-over does; how many there were."""
        mine = f"datname = '{self.name}' AND pid <> pg_backend_pid()"
        return len(
            self.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
        )


class Backend:
    """A database of either kind for one test, empty at first. ``path`` is SQLite's file, ``url`` PostgreSQL's."""

    def __init__(self, path: Path | None, server: PostgresDatabase | None) -> None:
        self.path = path
        self.server = server
        self.url = Secret(server.url) if server else None
        self._opened: list[Engine] = []

    @property
    def kind(self) -> str:
        """SQLAlchemy's name of the dialect."""
        return "sqlite" if self.server is None else "postgresql"

    @property
    def driver(self) -> Any:
        """The driver's module, for its ``IntegrityError`` and ``OperationalError``."""
        return sqlite3 if self.server is None else psycopg

    @property
    def opening(self) -> str:
        """An expression that opens it in another process, which has imported ``Path``."""
        if self.url is not None:
            return f"engine.open_postgres(secret.Secret({self.url.reveal()!r}))"
        return f"engine.open_sqlite(Path({str(self.path)!r}))"

    def engine(self, *, wait_s: float = 5.0, migrated: bool = True) -> Engine:
        """Another engine on the same database; waits at most about ``wait_s`` for a lock. Disposed of at the end."""
        if self.path is not None:
            engine = open_sqlite(self.path, busy_timeout_ms=round(wait_s * 1000))
        else:
            assert self.url is not None
            engine = open_postgres(self.url, patience_s=wait_s * 2)
        self._opened.append(engine)
        if migrated:
            ensure_schema(engine)
        return engine

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Another session holds what a writer of ``table`` needs."""
        with self.engine().connect() as connection:
            statement = "BEGIN IMMEDIATE" if self.path else f"LOCK TABLE {table} IN EXCLUSIVE MODE"
            connection.exec_driver_sql(statement)
            yield
            connection.rollback()

    def execute(self, statement: str) -> None:
        """One statement of a test's own, committed."""
        with self.engine(migrated=False).begin() as connection:
            connection.exec_driver_sql(statement)

    def close(self) -> None:
        """Dispose of all engines."""
        for engine in self._opened:
            engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The test runs twice, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        backend = Backend(tmp_path / "a b?#%41.db", None)
    else:
        backend = Backend(None, request.getfixturevalue("postgres"))
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def _services() -> Iterator[Callable[[type[Server]], Any]]:
    """The servers of this process by class, each started when it is first asked for."""
    leash = Leash()
    leash.hold()
    found: dict[type[Server], Server] = {}

    with open_directory() as directory:

        def server(kind: type[Server]) -> Server:
            if kind not in found:
                place = directory / kind.__name__
                place.mkdir()
                found[kind] = kind(place, leash)
            found[kind].thaw()
            found[kind].start()
            return found[kind]

        try:
            yield server
        finally:
            for each in found.values():
                each.stop()
            leash.release()


@pytest.fixture
def postgres(_services: Callable[[type[Server]], Any]) -> Iterator[PostgresDatabase]:
    """An empty PostgreSQL database. The server runs when the test begins, whatever the one before did to it."""
    server: Postgres = _services(Postgres)
    name = f"t{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name} OWNER {server.role}")
    yield PostgresDatabase(server, name)
    _services(Postgres).execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def valkey(_services: Callable[[type[Server]], Any]) -> Valkey:
    """An empty Valkey or Redis. It runs when the test begins, whatever the one before did to it."""
    server: Valkey = _services(Valkey)
    server.flush()
    return server


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that other users get through, unlike pytest's own. Left by a pytest that was killed, it goes with the
    next one's.
    """
    for found in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not psutil.pid_exists(int(found.name.removeprefix(_PREFIX).split("-")[0])):
            shutil.rmtree(found, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def program(*names: str) -> str:
    """Where the first of them is that this machine has."""
    places = sorted(glob("/usr/lib/postgresql/*/bin"), key=lambda place: int(re.sub(r"\D", "", place) or 0))
    path = os.pathsep.join([os.environ["PATH"], *reversed(places)])
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    assert found, f"these tests need {' or '.join(names)}: `scripts/setup.sh tools` installs it on Debian"
    return found


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
