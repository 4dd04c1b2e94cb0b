"""Assessment: what the conditions of one key mean for its instance - verdict, stage, clocks, holds, repair."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from watchdog import clocks, impact
from watchdog.health import LOSS_SLOTS, STATE_SLOTS, Condition, Health, Judgement, Slot, judge, said
from watchdog.impact import ImpactTable
from watchdog.notices import ConsumerImpact, Deadline
from watchdog.register import RegisteredKey
from watchdog.repair import Step
from watchdog.words import Cause, Effect, Fault, Means, Owner, Severity, Stage, Verdict

SOON = timedelta(hours=24)
"""The last day before something is irreversible is a stage of its own (alerting.md 2.2)."""

FRESH = timedelta(minutes=20)
"""How long a passing probe or a successful use counts as proof of health, of a key that is asked every five minutes."""

WATCH = "watch:"
"""Prefix of the subject that stands for a customer's feeds (`watch:acme`), or for the vendor's own (`watch:vendor`)."""

Steps = Callable[[Effect, RegisteredKey, Means | None, str | None, Cause | None], Sequence[Step]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One key at one moment. `stage` is None when no incident is due. `check_at` is when time alone changes it.

    `complete` is false for a key that has left the register: its stores, and so most of its clocks, are not known.
    """

    verdict: Verdict
    why: str
    stage: Stage | None
    severity: Severity
    fault: Fault
    judgement: Judgement
    consumers: tuple[ConsumerImpact, ...] = ()
    headline: Deadline | None = None
    second: Deadline | None = None
    next_impact: Deadline | None = None
    key_deadlines: tuple[tuple[Condition, Deadline], ...] = ()
    holds: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    split: str | None = None
    check_at: datetime | None = None
    complete: bool = True


def fresh_for(key: RegisteredKey | None) -> timedelta:
    """Return how long a proof of a key counts: `FRESH`, or four times the interval of one that is asked more rarely."""
    probe = key.entry.probe if key else None
    return max(FRESH, 4 * timedelta(seconds=probe.every_seconds)) if probe else FRESH


def assess(health: Health, key: RegisteredKey | None, table: ImpactTable, steps: Steps, *, now: datetime) -> Assessment:
    """Judge a key (None: the watch of a customer, or a key that has left the register) at `now`, aware UTC."""
    judgement = judge(health)
    if not judgement.conditions or health.subject.startswith(WATCH):
        return _without_clocks(health, key, judgement, now)
    losses = [
        condition
        for condition in judgement.conditions
        if condition.slot in LOSS_SLOTS or _has_ended(condition, judgement, now)
    ]
    if key is None:
        return _unregistered(judgement, losses, now)
    consumers = _consumers(losses or judgement.conditions, key, table)
    key_deadlines = _key_deadlines(judgement.conditions, key, table)
    headline, second = _headlines([deadline for _, deadline in key_deadlines], consumers, losses)
    if not losses:
        headline, second = _expiry(judgement.conditions), None
    verdict = _verdict(judgement.conditions, losses, consumers)
    stage = _stage(losses, headline, key_deadlines, now)
    return Assessment(
        verdict=verdict,
        why="; ".join(_reasons(judgement)),
        stage=stage,
        severity=_severity(stage, verdict, headline, now),
        fault=_fault(losses or judgement.conditions),
        judgement=judgement,
        consumers=consumers,
        headline=headline,
        second=second,
        next_impact=_next_impact(consumers, now),
        key_deadlines=key_deadlines,
        holds=impact.holds_for(table, (found.row for found in consumers)) if losses else (),
        steps=_repair(judgement.conditions, key, table, consumers, steps),
        split=_split(consumers),
        check_at=_check_at((headline, second), now),
    )


def _reasons(judgement: Judgement) -> list[str]:
    return list(dict.fromkeys(said(condition) for condition in judgement.conditions))


