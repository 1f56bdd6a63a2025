"""What the management API made: reading it, and the changes that are written together with their log entry.

A ``Write`` runs in the transaction that sequences the entry of the change (``EntryStore.change``), which gives it the
entry's index: the resource's new ``revision``. Either both are durable or neither is, and whoever has read everything
up to a revision misses nothing below it. What a document means is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from sovereign_ext.errors import ResourceChanged, ResourceExists, ResourceMissing
from sovereign_ext.storage.dialects import insert_into
from sovereign_ext.storage.schema import feed, key_use, resource_versions, resources

Write = Callable[[Connection, int], None]
"""Given the transaction and the index of the entry. Raises ``ResourceError`` to refuse: nothing is written then."""

_AT_ONCE: Final = 1_000
_ALTERNATIVES: Final = 200
"""In one condition; SQLite takes a thousand."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One row. ``name`` is the API's (``tenants/acme/keys/ci``), ``tenant`` the owner's id or empty.

    ``document`` is JSON text; ``revision`` the index of the entry of the last change, times are Unix milliseconds. A
    deleted one has the document ``{}``.
    """

    name: str
    kind: str
    tenant: str
    document: str
    revision: int
    created_ms: int
    updated_ms: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A document that a resource had from ``time_ms`` on."""

    name: str
    revision: int
    document: str
    time_ms: int


def create(name: str, kind: str, tenant: str, document: str, now_ms: int, *, history: bool = False) -> Write:
    """Make a resource; one that was deleted may be made again. Refuses with ``ResourceExists``."""

    def write(connection: Connection, index: int) -> None:
        values = {
            "kind": kind,
            "tenant": tenant,
            "document": document,
            "revision": index,
            "created_ms": now_ms,
            "updated_ms": now_ms,
            "deleted": False,
        }
        there = connection.execute(select(resources.c.deleted).where(resources.c.name == name)).scalar()
        if there is False:
            raise ResourceExists(name)
        if there is None:
            connection.execute(insert(resources).values(name=name, **values))
        else:
            connection.execute(update(resources).where(resources.c.name == name).values(**values))
        if history:
            _keep(connection, name, index, document, now_ms)

    return write


def replace(
    name: str, document: str, now_ms: int, *, expected: int | None = None, history: bool = False
) -> Write:
    """Give a resource another document. ``expected`` is the revision it must have.

    Refuses with ``ResourceMissing`` or ``ResourceChanged``.
    """

    def write(connection: Connection, index: int) -> None:
        _require(connection, name, expected)
        values = {"document": document, "revision": index, "updated_ms": now_ms}
        connection.execute(update(resources).where(resources.c.name == name).values(**values))
        if history:
            _keep(connection, name, index, document, now_ms)

    return write


def delete(name: str, now_ms: int, *, expected: int | None = None) -> Write:
    """Delete a resource and what is below it (``tenants/acme`` takes its keys along).

    Refuses with ``ResourceMissing`` or ``ResourceChanged``.
    """

    def write(connection: Connection, index: int) -> None:
        _require(connection, name, expected)
        table = resources.c
        below = (table.name == name) | table.name.startswith(name + "/", autoescape=True)
        values = {"document": "{}", "revision": index, "updated_ms": now_ms, "deleted": True}
        connection.execute(update(resources).where(below, table.deleted.is_(False)).values(**values))

    return write


def together(*writes: Write) -> Write:
    """All of them or none, in their order, under one entry."""

    def write(connection: Connection, index: int) -> None:
        for each in writes:
            each(connection, index)

    return write


