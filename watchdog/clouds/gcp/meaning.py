"""What one message means: the order of decisions of gcp.md 3.0, from the wrapper down to the table rows."""

from dataclasses import replace
from datetime import datetime

from watchdog.clouds.gcp import assets, kms, platformlog, services, uses
from watchdog.clouds.gcp.case import Case, Target, labelled, target_of, written
from watchdog.clouds.gcp.fields import mapping, text
from watchdog.clouds.gcp.identity import actor_of, is_vendors
from watchdog.clouds.gcp.index import OURS, Index, index_of
from watchdog.clouds.gcp.names import FEED_IN_TEXT, project_of
from watchdog.clouds.gcp.record import Kind, Reading, Record, UnreadableError, read, record_of, sha256
from watchdog.clouds.gcp.routes import heartbeat_of, route_of
from watchdog.clouds.gcp.rules import KMS, Rule, Seen, Witness, reading
from watchdog.clouds.gcp.trust import (
    DistrustedError,
    audit_container,
    check_log,
    check_subscription,
    platform_container,
)
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import NOT_A_SIGNAL, RECOVERY, Effect

TABLE = reading(kms.RULES + services.RULES)
USE = Rule(
    service=KMS,
    operation="(uses)",
    effect="use_succeeded or use_failed",
    note="by a registered principal of that very key",
    source=kms.AUDIT,
    seen=Seen.USES,
    meaning=uses.use,
    refused=uses.use,
    witness=Witness.KEY_PROJECT,
)
BLOCKED = Rule(
    service=KMS,
    operation="(denied by a perimeter)",
    effect="use_failed",
    note="by a registered principal of that very key; never a dry run",
    source=services.DOCS + services.VPC_PAGE,
    seen=Seen.USES,
    meaning=uses.blocked,
    refused=uses.blocked,
    witness=Witness.CALLER,
)
LONGEST_REASON = 1000
IMITATED = ("methodName", "serviceName", "authenticationInfo")


def meaning(raw: bytes, register: Register, *, received_at: datetime | None = None) -> list[Signal]:
    """Tell what one message means: one signal for each watched key concerned, else one that says why it is quiet.

    `received_at` stands in where neither record nor envelope has a time. Never raises for bad input.
    """
    index = index_of(register)
    try:
        found = read(raw)
    except UnreadableError as fault:
        return [_unreadable(str(fault), received_at, sha256(raw))]
    at = found.at or received_at
    if found.kind is Kind.GREETING and not _is_our_greeting(found.greeting, index):
        return [_unreadable("it is a plain text that names no registered asset feed", at, found.event_id)]
    record, route = _record(found), None
    try:
        signals = _judged(found, record, index, at)
        route = route_of(found, index)
    except DistrustedError as fault:
        signals = [Signal(effect=Effect.UNTRUSTED, reason=f"Not believed: {fault}.")]
    return _completed(signals, found, record, at, route)


def _unreadable(why: str, at: datetime | None, event_id: str) -> Signal:
    return Signal(effect=Effect.UNREADABLE, reason=why, occurred_at=at, event_id=event_id)


def _completed(
    signals: list[Signal], found: Reading, record: Record | None, at: datetime | None, route: str | None
) -> list[Signal]:
    actor = actor_of(record) if record else None
    operation = record.method if record else _operation(found)
    long_operation = record.long_operation if record else None
    return [
        replace(
            signal,
            reason=_shortened(signal.reason),
            occurred_at=at,
            actor=actor,
            operation=operation or None,
            long_operation=long_operation,
            event_id=found.event_id,
            route=None if signal.effect in NOT_A_SIGNAL else route,
        )
        for signal in signals
    ]


def _shortened(reason: str) -> str:
    """Shorten a reason: names in it are outsiders' texts of any length."""
    return f"{reason[:LONGEST_REASON]}... ." if len(reason) > LONGEST_REASON else reason


def _operation(found: Reading) -> str:
    match found.kind:
        case Kind.ASSET:
            asset = mapping(found.content.get("asset")) or mapping(found.content.get("priorAsset"))
            return f"asset change: {text(asset.get('assetType')) or 'unknown'}"
        case Kind.JSON_LOG:
            return platformlog.event_in(mapping(found.content.get("jsonPayload"))) or "log entry"
        case Kind.EXPORT:
            return "asset export"
        case Kind.GREETING:
            return "asset feed greeting"
        case _:
            return "log entry"


def _record(found: Reading) -> Record | None:
    """Return the audit record; an imitation in jsonPayload is read the same way, and never believed."""
    if found.kind is Kind.AUDIT:
        return record_of(found.content, mapping(found.content["protoPayload"]))
    payload = mapping(found.content.get("jsonPayload"))
    return record_of(found.content, payload) if any(name in payload for name in IMITATED) else None


def _quiet(reason: str) -> list[Signal]:
    return [Signal(effect=Effect.NO_EFFECT, reason=reason)]


def _is_our_greeting(told: str, index: Index) -> bool:
    return any(index.normal(found[0]) in index.asset_feeds for found in FEED_IN_TEXT.finditer(told))


