"""Pre-flights: when each key is checked next, and what the last check of what makes it hard to lose came to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table; the rows come with the next import of the register, or from the scheduler."""
    op.create_table(
        "preflights",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("wanted_at", MOMENT),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("first_at", MOMENT),
        sa.Column("last_at", MOMENT),
        sa.Column("told_at", MOMENT),
        sa.Column("summary", sa.LargeBinary),
        sa.Column("doc", sa.LargeBinary),
    )
    op.create_index("preflights_due", "preflights", ["due_at"])