class ResourceStore:
    """Reads of resources. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def revision(self) -> int:
        """The newest revision there is; -1 before the first."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(feed.c.revision)).scalar_one())

    def get(self, name: str) -> Resource | None:
        """One resource; ``None`` if there is none or it was deleted."""
        query = select(resources).where(resources.c.name == name, resources.c.deleted.is_(False))
        with self._engine.connect() as connection:
            found = connection.execute(query).one_or_none()
        return None if found is None else Resource(*found)

    def ever(self, name: str) -> bool:
        """Whether there is or was a resource of that name."""
        with self._engine.connect() as connection:
            return (
                connection.execute(select(resources.c.name).where(resources.c.name == name)).first()
                is not None
            )

    def page(self, kind: str, parent: str, after: str, limit: int) -> list[Resource]:
        """At most ``limit`` resources of a kind in the order of their names, those behind ``after``.

        ``parent`` is the name they must be below (``tenants/acme``); empty for all of the kind.
        """
        table = resources.c
        query = select(resources).where(table.kind == kind, table.name > after, table.deleted.is_(False))
        if parent:
            query = query.where(table.name.startswith(parent + "/", autoescape=True))
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(table.name).limit(limit)).all()
        return [Resource(*values) for values in found]

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterator[Resource]:
        """Every resource changed after ``revision``, in the order of the changes, deleted ones too.

        ``kinds`` restricts it. Read in slices, each by itself, so that a slow reader holds no transaction open. What
        changes meanwhile gets a higher revision than all there are: it comes again at the end, and nothing is missed.
        """
        place = tuple_(resources.c.revision, resources.c.name)
        query = select(resources).order_by(resources.c.revision, resources.c.name).limit(_AT_ONCE)
        if kinds:
            # Not the bare column: by the index over kinds every slice would read and sort all that is left.
            query = query.where((resources.c.kind + "").in_(kinds))
        slice_ = query.where(resources.c.revision > revision)
        while True:
            with self._engine.connect() as connection:
                found = [Resource(*values) for values in connection.execute(slice_)]
            yield from found
            if len(found) < _AT_ONCE:
                return
            last = found[-1]
            slice_ = query.where(
                resources.c.revision >= last.revision,  # for the index
                place > tuple_(literal(last.revision, BigInteger), literal(last.name)),
            )

    def versions(self, name: str, before: int | None, limit: int) -> list[Version]:
        """The documents that ``name`` had, newest first, those with a revision below ``before``."""
        table = resource_versions.c
        query = select(resource_versions).where(table.name == name)
        if before is not None:
            query = query.where(table.revision < before)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(table.revision.desc()).limit(limit)).all()
        return [Version(*values) for values in found]

    def used(self, last_used_ms: Mapping[str, int]) -> None:
        """Those keys were used at those times, Unix milliseconds; a later time that is there stays."""
        rows = [{"name": name, "last_used_ms": used} for name, used in sorted(last_used_ms.items())]
        if not rows:
            return
        statement = insert_into(self._engine, key_use)
        old, new = key_use.c.last_used_ms, statement.excluded.last_used_ms
        later = statement.on_conflict_do_update(
            index_elements=[key_use.c.name],
            set_={"last_used_ms": case((new > old, new), else_=old)},
        )
        with self._engine.begin() as connection:
            connection.execute(later, rows)

    def last_used(self, names: Sequence[str]) -> dict[str, int]:
        """When those keys were last used, Unix milliseconds; without those that never were."""
        query = select(key_use).where(key_use.c.name.in_(names))
        with self._engine.connect() as connection:
            return {name: int(used) for name, used in connection.execute(query)}


def existing(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Those of ``names`` that there are, within a transaction."""
    table = resources.c
    query = select(table.name).where(table.name.in_(names), table.deleted.is_(False))
    return frozenset(connection.execute(query).scalars()) if names else frozenset()


def document_of(connection: Connection, name: str) -> str | None:
    """The document of a resource within a transaction; ``None`` if there is none."""
    query = select(resources.c.document).where(resources.c.name == name, resources.c.deleted.is_(False))
    return connection.execute(query).scalar()


def holding(connection: Connection, kind: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and document of every resource of ``kind`` that has one of ``texts`` as a string, within a transaction.

    Perhaps of some more, and of some twice: the database only narrows down what is to be looked at.
    """
    table = resources.c
    query = select(table.name, table.document).where(table.kind == kind, table.deleted.is_(False))
    for start in range(0, len(texts), _ALTERNATIVES):
        some = texts[start : start + _ALTERNATIVES]
        found = [table.document.contains(json.dumps(text), autoescape=True) for text in some]
        yield from connection.execute(query.where(or_(*found)))


def announce(connection: Connection, revision: int) -> None:
    """Tell everybody who follows the feed; other processes learn of it when the transaction commits."""
    connection.execute(update(feed).values(revision=revision))
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, str(revision))))


CHANNEL: Final = "sovereign_feed"
"""PostgreSQL's channel for LISTEN."""


def _require(connection: Connection, name: str, expected: int | None) -> None:
    query = select(resources.c.revision).where(resources.c.name == name, resources.c.deleted.is_(False))
    found: Any = connection.execute(query).scalar()
    if found is None:
        raise ResourceMissing(name)
    if expected is not None and found != expected:
        raise ResourceChanged(name)


def _keep(connection: Connection, name: str, revision: int, document: str, now_ms: int) -> None:
    values = {"name": name, "revision": revision, "document": document, "time_ms": now_ms}
    connection.execute(insert(resource_versions).values(values))
