"""One record put beside the register: how its signals are written, and whose side a change lies on."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from msgspec import Struct

from watchdog.clouds.azure.index import Estate, Feed, Index, WatchedKey
from watchdog.clouds.azure.record import NOBODY, Claims
from watchdog.signals import Signal
from watchdog.words import LOSS, RISK, Cause, Effect, Fault, Means

BLAMED = LOSS | RISK | {Effect.FEED_TAMPERED, Effect.USE_FAILED}
# What the record alone never settles (azure.md 11).
UNSETTLED = frozenset({Effect.ACCESS_CHANGED, Effect.KEY_CHANGED, Effect.KEY_DELETION_SCHEDULED})


class DistrustedError(Exception):
    """A record says what the place it comes from cannot know; the text says why."""


class Case(Struct, frozen=True):
    """What every rule needs: the register's lookups, the time of the record, and who acted."""

    index: Index
    at: datetime | None
    claims: Claims = NOBODY

    def signal(
        self,
        effect: Effect,
        reason: str,
        key: WatchedKey,
        *,
        fault: Fault | None = None,
        cause: Cause | None = None,
        deadline: datetime | None = None,
        source: str | None = None,
        means: Means | None = None,
        subject: str | None = None,
        version: str | None = None,
        part: str | None = None,
        probe: bool = False,
        partial: bool = False,
    ) -> Signal:
        """Write a signal about a key, or about one version of it, which then is its subject too.

        The fault is the container owner's, unless the vendor itself acted.
        """
        return Signal(
            effect=effect,
            reason=reason,
            key=key.key.id,
            fault=(fault or self.fault(key.container.estate)) if effect in BLAMED else None,
            cause=cause,
            deadline=deadline,
            deadline_source=source if deadline else None,
            means=means,
            subject=subject or version,
            part=part,
            version=version,
            resource=f"{key.key.id}/{version}" if version else None,
            probe=probe or effect in UNSETTLED,
            partial=partial,
        )

    def fault(self, owner: Estate) -> Fault:
        """Whose side a change of something lies on: the vendor's when its own principal or tenant made it."""
        vendor = self.index.vendor
        by_vendor = {self.claims.oid, self.claims.app} & self.index.vendor_ids
        from_vendor = vendor is not None and self.claims.tenant == vendor.tenant
        return Fault.VENDOR if by_vendor or from_vendor else owner.fault

    def tampered(self, feeds: Iterable[Feed], reason: str, *, probe: bool = False) -> list[Signal]:
        """Write that feeds were lost or changed: one signal for each side that owns some of them."""
        owners: dict[str | None, Feed] = {}
        for feed in feeds:
            owners.setdefault(feed.estate.customer, feed)
        return [
            Signal(
                effect=Effect.FEED_TAMPERED,
                reason=f"{reason} ({feed.kind} {feed.id}).",
                customer=customer,
                fault=feed.estate.fault,
                subject=feed.id,
                probe=probe,
            )
            for customer, feed in owners.items()
        ]


def refused(found: Iterable[Signal], why: str) -> list[Signal]:
    """Say of each signal that it did not come to pass: a refused change changes nothing."""
    said: dict[tuple[str | None, str | None], Signal] = {}
    for signal in found:
        if signal.effect is not Effect.NO_EFFECT:
            said.setdefault(
                (signal.key, signal.customer),
                Signal(
                    effect=Effect.ATTEMPT_FAILED,
                    reason=f"{why}: nothing changed.",
                    key=signal.key,
                    customer=signal.customer,
                    subject=signal.subject,
                    version=signal.version,
                    resource=signal.resource,
                ),
            )
    return list(said.values())


def undecided(found: Iterable[Signal], case: Case, why: str) -> list[Signal]:
    """Say of each signal that the record does not tell whether it came to pass: a question, for a probe to answer."""
    said = []
    for signal in found:
        key = case.index.by_id.get(signal.key or "")
        if signal.effect is Effect.FEED_TAMPERED:
            said.append(replace(signal, probe=True, reason=f"{signal.reason} {why}"))
        elif key and signal.effect is not Effect.NO_EFFECT:
            reason = f"{signal.reason} {why}"
            said.append(case.signal(Effect.KEY_CHANGED, reason, key, subject=signal.subject, version=signal.version))
    return said


def quiet(reason: str) -> list[Signal]:
    """Say that a record changes nothing for a watched key, and why."""
    return [Signal(effect=Effect.NO_EFFECT, reason=reason)]
