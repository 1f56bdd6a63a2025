"""The supervisor's lock: one at a time, true even after SIGKILL, whatever the file says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sovereign_ext.cli.supervise.lock import SupervisorLock, running, wait_released
from sovereign_ext.errors import StartError

_HOLD = (
    "import sys; from pathlib import Path; from sovereign_ext.cli.supervise.lock import SupervisorLock\n"
    "lock = SupervisorLock.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "supervisor.lock"


def test_nobody_runs_without_a_file(path):
    """A state directory that was never used."""
    assert running(path) is None


def test_the_lock_names_its_holder(path):
    """While it is held; afterwards nobody runs."""
    lock = SupervisorLock.take(path)
    assert running(path) == os.getpid()
    lock.release()
    assert running(path) is None


def test_a_second_start_is_refused_in_one_line(path):
    """It says who runs and how to stop it."""
    lock = SupervisorLock.take(path)
    try:
        with pytest.raises(
            StartError, match=rf"^already running on .* \(process {os.getpid()}\): `sovereign down`"
        ):
            SupervisorLock.take(path)
    finally:
        lock.release()


def test_a_number_without_a_lock_is_not_believed(path):
    """After a crash the number may belong to any process by now, for example to this one."""
    path.write_text(f"{os.getpid()}\n")
    assert running(path) is None
    assert wait_released(path, 0)
    SupervisorLock.take(path).release()


def test_the_lock_ends_with_its_holder(path):
    """Even when it is killed, and a waiting `sovereign down` sees it."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert running(path) == holder.pid
        assert not wait_released(path, 0.05)
        holder.kill()
        assert wait_released(path, 10)


def test_a_child_does_not_inherit_the_lock(path):
    """Else a child that outlives the supervisor would keep the directory locked."""
    lock = SupervisorLock.take(path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        assert running(path) is None
        child.communicate(b"\n")
