"""Create where each webhook of findings stands, and an index that finds the findings among all entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    is_finding = sa.text("kind = 'finding'")
    op.create_index(
        "log_entries_findings",
        "log_entries",
        ["idx"],
        sqlite_where=is_finding,
        postgresql_where=is_finding,
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("given_up", sa.BigInteger, nullable=False),
        sa.Column("delivered_ms", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failing_ms", sa.BigInteger),
        sa.Column("retry_ms", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.String),
        sa.Column("gone_ms", sa.BigInteger),
    )


def downgrade() -> None:
    raise NotImplementedError("what was delivered is never forgotten")
