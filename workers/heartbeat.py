"""The heartbeat: audit, then tell something outside that all is well, and the operators when it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.interface import Outcome as Sent
from alerts.interface import Receipt
from watchdog import operators
from watchdog.audit import Check, Outcome, audit, passes, reasons
from watchdog.notices import Notice
from workers.auditing import Audited, collect, last_audit, last_walk, put_audit, put_walk, walk_on
from workers.observing import Queued, add_new, queued
from workers.runtime import Runtime
from workers.settings import SettingsFaults

SETTLING = timedelta(minutes=2)
"""For how long an audit may fail before people are told: processes that are started together come up one by one.

The heartbeat stays away from the first failure on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beaten:
    """What came of one turn: what was found, and the notices that now wait."""

    audited: Audited
    queued: tuple[Queued, ...] = ()


def beat(runtime: Runtime, jobs: Mapping[str, timedelta], *, now: datetime) -> Beaten:
    """Audit, send the heartbeat when all passed, keep what was found. Raises StoreUnavailable: then nothing is sent.

    A heartbeat that cannot be sent is kept with its reason, shown by `status` and `doctor`, and sent at the next turn.
    """
    with runtime.store.read() as unit:
        before = last_audit(unit)
        walk, chain = walk_on(unit, last_walk(unit), now=now)
        facts = collect(runtime, unit, chain, jobs, now=now)
    checks = audit(facts)
    failing_since = None if passes(checks) else _since(before, now, every=runtime.settings.audit_every)
    is_settled = failing_since is not None and now - failing_since >= SETTLING
    sent_at, error = _send(runtime, checks, now, is_settled=is_settled)
    audited = Audited(
        at=now, checks=checks, failing_since=failing_since, error=error,
        sent_at=sent_at or (before.sent_at if before else None),
    )  # fmt: skip
    told: list[Notice] = []
    with runtime.store.write() as unit:
        put_walk(unit, walk, at=now)
        put_audit(unit, audited)
        if is_settled:
            found = operators.audit_failed(reasons(_worst_first(checks)), runtime.name, runtime.routing, at=now)
            told = add_new(unit, found)
    if failing_since is not None:
        runtime.log.warning("audit.failed", reasons=reasons(checks), since=failing_since.isoformat())
    return Beaten(audited=audited, queued=queued(told))


def _since(before: Audited | None, now: datetime, *, every: timedelta) -> datetime:
    """Since when the audit does not pass; what was before a time without audits does not count."""
    if before is None or before.failing_since is None or now - before.at > 3 * every + SETTLING:
        return now
    return before.failing_since


def _worst_first(checks: Sequence[Check]) -> list[Check]:
    return sorted(checks, key=lambda check: check.outcome is not Outcome.FAILED)


def _send(
    runtime: Runtime, checks: Sequence[Check], now: datetime, *, is_settled: bool
) -> tuple[datetime | None, str | None]:  # fmt: skip
    """Send what is to be sent; return when a heartbeat left, and why the sending failed."""
    try:
        heartbeat = runtime.heartbeat
        if heartbeat is None:
            return None, None
        passed = passes(checks)
        if not passed and not is_settled:
            return None, None
        receipt = heartbeat.passed(f"{len(checks)} checks passed", now) if passed else (
            heartbeat.failed(reasons(checks), now)
        )  # fmt: skip
    except SettingsFaults as faults:
        return None, str(faults)
    except Exception as error:
        # Protects the audit: what a far end does to a sender's own code must not keep the operators from being told.
        runtime.log.error("heartbeat.sender_failed", exc_info=error)
        return None, f"the sender's own code failed ({type(error).__name__}); see the log"
    if receipt is None:
        return None, None
    if receipt.outcome is not Sent.ACCEPTED:
        runtime.log.warning("heartbeat.not_sent", reason=receipt.reason, status=receipt.http_status, hint=receipt.hint)
        return None, _in_words(receipt)
    return (now if passed else None), None


def _in_words(receipt: Receipt) -> str:
    status = f"HTTP {receipt.http_status}" if receipt.http_status else ""
    parts = (receipt.reason, status, receipt.excerpt, f"({receipt.hint})" if receipt.hint else "")
    return " ".join(part for part in parts if part)
