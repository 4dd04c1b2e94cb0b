"""The store on a database: SQLite for one machine, PostgreSQL for several.

One writer at a time, on both. Writers are rare and short (a record that matters, a notice, a claim), and that they
never overlap makes the evidence chain, the fold of a key's health and every read-then-write in here simple. SQLite
gives the turn with BEGIN IMMEDIATE, PostgreSQL with one advisory lock, taken first and held to the end of the
transaction. Readers wait for nobody and hold nobody up.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from watchdog.coverage import Sign
from watchdog.evidence import Sealed
from watchdog.notices import Notice
from workers.probes.interface import Canary
from workers.store import documents, rules, schema
from workers.store.engines import engines
from workers.store.faults import told
from workers.store.interface import (
    PACE,
    Arrival,
    Arrived,
    Attempt,
    BackfillPlan,
    BackfillState,
    Carries,
    FeedSeen,
    Lease,
    NoticeState,
    PreflightOutcome,
    ProbeOutcome,
    ProbePlan,
    ProcessSeen,
    StoredBackfill,
    StoredHealth,
    StoredIncident,
    StoredNotice,
    StoredPreflight,
    StoredProbe,
    StoreFault,
    StoreUnavailable,
    TakenProbe,
    Unit,
    Unreadable,
    WrongProcess,
)

T = TypeVar("T")

# Bodies may be a megabyte each: few rows per statement.
_ROWS_PER_INSERT = 50
# Older builds of SQLite allow 999 variables in a statement.
_NAMES_PER_QUERY = 500
_ROWS_PER_FETCH = 500


class SqlStore:
    """A database as the store. Connects when first used, and looks once whether it has been migrated."""

    def __init__(self, url: str) -> None:
        self._engines = engines(url)
        self._process = os.getpid()
        self._migrated = False

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """Begin the one writing transaction. Committed, durably, when the block is left without an exception."""
        with self._writing() as connection:
            self._look(connection)
            unit = SqlUnit(connection)
            yield unit
            unit.flush()

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """Begin a reading transaction on one snapshot."""
        with self._reading() as connection:
            self._look(connection)
            yield SqlUnit(connection)

    def migrate(self) -> None:
        """Bring the schema up, as one writer's transaction: whoever comes second waits, and finds it done."""
        # Alembic takes a quarter of a second to import, and only this needs it.
        from workers.store.migrations import upgrade  # noqa: PLC0415

        with self._writing() as connection:
            if _revision(connection) in {None, *schema.REVISIONS}:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL statement_timeout = 0"))  # an index may take its time
                upgrade(connection)

    def revision(self) -> str | None:
        """Return the schema's revision; None when the database has never been migrated."""
        with self._reading() as connection:
            return _revision(connection)

    def close(self) -> None:
        """Close the connections."""
        self._own()
        self._engines.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._own()
        with told(writing=True), self._engines.writer.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._own()
        with told(writing=False), self._engines.reader.begin() as connection:
            yield connection

    def _own(self) -> None:
        """Refuse to share connections with a parent: two processes on one socket corrupt each other's answers."""
        if os.getpid() != self._process:
            raise WrongProcess(f"this store was opened by process {self._process}; open another one after the fork")

    def _look(self, connection: Connection) -> None:
        if self._migrated:
            return
        found = _revision(connection)
        # A revision that we do not know is newer than we are, and made so that we still work with it.
        if found is None or found in schema.REVISIONS[:-1]:
            has = "has no schema yet" if found is None else f"has schema {found}"
            raise StoreUnavailable(StoreFault.SCHEMA, f"the database {has}, this program needs {schema.REVISIONS[-1]}")
        self._migrated = True


