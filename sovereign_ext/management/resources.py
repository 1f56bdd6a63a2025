"""The standard methods (AIP-131 to 135) of any ``Kind``: Get, List, Create, Update, Delete.

What the configuration file declares and what the database has are shown as one collection. In every method, in this
order:

1. The name is read; what is not a name is 400.
2. A name that the caller may not see is answered as one that does not exist, before anything is looked up.
3. What the file declares is not changed: 409 ``declared_in_file``.
4. The etag, if one is given, must be the revision there is (AIP-154): 409 ``etag_mismatch``.
5. The fields are checked, all faults at once; then what they refer to.
6. With ``validate_only`` it ends here, with what would be answered. Else change and entry are made together, if what
   others changed meanwhile leaves it as right as it was (``Kind.guard``).

An update that changes nothing makes no entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic

from google.protobuf import empty_pb2, timestamp_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.canonical import canonical_json
from sovereign_ext.errors import CallerError, InvalidFields, ResourceChanged, ResourceError, ServiceError
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import Changes, answer, in_use
from sovereign_ext.management.kinds import Kind, ModelT, settable
from sovereign_ext.management.masks import merged
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Resource, ResourceStore, Write

FRESH: Final = (("cache-control", "private, no-store"),)
Found = tuple[str, ModelT, Resource | None]
"""Name, model and row; no row for what is declared."""
Page = list[Found[ModelT]]  # a name of its own: in the class, ``list`` is a method

_TRIES: Final = 5
"""How often a change without an etag is made anew when others are faster."""


class ResourceService(Generic[ModelT]):
    """The service of one kind. A service with methods of its own extends ``methods``."""

    def __init__(
        self, kind: Kind[ModelT], service: ServiceDescriptor, store: ResourceStore, changes: Changes
    ) -> None:
        self.kind = kind
        self._service = service
        self._store = store
        self._changes = changes

    def methods(self) -> Methods:
        """The standard methods that the contract has, by their names there."""
        standard: dict[str, Callable[[Any, Call], Awaitable[Reply]]] = {
            "Get": self.get,
            "List": self.list,
            "Create": self.create,
            "Update": self.update,
            "Delete": self.delete,
        }
        nouns = {_camel(self.kind.noun), _camel(self.kind.plural)}
        return {
            method.name: standard[verb]
            for method in self._service.methods
            for verb in standard
            if method.name.startswith(verb) and method.name.removeprefix(verb) in nouns
        }

    # -- reading -------------------------------------------------------------------------------------------

    async def get(self, request: Any, call: Call) -> Reply:
        """One resource."""
        caller = call.caller
        found = await self.found(caller, request.name)
        if found is None:
            raise self.kind.missing()
        return Reply(self.shown(caller, *found), FRESH)

    async def list(self, request: Any, call: Call) -> Reply:
        """One page in the order of the names, which does not change with what comes and goes (AIP-158)."""
        caller, kind = call.caller, self.kind
        size, after = names.page_size(request.page_size), names.after(request.page_token)
        parent = await self.parent(caller, request)
        found = await self._page(caller, parent, after, size + 1)
        page, more = found[:size], len(found) > size
        items = [self.shown(caller, *item) for item in page]
        token = names.page_token(page[-1][0]) if more else ""
        response = GetMessageClass(self._service.methods_by_name[f"List{_camel(kind.plural)}"].output_type)
        return Reply(response(**{kind.plural: items, "next_page_token": token}), FRESH)

    async def found(self, caller: Caller, name: str) -> Found[ModelT] | None:
        """What the caller may see of that name. Raises 400 for what is no name."""
        if not self.kind.visible(caller, name):
            return None
        declared = self.kind.declared(caller.snapshot).get(name)
        if declared is not None:
            return name, declared, None
        row = await self._ask(self._store.get, name)
        return None if row is None or row.kind != self.kind.noun else (name, self.kind.stored(row), row)

    def shown(self, caller: Caller, name: str, model: ModelT, row: Resource | None) -> Message:
        """A resource as the caller sees it."""
        message: Any = self.kind.write(model)
        message.name, message.declared = name, row is None
        if row is not None:
            message.etag = str(row.revision) if row.revision >= 0 else ""
            for field, time_ms in (("create_time", row.created_ms), ("update_time", row.updated_ms)):
                if field in message.DESCRIPTOR.fields_by_name:
                    getattr(message, field).CopyFrom(_time(time_ms))
        self.kind.shown(caller, message)
        return message  # type: ignore[no-any-return]

    async def parent(self, caller: Caller, request: Any) -> str:
        """The parent that a request names, empty for a kind without. Raises 404 if the caller may not see it."""
        if self.kind.parent is None:
            return ""
        above = self.kind.parent()
        # The parent's own service would read the same: the database does not know services.
        service = ResourceService(above, self._service, self._store, self._changes)
        if await service.found(caller, request.parent) is None:
            raise above.missing()
        return str(request.parent)

    async def _page(self, caller: Caller, parent: str, after: str, limit: int) -> Sequence[Found[ModelT]]:
        kind, only = self.kind, self.kind.only(caller)
        below = kind.collection(parent) + "/"
        if only is not None:
            wanted = [name for name in sorted(only) if name > after and name.startswith(below)][:limit]
            found = [await self.found(caller, name) for name in wanted]
            return [item for item in found if item is not None]
        items: Page[ModelT] = [
            (name, model, None)
            for name, model in kind.declared(caller.snapshot).items()
            if name > after and name.startswith(below)
        ]
        declared = {name for name, _, _ in items}
        rows = await self._ask(self._store.page, kind.noun, parent, after, limit)
        items += [(row.name, kind.stored(row), row) for row in rows if row.name not in declared]
        return sorted(items, key=lambda item: item[0])[:limit]

    # -- writing -------------------------------------------------------------------------------------------

    async def create(self, request: Any, call: Call) -> Reply:
        """Make one (AIP-133)."""
        caller, noun = call.caller, self.kind.noun
        parent = await self.parent(caller, request)
        given = getattr(request, f"{noun}_id")
        if not given:
            raise InvalidFields([(f"{noun}_id", "is required")])
        name = f"{self.kind.collection(parent)}/{given}"
        return await self.make(
            call, name, getattr(request, noun), validate_only=_flag(request, "validate_only")
        )

    async def make(self, call: Call, name: str, message: Message, *, validate_only: bool) -> Reply:
        """Create ``name`` as ``message`` says."""
        model = self.kind.read(message, name)
        if not self.kind.visible(call.caller, name):
            raise self.kind.missing()
        return await self.add(call, name, model, validate_only=validate_only)

    async def add(self, call: Call, name: str, model: ModelT, *, validate_only: bool) -> Reply:
        """Create ``name`` as ``model``, which is valid by itself."""
        kind, caller = self.kind, call.caller
        if await self.found(caller, name) is not None:
            raise CallerError(409, f"{name} exists already", code="already_exists")
        await self._refers(caller, name, model)
        now_ms, document = self._changes.now_ms(), kind.document(model)
        text = canonical_json(document).decode()
        revision = -1
        if not validate_only:
            write = writes.create(name, kind.noun, kind.owner(name), text, now_ms, history=kind.history)
            revision = await self._make(call, name, write, model, before=None, after=kind.public(document))
        row = Resource(name, kind.noun, kind.owner(name), text, revision, now_ms, now_ms)
        return Reply(self.shown(caller, name, model, row), FRESH)

    async def update(self, request: Any, call: Call) -> Reply:
        """Change one, or make it with ``allow_missing`` (AIP-134)."""
        return await self._anew(getattr(request, self.kind.noun).etag, lambda: self._update(request, call))

    async def _update(self, request: Any, call: Call) -> Reply:
        kind, caller, wanted = self.kind, call.caller, getattr(request, self.kind.noun)
        found = await self.found(caller, wanted.name)
        if found is None:
            if _flag(request, "allow_missing") and kind.visible(caller, wanted.name):
                dry = _flag(request, "validate_only")
                return await self.make(call, wanted.name, wanted, validate_only=dry)
            raise kind.missing()
        name, model, declared = found
        row = self._changeable(name, declared, wanted.etag)
        message = merged(
            kind.write(model), wanted, request.update_mask.paths, settable(kind.message.DESCRIPTOR)
        )
        data = kind.read(message, name).model_dump(mode="json", exclude=set(kind.hidden))
        before = kind.document(model)
        changed = kind.checked({**{name: before[name] for name in kind.hidden if name in before}, **data})
        await self._refers(caller, name, changed)
        after = kind.document(changed)
        if after == before or _flag(request, "validate_only"):
            return Reply(self.shown(caller, name, changed, row), FRESH)
        now_ms, text = self._changes.now_ms(), canonical_json(after).decode()
        write = writes.replace(name, text, now_ms, expected=row.revision, history=kind.history)
        revision = await self._make(
            call, name, write, changed, before=kind.public(before), after=kind.public(after)
        )
        new = Resource(name, kind.noun, row.tenant, text, revision, row.created_ms, now_ms)
        return Reply(self.shown(caller, name, changed, new), FRESH)

    async def delete(self, request: Any, call: Call) -> Reply:
        """Delete one and what is below it (AIP-135)."""
        return await self._anew(request.etag, lambda: self._delete(request, call))

    async def _delete(self, request: Any, call: Call) -> Reply:
        kind, caller, name = self.kind, call.caller, request.name
        found = await self.found(caller, name)
        if found is None:
            if _flag(request, "allow_missing"):
                return Reply(empty_pb2.Empty(), FRESH)
            raise kind.missing()
        _, model, declared = found
        row = self._changeable(name, declared, request.etag)
        users = await kind.users(caller, name)
        if users:
            raise in_use(name, users)
        if not _flag(request, "validate_only"):
            # Of this revision also without an etag: the entry has the digest of what was deleted.
            write = writes.delete(name, self._changes.now_ms(), expected=row.revision)
            await self._make(call, name, write, None, before=kind.public(kind.document(model)), after=None)
        return Reply(empty_pb2.Empty(), FRESH)

    # -- parts ---------------------------------------------------------------------------------------------

    async def _anew(self, etag: str, attempt: Callable[[], Awaitable[Reply]]) -> Reply:
        """What ``attempt`` gives, made again while others are faster, unless the caller wants a certain revision."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return await attempt()
            except ResourceChanged as error:
                if etag or not tries_left:
                    raise answer(error, self.kind.missing()) from None
        raise AssertionError("the last try raises")

    def _changeable(self, name: str, row: Resource | None, etag: str) -> Resource:
        if row is None:
            text = f"{name} is declared in the configuration file; change it there"
            raise CallerError(409, text, code="declared_in_file")
        if etag not in ("", str(row.revision)):
            raise CallerError(409, f"{name} is of revision {row.revision}", code="etag_mismatch")
        return row

    async def _refers(self, caller: Caller, name: str, model: ModelT) -> None:
        faults = await self.kind.faults(caller, name, model)
        if faults:
            raise InvalidFields(faults)

    async def _make(
        self, call: Call, name: str, write: Write, after_model: ModelT | None, **documents: Any
    ) -> int:
        guard = self.kind.guard(call.caller, name, after_model)
        both = write if guard is None else writes.together(guard, write)
        try:
            return await self._changes.make(call, name, self.kind.owner(name), both, **documents)
        except ResourceChanged:
            raise
        except ResourceError as error:
            above = self.kind.parent if name.startswith(error.name + "/") else None
            raise answer(error, (self.kind if above is None else above()).missing()) from None

    async def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(question, *arguments)
        except SQLAlchemyError as error:
            text = "the database cannot answer right now"
            raise ServiceError(503, text, code="storage_unavailable", retry_after_s=1) from error


def _flag(request: Any, name: str) -> bool:
    """A flag that not every contract has."""
    return bool(getattr(request, name, False))


def _camel(noun: str) -> str:
    return "".join(part.capitalize() for part in noun.split("_"))


def _time(time_ms: int) -> timestamp_pb2.Timestamp:
    time = timestamp_pb2.Timestamp()
    time.FromMilliseconds(time_ms)
    return time
