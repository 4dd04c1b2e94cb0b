"""Operator notices: what the watchdog must tell about itself, to people who can mend it."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from watchdog.notices import Kind, Notice, OperatorFacts, Reader
from watchdog.routing import ChannelRef, Routing
from watchdog.signals import Signal
from watchdog.words import Severity

_REASONS = 5  # what is said of an audit that fails for many reasons at once


def tell(
    topic: str, facts: OperatorFacts, routing: Routing, *, at: datetime, without: str | None = None
) -> list[Notice]:
    """Return one notice for each operator channel. Notices of one topic are one notice: `topic` is the dedup key.

    `without` names a channel that is itself the trouble; it is left out while another one exists.
    """
    channels = [one for one in routing.operators if one.name != without] or list(routing.operators)
    return [_notice(topic, facts, channel, at) for channel in channels]


def _notice(topic: str, facts: OperatorFacts, channel: ChannelRef, at: datetime) -> Notice:
    short = hashlib.sha256(topic.encode()).hexdigest()[:12]
    return Notice(
        id=f"OP-{short}-{channel.name}",
        incident=None,
        kind=Kind.OPERATOR,
        reader=Reader.OPERATOR,
        channel=channel.name,
        recipient=None,
        dedup=f"operator:{topic}",
        severity=facts.severity,
        why="the watchdog itself needs a person",
        facts=facts,
        created_at=at,
        urgent=facts.severity in {Severity.CRITICAL, Severity.ERROR},
    )


def _hour(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H")


def unreadable(feed: str, place: str, reason: str, routing: Routing, *, at: datetime) -> list[Notice]:
    """Something on a feed cannot be read and lies in quarantine. At most one notice an hour for each feed."""
    facts = OperatorFacts(
        subject=f"Feed {feed}: a piece could not be read",
        what=f"A piece of feed {feed} could not be read and is in quarantine; its neighbours were worked. {reason}",
        where=place,
        next="Look at it with `byok-watchdog status --quarantine`. If it is an audit record, a change of a key may be "
        "hidden in it: check the keys of this feed, then mend the sender. There may be more pieces of this hour.",
        at=at,
        severity=Severity.ERROR,
    )
    return tell(f"unreadable:{feed}:{_hour(at)}", facts, routing, at=at)


def unfetched(feed: str, place: str, reason: str, hint: str, routing: Routing, *, at: datetime) -> list[Notice]:
    """An object that a notice pointed at cannot be fetched; the records in it are not known. Tried again meanwhile."""
    facts = OperatorFacts(
        subject=f"Feed {feed}: an object cannot be fetched",
        what=f"Audit records wait in an object that cannot be fetched: {reason}. A change of a key may be among them.",
        where=place,
        next=f"{hint[:1].upper()}{hint[1:]}. It is tried again every quarter of an hour; nothing else is needed then.",
        at=at,
        severity=Severity.ERROR,
    )
    return tell(f"unfetched:{feed}:{_hour(at)}", facts, routing, at=at)


def untrusted(feed: str, signal: Signal, routing: Routing, *, at: datetime) -> list[Notice]:
    """A record claims something that its sender cannot know. At most one notice an hour for each feed."""
    facts = OperatorFacts(
        subject=f"Feed {feed}: a record cannot be trusted",
        what=f"A record on feed {feed} was not believed and changed nothing. {signal.reason}",
        where=signal.event_id or signal.operation or "no event id",
        next="Find out who can write to this feed. If the sender is genuine, correct its account, organisation or "
        "topic in the register (or the feed's `customers` in the settings) and replay the record.",
        at=at,
        severity=Severity.ERROR,
    )
    return tell(f"untrusted:{feed}:{_hour(at)}", facts, routing, at=at)


def undeliverable(notice: Notice, reason: str, hint: str, routing: Routing, *, at: datetime) -> list[Notice]:
    """A notice could not be sent and will not be tried again: somebody else must hear of it."""
    whom = notice.recipient.email if notice.recipient else "the on-call"
    facts = OperatorFacts(
        subject=f"Notice {notice.id} could not be delivered",
        what=f"The notice {notice.id} ({notice.kind}) to {whom} over {notice.channel} failed for good: {reason}",
        where=f"channel {notice.channel}" + (f", incident {notice.incident}" if notice.incident else ""),
        next=f"{hint + ' ' if hint else ''}Reach {whom} in another way now, and tell them what the notice says: "
        f"`byok-watchdog status {notice.incident or ''}`.".replace(" `.", "`."),
        at=at,
        severity=Severity.CRITICAL,
    )
    return tell(f"undeliverable:{notice.id}", facts, routing, at=at, without=notice.channel)


def degraded(process: str, what: str, routing: Routing, *, at: datetime) -> list[Notice]:
    """A process works without something that it needs. At most one notice an hour for each cause."""
    facts = OperatorFacts(
        subject="The watchdog works in a degraded way",
        what=f"{process}: {what}",
        where=process,
        next="Bring it back; until then the processes work everything themselves, more slowly. See `byok-watchdog "
        "doctor`.",
        at=at,
        severity=Severity.ERROR,
    )
    # What differs in its numbers only ("3 messages", "4 messages") is the same cause.
    cause = re.sub(r"\d+", "#", what)
    return tell(f"degraded:{cause}:{_hour(at)}", facts, routing, at=at)


def audit_failed(reasons: Sequence[str], where: str, routing: Routing, *, at: datetime) -> list[Notice]:
    """The audit of the watchdog fails, so that its heartbeat stays away. At most one notice an hour."""
    shown = "; ".join(reasons[:_REASONS])
    more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
    facts = OperatorFacts(
        subject="The watchdog fails its own audit",
        what=f"Changes of keys may go unseen or untold, and no heartbeat is sent: {shown}{more}.",
        where=where,
        next="`byok-watchdog doctor` says of each what to do. The heartbeat comes back by itself.",
        at=at,
        severity=Severity.CRITICAL,
    )
    return tell(f"audit:{_hour(at)}", facts, routing, at=at)
