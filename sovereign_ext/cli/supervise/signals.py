"""Signals as something to wait for: the loop sleeps until one comes, and counts those that ask to stop."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Within the ``with`` block the asking signals only count in ``stops``; a child's end only wakes
    ``wait``.
    """

    def __init__(self) -> None:
        self.stops = 0
        self._reader, self._writer = socket.socketpair()
        self._before: dict[signal.Signals, Any] = {}
        self._before_fd = -1

    def __enter__(self) -> Signals:
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*_STOPS, signal.SIGCHLD):
            self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float | None) -> None:
        """Sleep until a signal came, at most so many seconds; ``None`` waits without limit."""
        if select.select([self._reader], [], [], seconds)[0]:
            while True:
                try:
                    if not self._reader.recv(512):
                        return
                except BlockingIOError:
                    return

    def _count(self, number: int, frame: FrameType | None) -> None:
        if number in _STOPS:
            self.stops += 1