def _has_ended(condition: Condition, judgement: Judgement, now: datetime) -> bool:
    """Whether the key, or the right to use it, was due to end by now, and no check has shown since that it did not."""
    end = condition.latest.deadline
    if condition.slot is not Slot.EXPIRY or end is None or end > now:
        return False
    return judgement.proven_at is None or judgement.proven_at < end


def _unregistered(judgement: Judgement, losses: Sequence[Condition], now: datetime) -> Assessment:
    """Judge what is known without the register: what is wrong with the key itself, and the date that a record gave."""
    ending = [condition.latest for condition in losses if condition.slot in {Slot.DELETION, Slot.CONTAINER}]
    dated = [(mark.deadline, mark) for mark in ending if mark.deadline is not None]
    headline = None
    if dated:
        at, first = min(dated, key=lambda pair: pair[0])
        headline = Deadline(
            kind="data_irrecoverable", at=at, words="the key is destroyed and nothing encrypted under "
            "it can be read again", source=first.deadline_source or "the record", bound="at_least",
        )  # fmt: skip
    verdict = _verdict(judgement.conditions, losses, ())
    stage = _stage(losses, headline, (), now)
    return Assessment(
        verdict=verdict,
        why="; ".join(
            [*_reasons(judgement), "the key has left the register, so its stores and their deadlines are not known"]
        ),
        stage=stage,
        severity=_severity(stage, verdict, headline, now),
        fault=_fault(losses or judgement.conditions),
        judgement=judgement,
        headline=headline,
        check_at=_check_at([headline], now),
        complete=False,
    )


def _without_clocks(health: Health, key: RegisteredKey | None, judgement: Judgement, now: datetime) -> Assessment:
    if judgement.conditions:  # the watch itself: feeds, and failures that name no key
        first = judgement.conditions[0]
        return Assessment(
            verdict=Verdict.BLIND if first.slot is Slot.FEED else Verdict.UNREACHABLE,
            why="; ".join(_reasons(judgement)),
            stage=Stage.AT_RISK,
            # What has fallen silent and is asked by nobody either is watched by nothing at all.
            severity=Severity.CRITICAL if any(one.latest.unwatched for one in judgement.conditions) else Severity.ERROR,
            fault=_fault(judgement.conditions),
            judgement=judgement,
        )
    verdict, why = _without_conditions(health, key, judgement, now)
    return Assessment(
        verdict=verdict, why=why, stage=None, severity=Severity.INFO, fault=Fault.UNKNOWN, judgement=judgement
    )


def _without_conditions(
    health: Health, key: RegisteredKey | None, judgement: Judgement, now: datetime
) -> tuple[Verdict, str]:
    """Nothing is known to be wrong. That is `healthy` only with a fresh proof; silence is not health."""
    if judgement.last_change_at is not None and judgement.proven_at is None:
        return Verdict.RECOVERING, "events say that the key is back; the proof is outstanding"
    used = _last_use(health, key, judgement)
    checked = judgement.proven_at is not None and judgement.decided_by is None
    proofs = [*([used] if used else []), *([judgement.proven_at] if checked and judgement.proven_at else [])]
    if health.probe_passed is None and health.probed_at is not None and now - health.probed_at < fresh_for(key):
        return Verdict.UNREACHABLE, health.probe_words or "the last probe could not tell"
    if proofs and now - max(proofs) < fresh_for(key):
        return Verdict.HEALTHY, f"proven usable at {max(proofs):%Y-%m-%d %H:%M} UTC"
    if judgement.decided_by is not None:
        return Verdict.BLIND, f"nothing is known to be wrong, by decision of {judgement.decided_by}; no check proves it"
    last = f"; the last proof is of {max(proofs):%Y-%m-%d %H:%M} UTC" if proofs else ""
    return Verdict.BLIND, f"nothing is known to be wrong, and nothing proves the key usable now{last}"


