"""The ledger of a single router: the contract of ledgers, and what it does about database, journal and crashes."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tenants"))

from ledger_contract import *  # noqa: F403 - the tests of the contract, collected here
from ledger_contract import DAY_START_MS, START_MS, Book, Spent, reserve, slot

from sovereign_ext.errors import LogUnavailable, ServiceError
from sovereign_ext.extproc.embedded import EmbeddedLedger
from sovereign_ext.extproc.journal import Journal
from sovereign_ext.tenants.ledger import Admitted, Demand, Refused, Used, Verdict

LOST = b'{"any":"thing"}'


class Kept(EmbeddedLedger):
    """Demands of the contract have nothing to be written down of them."""

    def admit(self, demand: Demand, now_ms: int) -> Any:
        return super().admit(replace(demand, lost=LOST), now_ms)


@pytest.fixture
def runner() -> Any:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def book(tmp_path: Path, runner: asyncio.Runner) -> Any:
    journals: list[Journal] = []

    def made(source: Spent) -> Kept:
        journals.append(Journal(tmp_path / f"journal-{len(journals)}"))
        return Kept(source, journals[-1])

    def anew() -> None:
        journals.pop().close()
        of.ledger = made(of.source)

    async def waited(work: Awaitable[Any]) -> Any:
        return await work

    source = Spent()
    of = Book(made(source), source, lambda work: runner.run(waited(work)), anew)
    yield of
    journals.pop().close()


def demand(name: str, *, amount: int = 10, expires_ms: int = START_MS + 1000) -> Demand:
    return Demand(name, "t", "k", expires_ms, (), (slot(5),), (reserve(amount),), lost=LOST)


def admitted(verdict: Any) -> bool:
    assert isinstance(verdict, Admitted | Refused)
    return isinstance(verdict, Admitted)


def scenario(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


# -- what was spent ----------------------------------------------------------------------------------------------


def test_the_database_is_asked_once_however_many_wait(tmp_path: Path) -> None:
    """And not again: from then on the answer is there at once."""
    source = Spent(known={("t", None, DAY_START_MS): 75})

    async def work() -> None:
        ledger = EmbeddedLedger(source, Journal(tmp_path / "j"))
        waiting: list[Any] = [ledger.admit(demand(f"c{number}"), START_MS) for number in range(9)]
        assert all(asyncio.iscoroutine(each) for each in waiting)
        verdicts = await asyncio.gather(*waiting)
        assert sum(map(admitted, verdicts)) == 2
        assert len(source.asked) == 1
        assert not admitted(ledger.admit(demand("later"), START_MS))
        ledger.close()

    scenario(work)


def test_one_that_gives_up_does_not_stop_the_others(tmp_path: Path) -> None:
    async def work() -> None:
        ledger = EmbeddedLedger(Spent(), Journal(tmp_path / "j"))
        first, second = (asyncio.create_task(ledger.admit(demand(name), START_MS)) for name in "ab")  # type: ignore[arg-type]
        await asyncio.sleep(0)
        first.cancel()
        assert admitted(await second)
        ledger.close()

    scenario(work)


def test_a_database_that_cannot_be_read_refuses_what_has_a_cap(tmp_path: Path) -> None:
    """503, for us to mend; the next call asks again. Calls without a cap do not notice."""
    source = Spent(fault=OSError("away"))

    async def work() -> None:
        ledger = EmbeddedLedger(source, Journal(tmp_path / "j"))
        with pytest.raises(ServiceError) as caught:
            await ledger.admit(demand("a"), START_MS)  # type: ignore[misc]
        assert (caught.value.status, caught.value.code, caught.value.retry) == (
            503,
            "limits_unavailable",
            True,
        )
        assert admitted(ledger.admit(replace(demand("b"), reserves=()), START_MS))
        source.fault = None
        assert admitted(await ledger.admit(demand("c"), START_MS))  # type: ignore[misc]
        ledger.close()

    scenario(work)


def test_a_journal_that_cannot_be_written_refuses_and_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be lost is not sent. Half a line is taken back, so that the next one can be read."""
    write = os.write

    async def work() -> None:
        path = tmp_path / "j"
        ledger = EmbeddedLedger(Spent(), Journal(path))
        assert admitted(await ledger.admit(demand("a", amount=60), START_MS))  # type: ignore[misc]
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
        with pytest.raises(ServiceError) as caught:
            ledger.admit(demand("b", amount=40), START_MS)
        assert caught.value.code == "limits_unavailable"
        monkeypatch.setattr(os, "write", write)
        assert admitted(ledger.admit(demand("c", amount=40), START_MS))
        ledger.close()
        assert set(Journal(path).pending) == {"a", "c"}

    scenario(work)


