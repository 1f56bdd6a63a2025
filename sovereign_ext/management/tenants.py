"""Tenants as a resource: ``sovereign.management.v1.TenantService``. What a tenant may do is ``config.model.Tenant``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

from sovereign_ext._gen.sovereign.management.v1 import tenants_pb2
from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.kinds import Faults, Kind
from sovereign_ext.management.references import Reference, refers, unclaimed, unnamed
from sovereign_ext.storage.resources import Write, together
from sovereign_ext.tenants.directory import Directory

SERVICE: Final = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"]
_TAKEN: Final = "belongs to another tenant"


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
                (each.field, each.fault)
                for each, policy in zip(_policies(model), model.policies, strict=True)
                if policy not in caller.snapshot.policies
            ),
            *(
                (f"tenant.identities[{at}]", _TAKEN)
                for at, identity in enumerate(model.identities)
                if claimed(identity) - {model.id}
            ),
        ]

    async def users(self, caller: Caller, name: str) -> Sequence[str]:
        """Operators of the tenant: they would be those of the next one of its name."""
        assert self._directory is not None
        return self._directory.bound_to(self.owner(name))

    def guard(self, caller: Caller, name: str, after: Tenant | None) -> Write | None:
        """The same of the database; policies that the file declares are not there."""
        if after is None:
            tenant = self.owner(name)
            return unnamed(name, "operator", tenant, lambda operator: operator.get("tenant") == tenant)
        stored = [each for each in _policies(after) if each.resource in caller.snapshot.stored]
        return together(
            refers(name, stored), unclaimed(name, self.noun, "identities", after.identities, _TAKEN)
        )


def _policies(tenant: Tenant) -> list[Reference]:
    """What a tenant refers to, in its order."""
    return [
        Reference(f"policies/{policy}", f"tenant.policies[{at}]", f"there is no policy '{policy}'")
        for at, policy in enumerate(tenant.policies)
    ]