def _last_use(health: Health, key: RegisteredKey | None, judgement: Judgement) -> datetime | None:
    """Return up to when uses show that every version in use works; one from before the last change shows nothing."""
    last: dict[str | None, datetime] = {}
    for mark in health.marks:
        since = judgement.last_change_at
        if mark.effect is Effect.USE_SUCCEEDED and (since is None or mark.at > since):
            last[mark.version] = mark.at
    wanted = key.versions if key else ()
    if len(wanted) < 2:
        return max(last.values(), default=None)
    return min(last[version] for version in wanted) if last.keys() >= set(wanted) else None


def loss_of(condition: Condition) -> tuple[Effect | None, Means | None]:
    """Return the loss (and means) that a condition is, in the words of the impact table; None when it is not known."""
    if condition.slot is Slot.EXPIRY:
        policy = condition.means is not None
        return (Effect.ACCESS_REVOKED, condition.means) if policy else (Effect.KEY_EXPIRED, None)
    if condition.slot is not Slot.USE:
        return (condition.effect, condition.means) if condition.slot in LOSS_SLOTS else (None, None)
    return {
        Cause.DISABLED: Effect.KEY_DISABLED,
        Cause.PENDING_DELETION: Effect.KEY_DELETION_SCHEDULED,
        Cause.PENDING_IMPORT: Effect.KEY_MATERIAL_REMOVED,
        Cause.UNAVAILABLE: Effect.KEY_STORE_DISCONNECTED,
        Cause.ACCESS_DENIED: Effect.ACCESS_REVOKED,
        Cause.PATH_BLOCKED: Effect.PATH_BLOCKED,
        Cause.DESTROYED: Effect.KEY_DESTROYED,
        Cause.EXPIRED: Effect.KEY_EXPIRED,
    }.get(condition.latest.cause or Cause.UNKNOWN), None


def _consumers(conditions: Iterable[Condition], key: RegisteredKey, table: ImpactTable) -> tuple[ConsumerImpact, ...]:
    """For each store the worst of what the open losses do to it; the register's order."""
    found: list[ConsumerImpact] = []
    for consumer in key.entry.consumers:
        candidates: list[tuple[tuple[int, datetime, datetime], ConsumerImpact]] = []
        for condition in conditions:
            loss, means = loss_of(condition)
            if loss is None:
                continue
            ahead = condition.slot is Slot.EXPIRY and condition.latest.deadline is not None
            since = condition.latest.deadline if ahead and condition.latest.deadline else condition.clock_from
            one = impact.consumer_impact(table, consumer, loss, means, since=since, cloud=key.cloud)
            candidates.append((impact.urgency(one, since), one))
        if candidates:
            found.append(min(candidates, key=lambda pair: pair[0])[1])
    return tuple(found)


def _key_deadlines(
    conditions: Iterable[Condition], key: RegisteredKey, table: ImpactTable
) -> tuple[tuple[Condition, Deadline], ...]:
    found: list[tuple[Condition, Deadline]] = []
    for condition in conditions:
        loss, means = loss_of(condition)
        if loss is None or condition.slot is Slot.EXPIRY:
            continue
        deadline = clocks.deadline(condition, key, table, loss, means)
        if deadline is not None:
            found.append((condition, deadline))
    return tuple(found)


def _headlines(
    key_deadlines: Sequence[Deadline], consumers: Sequence[ConsumerImpact], losses: Sequence[Condition]
) -> tuple[Deadline | None, Deadline | None]:
    """The first moment after which something cannot be had back, and the first one of another kind (impact.md 2.2)."""
    terminals = [found.terminal for found in consumers if found.terminal is not None]
    now_or_dated = [
        deadline for deadline in (*key_deadlines, *terminals) if deadline.at is not None or impact.is_now(deadline)
    ]
    if not now_or_dated or not losses:
        undated = [deadline for deadline in key_deadlines if deadline.at is None]
        return (undated[0] if undated and losses else None), None
    ordered = sorted(now_or_dated, key=lambda deadline: (deadline.at is not None, deadline.at, deadline.kind))
    headline = ordered[0]
    others = [deadline for deadline in (*ordered[1:], *key_deadlines) if deadline.kind != headline.kind]
    return headline, next(iter(others or ordered[1:]), None)


