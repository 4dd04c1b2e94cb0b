"""Viewing: the state of everything at one moment, for the status command; stale is never shown as fine."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from watchdog.assessment import Assessment, assess
from watchdog.coverage import Cover
from watchdog.covers import Covering
from watchdog.health import Health
from watchdog.incidents import Incident
from watchdog.preflight import Summary
from watchdog.register import Register, RegisteredKey
from watchdog.silence import Look, Standing, State
from watchdog.ways import Ways
from watchdog.words import Severity, Stage, Verdict
from workers.auditing import Audited, last_audit
from workers.backfilling import shown
from workers.covering import covers_of, look_now, why_never
from workers.observing import caught_up
from workers.preflighting import summary_of
from workers.runtime import Runtime
from workers.settings import SYNTHETIC
from workers.store.interface import FeedSeen, ProcessSeen, StoredBackfill, StoredNotice, StoredProbe, Unit

STALE = timedelta(seconds=60)
"""A process without a sign of life for so long is shown as gone."""

OVERDUE = timedelta(minutes=5)
"""How late a probe may be before that is shown."""

_health = msgspec.json.Decoder(Health)
_incident = msgspec.json.Decoder(Incident)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectView:
    """One key (or the watch of one customer) as it stands. `not_probed` says why nobody asks it (None: it is asked).

    `covers` are the three ways by which a key is watched, and how each stands; none for what is no registered key.
    """

    subject: str
    customer: str
    instance: str
    name: str
    assessment: Assessment
    incident: str | None
    probed_at: datetime | None
    probe_words: str | None
    probe_passed: bool | None = None
    next_probe_at: datetime | None = None
    not_probed: str | None = None
    covers: tuple[Covering, ...] = ()
    preflight: Summary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything, read in one transaction. `configured` are the feeds of the settings, asked already or not."""

    at: datetime
    revision: int
    subjects: tuple[SubjectView, ...]
    incidents: tuple[Incident, ...]
    notices: Mapping[str, tuple[StoredNotice, ...]]
    configured: tuple[str, ...]
    feeds: tuple[FeedSeen, ...]
    processes: tuple[ProcessSeen, ...]
    inbox: Mapping[str, int]
    outbox: Mapping[str, int]
    quarantined: int
    audited: Audited | None = None
    backfills: tuple[StoredBackfill, ...] = ()
    routes: tuple[Standing, ...] = ()

    @property
    def worst(self) -> Verdict:
        """The worst verdict of all."""
        order = list(Verdict)
        return max((view.assessment.verdict for view in self.subjects), key=order.index, default=Verdict.BLIND)


def view(runtime: Runtime, *, now: datetime) -> View:
    """Read and judge everything at `now`. A registered key without any mark is judged too."""
    with runtime.store.read() as unit:
        register = runtime.registry.current(unit)
        opened = [_incident.decode(stored.doc) for stored in unit.incidents(only_open=True)]
        # The newest comes first, and counts: it is written last.
        open_of = {subject: incident for incident in reversed(opened) for subject in incident.subjects}
        ways, looked = look_now(runtime, unit, register, now=now)
        return View(
            at=now,
            revision=register.revision,
            subjects=tuple(_subjects(runtime, unit, register, open_of, ways, looked)),
            incidents=tuple(sorted(opened, key=_urgency)),
            notices={incident.id: tuple(unit.notices_of(incident.id)) for incident in opened},
            configured=tuple(feed.name for feed in runtime.settings.feeds),
            feeds=tuple(feed for feed in unit.feeds() if feed.feed != SYNTHETIC),
            processes=tuple(unit.processes()),
            inbox=dict(unit.inbox_counts()),
            outbox=dict(unit.outbox_counts()),
            quarantined=unit.quarantine_count(),
            audited=last_audit(unit),
            backfills=tuple(shown(unit, now=now)),
            routes=tuple(looked.standings.values()),
        )


def _urgency(one: Incident) -> tuple[int, bool, bool, datetime, datetime]:
    """Sort key: the loudest first, of these what can be saved only now, then by the deadline."""
    loudness = list(Severity).index(one.severity)
    headline = one.headline_at
    return (
        loudness,
        one.stage is not Stage.IRREVERSIBLE_SOON,
        headline is None,
        headline or one.opened_at,
        one.opened_at,
    )


def _subjects(
    runtime: Runtime, unit: Unit, register: Register, open_of: Mapping[str, Incident], ways: Ways, looked: Look
) -> Iterator[SubjectView]:
    now, asked = looked.at, runtime.settings.probes.clouds
    seen = {stored.subject: _health.decode(stored.doc) for stored in unit.all_health()}
    rows = {row.key: row for row in unit.all_probes()}
    preflights = {row.key: summary_of(row) for row in unit.all_preflights()}
    world = runtime.world(unit, register)
    for subject in [*register.keys, *(subject for subject in seen if subject not in register.keys)]:
        key = register.keys.get(subject)
        if key is None and subject not in open_of:
            continue  # no longer registered and nothing open: history
        row = rows.get(subject)
        found = caught_up(seen.get(subject, Health(subject=subject)), row)
        incident = open_of.get(subject)
        covers = covers_of(key, ways, looked, row, asked) if key else ()
        yield SubjectView(
            subject=subject,
            customer=key.customer.id if key else incident.customer if incident else "",
            instance=key.instance.id if key else "",
            name=(key.entry.name or key.instance.name or key.instance.id) if key else subject,
            assessment=_less_watched(assess(found, key, world.table, world.steps, now=now), covers),
            covers=covers,
            incident=incident.id if incident else None,
            probed_at=found.probed_at,
            probe_words=found.probe_words,
            probe_passed=found.probe_passed,
            next_probe_at=row.wanted_at or row.due_at if row else None,
            not_probed=_not_probed(key, row, asked, now) if key else None,
            preflight=preflights.get(subject),
        )


def _less_watched(found: Assessment, covers: Iterable[Covering]) -> Assessment:
    """Return an assessment that is not green while its owner's records have fallen silent: a loss may be seen late."""
    silent = next((one for one in covers if one.cover is Cover.FORWARDED and one.state is State.SILENT), None)
    if silent is None or found.verdict is not Verdict.HEALTHY:
        return found
    why = f"{found.why}, but a loss may be seen late: {silent.words}"
    return replace(found, verdict=Verdict.AT_RISK, why=why)


def _not_probed(key: RegisteredKey, row: StoredProbe | None, clouds: Collection[str], now: datetime) -> str | None:
    """Say why a key is not probed, or not in time; None when it is."""
    never = why_never(key, row, clouds)
    if never is not None or row is None or row.due_at is None:
        return never
    late = now - row.due_at
    if late > max(OVERDUE, row.every):
        return f"not probed in time: due since {row.due_at:%Y-%m-%d %H:%M} UTC; does a scheduler run?"
    return None
