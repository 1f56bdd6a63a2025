"""Finds reservations that nobody will settle any more, and has them settled at what the log says.

Any router may, one at a time: a lock in the store says who. Due is what its router left behind when it went (no sign
of life for ``members.GONE_S``) and what has expired; ``sweep`` is asked for each what it has used, which the store is
then told. A sweep that ends half way is taken up by the next round: nothing is removed before it is settled, and
settling twice does nothing. One reservation that cannot be swept does not keep the others from it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sovereign_ext.errors import LogError, ServiceError, SovereignError
from sovereign_ext.shared import layout
from sovereign_ext.shared.client import Client
from sovereign_ext.shared.ledger import SharedLedger
from sovereign_ext.shared.members import Members
from sovereign_ext.shared.rounds import Rounds
from sovereign_ext.shared.scripts import DUE
from sovereign_ext.shared.wire import Part
from sovereign_ext.tenants.ledger import Demand, Used

_log = logging.getLogger(__name__)

SWEEP_S: Final = 5.0
EXPIRED_GRACE_MS: Final = 5_000
"""Routers' clocks differ from the server's, and a call's last settlement may be on its way."""

_LOCK_MS: Final = 30_000
_AT_ONCE: Final = 64

Sweep = Callable[[str, Demand], Awaitable[Used]]
"""What a lost call used: from its outcome's row if there is one, else what an entry ``lost``, appended first, says."""


class Sweeper:
    """``clock`` gives Unix milliseconds. ``alive`` says whether a call is under way in this process."""

    def __init__(
        self,
        client: Client,
        members: Members,
        ledger: SharedLedger,
        sweep: Sweep,
        clock: Callable[[], int],
        *,
        every_s: float = SWEEP_S,
        grace_ms: int = EXPIRED_GRACE_MS,
    ) -> None:
        self._client = client
        self._members = members
        self._ledger = ledger
        self._sweep = sweep
        self._clock = clock
        self._grace_ms = grace_ms
        self._rounds = Rounds(client, every_s, "a sweep", self._look)
        self._stuck: dict[str, int] = {}  # reservations of a tenant that could not be swept the last time
        self.swept = 0
        self.alive: Callable[[str], bool] = _nobody

    def start(self) -> None:
        """Begin to look."""
        self._rounds.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._rounds.stop()

    async def round(self) -> int:
        """One look at all tenants, unless another router is at it; how many calls were swept.

        Raises ``ServiceError`` when the store cannot be reached.
        """
        router = self._members.router
        if await self._client.command("SET", layout.SWEEPER, router, "NX", "PX", _LOCK_MS) is None:
            return 0
        try:
            tenants = await self._client.command("ZRANGE", layout.TENANTS, 0, -1)
            swept = 0
            for tenant in tenants:
                swept += await self._tenant(tenant.decode())
            await self._forget_tenants()
            return swept
        finally:
            self._client.send("DEL", layout.SWEEPER)

    async def _tenant(self, tenant: str) -> int:
        found = await self._due(tenant)
        swept = 0
        for call, stored in zip(found[::2], found[1::2], strict=True):
            try:
                if self.alive(call.decode()):
                    continue  # it takes longer than it should, and will be settled
                demand = layout.read_record(tenant, call.decode(), stored)
                used = await self._sweep(demand.call, demand)
                swept += await self._ledger.sweep_one(demand, used, self._clock())
            except ServiceError as error:
                if error.code == "limits_unavailable":
                    raise
                _log.error("call %s of a router that is gone stays reserved: %s", call.decode(), error)
            except (SovereignError, ValueError) as error:
                level = logging.WARNING if isinstance(error, LogError) else logging.ERROR
                _log.log(level, "call %s of a router that is gone stays reserved: %s", call.decode(), error)
        stuck = len(found) // 2 - swept
        if stuck:
            self._stuck[tenant] = stuck
        else:
            self._stuck.pop(tenant, None)
        self.swept += swept
        return swept

    async def _due(self, tenant: str) -> list[bytes]:
        """Calls and their records. What a router holds that came after our last look at who is there is not due."""
        members, gone = self._members, self._members.sees_gone
        most = _AT_ONCE + self._stuck.get(tenant, 0)
        while True:
            there = members.there()
            arguments: list[Part] = [most, self._grace_ms, int(gone), *there]
            found: list[bytes] = await self._client.run(
                DUE, [layout.reservations(tenant)], arguments, slow=True
            )
            if not (gone and found):
                return found
            await members.beat()  # a router gives a sign of life before it holds anything
            if set(members.there()) <= set(there):
                return found

    async def _forget_tenants(self) -> None:
        """Look no more after tenants without reservations. Removed by their times: a router may name one just now."""
        now_ms = self._clock()
        before = now_ms - layout.HOUR_MS
        for tenant in await self._client.command("ZRANGEBYSCORE", layout.TENANTS, "-inf", before):
            if await self._client.command("HLEN", layout.reservations(tenant.decode())):
                await self._client.command("ZADD", layout.TENANTS, "GT", now_ms, tenant)
        await self._client.command("ZREMRANGEBYSCORE", layout.TENANTS, "-inf", before)

    async def _look(self) -> None:
        swept = await self.round()
        if swept:
            _log.warning("settled %d calls that nobody else did", swept)


def _nobody(call: str) -> bool:
    return False
