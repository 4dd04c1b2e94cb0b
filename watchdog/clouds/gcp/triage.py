"""Triage: which messages no register, or not this register, could care about; never wiser than the rules."""

from watchdog.clouds.gcp import kms, platformlog, services, uses
from watchdog.clouds.gcp.case import target_of
from watchdog.clouds.gcp.fields import mapping, text
from watchdog.clouds.gcp.index import Index
from watchdog.clouds.gcp.meaning import IMITATED
from watchdog.clouds.gcp.names import HEARTBEAT_LOG
from watchdog.clouds.gcp.record import Kind, Reading, Record, record_of
from watchdog.clouds.gcp.routes import heartbeat_of
from watchdog.clouds.gcp.rules import KMS

WATCHED = frozenset(
    (rule.service, rule.operation.lower()) for rule in (*kms.RULES, *services.RULES) if rule.meaning is not None
)


def why_dispensable(found: Reading, index: Index | None) -> str | None:
    """Say why a message cannot matter; None when it may. `index` is None when no register is at hand."""
    if HEARTBEAT_LOG.fullmatch(text(found.content.get("logName")) or "") and (not index or heartbeat_of(found, index)):
        return None
    match found.kind:
        case Kind.ASSET | Kind.GREETING:
            return None
        case Kind.AUDIT:
            record = record_of(found.content, mapping(found.content["protoPayload"]))
            return _record(record, index)
        case Kind.JSON_LOG:
            payload = mapping(found.content.get("jsonPayload"))
            claims = platformlog.event_in(payload) or any(name in payload for name in IMITATED)
            return None if claims else "a log entry that is no audit record"
        case Kind.EXPORT:
            return "a line of an asset export: inventory, not a change"
        case _:
            return "a log entry that is no audit record"


def _record(record: Record, index: Index | None) -> str | None:
    if record.service == KMS:
        if index and record.operation in uses.USES and not record.metadata and target_of(record, index) is None:
            return "a use of a key that is not registered"
        # A read of a watched key in a log where it cannot be is a forgery: without a register that cannot be told.
        if kms.is_reading(record.operation) and record.operation not in uses.USES:
            return "reads only" if index is None or target_of(record, index) is None else None
        return None
    if (record.service, record.operation) in WATCHED:
        return None
    return "not an operation that can take a key away"
