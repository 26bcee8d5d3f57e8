"""The journal: append-only entries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table of entries."""
    op.create_table(
        "entries",
        sa.Column("model", sa.String(40), primary_key=True),
        sa.Column("stream", sa.String(20), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_entries_subject", "entries", ["subject"])


def downgrade() -> None:
    """Drop the table of entries."""
    op.drop_table("entries")
