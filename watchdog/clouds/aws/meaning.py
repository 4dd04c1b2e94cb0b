"""What one entry means: the order of decisions of aws.md 3.0, from the wrapper down to the table rows."""

from dataclasses import replace
from datetime import datetime

from watchdog.clouds.aws import kms, native, services, uses
from watchdog.clouds.aws.case import Case, named_in
from watchdog.clouds.aws.failures import DRY_RUN, USES, code_of
from watchdog.clouds.aws.feeds import feeds_named
from watchdog.clouds.aws.identity import actor_of, party_of
from watchdog.clouds.aws.index import Index, index_of
from watchdog.clouds.aws.record import Kind, Reading, Record, UnreadableError, read, sha256
from watchdog.clouds.aws.routes import route_of
from watchdog.clouds.aws.rules import KMS, Rule, reading
from watchdog.clouds.aws.trust import DistrustedError, Origin, is_others, may_carry, origin_of, witnessed
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import NOT_A_SIGNAL, QUIET, Effect

TABLE = reading(kms.RULES + services.RULES)
READS = frozenset(rule.operation for rule in kms.READ_ONLY)
LONGEST_REASON = 1000
READING_VERBS = ("Describe", "Get", "List")


def meaning(raw: bytes, register: Register, *, received_at: datetime | None = None) -> list[Signal]:
    """Tell what one entry means: one signal for each watched key concerned, else one that says why it is quiet.

    `received_at` stands in where neither record nor envelope has a time. Never raises for bad input.
    """
    index = index_of(register)
    try:
        entry = read(raw)
    except UnreadableError as fault:
        return [Signal(effect=Effect.UNREADABLE, reason=str(fault), occurred_at=received_at, event_id=sha256(raw))]
    at, route = entry.at or received_at, None
    try:
        found = _judged(entry, raw, index, at)
        route = route_of(entry, index)
    except DistrustedError as fault:
        found = [Signal(effect=Effect.UNTRUSTED, reason=f"Not believed: {fault}.")]
    return [_completed(signal, entry, at, route) for signal in found]


def _completed(signal: Signal, entry: Reading, at: datetime | None, route: str | None) -> Signal:
    """Add what every signal of an entry has in common."""
    record, probe, reason = entry.record, signal.probe, signal.reason
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]}..."  # names in it are outsiders' texts of any length
    if record and not record.known_version and signal.effect not in NOT_A_SIGNAL | {Effect.NO_EFFECT}:
        probe = True
    return replace(
        signal,
        probe=probe,
        reason=reason,
        occurred_at=at,
        event_id=entry.event_id,
        operation=_operation(entry),
        actor=actor_of(record) if record else None,
        route=route,
    )


def _operation(entry: Reading) -> str | None:
    if entry.record:
        return entry.record.name
    return entry.envelope.detail_type if entry.envelope else None


def _quiet(reason: str) -> list[Signal]:
    return [Signal(effect=Effect.NO_EFFECT, reason=reason)]


def _judged(entry: Reading, raw: bytes, index: Index, at: datetime | None) -> list[Signal]:
    judged = origin_of(entry, raw, index)
    if judged.origin is Origin.FORGED:
        raise DistrustedError(judged.why)
    if judged.origin is Origin.STRANGER:
        return _quiet(f"It is {judged.why}.")
    match entry.kind:
        case Kind.RECORD:
            return _record(_case(entry, index, at))
        case Kind.NATIVE:
            return _native(entry, index)
        case Kind.STATISTICS:
            return _quiet("CloudTrail statistics about calls change nothing.")
        case Kind.TOPIC_CONFIRMATION:
            return _quiet("A confirmation message of the topic; its link is not followed.")
        case Kind.NOTICE:
            return _quiet("A delivery notice has no effect of its own.")


def _case(entry: Reading, index: Index, at: datetime | None) -> Case:
    record, envelope = entry.record, entry.envelope
    if record is None:
        raise TypeError("only a record makes a case")
    recorder = envelope.account if envelope else record.recipient
    return Case(
        record=record,
        index=index,
        party=party_of(record, index, recorder),
        recorder=recorder,
        at=at,
        named=named_in(record, index, recorder),
    )


