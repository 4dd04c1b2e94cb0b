"""The outline: the facts of a notice as plain JSON, for machines. Its shape is a promise to those who read it.

Of an incident (every time is RFC 3339, UTC; a field without a value is null; lists keep the order of the facts):

    kind, stage, previous_stage, severity, fault, drill    closed words (watchdog/words.py, watchdog/notices.py)
    incident, turn, reason, at, opened_at                   reason: why this notice exists, by name
    vendor, customer{id,name}, instance{id,name}, cloud
    headline, second, next_impact                           a deadline, or null
    holds[]                                                 what must not be done meanwhile, in words
    split                                                   which half is lost, in words, or null
    resolved_by                                             who decided, or null (then a check proved it)
    told[]                                                  who has been told so far, in words
    keys[]{id,name,owner,account,region,verdict,exception,terms_version,
           claimed, verified{at,passed,words},              what events claim and what we verified: never one field
           happenings[]{effect,since,fault,reason,version,operation,actor,event_id,cause,means,deadline},
           stores[]{id,name,store,state,what,latent,until[],still_works[],inferred[],impact,terminal},
           steps[]{owner,text,command,note}}                command is null when there is none, "" when withheld
    shortened                                               what was left out for size, in words, or null

A deadline is {kind, at, latest, bound, words, source, store}; `at` is null where the provider documents no date, and
then `words` says what is known. Of an operator's notice: kind, severity, subject, what, where, next, at, vendor.

Should making the outline fail, it is {incident, text, flaw} instead: the facts in words, and what failed.

Addresses of people and of machines are never in it: they stay in the sealed evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from alerts import views
from alerts.text import clean
from watchdog.notices import ConsumerImpact, Deadline, Facts, Happening, KeyFacts, Notice, OperatorFacts, Verified
from watchdog.repair import Step

T = TypeVar("T")
Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of an outline may be shown. Deadlines and commands are never cut, whatever the budget."""

    keys: int = 10_000
    stores: int = 10_000
    steps: int = 10_000
    text: int = 10_000


BUDGETS = (Budget(), Budget(50, 50, 50, 400), Budget(10, 20, 20, 300), Budget(3, 10, 10, 200), Budget(1, 5, 6, 120))
"""From everything to the least that still says what to do; the first that fits is taken."""


def fitting(made: Callable[[Budget], bytes], limit: int) -> bytes:
    """Return what `made` makes with the largest budget that stays within `limit` bytes, or with the smallest."""
    body = b""
    for budget in BUDGETS:
        body = made(budget)
        if len(body) <= limit:
            break
    return body


def outline(notice: Notice, budget: Budget = BUDGETS[0]) -> Plain:
    """Return the facts of a (cleaned) notice as plain JSON values."""
    facts = notice.facts
    if isinstance(facts, OperatorFacts):
        return {
            "kind": notice.kind.value,
            "severity": facts.severity.value,
            "subject": _cut(facts.subject, budget),
            "what": _cut(facts.what, budget),
            "where": _cut(facts.where, budget),
            "next": _cut(facts.next, budget),
            "at": moment(facts.at),
            "vendor": facts.vendor,
        }
    return {
        "kind": notice.kind.value,
        "stage": facts.stage.value,
        "previous_stage": facts.previous_stage.value if facts.previous_stage else None,
        "severity": notice.severity.value,
        "fault": facts.fault.value,
        "drill": facts.drill,
        "incident": facts.incident,
        "turn": facts.turn,
        "reason": facts.why,
        "at": moment(facts.at),
        "opened_at": moment(facts.opened_at),
        "vendor": _cut(facts.vendor, budget),
        "customer": {"id": facts.customer, "name": _cut(facts.customer_name, budget)},
        "instance": {"id": facts.instance, "name": _cut(facts.instance_name, budget)},
        "cloud": facts.cloud,
        "headline": _deadline(facts.headline, budget),
        "second": _deadline(facts.second, budget),
        "next_impact": _deadline(facts.next_impact, budget),
        "holds": [_cut(hold, budget) for hold in facts.holds],
        "split": _cut(facts.split, budget) if facts.split else None,
        "resolved_by": facts.resolved_by,
        "told": [_cut(line, budget) for line in facts.told],
        "keys": [_key(key, facts, budget) for key in facts.keys[: budget.keys]],
        "shortened": shortened(facts, budget),
    }


