"""The load generator counts what it should: a benchmark that miscounts would still print a table."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.http1 import Answer
from bench.load import Job, Result, perform
from bench.rounds import percentile
from sovereign_ext.mock.faults import Cut, Fault, Stall
from sovereign_ext.mock.server import MockServer

BODY = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
ROOT = Path(__file__).parents[3]
HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\n"


def run(fault: Fault | None, stream: bool = False, **job: object) -> Result:
    """A job of six calls on two connections against a real mock."""

    async def main() -> Result:
        async with MockServer("openai", faults=[fault] if fault else ()) as mock:
            body = json.dumps(BODY | ({"stream": True} if stream else {}))
            settings = {"connections": 2, "calls": 6, "limit_s": 20.0} | job
            return await perform(Job(port=mock.port, key="k", body=body, **settings))

    return asyncio.run(main())


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=12),
    chunked=st.booleans(),
)
def test_an_answer_is_read_however_it_arrives(parts: list[bytes], cuts: list[int], chunked: bool):
    """The same body, and done with its last byte and not before, over any cuts."""
    body = b"".join(parts)
    if chunked:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        wire = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    places = [0, *sorted(min(cut, len(wire) - 1) for cut in cuts), len(wire)]
    answer, got = Answer(), b""
    for begin, end in itertools.pairwise(places):
        assert not answer.done
        got += answer.feed(wire[begin:end])
    assert answer.done
    assert (answer.status, got) == (200, body)


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"\r\n",
        HEAD + b"content-length: 1\r\n\r\nab",
        HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nmore",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_such_answer_is_refused(wire: bytes):
    """Bytes that do not add up would otherwise be measured as a quick answer."""
    with pytest.raises(ValueError):
        Answer().feed(wire)


def test_calls_are_counted_and_timed():
    """Exactly as many as asked for, each with a latency."""
    result = run(Fault(delay_ms=20))
    assert len(result.latencies) == 6
    assert not result.failures
    assert min(result.latencies) >= 0.02
    assert result.wall >= 3 * 0.02


def test_a_load_over_time_ends():
    """With seconds instead of a number of calls."""
    result = run(None, calls=0, seconds=0.2)
    assert result.latencies
    assert not result.failures
    assert 0.2 <= result.wall < 10


@pytest.mark.parametrize("cut", [None, 3, 7, 64])
def test_events_are_counted_whatever_the_writes(cut: int | None):
    """20 texts, a role, a finish and [DONE] in each stream, though a mark may span two reads."""
    result = run(Fault(tokens=20, write_size=cut), stream=True, events=20)
    assert not result.failures
    assert result.events == 6 * 23
    assert len(result.first_contents) == 6


def test_the_first_text_is_not_the_first_byte():
    """The mock sends the role and pauses before the first text."""
    result = run(Fault(tokens=3, pace_ms=20), stream=True, events=3)
    assert min(result.first_contents) >= 0.02
    assert min(result.latencies) >= min(result.first_contents) + 2 * 0.02


@pytest.mark.parametrize(
    ("fault", "options", "reason"),
    [
        (Fault(status=503), {}, lambda text: text.startswith("status 503: {")),
        (None, {"expect": "_sf_attestation"}, lambda text: text == "no _sf_attestation in the answer"),
        (Fault(tokens=3), {"stream": True, "events": 200}, lambda text: "6 events in a stream" in text),
        (Fault(stall=Stall(at="headers")), {"limit_s": 0.2}, lambda text: text == "not over after 0.2 s"),
    ],
)
def test_a_bad_answer_is_a_failure_with_a_reason(
    fault: Fault | None, options: dict[str, object], reason: Callable[[str], bool]
):
    """None of them has a latency."""
    result = run(fault, **options)
    assert not result.latencies
    assert result.failures
    assert all(map(reason, result.failures)), result.failures


def test_a_cut_answer_is_a_failure():
    """Each connection ends there and the job ends with the last of them."""
    result = run(Fault(cut=Cut(after_bytes=10, how="fin")))
    assert not result.latencies
    assert sum(result.failures.values()) == 2


@given(st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=300), st.integers(1, 100))
def test_percentiles_are_nearest_ranks(values: list[float], percent: int):
    """At least so many percent are not greater, and fewer than that are less."""
    found = percentile(values, percent) / 1e3
    assert sum(value <= found + 1e-12 for value in values) * 100 >= percent * len(values)
    assert sum(value < found - 1e-12 for value in values) * 100 < percent * len(values)


def test_a_long_result_survives_an_interrupted_write():
    """Thousands of latencies fill the pipe many times over; unbuffered text output would lose the rest."""
    script = (
        "import signal, sys, bench.load as load\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "async def many(job): return load.Result(latencies=[0.0123456789] * job.calls)\n"
        "load.perform = many\n"
        "load.main()\n"
    )
    job = {"port": 1, "key": "k", "body": "{}", "connections": 1, "limit_s": 1.0, "calls": 60_000}
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        select.select([process.stdout], [], [], 30)  # it has begun, and cannot end before we read
        process.send_signal(signal.SIGUSR1)
        result = json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(30) == 0
    assert len(result["latencies"]) == 60_000
