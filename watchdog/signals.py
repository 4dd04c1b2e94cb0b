"""Signals: what one audit record means, one per watched key, in the closed words of the vocabulary."""

from dataclasses import dataclass
from datetime import datetime

from watchdog.words import Cause, Effect, Fault, Means


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acted, exactly as the provider's audit log names it. Outsiders choose these texts: escape when shown."""

    name: str
    account: str | None = None
    address: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one record means for one watched key (`key` is None where no single key is meant).

    `occurred_at` is the event's own time, aware and UTC. `deadline` is the moment the provider named or that follows
    from the documented rule; `deadline_source` says which. `subject` is what was lost or given where a key has several
    (a grant id, a principal, a key store). `version` is set when it is about one version of the key only, `resource` is
    the provider's full name of what is concerned where that is less than the key. `part` names what can be lost and
    given back by itself (one of several principals, a perimeter, an endpoint). `customer` is set when the record
    speaks of a customer's feed, not of a key. `long_operation` is the provider's id of an operation that takes its time
    and is told of at its beginning and its end: two signals of one id are one happening. `route` is the way of audit
    records that this one is a sign of life of (`watchdog.coverage`), set on what is believed only.
    """

    effect: Effect
    reason: str
    key: str | None = None
    customer: str | None = None
    operation: str | None = None
    occurred_at: datetime | None = None
    actor: Actor | None = None
    deadline: datetime | None = None
    deadline_source: str | None = None
    fault: Fault | None = None
    cause: Cause | None = None
    means: Means | None = None
    subject: str | None = None
    version: str | None = None
    resource: str | None = None
    part: str | None = None
    long_operation: str | None = None
    event_id: str | None = None
    probe: bool = False
    partial: bool = False
    route: str | None = None
