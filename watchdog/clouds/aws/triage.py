"""Triage: which records no register, or not this register, could care about; cheap, and never wiser than the rules."""

import re
from collections.abc import Collection

from msgspec import Raw, Struct

from watchdog.clouds.aws import kms, native, services
from watchdog.clouds.aws.failures import ENCRYPTION, READING, USES
from watchdog.clouds.aws.index import Index
from watchdog.clouds.aws.record import NOTHING, Envelope, Record
from watchdog.clouds.aws.rules import KMS
from watchdog.clouds.aws.uses import VPCE_DENIED, may_quote

IN_RESOURCES = re.compile(rb':(?:key|alias)/([^"\\]+)"')  # only where nothing is escaped
IN_MESSAGE = re.compile(rb":(?:key|alias)/([0-9A-Za-z/_-]+)")

READS = frozenset(rule.operation for rule in kms.READ_ONLY)
HARMLESS = frozenset(rule.operation for rule in kms.HARMLESS)
NEVER = READS | READING  # as successes
# Operations that come by the thousand: kept only for keys that are registered, when the register is at hand.
FREQUENT = ENCRYPTION | HARMLESS | {"CreateGrant", "RetireGrant", "RevokeGrant"}
ELSEWHERE: dict[str, set[str]] = {}
for _rule in services.RULES:
    ELSEWHERE.setdefault(_rule.service, set()).add(_rule.operation)

# Records of these sources need a second look; everything else without an error is dropped at once. None and `aws:...`
# are not CloudTrail records but something that wraps or announces them.
WRAPPED: frozenset[str | None] = frozenset({None, "", "aws:s3", "aws:sqs"})
LOOK_AT: frozenset[str | None] = frozenset({KMS, *WRAPPED, *ELSEWHERE})


class Narrow(Struct, gc=False, rename="camel"):
    """The few fields that triage reads of each record; texts as bytes where only a key id is looked for in them."""

    event_source: str | None = None
    event_name: str | None = None
    error_code: str | None = None
    error_message: Raw = NOTHING
    resources: Raw = NOTHING


def may_matter(row: Narrow, tokens: Collection[bytes] | None, known: dict[bytes, bool]) -> bool:
    """Whether a record may concern a register. `tokens` are the registered ids; None when no register is at hand.

    `known` remembers for one delivery which resources are ours: the same few keys are used again and again.
    """
    source, name, error = row.event_source, row.event_name, row.error_code
    if source == KMS:
        if error:
            return _failure_matters(name, error, row, tokens)
        if name in FREQUENT:
            if tokens is None:
                return name not in HARMLESS
            resources = bytes(row.resources)
            ours = known.get(resources)
            if ours is None:
                ours = known[resources] = _is_ours(IN_RESOURCES.findall(resources), tokens)
            return ours
        return name not in NEVER
    if name in ELSEWHERE.get(source or "", ()):
        return True
    return bool(error) and may_quote(error or "", bytes(row.error_message))


def record_may_matter(record: Record, index: Index | None) -> bool:
    """The same for a record that is decoded already."""
    row = Narrow(
        event_source=record.source,
        event_name=record.name,
        error_code=record.error,
        error_message=Raw(record.message.encode()),
        resources=Raw("".join(f'"{arn}"' for arn in record.resources).encode()),
    )
    return may_matter(row, index.tokens if index else None, {})


def why_dropped(source: str, name: str) -> str:
    """Say why a record was dropped."""
    if source != KMS:
        return "not an operation that can take a key away"
    if name in READS or name in READING:
        return "reads only"
    return "harmless" if name in HARMLESS else "about keys that are not registered"


def native_may_matter(envelope: Envelope, index: Index | None) -> bool:
    """Whether a native event may concern a register."""
    return native.may_matter(envelope, index)


def _failure_matters(name: str | None, error: str, row: Narrow, tokens: Collection[bytes] | None) -> bool:
    if error == VPCE_DENIED:
        return True
    if name in READS:
        return False
    if tokens is None or name not in USES:
        return True
    return _is_ours(IN_MESSAGE.findall(row.error_message) + IN_RESOURCES.findall(row.resources), tokens)


def _is_ours(found: list[bytes], tokens: Collection[bytes]) -> bool:
    """Whether one of the ids is registered, or none is there that could be looked up."""
    for token in found:  # `any` with a generator costs twice the time, for each use of each key
        if token.lower() in tokens:
            return True
    return not found
