"""What the two kinds of keys are: tenants' and operators', how they are read and shown, and what is wrong with one.

Making, rotating and revoking them is in ``keys``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from google.protobuf.message import Message
from sqlalchemy import Connection

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, operators_pb2
from sovereign_ext.config.model import IssuedKey, Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.tenancy import KeyRules
from sovereign_ext.errors import ReferenceMissing, ResourceMissing
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.kinds import Faults, Kind
from sovereign_ext.management.operators import OperatorKind
from sovereign_ext.management.references import there
from sovereign_ext.management.tenants import TenantKind
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Write
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHashes
from sovereign_ext.tenants.keys import KeyKind

KEPT: Final = frozenset({"revoked_at", "replaces"})
"""Members of a document that are shown, and set by other methods than Create and Update."""

_STATE: Final = keys_pb2.KeyState


@dataclass(frozen=True, slots=True)
class Issuing:
    """What making keys takes. ``now_ms`` is Unix milliseconds, ``random`` gives so many unguessable bytes; ``applied``
    waits until calls here go by a revision."""

    hashes: KeyHashes
    directory: Directory
    now_ms: Callable[[], int]
    random: Callable[[int], bytes]
    applied: Callable[[int], Awaitable[object]]

    def now(self) -> datetime:
        """The time in whole seconds."""
        return datetime.fromtimestamp(self.now_ms() // 1000, UTC)


class AnyKeyKind(Kind[IssuedKey]):
    """What both kinds of key have in common. The file's keys have no keyed hash, which is not shown anyway."""

    model = IssuedKey
    prefix: ClassVar[KeyKind]

    def __init__(self, issuing: Issuing) -> None:
        self.issuing = issuing

    def read(self, message: Message, name: str) -> IssuedKey:
        """Keeps what the standard methods do not set, which ``merged`` took from the key as it is."""
        return self.checked({**self.sent(message, KEPT), "id": self.ids(name)[-1]})

    async def faults(self, caller: Caller, name: str, model: IssuedKey) -> Faults:
        """It ends, in time, and its policies are its tenant's."""
        now, rules = self.issuing.now(), caller.snapshot.config.keys
        return [
            *((f"{self.noun}.expires_at", text) for text in _time_faults(model.expires_at, now, rules)),
            *await self.policy_faults(name, model),
        ]

    async def policy_faults(self, name: str, model: IssuedKey) -> Faults:
        """What is wrong with its policies."""
        return ()

    def guard(self, caller: Caller, name: str, after: IssuedKey | None) -> Write | None:
        """Its owner is there: it may have been deleted a moment ago, together with its keys."""
        owner = name.rsplit("/", 2)[0]
        return None if after is None or self.issuing.directory.declares(owner) else self.owned(name, after)

    def owned(self, name: str, model: IssuedKey) -> Write:
        """Refuses what its owner in the database is not there for."""
        return there(name.rsplit("/", 2)[0])

    def shown(self, caller: Caller, message: Any) -> None:
        """Says whether it opens anything."""
        now = self.issuing.now_ms() / 1000
        if message.HasField("revoked_at") and _seconds(message.revoked_at) <= now:
            message.state = _STATE.REVOKED
        elif message.HasField("expires_at") and _seconds(message.expires_at) <= now:
            message.state = _STATE.EXPIRED
        else:
            message.state = _STATE.VALID


class TenantKeyKind(AnyKeyKind):
    """``tenants/{tenant}/keys/{key}``."""

    noun = "key"
    plural = "keys"
    pattern = "tenants/{tenant}/keys/{key}"
    message = keys_pb2.Key
    hidden: ClassVar[frozenset[str]] = frozenset({"hash"})
    parent = TenantKind
    prefix = KeyKind.TENANT

    def declared(self, snapshot: Snapshot) -> Mapping[str, Any]:
        """The file's."""
        return {
            f"tenants/{tenant.id}/keys/{key.id}": key
            for tenant in snapshot.config.tenants
            for key in tenant.keys
        }

    async def policy_faults(self, name: str, model: IssuedKey) -> Faults:
        """They are among the tenant's, as far as that is known here yet."""
        tenant: Tenant | None = self.issuing.directory.tenant(self.owner(name))
        return _beyond(model, () if tenant is None else tenant.policies)

    def owned(self, name: str, model: IssuedKey) -> Write:
        """Its policies are still among the tenant's."""
        tenant = f"tenants/{self.owner(name)}"

        def write(connection: Connection, index: int) -> None:
            document = writes.document_of(connection, tenant)
            if document is None:
                raise ResourceMissing(tenant)
            faults = _beyond(model, json.loads(document).get("policies", ()))
            if faults:
                raise ReferenceMissing(name, faults)

        return write


class OperatorKeyKind(AnyKeyKind):
    """``operators/{operator}/keys/{key}``."""

    noun = "operator_key"
    plural = "operator_keys"
    pattern = "operators/{operator}/keys/{key}"
    message = operators_pb2.OperatorKey
    hidden: ClassVar[frozenset[str]] = frozenset({"hash", "policies", "limits", "spend_caps"})
    parent = OperatorKind
    prefix = KeyKind.ADMIN

    def declared(self, snapshot: Snapshot) -> Mapping[str, Any]:
        """The file's."""
        return {
            f"operators/{admin.id}/keys/{key.id}": key
            for admin in snapshot.config.admins
            for key in admin.keys
        }

    def visible(self, caller: Caller, name: str) -> bool:
        """Admins see all, everybody else its own."""
        return OperatorKind().visible(caller, f"operators/{self.ids(name)[0]}")


def _time_faults(expires_at: datetime | None, now: datetime, rules: KeyRules) -> list[str]:
    if expires_at is None:
        return ["is required"]
    if expires_at <= now:
        return ["is not in the future"]
    if rules.max_days is not None and expires_at > now + timedelta(days=rules.max_days, minutes=1):
        return [f"is more than {rules.max_days} days ahead, the most that is allowed here (keys.max_days)"]
    return []


def _beyond(key: IssuedKey, policies: Collection[str]) -> list[tuple[str, str]]:
    """Where a key names policies that its tenant has not."""
    return [
        (f"key.policies[{at}]", f"'{policy}' is not among this tenant's policies")
        for at, policy in enumerate(key.policies)
        if policy not in policies
    ]


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos / 1e9)
