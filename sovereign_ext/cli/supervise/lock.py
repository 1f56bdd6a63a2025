"""Who runs on a state directory: a file with the supervisor's process id, locked for as long as it lives.

The lock (``flock``) is the truth, the number only says whom to signal: the system drops the lock when its
holder dies, however it dies, so a process id that was given to somebody else afterwards is never mistaken
for ours.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from sovereign_ext.errors import StartError

_POLL_S = 0.02


class SupervisorLock:
    """Held from ``take`` to the end of the process, or to ``release``. Survives ``fork`` in the child."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> SupervisorLock:
        """Lock the file; raises ``StartError`` when another supervisor holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # Nobody runs when it was only another command that looked, which locks for an instant.
                if (pid := running(path)) is not None:
                    os.close(descriptor)
                    raise StartError(
                        f"already running on {path.parent} (process {pid}): `sovereign down` stops it"
                    ) from None
        lock = cls(descriptor)
        lock.sign()
        return lock

    def sign(self) -> None:
        """Write this process's id into the file; a forked child that carries on signs again."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def running(path: Path) -> int | None:
    """The process id of the supervisor that holds the lock, ``None`` when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        while _is_held(descriptor):
            # Empty for the instant between locking and signing, and while an orderly stop ends.
            if digits := os.pread(descriptor, 32, 0).strip():
                return int(digits)
            time.sleep(_POLL_S)
    finally:
        os.close(descriptor)
    return None


def wait_released(path: Path, seconds: float) -> bool:
    """Whether the lock was free within so many seconds. There is no portable way to be told."""
    deadline = time.monotonic() + seconds
    while running(path) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
