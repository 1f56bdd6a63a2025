"""The ledger of a router that is alone: counts in memory, what was spent from the database, a journal for crashes.

Answers at once, but for the first call in a while under a spend cap: then what was spent in its windows is read on a
thread, once however many calls wait for it. From then on every call is counted here, in the order in which they come.

A call with money reserved stands in the journal until its entry is durable. ``recover`` sees to those that the process
before left behind, ``sweep`` to those that this one should have settled and did not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import LogError, ServiceError
from sovereign_ext.extproc.journal import Journal
from sovereign_ext.tenants.ledger import (
    NOTHING_USED,
    Admitted,
    Demand,
    Reserve,
    Scope,
    SpendSource,
    Standing,
    Used,
    Verdict,
)
from sovereign_ext.tenants.memory import MemoryLedger

_log = logging.getLogger(__name__)

Lose = Callable[[bytes], Awaitable[Used]]
"""Sees to the outcome of a call that was lost (``entries.record_lost``)."""


class EmbeddedLedger:
    """A ``Ledger`` for one event loop."""

    def __init__(self, source: SpendSource, journal: Journal) -> None:
        self.counts = MemoryLedger()
        self._source = source
        self._journal = journal
        self._loading: dict[tuple[Scope, str, int], asyncio.Task[int]] = {}

    def admit(self, demand: Demand, now_ms: int) -> Verdict | Coroutine[Any, Any, Verdict]:
        """See ``Ledger``."""
        if demand.reserves and self.counts.unknown(demand, now_ms):
            return self._admit_once_loaded(demand, now_ms)
        return self._admit(demand, now_ms)

    def settle(self, call: str, used: Used, now_ms: int) -> None:
        """See ``Ledger``."""
        self.counts.settle(call, used, now_ms)
        try:
            self._journal.over(call)
        except OSError as error:
            # At the next start its entry is found: it is not billed twice.
            _log.error("the journal cannot take the end of %s: %s", call, error.strerror or error)

    async def standing(self, demand: Demand, now_ms: int) -> Standing:
        """See ``Standings``."""
        await self._load(demand, now_ms)
        return self.counts.standing(demand, now_ms)

    async def recover(self, lose: Lose) -> None:
        """Before the first call: see to the calls that the process before did not settle. Raises ``LogError``."""
        for call, lost in self._journal.pending.items():
            try:
                await lose(lost)
            except ValueError as error:
                _log.error("%s was left behind and cannot be billed: %s", call, error)
            self._journal.over(call)

    async def sweep(self, now_ms: int, alive: Callable[[str], bool], lose: Lose) -> None:
        """Settle the calls that should be over and are not ``alive`` any more.

        One whose outcome cannot be written now stays, and is tried again the next time.
        """
        for demand in self.counts.overdue(now_ms):
            if alive(demand.call):
                continue
            try:
                used = await lose(demand.lost) if demand.lost else NOTHING_USED
            except LogError as error:
                _log.error("%s was never settled, and its outcome cannot be written: %s", demand.call, error)
                continue
            _log.warning("%s was never settled", demand.call)
            self.settle(demand.call, used, now_ms)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _admit(self, demand: Demand, now_ms: int) -> Verdict:
        verdict = self.counts.admit(demand, now_ms)
        if demand.reserves and isinstance(verdict, Admitted):
            try:
                self._journal.reserve(demand.call, demand.lost)
            except OSError as error:
                _log.error(
                    "the journal cannot take the reservation of %s: %s", demand.call, error.strerror or error
                )
                self.counts.settle(demand.call, NOTHING_USED, now_ms)
                raise _unavailable() from None
        return verdict

    async def _admit_once_loaded(self, demand: Demand, now_ms: int) -> Verdict:
        await self._load(demand, now_ms)
        return self._admit(demand, now_ms)

    async def _load(self, demand: Demand, now_ms: int) -> None:
        while unknown := self.counts.unknown(demand, now_ms):
            for reserve in unknown:
                try:
                    spent = await self._spent(reserve)
                except (SQLAlchemyError, OSError) as error:
                    _log.error("what was spent cannot be read: %s", type(error).__name__)
                    raise _unavailable() from None
                self.counts.load(reserve, spent, now_ms)

    async def _spent(self, reserve: Reserve) -> int:
        """Read once, although several wait, and although one of them gives up."""
        place = (reserve.scope, reserve.window, reserve.start_ms)
        task = self._loading.get(place)
        if task is None:
            task = asyncio.create_task(
                asyncio.to_thread(
                    self._source.spent,
                    reserve.scope.tenant,
                    reserve.scope.key or None,
                    reserve.start_ms,
                    reserve.end_ms or None,
                )
            )
            self._loading[place] = task
            task.add_done_callback(lambda _: self._loading.pop(place, None))
        return await asyncio.shield(task)


def _unavailable() -> ServiceError:
    return ServiceError(
        503,
        "What was spent cannot be counted at the moment, so there is no answer.",
        code="limits_unavailable",
    )
