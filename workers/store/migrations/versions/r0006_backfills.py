"""Backfills: what is read again out of an archive, and how far that is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table; its rows come with the first gap."""
    zero = sa.text("0")
    op.create_table(
        "backfills",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("archive", TEXT, nullable=False),
        sa.Column("feed", TEXT, nullable=False),
        sa.Column("cloud", TEXT, nullable=False),
        sa.Column("customers", TEXT),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("end", MOMENT, nullable=False),
        sa.Column("asked_by", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("fence", sa.Integer, nullable=False, server_default=zero),
        sa.Column("cursor", TEXT),
        sa.Column("until", MOMENT),
        sa.Column("received", NUMBER, nullable=False, server_default=zero),
        sa.Column("kept", NUMBER, nullable=False, server_default=zero),
        sa.Column("known", NUMBER, nullable=False, server_default=zero),
        sa.Column("dropped", NUMBER, nullable=False, server_default=zero),
        sa.Column("unreadable", NUMBER, nullable=False, server_default=zero),
        sa.Column("progress_at", MOMENT),
        sa.Column("failures", sa.Integer, nullable=False, server_default=zero),
        sa.Column("error", TEXT),
    )
    op.create_index("backfills_due", "backfills", ["due_at"])
