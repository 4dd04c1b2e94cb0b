"""Memos: what periodic jobs have to know at their next turn."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; its rows come with the first audit."""
    op.create_table(
        "memos",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("doc", sa.LargeBinary, nullable=False),
    )
