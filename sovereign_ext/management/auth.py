"""Who calls the management API: a tenant, who sees what is its own, or an operator, who sees everything.

One place for all services. Keys and their refusals are those of ``tenants.resolve``; here is only that both
kinds of key open this API, as far as each goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.management.rpc import Call
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.resolve import Identity, authorize_operator, identify


@dataclass(frozen=True, slots=True)
class Caller:
    """``tenant`` is ``None`` for an admin. ``snapshot`` is the configuration in which the key was found; the
    call goes on with that one."""

    tenant: Tenant | None
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Finds the caller of a call. ``now`` is in Unix seconds."""

    snapshot: Callable[[], Snapshot]
    directory: Directory
    now: Callable[[], float]

    def caller(self, call: Call) -> Caller:
        """Raises ``KeyRefused`` (401) for a key that is missing, malformed, unknown, expired or revoked."""
        found = identify(call.authorization, self.directory, self.now())
        return Caller(found.tenant if isinstance(found, Identity) else None, self.snapshot())

    def admin(self, call: Call) -> Caller:
        """As ``caller``, but a tenant's key is refused: 403 ``admin_key_required``."""
        authorize_operator(call.authorization, self.directory, self.now())
        return Caller(None, self.snapshot())
