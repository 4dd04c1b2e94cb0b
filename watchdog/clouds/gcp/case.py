"""One record put beside the register: which keys it names, in whose log it lies, and how its signals are written."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from watchdog.clouds.gcp.fields import mapping, text
from watchdog.clouds.gcp.index import Index, version_of
from watchdog.clouds.gcp.names import KeyName, key_name, version_name
from watchdog.clouds.gcp.record import Record
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import LOSS, QUIET, RECOVERY, Effect, Fault, Means


class Target(Struct, frozen=True):
    """The watched key that a record is about, and the version if it is about one."""

    key: RegisteredKey
    version: str | None = None


class Case(Struct, frozen=True, kw_only=True):
    """One record with all that is needed to judge it. `container` is the owner of its log; None if that is none."""

    record: Record
    index: Index
    container: str | None
    at: datetime | None
    by_vendor: bool
    target: Target | None

    @property
    def resource(self) -> str:
        """The resource that the record names, spelled as in the register."""
        return self.index.normal(self.record.resource or text(self.record.request.get("name")))

    @property
    def in_our_log(self) -> bool:
        """Whether the record lies in a log of the vendor's."""
        return self.index.is_ours(self.container)

    def signal(
        self,
        effect: Effect,
        reason: str,
        key: RegisteredKey,
        *,
        version: str | None = None,
        fault: Fault | None = None,
        open_fault: bool = False,
        deadline: datetime | None = None,
        deadline_source: str | None = None,
        means: Means | None = None,
        subject: str | None = None,
        part: str | None = None,
        probe: bool = False,
        partial: bool = False,
    ) -> Signal:
        """Write a signal about a change of a key. The fault follows from place and actor (gcp.md 3.0, step 7)."""
        ours = self.by_vendor or self.index.is_vendor_key(key)
        blamed = fault or (Fault.VENDOR if ours else Fault.CUSTOMER)
        return written(
            effect,
            reason,
            key,
            version=version,
            fault=None if open_fault else blamed,
            deadline=deadline,
            deadline_source=deadline_source,
            means=means,
            subject=subject,
            part=part,
            probe=probe,
            partial=partial,
        )

    def each(
        self,
        effect: Effect,
        reason: str,
        keys: Iterable[RegisteredKey],
        *,
        means: Means | None = None,
        subject: str | None = None,
        part: str | None = None,
        fault: Fault | None = None,
        probe: bool = False,
        partial: bool = False,
    ) -> list[Signal]:
        """Write the same signal for several keys."""
        return [
            self.signal(
                effect, reason, key, means=means, subject=subject, part=part, fault=fault, probe=probe, partial=partial
            )
            for key in {key.id: key for key in keys}.values()
        ]

    def tampered(self, reason: str, customer: str, subject: str, *, fault: Fault | None = None) -> Signal:
        """Write the signal that a feed of the watch was stopped, narrowed or removed."""
        return Signal(
            effect=Effect.FEED_TAMPERED,
            reason=reason,
            customer=customer or None,
            fault=fault or (Fault.VENDOR if self.by_vendor else Fault.CUSTOMER),
            subject=subject,
        )


def written(
    effect: Effect,
    reason: str,
    key: RegisteredKey,
    *,
    version: str | None,
    fault: Fault | None,
    deadline: datetime | None = None,
    deadline_source: str | None = None,
    means: Means | None = None,
    subject: str | None = None,
    part: str | None = None,
    probe: bool = False,
    partial: bool = False,
) -> Signal:
    """Write a signal; a version that the register does not know makes a loss of it one to be probed (step 9)."""
    unknown = version is not None and effect in LOSS and version_of(key, version)[0] is None
    return Signal(
        effect=effect,
        reason=reason,
        key=key.id,
        fault=None if effect in RECOVERY | QUIET else fault,
        deadline=deadline,
        deadline_source=deadline_source,
        means=means,
        subject=subject or version,
        part=part,
        version=version,
        resource=version_name(key.id, version),
        probe=probe or unknown,
        partial=partial,
    )


def spared(signal: Signal, key: RegisteredKey, version: str | None) -> bool:
    """Whether a signal is a loss of a version that the register marks as not in use: hygiene (step 9)."""
    return signal.effect in LOSS and version is not None and version_of(key, version)[0] is False


def target_of(record: Record, index: Index) -> Target | None:
    """Find the watched key that a record of Cloud KMS is about: resource, request, labels (gcp.md 3.0, step 8).

    The first place that names any key decides; a later place may add the version of that same key.
    """
    names = list(_named(record))
    first = next(iter(names), None)
    if first is None:
        return None
    spelled = index.normal(first.key)
    key = index.keys.get(spelled)
    if key is None:
        return None
    version = next((one.version for one in names if one.version and index.normal(one.key) == spelled), None)
    return Target(key, version)


def labelled(labels: object) -> KeyName | None:
    """Build the name of a key or version from the labels of its resource."""
    found = mapping(labels)
    fields = ("project_id", "location", "key_ring_id", "crypto_key_id")
    project, location, ring, key = (text(found.get(name)) for name in fields)
    if not (project and location and ring and key):
        return None
    version = text(found.get("crypto_key_version_id"))
    tail = f"/cryptoKeyVersions/{version}" if version else ""
    return key_name(f"projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}{tail}")


def _named(record: Record) -> Iterable[KeyName]:
    body = record.request.get("cryptoKeyVersion", record.request.get("crypto_key_version"))
    key = record.request.get("cryptoKey", record.request.get("crypto_key"))
    places = (
        record.resource,
        text(record.request.get("name")),
        text(record.request.get("resource")),
        text(body) or text(mapping(body).get("name")),
        text(mapping(key).get("name")),
        text(record.request.get("parent")),
        text(record.response.get("name")),
    )
    found = [name for name in map(key_name, places) if name]
    name = labelled(record.labels)
    if found or _elsewhere(record):
        return [*found, name] if found and name else found
    return [name] if name else []


def _elsewhere(record: Record) -> bool:
    """Whether the record names a resource that is no key: then labels alone may not make it one."""
    of_key = record.resource_type in ("cloudkms_cryptokey", "cloudkms_cryptokeyversion")
    return record.resource is not None and "/cryptoKeys/" not in record.resource and not of_key
