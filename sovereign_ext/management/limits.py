"""How limits and spend caps stand: ``sovereign.management.v1.LimitService``.

What the limits are comes from the tenant or the key, how they stand from the ledger that calls are admitted by. A
tenant or key that is not the caller's is answered as one that does not exist.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from sovereign_ext._gen.sovereign.management.v1 import limits_pb2
from sovereign_ext.config.model import Tenant
from sovereign_ext.config.tenancy import Allowance, Per, SpendWindow
from sovereign_ext.errors import CallerError, InvalidFields, ServiceError
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.database import ask
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.management.timestamps import timestamp
from sovereign_ext.tenants.demand import window
from sovereign_ext.tenants.ledger import Demand, Draw, Measure, Reserve, Scope, Slot, Standing

SERVICE: Final = limits_pb2.DESCRIPTOR.services_by_name["LimitService"]
PATIENCE_S: Final = 5.0

_RATES: Final = (Measure.REQUESTS, Measure.TOKENS_IN, Measure.TOKENS_OUT)
_PER: Final = {per.seconds: per.value for per in Per}


@dataclass(frozen=True, slots=True)
class Limits:
    """The service."""

    deps: Deps

    async def query_limits(self, request: limits_pb2.QueryLimitsRequest, call: Call) -> Reply:
        """All limits of a tenant or a key."""
        tenant = self._tenant(call.caller, request.tenant)
        allowance: Allowance = tenant
        if request.key:
            allowance = await self._key(tenant, request.key)
        now_ms = self.deps.now_ms()
        demand = _demand(allowance, Scope(tenant.id, request.key), now_ms)
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = self.deps.ledger.standing(demand, now_ms)
                standing = found if isinstance(found, Standing) else await found
        except TimeoutError:
            text = "what routers count in does not answer"
            raise ServiceError(503, text, code="limits_unavailable", retry_after_s=1) from None
        return Reply(limits_pb2.QueryLimitsResponse(limits=_limits(demand, standing, now_ms)), FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"QueryLimits": self.query_limits}

    def _tenant(self, caller: Caller, asked: str) -> Tenant:
        if not asked and caller.tenant is None:
            raise InvalidFields([("tenant", "is required")])
        name = asked or (caller.tenant.id if caller.tenant is not None else "")
        found = self.deps.directory.tenant(name) if caller.owns(name) else None
        if found is None:
            raise CallerError(404, "there is no such tenant", code="tenant_not_found")
        return found

    async def _key(self, tenant: Tenant, key: str) -> Allowance:
        for declared in tenant.keys:
            if declared.id == key:
                return declared
        row = await ask(lambda: self.deps.log.resources.get(f"tenants/{tenant.id}/keys/{key}"))
        try:
            if row is not None:
                document = json.loads(row.document)
                return Allowance.model_validate(
                    {name: document.get(name, ()) for name in ("limits", "spend_caps")}
                )
        except (ValueError, ValidationError, AttributeError):
            pass  # a document that cannot be read opens nothing, see tenants.directory
        raise CallerError(404, "there is no such key", code="key_not_found")


def _demand(allowance: Allowance, owner: Scope, now_ms: int) -> Demand:
    """Everything that a call could draw on, with nothing drawn."""
    draws: list[Draw] = []
    slots: list[Slot] = []
    for limit in allowance.limits:
        scope = Scope(owner.tenant, owner.key, limit.model or "")
        for measure in _RATES if limit.per is not None else ():
            capacity = getattr(limit, measure.value)
            if capacity is not None and limit.per is not None:
                draws.append(Draw(scope, measure, capacity, limit.per.seconds, 0))
        if limit.concurrent is not None:
            slots.append(Slot(scope, limit.concurrent))
    reserves = tuple(
        Reserve(owner, cap.per.value, *window(cap.per, now_ms), cap.nano_usd, 0)
        for cap in allowance.spend_caps
    )
    return Demand("", owner.tenant, owner.key, now_ms, tuple(draws), tuple(slots), reserves)


def _limits(demand: Demand, standing: Standing, now_ms: int) -> Sequence[limits_pb2.Limit]:
    return [*_rates(standing, now_ms), *_slots(demand, standing), *_caps(demand, standing)]


def _rates(standing: Standing, now_ms: int) -> Iterator[limits_pb2.Limit]:
    for each in standing.buckets:
        yield limits_pb2.Limit(
            measure=each.draw.measure.value,
            window=_PER[each.draw.window_s],
            model=each.draw.scope.model,
            capacity=each.draw.capacity,
            remaining=each.remaining,
            reset_time=timestamp(now_ms + round(each.reset_s * 1000)),
        )


def _slots(demand: Demand, standing: Standing) -> Iterator[limits_pb2.Limit]:
    for slot, there in zip(demand.slots, standing.slots, strict=True):
        yield limits_pb2.Limit(
            measure=Measure.CONCURRENT.value,
            model=slot.scope.model,
            capacity=slot.capacity,
            remaining=max(0, slot.capacity - there),
            held=there,
        )


def _caps(demand: Demand, standing: Standing) -> Iterator[limits_pb2.Limit]:
    for reserve, held in zip(demand.reserves, standing.windows, strict=True):
        yield limits_pb2.Limit(
            measure=Measure.SPEND.value,
            window=reserve.window,
            capacity=reserve.cap_nano,
            remaining=max(0, reserve.cap_nano - held.spent_nano - held.reserved_nano),
            held=held.reserved_nano,
            reset_time=None if reserve.window == SpendWindow.TOTAL else timestamp(reserve.end_ms),
        )