def shortened(facts: Facts, budget: Budget) -> str | None:
    """Say what a budget leaves out of these facts; None when nothing is left out."""
    if budget == BUDGETS[0]:
        return None
    stores = sum(len(key.consumers) for key in facts.keys)
    steps = sum(len(key.steps) for key in facts.keys)
    shown = facts.keys[: budget.keys]
    parts = [
        ("keys", len(shown), len(facts.keys)),
        ("stores", sum(min(len(key.consumers), budget.stores) for key in shown), stores),
        ("steps", sum(min(len(key.steps), budget.steps) for key in shown), steps),
    ]
    counts = [f"{kept} of {whole} {name}" for name, kept, whole in parts if kept < whole]
    counts.append(f"texts cut at {budget.text} characters")
    return f"shortened, shown are {', '.join(counts)}; the rest stands on the status page and in the evidence"


def _key(key: KeyFacts, facts: Facts, budget: Budget) -> Plain:
    return {
        "id": key.id,
        "name": _cut(key.name, budget),
        "owner": key.owner.value,
        "account": key.account,
        "region": key.region,
        "verdict": key.verdict.value,
        "exception": key.exception,
        "terms_version": key.terms_version,
        "claimed": _cut(key.claimed, budget),
        "verified": _verified(key.verified, budget),
        "happenings": [_happening(one, budget) for one in key.happenings],
        "stores": [_store(one, facts.at, budget) for one in key.consumers[: budget.stores]],
        "steps": [_step(one, budget) for one in key.steps[: budget.steps]],
    }


def _verified(verified: Verified | None, budget: Budget) -> Plain | None:
    if verified is None:
        return None
    return {"at": moment(verified.at), "passed": verified.passed, "words": _cut(verified.words, budget)}


def _happening(one: Happening, budget: Budget) -> Plain:
    return {
        "effect": one.effect.value,
        "since": moment(one.since),
        "fault": one.fault.value,
        "reason": _cut(one.reason, budget),
        "version": one.version,
        "operation": _maybe(one.operation, budget),
        "actor": _maybe(one.actor, budget),
        "event_id": _maybe(one.event_id, budget),
        "cause": one.cause.value if one.cause else None,
        "means": one.means.value if one.means else None,
        "deadline": _deadline(one.deadline, budget),
    }


def _store(one: ConsumerImpact, now: datetime, budget: Budget) -> Plain:
    return {
        "id": one.id,
        "name": _cut(one.name, budget),
        "store": one.store,
        "state": views.state(one, now),
        "what": _cut(one.what, budget),
        "latent": one.latent,
        "until": list(one.until),
        "still_works": [_cut(text, budget) for text in one.still_works],
        "inferred": [_cut(text, budget) for text in one.inferred],
        "impact": _deadline(one.impact, budget),
        "terminal": _deadline(one.terminal, budget),
    }


def _step(step: Step, budget: Budget) -> Plain:
    return {
        "owner": step.owner.value,
        "text": _cut(step.text, budget),
        "command": step.command,
        "note": _maybe(step.note, budget),
    }


def _deadline(deadline: Deadline | None, budget: Budget) -> Plain | None:
    if deadline is None:
        return None
    return {
        "kind": deadline.kind,
        "at": moment(deadline.at) if deadline.at else None,
        "latest": moment(deadline.latest) if deadline.latest else None,
        "bound": deadline.bound,
        "words": _cut(deadline.words, budget),
        "source": _cut(deadline.source, budget),
        "store": deadline.consumer,
    }


def moment(at: datetime) -> str:
    """Return an aware moment in RFC 3339, UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _cut(text: str, budget: Budget) -> str:
    return clean(text, budget.text)


def _maybe(text: str | None, budget: Budget) -> str | None:
    return None if text is None else _cut(text, budget)
