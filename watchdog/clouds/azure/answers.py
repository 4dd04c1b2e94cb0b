"""What a vault answers to a probe of our own: what is proven, refused, or only listed (azure.md 7)."""

from collections.abc import Collection

from msgspec import Struct

from watchdog.clouds.azure.failures import of_answer
from watchdog.clouds.azure.fields import items, mapping, pick, text, truth
from watchdog.clouds.azure.ids import place
from watchdog.words import Cause, Effect, Fault


class Said(Struct, frozen=True, kw_only=True):
    """What an answer means: a use that worked or failed, or nothing (metadata prove neither wrap nor unwrap)."""

    effect: Effect
    why: str
    cause: Cause | None = None
    fault: Fault | None = None
    probe: bool = False


class Posture(Struct, frozen=True):
    """How a key is guarded: whether it could be purged at once, and for how many days a deleted one is kept."""

    purgeable: bool | None
    recoverable_days: int | None


def said(
    status: int, body: object, *, proves_use: bool, versions: Collection[str] = (), with_token: bool = True
) -> Said:
    """Read an answer. `proves_use` marks a remote wrap or unwrap, anything else only lists.

    `versions` are those in use (all count when there are none); `with_token` is False for the first leg, whose 401 is
    the normal challenge. A key is listed with 200 even when it is disabled.
    """
    if 200 <= status < 300:
        return Said(effect=Effect.USE_SUCCEEDED, why="the key was used") if proves_use else _listed(body, versions)
    if status == 401 and not with_token:
        return Said(effect=Effect.NO_EFFECT, why="the challenge that asks for a token")
    found = of_answer(status, body)
    return Said(effect=Effect.USE_FAILED, why=found.why, cause=found.cause, fault=found.fault, probe=found.probe)


def posture(body: object) -> Posture:
    """Read how a key is guarded from its `recoveryLevel`: `...Purgeable` means no purge protection (azure.md 2)."""
    attributes = mapping(pick(mapping(body), "attributes"))
    level, days = text(pick(attributes, "recoveryLevel")), pick(attributes, "recoverableDays")
    return Posture(
        purgeable=level.lower().endswith("purgeable") if level else None,
        recoverable_days=days if isinstance(days, int) and not isinstance(days, bool) else None,
    )


def _listed(body: object, versions: Collection[str]) -> Said:
    fields = mapping(body)
    listed = pick(fields, "value")
    for one in items(listed) if isinstance(listed, list) else [fields]:
        key = mapping(one)
        where = place(pick(key, "kid")) or place(pick(mapping(pick(key, "key")), "kid"))
        version = where.version if where else None
        counts = version is None or not versions or version in versions
        if counts and truth(pick(mapping(pick(key, "attributes")), "enabled")) is False:
            why = "the key version is disabled"
            return Said(effect=Effect.USE_FAILED, why=why, cause=Cause.DISABLED, fault=Fault.CUSTOMER)
    return Said(effect=Effect.NO_EFFECT, why="what is listed proves neither wrap nor unwrap")
