"""Provider keys: ``sovereign.management.v1.ProviderKeyService``. They go in and never come out.

A key is sealed before it is written (``keystore.database``); its log entry has the digest of what is shown of it,
fingerprint and version. An error of a request says nothing of the key that it holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import empty_pb2

from sovereign_ext._gen.sovereign.management.v1 import provider_keys_pb2
from sovereign_ext.canonical import canonical_json
from sovereign_ext.errors import (
    CallerError,
    InvalidFields,
    ResourceChanged,
    ResourceError,
    ResourceExists,
    ServiceError,
)
from sovereign_ext.keystore.base import SHARED, CredentialUnavailableError
from sovereign_ext.keystore.database import KIND, StoredKey, pair_of
from sovereign_ext.keystore.sealed import NONCE_BYTES, DamagedError
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import answer
from sovereign_ext.management.database import ask
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.providers import ProviderKind
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.references import there
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.secret import Secret
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Resource

SERVICE: Final = provider_keys_pb2.DESCRIPTOR.services_by_name["ProviderKeyService"]
MAX_SECRET_BYTES: Final = 65_536
_TRIES: Final = 5
"""How often a key is set anew when others are faster."""

_NOUNS: Final = {"providerKeys": "provider key", "providers": "provider", "tenants": "tenant"}
_PATTERN: Final = "tenants/{tenant}/providerKeys/{provider} or providerKeys/{provider}"


@dataclass(frozen=True, slots=True)
class ProviderKeys:
    """The service."""

    deps: Deps

    async def set_key(self, request: provider_keys_pb2.SetProviderKeyRequest, call: Call) -> Reply:
        """Seal and store; the same key again changes nothing."""
        pair = self._named(call.caller, request.name)
        # By what the caller sees: to set a key for it is no way to learn of a provider.
        visible = ProviderKind().visible(call.caller, f"providers/{pair[1]}")
        if not visible or pair[1] not in call.caller.snapshot.providers:
            raise _missing("providers")
        secret = _secret(request.secret)
        for tries_left in reversed(range(_TRIES)):
            try:
                return await self._set(request, call, pair, secret)
            except (ResourceChanged, ResourceExists) as error:
                if request.etag or not tries_left:
                    raise answer(error, _missing()) from None
        raise AssertionError("the last try raises")

    async def _set(
        self,
        request: provider_keys_pb2.SetProviderKeyRequest,
        call: Call,
        pair: tuple[str, str],
        secret: Secret,
    ) -> Reply:
        name, now_ms = request.name, self.deps.now_ms()
        before = await self._row(name)
        if request.etag and (before is None or request.etag != str(before.revision)):
            raise CallerError(409, f"{name} is of another revision", code="etag_mismatch")
        key = await self._sealed(pair, secret, now_ms, before)
        text, created_ms = canonical_json(key.document()).decode(), now_ms
        write = writes.create(name, KIND, _owner(pair), text, now_ms)
        if before is not None:
            if text == before.document:
                return Reply(_shown(before), FRESH)
            created_ms = before.created_ms
            write = writes.replace(name, text, now_ms, expected=before.revision)
        revision = -1
        if not request.validate_only:
            write = writes.together(self._refers(call.caller, pair), write)
            revision = await self._change(call, name, pair, write, before=before, after=key.document())
        return Reply(_shown(Resource(name, KIND, _owner(pair), text, revision, created_ms, now_ms)), FRESH)

    async def get(self, request: provider_keys_pb2.GetProviderKeyRequest, call: Call) -> Reply:
        """What may be known of one."""
        self._named(call.caller, request.name)
        row = await self._row(request.name)
        if row is None:
            raise _missing()
        return Reply(_shown(row), FRESH)

    async def list(self, request: provider_keys_pb2.ListProviderKeysRequest, call: Call) -> Reply:
        """One page of a tenant's, or of those that are shared."""
        size, after = names.page_size(request.page_size), names.after(request.page_token)
        prefix = f"{request.parent}/providerKeys" if request.parent else "providerKeys"
        tenant = self._named(call.caller, f"{prefix}/x")[0]
        if tenant != SHARED and self.deps.directory.tenant(tenant) is None:
            raise _missing("tenants")
        store = self.deps.log.resources
        found = await ask(lambda: store.page(KIND, prefix, after, size + 1))
        page, more = found[:size], len(found) > size
        token = names.page_token(page[-1].name) if more else ""
        shown = [_shown(row) for row in page]
        response = provider_keys_pb2.ListProviderKeysResponse(provider_keys=shown, next_page_token=token)
        return Reply(response, FRESH)

    async def delete(self, request: provider_keys_pb2.DeleteProviderKeyRequest, call: Call) -> Reply:
        """Take it away."""
        pair = self._named(call.caller, request.name)
        row = await self._row(request.name)
        if row is None:
            if request.allow_missing:
                return Reply(empty_pb2.Empty(), FRESH)
            raise _missing()
        if request.etag not in ("", str(row.revision)):
            raise CallerError(409, f"{request.name} is of another revision", code="etag_mismatch")
        if not request.validate_only:
            write = writes.delete(request.name, self.deps.now_ms(), expected=row.revision)
            try:
                await self._change(call, request.name, pair, write, before=row, after=None)
            except ResourceChanged as error:
                raise answer(error, _missing()) from None
        return Reply(empty_pb2.Empty(), FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {
            "SetProviderKey": self.set_key,
            "GetProviderKey": self.get,
            "ListProviderKeys": self.list,
            "DeleteProviderKey": self.delete,
        }

    def _named(self, caller: Caller, name: str) -> tuple[str, str]:
        """Tenant and provider. Raises 400 for what is no name, 404 for another tenant's."""
        try:
            pair = pair_of(name)
        except ValueError:
            pair = ("", "")
        if not all(pair):
            raise CallerError(400, f"expected {_PATTERN}", code="invalid_name")
        if caller.tenant is not None and caller.tenant.id != pair[0]:
            raise _missing()
        return pair

    def _refers(self, caller: Caller, pair: tuple[str, str]) -> writes.Write:
        """Tenant and provider are still there: else the key would be one of the next of that name."""
        tenant, provider = (f"tenants/{pair[0]}", f"providers/{pair[1]}")
        names = [provider] if provider in caller.snapshot.stored else []
        if pair[0] != SHARED and not self.deps.directory.declares(tenant):
            names.append(tenant)
        return there(*names)

    async def _sealed(
        self, pair: tuple[str, str], secret: Secret, now_ms: int, before: Resource | None
    ) -> StoredKey:
        tenant, _ = pair
        if tenant != SHARED and self.deps.directory.tenant(tenant) is None:
            raise _missing("tenants")
        nonce = self.deps.random(NONCE_BYTES)
        try:
            old = None if before is None else StoredKey.of(before.name, json.loads(before.document))
            return await self.deps.sealing().seal(pair, secret, old, set_s=now_ms // 1000, nonce=nonce)
        except CredentialUnavailableError as error:
            if error.reason == "no_master_key":
                text = (
                    "provider keys cannot be stored without a master key: configure keystore.local.master_key"
                )
                raise CallerError(400, text, code="master_key_needed") from error
            text = "the master key cannot be had right now"
            raise ServiceError(503, text, code="master_key_unavailable", retry_after_s=1) from error
        except DamagedError as error:
            text = "the key that is stored is damaged; delete it first"
            raise CallerError(400, text, code="damaged") from error

    async def _change(
        self,
        call: Call,
        name: str,
        pair: tuple[str, str],
        write: writes.Write,
        *,
        before: Resource | None,
        after: Mapping[str, Any] | None,
    ) -> int:
        """The new revision. Raises ``ResourceChanged`` and ``ResourceExists`` as they come."""
        old = None if before is None else _public(json.loads(before.document))
        new = None if after is None else _public(after)
        try:
            return await self.deps.changes().make(call, name, _owner(pair), write, before=old, after=new)
        except (ResourceChanged, ResourceExists):
            raise
        except ResourceError as error:
            missing = _missing() if error.name == name else _missing(error.name.split("/")[0])
            raise answer(error, missing) from None

    async def _row(self, name: str) -> Resource | None:
        return await ask(lambda: self.deps.log.resources.get(name))


def _secret(text: str) -> Secret:
    """As the command line takes it. Raises ``InvalidFields``."""
    if not text.strip():
        raise InvalidFields([("secret", "is required")])
    if len(text.encode()) > MAX_SECRET_BYTES:
        raise InvalidFields([("secret", f"is longer than {MAX_SECRET_BYTES} bytes")])
    if text != text.strip() and not text.lstrip().startswith("{"):
        raise InvalidFields([("secret", "has space around it; a key has none")])
    return Secret(text)


def _public(document: Any) -> dict[str, Any]:
    """What is shown, and what entries have the digest of; of a damaged key nothing."""
    fingerprint, version = (
        (document.get("fingerprint"), document.get("version")) if isinstance(document, dict) else (None, None)
    )
    if not isinstance(fingerprint, str) or not isinstance(version, int):
        return {"fingerprint": "", "version": 0}
    return {"fingerprint": fingerprint, "version": version}


def _shown(row: Resource) -> provider_keys_pb2.ProviderKey:
    shown = provider_keys_pb2.ProviderKey(
        name=row.name,
        etag=str(row.revision) if row.revision >= 0 else "",
        **_public(json.loads(row.document)),
    )
    shown.create_time.FromMilliseconds(row.created_ms)
    shown.update_time.FromMilliseconds(row.updated_ms)
    return shown


def _owner(pair: tuple[str, str]) -> str:
    return "" if pair[0] == SHARED else pair[0]


def _missing(collection: str = "providerKeys") -> CallerError:
    noun = _NOUNS[collection]
    return CallerError(404, f"there is no such {noun}", code=f"{noun.replace(' ', '_')}_not_found")


def methods(deps: Deps) -> Methods:
    """The service's methods."""
    return ProviderKeys(deps).methods()
