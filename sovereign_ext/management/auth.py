"""Who calls the management API: a tenant, who sees what is its own, or an admin, who sees everything.

One place for all services. Keys and their refusals are those of ``tenants.resolve``; here is only that both
kinds of key open this API, as far as each goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import KeyRefused
from sovereign_ext.management.rpc import Call
from sovereign_ext.tenants.resolve import authorize_admin, resolve

_TENANT_KEY: Final = "admin_key_required"


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
    now: Callable[[], float]

    def caller(self, call: Call) -> Caller:
        """Raises ``KeyRefused`` (401) for a key that is missing, malformed, unknown, expired or revoked."""
        snapshot, now = self.snapshot(), self.now()
        try:
            authorize_admin(call.authorization, snapshot, now)
        except KeyRefused as refused:
            if refused.code != _TENANT_KEY:
                raise
            return Caller(resolve(call.authorization, snapshot, now).tenant, snapshot)
        return Caller(None, snapshot)

    def admin(self, call: Call) -> Caller:
        """As ``caller``, but a tenant's key is refused: 403 ``admin_key_required``."""
        snapshot = self.snapshot()
        authorize_admin(call.authorization, snapshot, self.now())
        return Caller(None, snapshot)