def _expiry(conditions: Iterable[Condition]) -> Deadline | None:
    dated = [
        condition.latest for condition in conditions if condition.slot is Slot.EXPIRY and condition.latest.deadline
    ]
    if not dated:
        return None
    first = min(dated, key=lambda mark: mark.deadline or mark.at)
    return Deadline(
        kind="expiry", at=first.deadline, words="the key, or the right to use it, ends",
        source=first.deadline_source or "the record",
    )  # fmt: skip


def _verdict(
    conditions: Sequence[Condition], losses: Sequence[Condition], consumers: Sequence[ConsumerImpact]
) -> Verdict:
    slots = {condition.slot for condition in conditions}
    if Slot.DESTROYED in slots:
        return Verdict.DESTROYED
    doomed = Slot.DELETION in slots or any(
        condition.slot is Slot.CONTAINER and not clocks.is_switch(condition) for condition in conditions
    )
    if doomed:
        return Verdict.DOOMED
    if losses:
        serving = bool(consumers) and all(found.latent or found.impact.words == "not affected" for found in consumers)
        return Verdict.LATENT_LOSS if serving else Verdict.UNUSABLE
    if Slot.QUESTION in slots:
        return Verdict.UNREACHABLE
    return Verdict.BLIND if Slot.FEED in slots else Verdict.AT_RISK


def _stage(
    losses: Sequence[Condition], headline: Deadline | None, key_deadlines: Sequence[tuple[Condition, Deadline]],
    now: datetime,
) -> Stage:  # fmt: skip
    slots = {condition.slot for condition in losses}
    if Slot.DESTROYED in slots:
        return Stage.LOST
    if not losses:
        return Stage.AT_RISK
    if headline is not None and headline.kind != "expiry":
        if headline.at is not None and headline.bound == "exact" and headline.at <= now:
            return Stage.LOST
        if impact.is_now(headline) or (headline.at is not None and headline.at - now <= SOON):
            return Stage.IRREVERSIBLE_SOON
    if Slot.DELETION in slots or any(found.slot is Slot.CONTAINER for found, _ in key_deadlines):
        return Stage.DELETION_SCHEDULED
    return Stage.IMPAIRED


def _severity(stage: Stage, verdict: Verdict, headline: Deadline | None, now: datetime) -> Severity:
    if stage in {Stage.LOST, Stage.IRREVERSIBLE_SOON, Stage.DELETION_SCHEDULED}:
        return Severity.CRITICAL
    if stage is Stage.IMPAIRED:
        return Severity.ERROR if verdict is Verdict.LATENT_LOSS else Severity.CRITICAL
    soon = headline is not None and headline.at is not None and headline.at - now <= SOON
    return Severity.ERROR if soon or verdict is Verdict.UNREACHABLE else Severity.WARNING


def _fault(conditions: Sequence[Condition]) -> Fault:
    """Whose side the conditions lie on: the customer's only when a record of the customer's side says so."""
    faults = {condition.fault for condition in conditions}
    for fault in (Fault.CUSTOMER, Fault.VENDOR, Fault.PROVIDER):
        if fault in faults:
            return fault
    return Fault.UNKNOWN


def _next_impact(consumers: Sequence[ConsumerImpact], now: datetime) -> Deadline | None:
    dated = [found.impact for found in consumers if found.impact.at is not None]
    ahead = [deadline for deadline in dated if deadline.at is not None and deadline.at >= now]
    pool = ahead or dated
    return min(pool, key=lambda deadline: deadline.at or now) if pool else None


def _check_at(deadlines: Iterable[Deadline | None], now: datetime) -> datetime | None:
    moments = [
        moment
        for deadline in deadlines
        if deadline is not None and deadline.at is not None
        for moment in (deadline.at - SOON, deadline.at)
        if moment > now
    ]
    return min(moments, default=None)