# -- crashes -----------------------------------------------------------------------------------------------------


def test_what_was_left_behind_is_seen_to_before_the_first_call(tmp_path: Path) -> None:
    """Each once, those that were settled not at all; what cannot be read is passed over, and does not come again."""
    path = tmp_path / "j"
    seen: list[bytes] = []

    async def lose(lost: bytes) -> Used:
        seen.append(lost)
        if len(seen) == 1:
            raise ValueError("not what it was")
        return Used(None, None, 10)

    async def work() -> None:
        ledger = EmbeddedLedger(Spent(), Journal(path))
        for name in "abc":
            verdict: Any = ledger.admit(demand(name), START_MS)
            assert admitted(verdict if isinstance(verdict, Verdict) else await verdict)
        ledger.settle("b", Used(1, 1, 1), START_MS)
        ledger.close()  # as far as the file goes, that is what kill -9 does
        after = EmbeddedLedger(Spent(), Journal(path))
        await after.recover(lose)
        after.close()
        assert seen == [LOST, LOST]
        assert Journal(path).pending == {}

    scenario(work)


def test_a_log_that_is_away_keeps_what_was_left_behind(tmp_path: Path) -> None:
    """The start fails, as it does without a log, and the next one finds everything as it was."""
    path = tmp_path / "j"

    async def away(_: bytes) -> Used:
        raise LogUnavailable("away")

    async def work() -> None:
        journal = Journal(path)
        journal.reserve("a", LOST)
        with pytest.raises(LogUnavailable):
            await EmbeddedLedger(Spent(), journal).recover(away)
        journal.close()
        assert Journal(path).pending == {"a": LOST}

    scenario(work)


def test_what_is_never_settled_is_swept(tmp_path: Path) -> None:
    """When its time is over and it is not under way any more, at what its outcome says; not while the log is away."""
    up = False

    async def lose(lost: bytes) -> Used:
        assert lost == LOST
        if not up:
            raise LogUnavailable("away")
        return Used(None, None, 30)

    async def work() -> None:
        nonlocal up
        ledger = EmbeddedLedger(Spent(), Journal(tmp_path / "j"))
        assert admitted(await ledger.admit(demand("a", amount=100), START_MS))  # type: ignore[misc]
        plain = replace(demand("slot only"), reserves=(), lost=b"")
        assert admitted(ledger.admit(plain, START_MS))
        await ledger.sweep(START_MS + 999, lambda _: False, lose)
        await ledger.sweep(START_MS + 1000, lambda _: True, lose)
        await ledger.sweep(START_MS + 1000, lambda _: False, lose)
        assert not admitted(ledger.admit(demand("b", amount=1), START_MS + 1000))
        up = True
        await ledger.sweep(START_MS + 1000, lambda _: False, lose)
        assert not admitted(ledger.admit(demand("c", amount=71), START_MS + 1000))
        assert admitted(ledger.admit(demand("d", amount=70), START_MS + 1000))
        ledger.close()

    scenario(work)


# -- the file ----------------------------------------------------------------------------------------------------


def test_the_journal_is_only_the_user_s(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_journal_stays_small(tmp_path: Path) -> None:
    """However many calls there were: it is replaced by one with those in flight."""
    path = tmp_path / "j"
    journal = Journal(path, most_bytes=4_000)
    journal.reserve("long", LOST)
    most = 0
    for number in range(2_000):
        journal.reserve(f"c{number}", LOST)
        journal.over(f"c{number}")
        most = max(most, path.stat().st_size)
    assert most < 4_200
    journal.close()
    assert Journal(path).pending == {"long": LOST}


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path, cut: int) -> None:
    """Wherever: the lines before it hold, and new ones can be read."""
    path = tmp_path / "j"
    journal = Journal(path)
    for name in ("a", "b"):
        journal.reserve(name, LOST)
    journal.over("a")
    journal.close()
    text = path.read_bytes()
    path.write_bytes(text[:-cut])
    again = Journal(path)
    again.reserve("c", LOST)
    again.close()
    found = Journal(path).pending
    assert "c" in found
    whole = [
        json.loads(line)
        for line in text[:-cut].splitlines()
        if line.endswith(b"}") and line in text.splitlines()
    ]
    expected = {entry["call"] for entry in whole if "call" in entry}
    expected -= {entry["over"] for entry in whole if "over" in entry}
    assert set(found) == expected | {"c"}
