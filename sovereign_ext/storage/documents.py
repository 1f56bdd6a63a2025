"""Documents that entries refer to by digest: policies, statements, manifests, evidence.

The promise of ``put_all``: when it returns, every document is durable, whether it was new or not. A document is
stored before an entry may name it, so no entry names what is lost. Content is never changed or removed; its
digest is its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from sovereign_ext.storage.schema import documents

_INSERT: Final[dict[str, Callable[..., Any]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_AT_ONCE: Final = 500
"""Digests in one query: SQLite takes at least 999 parameters."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was signed or received. ``kind`` is one of ``attest.documents.KINDS``."""

    kind: str
    body: bytes

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex SHA-256 of the body."""
        return f"sha256:{sha256(self.body).hexdigest()}"


class DocumentStore:
    """Documents in a database. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        insert = _INSERT[engine.dialect.name](documents)
        self._insert = insert.on_conflict_do_nothing(index_elements=[documents.c.digest])

    def put_all(self, items: Iterable[Document]) -> None:
        """Store what is not there yet, in one transaction. Raises the database's errors; repeating is safe."""
        # In one order: replicas that store the same at the same time would block each other.
        ordered = sorted((item.digest, item.kind, item.body) for item in items)
        rows = [{"digest": digest, "kind": kind, "body": body} for digest, kind, body in ordered]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(self._insert, rows)

    def get_many(self, digests: Sequence[str]) -> dict[str, Document]:
        """The documents among ``digests`` that are there, by digest, in the order asked for."""
        found: dict[str, Document] = {}
        wanted = list(dict.fromkeys(digests))
        with self._engine.connect() as connection:
            for at in range(0, len(wanted), _AT_ONCE):
                query = select(documents).where(documents.c.digest.in_(wanted[at : at + _AT_ONCE]))
                found.update(
                    {digest: Document(kind, _bytes(body)) for digest, kind, body in connection.execute(query)}
                )
        return {digest: found[digest] for digest in wanted if digest in found}


def _bytes(value: Any) -> bytes:
    # SQLite keeps whatever type was written; what somebody put there as text must still fail as a wrong digest.
    return value if isinstance(value, bytes) else str(value).encode()
