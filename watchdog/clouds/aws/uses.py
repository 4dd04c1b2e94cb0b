"""Uses of a key: what a success proves, and what a failure means for whom (aws.md 4)."""

import re

from watchdog.clouds.aws.arns import in_text
from watchdog.clouds.aws.case import Case, Named, named
from watchdog.clouds.aws.failures import ANYTHING_ELSE, ENCRYPTION, Failure, code_of, failure, told_in
from watchdog.clouds.aws.fields import text
from watchdog.clouds.aws.rules import EC2, KMS
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect

KEY_REVOKED = "CustomerKeyHasBeenRevoked"
VPCE_DENIED = "VpceAccessDenied"
VOLUME = re.compile(r"\bvol-[0-9a-f]{8,17}\b")


def use(case: Case) -> list[Signal]:
    """Tell what a use or a reading call of KMS means; none when it says nothing about the vendor's access."""
    record = case.record
    if record.error is not None:
        return _failed(case, _failing_keys(case))
    if record.name not in ENCRYPTION or not case.party.is_vendor:
        return []
    reason = f"The vendor used the key with success ({record.name})."
    return [Signal(effect=Effect.USE_SUCCEEDED, reason=reason, key=key.id) for key in case.keys]


def refused_by_endpoint(case: Case) -> list[Signal]:
    """Tell what a refusal by a VPC endpoint means: a blocked way when endpoint and caller are the vendor's."""
    record = case.record
    ours = (record.endpoint_account or case.recorder) in case.index.vendor_accounts
    if record.source != KMS or record.error != VPCE_DENIED or not ours or case.party.principal is None:
        return []
    return _failed(case, case.named)


def by_other_service(case: Case) -> list[Signal]:
    """Tell what another service's failure means, when it could not use a watched key."""
    record = case.record
    if record.source == EC2 and code_of(record.error or "") == KEY_REVOKED:
        return _volume(case)
    found = named(in_text(record.message), case.index)
    told = told_in(record.message)
    if told is ANYTHING_ELSE:
        told = failure(record.error or "", record.message, in_store=False)
    if not told.of_key and not case.party.is_vendor:
        return []
    reason = f"{record.source.partition('.')[0]} could not use the key ({record.name}): {told.why}."
    return [_signal(told, reason, key) for key in found.keys]


def may_quote(error: str, message: bytes) -> bool:
    """Whether another service's failure may be about a KMS key."""
    return code_of(error) == KEY_REVOKED or error.startswith("KMS.") or b":kms:" in message


def _failing_keys(case: Case) -> Named:
    """Return the keys that failed: an ARN in the message outranks the resources, of which ReEncrypt lists two."""
    said = named(in_text(case.record.message), case.index)
    return said if said.any_key else case.named


def _failed(case: Case, found: Named) -> list[Signal]:
    record = case.record
    store = any(key.entry.aws.custom_key_store_id for key in found.keys) or "customKeyStoreId" in record.extra
    told = failure(record.error or "", record.message, in_store=store)
    if not told.of_key and not case.party.is_vendor:
        return []
    whose = "The vendor" if case.party.is_vendor else "A caller"
    reason = f"{whose} could not use the key ({record.name}, {record.error}): {told.why}."
    if found.keys:
        return [_signal(told, reason, key) for key in found.keys]
    return [] if found.any_key or not case.party.is_vendor else [_signal(told, reason, None)]


def _volume(case: Case) -> list[Signal]:
    """EC2 names the volume only, and says the same when the attacher lacks kms:CreateGrant."""
    request = case.record.request
    volumes = {text(request.get("volumeId")) or "", *VOLUME.findall(case.record.message)}
    arns = [f":ec2:{case.region}:{case.recorder}:volume/{volume}" for volume in sorted(volumes) if volume]
    keys = {
        key.id: key
        for partition in ("aws", "aws-us-gov", "aws-cn")
        for arn in arns
        for key in case.index.by_consumer.get(f"arn:{partition}{arn}", ())
    }
    reason = "EC2 could not attach a registered volume: its key was out of reach, or the attacher may not make a grant."
    return [_signal(ANYTHING_ELSE, reason, key) for key in keys.values()]


def _signal(told: Failure, reason: str, key: RegisteredKey | None) -> Signal:
    return Signal(
        effect=Effect.USE_FAILED,
        reason=reason,
        key=key.id if key else None,
        cause=told.cause,
        fault=told.fault,
        probe=told.probe,
    )
