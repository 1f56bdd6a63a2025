"""What processes use: CPU time between two moments, resident memory now and at its peak.

On Linux CPU time comes from the scheduler's own account in nanoseconds (/proc/PID/task/*/schedstat), because
/proc/PID/stat counts in steps of 10 ms, which is much beside a short round. Elsewhere, or when a thread ended in
between and took its account along, it is ``psutil``'s user and system time. Deliberately not here: whom to measure.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU time of one process so far."""

    seconds: float  # user and system, of all its threads
    threads: dict[int, int]  # thread id to nanoseconds on a CPU; empty where the system does not say

    def until(self, later: Reading) -> float:
        """Seconds of CPU time between the two readings."""
        if self.threads and self.threads.keys() <= later.threads.keys():
            return (sum(later.threads.values()) - sum(self.threads.values())) / 1e9
        return later.seconds - self.seconds


class Meter:
    """One part of a stack under measurement: a process and all that it started, now and later."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def read(self) -> dict[int, Reading]:
        """A reading of every process."""
        found = {self._process.pid: _reading(self._process)}
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended, which children may do
                found[child.pid] = _reading(child)
        return found

    def cpu_since(self, before: dict[int, Reading]) -> float:
        """Seconds of CPU time of all processes since ``before``."""
        zero = Reading(0.0, {})
        return sum(before.get(pid, zero).until(now) for pid, now in self.read().items())

    def resident_mb(self) -> float:
        """Resident memory, MB (10^6 bytes)."""
        total = float(self._process.memory_info().rss)
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += child.memory_info().rss
        return total / 1e6

    def peak_mb(self) -> float | None:
        """The most memory that the process itself had resident at one time, MB; ``None`` where nobody counts."""
        return _peak(self._process.pid)

    def option(self, name: str) -> str:
        """The value of an option in the process's argument list. Raises ``ValueError`` without it."""
        words = self._process.cmdline()
        return str(words[words.index(name) + 1])


def machine_busy_s() -> float:
    """CPU seconds that the whole machine has spent on anything since it started."""
    times = psutil.cpu_times()._asdict()
    guest = ("guest", "guest_nice")  # already in user and nice
    return float(sum(value for name, value in times.items() if name not in ("idle", "iowait", *guest)))


def _reading(process: psutil.Process) -> Reading:
    times = process.cpu_times()
    threads = {}
    for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        try:
            threads[int(path.parent.name)] = int(path.read_text().split()[0])
        except OSError:  # the thread has just ended
            continue
    return Reading(times.user + times.system, threads)


def _peak(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None
