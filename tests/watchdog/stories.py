"""A story with a clock: push signals, probes and decisions in, see the notices that come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.worlds import T0, register, table
from watchdog.assessment import Steps
from watchdog.health import Health, Mark, Origin
from watchdog.incidents import Incident
from watchdog.notices import Notice
from watchdog.observation import Changes, Known, World, advance, observe, subjects_of
from watchdog.policy import Decision
from watchdog.register import Register, RegisteredKey
from watchdog.repair import Step
from watchdog.routing import ChannelRef, Routing
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Means, Owner, Stage

PAGER, HOOK = ChannelRef(name="pager", pages=True), ChannelRef(name="hook")
ROUTING = Routing(
    on_call={"platform": (PAGER, HOOK), "default": (HOOK,)}, operators=(HOOK,), customer_mail="mail"
)  # fmt: skip


def steps(
    effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
) -> Sequence[Step]:
    del means, subject, cause
    return [Step(owner=Owner.CUSTOMER, text=f"undo {effect}", command=f"undo {key.id}")]


@dataclass
class Story:
    """The state as it goes on, held in memory; every push is one commit."""

    register: Register = field(default_factory=register)
    routing: Routing = ROUTING
    steps: Steps = steps
    healths: dict[str, Health] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    decisions: list[tuple[str, Decision]] = field(default_factory=list)
    probe_wanted: set[str] = field(default_factory=set)
    _numbers: int = 1000

    def world(self) -> World:
        return World(register=self.register, table=table(), routing=self.routing, steps=self.steps, number=self._number)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def push(self, *signals: Signal, now: datetime | None = None) -> list[Notice]:
        at = now or max((signal.occurred_at or T0 for signal in signals), default=T0)
        known = self._known(subjects_of(signals))
        return self._apply(observe(signals, known, self.world(), received_at=at, now=at))

    def prove(self, subject: str, at: datetime, by: Origin = Origin.PROBE) -> list[Notice]:
        mark = Mark(id=f"{by}:{at}", at=at, origin=by, effect=None, reason="encrypt and decrypt worked")
        return self._apply(advance({subject: [mark]}, self._known([subject]), self.world(), now=at))

    def wait(self, until: datetime) -> list[Notice]:
        told: list[Notice] = []
        for incident in list(self.incidents.values()):
            if incident.is_open and incident.check_at and incident.check_at <= until:
                told += self._apply(advance({}, self._known(incident.subjects), self.world(), now=until))
        return told

    def _known(self, subjects: object) -> Known:
        wanted = set(subjects)  # type: ignore[call-overload]  # any collection of names
        opened = [one for one in self.incidents.values() if one.is_open and wanted & set(one.subjects)]
        wanted.update(subject for incident in opened for subject in incident.subjects)
        healths = {subject: self.healths.get(subject, Health(subject=subject)) for subject in wanted}
        return Known(healths=healths, incidents=opened)

    def _apply(self, changes: Changes) -> list[Notice]:
        self.healths.update({subject: found for subject, (found, _) in changes.healths.items()})
        self.incidents.update({incident.id: incident for incident in changes.incidents})
        known = {notice.id for notice in self.notices}
        assert not known & {notice.id for notice in changes.notices}, "a notice id came twice"
        self.notices += changes.notices
        self.decisions += changes.decisions
        self.probe_wanted = changes.probe_wanted
        return changes.notices

    def stage(self) -> Stage:
        return self.incident.stage

    @property
    def incident(self) -> Incident:
        (only,) = self.incidents.values()
        return only


def told(notices: Sequence[Notice]) -> list[tuple[str, str, str]]:
    """What was told, short: (kind, channel, recipient)."""
    return sorted(
        (str(notice.kind), notice.channel, notice.recipient.name.split()[0] if notice.recipient else "-")
        for notice in notices
    )