def _revision(connection: Connection) -> str | None:
    """Return the schema's revision as Alembic wrote it down."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


class SqlUnit:
    """One transaction on a database. The promises of each method stand in `Unit`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last: Sealed | None = None
        self._sealed: list[Sealed] = []

    # ------------------------------------------------------------------------------------------------ the register

    def register_revision(self) -> int:
        """Return the number of the newest document, 0 when there is none."""
        return self._count(select(func.coalesce(func.max(schema.register.c.revision), 0)))

    def register_latest(self) -> tuple[int, bytes] | None:
        """Return number and bytes of the newest document."""
        table = schema.register
        query = select(table.c.revision, table.c.document).order_by(table.c.revision.desc()).limit(1)
        row = self._connection.execute(query).first()
        return (row.revision, row.document) if row else None

    def register_add(self, document: bytes, *, at: datetime, by: str, source: str) -> int:
        """Keep a document as the newest; return its number."""
        number = self.register_revision() + 1
        row = {"revision": number, "document": document, "at": at, "by": by, "source": source}
        self._connection.execute(insert(schema.register).values(row))
        return number

    # --------------------------------------------------------------------------------------------------- the inbox

    def receive(self, arrivals: Sequence[Arrival]) -> list[int]:
        """Add what is new; return the new ids in order."""
        rows = [
            _values(arrival)
            | {"fingerprint": _fingerprint(arrival.feed, arrival.event_id), "due_at": arrival.received_at}
            for arrival in arrivals
        ]
        if not rows:
            return []
        table = schema.inbox
        added = self._connection.execute(
            self._insert(table)
            .on_conflict_do_nothing(index_elements=[table.c.fingerprint])
            .returning(table.c.fingerprint, table.c.id),
            rows,
            execution_options={"insertmanyvalues_page_size": _ROWS_PER_INSERT},
        )
        # `pop`: the second of two equal arrivals in one call is not new.
        ids = {row.fingerprint: row.id for row in added}
        return [ids.pop(row["fingerprint"]) for row in rows if row["fingerprint"] in ids]

    def arrived(self, inbox_id: int) -> Arrived | None:
        """Return the row while it still has to be worked."""
        query = select(*_ARRIVED).where(_open_arrival(inbox_id))
        return _arrived(self._connection.execute(query).first())

    def arrived_due(self, now: datetime, limit: int) -> list[tuple[int, Carries]]:
        """Return the ids of due rows: records first, then the oldest."""
        table = schema.inbox
        found: list[tuple[int, Carries]] = []
        for carries in (Carries.RECORD, Carries.DELIVERY):
            query = (
                select(table.c.id)
                .where(table.c.carries == carries, table.c.due_at <= now)
                .order_by(table.c.due_at, table.c.id)
                .limit(limit - len(found))
            )
            found += [(number, carries) for number in self._connection.execute(query).scalars()]
        return found

    def claim_arrival(self, inbox_id: int, *, now: datetime, length: timedelta) -> Arrived | None:
        """Take a due row until `now + length`; a claim that ran out counts as a failure."""
        table = schema.inbox
        statement = (
            update(table)
            .where(table.c.id == inbox_id, table.c.due_at <= now)
            .values(
                due_at=now + length,
                claimed=True,
                attempts=table.c.attempts + case((table.c.claimed == true(), 1), else_=0),
            )
            .returning(*_ARRIVED)
        )
        return _arrived(self._connection.execute(statement).first())

    def arrival_done(self, inbox_id: int, *, at: datetime, outcome: str) -> None:
        """End the row and empty its body."""
        statement = update(schema.inbox).where(_open_arrival(inbox_id))
        self._connection.execute(
            statement.values(due_at=None, claimed=False, done_at=at, outcome=outcome, error=None, body=b"")
        )

    def arrival_retry(self, inbox_id: int, *, due_at: datetime, error: str) -> None:
        """Count a failure and make the row due again at `due_at`."""
        table = schema.inbox
        statement = update(table).where(_open_arrival(inbox_id))
        self._connection.execute(
            statement.values(due_at=due_at, claimed=False, attempts=table.c.attempts + 1, error=error)
        )

    def inbox_counts(self) -> Mapping[str, int]:
        """Count the open rows by kind."""
        table = schema.inbox
        query = select(table.c.carries, func.count()).where(table.c.due_at.is_not(None)).group_by(table.c.carries)
        return {str(carries): 0 for carries in Carries} | self._counts(query)

    # -------------------------------------------------------------------------------------------------- quarantine

    def quarantine(self, piece: Unreadable) -> int | None:
        """Keep an unreadable piece, once per feed and bytes."""
        row = _values(piece) | {"sha256": _sha256(piece.body)}
        added = self._add(schema.quarantine, ("feed", "sha256"), row)
        return None if added is None else int(added.id)

    def quarantined(self, limit: int) -> list[tuple[int, Unreadable]]:
        """Return the newest pieces first."""
        table = schema.quarantine
        # The id last, so that the rest of the row is the piece.
        query = select(*_columns(Unreadable, table), table.c.id).order_by(table.c.id.desc()).limit(limit)
        found = [row._asdict() for row in self._connection.execute(query)]
        return [(row.pop("id"), Unreadable(**row)) for row in found]

    def quarantine_count(self) -> int:
        """Count the pieces."""
        return self._count(select(func.count()).select_from(schema.quarantine))

    # ------------------------------------------------------------------------------------------------------ health

    def healths(self, subjects: Iterable[str]) -> dict[str, StoredHealth]:
        """Return the health of those subjects that have one."""
        table = schema.health
        found: dict[str, StoredHealth] = {}
        for names in _batches(subjects):
            query = select(*_columns(StoredHealth, table)).where(table.c.subject.in_(names))
            found |= {row.subject: StoredHealth(**row._asdict()) for row in self._connection.execute(query)}
        return found

    def put_healths(self, healths: Iterable[StoredHealth]) -> None:
        """Write each subject's health over the one before, in one statement."""
        rows = [_values(health) for health in healths]
        if not rows:
            return
        statement = self._insert(schema.health)
        others = {name: statement.excluded[name] for name in rows[0] if name != "subject"}
        statement = statement.on_conflict_do_update(index_elements=[schema.health.c.subject], set_=others)
        self._connection.execute(statement, rows)

    def put_health(self, health: StoredHealth) -> None:
        """Write one subject's health over the one before."""
        self.put_healths([health])

    def all_health(self) -> Iterator[StoredHealth]:
        """Stream every health, by subject."""
        query = select(*_columns(StoredHealth, schema.health)).order_by(schema.health.c.subject)
        return (StoredHealth(**row._asdict()) for row in self._stream(query))

    # --------------------------------------------------------------------------------------------------- incidents

    def incident_number(self) -> int:
        """Return a number that was never committed before."""
        table = schema.counters
        statement = self._insert(table).values(name="incident", value=1)
        raised = statement.on_conflict_do_update(index_elements=[table.c.name], set_={"value": table.c.value + 1})
        return int(self._connection.execute(raised.returning(table.c.value)).scalar_one())

    def incident(self, incident_id: str) -> StoredIncident | None:
        """Return one incident."""
        found = self._incidents(select(schema.incidents).where(schema.incidents.c.id == incident_id))
        return found[0] if found else None

    def open_incidents(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return the open incident of each subject that has one."""
        incidents, parts = schema.incidents, schema.incident_subjects
        query = (
            select(parts.c.subject, incidents.c.id)
            .join(incidents, incidents.c.id == parts.c.incident)
            .where(incidents.c.is_open == true())
            .order_by(incidents.c.number)
        )
        found: dict[str, str] = {}
        for names in _batches(subjects):
            # The newest comes last and wins.
            found |= {row.subject: row.id for row in self._connection.execute(query.where(parts.c.subject.in_(names)))}
        return found

    def put_incident(self, incident: StoredIncident) -> None:
        """Write an incident over what was stored of it."""
        row = _values(incident)
        subjects = row.pop("subjects")
        self._put(schema.incidents, "id", row)
        parts = schema.incident_subjects
        self._connection.execute(delete(parts).where(parts.c.incident == incident.id))
        rows = [
            {"incident": incident.id, "position": position, "subject": subject}
            for position, subject in enumerate(subjects)
        ]
        if rows:
            self._connection.execute(insert(parts), rows)

    def incidents_due(self, now: datetime, limit: int) -> list[str]:
        """Return the incidents that are to be checked, those waiting longest first."""
        table = schema.incidents
        query = select(table.c.id).where(table.c.check_at <= now).order_by(table.c.check_at, table.c.number)
        return list(self._connection.execute(query.limit(limit)).scalars())

    def incidents(self, *, only_open: bool, limit: int = 1000) -> list[StoredIncident]:
        """Return incidents, the newest first."""
        table = schema.incidents
        query = select(table).order_by(table.c.number.desc()).limit(limit)
        return self._incidents(query.where(table.c.is_open == true()) if only_open else query)

    def _incidents(self, query: Select[Any]) -> list[StoredIncident]:
        rows = self._connection.execute(query).all()
        parts = schema.incident_subjects
        subjects: dict[str, list[str]] = {row.id: [] for row in rows}
        for names in _batches(subjects):
            of_these = select(parts).where(parts.c.incident.in_(names)).order_by(parts.c.incident, parts.c.position)
            for part in self._connection.execute(of_these):
                subjects[part.incident].append(part.subject)
        return [
            StoredIncident(
                id=row.id,
                doc=row.doc,
                is_open=row.is_open,
                customer=row.customer,
                stage=row.stage,
                subjects=tuple(subjects[row.id]),
                check_at=row.check_at,
            )
            for row in rows
        ]

    # -------------------------------------------------------------------------------------------------- the outbox

    def add_notices(self, notices: Sequence[Notice]) -> list[str]:
        """Queue what is new, in one statement; return the new ids."""
        if not notices:
            return []
        table = schema.notices
        statement = self._insert(table).on_conflict_do_nothing(index_elements=[table.c.fingerprint])
        rows = self._connection.execute(statement.returning(table.c.id), [_notice_row(notice) for notice in notices])
        added = {row.id for row in rows}
        return [notice.id for notice in notices if notice.id in added]

    def notices_due(self, now: datetime, limit: int, *, channel: str | None = None) -> list[tuple[str, bool]]:
        """Return the notices that may be leased now, urgent ones first, then by age."""
        table = schema.notices
        found: list[tuple[str, bool]] = []
        of_channel = true() if channel is None else table.c.channel == channel
        for urgent in (True, False):
            query = (
                select(table.c.id)
                .where(table.c.urgent == urgent, of_channel, _may_be_leased(now))
                .order_by(table.c.created_at, table.c.number)
                .limit(limit - len(found))
            )
            found += [(notice, urgent) for notice in self._connection.execute(query).scalars()]
        return found

    def lease(self, notice_id: str, *, now: datetime, length: timedelta) -> Lease | None:
        """Take a due notice until `now + length`."""
        table = schema.notices
        until = rules.utc(now + length)
        statement = (
            update(table)
            .where(table.c.id == notice_id, _may_be_leased(now))
            .values(state=NoticeState.LEASED, fence=table.c.fence + 1, free_at=until)
            .returning(table.c.fence, table.c.attempts, table.c.doc, table.c.facts_type)
        )
        row = self._connection.execute(statement).first()
        if row is None:
            return None
        notice = documents.loaded(row.doc, row.facts_type)
        return Lease(notice=notice, fence=row.fence, attempts=row.attempts, until=until)

    def settle(
        self,
        notice_id: str,
        fence: int,
        *,
        state: NoticeState,
        attempt: Attempt,
        due_at: datetime | None = None,
        provider_id: str | None = None,
        rendered: bytes | None = None,
        content_type: str | None = None,
    ) -> bool:
        """Record what came of a lease, and the attempt; False when the fence is no longer the current one."""
        rules.check_settlement(state, due_at)
        table = schema.notices
        held = select(table.c.number).where(
            table.c.id == notice_id, table.c.fence == fence, table.c.state == NoticeState.LEASED
        )
        number = self._connection.execute(held).scalar()
        if number is None:
            return False
        sha256 = None if rendered is None else self.keep_raw(rendered, at=attempt.at)
        news = {
            "due_at": due_at,
            "accepted_at": attempt.at if state is NoticeState.ACCEPTED else None,
            "provider_id": provider_id,
            "rendered_sha256": sha256,
            "content_type": content_type,
        }
        self._connection.execute(
            update(table)
            .where(table.c.number == number)
            .values(state=state, free_at=due_at, attempts=table.c.attempts + 1, error=rules.error_of(state, attempt))
            .values({name: value for name, value in news.items() if value is not None})
        )
        row = _values(attempt) | {"notice": notice_id, "fence": fence, "rendered_sha256": sha256}
        self._connection.execute(insert(schema.attempts).values(row))
        return True

    def notice(self, notice_id: str) -> StoredNotice | None:
        """Return a notice with what has become of it."""
        row = self._connection.execute(select(schema.notices).where(schema.notices.c.id == notice_id)).first()
        return _stored_notice(row) if row else None

    def notices_of(self, incident_id: str) -> list[StoredNotice]:
        """Return an incident's notices in the order in which they were added."""
        table = schema.notices
        query = select(table).where(table.c.incident == incident_id).order_by(table.c.number)
        return [_stored_notice(row) for row in self._connection.execute(query)]

    def attempts(self, notice_id: str) -> list[Attempt]:
        """Return the attempts to send a notice, in order."""
        table = schema.attempts
        query = select(*_columns(Attempt, table)).where(table.c.notice == notice_id).order_by(table.c.number)
        return [Attempt(**row._asdict()) for row in self._connection.execute(query)]

    def rendered(self, notice_id: str) -> bytes | None:
        """Return the bytes that went out last."""
        raw, notices = schema.raw, schema.notices
        query = select(raw.c.body).join(notices, notices.c.rendered_sha256 == raw.c.sha256)
        body: bytes | None = self._connection.execute(query.where(notices.c.id == notice_id)).scalar()
        return body

    def outbox_counts(self) -> Mapping[str, int]:
        """Count the notices by state."""
        query = select(schema.notices.c.state, func.count()).group_by(schema.notices.c.state)
        return {str(state): 0 for state in NoticeState} | self._counts(query)

    def oldest_due_notice(self, now: datetime) -> datetime | None:
        """Return since when the longest waiting notice is due."""
        table = schema.notices
        query = select(table.c.due_at).where(_may_be_leased(now)).order_by(table.c.due_at).limit(1)
        found: datetime | None = self._connection.execute(query).scalar()
        return found

    def oldest_unsent_notice(self) -> datetime | None:
        """Return when the oldest notice that still waits was made."""
        table = schema.notices
        query = select(func.min(table.c.created_at)).where(schema.WAITING)
        found: datetime | None = self._connection.execute(query).scalar()
        return found

    # ---------------------------------------------------------------------------------------------------- evidence

    def append_evidence(self, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed:
        """Seal one entry after the last one; it is written with the others of this transaction, in one go."""
        if self._last is None:
            table = schema.evidence
            query = select(*_columns(Sealed, table)).order_by(table.c.number.desc()).limit(1)
            row = self._connection.execute(query).first()
            self._last = Sealed(**row._asdict()) if row else None
        self._last = documents.sealed(self._last, kind, subject, body, at=at)
        self._sealed.append(self._last)
        return self._last

    def flush(self) -> None:
        """Write what was sealed in this transaction. Only this writer can seal: the others wait for the lock."""
        if self._sealed:
            self._connection.execute(insert(schema.evidence), [_values(entry) for entry in self._sealed])
            self._sealed.clear()

    def evidence(self, *, after: int = 0) -> Iterator[Sealed]:
        """Stream the entries that follow number `after`."""
        self.flush()
        table = schema.evidence
        query = select(*_columns(Sealed, table)).where(table.c.number > after).order_by(table.c.number)
        return (Sealed(**row._asdict()) for row in self._stream(query))

    def keep_raw(self, body: bytes, *, at: datetime) -> str:
        """Keep bytes once under their SHA-256."""
        sha256 = _sha256(body)
        self._add(schema.raw, ("sha256",), {"sha256": sha256, "at": at, "body": body})
        return sha256

    def raw(self, sha256: str) -> bytes | None:
        """Return kept bytes."""
        query = select(schema.raw.c.body).where(schema.raw.c.sha256 == sha256)
        body: bytes | None = self._connection.execute(query).scalar()
        return body

    # ------------------------------------------------------------------------------------------------------ probes

    def plan_probes(self, plans: Iterable[ProbePlan]) -> int:
        """Keep a row for each of these keys and for no other; return how many rows were changed."""
        table = schema.probes
        query = select(table.c.key, table.c.cloud, table.c.account, table.c.every_seconds, table.c.due_at.is_(None))
        known = {row[0]: tuple(row[1:]) for row in self._connection.execute(query)}
        new, changed = [], []
        for plan in plans:
            before = known.pop(plan.key, None)
            if before is None:
                new.append(_plan_row(plan))
            elif before != (plan.cloud, plan.account, _seconds(plan.every), plan.due_at is None):
                changed.append({f"new_{name}": value for name, value in _plan_row(plan).items()})
        for gone in _batches(known):
            self._connection.execute(delete(table).where(table.c.key.in_(gone)))
        if new:
            self._connection.execute(insert(table), new)
        if changed:
            names = ("cloud", "account", "every_seconds", "due_at")
            statement = update(table).where(table.c.key == bindparam("new_key"))
            self._connection.execute(
                statement.values({name: bindparam(f"new_{name}") for name in names} | _LET_GO), changed
            )
        return len(new) + len(changed) + len(known)

    def probes(self, keys: Iterable[str]) -> dict[str, StoredProbe]:
        """Return the rows of those keys that have one."""
        table = schema.probes
        found: dict[str, StoredProbe] = {}
        for names in _batches(keys):
            rows = self._connection.execute(select(*_PROBE).where(table.c.key.in_(names)))
            found |= {row.key: _stored_probe(row) for row in rows}
        return found

    def all_probes(self) -> Iterator[StoredProbe]:
        """Stream every row, by key."""
        return (_stored_probe(row) for row in self._stream(select(*_PROBE).order_by(schema.probes.c.key)))

    def probes_due(self, now: datetime, limit: int, *, clouds: Collection[str], per_account: int) -> list[str]:
        """Return the keys that may be taken now: wanted ones first, then the oldest."""
        table = schema.probes
        order = (table.c.wanted_at.is_(None), table.c.due_at, table.c.key)
        place = func.row_number().over(partition_by=(table.c.cloud, table.c.account), order_by=order).label("place")
        ranked = (
            select(table.c.key, table.c.wanted_at, table.c.due_at, place)
            .where(table.c.cloud.in_(sorted(clouds)), table.c.due_at <= now)
            .subquery()
        )
        query = (
            select(ranked.c.key)
            .where(ranked.c.place <= per_account)
            .order_by(ranked.c.wanted_at.is_(None), ranked.c.due_at, ranked.c.key)
        )
        return list(self._connection.execute(query.limit(limit)).scalars())

    def probes_claimed(self, now: datetime) -> int:
        """Count the claims that have not run out."""
        table = schema.probes
        return self._count(select(func.count()).where(schema.CLAIMED, table.c.due_at > now))

    def take_probes(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, per_account: int | None
    ) -> list[TakenProbe]:
        """Take those of these keys that are due, and that their account's pace allows."""
        table = schema.probes
        rows: dict[str, Row[Any]] = {}
        columns = (table.c.key, table.c.cloud, table.c.account, table.c.fence, table.c.wanted_at, table.c.claimed)
        may_be = true() if per_account is None else table.c.due_at <= now
        for names in _batches(keys):
            query = select(*columns).where(table.c.key.in_(names), may_be)
            rows |= {row.key: row for row in self._connection.execute(query)}
        allowed = [rows[key] for key in keys if key in rows]
        if per_account is not None:
            allowed = rules.paced(allowed, self._taken_since(now - PACE), per_account)
        for names in _batches(row.key for row in allowed):
            values = {"due_at": now + length, "taken_at": now, "claimed": True, "wanted_at": None}
            self._connection.execute(
                update(table).where(table.c.key.in_(names)).values(fence=table.c.fence + 1, **values)
            )
        return [
            TakenProbe(key=row.key, fence=row.fence + 1, wanted=row.wanted_at is not None, lost=row.claimed)
            for row in allowed
        ]

    def _taken_since(self, then: datetime) -> Counter[tuple[str, str]]:
        table = schema.probes
        # Counted here: to group them, SQLite would walk the whole table in the order of another index.
        rows = self._connection.execute(select(table.c.cloud, table.c.account).where(table.c.taken_at > then))
        return Counter((row[0], row[1]) for row in rows)

    def settle_probes(self, outcomes: Sequence[ProbeOutcome]) -> set[str]:
        """Record what came of taken probes; return the keys whose fence was the current one."""
        table = schema.probes
        rows: dict[str, Row[Any]] = {}
        for names in _batches(outcome.key for outcome in outcomes):
            query = select(
                table.c.key, table.c.fence, table.c.wanted_at, table.c.told_at, table.c.slow_at, table.c.answered_at
            )
            query = query.where(table.c.key.in_(names), schema.CLAIMED)
            rows |= {row.key: row for row in self._connection.execute(query)}
        held = [one for one in outcomes if one.key in rows and rows[one.key].fence == one.fence]
        if held:
            statement = update(table).where(table.c.key == bindparam("of_key"))
            self._connection.execute(
                statement.values({name: bindparam(f"new_{name}") for name in _SETTLED} | {"claimed": False}),
                [_settled(one, rows[one.key]) for one in held],
            )
        return {one.key for one in held}

    def want_probes(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys be probed at once, but APART after their last probe."""
        table = schema.probes
        at = rules.utc(at)
        for names in _batches(keys):
            query = select(table.c.key, table.c.due_at, table.c.claimed, table.c.last_at)
            rows = self._connection.execute(query.where(table.c.key.in_(names), table.c.due_at.is_not(None))).all()
            for row in rows:
                due_at = row.due_at if row.claimed else min(row.due_at, rules.wanted_from(at, row.last_at))
                statement = update(table).where(table.c.key == row.key)
                self._connection.execute(statement.values(wanted_at=at, due_at=due_at))

    def put_canaries(self, canaries: Iterable[Canary]) -> None:
        """Keep canaries, each over the one of the same key and version."""
        table = schema.canaries
        for canary in canaries:
            row = _values(canary)
            statement = self._insert(table).values(row)
            others = {name: value for name, value in row.items() if name not in {"key", "version"}}
            keys = [table.c.key, table.c.version]
            self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others))

    def canaries(self, keys: Iterable[str]) -> dict[str, list[Canary]]:
        """Return the canaries of those keys that have any, the oldest first."""
        table = schema.canaries
        found: dict[str, list[Canary]] = {}
        for names in _batches(keys):
            query = select(*_columns(Canary, table)).where(table.c.key.in_(names))
            for row in self._connection.execute(query.order_by(table.c.made_at, table.c.version)):
                found.setdefault(row.key, []).append(Canary(**row._asdict()))
        return found

    # --------------------------------------------------------------------------------------------------- backfills

    def add_backfill(self, plan: BackfillPlan, *, at: datetime, due_at: datetime | None = None) -> StoredBackfill:
        """Add one, due at once unless `due_at` says later."""
        customers = None if plan.customers is None else msgspec.json.encode(plan.customers).decode()
        row = _values(plan) | {
            "customers": customers, "asked_at": at, "due_at": due_at or at, "state": BackfillState.WAITING
        }  # fmt: skip
        added = self._connection.execute(insert(schema.backfills).values(row).returning(schema.backfills))
        return _stored_backfill(added.one())

    def backfill(self, backfill_id: int) -> StoredBackfill | None:
        """Return one of them."""
        row = self._connection.execute(select(schema.backfills).where(schema.backfills.c.id == backfill_id)).first()
        return _stored_backfill(row) if row else None

    def backfills(self, states: Collection[BackfillState], limit: int = 1000) -> list[StoredBackfill]:
        """Return those in these states, the newest first."""
        table = schema.backfills
        query = select(table).where(table.c.state.in_(sorted(states))).order_by(table.c.id.desc()).limit(limit)
        return [_stored_backfill(row) for row in self._connection.execute(query)]

    def backfills_due(self, now: datetime, limit: int) -> list[int]:
        """Return the ids of those that may be taken now, the one that waits longest first."""
        table = schema.backfills
        query = select(table.c.id).where(table.c.due_at <= now).order_by(table.c.due_at, table.c.id).limit(limit)
        return list(self._connection.execute(query).scalars())

    def claim_backfill(self, backfill_id: int, *, now: datetime, length: timedelta) -> StoredBackfill | None:
        """Take a due one until `now + length`; a claim that ran out counts as a failure."""
        table = schema.backfills
        statement = (
            update(table)
            .where(table.c.id == backfill_id, table.c.due_at <= now)
            .values(
                state=BackfillState.RUNNING,
                due_at=now + length,
                claimed=True,
                fence=table.c.fence + 1,
                failures=table.c.failures + case((table.c.claimed == true(), 1), else_=0),
            )
            .returning(table)
        )
        row = self._connection.execute(statement).first()
        return _stored_backfill(row) if row else None

    def save_backfill(self, row: StoredBackfill) -> bool:
        """Write a taken one over what was stored, if its fence is the current one."""
        table = schema.backfills
        held = (table.c.id == row.id) & (table.c.fence == row.fence) & (table.c.claimed == true())
        values = {name: getattr(row, name) for name in _SAVED}
        return self._connection.execute(update(table).where(held).values(values)).rowcount == 1

    def resume_backfill(self, backfill_id: int, *, at: datetime) -> bool:
        """Let one that failed go on where it stopped."""
        table = schema.backfills
        failed = (table.c.id == backfill_id) & (table.c.state == BackfillState.FAILED)
        values = {"state": BackfillState.WAITING, "due_at": at, "failures": 0}
        return self._connection.execute(update(table).where(failed).values(values)).rowcount == 1

    # -------------------------------------------------------------------------------------------------- pre-flights

    def plan_preflights(self, turns: Mapping[str, datetime]) -> int:
        """Keep a row for each of these keys and for no other; return how many were added or removed."""
        table = schema.preflights
        known = set(self._connection.execute(select(table.c.key)).scalars())
        for gone in _batches(known - turns.keys()):
            self._connection.execute(delete(table).where(table.c.key.in_(gone)))
        new = [{"key": key, "due_at": due_at} for key, due_at in turns.items() if key not in known]
        if new:
            self._connection.execute(insert(table), new)
        return len(new) + len(known - turns.keys())

    def preflights(self, keys: Iterable[str]) -> dict[str, StoredPreflight]:
        """Return the rows of those keys that have one."""
        table = schema.preflights
        found: dict[str, StoredPreflight] = {}
        for names in _batches(keys):
            rows = self._connection.execute(select(*_PREFLIGHT).where(table.c.key.in_(names)))
            found |= {row.key: StoredPreflight(**row._asdict()) for row in rows}
        return found

    def all_preflights(self) -> Iterator[StoredPreflight]:
        """Stream every row, by key."""
        rows = self._stream(select(*_PREFLIGHT).order_by(schema.preflights.c.key))
        return (StoredPreflight(**row._asdict()) for row in rows)

    def preflight_docs(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the last results of those keys that have one, in full."""
        table = schema.preflights
        found: dict[str, bytes] = {}
        for names in _batches(keys):
            query = select(table.c.key, table.c.doc).where(table.c.key.in_(names), table.c.doc.is_not(None))
            found |= {row.key: row.doc for row in self._connection.execute(query)}
        return found

    def preflights_due(self, now: datetime, limit: int) -> list[str]:
        """Return the keys that may be taken now: wanted ones first, then the oldest."""
        table = schema.preflights
        query = select(table.c.key).where(table.c.due_at <= now)
        query = query.order_by(table.c.wanted_at.is_(None), table.c.due_at, table.c.key).limit(limit)
        return list(self._connection.execute(query).scalars())

    def preflights_claimed(self, now: datetime) -> int:
        """Count the claims that have not run out."""
        table = schema.preflights
        return self._count(select(func.count()).where(table.c.claimed == true(), table.c.due_at > now))

    def take_preflights(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, due_only: bool = True
    ) -> dict[str, int]:
        """Take those of these keys that are due; return their fences."""
        table = schema.preflights
        may_be = table.c.due_at <= now if due_only else true()
        values = {"due_at": now + length, "claimed": True, "wanted_at": None}
        taken: dict[str, int] = {}
        for names in _batches(keys):
            statement = update(table).where(table.c.key.in_(names), may_be)
            statement = statement.values(fence=table.c.fence + 1, **values).returning(table.c.key, table.c.fence)
            taken |= {row.key: row.fence for row in self._connection.execute(statement)}
        return {key: taken[key] for key in keys if key in taken}

    def settle_preflights(self, outcomes: Sequence[PreflightOutcome]) -> set[str]:
        """Record what came of taken ones; return the keys whose fence was the current one."""
        table = schema.preflights
        settled = set()
        for one in outcomes:
            held = (table.c.key == one.key) & (table.c.fence == one.fence) & (table.c.claimed == true())
            values = {"last_at": one.at, "summary": one.summary, "doc": one.doc, "claimed": False}
            told = {"told_at": one.told_at} if one.told_at else {}
            statement = update(table).where(held).values(
                first_at=func.coalesce(table.c.first_at, one.at), due_at=func.coalesce(table.c.wanted_at, one.due_at),
                **values, **told,
            )  # fmt: skip
            if self._connection.execute(statement).rowcount == 1:
                settled.add(one.key)
        return settled

    def want_preflights(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys have their pre-flight at once."""
        table = schema.preflights
        sooner = case(((table.c.claimed == true()) | (table.c.due_at <= at), table.c.due_at), else_=at)
        for names in _batches(keys):
            statement = update(table).where(table.c.key.in_(names)).values(wanted_at=at, due_at=sooner)
            self._connection.execute(statement)

    # ----------------------------------------------------------------------------------- schedule, processes, feeds

    def claim_job(self, name: str, *, now: datetime, every: timedelta) -> bool:
        """Whether the caller is the one to run this job now.

        A due time further ahead than twice the interval was set by a clock that went wrong: it is not believed.
        """
        table = schema.jobs
        due = or_(table.c.due_at <= now, table.c.due_at > now + 2 * every)
        moved = update(table).where(table.c.name == name, due).values(due_at=now + every)
        if self._connection.execute(moved).rowcount == 1:
            return True
        return self._add(table, ("name",), {"name": name, "due_at": now + every}) is not None

    def jobs(self) -> Mapping[str, datetime]:
        """Return when each claimed job is due again."""
        return {row.name: row.due_at for row in self._connection.execute(select(schema.jobs))}

    def put_memo(self, name: str, doc: bytes, *, at: datetime) -> None:
        """Keep what a job has to know."""
        self._put(schema.memos, "name", {"name": name, "at": at, "doc": doc})

    def memo(self, name: str) -> bytes | None:
        """Return what a job has kept."""
        query = select(schema.memos.c.doc).where(schema.memos.c.name == name)
        doc: bytes | None = self._connection.execute(query).scalar()
        return doc

    def process_beat(self, process: ProcessSeen) -> None:
        """Note a sign of life."""
        self._put(schema.processes, "name", _values(process))

    def processes(self) -> list[ProcessSeen]:
        """Return every process that was ever seen, by name."""
        query = select(*_columns(ProcessSeen, schema.processes)).order_by(schema.processes.c.name)
        return [ProcessSeen(**row._asdict()) for row in self._connection.execute(query)]

    def feed_seen(
        self,
        feed: str,
        *,
        asked_at: datetime | None = None,
        record_at: datetime | None = None,
        received: int = 0,
        kept: int = 0,
        dropped: int = 0,
        broken: int = 0,
        error: str | None = None,
    ) -> None:
        """Add to a feed's counts and move its times on."""
        seen = FeedSeen(
            feed=feed,
            asked_at=asked_at,
            record_at=record_at,
            received=received,
            kept=kept,
            dropped=dropped,
            broken=broken,
            error=error,
        )
        table = schema.feeds
        row = self._connection.execute(select(*_columns(FeedSeen, table)).where(table.c.feed == feed)).first()
        self._put(table, "feed", _values(rules.merged(FeedSeen(**row._asdict()), seen) if row else seen))

    def feeds(self) -> list[FeedSeen]:
        """Return what every feed has done, by name."""
        query = select(*_columns(FeedSeen, schema.feeds)).order_by(schema.feeds.c.feed)
        return [FeedSeen(**row._asdict()) for row in self._connection.execute(query)]

    def note_signs(self, signs: Iterable[Sign]) -> None:
        """Keep the newest sign of each route over each feed, in one statement."""
        newest: dict[tuple[str, str], Sign] = {}
        for sign in signs:
            known = newest.get((sign.feed, sign.route))
            if known is None or known.at < sign.at:
                newest[sign.feed, sign.route] = sign
        if not newest:
            return
        table = schema.signs
        statement = self._insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.feed, table.c.route],
            set_={"at": statement.excluded.at},
            where=table.c.at < statement.excluded.at,
        )
        self._connection.execute(statement, [_values(sign) for sign in newest.values()])

    def signs(self) -> list[Sign]:
        """Return every sign that is kept, by feed and route."""
        query = select(*_columns(Sign, schema.signs)).order_by(schema.signs.c.feed, schema.signs.c.route)
        return [Sign(**row._asdict()) for row in self._connection.execute(query)]

    # ------------------------------------------------------------------------------------------------------- tools

    def _insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Begin an INSERT that can end in ON CONFLICT: both dialects have it under the same names, each in its own."""
        return sqlite.insert(table) if self._connection.dialect.name == "sqlite" else postgresql.insert(table)

    def _add(self, table: Table, key: tuple[str, ...], row: dict[str, Any]) -> Row[Any] | None:
        """Insert a row; return its primary key, or None when there is one with the same key already.

        The answer comes by RETURNING: psycopg has forgotten how many rows an INSERT added by the time one may ask.
        """
        columns = [table.c[name] for name in key]
        statement = self._insert(table).values(row).on_conflict_do_nothing(index_elements=columns)
        return self._connection.execute(statement.returning(*table.primary_key.columns)).first()

    def _put(self, table: Table, key: str, row: dict[str, Any]) -> None:
        """Insert a row, or write it over the one with the same key."""
        others = {name: value for name, value in row.items() if name != key}
        statement = self._insert(table).values(row)
        self._connection.execute(statement.on_conflict_do_update(index_elements=[table.c[key]], set_=others))

    def _count(self, query: Select[Any]) -> int:
        return int(self._connection.execute(query).scalar_one())

    def _counts(self, query: Select[Any]) -> dict[str, int]:
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def _stream(self, query: Select[Any]) -> Iterator[Row[Any]]:
        """Yield rows while the database still reads: memory stays flat however many there are."""
        with self._connection.execute(query, execution_options={"yield_per": _ROWS_PER_FETCH}) as rows:
            yield from rows


_ARRIVED = tuple(schema.inbox.c[field.name] for field in fields(Arrived))

_PROBE = tuple(
    schema.probes.c["every_seconds" if field.name == "every" else field.name] for field in fields(StoredProbe)
)
_PREFLIGHT = tuple(schema.preflights.c[field.name] for field in fields(StoredPreflight))
_SETTLED = (
    "due_at", "wanted_at", "failures", "last_at", "last_passed", "last_words", "outcome", "told_at", "slow_at",
    "answered_at",
)  # fmt: skip
_PLAN = tuple(field.name for field in fields(BackfillPlan))
_SAVED = tuple(field.name for field in fields(StoredBackfill) if field.name not in {"id", "plan", "asked_at", "fence"})
_LET_GO = {"claimed": False, "wanted_at": None, "fence": schema.probes.c.fence + 1}
"""What a change of the register does to a row that is just being probed: the answer is of an older plan."""

# Made once: to make a table's second name costs as much as the rest of the query.
_BEFORE = schema.notices.alias("before")
_HELD_BACK = (
    select(_BEFORE.c.number)
    .where(_BEFORE.c.id == schema.notices.c.after, _BEFORE.c.free_at.is_not(None))
    .correlate(schema.notices)
    .exists()
)


def _columns(kind: type[Any], table: Table) -> list[Column[Any]]:
    """Return the columns of a table that a dataclass names, in its order."""
    return [table.c[field.name] for field in fields(kind)]


def _values(value: Any) -> dict[str, Any]:  # noqa: ANN401 -- any dataclass of the interface
    """Return the fields of a dataclass as column values; nothing is copied."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, _NAMES_PER_QUERY)):
        yield batch


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _fingerprint(*parts: str | None) -> str:
    """Stand for several texts of any length in one index. JSON keeps them apart, and escapes what UTF-8 cannot hold."""
    return _sha256(msgspec.json.encode(documents.encodable(parts)))


def _open_arrival(inbox_id: int) -> ColumnElement[bool]:
    table = schema.inbox
    return (table.c.id == inbox_id) & table.c.due_at.is_not(None)


def _arrived(row: Row[Any] | None) -> Arrived | None:
    if row is None:
        return None
    return Arrived(**(row._asdict() | {"carries": Carries(row.carries)}))


def _plan_row(plan: ProbePlan) -> dict[str, Any]:
    row = _values(plan)
    return {name: value for name, value in row.items() if name != "every"} | {"every_seconds": _seconds(plan.every)}


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())


def _stored_probe(row: Row[Any]) -> StoredProbe:
    values = row._asdict()
    every = timedelta(seconds=values.pop("every_seconds"))
    return StoredProbe(**values, every=every)


def _stored_backfill(row: Row[Any]) -> StoredBackfill:
    values = row._asdict()
    asked = {name: values.pop(name) for name in _PLAN}
    customers = asked.pop("customers")
    plan = BackfillPlan(**asked, customers=None if customers is None else tuple(msgspec.json.decode(customers)))
    return StoredBackfill(**(values | {"state": BackfillState(values["state"])}), plan=plan)


def _settled(outcome: ProbeOutcome, row: Row[Any]) -> dict[str, Any]:
    due_at, wanted_at = rules.next_probe(outcome, row.wanted_at)
    return {
        "of_key": outcome.key,
        "new_due_at": due_at,
        "new_wanted_at": wanted_at,
        "new_failures": outcome.failures,
        "new_last_at": outcome.at,
        "new_last_passed": outcome.passed,
        "new_last_words": outcome.words,
        "new_outcome": outcome.outcome,
        "new_told_at": outcome.told_at or row.told_at,
        "new_slow_at": outcome.slow_at or row.slow_at,
        "new_answered_at": row.answered_at if outcome.passed is None else outcome.at,
    }


def _may_be_leased(now: datetime) -> ColumnElement[bool]:
    """Whether a notice is queued and due, or its lease ran out, and nothing that goes before it is still on its way."""
    return (schema.notices.c.free_at <= now) & ~_HELD_BACK


def _stored_notice(row: Row[Any]) -> StoredNotice:
    return StoredNotice(
        notice=documents.loaded(row.doc, row.facts_type),
        state=NoticeState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        provider_id=row.provider_id,
        error=row.error,
        accepted_at=row.accepted_at,
        rendered_sha256=row.rendered_sha256,
    )


def _notice_row(notice: Notice) -> dict[str, Any]:
    recipient = notice.recipient.email if notice.recipient else None
    return {
        "id": notice.id,
        "fingerprint": _fingerprint(notice.incident, notice.kind, notice.dedup, notice.channel, recipient),
        "incident": notice.incident,
        "kind": notice.kind,
        "channel": notice.channel,
        "recipient": recipient,
        "dedup": notice.dedup,
        "urgent": notice.urgent,
        "after": notice.after,
        "created_at": notice.created_at,
        "state": NoticeState.QUEUED,
        "due_at": notice.created_at,
        "free_at": notice.created_at,
        "facts_type": documents.facts_type(notice),
        "doc": documents.dumped(notice),
    }
