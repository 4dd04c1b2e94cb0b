"""Probing: what a probe asks of a key, what the providers answer, and what the answers together come to.

A prober (`workers.clouds.*`) asks and puts each answer into these closed words; the pure half of its cloud
(`watchdog.clouds.*.probe`) judges them. Neither decides from an error text alone whose fault a refusal is: a *control*
question, put to a key of the vendor's own with the same credentials, tells a broken caller from a lost key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog.health import Mark
from watchdog.words import Fault


class Question(StrEnum):
    """What is asked. `state` and `use` prove a key; the others help to tell why, or what its stores still can."""

    STATE = "state"
    USE = "use"
    CANARY = "canary"
    GRANTS = "grants"
    CONSUMER = "consumer"
    CONTROL = "control"


class Answer(StrEnum):
    """What was answered. The first one is good; those of `CANNOT_TELL` say nothing about the key."""

    OK = "ok"
    # the key's own state
    DISABLED = "disabled"
    PENDING_DELETION = "pending_deletion"
    DESTROYED = "destroyed"
    NOT_FOUND = "not_found"
    PENDING_IMPORT = "pending_import"
    UNAVAILABLE = "unavailable"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    CONTAINER_LOST = "container_lost"
    # the way to it
    DENIED = "denied"
    PATH_BLOCKED = "path_blocked"
    IDENTITY_REFUSED = "identity_refused"
    # says nothing about the key
    CREDENTIALS = "credentials"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    SERVER_FAULT = "server_fault"
    NOT_UNDERSTOOD = "not_understood"
    NOT_ASKED = "not_asked"


CANNOT_TELL = frozenset(
    {
        Answer.CREDENTIALS,
        Answer.THROTTLED,
        Answer.UNREACHABLE,
        Answer.SERVER_FAULT,
        Answer.NOT_UNDERSTOOD,
        Answer.NOT_ASKED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer. `words` is what the provider said, shortened, never with a credential in it.

    `version` is set when one version of the key was asked, `subject` names the consumer or the grant. `deadline` is a
    date that the answer gave (deletion, purge, destruction, expiry), aware and UTC; `deadline_source` says which field.
    `detail` keeps what pre-flight and coverage look at (recovery level, window), as text by name.
    """

    question: Question
    answer: Answer
    at: datetime
    words: str = ""
    version: str | None = None
    subject: str | None = None
    deadline: datetime | None = None
    deadline_source: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What all findings of one probe come to.

    `passed`: True when state and use of every version in use (and every consumer that is asked) are proven, False when
    something is wrong with the key or the way to it, None when that cannot be told. `words` say it to people, with the
    next thing to do. `marks` go into the health of their subjects (the key, or the vendor's watch when our own
    credentials are what is broken), `fault` is whose side a refusal lies on. `again_after` asks for another probe
    sooner than the schedule would.
    """

    at: datetime
    passed: bool | None
    words: str
    fault: Fault
    marks: Mapping[str, Sequence[Mark]] = field(default_factory=dict)
    again_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the judgement of a probe may look back to: the key's last sound state, and its newest change by event."""

    passed_at: datetime | None = None
    changed_at: datetime | None = None
    open_effects: frozenset[str] = frozenset()
