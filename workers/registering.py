"""Registering: make a register document the one that counts, in one commit with the evidence for it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from watchdog.register import Document, RegisteredKey, registered_keys
from workers.preflighting import turns
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


class RespeltKeys(Exception):  # noqa: N818  # the plural says that all come at once
    """Keys that the newest revision spells in another letter case; Azure means the same key, history does not.

    `spellings` are pairs: as registered, as in the new document.
    """

    def __init__(self, spellings: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{new} is registered as {old}" for old, new in spellings))
        self.spellings = spellings


def import_document(runtime: Runtime, document: Document, *, by: str, source: str, now: datetime) -> Imported:
    """Store a sound document as the newest revision; importing the same one again changes nothing.

    Raises RespeltKeys, and changes nothing, when the health and the incidents of a key would be left behind under
    another spelling of its id.
    """
    text = msgspec.json.encode(document, order="deterministic")
    after = _by_id(document)
    with runtime.store.write() as unit:
        latest = unit.register_latest()
        before = _by_id(msgspec.json.decode(latest[1], type=Document)) if latest else {}
        if latest is not None and latest[1] == text:
            return Imported(
                revision=latest[0], changed=False, customers=len(document.customers), keys=len(after)
            )  # fmt: skip
        if respelt := _respelt(before, after):
            raise RespeltKeys(respelt)
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
        unit.plan_preflights(turns(after, after=now))
        unit.want_preflights((*imported.added, *imported.altered), at=now)
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


def _respelt(before: dict[str, RegisteredKey], after: dict[str, RegisteredKey]) -> list[tuple[str, str]]:
    gone = {key.lower(): key for key in before.keys() - after.keys() if before[key].cloud == "azure"}
    new = sorted(key for key in after.keys() - before.keys() if after[key].cloud == "azure")
    return [(gone[key.lower()], key) for key in new if key.lower() in gone]


def _differs(one: RegisteredKey, other: RegisteredKey) -> bool:
    return (one.entry, one.instance.id, one.customer.id, one.customer.contacts) != (
        other.entry, other.instance.id, other.customer.id, other.customer.contacts,
    )  # fmt: skip
