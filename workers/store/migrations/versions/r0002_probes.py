"""Probes: when each registered key is asked next, what came of it last, and the canaries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables; the rows come with the next import of the register, or from the scheduler."""
    probes = op.create_table(
        "probes",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("cloud", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("every_seconds", sa.Integer, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("wanted_at", MOMENT),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("taken_at", MOMENT),
        sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("last_at", MOMENT),
        sa.Column("last_passed", sa.Boolean),
        sa.Column("last_words", TEXT, nullable=False, server_default=sa.text("''")),
        sa.Column("outcome", TEXT, nullable=False, server_default=sa.text("''")),
        sa.Column("told_at", MOMENT),
        sa.Column("slow_at", MOMENT),
    )
    op.create_index("probes_due", "probes", ["cloud", "due_at"])
    op.create_index("probes_taken", "probes", ["taken_at"])
    claimed = probes.c.claimed == sa.true()
    op.create_index("probes_claimed", "probes", ["due_at"], sqlite_where=claimed, postgresql_where=claimed)
    op.create_table(
        "canaries",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("version", TEXT, primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("algorithm", TEXT, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
    )
