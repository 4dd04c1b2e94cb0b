"""Viewing: the state of everything at one moment, for the status command; stale is never shown as fine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from watchdog.assessment import Assessment, assess
from watchdog.health import Health
from watchdog.incidents import Incident
from watchdog.register import Register
from watchdog.words import Severity, Stage, Verdict
from workers.runtime import Runtime
from workers.store.interface import FeedSeen, ProcessSeen, StoredNotice, Unit

STALE = timedelta(seconds=60)
"""A process without a sign of life for so long is shown as gone."""

_health = msgspec.json.Decoder(Health)
_incident = msgspec.json.Decoder(Incident)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectView:
    """One key (or the watch of one customer) as it stands."""

    subject: str
    customer: str
    instance: str
    name: str
    assessment: Assessment
    incident: str | None
    probed_at: datetime | None
    probe_words: str | None


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
        return View(
            at=now,
            revision=register.revision,
            subjects=tuple(_subjects(runtime, unit, register, open_of, now)),
            incidents=tuple(sorted(opened, key=_urgency)),
            notices={incident.id: tuple(unit.notices_of(incident.id)) for incident in opened},
            configured=tuple(feed.name for feed in runtime.settings.feeds),
            feeds=tuple(unit.feeds()),
            processes=tuple(unit.processes()),
            inbox=dict(unit.inbox_counts()),
            outbox=dict(unit.outbox_counts()),
            quarantined=unit.quarantine_count(),
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
    runtime: Runtime, unit: Unit, register: Register, open_of: Mapping[str, Incident], now: datetime
) -> Iterator[SubjectView]:
    seen = {stored.subject: _health.decode(stored.doc) for stored in unit.all_health()}
    world = runtime.world(unit, register)
    for subject in [*register.keys, *(subject for subject in seen if subject not in register.keys)]:
        key = register.keys.get(subject)
        if key is None and subject not in open_of:
            continue  # no longer registered and nothing open: history
        found = seen.get(subject, Health(subject=subject))
        incident = open_of.get(subject)
        yield SubjectView(
            subject=subject,
            customer=key.customer.id if key else incident.customer if incident else "",
            instance=key.instance.id if key else "",
            name=(key.entry.name or key.instance.name or key.instance.id) if key else subject,
            assessment=assess(found, key, world.table, world.steps, now=now),
            incident=incident.id if incident else None,
            probed_at=found.probed_at,
            probe_words=found.probe_words,
        )
