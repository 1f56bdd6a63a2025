"""The tables of the log, in SQLAlchemy Core, written so that SQLite and PostgreSQL both take them.

``log_head`` is the sequencer: one row, whose ``next`` is the index that the next entry gets.
``log_entries`` holds everything that belongs to an entry, ``documents`` what entries refer to by digest,
``anchors`` the checkpoints that external logs shall hold or hold. Changes to these tables need a migration in
``migrations/versions`` and a new ``REVISION``; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

REVISION: Final = "0003"
"""The Alembic revision that these tables are at."""

metadata = MetaData()

log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("origin", String, nullable=False),
    Column("next", BigInteger, nullable=False),
)

log_entries = Table(
    "log_entries",
    metadata,
    # SQLite makes only a column of type INTEGER the table's own key; BIGINT would cost a second B-tree.
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("decision_id", String, nullable=False),
    Column("time_ms", BigInteger, nullable=False),  # Unix milliseconds at which the index was given out
    Column("body", LargeBinary, nullable=False),  # the leaf: canonicalizedBody
    Column("leaf_hash", LargeBinary, nullable=False),  # 32 bytes
    Column("envelope", LargeBinary, nullable=False),  # DSSE JSON
    Column("opening", LargeBinary, nullable=False),  # JSON that opens the commitments; never published
    UniqueConstraint("decision_id", "kind", name="log_entries_decision"),
)

documents = Table(
    "documents",
    metadata,
    Column("digest", String, primary_key=True),  # "sha256:…" of the body
    Column("kind", String, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as it was signed or received
)

anchors = Table(
    "anchors",
    metadata,
    Column("anchor", String, primary_key=True),  # its id in the configuration
    Column("size", BigInteger, primary_key=True, autoincrement=False),  # entries that the checkpoint covers
    Column("kind", String, nullable=False),  # the external log's API
    Column("note", LargeBinary, nullable=False),  # our checkpoint as it is anchored
    Column("signature", LargeBinary, nullable=False),  # over the note; DER
    Column("signer", LargeBinary, nullable=False),  # the key behind it, SubjectPublicKeyInfo in DER
    Column("queued_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retry_ms", BigInteger, nullable=False),  # not to be tried before
    Column("last_error", String),
    Column("entry", LargeBinary),  # verified transparency-log entry, JSON; null while it is pending
    Column("anchored_ms", BigInteger),
)
