"""The supervisor's end of the guard's pipe: which process groups must not outlive this process."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from sovereign_ext.cli.supervise import guard


class Leash:
    """Starts the guard, and again should it have ended. ``release`` before an orderly end."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._guard: subprocess.Popen[bytes] | None = None

    def hold(self) -> None:
        """Start the guard before there is anything to lose."""
        self._tell("")

    def add(self, group: int) -> None:
        """A process group that is to end with us."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def drop(self, group: int) -> None:
        """A process group that has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def release(self) -> None:
        """Let the guard end what is still listed, and wait until it has."""
        if self._guard is not None:
            assert self._guard.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def _tell(self, line: str) -> None:
        if self._guard is not None and self._guard.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._write(self._guard, line)
                return
        self.release()  # it has ended: only its pipe is left
        self._guard = subprocess.Popen(  # noqa: S603 - our own list, no shell
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._write(self._guard, "".join(f"+{group}\n" for group in self._groups))

    @staticmethod
    def _write(process: subprocess.Popen[bytes], text: str) -> None:
        assert process.stdin is not None
        process.stdin.write(text.encode())
        process.stdin.flush()
