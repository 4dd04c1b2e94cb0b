"""`KeyUpdate`: what a write of a key version's attributes and permitted operations means (azure.md 3.4).

What the caller did not send is absent, so every attribute has three values: true, false, not told.
"""

from datetime import datetime

from msgspec import Struct

from watchdog.clouds.azure import access
from watchdog.clouds.azure.access import WRAP, Standing
from watchdog.clouds.azure.dates import seconds
from watchdog.clouds.azure.fields import embedded, mapping, pick, texts, truth
from watchdog.clouds.azure.index import WatchedKey
from watchdog.clouds.azure.record import Audit
from watchdog.words import Effect, Means


class Attributes(Struct, frozen=True):
    """What a record says of a key version; None is not told."""

    enabled: bool | None = None
    expires: datetime | None = None
    begins: datetime | None = None
    operations: tuple[str, ...] | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """What the write of a version means."""

    effect: Effect
    reason: str
    means: Means | None = None
    deadline: datetime | None = None


def attributes_of(audit: Audit) -> Attributes:
    """Read the attributes in a record. A managed HSM's record has none."""
    key = mapping(embedded(pick(audit.properties, "keyProperties")))
    attributes = mapping(embedded(pick(key, "attributes")))
    operations = embedded(pick(key, "operations"))
    return Attributes(
        enabled=truth(pick(attributes, "enabled")),
        expires=seconds(pick(attributes, "exp")),
        begins=seconds(pick(attributes, "nbf")),
        operations=tuple(texts(operations)) if isinstance(operations, list) else None,
    )


def written(said: Attributes, key: WatchedKey, version: str | None, at: datetime | None) -> Verdict:
    """Judge a write: the first row that matches; a loss of a version that is not in use only raises a question.

    A write that names no version is taken as one of a version in use: that it was not cannot be told.
    """
    found = _judged(said, key, version, at)
    if version is None or version in key.versions or found.effect not in LOSSES:
        return found
    reason = f"{found.reason} The version is not registered as in use: is some store still pinned to it?"
    return Verdict(effect=Effect.KEY_CHANGED, reason=reason)


LOSSES = frozenset({Effect.KEY_DISABLED, Effect.ACCESS_REVOKED, Effect.KEY_EXPIRED, Effect.ACCESS_REDUCED})


def _judged(said: Attributes, key: WatchedKey, version: str | None, at: datetime | None) -> Verdict:
    if said.enabled is False:
        return Verdict(effect=Effect.KEY_DISABLED, reason="The key version was disabled: every use is refused.")
    permitted = access.operations(said.operations, key.needed) if said.operations is not None else None
    if permitted and permitted.standing is Standing.LOST:
        return _operations(Effect.ACCESS_REVOKED, permitted.why)
    if said.expires and at and said.expires <= at:
        reason = f"The expiry was set to {_day(said.expires)}, which is past: wrapping is refused."
        return Verdict(effect=Effect.KEY_EXPIRED, reason=reason)
    if said.begins and at and said.begins > at and WRAP in key.needed:
        reason = f"The key version begins to be valid only at {_day(said.begins)}: wrapping is refused until then."
        return Verdict(effect=Effect.ACCESS_REDUCED, reason=reason, means=Means.CONDITION)
    if permitted and permitted.standing is Standing.REDUCED:
        return _operations(Effect.ACCESS_REDUCED, permitted.why)
    known = key.versions.get(version or "")
    if said.expires and at and said.expires != known:
        reason = f"A new expiry was set: {_day(said.expires)}. After it wrapping is refused."
        return Verdict(effect=Effect.EXPIRY_AHEAD, reason=reason, deadline=said.expires)
    if said.enabled:
        return Verdict(effect=Effect.KEY_ENABLED, reason="The key version was enabled.")
    if permitted:
        return _operations(Effect.ACCESS_GRANTED, permitted.why)
    reason = "The key version was written, and the record does not say what its state now is."
    return Verdict(effect=Effect.KEY_CHANGED, reason=reason)


def _operations(effect: Effect, why: str) -> Verdict:
    return Verdict(effect=effect, reason=f"Permitted operations were set: {why}.", means=Means.KEY_OPERATIONS)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
