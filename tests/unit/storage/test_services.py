"""The servers that other tests rely on: they come back after whatever was done to them, and end with pytest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from services import PostgresDatabase, Valkey

pytestmark = pytest.mark.services

TESTS = Path(__file__).parents[2]


def test_a_database_survives_what_a_test_does_to_it(postgres: PostgresDatabase) -> None:
    """What was committed is there after a stop and after SIGKILL to all processes, under the same URL."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    for number, again in enumerate((postgres.restart, postgres.kill)):
        with psycopg.connect(postgres.url) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
        again()
        postgres.start()
    assert postgres.execute("SELECT n FROM kept ORDER BY n") == [(0,), (1,)]
    assert postgres.execute("SHOW fsync") == [("on",)]


def test_an_owner_is_no_superuser(postgres: PostgresDatabase) -> None:
    """The tests need no more rights than a real installation gives."""
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchall() == [(False,)]
        assert postgres.disconnect() == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(postgres.server.password, "wrong"))


def test_a_frozen_server_answers_nobody(valkey: Valkey) -> None:
    """A client waits; after the thaw it goes on."""
    with valkey.client() as client:
        client.set("k", "v")
        valkey.freeze()
        impatient = redis.Redis.from_url(valkey.url, socket_timeout=0.1, retry=None)
        with pytest.raises(redis.TimeoutError):
            impatient.get("k")
        impatient.close()
        valkey.thaw()
        assert client.get("k") == b"v"
        valkey.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("k")
        valkey.start()
        assert client.get("k") is None, "nothing is persisted"


def test_a_killed_pytest_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL to pytest ends both servers, and the next run removes their directory."""
    (tmp_path / "conftest.py").write_text("from services import _services, postgres, valkey\n")
    (tmp_path / "test_it.py").write_text(
        "import os, signal, pathlib\n"
        "def test_it(postgres, valkey):\n"
        "    said = f'{postgres.server.pid} {valkey.pid} {valkey.directory.parent}'\n"
        "    pathlib.Path('pids').write_text(said)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        "test_it.py",
    ]
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stdout
    first, second, directory = (tmp_path / "pids").read_text().split()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(int(pid)) for pid in (first, second)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert Path(directory).exists()
    (tmp_path / "test_it.py").write_text("def test_it(valkey):\n    assert valkey.client().ping()\n")
    subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=True, timeout=120)
    assert not Path(directory).exists()
