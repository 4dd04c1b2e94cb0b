"""The tables, and the two column types that make both databases give back exactly what they were given.

The truth of a database is its migrations; a test holds them equal to this page. Rules for a change, so that the code of
one version before still runs on the new schema while processes are replaced one by one: add tables and columns only,
each new column nullable or with a *server default*; drop or rename in the version after the next. Every change is a new
file in `migrations/versions`, and its name is added to `REVISIONS`.
"""

import re
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

from workers.store.rules import utc

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")


class Moment(TypeDecorator[datetime]):
    """An aware time to the microsecond; comes back in UTC. `timestamptz` on PostgreSQL, ISO text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Bring to UTC. Raises ValueError for a naive time."""
        if value is None:
            return None
        value = utc(value)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC (SQLite), or bring it there from the session's zone (PostgreSQL)."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


# U+241B, "symbol for escape", is rare in any text and harmless in every terminal and editor.
_SIGN = "\u241b"
_ODD = re.compile(f"[\x00{_SIGN}\ud800-\udfff]")
_SPELT = re.compile(f"{_SIGN}({_SIGN}|0|d[89a-f][0-9a-f]{{2}})")


class AnyText(TypeDecorator[str]):
    """Any Python text whatever, exactly. Outsiders choose some of it, and neither NUL (PostgreSQL) nor half a surrogate
    pair (both) can be stored as text: these are spelt with an escape sign. Everything else is stored as it reads.
    """  # noqa: D205 -- one thought

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Sort by code point everywhere, as Python and SQLite do, whatever the locale of the PostgreSQL database."""
        return postgresql.TEXT(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- both alike
        """Spell what cannot be stored."""
        # str(): a word of a StrEnum becomes plain text, which every driver knows.
        return None if value is None else _ODD.sub(_spelling, str(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- both alike
        """Read the spelling."""
        return value if value is None or _SIGN not in value else _SPELT.sub(_letter, value)


def _spelling(odd: re.Match[str]) -> str:
    letter = odd[0]
    if letter == _SIGN:
        return _SIGN + _SIGN
    return _SIGN + ("0" if letter == "\x00" else f"{ord(letter):x}")


def _letter(spelt: re.Match[str]) -> str:
    code = spelt[1]
    if code == _SIGN:
        return _SIGN
    return "\x00" if code == "0" else chr(int(code, 16))


# SQLite numbers rows by itself only in a column that is called INTEGER; its integers have 64 bits under any name.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

register = Table(
    "register",
    metadata,
    Column("revision", Number, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    Column("at", Moment, nullable=False),
    Column("by", AnyText, nullable=False),
    Column("source", AnyText, nullable=False),
)

# `fingerprint` stands for (feed, event id): an event id of any length would not fit into an index.
# `due_at` is null once the row is done; SQL comparisons and the index then leave it out by themselves.
# `claimed` says that somebody took the row and has not come back.
inbox = Table(
    "inbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("fingerprint", AnyText, nullable=False),
    Column("feed", AnyText, nullable=False),
    Column("event_id", AnyText, nullable=False),
    Column("cloud", AnyText, nullable=False),
    Column("carries", AnyText, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("due_at", Moment),
    Column("claimed", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", AnyText),
    Column("done_at", Moment),
    Column("outcome", AnyText),
    Column("body", LargeBinary, nullable=False),
)
Index("inbox_once", inbox.c.fingerprint, unique=True)
DUE_ARRIVALS = inbox.c.due_at.is_not(None)
Index(
    "inbox_due", inbox.c.carries, inbox.c.due_at, inbox.c.id, sqlite_where=DUE_ARRIVALS, postgresql_where=DUE_ARRIVALS
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Number, primary_key=True),
    Column("feed", AnyText, nullable=False),
    Column("sha256", AnyText, nullable=False),
    Column("cloud", AnyText, nullable=False),
    Column("place", AnyText, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("quarantine_once", quarantine.c.feed, quarantine.c.sha256, unique=True)

health = Table(
    "health",
    metadata,
    Column("subject", AnyText, primary_key=True),
    Column("verdict", AnyText, nullable=False),
    Column("customer", AnyText, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("doc", LargeBinary, nullable=False),
)

# `number` is the order of opening.
incidents = Table(
    "incidents",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", AnyText, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("customer", AnyText, nullable=False),
    Column("stage", AnyText, nullable=False),
    Column("check_at", Moment),
    Column("doc", LargeBinary, nullable=False),
)
Index("incidents_once", incidents.c.id, unique=True)
CHECKED = incidents.c.check_at.is_not(None)
Index("incidents_due", incidents.c.check_at, sqlite_where=CHECKED, postgresql_where=CHECKED)

incident_subjects = Table(
    "incident_subjects",
    metadata,
    Column("incident", AnyText, ForeignKey("incidents.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("subject", AnyText, nullable=False),
)
Index("incident_subjects_by_subject", incident_subjects.c.subject)

# Bytes by their SHA-256: raw records, and what went out.
raw = Table(
    "raw",
    metadata,
    Column("sha256", AnyText, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# `fingerprint` stands for (incident, kind, dedup, channel, recipient). `due_at` is when the notice was or is to be
# sent; `free_at` is from when on it may be taken: `due_at` while queued, the end of the lease while leased, then null.
notices = Table(
    "notices",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", AnyText, nullable=False),
    Column("fingerprint", AnyText, nullable=False),
    Column("incident", AnyText),
    Column("kind", AnyText, nullable=False),
    Column("channel", AnyText, nullable=False),
    Column("recipient", AnyText),
    Column("dedup", AnyText, nullable=False),
    Column("urgent", Boolean, nullable=False),
    Column("after", AnyText),
    Column("created_at", Moment, nullable=False),
    Column("state", AnyText, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("free_at", Moment),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("accepted_at", Moment),
    Column("provider_id", AnyText),
    Column("error", AnyText),
    Column("rendered_sha256", AnyText, ForeignKey("raw.sha256")),
    Column("content_type", AnyText),
    Column("facts_type", AnyText, nullable=False),
    Column("doc", AnyText, nullable=False),
)
Index("notices_id", notices.c.id, unique=True)
Index("notices_once", notices.c.fingerprint, unique=True)
Index("notices_by_incident", notices.c.incident)
Index("notices_by_state", notices.c.state)
WAITING = notices.c.free_at.is_not(None)
Index(
    "notices_waiting",
    notices.c.urgent,
    notices.c.created_at,
    notices.c.number,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)

# Append-only, held by triggers.
attempts = Table(
    "attempts",
    metadata,
    Column("number", Number, primary_key=True),
    Column("notice", AnyText, ForeignKey("notices.id"), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Column("outcome", AnyText, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("http_status", Integer),
    Column("excerpt", AnyText, nullable=False),
    Column("rendered_sha256", AnyText, ForeignKey("raw.sha256")),
)
Index("attempts_by_notice", attempts.c.notice)

# One row for each registered key. `due_at` is null for a key that is never asked; while `claimed` it is the end of the
# claim. `taken_at` is when it was last taken: an account's pace is counted by it.
probes = Table(
    "probes",
    metadata,
    Column("key", AnyText, primary_key=True),
    Column("cloud", AnyText, nullable=False),
    Column("account", AnyText, nullable=False),
    Column("every_seconds", Integer, nullable=False),
    Column("due_at", Moment),
    Column("wanted_at", Moment),
    Column("claimed", Boolean, nullable=False, server_default=false()),
    Column("taken_at", Moment),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("last_at", Moment),
    Column("last_passed", Boolean),
    Column("last_words", AnyText, nullable=False, server_default=text("''")),
    Column("outcome", AnyText, nullable=False, server_default=text("''")),
    Column("told_at", Moment),
    Column("slow_at", Moment),
    Column("answered_at", Moment),
)
Index("probes_due", probes.c.cloud, probes.c.due_at)
Index("probes_taken", probes.c.taken_at)
CLAIMED = probes.c.claimed == true()
Index("probes_claimed", probes.c.due_at, sqlite_where=CLAIMED, postgresql_where=CLAIMED)

canaries = Table(
    "canaries",
    metadata,
    Column("key", AnyText, primary_key=True),
    Column("version", AnyText, primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("algorithm", AnyText, nullable=False),
    Column("made_at", Moment, nullable=False),
)

# `due_at` is null once a backfill has ended; while `claimed` it is the end of the claim. `cursor` is the archive's own.
backfills = Table(
    "backfills",
    metadata,
    Column("id", Number, primary_key=True),
    Column("archive", AnyText, nullable=False),
    Column("feed", AnyText, nullable=False),
    Column("cloud", AnyText, nullable=False),
    Column("customers", AnyText),
    Column("start", Moment, nullable=False),
    Column("end", Moment, nullable=False),
    Column("asked_by", AnyText, nullable=False),
    Column("why", AnyText, nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("state", AnyText, nullable=False),
    Column("due_at", Moment),
    Column("claimed", Boolean, nullable=False, server_default=false()),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("cursor", AnyText),
    Column("until", Moment),
    Column("received", Number, nullable=False, server_default=text("0")),
    Column("kept", Number, nullable=False, server_default=text("0")),
    Column("known", Number, nullable=False, server_default=text("0")),
    Column("dropped", Number, nullable=False, server_default=text("0")),
    Column("unreadable", Number, nullable=False, server_default=text("0")),
    Column("progress_at", Moment),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("error", AnyText),
)
Index("backfills_due", backfills.c.due_at)

# One row for each registered key. While `claimed`, `due_at` is the end of the claim. `summary` and `doc` are the last
# result, in short and in full.
preflights = Table(
    "preflights",
    metadata,
    Column("key", AnyText, primary_key=True),
    Column("due_at", Moment, nullable=False),
    Column("wanted_at", Moment),
    Column("claimed", Boolean, nullable=False, server_default=false()),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("first_at", Moment),
    Column("last_at", Moment),
    Column("told_at", Moment),
    Column("summary", LargeBinary),
    Column("doc", LargeBinary),
)
Index("preflights_due", preflights.c.due_at)

# Append-only and without gaps, held by triggers.
evidence = Table(
    "evidence",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("kind", AnyText, nullable=False),
    Column("subject", AnyText, nullable=False),
    Column("body", AnyText, nullable=False),
    Column("previous", AnyText, nullable=False),
    Column("seal", AnyText, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("value", Number, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("due_at", Moment, nullable=False),
)

# What a periodic job has to know at its next turn. `doc` is the job's own, as JSON.
memos = Table(
    "memos",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("doc", LargeBinary, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("kind", AnyText, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("degraded", AnyText),
)

feeds = Table(
    "feeds",
    metadata,
    Column("feed", AnyText, primary_key=True),
    Column("asked_at", Moment),
    Column("record_at", Moment),
    Column("received", Number, nullable=False),
    Column("kept", Number, nullable=False),
    Column("dropped", Number, nullable=False),
    Column("broken", Number, nullable=False),
    Column("error", AnyText),
)

# When a route of audit records last showed a sign of life, by the feed that brought it.
signs = Table(
    "signs",
    metadata,
    Column("feed", AnyText, primary_key=True),
    Column("route", AnyText, primary_key=True),
    Column("at", Moment, nullable=False),
)
