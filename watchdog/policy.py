"""Policy: who is told of an incident's turn, over which channel, and why - or why not."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from watchdog.assessment import WATCH, Assessment
from watchdog.health import LOSS_SLOTS, Condition, Slot, said
from watchdog.incidents import VENDOR_WATCH, Incident, dedup_key, is_worse
from watchdog.notices import (
    Deadline,
    Facts,
    Happening,
    KeyFacts,
    Kind,
    Notice,
    Person,
    Reader,
    Verified,
)
from watchdog.places import cloud_of, place_of
from watchdog.preflight import MARKS
from watchdog.register import Customer, Register, RegisteredKey
from watchdog.routing import ChannelRef, Routing
from watchdog.words import Fault, KeyOwner, Severity, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision about telling, kept as evidence: who, whether, and the named reason."""

    who: str
    told: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What follows from one turn: the notices, the decisions behind them, and the incident that remembers both."""

    notices: tuple[Notice, ...]
    decisions: tuple[Decision, ...]
    incident: Incident


def tell(
    incident: Incident, previous: Incident | None, assessments: Mapping[str, Assessment], register: Register,
    routing: Routing, verified: Mapping[str, Verified | None], *, at: datetime,
) -> Told:  # fmt: skip
    """Decide about the newest turn of an incident. Pure: the same arguments give the same notices, ids included."""
    why = incident.turns[-1].why
    kind = _kind(incident, previous)
    customer = register.customers.get(incident.customer)
    mail = _customer_mail(incident, previous, assessments, register, routing, customer)
    facts = _facts(incident, previous, kind, assessments, register, verified, mail, at=at)
    notices: list[Notice] = []
    decisions: list[Decision] = []
    for channel in _on_call(incident, register, routing):
        notices += _page(incident, previous, kind, channel, facts, why, at)
        decisions.append(Decision(who=f"on-call by {channel.name}", told=True, why=why))
    if not notices:
        decisions.append(Decision(who="on-call", told=False, why="no on-call channel is configured"))
    notices += _mails(incident, kind, Reader.CUSTOMER, mail.contacts, routing, facts, mail.decision.why, at)
    decisions.append(mail.decision)
    staff, not_told = _staff(incident, kind, customer, routing)
    notices += _mails(incident, kind, Reader.ACCOUNT, staff, routing, facts, why, at)
    decisions.append(Decision(who="account staff by mail", told=not not_told, why=not_told or why))
    told = replace(
        incident,
        alert=_alert(incident, kind),
        customer_told=incident.customer_told or bool(mail.contacts),
        account_told=incident.account_told or bool(staff),
    )
    return Told(notices=tuple(notices), decisions=tuple(decisions), incident=told)


def _kind(incident: Incident, previous: Incident | None) -> Kind:
    if incident.stage is Stage.RESOLVED:
        return Kind.RESOLVED
    if incident.stage is Stage.RECOVERING:
        return Kind.RECOVERING
    if previous is not None and is_worse(previous.stage, incident.stage):
        return Kind.PROGRESS
    return Kind.ALARM


def _alert(incident: Incident, kind: Kind) -> str | None:
    return dedup_key(incident) if kind in {Kind.ALARM, Kind.PROGRESS} else incident.alert


def _on_call(incident: Incident, register: Register, routing: Routing) -> list[ChannelRef]:
    names = [register.keys[subject].instance.on_call for subject in incident.subjects if subject in register.keys]
    names = names or _routes_of_customer(incident.customer, register) or ["default"]
    return list(dict.fromkeys(channel for name in names for channel in routing.route(name)))


def _routes_of_customer(customer: str, register: Register) -> list[str]:
    known = register.customers.get(customer)
    return list(dict.fromkeys(instance.on_call for instance in known.instances)) if known else []


def _page(
    incident: Incident, previous: Incident | None, kind: Kind, channel: ChannelRef, facts: Facts, why: str, at: datetime
) -> list[Notice]:
    """The notices of one on-call channel: the turn itself, and the clearing of the alert that it replaces."""
    before = previous.alert if previous is not None else None
    dedup = dedup_key(incident) if kind in {Kind.ALARM, Kind.PROGRESS} or before is None else before
    base = Notice(
        id=f"{incident.id}-{incident.turn}-{kind}-{channel.name}",
        incident=incident.id,
        kind=kind,
        reader=Reader.ON_CALL,
        channel=channel.name,
        recipient=None,
        dedup=dedup,
        severity=incident.severity,
        why=why,
        facts=facts,
        created_at=at,
        urgent=True,
        previous_dedup=before,
    )
    if before is None or not channel.pages:
        return [base]
    trigger = _trigger_id(previous, channel)
    if kind in {Kind.RESOLVED, Kind.RECOVERING}:
        return [replace(base, after=trigger)]
    clear = replace(
        base, id=f"{incident.id}-{incident.turn}-{Kind.CLEAR}-{channel.name}", kind=Kind.CLEAR, dedup=before,
        severity=Severity.INFO, why=f"replaced by {dedup}", after=base.id, urgent=False, previous_dedup=None,
    )  # fmt: skip
    return [replace(base, after=trigger), clear]


def _trigger_id(previous: Incident | None, channel: ChannelRef) -> str | None:
    """Id of the notice that opened the alert which is open now: nothing may overtake it."""
    if previous is None or previous.alert is None:
        return None
    _, stage, number = previous.alert.split(":")
    for turn in previous.turns:
        if turn.number == int(number) and turn.stage == stage:
            worse = [other.stage for other in previous.turns if other.number < turn.number]
            kind = Kind.PROGRESS if worse and is_worse(worse[-1], turn.stage) else Kind.ALARM
            return f"{previous.id}-{number}-{kind}-{channel.name}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CustomerMail:
    contacts: tuple[Person, ...]
    decision: Decision


def _customer_mail(
    incident: Incident, previous: Incident | None, assessments: Mapping[str, Assessment], register: Register,
    routing: Routing, customer: Customer | None,
) -> _CustomerMail:  # fmt: skip
    """Whether the customer's contacts are written to about this turn. A vendor's or unknown fault never mails them."""

    def no(why: str) -> _CustomerMail:
        return _CustomerMail(contacts=(), decision=Decision(who="customer's contacts by mail", told=False, why=why))

    if customer is None:
        return no("the incident is not about one customer")
    owned = [subject for subject in incident.subjects if _is_customers(subject, register)]
    told = previous is not None and previous.customer_told
    if not owned and not told:
        return no(_why_not_owned(incident, register))
    if incident.stage is Stage.RECOVERING:
        return no("the proof that the key works again is outstanding")
    if incident.stage is Stage.RESOLVED:
        if not told:
            return no("the customer was not told of the loss either")
    else:
        if incident.fault is not Fault.CUSTOMER:
            return no(f"the fault is not shown to lie with the customer (fault: {incident.fault})")
        if not any(_concerns_customer(condition) for subject in owned for condition in _open(assessments, subject)):
            return no("nothing is proven that the customer could undo; the vendor checks first")
    if routing.customer_mail is None:
        return no("no channel for customer mail is configured")
    if not customer.contacts:
        return no("the register names no contact of this customer")
    contacts = tuple(
        Person(name=one.name, email=one.email, role=one.role, language=one.language, timezone=one.timezone)
        for one in customer.contacts
    )
    decision = Decision(who="customer's contacts by mail", told=True, why=incident.turns[-1].why)
    return _CustomerMail(contacts=contacts, decision=decision)


def _why_not_owned(incident: Incident, register: Register) -> str:
    if all(subject.startswith(WATCH) for subject in incident.subjects):
        return "it is about the audit feed, not about a key"
    if not any(subject in register.keys for subject in incident.subjects):
        return "the key is no longer in the register"
    return "the key is the vendor's own"


def _open(assessments: Mapping[str, Assessment], subject: str) -> tuple[Condition, ...]:
    found = assessments.get(subject)
    return found.judgement.conditions if found else ()


def _is_customers(subject: str, register: Register) -> bool:
    key = register.keys.get(subject)
    return key is not None and key.customer_owned


def _concerns_customer(condition: Condition) -> bool:
    told = LOSS_SLOTS | {Slot.EXPIRY, Slot.PROTECTION}
    return condition.slot in told and condition.fault is Fault.CUSTOMER


def _staff(
    incident: Incident, kind: Kind, customer: Customer | None, routing: Routing
) -> tuple[tuple[Person, ...], str | None]:
    """Return the account staff to write to, and why there is nobody (None: there is)."""
    if customer is None:
        return (), "the incident is not about one customer"
    if kind is Kind.RECOVERING:
        return (), "the proof that the key works again is outstanding"
    if kind is Kind.RESOLVED and not incident.account_told:
        return (), "the account staff was not told of the loss either"
    if routing.customer_mail is None:
        return (), "no channel for customer mail is configured"
    if not customer.account_staff:
        return (), "the register names no account staff of this customer"
    people = (
        Person(name=one.name, email=one.email, role="account_staff", timezone=one.timezone)
        for one in customer.account_staff
    )
    return tuple(people), None


def _mails(
    incident: Incident, kind: Kind, reader: Reader, people: Sequence[Person], routing: Routing, facts: Facts, why: str,
    at: datetime,
) -> list[Notice]:  # fmt: skip
    if routing.customer_mail is None:
        return []
    # Somebody who is named twice is written to once; two notices of one id would be a fault.
    once = {_short(person.email): person for person in reversed(people)}
    return [
        Notice(
            id=f"{incident.id}-{incident.turn}-{kind}-{reader}-{_short(person.email)}",
            incident=incident.id,
            kind=kind,
            reader=reader,
            channel=routing.customer_mail,
            recipient=person,
            dedup=f"{incident.id}:{incident.stage}:{incident.turn}:{reader}",
            severity=incident.severity,
            why=why,
            facts=facts,
            created_at=at,
            urgent=reader is Reader.CUSTOMER,
        )
        for person in people
        if once[_short(person.email)] is person
    ]


def _short(email: str) -> str:
    return hashlib.sha256(email.lower().encode()).hexdigest()[:8]


# ------------------------------------------------------------------------------------------------------------- facts


def _facts(
    incident: Incident, previous: Incident | None, kind: Kind, assessments: Mapping[str, Assessment],
    register: Register, verified: Mapping[str, Verified | None], mail: _CustomerMail, *, at: datetime,
) -> Facts:  # fmt: skip
    customer = register.customers.get(incident.customer)
    first = next((register.keys[subject] for subject in incident.subjects if subject in register.keys), None)
    ordered = [(subject, assessments[subject]) for subject in incident.subjects if subject in assessments]
    vendor = register.vendor
    return Facts(
        incident=incident.id,
        kind=kind,
        stage=incident.stage,
        previous_stage=previous.stage if previous else None,
        turn=incident.turn,
        severity=incident.severity,
        fault=incident.fault,
        at=at,
        opened_at=incident.opened_at,
        vendor=vendor.name,
        product=vendor.product or vendor.name,
        emergency_contact=vendor.emergency_contact,
        verify_url=vendor.verify_url,
        customer=incident.customer,
        customer_name=(customer.name or customer.id) if customer else vendor.name,
        instance=first.instance.id if first else "",
        instance_name=(first.instance.name or first.instance.id) if first else "",
        purpose=first.instance.purpose if first else "",
        business_owner=first.instance.business_owner if first else "",
        cloud=cloud_of(incident.subjects, incident.customer, register),
        keys=tuple(_key_facts(subject, found, register, verified.get(subject)) for subject, found in ordered),
        headline=_earliest(found.headline for _, found in ordered),
        second=_earliest(found.second for _, found in ordered),
        next_impact=_earliest(found.next_impact for _, found in ordered),
        holds=tuple(dict.fromkeys(hold for _, found in ordered for hold in found.holds)),
        why=incident.turns[-1].why,
        split=next((found.split for _, found in ordered if found.split), None),
        resolved_by=incident.resolved_by,
        told=_told_words(incident, previous, mail),
    )


def _told_words(incident: Incident, previous: Incident | None, mail: _CustomerMail) -> tuple[str, ...]:
    if mail.contacts:
        words = f"customer: e-mail to {len(mail.contacts)} contact{'s' if len(mail.contacts) > 1 else ''} goes out now"
    elif previous is not None and previous.customer_told:
        words = "customer: told earlier in this incident; not written to about this step"
    else:
        words = f"customer: not told ({mail.decision.why})"
    return (words, f"incident opened {incident.opened_at:%Y-%m-%d %H:%M} UTC")


def _earliest(deadlines: Iterable[Deadline | None]) -> Deadline | None:
    """The first of them; one without a date ("act now") is the most urgent."""
    found = [deadline for deadline in deadlines if deadline is not None]
    return min(found, key=lambda deadline: (deadline.at is not None, deadline.at), default=None)


def _key_facts(subject: str, found: Assessment, register: Register, verified: Verified | None) -> KeyFacts:
    key = register.keys.get(subject)
    account, region = place_of(subject, key)
    terms = key.entry.exception.terms if key and key.entry.exception else None
    return KeyFacts(
        id=subject,
        name=_name(subject, key, register),
        owner=key.entry.owner if key else KeyOwner.VENDOR,
        account=account,
        region=region,
        verdict=found.verdict,
        claimed=_claimed(found),
        verified=verified,
        happenings=tuple(_happening(subject, condition, found) for condition in found.judgement.conditions),
        consumers=found.consumers,
        steps=found.steps,
        exception=key.entry.exception.reference if key and key.entry.exception else None,
        terms_version=terms.version if terms else None,
        terms_accepted_on=terms.accepted_on.isoformat() if terms and terms.accepted_on else None,
        terms_accepted_by=terms.accepted_by if terms else None,
    )


def _name(subject: str, key: RegisteredKey | None, register: Register) -> str:
    if key is not None:
        return key.entry.name or key.instance.name or key.instance.id
    if not subject.startswith(WATCH):
        return "a key that is no longer in the register"
    if subject == VENDOR_WATCH:
        return "the watch itself, on the vendor's side"
    customer = register.customers.get(subject.removeprefix(WATCH))
    return f"the audit feed of {(customer.name or customer.id) if customer else subject}"


def _claimed(found: Assessment) -> str:
    claimed = found.judgement.claimed
    if not claimed:
        return "the audit events leave nothing open"
    return "; ".join(f"{said(condition)} (since {condition.since:%Y-%m-%d %H:%M} UTC)" for condition in claimed)


def _happening(subject: str, condition: Condition, found: Assessment) -> Happening:
    mark = condition.latest
    return Happening(
        key=subject,
        effect=condition.effect,
        since=condition.since,
        recorded_at=mark.at,
        fault=condition.fault,
        reason=mark.reason,
        operation=mark.operation,
        actor=mark.actor.name if mark.actor else None,
        actor_address=mark.actor.address if mark.actor else None,
        actor_agent=mark.actor.agent if mark.actor else None,
        event_id=mark.event_id,
        cause=mark.cause,
        means=condition.means,
        deadline=next((deadline for one, deadline in found.key_deadlines if one == condition), None),
        version=condition.version,
        check=mark.subject if mark.id.startswith(MARKS) else None,
    )
