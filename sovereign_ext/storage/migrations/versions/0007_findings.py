"""Create the places of credentials that finding entries tell of, with those of entries that are in the log already.

An entry that cannot be read is passed over: it stays in the log, and whoever audits that will see it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")  # sorted by code points
_AT_ONCE = 200


def upgrade() -> None:
    findings = op.create_table(
        "findings",
        sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        *(sa.Column(name, _NAME, nullable=False) for name in ("tenant", "key", "policy", "action")),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", _NAME, nullable=False),
        sa.Column("pointer", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    _fill(findings)
    op.create_index("findings_tenant", "findings", ["tenant", "idx", "place"])
    op.create_index("findings_fingerprint", "findings", ["fingerprint", "tenant", "idx", "place"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE STATISTICS findings_owner (dependencies) ON tenant, fingerprint FROM findings")


def _fill(findings: sa.Table) -> None:
    connection = op.get_bind()
    entries = sa.table("log_entries", sa.column("idx"), sa.column("envelope"))
    # In these words, because then an index has them: going through all entries would take long.
    kind = sa.text("kind = 'finding'")
    indices = connection.execute(sa.select(entries.c.idx).where(kind).order_by(entries.c.idx)).scalars().all()
    for start in range(0, len(indices), _AT_ONCE):
        some = entries.c.idx.in_(indices[start : start + _AT_ONCE])
        rows: list[dict[str, Any]] = []
        for index, envelope in connection.execute(sa.select(entries.c.idx, entries.c.envelope).where(some)):
            rows += _rows(index, envelope)
        if rows:
            connection.execute(sa.insert(findings), rows)


def _rows(index: int, envelope: bytes) -> list[dict[str, Any]]:
    """What an entry tells of."""
    try:
        said = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["predicate"]
        return [
            {
                "idx": index,
                "place": place,
                "time_ms": int(said["found_ms"]),
                "tenant": str(said["tenant"]),
                "key": str(said.get("key", "")),
                "policy": str(said["policy"]),
                "action": str(said["action"]),
                "count": int(said["count"]),
                "told": len(said["found"]),
                "kind": str(found["kind"]),
                "version": int(found["version"]),
                "length": int(found["length"]),
                "number": int(found["number"]),
                "fingerprint": str(found["fingerprint"]),
                "pointer": found["pointer"].encode(),
            }
            for place, found in enumerate(said["found"], 1)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def downgrade() -> None:
    raise NotImplementedError("findings are never dropped")
