"""The ledger of several routers: counts in Valkey, taken and given back by scripts, in one round trip before sending.

Times of buckets are the server's. What a window of spend is, and when it ends, is the router's word (``Reserve``), so
routers' clocks should agree as well as NTP makes them.

A call whose question got no answer is void: whether or not the store has taken what it asked for, it gives it back.
Each call is remembered here until the store knows that it is over, so that it can be held again if the store loses it.
When the store cannot be reached, ``admit`` raises at once, or counts in this process alone what may be counted so.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sovereign_ext.errors import ServiceError
from sovereign_ext.shared import layout
from sovereign_ext.shared.client import Client, unavailable
from sovereign_ext.shared.layout import HOUR_MS
from sovereign_ext.shared.members import Members
from sovereign_ext.shared.scripts import ADMIT, HOLD, SETTLE, STANDING
from sovereign_ext.shared.settling import Settlement, Settling
from sovereign_ext.shared.spend import Windows
from sovereign_ext.shared.verdict import standing_of, verdict_of
from sovereign_ext.tenants.ledger import Demand, Standing, Used, Verdict
from sovereign_ext.tenants.memory import MemoryLedger

_ROUNDS: Final = 3
"""Windows become known in one; another may expire meanwhile."""

_HOLD_AT_ONCE: Final = 256


class SharedLedger:
    """See ``tenants.ledger.Ledger``. ``local`` counts in this process while the store is out of reach.

    ``server_time`` off takes every time from the caller, for tests that compare ledgers.
    """

    def __init__(
        self,
        client: Client,
        members: Members,
        windows: Windows,
        local: MemoryLedger,
        *,
        server_time: bool = True,
    ) -> None:
        self._client = client
        self._members = members
        self._windows = windows
        self._local = local
        self._server_time = server_time
        self._held: dict[str, Demand] = {}
        self._over: set[str] = set()  # of those, the ones that are being settled
        self._standing_in: set[str] = set()
        self._told_until: dict[str, int] = {}  # per tenant, how far the sweeper looks after it, Unix ms
        self.settling = Settling(client, self._forget)

    @property
    def held(self) -> int:
        """Calls of this router that hold something."""
        return len(self._held)

    def holds(self, call: str) -> bool:
        """Whether the call is one of this router's."""
        return call in self._held

    async def admit(self, demand: Demand, now_ms: int) -> Verdict:
        """Take all of ``demand`` or nothing, or stand in where that will do.

        Raises ``ServiceError`` 503 ``limits_unavailable`` when the store cannot be asked and the call is under a spend
        cap, which holds for all routers together or not at all, or under a policy with strict audit. A call that draws
        on requests alone leaves no reservation, so it is not known again.
        """
        try:
            return await self._admit(demand, now_ms)
        except ServiceError:
            if demand.strict or demand.reserves:
                raise
        verdict = self._local.admit(demand, now_ms)
        self._standing_in.add(demand.call)
        return verdict

    def settle(self, call: str, used: Used, now_ms: int) -> None:
        """The call is over, and its outcome is durable. Never waits and never raises."""
        if call in self._standing_in:
            self._standing_in.discard(call)
            self._local.settle(call, used, now_ms)
            return
        demand = self._held.get(call)
        if demand is None or call in self._over:
            return
        self._settle(demand, layout.settle_arguments(demand, used, self._clock(now_ms)))

    async def standing(self, demand: Demand, now_ms: int) -> Standing:
        """See ``tenants.ledger.Standings``: for all routers, of one moment, by the server's time."""
        keys = layout.keys_of(demand)
        for _ in range(_ROUNDS):
            arguments = layout.standing_arguments(demand, self._members.epoch.name, self._clock(now_ms))
            reply: list[Any] = await self._client.run(STANDING, keys, arguments, slow=True)
            if reply[0] != b"unknown":
                return standing_of(demand, [int(number) for number in reply[1:]])
            await self._windows.know(demand, [demand.reserves[index - 1] for index in reply[1:]])
        raise unavailable()

    async def hold_again(self, now_ms: int) -> None:
        """Say again what calls in flight hold, because the store may have lost it. Raises ``ServiceError``.

        Not those that are being settled: their outcome is in the database, which knows what they cost.
        """
        mine = [demand for call, demand in self._held.items() if call not in self._over]
        self._told_until.clear()
        for start in range(0, len(mine), _HOLD_AT_ONCE):
            await asyncio.gather(
                *(self._hold(demand, now_ms) for demand in mine[start : start + _HOLD_AT_ONCE])
            )

    async def sweep_one(self, demand: Demand, used: Used, now_ms: int) -> bool:
        """Settle a call that nobody else will; whether it was still there. Raises ``ServiceError``."""
        arguments = layout.settle_arguments(demand, used, self._clock(now_ms))
        told = await self._client.run(SETTLE, layout.keys_of(demand), arguments, slow=True)
        self._forget(demand.call)
        return bool(told)

    # -- inside ----------------------------------------------------------------------------------------------

    async def _admit(self, demand: Demand, now_ms: int) -> Verdict:
        if not self._client.up:
            raise unavailable()
        stored = layout.record(demand, self._members.router) if layout.settles(demand) else b""
        if stored and self._told_until.get(demand.tenant, 0) < demand.expires_ms:
            self._tell_tenant(demand)
        keys = layout.keys_of(demand)
        for _ in range(_ROUNDS):
            reply = await self._ask(demand, keys, stored, now_ms)
            if reply[0] == b"void":
                break
            if reply[0] != b"unknown":
                admitted = reply[0] == b"ok"
                if admitted and stored:
                    self._held[demand.call] = demand
                return verdict_of(demand, admitted, [int(number) for number in reply[1:]], now_ms)
            await self._windows.know(demand, [demand.reserves[index - 1] for index in reply[1:]])
        raise unavailable()

    async def _ask(self, demand: Demand, keys: list[str], stored: bytes, now_ms: int) -> list[Any]:
        """One question. Without an answer the call is void, whether the store got it or will yet."""
        arguments = layout.admit_arguments(
            demand, stored, self._members.epoch.name, now_ms, self._clock(now_ms)
        )
        try:
            reply: list[Any] = await self._client.run(ADMIT, keys, arguments)
        except (ServiceError, asyncio.CancelledError):
            if stored:
                self._settle(demand, layout.void_arguments(demand, now_ms, self._clock(now_ms)))
            raise
        return reply

    def _tell_tenant(self, demand: Demand) -> None:
        """Put the tenant where the sweeper looks: once an hour, on the way, not waited for."""
        tenant, until_ms = demand.tenant, demand.expires_ms + HOUR_MS

        def heard(reply: asyncio.Future[Any]) -> None:
            if reply.cancelled() or reply.exception() or isinstance(reply.result(), Exception):
                self._told_until.pop(tenant, None)  # the next call tells it

        told = self._client.ask("ZADD", layout.TENANTS, "GT", until_ms, tenant)
        if told is not None:
            self._told_until[tenant] = until_ms
            told.add_done_callback(heard)

    async def _hold(self, demand: Demand, now_ms: int) -> None:
        if demand.call in self._over or demand.call not in self._held:
            return  # it ended meanwhile
        if self._told_until.get(demand.tenant, 0) < demand.expires_ms:
            self._tell_tenant(demand)
        stored = layout.record(demand, self._members.router)
        arguments = layout.hold_arguments(demand, stored, self._members.epoch.name, now_ms)
        await self._client.run(HOLD, layout.hold_keys(demand), arguments, slow=True)

    def _settle(self, demand: Demand, arguments: list[layout.Argument | bytes]) -> None:
        self._over.add(demand.call)
        self.settling.add(Settlement(demand.call, layout.keys_of(demand), arguments))

    def _forget(self, call: str) -> None:
        self._held.pop(call, None)
        self._over.discard(call)

    def _clock(self, now_ms: int) -> layout.Argument:
        return "" if self._server_time else now_ms
