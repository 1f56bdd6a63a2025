"""Keys as resources: ``sovereign.management.v1.KeyService`` and ``OperatorKeyService``.

Beside the standard methods a key is made (shown once: kept of it is its keyed hash), rotated and revoked. A rotation is
one change with one entry: the new key is there and the old one's end is set, or neither. Revoking is final, and
deleting forgets that there was a key. Every answer to a change is given when this process goes by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, operators_pb2
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import IssuedKey
from sovereign_ext.errors import CallerError, InvalidFields, ResourceChanged
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import Changes, answer
from sovereign_ext.management.database import ask
from sovereign_ext.management.keykinds import KEPT, AnyKeyKind
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.resources import ResourceService
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Resource, ResourceStore
from sovereign_ext.tenants.keys import RANDOM_BYTES, mint

SERVICE: Final = keys_pb2.DESCRIPTOR.services_by_name["KeyService"]
OPERATOR_KEYS: Final = operators_pb2.DESCRIPTOR.services_by_name["OperatorKeyService"]

OVERLAP_S: Final = 86_400
MAX_OVERLAP_S: Final = 31_536_000
_TRIES: Final = 5


class KeyService(ResourceService[IssuedKey]):
    """The service of one of the two kinds."""

    def __init__(
        self, kind: AnyKeyKind, service: ServiceDescriptor, store: ResourceStore, changes: Changes
    ) -> None:
        super().__init__(kind, service, store, changes, kind.issuing.applied)
        self._keys = kind
        self._issuing = kind.issuing
        self._naming = asyncio.Lock()

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
        for member in KEPT:
            message.ClearField(member)
        self._room(call.caller, parent)
        return await self._named(
            parent,
            getattr(request, f"{noun}_id"),
            parent.rsplit("/", 1)[-1],
            lambda name: self._create(request, call, name),
        )

    async def _create(self, request: Any, call: Call, name: str) -> Reply:
        model = self.kind.read(getattr(request, self.kind.noun), name)
        if model.expires_at is None:
            model = model.model_copy(update={"expires_at": self._default_end(call.caller)})
        secret, model = self._minted(model)
        reply = await self.add(call, name, model, validate_only=request.validate_only)
        return _with_secret(reply, secret.reveal(), validate_only=request.validate_only)

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
        parent, stem = name.rsplit("/", 2)[0], old.id.rstrip("0123456789").rstrip("-") or old.id
        self._room(caller, parent)
        end = now + timedelta(seconds=overlap_s)
        before = row, old, end if old.expires_at is None else min(old.expires_at, end)
        return await self._named(
            parent, request.new_key_id, stem, lambda new_name: self._rotate(request, call, before, new_name)
        )

    async def _rotate(
        self, request: Any, call: Call, before: tuple[Resource, IssuedKey, datetime], name: str
    ) -> Reply:
        new = await self._successor(call.caller, request, before[1], name)
        secret, new = self._minted(new)
        row = await self._replaced(call, before, (name, new), validate_only=request.validate_only)
        reply = Reply(self.shown(call.caller, name, new, row), FRESH)
        return _with_secret(reply, secret.reveal(), validate_only=request.validate_only)

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
            return Reply(self.shown(caller, name, revoked, new), FRESH)
        raise AssertionError("the last try raises")

    # -- parts ---------------------------------------------------------------------------------------------

    async def _there(self, caller: Caller, name: str) -> tuple[str, IssuedKey, Resource | None]:
        found = await self.found(caller, name)
        if found is None:
            raise self.kind.missing()
        return found

    async def _successor(self, caller: Caller, request: Any, old: IssuedKey, name: str) -> IssuedKey:
        """The key ``name`` that takes the place of ``old``, without its hash: the same rights under another id."""
        try:
            asked = request.expires_at.ToDatetime(UTC) if request.HasField("expires_at") else None
        except (ValueError, OverflowError):
            raise InvalidFields([("expires_at", "is out of range")]) from None
        end = self._default_end(caller) if asked is None else asked
        fields = {"id": self.kind.ids(name)[-1], "replaces": old.id, "expires_at": end.isoformat()}
        try:
            new = self.kind.checked({**old.model_dump(mode="json", exclude={"hash"}), **fields})
            await self._refers(caller, name, new)
        except InvalidFields as error:
            names = {f"{self.kind.noun}_id": "new_key_id", f"{self.kind.noun}.expires_at": "expires_at"}
            raise InvalidFields([(names.get(place, place), text) for place, text in error.fields]) from None
        if await self.found(caller, name) is not None:
            raise CallerError(409, f"{name} exists already", code="already_exists")
        return new

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

    async def _named(
        self, parent: str, given: str, stem: str, attempt: Callable[[str], Awaitable[Reply]]
    ) -> Reply:
        """``attempt`` under the id that is given, else under one that is free, which others may take meanwhile."""
        if given:
            return await attempt(f"{parent}/keys/{given}")
        async with self._naming:
            for tries_left in reversed(range(_TRIES)):
                name = await ask(lambda: self._free(f"{parent}/keys/{stem[:56].rstrip('._-') or 'key'}"))
                try:
                    return await attempt(name)
                except CallerError as error:
                    if error.code != "already_exists" or not tries_left:
                        raise
        raise AssertionError("the last try raises")

    def _free(self, stem: str) -> str:
        """A name that begins so and that nothing has or had. Blocks, not long among however many."""
        taken, free = 0, 1
        while self._taken(f"{stem}-{free}"):
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            taken, free = (middle, free) if self._taken(f"{stem}-{middle}") else (taken, middle)
        return f"{stem}-{free}"

    def _taken(self, name: str) -> bool:
        return self._issuing.directory.declares(name) or self._store.ever(name)

    async def _with_use(self, messages: Any) -> None:
        """What was used before a key was made was another one of its name."""
        used = await ask(lambda: self._store.last_used([message.name for message in messages]))
        for message in messages:
            if used.get(message.name, -1) >= message.create_time.ToMilliseconds():
                message.last_used_time.FromMilliseconds(used[message.name])


def _with_secret(reply: Reply, secret: str, *, validate_only: bool) -> Reply:
    if not validate_only:
        message: Any = reply.message
        message.secret = secret
    return reply
