"""One record put beside the register: which watched keys it names, who recorded it, and how its signals are written."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from watchdog.clouds.aws.arns import ALIAS_NAME, KEY_ID, alias_arn, built, in_text, key_arn
from watchdog.clouds.aws.dates import Clock
from watchdog.clouds.aws.fields import text
from watchdog.clouds.aws.identity import Party
from watchdog.clouds.aws.index import Feed, Index
from watchdog.clouds.aws.record import Record
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import QUIET, RECOVERY, Effect, Fault, Means


class Named(Struct, frozen=True):
    """The keys that a place in a record names.

    `any_key` is True even when none of them is watched; `decides` is False when only an unknown alias stands there.
    """

    keys: tuple[RegisteredKey, ...] = ()
    any_key: bool = False
    decides: bool = False


class Case(Struct, frozen=True, kw_only=True):
    """One record with all that is needed to judge it. `recorder` is the account that recorded it."""

    record: Record
    index: Index
    party: Party
    recorder: str | None
    at: datetime | None
    named: Named

    @property
    def keys(self) -> tuple[RegisteredKey, ...]:
        """The watched keys that the record names."""
        return self.named.keys

    @property
    def region(self) -> str | None:
        """The Region in which the event was recorded (us-east-1 for global services)."""
        return self.record.region

    def signal(
        self,
        effect: Effect,
        reason: str,
        key: RegisteredKey | None,
        *,
        fault: Fault | None = None,
        clock: Clock | None = None,
        means: Means | None = None,
        subject: str | None = None,
        probe: bool = False,
        partial: bool = False,
    ) -> Signal:
        """Write a signal about a change. The fault follows from the actor; recoveries carry none (aws.md 3.0)."""
        return Signal(
            effect=effect,
            reason=reason,
            key=key.id if key else None,
            fault=None if effect in RECOVERY | QUIET else fault or self.party.fault,
            deadline=clock.at if clock else None,
            deadline_source=clock.source if clock else None,
            means=means,
            subject=subject,
            probe=probe,
            partial=partial,
        )

    def tampered(self, feed: Feed, reason: str) -> Signal:
        """Write the signal that a feed of the watch was stopped, narrowed or removed."""
        return Signal(
            effect=Effect.FEED_TAMPERED,
            reason=reason,
            customer=feed.customer,
            fault=self.party.fault if feed.customer else Fault.VENDOR,
            subject=feed.arn,
        )


def named_in(record: Record, index: Index, recorder: str | None) -> Named:
    """Find the keys that a record names; the first place that names a key decides (aws.md 3.0, "Which key")."""
    region, owner = record.region, record.recipient or recorder
    typed = [record.request.get(field) for field in ("keyId", "sourceKeyId", "destinationKeyId")]
    answered = record.response.get("keyId")
    details = record.service.get("keyId")
    places: tuple[Iterable[str], ...] = (
        record.resources,
        _full(answered),
        (arn for value in typed for arn in _full(value)),
        (arn for value in (answered, *typed) for arn in _bare(value, region, owner)),
        (*_full(details), *_bare(details, region, owner)),
        in_text(record.message),
    )
    any_key = False
    for place in places:
        found = named(place, index)
        if found.decides:
            return found
        any_key = any_key or found.any_key
    return Named(any_key=any_key)


def named(arns: Iterable[str], index: Index) -> Named:
    """Look ARNs up: keys by their full ARN, aliases through the register."""
    keys: dict[str, RegisteredKey] = {}
    decides = any_key = False
    for arn in arns:
        canonical = key_arn(arn)
        found = index.keys.get(canonical) if canonical else index.aliases.get(arn)
        if found:
            keys[found.id] = found
        decides = decides or canonical is not None or found is not None
        any_key = any_key or decides or alias_arn(arn) is not None
    return Named(tuple(keys.values()), any_key, decides)


def _full(value: object) -> Iterator[str]:
    arn = key_arn(value) or alias_arn(value)
    if arn:
        yield arn


def _bare(value: object, region: str | None, owner: str | None) -> Iterator[str]:
    name = text(value) or ""
    if KEY_ID.fullmatch(name):
        arn = built("key", name.lower(), region=region, account=owner)
    elif ALIAS_NAME.fullmatch(name):
        arn = built("alias", name.removeprefix("alias/"), region=region, account=owner)
    else:
        return
    if arn:
        yield arn
