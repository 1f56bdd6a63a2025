"""Who may call a method, as its contract says it: ``option (access)`` of ``sovereign/management/v1/access.proto``.

Read from the descriptors, so the server, the documents made of the protos and the tests over all methods see one
table. A method that says nothing is an error, not an open door.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor

from sovereign_ext._gen.sovereign.management.v1 import access_pb2

_FOREIGN: Final = frozenset({"grpc.health.v1.Health"})
"""Services whose contract is not ours to write into. Public: they say yes or no."""


class Role(StrEnum):
    """What a caller is. ``tenancy.Role`` has those that an operator can be given."""

    ADMIN = "admin"
    TENANT_ADMIN = "tenant_admin"
    AUDITOR = "auditor"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Access:
    """``public`` needs no key; else one of ``roles``, and where it is ``unbound``, of an operator of all tenants."""

    public: bool
    roles: frozenset[Role]
    unbound: bool = False


def access_of(method: MethodDescriptor) -> Access:
    """Who may call ``method``. Raises ``TypeError`` if its contract does not say it."""
    if method.containing_service.full_name in _FOREIGN:
        return Access(True, frozenset())
    extensions: Any = method.GetOptions().Extensions
    said = extensions[access_pb2.access]
    roles = frozenset(Role(access_pb2.Role.Name(role).lower()) for role in said.roles)
    if said.public == bool(roles):
        raise TypeError(f"{method.full_name} does not say who may call it: give option (access)")
    return Access(said.public, roles, said.unbound)