def _native(entry: Reading, index: Index) -> list[Signal]:
    envelope = entry.envelope
    found = native.signals(envelope, index) if envelope else []
    if envelope:
        _hear(found, index, envelope.account)
    return found or _quiet("A native event that concerns nothing registered.")


# -------------------------------------------------------------------------------------------------------------- records


def _record(case: Case) -> list[Signal]:
    """Take the decisions 3 to 8 in their order."""
    record = case.record
    if record.is_network_twin:
        found = uses.refused_by_endpoint(case) if record.error else []
        return found or _quiet("The network's view of a call that has a record of its own.")
    if record.error and code_of(record.error) == DRY_RUN:
        return _quiet("A dry run: it proves a permission and changes nothing.")
    if record.source == KMS and record.name in USES:
        return _heard(case, uses.use(case), "A use that says nothing about the vendor's access to a watched key.")
    if record.error is not None:
        return _refused(case)
    return _done(case)


def _refused(case: Case) -> list[Signal]:
    record = case.record
    if record.source != KMS:
        found = uses.by_other_service(case)
        if found:
            return _heard(case, found, "")
    elif not is_reading(record):
        reason = f"{record.name} was refused ({record.error}): nothing changed."
        found = [Signal(effect=Effect.ATTEMPT_FAILED, reason=reason, key=key.id) for key in case.keys]
        return found or _quiet("A refused call that names no watched key.")
    if (record.source, record.name) in FEED_OPERATIONS:
        found = [
            Signal(
                effect=Effect.ATTEMPT_FAILED,
                reason=f"{record.name} on a resource of the watch was refused ({record.error}): nothing changed.",
                customer=feed.customer,
                subject=feed.arn,
            )
            for feed in feeds_named(case)
        ]
        if found:
            return found
    return _quiet("A call that failed and concerns nothing registered.")


def _done(case: Case) -> list[Signal]:
    record = case.record
    rule = TABLE.get((record.source, record.name))
    if rule is None and record.source == KMS and not is_reading(record):
        rule = kms.ANY_OTHER_WRITE
    if rule is None or rule in kms.READ_ONLY:
        return _quiet("Nothing that can concern a registered key.")
    found = rule.meaning(case) if rule.meaning else []
    _witness(rule, case, found)
    if found:
        return found
    return _quiet(f"Known to change nothing for a watched key: {rule.note}." if case.keys else _unconcerned(case))


def _unconcerned(case: Case) -> str:
    return f"{case.record.name} concerns no registered key, store, account, role or feed."


def _witness(rule: Rule, case: Case, found: list[Signal]) -> None:
    """Raise DistrustedError when an account tells of a change that it cannot know; one such key taints the record."""
    named = case.keys if rule.service == KMS else ()
    keys = [*named, *(case.index.keys[signal.key] for signal in found if signal.key)]
    for key in keys:
        if not witnessed(rule.witness, case, key):
            raise DistrustedError(f"account {case.recorder} recorded it, only {rule.witness.value} can, for {key.id}")
    for signal in found:
        if signal.effect is Effect.FEED_TAMPERED and not may_carry(case, signal.customer):
            raise DistrustedError(f"account {case.recorder} does not own {signal.subject}")


def _heard(case: Case, found: list[Signal], quiet: str) -> list[Signal]:
    _hear(found, case.index, case.recorder)
    return found or _quiet(quiet)


def _hear(found: list[Signal], index: Index, recorder: str | None) -> None:
    for signal in found:
        if signal.key and signal.effect not in QUIET and is_others(recorder, index.keys[signal.key], index):
            raise DistrustedError(f"account {recorder} belongs to another customer than {signal.key}")


def is_reading(record: Record) -> bool:
    """Whether a KMS call only reads: a row that watches it knows, then `readOnly` does, then the name."""
    rule = TABLE.get((record.source, record.name))
    if rule and (rule.meaning or rule.operation in READS):
        return rule.meaning is None
    if record.read_only is not None:
        return record.read_only
    return rule is None and record.name.startswith(READING_VERBS)


FEED_OPERATIONS = frozenset(
    (rule.service, rule.operation)
    for rule in services.RULES
    if rule.effect == "feed_tampered" or rule.operation == "StartLogging"
)
