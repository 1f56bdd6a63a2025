"""Tenants as a resource: ``sovereign.management.v1.TenantService``. What a tenant may do is ``config.model.Tenant``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

from sovereign_ext._gen.sovereign.management.v1 import tenants_pb2
from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.kinds import Faults, Kind
from sovereign_ext.tenants.directory import Directory

SERVICE: Final = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"]


class TenantKind(Kind[Tenant]):
    """``tenants/{tenant}``. Keys are resources below it and not part of its document."""

    noun = "tenant"
    plural = "tenants"
    pattern = "tenants/{tenant}"
    message = tenants_pb2.Tenant
    model = Tenant
    hidden: ClassVar[frozenset[str]] = frozenset({"keys"})

    def __init__(self, directory: Directory | None = None) -> None:
        """``directory`` is needed to write."""
        self._directory = directory

    def declared(self, snapshot: Snapshot) -> Mapping[str, Tenant]:
        """The file's."""
        return {f"tenants/{tenant.id}": tenant for tenant in snapshot.config.tenants}

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees that one."""
        return None if caller.tenant is None else (f"tenants/{caller.tenant.id}",)

    async def faults(self, caller: Caller, name: str, model: Tenant) -> Faults:
        """Its policies exist, and its workloads are no other tenant's."""
        assert self._directory is not None
        claimed = self._directory.claimants
        return [
            *(
                (f"tenant.policies[{at}]", f"there is no policy '{policy}'")
                for at, policy in enumerate(model.policies)
                if policy not in caller.snapshot.policies
            ),
            *(
                (f"tenant.identities[{at}]", "belongs to another tenant")
                for at, identity in enumerate(model.identities)
                if claimed(identity) - {model.id}
            ),
        ]

    async def users(self, caller: Caller, name: str) -> Sequence[str]:
        """Operators of the tenant: they would be those of the next one of its name."""
        assert self._directory is not None
        return self._directory.bound_to(self.owner(name))
