"""The first schema. Written out, not taken from `schema.py`: a migration must stay what it was."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
BYTES = sa.LargeBinary()

# Whoever can write to the database can still drop a trigger; the seals are the proof. This stops accidents and us.
_APPEND_ONLY_SQLITE = """
CREATE TRIGGER {table}_{name} BEFORE {what} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
# REPLACE deletes without firing the trigger above; it would have to reuse a number.
_NO_GAPS_SQLITE = """
CREATE TRIGGER evidence_no_gap BEFORE INSERT ON evidence
WHEN NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM evidence)
BEGIN SELECT RAISE(ABORT, 'evidence is numbered without gaps'); END
"""
_APPEND_ONLY_POSTGRESQL = """
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""
_APPEND_ONLY_TABLE_POSTGRESQL = """
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION append_only()
"""
_NO_GAPS_FUNCTION_POSTGRESQL = """
CREATE FUNCTION evidence_no_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.number IS DISTINCT FROM (SELECT COALESCE(MAX(number), 0) + 1 FROM evidence) THEN
    RAISE EXCEPTION 'evidence is numbered without gaps';
  END IF;
  RETURN NEW;
END $$
"""
_NO_GAPS_POSTGRESQL = """
CREATE TRIGGER evidence_no_gap BEFORE INSERT ON evidence FOR EACH ROW EXECUTE FUNCTION evidence_no_gap()
"""


def upgrade() -> None:
    """Create every table, index and trigger."""
    _register_and_inbox()
    _health_and_incidents()
    _outbox()
    _evidence()
    _schedule()
    _triggers()


def _register_and_inbox() -> None:
    op.create_table(
        "register",
        sa.Column("revision", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("document", BYTES, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
    )
    op.create_table(
        "inbox",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("feed", TEXT, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("cloud", TEXT, nullable=False),
        sa.Column("carries", TEXT, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("error", TEXT),
        sa.Column("done_at", MOMENT),
        sa.Column("outcome", TEXT),
        sa.Column("body", BYTES, nullable=False),
    )
    op.create_index("inbox_once", "inbox", ["fingerprint"], unique=True)
    _partial_index("inbox_due", "inbox", ["carries", "due_at", "id"], "due_at IS NOT NULL")
    op.create_table(
        "quarantine",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("feed", TEXT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("cloud", TEXT, nullable=False),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("body", BYTES, nullable=False),
    )
    op.create_index("quarantine_once", "quarantine", ["feed", "sha256"], unique=True)


def _health_and_incidents() -> None:
    op.create_table(
        "health",
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("customer", TEXT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("doc", BYTES, nullable=False),
    )
    op.create_table(
        "incidents",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("customer", TEXT, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("check_at", MOMENT),
        sa.Column("doc", BYTES, nullable=False),
    )
    op.create_index("incidents_once", "incidents", ["id"], unique=True)
    _partial_index("incidents_due", "incidents", ["check_at"], "check_at IS NOT NULL")
    op.create_table(
        "incident_subjects",
        sa.Column("incident", TEXT, sa.ForeignKey("incidents.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("subject", TEXT, nullable=False),
    )
    op.create_index("incident_subjects_by_subject", "incident_subjects", ["subject"])


def _outbox() -> None:
    op.create_table(
        "raw",
        sa.Column("sha256", TEXT, primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("body", BYTES, nullable=False),
    )
    op.create_table(
        "notices",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("incident", TEXT),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("recipient", TEXT),
        sa.Column("dedup", TEXT, nullable=False),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("after", TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("free_at", MOMENT),
        sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("accepted_at", MOMENT),
        sa.Column("provider_id", TEXT),
        sa.Column("error", TEXT),
        sa.Column("rendered_sha256", TEXT, sa.ForeignKey("raw.sha256")),
        sa.Column("content_type", TEXT),
        sa.Column("facts_type", TEXT, nullable=False),
        sa.Column("doc", TEXT, nullable=False),
    )
    op.create_index("notices_id", "notices", ["id"], unique=True)
    op.create_index("notices_once", "notices", ["fingerprint"], unique=True)
    op.create_index("notices_by_incident", "notices", ["incident"])
    op.create_index("notices_by_state", "notices", ["state"])
    _partial_index("notices_waiting", "notices", ["urgent", "created_at", "number"], "free_at IS NOT NULL")
    op.create_table(
        "attempts",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("notice", TEXT, sa.ForeignKey("notices.id"), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("excerpt", TEXT, nullable=False),
        sa.Column("rendered_sha256", TEXT, sa.ForeignKey("raw.sha256")),
    )
    op.create_index("attempts_by_notice", "attempts", ["notice"])


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("previous", TEXT, nullable=False),
        sa.Column("seal", TEXT, nullable=False),
    )


def _schedule() -> None:
    op.create_table(
        "counters",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", NUMBER, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("due_at", MOMENT, nullable=False),
    )
    op.create_table(
        "processes",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("degraded", TEXT),
    )
    op.create_table(
        "feeds",
        sa.Column("feed", TEXT, primary_key=True),
        sa.Column("asked_at", MOMENT),
        sa.Column("record_at", MOMENT),
        sa.Column("received", NUMBER, nullable=False),
        sa.Column("kept", NUMBER, nullable=False),
        sa.Column("dropped", NUMBER, nullable=False),
        sa.Column("broken", NUMBER, nullable=False),
        sa.Column("error", TEXT),
    )


def _triggers() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in ("evidence", "attempts"):
            op.execute(_APPEND_ONLY_SQLITE.format(table=table, name="no_update", what="UPDATE"))
            op.execute(_APPEND_ONLY_SQLITE.format(table=table, name="no_delete", what="DELETE"))
        op.execute(_NO_GAPS_SQLITE)
    else:
        op.execute(_APPEND_ONLY_POSTGRESQL)
        for table in ("evidence", "attempts"):
            op.execute(_APPEND_ONLY_TABLE_POSTGRESQL.format(table=table))
        op.execute(_NO_GAPS_FUNCTION_POSTGRESQL)
        op.execute(_NO_GAPS_POSTGRESQL)


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
