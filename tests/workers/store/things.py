"""Rows to put into a store; every field of a row has a value of its own, so that a mix-up shows."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from watchdog.notices import Facts, Kind, Notice, OperatorFacts, Person, Reader
from watchdog.words import Fault, Severity, Stage
from workers.store.interface import (
    Arrival,
    Attempt,
    Carries,
    Lease,
    NoticeState,
    StoredHealth,
    StoredIncident,
    Unit,
    Unreadable,
)

T0 = datetime(2026, 8, 24, 10, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
KEY = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
# The same moments in other words: India, and a zone of seconds.
KOLKATA = timezone(timedelta(hours=5, minutes=30))
ODD_ZONE = timezone(timedelta(hours=-3, minutes=-7, seconds=-12))

# What an outsider may put into a name: NUL, half a surrogate pair, our own escape sign, quotes, directions, emoji.
HOSTILE = (
    "a\x00b",
    "\udc80file\ud800",
    "\u241b",
    "\u241b0 \u241b\u241b \u241bd800",
    "\x00\u241b\x00",
    "';\r\n DROP TABLE notices; --\\",
    "\u202egnp.exe \ufeff\ufffe\uffff",
    "\U0001f511 \u0130\u0131",
    "%s %(x)s :x ? {}",
    "",
)


def arrival(event_id: str = "e-1", **other: Any) -> Arrival:
    return Arrival(
        **{
            "feed": "acme-sqs",
            "event_id": event_id,
            "cloud": "aws",
            "body": b'{"n":1}',
            "received_at": T0,
            "carries": Carries.RECORD,
            **other,
        }
    )


def piece(body: bytes = b"{", **other: Any) -> Unreadable:
    return Unreadable(
        **{
            "feed": "acme-sqs",
            "cloud": "aws",
            "place": "record 7",
            "reason": "truncated",
            "body": body,
            "received_at": T0,
            **other,
        }
    )


def health(subject: str = KEY, **other: Any) -> StoredHealth:
    return StoredHealth(
        **{"subject": subject, "doc": b'{"h":1}', "verdict": "doomed", "customer": "acme", "changed_at": T0, **other}
    )


def incident(incident_id: str = "INC-1", **other: Any) -> StoredIncident:
    return StoredIncident(
        **{
            "id": incident_id,
            "doc": b'{"i":1}',
            "is_open": True,
            "customer": "acme",
            "stage": "impaired",
            "subjects": (KEY, "watch:acme"),
            "check_at": None,
            **other,
        }
    )


def facts(**other: Any) -> Facts:
    return Facts(
        **{
            "incident": "INC-1",
            "kind": Kind.ALARM,
            "stage": Stage.IMPAIRED,
            "previous_stage": None,
            "turn": 1,
            "severity": Severity.CRITICAL,
            "fault": Fault.CUSTOMER,
            "at": T0,
            "opened_at": T0 - MINUTE,
            "vendor": "Example Vendor",
            "product": "Example Cloud",
            "emergency_contact": "+1 555 0100",
            "verify_url": "https://vendor.example/verify",
            "customer": "acme",
            "customer_name": "Acme",
            "instance": "acme-prod",
            "instance_name": "Acme production",
            "purpose": "orders",
            "business_owner": "Bob Berg",
            "cloud": "aws",
            "keys": (),
            "headline": None,
            "second": None,
            "next_impact": None,
            "holds": ("do not restart",),
            "why": "the key was disabled",
            **other,
        }
    )


def operator_facts(**other: Any) -> OperatorFacts:
    return OperatorFacts(
        **{"subject": "quarantine", "what": "one piece", "where": "record 7", "next": "look", "at": T0, **other}
    )


def notice(notice_id: str = "n-1", **other: Any) -> Notice:
    """A notice that no other notice id equals: its `dedup` follows from its id."""
    return Notice(
        **{
            "id": notice_id,
            "incident": "INC-1",
            "kind": Kind.ALARM,
            "reader": Reader.CUSTOMER,
            "channel": "smtp",
            "recipient": Person(name="Alice Ahlberg", email="alice@acme.example", role="key_owner"),
            "dedup": f"byok:INC-1:{notice_id}",
            "severity": Severity.CRITICAL,
            "why": "first notice",
            "facts": facts(),
            "created_at": T0,
            **other,
        }
    )


def attempt(**other: Any) -> Attempt:
    return Attempt(
        **{
            "at": T0 + SECOND,
            "outcome": "retry",
            "reason": "server_error",
            "http_status": 503,
            "excerpt": "try later",
            **other,
        }
    )


def leased(unit: Unit, notice_id: str = "n-1", *, now: datetime = T0, length: timedelta = MINUTE) -> Lease:
    lease = unit.lease(notice_id, now=now, length=length)
    assert lease is not None
    return lease


def accept(unit: Unit, notice_id: str, *, now: datetime = T0) -> None:
    lease = leased(unit, notice_id, now=now)
    assert unit.settle(notice_id, lease.fence, state=NoticeState.ACCEPTED, attempt=attempt(at=now, outcome="accepted"))
