"""Ends the supervisor's children when the supervisor is gone, even when it was killed with SIGKILL.

A process of its own, run as a script with nothing but the standard library. It reads lines from a pipe that
only the supervisor writes to: ``+123`` a process group to look after, ``-123`` one that has ended. When the
pipe ends the supervisor has ended, and what is still listed gets SIGTERM, and after a while SIGKILL. A pipe
instead of PR_SET_PDEATHSIG, because macOS has none, and because Envoy is not ours to change.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 5.0
_POLL_S = 0.05


def groups_left(lines: Iterable[bytes]) -> set[int]:
    """The process groups that were added and not taken away by the time the lines end."""
    left: set[int] = set()
    for line in lines:
        number = int(line[1:])
        if line.startswith(b"+"):
            left.add(number)
        else:
            left.discard(number)
    return left


def end(groups: set[int], grace_s: float) -> None:
    """Ask every group to end, wait, and kill what is left."""
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether there was anybody to signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    end(groups_left(sys.stdin.buffer), GRACE_S)
