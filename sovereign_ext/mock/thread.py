"""A mock server with an event loop in a thread of its own, for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.server import MockServer

_Result = TypeVar("_Result")
_STOP_S = 10.0


class RunningMock:
    """``with RunningMock("openai") as mock: mock.url``. Takes what ``MockServer`` takes.

    Every method may be called from any thread and returns once the server has done it. Records returned by
    ``requests`` are live: ``ended`` changes when their answer ends.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        self.server = MockServer(kind, **options)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"mock-{kind}", daemon=True)

    @property
    def url(self) -> str:
        """``scheme://host:port`` without a path."""
        return self.server.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.server.port

    def fault(
        self, fault: Fault, *, model: str | None = None, path: str | None = None, times: int | None = None
    ) -> None:
        """Put a fault in force for requests that arrive from now on."""
        self._call(lambda: self.server.fault(fault, model=model, path=path, times=times))

    def clear(self) -> None:
        """Lift every fault and forget every request."""
        self._call(self.server.faults.clear)
        self._call(self.server.recording.clear)

    def requests(self) -> list[Recorded]:
        """The remembered requests, oldest first."""
        return self._call(self.server.recording.all)

    def refuse(self) -> None:
        """Stop listening: new connections are refused until ``listen``."""
        self._await(self.server.refuse())

    def listen(self) -> None:
        """Listen again, on the same port."""
        self._await(self.server.start())

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._await(self.server.start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._await(self.server.stop())
        self._stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()

    def _await(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_S)

    def _call(self, function: Callable[[], _Result]) -> _Result:
        async def run() -> _Result:
            return function()

        return self._await(run())
