"""Starts the processes of a measurement and ends them, whatever happens to the measurement.

Each child leads a process group of its own that is on a ``Leash``: should this process be killed, the leash's guard
ends them. Deliberately not here: what the processes are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sovereign_ext.cli.supervise.child import tail
from sovereign_ext.cli.supervise.leash import Leash

_LOOK_S = 0.02
_END_S = 40.0  # a gateway finishes its log first


class BenchError(Exception):
    """The measurement cannot be made; the text says why, in lines for a terminal."""


class Children:
    """``with Children() as children``: whatever was started is ended on the way out, the newest first."""

    def __init__(self) -> None:
        self._leash = Leash()
        self._running: list[Child] = []

    def __enter__(self) -> Children:
        self._leash.hold()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for child in reversed(self._running):
                child.end()
                self._leash.drop(child.pid)
        finally:
            self._leash.release()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> Child:
        """Start a process. With ``piped`` its standard input and output are ours, else its output goes to ``log``."""
        with log.open("ab") as out:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else out,
                stderr=out,
                env=dict(os.environ if environ is None else environ),
                process_group=0,
            )
        self._leash.add(popen.pid)
        child = Child(name, popen, log)
        self._running.append(child)
        return child


class Child:
    """A running process."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    @property
    def input(self) -> IO[bytes]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def wait_until(self, ready: Callable[[], Any], what: str, within_s: float) -> Any:
        """The first truthy value of ``ready``. Raises ``BenchError`` when it ends or takes longer than that."""
        deadline = time.monotonic() + within_s
        while not (value := ready()):
            if (code := self._popen.poll()) is not None:
                raise BenchError(f"{self.name} ended with exit code {code} before {what}\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: longer than {within_s:g} s until {what}\n{tail(self.log)}")
            time.sleep(_LOOK_S)
        return value

    def end(self) -> None:
        """SIGTERM and, should that not be enough, SIGKILL, to its group."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._popen.poll() is None:
            self._signal(signal.SIGTERM)
        try:
            self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)  # and whatever it left behind
            self._popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
