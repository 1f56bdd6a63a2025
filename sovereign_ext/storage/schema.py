"""The tables, in SQLAlchemy Core, written so that SQLite and PostgreSQL both take them.

``log_head`` is the sequencer: one row, whose ``next`` is the index that the next entry gets.
``log_entries`` holds everything that belongs to an entry, ``documents`` what entries refer to by digest,
``anchors`` the checkpoints that external logs shall hold or hold.

``resources`` is what the management API made, one row each; ``resource_versions`` every document of those that keep
their history. A row's ``revision`` is the index of the log entry that tells of its last change; both are written in
one transaction, so revisions become visible in their order. ``feed`` holds the newest of them. ``key_use`` is not
audited. ``usage`` has one row for each outcome entry of a tenant, written with it, ``usage_hours`` their sums.
``findings`` has one row for each place that a finding entry tells of, written with it.

``webhooks`` says up to which entry each receiver of findings was told.

``log_published`` and ``log_notes`` are used when several processes share the database. The lease of the one that
integrates and the checkpoint that it signed are one row, so that every step is one statement on it.

Changes to these tables need a migration in ``migrations/versions`` and a new ``REVISION``; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    event,
    text,
)

REVISION: Final = "0007"
"""The Alembic revision that these tables are at."""

metadata = MetaData()

_NAME: Final = String().with_variant(String(collation="C"), "postgresql")
"""Text that is sorted and paged through by code points, as Python and SQLite do, whatever the database's language."""

IS_FINDING: Final = text("kind = 'finding'")
"""As SQL, because an index over some rows is used only where the query says so in the same words."""

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
    Index("log_entries_tenant", "tenant", "idx"),
    # Few entries are findings: this costs the others nothing.
    Index("log_entries_findings", "idx", sqlite_where=IS_FINDING, postgresql_where=IS_FINDING),
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

resources = Table(
    "resources",
    metadata,
    Column("name", _NAME, primary_key=True),  # as the API names it: "tenants/acme/keys/ci"
    Column("kind", String, nullable=False),  # "key"
    Column("tenant", String, nullable=False),  # the owner's id; empty for what belongs to none
    Column("document", String, nullable=False),  # JSON; "{}" when deleted
    Column("revision", BigInteger, nullable=False),  # index of the entry of its last change
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),  # kept, so that others learn of it
    Index("resources_revision", "revision", "name", "kind"),
    Index("resources_kind", "kind", "name"),
)

resource_versions = Table(
    "resource_versions",
    metadata,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("document", String, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
)

feed = Table(
    "feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("revision", BigInteger, nullable=False),  # -1 before the first change
)

key_use = Table(
    "key_use",
    metadata,
    Column("name", String, primary_key=True),  # as in resources
    Column("last_used_ms", BigInteger, nullable=False),
)


def _counts() -> list[Column[int]]:
    return [
        Column("prompt_tokens", BigInteger, nullable=False),
        Column("completion_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),  # part of prompt_tokens
        Column("cache_write_tokens", BigInteger, nullable=False),  # part of prompt_tokens
        Column("reasoning_tokens", BigInteger, nullable=False),  # part of completion_tokens
        Column("cost_nano", BigInteger, nullable=False),  # billionths of a US dollar, as providers charge
        Column("billed_nano", BigInteger, nullable=False),  # with the tenant's margin
    ]


usage = Table(
    "usage",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("time_ms", BigInteger, nullable=False),  # when the call began, Unix milliseconds
    Column("tenant", String, nullable=False),
    Column("key", String, nullable=False),  # id of the key that called
    Column("model", String, nullable=False),  # empty where the call was refused before anybody was asked
    Column("provider", String, nullable=False),  # empty where none answered
    Column("result", String, nullable=False),
    *_counts(),
    Column("price_source", String, nullable=False),  # empty where no price is known
    Column("margin_percent", String, nullable=False),  # empty where nothing is billed
    Column("estimated", Boolean, nullable=False),  # billed by our own count of tokens
    Index("usage_tenant_time", "tenant", "time_ms"),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("tenant", _NAME, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # hours since 1970, UTC
    Column("key", _NAME, primary_key=True),
    Column("model", _NAME, primary_key=True),
    Column("provider", _NAME, primary_key=True),
    Column("price_source", _NAME, primary_key=True),
    Column("margin_percent", _NAME, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    *_counts(),
    sqlite_with_rowid=False,  # one B-tree instead of two
)

findings = Table(
    "findings",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),  # of the entry
    Column("place", Integer, primary_key=True, autoincrement=False),  # in the entry's order, from 1
    Column("time_ms", BigInteger, nullable=False),  # when it was found, Unix milliseconds
    Column("tenant", _NAME, nullable=False),
    Column("key", _NAME, nullable=False),  # id of the key that called
    Column("policy", _NAME, nullable=False),
    Column("action", _NAME, nullable=False),  # what was done about it
    Column("count", BigInteger, nullable=False),  # places in the request, told or not
    Column("told", BigInteger, nullable=False),  # places that it tells of: so many rows have this idx
    Column("kind", _NAME, nullable=False),
    Column("version", BigInteger, nullable=False),  # of the detector
    Column("length", BigInteger, nullable=False),  # bytes
    Column("number", BigInteger, nullable=False),
    Column("fingerprint", _NAME, nullable=False),
    Column("pointer", LargeBinary, nullable=False),  # UTF-8, also with NUL, which PostgreSQL's text lacks
    Index("findings_tenant", "tenant", "idx", "place"),
    Index("findings_fingerprint", "fingerprint", "tenant", "idx", "place"),
    sqlite_with_rowid=False,
)

_FINDINGS_OWNER: Final = (
    "CREATE STATISTICS findings_owner (dependencies) ON tenant, fingerprint FROM findings"
)
"""A fingerprint is one tenant's: who does not know that expects next to no rows of both, and sorts the many of them."""

_OWNER = DDL(_FINDINGS_OWNER)  # type: ignore[no-untyped-call]
event.listen(findings, "after_create", _OWNER.execute_if(dialect="postgresql"))

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),  # as the configuration names it
    Column("target", String, nullable=False),  # hex SHA-256 of the URL, which may hold a secret
    Column("next", BigInteger, nullable=False),  # every finding before this index is done with; the fence
    Column("delivered", BigInteger, nullable=False),  # events that were taken
    Column("given_up", BigInteger, nullable=False),  # events that will not be sent any more
    Column("delivered_ms", BigInteger),  # when the last one was taken
    Column("attempts", Integer, nullable=False),  # that failed since then
    Column("failing_ms", BigInteger),  # when the first of them did
    Column("retry_ms", BigInteger, nullable=False),  # not to be tried before
    Column("last_error", String),
    Column("gone_ms", BigInteger),  # when the receiver said that it wants nothing more
)

log_published = Table(
    "log_published",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("holder", String, nullable=False),  # who integrates; empty before the first
    Column("token", BigInteger, nullable=False),  # the fence: grows with every change of holder
    Column("expires_ms", BigInteger, nullable=False),  # when another may take over, by the database's clock
    Column("size", BigInteger, nullable=False),  # entries that the checkpoint covers
    Column("note", LargeBinary, nullable=False),  # the checkpoint as the log signed it
    Column("shown", LargeBinary, nullable=False),  # the same, perhaps with further signatures
    Column("key_digests", String, nullable=False),  # digests of the log's public keys
)

log_notes = Table(
    "log_notes",
    metadata,
    Column(
        "name", String, primary_key=True
    ),  # what the leader learnt and the others show: "cosigned", "witnesses"
    Column("body", LargeBinary, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
