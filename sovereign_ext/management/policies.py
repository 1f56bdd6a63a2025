"""Policies as a resource, with every version that they had: ``sovereign.management.v1.PolicyService``.

A tenant sees the policies it may name. A version is the document that a change left behind; its revision is the index
of the change's entry. What a policy would decide is in ``evaluate``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2
from google.protobuf.message import Message

from sovereign_ext._gen.sovereign.management.v1 import policies_pb2
from sovereign_ext.config.model import Policy
from sovereign_ext.config.snapshot import policy_digest, policy_document
from sovereign_ext.errors import CallerError
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.configured import ConfigKind, ConfigService
from sovereign_ext.management.database import ask
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.evaluate import Evaluations
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.references import unnamed
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage.resources import Resource, Version, Write

SERVICE: Final = policies_pb2.DESCRIPTOR.services_by_name["PolicyService"]
_VERSION: Final = re.compile(r"(policies/[^/]+)/versions/(0|[1-9][0-9]{0,17})")


class PolicyKind(ConfigKind[Policy]):
    """``policies/{policy}``."""

    noun = "policy"
    plural = "policies"
    pattern = "policies/{policy}"
    message = policies_pb2.Policy
    model = Policy
    history = True

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees what that may name."""
        return None if caller.tenant is None else [f"policies/{policy}" for policy in caller.tenant.policies]

    async def users(self, caller: Caller, name: str) -> Sequence[str]:
        """Policies and places in the file, and tenants."""
        policy = self.ids(name)[0]
        tenants = [f"tenants/{each.id}" for each in self.deps.directory.tenants() if policy in each.policies]
        return [*await super().users(caller, name), *tenants]

    def guard(self, caller: Caller, name: str, after: Policy | None) -> Write | None:
        """A tenant made a moment ago, anywhere, may name it."""
        if after is not None:
            return None
        policy = self.ids(name)[0]
        return unnamed(name, "tenant", policy, lambda tenant: policy in tenant.get("policies", ()))

    def shown(self, caller: Caller, message: Message) -> None:
        """With the digest that entries have, and the whole document behind it."""
        policy: Any = message
        model = self.read(message, policy.name)
        values: Any = policy_document(model)
        document = struct_pb2.Struct()
        document.update(values)
        policy.document.CopyFrom(document)
        policy.digest = "sha256:" + policy_digest(model).hex()


class PolicyService(ConfigService[Policy]):
    """Policies, their versions, and what they would decide."""

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        evaluations = Evaluations(self.deps.directory, self.deps.health, self.deps.moment)
        return {
            **super().methods(),
            **evaluations.methods(),
            "ListPolicyVersions": self.list_versions,
            "GetPolicyVersion": self.get_version,
            "RollbackPolicy": self.rollback,
        }

    async def list_versions(self, request: policies_pb2.ListPolicyVersionsRequest, call: Call) -> Reply:
        """One page, newest first."""
        size, after = names.page_size(request.page_size), names.after(request.page_token)
        if await self.found(call.caller, request.parent) is None:
            raise self.kind.missing()
        before = names.index_in(after) if after else None
        found = await ask(lambda: self._store.versions(request.parent, before, size + 1))
        page, more = found[:size], len(found) > size
        token = names.page_token(str(page[-1].revision)) if more else ""
        versions = [self._version(call.caller, version) for version in page]
        response = policies_pb2.ListPolicyVersionsResponse(policy_versions=versions, next_page_token=token)
        return Reply(response, FRESH)

    async def get_version(self, request: policies_pb2.GetPolicyVersionRequest, call: Call) -> Reply:
        """One version; also of a policy that was deleted since, as long as its entries need explaining."""
        match = _VERSION.fullmatch(request.name)
        if match is None:
            raise CallerError(400, "expected policies/{policy}/versions/{revision}", code="invalid_name")
        if not self.kind.visible(call.caller, match[1]):
            raise _no_version()
        return Reply(self._version(call.caller, await self._at(match[1], int(match[2]))), FRESH)

    async def rollback(self, request: policies_pb2.RollbackPolicyRequest, call: Call) -> Reply:
        """Update it with what it was."""
        if not request.revision.isdecimal() or len(request.revision) > 18:
            raise CallerError(400, "revision is a decimal number", code="invalid_revision")
        self.kind.ids(request.name)
        version = await self._at(request.name, int(request.revision))
        wanted: Any = self.kind.write(self._policy(version))
        wanted.name, wanted.etag = request.name, request.etag
        update = policies_pb2.UpdatePolicyRequest(policy=wanted, validate_only=request.validate_only)
        update.update_mask.paths.append("*")
        return await self.update(update, call)

    async def _at(self, name: str, revision: int) -> Version:
        found = await ask(lambda: self._store.versions(name, revision + 1, 1))
        if not found or found[0].revision != revision:
            raise _no_version()
        return found[0]

    def _policy(self, version: Version) -> Policy:
        return Policy.model_validate(json.loads(version.document))

    def _version(self, caller: Caller, version: Version) -> policies_pb2.PolicyVersion:
        row = Resource(version.name, "policy", "", "", version.revision, version.time_ms, version.time_ms)
        shown = policies_pb2.PolicyVersion(
            name=f"{version.name}/versions/{version.revision}",
            policy=self.shown(caller, version.name, self._policy(version), row),  # type: ignore[arg-type]
        )
        shown.create_time.FromMilliseconds(version.time_ms)
        return shown


def _no_version() -> CallerError:
    return CallerError(404, "there is no such version", code="policy_version_not_found")


def methods(deps: Deps) -> Methods:
    """The service's methods."""
    return PolicyService(PolicyKind, SERVICE, deps).methods()
