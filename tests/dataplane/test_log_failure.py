"""The transparency log cannot take entries: no answer leaves without its entry, and recovery needs no help."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane


@pytest.fixture
def logging() -> Iterator[Gateway]:
    """A stack of its own: its log is going to fail."""
    with ExitStack() as running:
        config = ConfigFile()
        mock = running.enter_context(RunningMock("openai"))
        config.provider("one", "openai", mock.url)
        config.model("chat", ["one"])
        yield Gateway(running.enter_context(Stack(config)), {"one": mock})


def database(stack: Stack) -> Path:
    return stack.state_dir / "log" / "log.db"


def healthy(stack: Stack) -> bool:
    return bool(stack.management("/sf/v1/log")["healthy"])


def refused_json(stack: Stack, **body: object) -> None:
    """The answer is withheld: 503, retriable, nothing of the provider's text, no attestation."""
    reply = stack.chat("chat", **body)
    assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
    assert reply.headers["x-should-retry"] == "true"
    assert b"You said" not in reply.body
    assert b"rekor_index" not in reply.body
    assert "x-sf-rekor-index" not in reply.headers


def refused_stream(gateway: Gateway) -> None:
    """What was streamed cannot be taken back, but it does not end as an answer does."""
    gateway.mocks["one"].fault(Fault(tokens=5, pace_ms=5))
    reply = gateway.stack.chat("chat", stream=True)
    gateway.mocks["one"].clear()
    error = reply.stream_error
    assert error is not None
    assert error["code"] == "log_unavailable"
    assert reply.complete
    assert not reply.done
    assert reply.finish_reasons == []
    assert b"rekor_index" not in reply.body


def test_a_locked_database_fails_closed_and_recovers(logging: Gateway) -> None:
    """Another process holds the write lock, as a runaway backup might, until it lets go."""
    stack = logging.stack
    before = stack.chat("chat").attestation["rekor_index"]
    blocker = sqlite3.connect(database(stack), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        refused_json(stack)
        refused_stream(logging)
        refused_json(stack, messages=[])  # a denial needs its entry as well
        assert not healthy(stack)
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    eventually(lambda: healthy(stack), "the log to recover")
    after = stack.chat("chat")
    assert after.status == 200
    assert after.attestation["rekor_index"] > before
    stack.fsck()


def test_a_full_disk_fails_closed_and_recovers(logging: Gateway) -> None:
    """A limit on the size of files stands for the disk: writes fail with EFBIG as they would with ENOSPC."""
    stack = logging.stack
    stack.processor.end()
    stack.start_processor()
    stack.wait_serving()
    room = max(path.stat().st_size for path in database(stack).parent.iterdir() if path.is_file()) + 64 * 1024
    resource.prlimit(stack.processor.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    given = []
    for _ in range(400):
        reply = stack.chat("chat")
        if reply.status != 200:
            break
        given.append(reply.attestation["rekor_index"])
    assert reply.status == 503, "the disk never filled"
    refused_json(stack)
    refused_json(
        stack, stream=True
    )  # the whole stream came at once: nothing of it has left, so it can be a 503
    refused_stream(logging)
    logging.mocks["one"].fault(Fault(status=503))
    refused_json(stack)  # nor does an error at the end of a walk leave without its entry
    logging.mocks["one"].clear()
    resource.prlimit(
        stack.processor.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    eventually(lambda: healthy(stack), "the log to recover")
    assert stack.chat("chat").status == 200
    assert {row.index for row in stack.rows()} >= set(given)
    stack.fsck()


def test_a_client_that_leaves_while_the_log_hangs_still_gets_its_entry(logging: Gateway) -> None:
    """The call happened; it is written down as soon as the log can, though nobody waits for it."""
    stack = logging.stack
    logging.mocks["one"].fault(Fault(tokens=20, pace_ms=5))
    blocker = sqlite3.connect(database(stack), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        running.hang_up()
        decision = running.headers["x-sf-decision-id"]
    blocker.execute("ROLLBACK")
    blocker.close()
    row = stack.row(decision)
    assert row.predicate["result"] in ("answered", "truncated")
    stack.fsck()
