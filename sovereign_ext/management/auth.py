"""Who calls the management API, and whether the method is for them. One place for all services.

Keys and their refusals are those of ``tenants.resolve``; here is what a key makes of its caller. Three rules:

1. A key that opens nothing is a 401, whatever is asked for.
2. A method that is not for the caller's role is a 403, whatever it names: the answer says nothing of what exists.
3. A name that belongs to a tenant which is not the caller's is not looked up (``Caller.owns``). It gets the answer of a
   name that does not exist, in the same words and with the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sovereign_ext.attest.changes import Actor
from sovereign_ext.config.model import Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import CallerError, KeyRefused
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.management.access import Access, Role
from sovereign_ext.management.oidc import Tokens
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.resolve import Identity, OperatorIdentity, identify


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``tenant`` is the one that the caller is bound to, ``None`` for those who see all. ``snapshot`` is
    the configuration in which the key was found; the call goes on with that one."""

    actor: Actor
    role: Role
    tenant: Tenant | None
    snapshot: Snapshot

    @property
    def is_admin(self) -> bool:
        """Sees what others do not: endpoints, errors, what rules found."""
        return self.role is Role.ADMIN

    @property
    def scope(self) -> str | None:
        """The id of the tenant that the caller is bound to."""
        return None if self.tenant is None else self.tenant.id

    def owns(self, tenant: str) -> bool:
        """Whether what belongs to ``tenant`` may be shown. Empty for what belongs to none."""
        return self.tenant is None or self.tenant.id == tenant


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Finds the caller of a call. ``now`` is in Unix seconds."""

    snapshot: Callable[[], Snapshot]
    directory: Directory
    tokens: Tokens
    now: Callable[[], float]
    key_use: KeyUse | None = None

    async def caller(self, authorization: str | None) -> Caller:
        """Raises ``KeyRefused`` (401) for a key that is missing, malformed, unknown, expired or revoked, and what
        ``Tokens.bearer`` does."""
        token = self.tokens.token(authorization)
        if token is not None:
            bearer = await self.tokens.bearer(token)
            role, tenant = Role(bearer.role.value), self.bound_to(bearer.tenant)
            return Caller(bearer.actor, role, tenant, self.snapshot())
        found = identify(authorization, self.directory, self.now())
        if isinstance(found, Identity):
            tenant = found.tenant
            if self.key_use is not None:
                self.key_use.tenant(tenant.id, found.key_id, int(self.now() * 1000))
            if found.key_policies:  # a key that is confined to some of them sees no others
                tenant = tenant.model_copy(update={"policies": found.policies})
            actor = Actor(f"tenants/{tenant.id}", key=found.key_id)
            return Caller(actor, Role.TENANT, tenant, self.snapshot())
        return self._operator(found)

    def _operator(self, found: OperatorIdentity) -> Caller:
        operator = found.operator
        if self.key_use is not None:
            self.key_use.operator(operator.id, found.key_id, int(self.now() * 1000))
        actor = Actor(f"operators/{operator.id}", key=found.key_id)
        return Caller(actor, Role(operator.role.value), self.bound_to(operator.tenant), self.snapshot())

    def bound_to(self, tenant: str | None) -> Tenant | None:
        """The tenant that an operator is bound to. Raises 403 if it is gone: without it, the role would see all."""
        if tenant is None:
            return None
        found = self.directory.tenant(tenant)
        if found is None:
            text = "The tenant that you are bound to does not exist."
            raise CallerError(403, text, code="permission_denied")
        return found


def require(caller: Caller, access: Access) -> None:
    """Raises 403 unless the method is for the caller's role, and for somebody who is bound to a tenant if it is."""
    if caller.role in access.roles:
        if access.unbound and caller.tenant is not None:
            text = "This tells of all tenants; you are bound to one."
            raise CallerError(403, text, code="permission_denied")
        return
    if caller.role is Role.TENANT:
        text = "This is a tenant key. This method takes an operator's key (sk-admin-...)."
        raise KeyRefused(403, text, code="admin_key_required")
    allowed = ", ".join(sorted(access.roles))
    raise CallerError(
        403, f"This takes the role {allowed}; yours is {caller.role}.", code="permission_denied"
    )
