"""Changes told by a Cloud Asset feed: state and whole policy before and after, with the end date, without an actor."""

from collections.abc import Mapping
from datetime import datetime

from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.case import spared, written
from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.fields import mapping, text
from watchdog.clouds.gcp.index import Index
from watchdog.clouds.gcp.names import key_name
from watchdog.clouds.gcp.record import Reading
from watchdog.clouds.gcp.trust import check_subscription
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault

GONE = ("DESTROYED", "PENDING_EXTERNAL_DESTRUCTION", "EXTERNAL_DESTRUCTION_FAILED")
IMPORTED_FROM = (*GONE, "PENDING_IMPORT", "IMPORT_FAILED")
KEY_TYPE = "CryptoKey"
VERSION_TYPE = "CryptoKeyVersion"
CONNECTION_TYPE = "EkmConnection"


def signals(reading: Reading, index: Index, at: datetime | None) -> list[Signal]:
    """Tell what an asset change means; none when it concerns nothing registered. Raises DistrustedError."""
    asset = mapping(reading.content.get("asset"))
    prior = mapping(reading.content.get("priorAsset"))
    full = text(asset.get("name")) or text(prior.get("name"))
    name = index.normal(full)
    kind = (text(asset.get("assetType")) or text(prior.get("assetType")) or "").rpartition("/")[2]
    found = key_name(full)
    key = index.keys.get(index.normal(found.key)) if found else None
    if found and key is None:
        return []
    keys = [key] if key else index.by_backend.get(name, []) if kind == CONNECTION_TYPE else index.under.get(name, [])
    for one in keys:
        owners = {one.customer.id, ""} if index.is_vendor_key(one) else {one.customer.id}
        check_subscription(reading.subscription, owners, index)
    if kind == CONNECTION_TYPE:
        return [_connection(one, index, name) for one in keys if _has_changed(asset, prior)]
    if key and found:
        return _of_key(reading, asset, prior, key, found.version, index, at)
    return [signal for one in keys for signal in _policy(asset, prior, one, name, index, at)]


def _of_key(
    reading: Reading,
    asset: Mapping[str, object],
    prior: Mapping[str, object],
    key: RegisteredKey,
    version: str | None,
    index: Index,
    at: datetime | None,
) -> list[Signal]:
    if reading.content.get("deleted") is True:
        reason = "The asset is gone: only what is destroyed can be deleted."
        return _kept(key, version, _write(Effect.KEY_DESTROYED, reason, key, version, index, probe=True))
    resource, policy = asset.get("resource"), asset.get("iamPolicy")
    data = mapping(mapping(resource).get("data"))
    if not isinstance(policy, dict) and (not data or (version and text(data.get("state")) is None)):
        reason = "The asset changed, and its feed does not say how: it was perhaps made without a content type."
        return [_write(Effect.KEY_CHANGED, reason, key, version, index, probe=True)]
    found: list[Signal] = []
    if isinstance(resource, dict):
        now, before = mapping(resource.get("data")), mapping(mapping(prior.get("resource")).get("data"))
        if version:
            found += _transition(now, before, key, version, index)
        else:
            found += _primary(now, before, key, index)
    if isinstance(policy, dict) and not version:
        found += _policy(asset, prior, key, key.id, index, at)
    return found


def _transition(
    now: Mapping[str, object], before: Mapping[str, object], key: RegisteredKey, version: str, index: Index
) -> list[Signal]:
    state, was = text(now.get("state")), text(before.get("state"))
    if state is None or state == was:
        return []
    deadline = moment(now.get("destroyTime"))
    if state == "ENABLED":
        return _enabled(was, key, version, index)
    if state == "DISABLED" and was == "DESTROY_SCHEDULED":
        reason = "The destruction was cancelled; the version is still disabled and has to be enabled."
        return [_write(Effect.DELETION_CANCELLED, reason, key, version, index, partial=True)]
    if state == "DISABLED":
        reason = "The version is disabled now; for an external key Cloud EKM may have done that by itself."
        return _kept(key, version, _write(Effect.KEY_DISABLED, reason, key, version, index))
    if state == "DESTROY_SCHEDULED":
        end = f" after {deadline:%Y-%m-%d %H:%M:%S} UTC" if deadline else ""
        reason = f"The destruction of the version is scheduled: it cannot be used and will be gone for good{end}."
        signal = _write(
            Effect.KEY_DELETION_SCHEDULED, reason, key, version, index, deadline=deadline, probe=deadline is None
        )
        return _kept(key, version, signal)
    if state in GONE:
        reason = f"The version is destroyed ({state}): nobody can use it again."
        return _kept(key, version, _write(Effect.KEY_DESTROYED, reason, key, version, index))
    if state == "IMPORT_FAILED":
        reason = "The import of key material failed: nothing changed."
        return [_write(Effect.ATTEMPT_FAILED, reason, key, version, index)]
    if state == "GENERATION_FAILED":
        reason = "A new version could not be generated."
        return [_write(Effect.KEY_CHANGED, reason, key, version, index, probe=True)]
    return []


