"""Create the anchors of checkpoints in external logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "anchors",
        sa.Column("anchor", sa.String, primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("signer", sa.LargeBinary, nullable=False),
        sa.Column("queued_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retry_ms", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.String),
        sa.Column("entry", sa.LargeBinary),
        sa.Column("anchored_ms", sa.BigInteger),
    )


def downgrade() -> None:
    raise NotImplementedError("anchors are never dropped")
