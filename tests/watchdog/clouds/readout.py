"""From a delivery to the words of the labels: what came out, as plain dictionaries that can be compared."""

from typing import Any

from watchdog.cloud import Cloud
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect

FIELDS = ("fault", "cause")


def labelled(signal: Signal, *, means: bool = False) -> dict[str, Any]:
    """Say a signal in the words of the labels, whose key is the version where one is meant; no null, no false."""
    found: dict[str, Any] = {"effect": signal.effect.value}
    if signal.key:
        found["key"] = signal.resource or signal.key
    for name in (*FIELDS, "means") if means else FIELDS:
        value = getattr(signal, name)
        if value:
            found[name] = str(value)
    if signal.deadline:
        found["deadline"] = f"{signal.deadline:%Y-%m-%dT%H:%M:%SZ}"
    return found | {name: True for name in ("probe", "partial") if getattr(signal, name)}


def told(
    cloud: Cloud, body: bytes, register: Register, *, triage_knows: bool = True, means: bool = False
) -> list[dict[str, Any]]:
    """Take a whole delivery: every signal that is not noise, else one `no_effect`; sorted like a multiset."""
    unpacked = cloud.unpack(body, register=register if triage_knows else None)
    found = [{"effect": "unreadable"} for _ in unpacked.broken]
    for entry in unpacked.entries:
        found += [labelled(signal, means=means) for signal in cloud.meaning(entry.raw, register)]
    return ordered([one for one in found if one["effect"] != Effect.NO_EFFECT] or [{"effect": "no_effect"}])


def ordered(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort labels for comparing as a multiset."""
    return sorted(labels, key=lambda label: sorted((name, str(value)) for name, value in label.items()))