def _enabled(was: str | None, key: RegisteredKey, version: str, index: Index) -> list[Signal]:
    if was in IMPORTED_FROM:
        reason = "The key material is back and the version enabled."
        return [_write(Effect.KEY_MATERIAL_RESTORED, reason, key, version, index)]
    if was in (None, "PENDING_GENERATION", "GENERATION_FAILED"):
        reason = f"Version {version} is new; old data still decrypts with the old one."
        return [_write(Effect.ROTATED, reason, key, None, index)]
    reason = "The version was enabled; whether the vendor may use it only a probe can tell."
    return [_write(Effect.KEY_ENABLED, reason, key, version, index)]


def _primary(now: Mapping[str, object], before: Mapping[str, object], key: RegisteredKey, index: Index) -> list[Signal]:
    """Judge the primary version as a key's own resource shows it."""
    current, former = mapping(now.get("primary")), mapping(before.get("primary"))
    name, old = key_name(text(current.get("name"))), key_name(text(former.get("name")))
    if name is None or name.version is None:
        return []
    if old is None or old.version == name.version:
        return [] if not former and current.get("state") == "ENABLED" else _transition(
            current, former, key, name.version, index
        )  # fmt: skip
    if current.get("state") == "ENABLED":
        reason = f"Version {name.version} became primary; old data still decrypts with the old one."
        return [_write(Effect.ROTATED, reason, key, None, index)]
    lost = _transition(current, {}, key, name.version, index)
    if lost:
        return lost
    reason = f"Version {name.version} became primary, and it is not enabled: new data cannot be encrypted."
    return [_write(Effect.KEY_CHANGED, reason, key, None, index, probe=True)]


def _policy(
    asset: Mapping[str, object],
    prior: Mapping[str, object],
    key: RegisteredKey,
    level: str,
    index: Index,
    at: datetime | None,
) -> list[Signal]:
    """Apply the rule for whole policies to the policy now and before; the same verdict is no news."""
    policy, former = asset.get("iamPolicy"), prior.get("iamPolicy")
    if not isinstance(policy, dict):
        return []
    verdict = access.judge(policy, key, level, index, at)
    if verdict is None:
        if policy.get("bindings") == mapping(former).get("bindings"):
            return []
        reason = "A policy changed on a level where the register expects no grant: what it did cannot be told."
        verdict = access.Verdict(Effect.ACCESS_CHANGED, reason, probe=True)
    elif isinstance(former, dict):
        before = access.judge(former, key, level, index, at)
        if before and (before.effect, before.until) == (verdict.effect, verdict.until):
            return []
    return [
        written(
            verdict.effect,
            verdict.reason,
            key,
            version=None,
            fault=None if verdict.open_fault else _fault(key, index),
            deadline=verdict.until,
            deadline_source="request.time in the condition of the grant" if verdict.until else None,
            means=verdict.means,
            subject=verdict.subject,
            part=verdict.part,
            probe=verdict.probe,
        )
    ]


def _has_changed(asset: Mapping[str, object], prior: Mapping[str, object]) -> bool:
    def settings(of: Mapping[str, object]) -> dict[str, object]:
        data = mapping(mapping(of.get("resource")).get("data"))
        return {name: value for name, value in data.items() if name not in ("etag", "createTime")}

    return settings(asset) != settings(prior) or not settings(asset)


def _connection(key: RegisteredKey, index: Index, name: str) -> Signal:
    reason = "The connection to the external key manager changed; whether it still works only a probe can tell."
    return written(Effect.KEY_CHANGED, reason, key, version=None, fault=_fault(key, index), subject=name, probe=True)


def _write(
    effect: Effect,
    reason: str,
    key: RegisteredKey,
    version: str | None,
    index: Index,
    *,
    deadline: datetime | None = None,
    probe: bool = False,
    partial: bool = False,
) -> Signal:
    return written(
        effect,
        reason,
        key,
        version=version,
        fault=_fault(key, index),
        deadline=deadline,
        deadline_source="destroyTime in the asset feed" if deadline else None,
        probe=probe,
        partial=partial,
    )


def _fault(key: RegisteredKey, index: Index) -> Fault:
    """No actor is told: the customer's, unless the key is the vendor's own (gcp.md 3.0, step 7)."""
    return Fault.VENDOR if index.is_vendor_key(key) else Fault.CUSTOMER


def _kept(key: RegisteredKey, version: str | None, signal: Signal) -> list[Signal]:
    return [] if spared(signal, key, version) else [signal]
