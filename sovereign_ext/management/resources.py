"""The standard methods of any ``Kind`` that change a resource (AIP-133 to 135): Create, Update, Delete.

Get and List are in ``reads``. In every method, in this order:

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

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf import empty_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from sovereign_ext.canonical import canonical_json
from sovereign_ext.errors import CallerError, InvalidFields, ResourceChanged, ResourceError
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import Changes, answer, in_use
from sovereign_ext.management.kinds import Kind, ModelT, settable
from sovereign_ext.management.masks import merged
from sovereign_ext.management.reads import FRESH, ResourceReads, camel
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage import resources as writes
from sovereign_ext.storage.resources import Resource, ResourceStore, Write

_TRIES: Final = 5
"""How often a change without an etag is made anew when others are faster."""


async def _at_once(revision: int) -> None:
    """Of a kind that nothing here goes by."""


class ResourceService(ResourceReads[ModelT]):
    """The service of one kind. A service with methods of its own extends ``methods``.

    ``applied`` waits until this process goes by a revision, for as long as an answer may wait.
    """

    def __init__(
        self,
        kind: Kind[ModelT],
        service: ServiceDescriptor,
        store: ResourceStore,
        changes: Changes,
        applied: Callable[[int], Awaitable[object]] = _at_once,
    ) -> None:
        super().__init__(kind, service, store)
        self._changes = changes
        self._applied = applied

    def methods(self) -> Methods:
        """The standard methods that the contract has, by their names there."""
        standard: dict[str, Callable[[Any, Call], Awaitable[Reply]]] = {
            "Get": self.get,
            "List": self.list,
            "Create": self.create,
            "Update": self.update,
            "Delete": self.delete,
        }
        nouns = {camel(self.kind.noun), camel(self.kind.plural)}
        return {
            method.name: standard[verb]
            for method in self._service.methods
            for verb in standard
            if method.name.startswith(verb) and method.name.removeprefix(verb) in nouns
        }

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
                if wanted.etag:
                    raise CallerError(409, f"{wanted.name} is not there any more", code="etag_mismatch")
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
            revision = await self._changes.make(call, name, self.kind.owner(name), both, **documents)
        except ResourceChanged:
            raise
        except ResourceError as error:
            above = self.kind.parent if name.startswith(error.name + "/") else None
            raise answer(error, (self.kind if above is None else above()).missing()) from None
        await self._applied(revision)
        return revision


def _flag(request: Any, name: str) -> bool:
    """A flag that not every contract has."""
    return bool(getattr(request, name, False))
