"""What a page carries below its title: the facts as short labelled texts, what must not be done first."""

from alerts.letters import Letter
from alerts.moments import Clock
from alerts.outline import Budget, Plain, outline
from watchdog.notices import Deadline, KeyFacts, Notice, OperatorFacts, Verified
from watchdog.words import Owner

TEXT_LIMIT = 60_000


def details(notice: Notice, letter: Letter, budget: Budget) -> Plain:
    """Return the labelled texts of a (cleaned) notice. The first label is in capitals: some views sort by label."""
    facts = notice.facts
    if isinstance(facts, OperatorFacts):
        return {"WHAT TO DO": facts.next, "what": facts.what, "where": facts.where}
    clock = Clock(facts.at)
    plain = outline(notice, budget)
    shown = facts.keys[: budget.keys]
    found: Plain = {
        "HOLDS FIRST": list(facts.holds) or ["none are known"],
        "final deadline": _deadline(facts.headline, clock, "no date applies"),
        "second deadline": _deadline(facts.second, clock, "none"),
        "next impact": _deadline(facts.next_impact, clock, "nothing known"),
        "fault": facts.fault.value,
        "customer": f"{facts.customer_name} ({facts.customer})",
        "customer notice": plain["told"],
        "verdict": {_name(key): key.verdict.value for key in shown},
        "claimed by events": {_name(key): key.claimed for key in shown},
        "verified by us": {_name(key): _verified(key.verified, clock) for key in shown},
        "stores": [line for key in shown for line in _stores(key, clock, budget)],
        "steps of the customer": _steps(shown, budget, (Owner.CUSTOMER, Owner.PROVIDER)),
        "steps that follow": _steps(shown, budget, (Owner.VENDOR, Owner.WATCHDOG)),
        "replaces": notice.previous_dedup,
        "shortened": plain["shortened"],
    }
    if budget == Budget() and len(letter.text) <= TEXT_LIMIT:
        found["page"] = letter.text
    return found


def _name(key: KeyFacts) -> str:
    return f"{key.name} ({key.id})" if key.name else key.id


def _deadline(deadline: Deadline | None, clock: Clock, nothing: str) -> str:
    if deadline is None:
        return nothing
    words = f" - {deadline.words}" if deadline.at is not None else ""
    return f"{clock.deadline(deadline)}{words} (source: {deadline.source})"


def _verified(verified: Verified | None, clock: Clock) -> str:
    if verified is None:
        return "not checked yet"
    outcome = {True: "passed", False: "failed", None: "could not tell"}[verified.passed]
    return f"{outcome} at {clock.moment(verified.at)}: {verified.words}"


def _stores(key: KeyFacts, clock: Clock, budget: Budget) -> list[str]:
    return [
        f"{store.name}: stops {_deadline(store.impact, clock, '')}; "
        f"final {_deadline(store.terminal, clock, 'no date of its own')}"
        for store in key.consumers[: budget.stores]
    ]


def _steps(keys: tuple[KeyFacts, ...], budget: Budget, owners: tuple[Owner, ...]) -> list[str]:
    return [
        f"{step.owner}: {step.text}" + (f" $ {step.command}" if step.command else "")
        for key in keys
        for step in key.steps[: budget.steps]
        if step.owner in owners
    ]
