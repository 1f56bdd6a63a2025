"""What must still be so when a change is made: what it names is there, and nobody names what it takes away.

A change is judged before, by what this process knows; others may be faster, here or on another router. These are the
same questions asked of the database in the transaction that makes the change. Changes of resources come one after the
other there (each holds the log's head until it commits), so of two that are good alone and not together the second is
refused, with the answer that it would have had a moment later.

Not here: what the file declares, which is not in the database; and resources that are configuration among each other,
which are judged as a whole (``effective``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from sovereign_ext.errors import ReferenceMissing, ResourceInUse, ResourceMissing
from sovereign_ext.storage.resources import Write, document_of, existing, holding

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """``field`` is the dotted path that names ``resource``; ``fault`` is what to say there without it."""

    resource: str
    field: str
    fault: str


def there(*names: str) -> Write:
    """Refuses with ``ResourceMissing`` for the first of ``names`` that is not in the database."""

    def write(connection: Connection, index: int) -> None:
        found = existing(connection, names)
        for name in names:
            if name not in found:
                raise ResourceMissing(name)

    return write


def refers(name: str, references: Sequence[Reference]) -> Write:
    """Refuses with ``ReferenceMissing`` where ``name`` would refer to what is not in the database."""

    def write(connection: Connection, index: int) -> None:
        found = existing(connection, {each.resource for each in references})
        faults = [(each.field, each.fault) for each in references if each.resource not in found]
        if faults:
            raise ReferenceMissing(name, faults)

    return write


def unnamed(name: str, kind: str, text: str, names_it: Callable[[Document], bool]) -> Write:
    """Refuses with ``ResourceInUse`` while a resource of ``kind`` names ``name``, as ``names_it`` says of its document.

    Such a document has ``text`` as one of its strings.
    """

    def write(connection: Connection, index: int) -> None:
        found = holding(connection, kind, (text,))
        users = [user for user, document in found if names_it(json.loads(document))]
        if users:
            raise ResourceInUse(name, users)

    return write


def unclaimed(name: str, kind: str, member: str, texts: Sequence[str], fault: str) -> Write:
    """Refuses with ``ReferenceMissing`` where another resource of ``kind`` has one of ``texts`` in its list ``member``.

    ``fault`` is what is wrong with the field in which ``name`` has it. What ``name`` has already
    is not looked for again: that reads all there are of ``kind``, a few milliseconds for ten thousand.
    """

    def write(connection: Connection, index: int) -> None:
        own = json.loads(document_of(connection, name) or "{}").get(member, ())
        new = [text for text in texts if text not in own]
        others = (document for other, document in holding(connection, kind, new) if other != name)
        taken = {text for document in others for text in json.loads(document).get(member, ())}
        faults = [(f"{kind}.{member}[{at}]", fault) for at, text in enumerate(texts) if text in taken]
        if faults:
            raise ReferenceMissing(name, faults)

    return write
