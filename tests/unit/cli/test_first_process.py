"""Commands as the first process of a container, told to end while they start: in a PID namespace of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from sovereign_ext.cli.main import EXIT_TERMINATED

pytestmark = pytest.mark.services

PATIENCE_S = 30.0
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Not every machine lets everybody make them."""
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("no PID namespaces here")


@pytest.fixture
def silent_database(tmp_path: Path) -> Iterator[socket.socket]:
    """A PostgreSQL that takes connections and never says a word; ``sovereign.yaml`` in ``tmp_path`` names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        storage = {
            "database": {"url_env": "DATABASE_URL"},
            "shared": {"url_env": "VALKEY_URL"},
            "tiles": {"directory": "tiles"},
            "log_keys_dir": "log-keys",
            "key_hash": {"env": "KEY_HASH"},
        }
        config = {"version": 1, "origin": "first.example/log", "storage": storage}
        (tmp_path / "sovereign.yaml").write_text(yaml.safe_dump(config))
        yield server


@contextmanager
def first_process(
    directory: Path, server: socket.socket, *arguments: str
) -> Iterator[tuple[psutil.Process, subprocess.Popen[bytes]]]:
    """``sovereign`` with ``arguments`` as process 1 of a namespace, and who waits for it outside."""
    environ = {
        "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/d?sslmode=disable",
        "VALKEY_URL": "redis://127.0.0.1:1/0",
        "KEY_HASH": "k" * 64,
    }
    argv = [*NAMESPACE, sys.executable, "-m", "sovereign_ext.cli.main", *arguments]
    with subprocess.Popen(argv, cwd=directory, env={**os.environ, **environ}) as outer:
        try:
            with server.accept()[0]:  # so it has come to where it waits for the database
                (inner,) = psutil.Process(outer.pid).children()
                yield inner, outer
        finally:
            outer.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        ("processor", "--config", "sovereign.yaml", "--state-dir", "state"),
        ("db", "status", "--config", "sovereign.yaml"),
        ("db", "upgrade", "--config", "sovereign.yaml"),
    ],
    ids=lambda given: " ".join(given[:2]),
)
def test_sigterm_ends_a_command_that_is_still_starting(
    arguments: tuple[str, ...], tmp_path: Path, silent_database: socket.socket
) -> None:
    """At once, with the exit code of a process that SIGTERM ended; unasked it would wait for its database."""
    with first_process(tmp_path, silent_database, *arguments) as (process, outside):
        process.send_signal(signal.SIGTERM)
        assert outside.wait(5.0) == EXIT_TERMINATED
