"""kill -9 at random moments under load: what a client was given is in the log, at the index it was told.

Rounds are seeded and short; each kills the processor or Envoy at a moment counted in answers, so that it falls
between any two steps of some call. After each round every attestation that any client ever held is looked up.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import wire
from stack import ConfigFile, Stack, eventually

from sovereign_ext.attest.promise import Promise, verify_promise
from sovereign_ext.attest.trusted_root import LOG_KEYS, read_log_keys
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.proof import consistency_proof, verify_consistency
from sovereign_ext.tlog.reader import LogReader

pytestmark = pytest.mark.dataplane

ROUNDS = 12
CLIENTS = 6
PAUSE_S = 0.02  # as callers pause before they try again: what is starting needs the processor more
_ATTESTATION = re.compile(rb'"_sf_attestation":(\{.*?"receipt_url":"[^"]*"\})')


class Clients:
    """Callers that go on through every failure and keep what they were given."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.given: dict[int, dict[str, object]] = {}
        self.clashes: list[int] = []
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stopping.is_set():
            try:
                reply = self._stack.chat("chat", stream=number % 2 == 0, timeout_s=10)
            except (OSError, http.client.HTTPException):
                self._stopping.wait(PAUSE_S)  # nobody is listening, or the connection was torn: given nothing
                continue
            self._keep(reply)
            if reply.status != 200:
                self._stopping.wait(PAUSE_S)

    def _keep(self, reply: wire.Reply) -> None:
        found = [json.loads(match) for match in _ATTESTATION.findall(reply.body)]
        with self._lock:
            if reply.status == 200 and reply.complete and not found:
                self.errors.append(f"a complete answer without attestation: {reply.body[-300:]!r}")
            for attestation in found:
                index = attestation["rekor_index"]
                if self.given.setdefault(index, attestation) != attestation:
                    self.clashes.append(index)


def check(stack: Stack, clients: Clients) -> int:
    """Every given index is there with its leaf; nothing is missing before it; how many were given."""
    with clients._lock:
        given = dict(clients.given)
    assert not clients.errors, clients.errors[:3]
    assert not clients.clashes, f"given twice: {clients.clashes}"
    rows = {row.index: row for row in stack.rows()}
    found = stack.indices()
    assert found == list(range(len(found))), "the log has a gap"
    assert len({row.decision_id for row in rows.values()}) == len(rows), "a call was written down twice"
    keys = read_log_keys((stack.state_dir / "log" / "public" / LOG_KEYS).read_bytes())
    for index, attestation in given.items():
        assert index in rows, f"index {index} was given to a client and is not in the log"
        leaf = b64decode(attestation["log"]["leaf_hash"])
        assert rows[index].leaf_hash == leaf, f"index {index} holds another leaf than was given"
        assert rows[index].decision_id == attestation["route_decision_id"]
        promise = Promise(attestation["log"]["origin"], index, leaf, attestation["promise"]["time_ms"])
        verify_promise(promise, b64decode(attestation["promise"]["signature"]), keys.promise)
    return len(given)


@pytest.fixture
def crashing() -> Iterator[Stack]:
    """A stack of its own on two mock providers; answers come in several pieces."""
    with ExitStack() as running:
        config = ConfigFile()
        for name in ("one", "two"):
            mock = running.enter_context(RunningMock("openai"))
            mock.fault(Fault(tokens=6, pace_ms=1))
            config.provider(name, "openai", mock.url)
        config.policy("chain", ["one", "two"])
        config.model("chat", ["one", "two"])
        yield running.enter_context(Stack(config))


@pytest.mark.parametrize("victim", ["processor", "envoy"])
def test_killed_at_random_moments_under_load(crashing: Stack, victim: str) -> None:
    """No given index is lost or changed, no gap, no fork, fsck passes, promises hold."""
    stack = crashing
    moments = random.Random(f"{victim} 1")
    clients = Clients(stack)
    clients.start()
    reader = LogReader(stack.state_dir / "log" / "tiles")
    seen = None
    keys = read_log_keys((stack.state_dir / "log" / "public" / LOG_KEYS).read_bytes())
    try:
        for _ in range(ROUNDS):
            more = len(clients.given) + moments.randint(5, 60)
            eventually(lambda: len(clients.given) >= more, f"{more} answers", 30)  # noqa: B023
            if victim == "processor":
                stack.processor.kill()
                stack.start_processor()
                stack.wait_serving()
            else:
                stack.envoy.kill()
                stack.start_envoy()
            note = reader.checkpoint()
            assert note is not None
            checkpoint, _ = open_checkpoint(note, stack.config.origin, [keys.log])
            if seen is not None and seen.size:
                path = consistency_proof(seen.size, checkpoint.size, reader.nodes(checkpoint.size))
                verify_consistency(seen.size, seen.root, checkpoint.size, checkpoint.root, path)
            seen = checkpoint
            check(stack, clients)
    finally:
        clients.stop()
    assert check(stack, clients) >= ROUNDS * 5
    stack.fsck()


def test_both_killed_at_once(crashing: Stack) -> None:
    """As when the machine goes down: the same holds, and calls are answered again afterwards."""
    stack = crashing
    clients = Clients(stack)
    clients.start()
    try:
        for _ in range(3):
            more = len(clients.given) + 25
            eventually(lambda: len(clients.given) >= more, f"{more} answers", 30)  # noqa: B023
            stack.processor.kill()
            stack.envoy.kill()
            stack.start()
    finally:
        clients.stop()
    check(stack, clients)
    stack.fsck()
    assert stack.chat("chat").status == 200
