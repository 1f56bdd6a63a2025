"""Operators as a resource: ``sovereign.management.v1.OperatorService``. What a role may do is said by each method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

from sovereign_ext._gen.sovereign.management.v1 import operators_pb2
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.tenancy import Operator
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.kinds import Faults, Kind
from sovereign_ext.management.references import Reference, refers
from sovereign_ext.storage.resources import Write
from sovereign_ext.tenants.directory import Directory

SERVICE: Final = operators_pb2.DESCRIPTOR.services_by_name["OperatorService"]


class OperatorKind(Kind[Operator]):
    """``operators/{operator}``. Keys are resources below it and not part of its document."""

    noun = "operator"
    plural = "operators"
    pattern = "operators/{operator}"
    message = operators_pb2.Operator
    model = Operator
    hidden: ClassVar[frozenset[str]] = frozenset({"keys"})

    def __init__(self, directory: Directory | None = None) -> None:
        """``directory`` is needed to write."""
        self._directory = directory

    def declared(self, snapshot: Snapshot) -> Mapping[str, Any]:
        """The file's ``admins``."""
        return {f"operators/{admin.id}": admin for admin in snapshot.config.admins}

    def only(self, caller: Caller) -> Collection[str] | None:
        """Admins see all, other operators themselves. Those who come with a token of an issuer are none of these."""
        if caller.is_admin:
            return None
        return () if caller.actor.issuer else (caller.actor.subject,)

    async def faults(self, caller: Caller, name: str, model: Operator) -> Faults:
        """The tenant that it is bound to exists."""
        assert self._directory is not None
        if model.tenant is None or self._directory.tenant(model.tenant) is not None:
            return ()
        return [("operator.tenant", f"there is no tenant '{model.tenant}'")]

    def guard(self, caller: Caller, name: str, after: Operator | None) -> Write | None:
        """It still does: else the operator would be one of the next tenant of that name."""
        assert self._directory is not None
        if after is None or after.tenant is None or self._directory.declares(f"tenants/{after.tenant}"):
            return None
        fault = f"there is no tenant '{after.tenant}'"
        return refers(name, [Reference(f"tenants/{after.tenant}", "operator.tenant", fault)])
