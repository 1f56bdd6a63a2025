"""Three routers as processes, many clients each: what a limit admits, and what a kill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from services import Valkey
from shared_worker import Ledgerfile
from shared_world import leftovers, spent

pytestmark = pytest.mark.services

_WORKER = Path(__file__).with_name("shared_worker.py")


class Router:
    """One process. ``go`` lets its clients begin, ``done`` waits for the last of them, ``end`` for the process."""

    def __init__(self, valkey: Valkey, asked: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER), json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._say(valkey.url)

    def ready(self) -> None:
        assert self._hear() == "ready"

    def go(self) -> None:
        self._say("")

    def done(self) -> dict[str, int]:
        return dict(json.loads(self._hear()))

    def end(self) -> dict[str, int]:
        self._say("")
        found = dict(json.loads(self._hear()))
        assert self.process.wait(30) == 0
        return found

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def three(valkey: Valkey, file: Path, **asked: Any) -> Iterator[list[Router]]:
    given = {
        "file": str(file),
        "clients": 70,
        "seconds": 60,
        "cap": 0,
        "rate": 0,
        "slots": 0,
        "busy_s": 0.01,
        **asked,
    }
    found = [Router(valkey, given) for _ in range(3)]
    try:
        for each in found:
            each.ready()
        yield found
    finally:
        for each in found:
            each.process.kill()
            each.process.wait()
            for stream in (each.process.stdin, each.process.stdout):
                assert stream is not None
                stream.close()


def test_a_cap_for_k_calls_admits_k_calls(valkey: Valkey, tmp_path: Path) -> None:
    """210 clients on three routers, more than they may: not one less, not one more, and nothing stays reserved."""
    with three(valkey, tmp_path / "calls", cap=1_500) as all_three:
        for each in all_three:
            each.go()
        admitted = [each.done()["admitted"] for each in all_three]
        for each in all_three:
            each.end()
    assert sum(admitted) == 1_500
    assert min(admitted) > 0
    assert len(Ledgerfile(tmp_path / "calls").rows()) == spent(valkey) == 1_500
    assert not any(leftovers(valkey).values())


def test_a_killed_router_loses_no_money_and_leaks_nothing(valkey: Valkey, tmp_path: Path) -> None:
    """SIGKILL with calls in flight: the others settle them, the cap is used up exactly, slots are free again."""
    with three(valkey, tmp_path / "calls", cap=3_000, slots=150, busy_s=0.03) as all_three:
        for each in all_three:
            each.go()
        books, deadline = Ledgerfile(tmp_path / "calls"), time.monotonic() + 60
        while len(books.rows()) < 600:
            assert time.monotonic() < deadline
        victim, *others = all_three
        victim.process.kill()
        for each in others:
            each.done()
        while any(leftovers(valkey).values()):
            assert time.monotonic() < deadline, leftovers(valkey)
            time.sleep(0.05)
        swept = sum(each.end()["swept"] for each in others)
    assert swept > 0
    assert len(books.rows()) == spent(valkey) == 3_000
    assert not any(leftovers(valkey).values())


def test_the_bound_of_a_bucket_holds_over_all_routers(valkey: Valkey, tmp_path: Path) -> None:
    """In t seconds at most capacity × (1 + t / window) calls, and no less than what fills up is used."""
    capacity, seconds = 60, 3
    with three(valkey, tmp_path / "calls", rate=capacity, seconds=seconds, clients=20) as all_three:
        began = time.monotonic()
        for each in all_three:
            each.go()
        admitted = sum(each.done()["admitted"] for each in all_three)
        took_s = time.monotonic() - began
        for each in all_three:
            each.end()
    assert admitted <= capacity * (1 + took_s)
    assert admitted >= capacity * seconds * 0.8
