"""Tenants as a resource: ``sovereign.management.v1.TenantService``. What a tenant may do is ``config.model.Tenant``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Final

from sovereign_ext._gen.sovereign.management.v1 import tenants_pb2
from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.kinds import Faults, Kind

SERVICE: Final = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"]


class TenantKind(Kind[Tenant]):
    """``tenants/{tenant}``. Keys are resources below it and not part of its document."""

    noun = "tenant"
    plural = "tenants"
    pattern = "tenants/{tenant}"
    message = tenants_pb2.Tenant
    model = Tenant
    hidden: ClassVar[frozenset[str]] = frozenset({"keys"})

    def declared(self, snapshot: Snapshot) -> Mapping[str, Tenant]:
        """The file's."""
        return {f"tenants/{tenant.id}": tenant for tenant in snapshot.config.tenants}

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees that one."""
        return None if caller.tenant is None else (f"tenants/{caller.tenant.id}",)

    async def faults(self, caller: Caller, name: str, model: Tenant) -> Faults:
        """Its policies exist."""
        return [
            (f"tenant.policies[{at}]", f"there is no policy '{policy}'")
            for at, policy in enumerate(model.policies)
            if policy not in caller.snapshot.policies
        ]