def _judged(found: Reading, record: Record | None, index: Index, at: datetime | None) -> list[Signal]:
    match found.kind:
        case Kind.AUDIT | Kind.JSON_LOG if record:
            genuine = found.kind is Kind.AUDIT
            return _audit(_case(record, index, at, genuine=genuine), found)
        case Kind.JSON_LOG | Kind.OTHER_LOG if heartbeat_of(found, index):
            return _quiet("The heartbeat of a registered project.")
        case Kind.JSON_LOG:
            return _platform(found, index)
        case Kind.ASSET:
            signals = assets.signals(found, index, at)
            return signals or _quiet("A change of an asset that takes nothing from a registered key.")
        case Kind.EXPORT:
            return _quiet("A line of an asset export: inventory, not a change.")
        case Kind.GREETING:
            return _quiet("The greeting of a registered asset feed.")
        case _:
            return _quiet("A log entry that is no audit record.")


def _case(record: Record, index: Index, at: datetime | None, *, genuine: bool) -> Case:
    return Case(
        record=record,
        index=index,
        container=audit_container(record.log, index) if genuine else None,
        at=at,
        by_vendor=is_vendors(record, index),
        target=target_of(record, index) if record.service == KMS else None,
    )


# -------------------------------------------------------------------------------------------------------- audit records


def rule_of(record: Record, *, is_blocked: bool = False) -> Rule | None:
    """Return the row that a record falls under; None when nothing is known to concern keys."""
    if is_blocked:
        return BLOCKED
    if record.service == KMS and record.operation in uses.USES:
        return USE
    rule = TABLE.get((record.service, record.operation))
    if rule is None and record.service == KMS and record.operation and not kms.is_reading(record.operation):
        return kms.ANY_OTHER_WRITE
    return rule


def _audit(case: Case, found: Reading) -> list[Signal]:
    record = case.record
    if not record.operation and case.target:
        return [Signal(effect=Effect.UNREADABLE, reason="an audit record of a registered key without a method")]
    rule = rule_of(record, is_blocked=uses.is_blocked(case))
    signals = _effects(case, rule)
    if not record.settles:
        signals = [signal for signal in signals if signal.effect not in RECOVERY]
    _believe(case, rule, signals, found.subscription)
    if signals:
        return signals
    if rule is None or rule.meaning is None:
        return _quiet(
            f"Known to change nothing for a watched key: {rule.note}." if rule else "Nothing that concerns keys."
        )
    return _quiet(f"{record.method} that takes nothing from a registered key, place, account or feed.")


def _effects(case: Case, rule: Rule | None) -> list[Signal]:
    record = case.record
    if not record.failed:
        return rule.meaning(case) if rule and rule.meaning else []
    if rule and rule.refused:
        return rule.refused(case)
    return _refused(case, rule)


def _refused(case: Case, rule: Rule | None) -> list[Signal]:
    """A change that was refused on a watched thing: nothing happened (gcp.md 3.0, step 4)."""
    record = case.record
    reason = f"{record.method} was refused (code {record.code}): nothing changed."
    if case.target and not kms.is_reading(record.operation):
        version = None if record.operation in kms.OF_KEY else case.target.version
        return [written(Effect.ATTEMPT_FAILED, reason, case.target.key, version=version, fault=None)]
    would = rule.meaning(case) if rule and rule.meaning else []
    keyed = {signal.key: signal for signal in would if signal.key}
    if keyed:
        return [
            Signal(effect=Effect.ATTEMPT_FAILED, reason=reason, key=key, subject=one.subject)
            for key, one in keyed.items()
        ]
    return [
        Signal(effect=Effect.ATTEMPT_FAILED, reason=reason, customer=one.customer, subject=one.subject) for one in would
    ]


def _believe(case: Case, rule: Rule | None, signals: list[Signal], subscription: str | None) -> None:
    """Check what a record claims about watched keys against its log and subscription. Raises DistrustedError."""
    index = case.index
    witness = rule.witness if rule and rule.meaning else Witness.KEY_PROJECT
    owners = index.owners.get(case.container or "", set())
    keys = {case.target.key.id: case.target.key} if case.target else {}
    for signal in signals:
        key = index.keys.get(signal.key or "")
        if key:
            keys[key.id] = key
        elif not owners & {signal.customer or OURS, OURS}:
            raise DistrustedError(
                f"it lies in a log of {case.container or 'no known place'}, which cannot tell of a feed"
            )
    for key in keys.values():
        check_log(case.container, witness, key, index)
    if keys or signals:
        check_subscription(subscription, owners, index)


# --------------------------------------------------------------------------------------------------------- platform log


def _platform(found: Reading, index: Index) -> list[Signal]:
    payload = mapping(found.content.get("jsonPayload"))
    name = labelled(mapping(found.content.get("resource")).get("labels"))
    key = index.keys.get(index.normal(name.key)) if name else None
    if name is None or key is None or platformlog.event_in(payload) is None:
        return _quiet("A log entry that is no audit record.")
    container = platform_container(text(found.content.get("logName")), index)
    if container != f"projects/{project_of(key.id)}":
        raise DistrustedError("it imitates the platform log of Cloud KMS in another log")
    check_subscription(found.subscription, index.owners.get(container, set()), index)
    signals = platformlog.signals(payload, Target(key, name.version), index)
    return signals or _quiet("An event of a version that is not in use.")
