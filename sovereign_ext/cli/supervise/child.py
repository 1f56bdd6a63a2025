"""One process that the supervisor keeps running, and how long it waits before it starts it again.

Deliberately not here: which processes there are, and in which order they stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

RAPID_S = 10.0
MAX_RAPID_FAILURES = 5
MAX_DELAY_S = 5.0
_TAIL_BYTES = 4096


Settle: TypeAlias = Callable[[Callable[[], bool], Callable[[str], None]], None]
"""Lets what is open come to its end, unless the first argument says that the user does not want to wait any longer. The
second one is told what is waited for, a line each time."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. Started once ``needs`` exists; ``announces`` is the file by which it says it is ready."""

    name: str
    argv: tuple[str, ...]
    log: Path | None
    """``None``: it writes to where we write."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the environment. Here go secrets, since an argument list can be read by everybody."""
    keeps_keys: bool = False
    """Whether it gets our whole environment, where keys may be; others get what any program needs."""
    needs: Path | None = None
    announces: Path | None = None
    settle: Settle | None = field(default=None, repr=False)
    """Done before SIGTERM at an orderly stop, once it has served."""
    grace_s: float = 5.0
    """From SIGTERM to SIGKILL, seconds."""
    first_delay_s: float = 0.2
    """Before the first restart, seconds; doubles with each end that follows soon after a start."""
    with_next: bool = False
    """Whether it is stopped at the same time as the next one."""


_NEEDED: Final = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SOVEREIGN_DEBUG", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
)
_NEEDED_KINDS: Final = ("COVERAGE_", "DYLD_", "LC_", "PYTHON", "SSL_CERT_")


def _environment(*, whole: bool) -> dict[str, str]:
    if whole:
        return dict(os.environ)
    return {
        name: value for name, value in os.environ.items() if name in _NEEDED or name.startswith(_NEEDED_KINDS)
    }


class Backoff:
    """How long to wait before the next start. Ends that come soon after a start are failures in a row."""

    def __init__(self, first_delay_s: float) -> None:
        self._first_delay_s = first_delay_s
        self._rapid = 0

    def after(self, lived_s: float) -> float | None:
        """Seconds to wait after a life of ``lived_s`` seconds; ``None`` when it is time to give up."""
        self._rapid = self._rapid + 1 if lived_s < RAPID_S else 1
        if self._rapid > MAX_RAPID_FAILURES:
            return None
        return min(MAX_DELAY_S, self._first_delay_s * float(2 ** (self._rapid - 1)))


class Child:
    """A process, or the intent to start one at ``due`` (monotonic seconds)."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.backoff = Backoff(spec.first_delay_s)
        self.starts = 0
        self.started_at = 0.0
        self.due: float | None = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, which is its process group's too; ``None`` while it does not run."""
        return self._process.pid if self._process else None

    @property
    def announced(self) -> bool:
        return self.pid is not None and (self.spec.announces is None or self.spec.announces.exists())

    def may_start(self, now: float) -> bool:
        if self._process or self.due is None or now < self.due:
            return False
        return self.spec.needs is None or self.spec.needs.exists()

    def start(self, now: float) -> int:
        """Start it and return its process group, its own so that a terminal's Ctrl-C reaches only us."""
        if self.spec.announces:
            self.spec.announces.unlink(missing_ok=True)
        with contextlib.ExitStack() as opened:
            out = None
            if self.spec.log is not None:
                out = os.open(self.spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                opened.callback(os.close, out)
            self._process = subprocess.Popen(  # noqa: S603 - our own list, no shell
                self.spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**_environment(whole=self.spec.keeps_keys), **self.spec.env},
                process_group=0,
            )
        self.started_at, self.due = now, None
        self.starts += 1
        return self._process.pid

    def ended(self) -> str | None:
        """How it ended, once, in words; ``None`` while it runs or is not started."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self.signal(signal.SIGKILL)  # what it started itself and left behind
        self._process = None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process and to everything that it started."""
        if self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
                os.killpg(self._process.pid, number)


def rotate(log: Path) -> None:
    """Keep the last run's output as ``….log.1`` and begin anew."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log for a person's terminal: no control characters, at most 4 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    clean = ("".join(c for c in line if c.isprintable() or c == "\t") for line in text.splitlines())
    return "\n".join(line for line in list(clean)[-lines:] if line)
