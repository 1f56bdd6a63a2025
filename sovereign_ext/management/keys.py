"""Keys as resources: ``sovereign.management.v1.KeyService`` and ``OperatorKeyService``.

Beside the standard methods a key is made (shown once: kept of it is its keyed hash), rotated and revoked. A rotation is
one change with one entry: the new key is there and the old one's end is set, or neither. Revoking is final, and
deleting forgets that there was a key. Every answer to a change is given when this process goes by it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from sqlalchemy import Connection

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, operators_pb2
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import IssuedKey, Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.tenancy import KeyRules
from sovereign_ext.errors import (
    CallerError,
    InvalidFields,
    ReferenceMissing,
    ResourceChanged,
    ResourceMissing,
)
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import Changes, answer
from sovereign_ext.management.kinds import Faults, Kind, settable
from sovereign_ext.management.operators import OperatorKind
from sovereign_ext.management.references import there
from sovereign_ext.management.resources import FRESH, ResourceService
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.management.tenants import TenantKind
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Resource, ResourceStore, Write
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHashes
from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, mint

SERVICE: Final = keys_pb2.DESCRIPTOR.services_by_name["KeyService"]
OPERATOR_KEYS: Final = operators_pb2.DESCRIPTOR.services_by_name["OperatorKeyService"]

OVERLAP_S: Final = 86_400
MAX_OVERLAP_S: Final = 31_536_000
_TRIES: Final = 5
_STATE: Final = keys_pb2.KeyState
_KEPT: Final = frozenset({"revoked_at", "replaces"})
"""Members of a document that are shown, and set by other methods than Create and Update."""


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
        data = MessageToDict(message, preserving_proto_field_name=True)
        members = settable(self.message.DESCRIPTOR) | _KEPT
        known = {member: value for member, value in data.items() if member in members}
        return self.checked({**known, "id": self.ids(name)[-1]})

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


class KeyService(ResourceService[IssuedKey]):
    """The service of one of the two kinds."""

    def __init__(
        self, kind: AnyKeyKind, service: ServiceDescriptor, store: ResourceStore, changes: Changes
    ) -> None:
        super().__init__(kind, service, store, changes)
        self._keys = kind
        self._issuing = kind.issuing

    def methods(self) -> Methods:
        """The standard methods, and those of keys."""
        noun = "".join(part.capitalize() for part in self.kind.noun.split("_"))
        return {**super().methods(), f"Rotate{noun}": self.rotate, f"Revoke{noun}": self.revoke}

    async def get(self, request: Any, call: Call) -> Reply:
        """One key, and when it was last used."""
        reply = await super().get(request, call)
        await self._with_use([reply.message])
        return reply

    async def list(self, request: Any, call: Call) -> Reply:
        """One page of keys, and when each was last used."""
        reply = await super().list(request, call)
        await self._with_use(getattr(reply.message, self.kind.plural))
        return reply

    async def create(self, request: Any, call: Call) -> Reply:
        """Make a key and show it."""
        noun, parent = self.kind.noun, await self.parent(call.caller, request)
        message = getattr(request, noun)
        for member in _KEPT:
            message.ClearField(member)
        given = getattr(request, f"{noun}_id")
        name = f"{parent}/keys/{given}" if given else await self._free(parent, parent.rsplit("/", 1)[-1])
        self._room(call.caller, parent)
        model = self.kind.read(message, name)
        if model.expires_at is None:
            model = model.model_copy(update={"expires_at": self._default_end(call.caller)})
        secret, model = self._minted(model)
        reply = await self.add(call, name, model, validate_only=request.validate_only)
        return await self._with_secret(reply, secret.reveal(), validate_only=request.validate_only)

    async def update(self, request: Any, call: Call) -> Reply:
        """Change what a key may do, or when it expires."""
        return await self._applied(await super().update(request, call))

    async def rotate(self, request: Any, call: Call) -> Reply:
        """Make a key in place of another, whose end is set."""
        caller, now = call.caller, self._issuing.now()
        name, old, row = await self._there(caller, request.name)
        row = self._changeable(name, row, request.etag)
        overlap_s = request.overlap_s if request.HasField("overlap_s") else OVERLAP_S
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidFields([("overlap_s", f"expected 0 to {MAX_OVERLAP_S}")])
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise CallerError(400, f"{name} opens nothing any more; create a new key", code="key_not_valid")
        self._room(caller, name.rsplit("/", 2)[0])
        end = now + timedelta(seconds=overlap_s)
        end = end if old.expires_at is None else min(old.expires_at, end)
        new_name, new = await self._successor(caller, request, old)
        secret, new = self._minted(new)
        new_row = await self._replaced(
            call, (row, old, end), (new_name, new), validate_only=request.validate_only
        )
        reply = Reply(self.shown(caller, new_name, new, new_row), FRESH)
        return await self._with_secret(reply, secret.reveal(), validate_only=request.validate_only)

    async def revoke(self, request: Any, call: Call) -> Reply:
        """Make a key useless from now on."""
        kind, caller = self.kind, call.caller
        for tries_left in reversed(range(_TRIES)):
            name, model, row = await self._there(caller, request.name)
            row = self._changeable(name, row, request.etag)
            if model.revoked_at is not None and model.revoked_at <= self._issuing.now():
                return Reply(self.shown(caller, name, model, row), FRESH)
            now_ms = self._changes.now_ms()
            revoked = model.model_copy(update={"revoked_at": self._issuing.now()})
            text = canonical_json(kind.document(revoked)).decode()
            write = writes.replace(name, text, now_ms, expected=row.revision)
            documents = {
                "before": kind.public(kind.document(model)),
                "after": kind.public(kind.document(revoked)),
            }
            try:
                revision = await self._make(call, name, write, None, **documents)
            except ResourceChanged as error:
                if request.etag or not tries_left:
                    raise answer(error, kind.missing()) from None
                continue
            new = Resource(name, kind.noun, row.tenant, text, revision, row.created_ms, now_ms)
            return await self._applied(Reply(self.shown(caller, name, revoked, new), FRESH))
        raise AssertionError("the last try raises")

    # -- parts ---------------------------------------------------------------------------------------------

    async def _there(self, caller: Caller, name: str) -> tuple[str, IssuedKey, Resource | None]:
        found = await self.found(caller, name)
        if found is None:
            raise self.kind.missing()
        return found

    async def _successor(self, caller: Caller, request: Any, old: IssuedKey) -> tuple[str, IssuedKey]:
        """The key that takes the place of ``old``, without its hash: the same rights under another id."""
        parent = request.name.rsplit("/", 2)[0]
        stem = old.id.rstrip("0123456789").rstrip("-") or old.id
        name = f"{parent}/keys/{request.new_key_id}" if request.new_key_id else await self._free(parent, stem)
        asked = request.HasField("expires_at")
        end = request.expires_at.ToDatetime(UTC) if asked else self._default_end(caller)
        fields = {"id": self.kind.ids(name)[-1], "replaces": old.id, "expires_at": end.isoformat()}
        try:
            new = self.kind.checked({**old.model_dump(mode="json", exclude={"hash"}), **fields})
            await self._refers(caller, name, new)
        except InvalidFields as error:
            names = {f"{self.kind.noun}_id": "new_key_id", f"{self.kind.noun}.expires_at": "expires_at"}
            raise InvalidFields([(names.get(place, place), text) for place, text in error.fields]) from None
        if await self.found(caller, name) is not None:
            raise CallerError(409, f"{name} exists already", code="already_exists")
        return name, new

    async def _replaced(
        self,
        call: Call,
        before: tuple[Resource, IssuedKey, datetime],
        after: tuple[str, IssuedKey],
        *,
        validate_only: bool,
    ) -> Resource:
        """The old key ends at a time and the new one is there, under one entry; gives the new key's row."""
        kind, now_ms, revision = self.kind, self._changes.now_ms(), -1
        (row, old, end), (name, new) = before, after
        text = canonical_json(kind.document(new)).decode()
        if not validate_only:
            ended = canonical_json(kind.document(old.model_copy(update={"expires_at": end}))).decode()
            write = writes.together(
                writes.create(name, kind.noun, kind.owner(name), text, now_ms),
                writes.replace(row.name, ended, now_ms, expected=row.revision),
            )
            documents = {"before": kind.public(kind.document(old)), "after": kind.public(kind.document(new))}
            try:
                revision = await self._make(call, name, write, new, **documents)
            except ResourceChanged as error:
                raise answer(error, kind.missing()) from None
        return Resource(name, kind.noun, kind.owner(name), text, revision, now_ms, now_ms)

    def _minted(self, model: IssuedKey) -> tuple[Any, IssuedKey]:
        secret = mint(self._keys.prefix, self._issuing.random(RANDOM_BYTES))
        return secret, model.model_copy(update={"hash": self._issuing.hashes.stored(secret)})

    def _default_end(self, caller: Caller) -> datetime:
        return self._issuing.now() + timedelta(days=caller.snapshot.config.keys.default_days)

    def _room(self, caller: Caller, parent: str) -> None:
        most = caller.snapshot.config.keys.max_per_owner
        if self._issuing.directory.issued(parent) >= most:
            text = (
                f"{parent} has {most} keys, as many as it may have; delete some that are not in use any more"
            )
            raise CallerError(400, text, code="too_many_keys")

    async def _free(self, parent: str, stem: str) -> str:
        """A name below ``parent`` that nothing has or had."""
        stem = stem[:56].rstrip("._-") or "key"
        return await self._ask(lambda: self._store_free(f"{parent}/keys/{stem}"))  # type: ignore[no-any-return]

    def _store_free(self, stem: str) -> str:
        declares = self._issuing.directory.declares
        number = 1
        while declares(f"{stem}-{number}") or self._store.ever(f"{stem}-{number}"):
            number += 1
        return f"{stem}-{number}"

    async def _with_secret(self, reply: Reply, secret: str, *, validate_only: bool) -> Reply:
        if not validate_only:
            message: Any = reply.message
            message.secret = secret
        return await self._applied(reply)

    async def _applied(self, reply: Reply) -> Reply:
        message: Any = reply.message
        if message.etag:
            await self._issuing.applied(int(message.etag))
        return reply

    async def _with_use(self, messages: Any) -> None:
        used = await self._ask(self._store.last_used, [message.name for message in messages])
        for message in messages:
            if message.name in used:
                message.last_used_time.FromMilliseconds(used[message.name])


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
