"""Create what the management API keeps, usage, and what replicas of one log share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")  # sorted by code points


def upgrade() -> None:
    op.create_index("log_entries_tenant", "log_entries", ["tenant", "idx"])
    op.create_table(
        "resources",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("document", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Index("resources_revision", "revision", "name", "kind"),
        sa.Index("resources_kind", "kind", "name"),
    )
    op.create_table(
        "resource_versions",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("document", sa.String, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    feed = op.create_table(
        "feed",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(feed, [{"id": 1, "revision": -1}])
    op.create_table(
        "key_use",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("last_used_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in ("tenant", "key", "model", "provider", "result")
        ),
        *_counts(),
        sa.Column("price_source", sa.String, nullable=False),
        sa.Column("margin_percent", sa.String, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Index("usage_tenant_time", "tenant", "time_ms"),
    )
    op.create_table(
        "usage_hours",
        sa.Column("tenant", _NAME, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, _NAME, primary_key=True)
            for name in ("key", "model", "provider", "price_source", "margin_percent")
        ),
        sa.Column("calls", sa.BigInteger, nullable=False),
        *_counts(),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_published",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("shown", sa.LargeBinary, nullable=False),
        sa.Column("key_digests", sa.String, nullable=False),
    )
    op.create_table(
        "log_notes",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
    )


def _counts() -> list[sa.Column[int]]:
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in (*names, "cost_nano", "billed_nano")]


def downgrade() -> None:
    raise NotImplementedError("usage and resources are never dropped")
