"""Registering: make a register document the one that counts, in one commit with the evidence for it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from watchdog.register import Document, RegisteredKey, registered_keys
from workers.probes.schedule import plans
from workers.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import has changed. Keys are named by their ids."""

    revision: int
    changed: bool
    customers: int
    keys: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()


def import_document(runtime: Runtime, document: Document, *, by: str, source: str, now: datetime) -> Imported:
    """Store a sound document as the newest revision; importing the same one again changes nothing."""
    text = msgspec.json.encode(document, order="deterministic")
    after = _by_id(document)
    with runtime.store.write() as unit:
        latest = unit.register_latest()
        before = _by_id(msgspec.json.decode(latest[1], type=Document)) if latest else {}
        if latest is not None and latest[1] == text:
            return Imported(
                revision=latest[0], changed=False, customers=len(document.customers), keys=len(after)
            )  # fmt: skip
        revision = unit.register_add(text, at=now, by=by, source=source)
        imported = Imported(
            revision=revision,
            changed=True,
            customers=len(document.customers),
            keys=len(after),
            added=tuple(sorted(after.keys() - before.keys())),
            removed=tuple(sorted(before.keys() - after.keys())),
            altered=tuple(sorted(key for key in after.keys() & before.keys() if _differs(after[key], before[key]))),
        )
        unit.plan_probes(plans(after.values(), now=now))
        unit.append_evidence(
            "register", f"revision {revision}",
            {
                "by": by, "source": source, "sha256": hashlib.sha256(text).hexdigest(), "added": imported.added,
                "removed": imported.removed, "altered": imported.altered,
            },
            at=now,
        )  # fmt: skip
        return imported


def _by_id(document: Document) -> dict[str, RegisteredKey]:
    return {key.id: key for key in registered_keys(document)}


def _differs(one: RegisteredKey, other: RegisteredKey) -> bool:
    return (one.entry, one.instance.id, one.customer.id, one.customer.contacts) != (
        other.entry, other.instance.id, other.customer.id, other.customer.contacts,
    )  # fmt: skip
