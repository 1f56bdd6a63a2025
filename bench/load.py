"""The load generator: a process of its own that keeps a number of connections busy and notes how long answers take.

Run as ``python -m bench.load``: each line on standard input is a ``Job`` as JSON, each line on standard output its
``Result``. It is a closed loop: a connection asks again as soon as its answer is complete. Latency runs from the
write of a request to the last byte of its answer, on a connection that is already open. A call that is not answered
as the job expects is counted with its reason, never left out in silence. Deliberately not here: rates, think time,
TLS, and anything imported that costs time per call.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from bench.http1 import Answer

_EVENT = b"data: "
_CONTENT = re.compile(rb'"content": ?"[^"]')
_KEPT = 8 * 1024  # of a stream, in bytes: its end, where the expected text is


@dataclass(frozen=True, slots=True)
class Job:
    """One load. It ends after ``seconds`` or, where that is 0, after ``calls`` calls in all."""

    port: int
    key: str = field(repr=False)  # of the caller, for the authorization header
    body: str  # JSON
    connections: int
    limit_s: float  # the last answer must be there by then
    seconds: float = 0.0
    calls: int = 0
    expect: str = ""  # what every answer must contain; looked for at the end of a stream
    events: int = 0  # at least so many server-sent events per answer; 0: the answer is not a stream

    @property
    def request(self) -> bytes:
        body = self.body.encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUser-Agent: bench\r\n"
            f"Accept: */*\r\nAuthorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(slots=True)
class Result:
    """What came of a job. Times are seconds; ``events`` are all server-sent events received."""

    latencies: list[float] = field(default_factory=list)
    first_contents: list[float] = field(default_factory=list)  # from the write to the first text of a stream
    events: int = 0
    wall: float = 0.0
    cpu: float = 0.0  # of the load generator itself
    failures: dict[str, int] = field(default_factory=dict)


class Load:
    """A job under way: hands out calls, collects what came of them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.request = job.request
        self.expect = job.expect.encode()
        self.result = Result()
        self._left = job.calls
        self._until = 0.0
        self._open = job.connections
        self.over = asyncio.Event()

    def start(self) -> None:
        """The clock runs from here."""
        if self.job.seconds:
            self._until = time.perf_counter() + self.job.seconds

    def take(self) -> bool:
        """Whether there is another call to make."""
        if self._until:
            return time.perf_counter() < self._until
        self._left -= 1
        return self._left >= 0

    def failed(self, reason: str) -> None:
        self.result.failures[reason] = self.result.failures.get(reason, 0) + 1

    def left(self) -> None:
        """A connection has nothing more to do."""
        self._open -= 1
        if not self._open:
            self.over.set()


class Caller(asyncio.Protocol):
    """One connection: a call, its answer, the next call."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: Any = None
        self._answer: Answer | None = None
        self._began = 0.0
        self._events = 0
        self._first = False
        self._tail = b""  # the newest part of the body: events and the expected text may span reads

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def begin(self) -> None:
        """Make the next call, or close the connection."""
        if not self._load.take():
            self._answer = None
            self._transport.close()
            return
        self._answer = Answer()
        self._events, self._first, self._tail = 0, False, b""
        self._began = time.perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        answer = self._answer
        if answer is None:
            self._fail("bytes that nobody asked for")
            return
        try:
            body = answer.feed(data)
        except ValueError as error:
            self._fail(str(error))
            return
        if self._load.job.events:
            self._stream(body, now)
        else:
            self._tail = self._tail + body if self._tail else body
        if answer.done:
            self._complete(answer, now)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._load.failed(f"the connection ended inside an answer ({error or 'FIN'})")
            self._answer = None
        self._load.left()

    def drop(self) -> None:
        """Give up what is under way; the job has already failed."""
        self._answer = None
        self._transport.abort()

    def _stream(self, body: bytes, now: float) -> None:
        """Count events; a mark may span two reads, and the kept tail is one byte too short to hold a whole one."""
        seam = self._tail[1 - len(_EVENT) :] + body
        self._events += seam.count(_EVENT)
        self._tail = (self._tail + body)[-_KEPT:]
        if not self._first and _CONTENT.search(self._tail):
            self._first = True
            self._load.result.first_contents.append(now - self._began)

    def _complete(self, answer: Answer, now: float) -> None:
        load = self._load
        if answer.status != 200:
            load.failed(f"status {answer.status}: {self._tail[:300].decode(errors='replace')}")
        elif load.expect not in self._tail:
            load.failed(f"no {load.job.expect} in the answer")
        elif self._events < load.job.events:
            load.failed(f"{self._events} events in a stream, expected {load.job.events}")
        else:
            load.result.latencies.append(now - self._began)
            load.result.events += self._events
        self.begin()

    def _fail(self, reason: str) -> None:
        self._load.failed(reason)
        self.drop()


async def perform(job: Job) -> Result:
    """Do a job. Connections are opened before the clock runs."""
    loop = asyncio.get_running_loop()
    callers = []
    load = Load(job)
    for _ in range(job.connections):
        _, caller = await loop.create_connection(lambda: Caller(load), "127.0.0.1", job.port)
        callers.append(caller)
    load.start()
    began, cpu = time.perf_counter(), time.process_time()
    for caller in callers:
        caller.begin()
    try:
        await asyncio.wait_for(load.over.wait(), job.limit_s)
    except TimeoutError:
        load.failed(f"not over after {job.limit_s:g} s")
        for caller in callers:
            caller.drop()
    load.result.wall = time.perf_counter() - began
    load.result.cpu = time.process_time() - cpu
    return load.result


def main() -> None:
    # Not print: with PYTHONUNBUFFERED it drops what an interrupted write could not place, and lines are long here.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        for line in sys.stdin:
            gc.collect()
            gc.disable()  # a collection would look like a slow answer
            result = uvloop.run(perform(Job(**json.loads(line))))
            gc.enable()
            out.write(json.dumps(asdict(result)).encode() + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
