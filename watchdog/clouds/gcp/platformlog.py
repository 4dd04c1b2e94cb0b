"""The platform log of Cloud KMS: what the service did by itself, told in jsonPayload (gcp.md 3.6)."""

from collections.abc import Mapping

from msgspec import Struct

from watchdog.clouds.gcp.case import Target, spared, written
from watchdog.clouds.gcp.fields import mapping, whole
from watchdog.clouds.gcp.index import Index
from watchdog.signals import Signal
from watchdog.words import Effect, Fault


class Outcome(Struct, frozen=True):
    """What one outcome of an event means; `of_key` when the signal is about the key even if a version is named."""

    effect: Effect
    reason: str
    probe: bool = False
    of_key: bool = False


EVENTS: dict[str, tuple[Outcome, Outcome]] = {
    "scheduledDestructionEvent": (
        Outcome(Effect.KEY_DESTROYED, "Cloud KMS carried out the scheduled destruction: the version is gone for good."),
        Outcome(
            Effect.KEY_CHANGED, "The scheduled destruction of the version failed; its state is unclear.", probe=True
        ),
    ),
    "rotationEvent": (
        Outcome(
            Effect.ROTATED, "Cloud KMS rotated the key; old data still decrypts with the old version.", of_key=True
        ),
        Outcome(Effect.KEY_CHANGED, "The automatic rotation of the key failed.", probe=True, of_key=True),
    ),
    "importEvent": (
        Outcome(Effect.KEY_MATERIAL_RESTORED, "The import of key material into the version succeeded."),
        Outcome(Effect.ATTEMPT_FAILED, "The import of key material into the version failed: nothing changed."),
    ),
    "keyGenerationEvent": (
        Outcome(Effect.ROTATED, "Cloud KMS generated a new version; old data still decrypts.", of_key=True),
        Outcome(Effect.KEY_CHANGED, "Cloud KMS could not generate a new version.", probe=True, of_key=True),
    ),
}


def event_in(payload: Mapping[str, object]) -> str | None:
    """Return the name of the event in a jsonPayload; None when it is none of these."""
    return next((name for name in EVENTS if name in payload), None)


def signals(payload: Mapping[str, object], target: Target, index: Index) -> list[Signal]:
    """Tell what an event means for the key that its labels name."""
    name = event_in(payload)
    if name is None:
        return []
    code = whole(mapping(mapping(payload.get(name)).get("status")).get("code")) or 0
    outcome = EVENTS[name][1 if code > 0 else 0]
    version = None if outcome.of_key else target.version
    fault = Fault.VENDOR if index.is_vendor_key(target.key) else Fault.CUSTOMER
    signal = written(outcome.effect, outcome.reason, target.key, version=version, fault=fault, probe=outcome.probe)
    return [] if spared(signal, target.key, version) else [signal]
