"""Notices: what must be told to one recipient over one channel, with every fact the text may need, frozen."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from watchdog.repair import Step
from watchdog.words import Cause, Effect, Fault, KeyOwner, Means, Severity, Stage, Verdict


class Kind(StrEnum):
    """Why this notice exists; each kind and reader has its own text."""

    ALARM = "alarm"  # an incident opened, got worse, or came back: somebody must act
    PROGRESS = "progress"  # partly repaired: what is still missing
    RECOVERING = "recovering"  # events say repaired, the proof is outstanding
    RESOLVED = "resolved"  # proven, or decided by a named operator
    CLEAR = "clear"  # closes the page of a stage that has been left; paging channels only
    OPERATOR = "operator"  # about the watchdog itself: quarantine, undeliverable notice, degraded


class Reader(StrEnum):
    """Who reads the notice; decides which template is used."""

    ON_CALL = "on_call"
    CUSTOMER = "customer"
    ACCOUNT = "account"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment that matters, never without its source.

    `at` is None where the provider documents none; `words` then says what is known instead. `bound` is how to print it:
    `exact` "at", `at_least` "not before", `at_most` "by ... at the latest", `about` "about".
    """

    kind: str  # data_irrecoverable | store_terminal | impact | expiry
    at: datetime | None
    words: str
    source: str
    bound: str = "exact"
    latest: datetime | None = None
    consumer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerImpact:
    """What happens to one store under the key, and when. `source` names the provider's document and its date."""

    id: str
    name: str
    store: str
    impact: Deadline
    terminal: Deadline | None
    what: str
    latent: bool
    until: tuple[str, ...]
    still_works: tuple[str, ...]
    inferred: tuple[str, ...]
    row: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that is wrong with one key, as the audit log or a check told it.

    `since` is when it began; `recorded_at` is the time of the record that `operation`, `actor` and `event_id` name,
    which may be a later one (a cancelled deletion leaves a key disabled that was disabled before). None: not known.
    `version` is set when one version of the key is meant and not the whole of it (Azure, Google Cloud). `check` is the
    pre-flight check that found it, which no record told of.
    """

    key: str
    effect: Effect
    since: datetime
    fault: Fault
    reason: str
    operation: str | None = None
    actor: str | None = None
    actor_address: str | None = None
    actor_agent: str | None = None
    event_id: str | None = None
    cause: Cause | None = None
    means: Means | None = None
    deadline: Deadline | None = None
    recorded_at: datetime | None = None
    version: str | None = None
    check: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What our own last check of the key said, kept apart from what the events claim."""

    at: datetime
    passed: bool | None  # None: could not tell
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """One key of the incident."""

    id: str
    name: str
    owner: KeyOwner
    account: str
    region: str
    verdict: Verdict
    claimed: str
    verified: Verified | None
    happenings: tuple[Happening, ...]
    consumers: tuple[ConsumerImpact, ...]
    steps: tuple[Step, ...]
    exception: str | None = None
    terms_version: str | None = None
    terms_accepted_on: str | None = None
    terms_accepted_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A recipient of a mail."""

    name: str
    email: str
    role: str
    language: str = "en"
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a text may say about an incident at one moment. Rendering the same facts gives the same bytes.

    `headline` is the earliest moment after which something cannot be had back, `second` the next one of another kind,
    `next_impact` the next thing that stops. `told` says who has been told so far, in words.
    """

    incident: str
    kind: Kind
    stage: Stage
    previous_stage: Stage | None
    turn: int
    severity: Severity
    fault: Fault
    at: datetime
    opened_at: datetime
    vendor: str
    product: str
    emergency_contact: str
    verify_url: str
    customer: str
    customer_name: str
    instance: str
    instance_name: str
    purpose: str
    business_owner: str
    cloud: str
    keys: tuple[KeyFacts, ...]
    headline: Deadline | None
    second: Deadline | None
    next_impact: Deadline | None
    holds: tuple[str, ...]
    why: str
    split: str | None = None
    resolved_by: str | None = None
    told: tuple[str, ...] = ()
    drill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFacts:
    """Something about the watchdog itself that a person must see: `what` happened, `where`, and what to do `next`."""

    subject: str
    what: str
    where: str
    next: str
    at: datetime
    severity: Severity = Severity.WARNING
    vendor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What must be told to one recipient over one channel.

    `dedup` names the alert at the far end (incident, stage and turn); `after` is the id of a notice that must have left
    before this one may. `why` is the named reason of the decision.
    """

    id: str
    incident: str | None
    kind: Kind
    reader: Reader
    channel: str
    recipient: Person | None
    dedup: str
    severity: Severity
    why: str
    facts: Facts | OperatorFacts
    created_at: datetime
    after: str | None = None
    urgent: bool = True
    previous_dedup: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
