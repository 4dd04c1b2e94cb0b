"""Delivering: lease one notice, render it, send it, record what came of it - in that order."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.interface import Outcome, Reason, Receipt, Rendered
from watchdog import operators
from watchdog.notices import Kind, Notice
from workers.runtime import Runtime, utc_now
from workers.stops import stop_at
from workers.store.interface import Attempt, Lease, NoticeState, Unit

RETRIES = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 120, 300, 600, 900))
"""Waits after the first, second, ... failed attempt (alerting.md 2.1); the last one repeats."""

GIVE_UP = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of working one notice."""

    notice: Notice
    receipt: Receipt


def deliver(runtime: Runtime, notice_id: str, *, now: datetime) -> Delivered | None:
    """Send one notice; None when it is not due, held by somebody else, or done.

    A crash between sending and recording sends it a second time; that is the accepted price for never losing it.
    """
    with runtime.store.write() as unit:
        lease = unit.lease(notice_id, now=now, length=runtime.settings.lease)
    return deliver_leased(runtime, lease, now=now) if lease is not None else None


def deliver_leased(runtime: Runtime, lease: Lease, *, now: datetime) -> Delivered:
    """Send the notice of a lease that this process holds."""
    stop_at("deliver.leased")
    if _replaces_nothing(runtime, lease.notice):
        rendered, receipt = None, Receipt(outcome=Outcome.SUPPRESSED, excerpt="the alarm that was to replace it failed")
    else:
        rendered, receipt = _send(runtime, lease.notice, now)
    stop_at("deliver.sent")
    _settle(runtime, lease, rendered, receipt)
    stop_at("deliver.settled")
    return Delivered(notice=lease.notice, receipt=receipt)


def _replaces_nothing(runtime: Runtime, notice: Notice) -> bool:
    """Whether a notice would clear the alert that is open although the one to take its place could not be sent."""
    if notice.kind is not Kind.CLEAR or notice.after is None:
        return False
    with runtime.store.read() as unit:
        newer = unit.notice(notice.after)
    return newer is not None and newer.state is NoticeState.FAILED


def _send(runtime: Runtime, notice: Notice, now: datetime) -> tuple[Rendered | None, Receipt]:
    channel = runtime.channels.get(notice.channel)
    if channel is None:
        hint = f"No channel is called {notice.channel!r} any more: put it back into the settings."
        return None, Receipt(
            outcome=Outcome.PERMANENT, reason=Reason.CLIENT_ERROR, hint=hint, excerpt="no such channel"
        )
    rendered: Rendered | None = None
    try:
        rendered = channel.render(notice)
        stop_at("deliver.rendered")
        return rendered, channel.send(notice, rendered, now)
    except Exception as error:
        # Protects the outbox: a fault of a sender's own code must not lose the notice. It is tried again, and told.
        runtime.log.error("notice.sender_failed", notice=notice.id, channel=notice.channel, exc_info=error)
        hint = f"The channel's own code failed ({type(error).__name__}); see the log."
        return rendered, Receipt(outcome=Outcome.RETRY, excerpt=type(error).__name__, hint=hint)


def _settle(runtime: Runtime, lease: Lease, rendered: Rendered | None, receipt: Receipt) -> None:
    now = utc_now()
    state, due_at = _next(lease, receipt, now)
    attempt = Attempt(
        at=now, outcome=receipt.outcome, reason=receipt.reason, http_status=receipt.http_status, excerpt=receipt.excerpt
    )
    with runtime.store.write() as unit:
        held = unit.settle(
            lease.notice.id, lease.fence, state=state, attempt=attempt, due_at=due_at, provider_id=receipt.provider_id,
            rendered=rendered.body if rendered else None, content_type=rendered.content_type if rendered else None,
        )  # fmt: skip
        _prove(unit, lease, rendered, receipt, state, held=held, now=now)
        if held and state is NoticeState.FAILED:
            _escalate(runtime, unit, lease.notice, receipt, now)
    runtime.log.info(
        "notice.attempted", notice=lease.notice.id, channel=lease.notice.channel, kind=lease.notice.kind, state=state,
        outcome=receipt.outcome, reason=receipt.reason, status=receipt.http_status, attempt=lease.attempts + 1,
    )  # fmt: skip


def _next(lease: Lease, receipt: Receipt, now: datetime) -> tuple[NoticeState, datetime | None]:
    match receipt.outcome:
        case Outcome.ACCEPTED:
            return NoticeState.ACCEPTED, None
        case Outcome.SUPPRESSED:
            return NoticeState.SUPPRESSED, None
        case Outcome.PERMANENT:
            return NoticeState.FAILED, None
        case Outcome.RETRY:
            if now - lease.notice.created_at >= GIVE_UP:
                return NoticeState.FAILED, None
            return NoticeState.QUEUED, now + wait(lease.attempts, receipt.retry_after)


def wait(attempts: int, retry_after: timedelta | None) -> timedelta:
    """How long to wait after this many earlier attempts: the schedule with jitter, or longer if the far end asks."""
    planned = RETRIES[min(attempts, len(RETRIES) - 1)]
    jittered = planned * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, protects nothing
    return max(jittered, min(retry_after, RETRIES[-1])) if retry_after else jittered


def _prove(
    unit: Unit,
    lease: Lease,
    rendered: Rendered | None,
    receipt: Receipt,
    state: NoticeState,
    *,
    held: bool,
    now: datetime,
) -> None:
    notice = lease.notice
    body: Mapping[str, object] = {
        "notice": notice.id,
        "kind": notice.kind,
        "channel": notice.channel,
        "recipient": notice.recipient.email if notice.recipient else None,
        "outcome": receipt.outcome,
        "state": state,
        "reason": receipt.reason,
        "provider_id": receipt.provider_id,
        "http_status": receipt.http_status,
        "attempt": lease.attempts + 1,
        "rendered_sha256": unit.keep_raw(rendered.body, at=now) if rendered else None,
        "held": held,
    }
    unit.append_evidence("attempt", notice.incident or notice.id, body, at=now)


def _escalate(runtime: Runtime, unit: Unit, notice: Notice, receipt: Receipt, now: datetime) -> None:
    """Tell somebody else that a notice failed for good; of a failed operator notice only another channel is told."""
    if notice.kind is Kind.OPERATOR and len(runtime.routing.operators) < 2:
        runtime.log.critical("operators.unreachable", notice=notice.id, reason=receipt.excerpt, hint=receipt.hint)
        return
    if notice.kind is Kind.OPERATOR and notice.dedup.startswith("operator:undeliverable:"):
        return  # told about once already, over another channel
    reason = f"{receipt.reason} {receipt.http_status or ''} {receipt.excerpt}".strip()
    unit.add_notices(operators.undeliverable(notice, reason, receipt.hint, runtime.routing, at=now))
