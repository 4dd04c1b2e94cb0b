"""Signs of life: when each route of audit records was last heard, and when each key last gave a probe an answer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table and the column; both are filled by what comes next."""
    op.create_table(
        "signs",
        sa.Column("feed", TEXT, primary_key=True),
        sa.Column("route", TEXT, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
    )
    op.add_column("probes", sa.Column("answered_at", MOMENT))
