"""Reading resources (AIP-131, AIP-132) of any ``Kind``: what the file declares and what the database has, as one
collection.

A name that the caller may not see is answered as one that does not exist, before anything is looked up. Nothing is
changed here: that is ``resources``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.database import ask
from sovereign_ext.management.kinds import Kind, ModelT
from sovereign_ext.management.rpc import Call, Reply
from sovereign_ext.storage.resources import Resource, ResourceStore

FRESH: Final = (("cache-control", "private, no-store"),)
Found = tuple[str, ModelT, Resource | None]
"""Name, model and row; no row for what is declared."""
Page = list[Found[ModelT]]  # a name of its own: in the class, ``list`` is a method


class ResourceReads(Generic[ModelT]):
    """Get and List of one kind."""

    def __init__(self, kind: Kind[ModelT], service: ServiceDescriptor, store: ResourceStore) -> None:
        self.kind = kind
        self._service = service
        self._store = store

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
        items = self.all_shown(caller, page)
        token = names.page_token(page[-1][0]) if more else ""
        response = GetMessageClass(self._service.methods_by_name[f"List{camel(kind.plural)}"].output_type)
        return Reply(response(**{kind.plural: items, "next_page_token": token}), FRESH)

    async def found(self, caller: Caller, name: str) -> Found[ModelT] | None:
        """What the caller may see of that name. Raises 400 for what is no name."""
        if not self.kind.visible(caller, name):
            return None
        declared = self.kind.declared(caller.snapshot).get(name)
        if declared is not None:
            return name, declared, None
        row = await ask(lambda: self._store.get(name))
        return None if row is None or row.kind != self.kind.noun else (name, self.kind.stored(row), row)

    def all_shown(self, caller: Caller, found: Sequence[Found[ModelT]]) -> Sequence[Message]:
        """Resources as the caller sees them, of one moment."""
        return [self.shown(caller, *each) for each in found]

    def shown(self, caller: Caller, name: str, model: ModelT, row: Resource | None) -> Message:
        """A resource as the caller sees it."""
        message: Any = self.kind.write(model)
        message.name, message.declared = name, row is None
        if row is not None:
            message.etag = str(row.revision) if row.revision >= 0 else ""
            for field, time_ms in (("create_time", row.created_ms), ("update_time", row.updated_ms)):
                if field in message.DESCRIPTOR.fields_by_name:
                    getattr(message, field).FromMilliseconds(time_ms)
        self.kind.shown(caller, message)
        return message  # type: ignore[no-any-return]

    async def parent(self, caller: Caller, request: Any) -> str:
        """The parent that a request names, empty for a kind without. Raises 404 if the caller may not see it."""
        if self.kind.parent is None:
            return ""
        above = self.kind.parent()
        # The parent's own service would read the same: the database does not know services.
        if await ResourceReads(above, self._service, self._store).found(caller, request.parent) is None:
            raise above.missing()
        return str(request.parent)

    async def _page(self, caller: Caller, parent: str, after: str, limit: int) -> Sequence[Found[ModelT]]:
        kind, only = self.kind, self.kind.only(caller)
        below = kind.collection(parent) + "/"
        if only is not None:
            found: Page[ModelT] = []
            for name in sorted(only):
                item = await self.found(caller, name) if name > after and name.startswith(below) else None
                if item is not None:
                    found.append(item)
                if len(found) == limit:
                    break
            return found
        items: Page[ModelT] = [
            (name, model, None)
            for name, model in kind.declared(caller.snapshot).items()
            if name > after and name.startswith(below)
        ]
        declared = {name for name, _, _ in items}
        rows = await ask(lambda: self._store.page(kind.noun, parent, after, limit))
        items += [(row.name, kind.stored(row), row) for row in rows if row.name not in declared]
        return sorted(items, key=lambda item: item[0])[:limit]


def camel(noun: str) -> str:
    """As the contract writes it in names of methods."""
    return "".join(part.capitalize() for part in noun.split("_"))