def _split(consumers: Sequence[ConsumerImpact]) -> str | None:
    """Say which half is lost when some stores stop and others go on (impact.md 5, split instances)."""
    running = [found.name for found in consumers if found.latent or found.impact.words == "not affected"]
    stopped = [found.name for found in consumers if found.impact.at is not None]
    if not running or not stopped:
        return None
    return f"{', '.join(stopped)} cannot be read; {', '.join(running)} goes on running for now"


def _repair(
    conditions: Sequence[Condition], key: RegisteredKey, table: ImpactTable, consumers: Sequence[ConsumerImpact],
    steps: Steps,
) -> tuple[Step, ...]:  # fmt: skip
    """Key, then access, then store, then proof; a step that several conditions ask for stands once (impact.md 7)."""
    found: list[Step] = []
    ordered = sorted(conditions, key=lambda condition: condition.slot not in STATE_SLOTS)
    for condition in ordered:
        loss, means = loss_of(condition)
        effect = _to_undo(condition) or loss or condition.effect
        subject = condition.version or condition.latest.subject
        exact = condition.latest.step
        plan = [exact] if exact else steps(effect, key, means or condition.means, subject, condition.latest.cause)
        for step in plan:
            if step not in found and not _is_asked_for(step, found):
                found.append(step)
    found += [step for step in _store_steps(table, consumers) if step not in found]
    return tuple(found)


def _to_undo(condition: Condition) -> Effect | None:
    """What a container that is there again only in part still needs is another plan than that of a lost one."""
    restored = Effect.CONTAINER_RESTORED
    return restored if condition.slot is Slot.CONTAINER and condition.latest.effect is restored else None


def _is_asked_for(step: Step, found: Sequence[Step]) -> bool:
    """Whether an earlier step has the same command: two losses of one key may be undone by one call."""
    return step.command is not None and any(step.command == other.command for other in found)


_NO_OWN_STEP = frozenset({"restore_key", "restore_access", "reimport_material", "probe_key", "probe_store"})


def _store_steps(table: ImpactTable, consumers: Sequence[ConsumerImpact]) -> list[Step]:
    found: list[Step] = []
    probe = Step(owner=Owner.WATCHDOG, text="Prove that the vendor can use the key: encrypt and decrypt with its role.")
    for consumer in consumers:
        row = table.row(consumer.row) if consumer.row else None
        for step in row.repair if row else ():
            if step.do in _NO_OWN_STEP:
                continue
            words = table.repair_steps[step.do]
            text = f"{consumer.name}: {words[0].upper()}{words[1:]}."
            command = _store_command(step.command, consumer.id)
            found.append(Step(owner=Owner(step.owner), text=text, command=command, note=step.note))
    prove = Step(
        owner=Owner.WATCHDOG,
        text="Prove it at every store: connect and query the database, read an old object and write a new one.",
    )
    return [probe, *found, *([prove] if consumers else [])]


_OF_GOOGLE = re.compile(r"(?:.*/)?projects/([^/]+)/instances/([^/]+)")


def _store_command(template: str | None, consumer: str) -> str | None:
    """Fill the table's command with the store's own name and place; None when its id does not tell all of them."""
    if template is None:
        return None
    names, words = _names_in(consumer), template.split(" ")
    if not all(_plain(names.get(word, "")) for word in words if word.isupper()):
        return None
    return " ".join(names[word] if word.isupper() else word for word in words)


def _names_in(consumer: str) -> dict[str, str]:
    """Read out of a store's id (an ARN, or a Google resource name) what the table's commands say in capitals."""
    parts, found = consumer.split(":"), _OF_GOOGLE.fullmatch(consumer)
    if found:
        return {"PROJECT": found[1], "INSTANCE": found[2]}
    if len(parts) < 7:
        return {}
    return {"DB": parts[-1], "CLUSTER": parts[-1], "REGION": parts[3]}


def _plain(text: str) -> bool:
    return bool(text) and all(char.isascii() and (char.isalnum() or char in "-_.") for char in text)
