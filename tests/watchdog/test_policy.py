from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from msgspec import structs

from tests.watchdog.stories import HOOK, PAGER, ROUTING, Story, told
from tests.watchdog.test_health import signal
from tests.worlds import (
    ACME_KEY,
    ACME_SECOND_KEY,
    BUCKET,
    DATABASE,
    GLOBEX_KEY,
    MINUTE,
    T0,
    VENDOR_KEY,
    document,
    key,
    register,
    stores,
)
from watchdog.health import Health, Origin
from watchdog.notices import Facts, Kind, Notice, Reader
from watchdog.register import Contact, Customer, Document, Register, Staff
from watchdog.routing import Routing
from watchdog.signals import Actor, Signal
from watchdog.words import Cause, Effect, Fault, KeyOwner, Means, Stage, Verdict

DAY = timedelta(days=1)


def facts(notice: Notice) -> Facts:
    assert isinstance(notice.facts, Facts)
    return notice.facts


def scheduled(minutes: float = 0, days: int = 7) -> Signal:
    return signal(Effect.KEY_DELETION_SCHEDULED, minutes, deadline=T0 + minutes * MINUTE + days * DAY)


def on_globex(one: Signal) -> Signal:
    return replace(one, key=GLOBEX_KEY)


def reasons(story: Story) -> list[tuple[str, bool, str]]:
    return [(decision.who, decision.told, decision.why) for _, decision in story.decisions]


def registered(**changes: object) -> Register:
    """The small world with something else about Acme."""
    plain = document()
    customers = [structs.replace(plain.customers[0], **changes), *plain.customers[1:]]
    return Register(structs.replace(plain, customers=customers), 1)


# ------------------------------------------------------------------------------------------------------------- the ids


def long_story(story: Story) -> list[Notice]:
    """An incident with a turn of every kind."""
    story.push(signal(Effect.KEY_DISABLED))
    story.push(scheduled(5, days=30))
    story.push(signal(Effect.DELETION_CANCELLED, 60))
    story.push(signal(Effect.KEY_ENABLED, 70))
    story.push(signal(Effect.KEY_DISABLED, 80))
    story.push(signal(Effect.KEY_ENABLED, 90))
    story.prove(ACME_KEY, T0 + 105 * MINUTE)
    return story.notices


def test_the_same_story_gives_the_same_notices_to_the_last_id() -> None:
    assert long_story(Story()) == long_story(Story())


def test_every_notice_of_a_long_story_has_an_id_and_a_far_end_of_its_own() -> None:
    notices = long_story(Story())
    ids = [notice.id for notice in notices]
    assert len(ids) == len(set(ids))
    ends = [(n.kind, n.dedup, n.channel, n.recipient.email if n.recipient else None) for n in notices]
    assert len(ends) == len(set(ends)), "the store would take two of them for one"


def test_somebody_who_is_named_twice_is_written_to_once() -> None:
    twice = [
        Contact(name="Alice Ahlberg", email="alice@acme.example"),
        Contact(name="Alice (deputy)", email="Alice@ACME.example", role="deputy"),
        Contact(name="Bob", email="bob@acme.example"),
    ]
    story = Story(register=registered(contacts=twice, account_staff=[]))
    mails = [notice for notice in story.push(signal(Effect.KEY_DISABLED)) if notice.recipient]
    assert ["alice@acme.example", "bob@acme.example"] == [n.recipient.email for n in mails if n.recipient]


# --------------------------------------------------------------------------------------------------- nothing overtakes


class FarEnd:
    """A paging service: it gets notices in any order that `after` allows, and keeps its open alerts."""

    def __init__(self, notices: Iterable[Notice]) -> None:
        self.waiting = {notice.id: notice for notice in notices}
        self.open: set[str] = set()

    def may_leave(self) -> list[Notice]:
        return [notice for notice in self.waiting.values() if notice.after not in self.waiting]

    def take(self, notice: Notice) -> None:
        del self.waiting[notice.id]
        if notice.kind in {Kind.ALARM, Kind.PROGRESS}:
            self.open.add(notice.dedup)
        if notice.kind in {Kind.CLEAR, Kind.RESOLVED}:
            self.open.discard(notice.dedup)


def endings(notices: list[Notice], end: FarEnd) -> set[tuple[str, ...]]:
    """The alerts that may be left open, over every order in which the notices may leave."""
    found: set[tuple[str, ...]] = set()
    seen: set[tuple[frozenset[str], frozenset[str]]] = set()
    todo = [end]
    while todo:
        one = todo.pop()
        state = (frozenset(one.waiting), frozenset(one.open))
        if state in seen:
            continue
        seen.add(state)
        if not one.waiting:
            found.add(tuple(sorted(one.open)))
        for notice in one.may_leave():
            following = FarEnd(one.waiting.values())
            following.open = set(one.open)
            following.take(notice)
            todo.append(following)
    return found


def pages(notices: Iterable[Notice], name: str = "pager") -> list[Notice]:
    return [notice for notice in notices if notice.channel == name]


def test_whatever_overtakes_what_a_resolved_incident_leaves_no_alert_open() -> None:
    notices = pages(long_story(Story()))
    assert {()} == endings(notices, FarEnd(notices))


def test_whatever_overtakes_what_the_alert_of_the_worst_stage_stays_open() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(scheduled(5, days=30))
    story.push(signal(Effect.KEY_DESTROYED, 60))
    notices = pages(story.notices)
    assert {("KW-1001:lost:3",)} == endings(notices, FarEnd(notices))


def test_the_chain_of_a_paging_channel_is_alarm_then_worse_then_clear_then_resolved() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(scheduled(5, days=30))
    story.push(signal(Effect.DELETION_CANCELLED, 60))
    story.push(signal(Effect.KEY_ENABLED, 70))
    story.prove(ACME_KEY, T0 + 75 * MINUTE)
    assert [
        ("KW-1001-1-alarm-pager", "KW-1001:impaired:1", None),
        ("KW-1001-2-alarm-pager", "KW-1001:deletion_scheduled:2", "KW-1001-1-alarm-pager"),
        ("KW-1001-2-clear-pager", "KW-1001:impaired:1", "KW-1001-2-alarm-pager"),
        ("KW-1001-3-progress-pager", "KW-1001:impaired:3", "KW-1001-2-alarm-pager"),
        ("KW-1001-3-clear-pager", "KW-1001:deletion_scheduled:2", "KW-1001-3-progress-pager"),
        ("KW-1001-4-recovering-pager", "KW-1001:impaired:3", "KW-1001-3-progress-pager"),
        ("KW-1001-5-resolved-pager", "KW-1001:impaired:3", "KW-1001-3-progress-pager"),
    ] == [(notice.id, notice.dedup, notice.after) for notice in pages(story.notices)]


def test_a_channel_that_keeps_no_alert_open_waits_for_nothing_and_clears_nothing() -> None:
    notices = pages(long_story(Story()), "hook")
    assert {None} == {notice.after for notice in notices}
    assert Kind.CLEAR not in {notice.kind for notice in notices}


def test_a_clearing_wakes_nobody() -> None:
    urgent = {(notice.kind is Kind.CLEAR, notice.urgent) for notice in pages(long_story(Story()))}
    assert {(True, False), (False, True)} == urgent


# ----------------------------------------------------------------------------------------- decisions, told and not told


def test_every_turn_says_for_the_on_call_the_customer_and_the_staff_whether_and_why() -> None:
    story = Story()
    long_story(story)
    turns = len(story.incident.turns)
    assert 7 == turns
    for who in ("on-call by pager", "customer's contacts by mail", "account staff by mail"):
        assert turns == len([one for one in reasons(story) if one[0] == who])
    assert all(why.strip() for _, _, why in reasons(story))


NOT_TOLD: list[tuple[str, Story, Signal, str, str]] = [
    ("vendor's key", Story(), replace(signal(Effect.KEY_DISABLED), key=VENDOR_KEY),
     "customer's contacts by mail", "the key is the vendor's own"),
    ("vendor's fault", Story(), replace(signal(Effect.ACCESS_REVOKED), fault=Fault.VENDOR),
     "customer's contacts by mail", "the fault is not shown to lie with the customer (fault: vendor)"),
    ("unknown fault", Story(), replace(signal(Effect.ACCESS_REVOKED), fault=Fault.UNKNOWN),
     "customer's contacts by mail", "the fault is not shown to lie with the customer (fault: unknown)"),
    ("only a question", Story(), signal(Effect.ACCESS_CHANGED),
     "customer's contacts by mail", "nothing is proven that the customer could undo; the vendor checks first"),
    ("the feed", Story(), replace(signal(Effect.FEED_TAMPERED), key=None, customer="acme"),
     "customer's contacts by mail", "it is about the audit feed, not about a key"),
    ("the vendor's watch", Story(), replace(signal(Effect.FEED_TAMPERED), key=None, customer=None),
     "customer's contacts by mail", "the incident is not about one customer"),
    ("the vendor's watch", Story(), replace(signal(Effect.FEED_TAMPERED), key=None, customer=None),
     "account staff by mail", "the incident is not about one customer"),
    ("no mail", Story(routing=replace(ROUTING, customer_mail=None)), signal(Effect.KEY_DISABLED),
     "customer's contacts by mail", "no channel for customer mail is configured"),
    ("no mail", Story(routing=replace(ROUTING, customer_mail=None)), signal(Effect.KEY_DISABLED),
     "account staff by mail", "no channel for customer mail is configured"),
    ("no contact", Story(register=registered(contacts=[])), signal(Effect.KEY_DISABLED),
     "customer's contacts by mail", "the register names no contact of this customer"),
    ("no staff", Story(register=registered(account_staff=[])), signal(Effect.KEY_DISABLED),
     "account staff by mail", "the register names no account staff of this customer"),
    ("no channel at all", Story(routing=Routing()), signal(Effect.KEY_DISABLED),
     "on-call", "no on-call channel is configured"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("story", "pushed", "who", "why"), [pytest.param(*row[1:], id=f"{row[0]}: {row[3]}") for row in NOT_TOLD]
)
def test_who_is_not_told_is_not_told_for_a_named_reason(story: Story, pushed: Signal, who: str, why: str) -> None:
    fresh = Story(register=story.register, routing=story.routing)
    notices = fresh.push(pushed)
    assert (who, False, why) in reasons(fresh)
    reader = {"customer's contacts by mail": Reader.CUSTOMER, "account staff by mail": Reader.ACCOUNT}
    assert reader.get(who, Reader.ON_CALL) not in {notice.reader for notice in notices}


def test_before_the_proof_neither_customer_nor_staff_is_told_that_it_works_again() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.decisions.clear()
    story.push(signal(Effect.KEY_ENABLED, 5))
    why = "the proof that the key works again is outstanding"
    assert ("customer's contacts by mail", False, why) in reasons(story)
    assert ("account staff by mail", False, why) in reasons(story)


def test_who_was_not_told_of_the_loss_is_not_told_of_its_end() -> None:
    story = Story()
    story.push(replace(signal(Effect.ACCESS_REVOKED, means=Means.KEY_POLICY), fault=Fault.VENDOR))
    story.decisions.clear()
    notices = story.prove(ACME_KEY, T0 + 60 * MINUTE)
    assert Reader.CUSTOMER not in {notice.reader for notice in notices}
    assert ("customer's contacts by mail", False, "the customer was not told of the loss either") in reasons(story)


def test_a_named_decision_is_told_as_one_and_not_as_a_proof() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    decided = story.prove(ACME_KEY, T0 + 5 * MINUTE, by=Origin.OPERATOR)
    assert {"decided"} == {notice.why for notice in decided}
    assert {"encrypt and decrypt worked"} == {facts(notice).resolved_by for notice in decided}

    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    proven = story.prove(ACME_KEY, T0 + 60 * MINUTE)
    assert {"proven"} == {notice.why for notice in proven}
    assert {None} == {facts(notice).resolved_by for notice in proven}


def test_a_cause_that_becomes_known_is_told_to_the_customer_then() -> None:
    story = Story()
    story.push(replace(signal(Effect.USE_FAILED, cause=Cause.ACCESS_DENIED), fault=Fault.UNKNOWN))
    assert {Reader.ON_CALL, Reader.ACCOUNT} == {notice.reader for notice in story.notices}
    notices = story.push(signal(Effect.KEY_DISABLED, 1))
    assert {"cause known"} == {notice.why for notice in notices if notice.kind is Kind.ALARM}
    assert Reader.CUSTOMER in {notice.reader for notice in notices}


# ----------------------------------------------------------------------------------------------------------- the route


def test_the_route_of_the_instance_decides_and_an_unknown_route_falls_back() -> None:
    assert {"pager", "hook"} == {n.channel for n in Story().push(signal(Effect.KEY_DISABLED)) if not n.recipient}
    globex = Story().push(on_globex(signal(Effect.KEY_DISABLED)))
    assert {"hook"} == {n.channel for n in globex if not n.recipient}
    lost = Routing(on_call={"elsewhere": (PAGER,)}, operators=(HOOK,))
    assert {"hook"} == {n.channel for n in Story(routing=lost).push(signal(Effect.KEY_DISABLED))}


# ------------------------------------------------------------------------------------------------------ many customers


def both_at_once(story: Story) -> list[Notice]:
    return story.push(signal(Effect.KEY_DISABLED), on_globex(signal(Effect.KEY_DISABLED)))


def test_one_record_that_hits_two_customers_makes_an_incident_of_each() -> None:
    story = Story()
    both_at_once(story)
    assert [("acme", (ACME_KEY,)), ("globex", (GLOBEX_KEY,))] == sorted(
        (incident.customer, incident.subjects) for incident in story.incidents.values()
    )


def test_no_customer_reads_a_word_about_another() -> None:
    for notice in both_at_once(Story()):
        if notice.recipient is None:
            continue
        mine = "acme" if notice.recipient.email.endswith(("acme.example", "vendor.example")) else "globex"
        assert mine == facts(notice).customer
        other = {"acme": (GLOBEX_KEY, "globex"), "globex": (ACME_KEY, "Acme", "acme")}[mine]
        assert not [word for word in other if word in repr(notice.facts)]


def test_the_repair_of_one_customer_resolves_nothing_of_another() -> None:
    story = Story()
    both_at_once(story)
    story.push(signal(Effect.KEY_ENABLED, 5))
    story.prove(ACME_KEY, T0 + 20 * MINUTE)
    stages = {incident.customer: incident.stage for incident in story.incidents.values()}
    assert {"acme": Stage.RESOLVED, "globex": Stage.IMPAIRED} == stages


def test_two_keys_of_one_customer_are_one_mail_that_names_both() -> None:
    keys = (key(ACME_KEY, *stores(backups=True, read_replica=False)), key(ACME_SECOND_KEY))
    story = Story(register=register(*keys))
    notices = story.push(signal(Effect.KEY_DISABLED), replace(signal(Effect.KEY_DISABLED), key=ACME_SECOND_KEY))
    assert 2 == len([notice for notice in notices if notice.reader is Reader.CUSTOMER])
    assert [ACME_KEY, ACME_SECOND_KEY] == [one.id for one in facts(notices[0]).keys]


# ----------------------------------------------------------------------------------------------------------- the facts


def one_fact(story: Story, *signals: Signal) -> Facts:
    return facts(next(n for n in story.push(*signals) if n.reader is Reader.CUSTOMER))


def detailed() -> Document:
    """The small world with everything that a letter can name."""
    plain = document(key(ACME_KEY, *stores(backups=True, read_replica=False)))
    acme = plain.customers[0]
    entry = acme.instances[0].keys[0]
    assert entry.exception is not None
    assert entry.exception.terms is not None
    terms = structs.replace(entry.exception.terms, accepted_on=date(2026, 3, 9))
    named = structs.replace(entry, name="the key of Acme", exception=structs.replace(entry.exception, terms=terms))
    instance = structs.replace(
        acme.instances[0], keys=[named], purpose="order handling", business_owner="the orders team"
    )
    return structs.replace(plain, customers=[structs.replace(acme, instances=[instance]), *plain.customers[1:]])


def test_the_facts_carry_everything_that_a_letter_needs() -> None:
    actor = Actor(name="arn:aws:sts::111122223333:assumed-role/clean-up/job", address="203.0.113.9", agent="terraform")
    happened = replace(scheduled(), actor=actor, operation="ScheduleKeyDeletion", deadline_source="deletionDate")
    found = one_fact(Story(register=Register(detailed(), 1)), happened)
    assert ("Example Vendor", "Example Cloud") == (found.vendor, found.product)
    assert ("+1 555 0100, any hour", "https://vendor.example/verify") == (found.emergency_contact, found.verify_url)
    assert ("acme", "Acme", "acme-prod", "Acme production") == (
        found.customer,
        found.customer_name,
        found.instance,
        found.instance_name,
    )
    assert ("order handling", "the orders team") == (found.purpose, found.business_owner)
    assert (Kind.ALARM, Stage.DELETION_SCHEDULED, None, 1) == (
        found.kind,
        found.stage,
        found.previous_stage,
        found.turn,
    )
    (one,) = found.keys
    assert (ACME_KEY, "the key of Acme", "111122223333", "eu-west-1") == (one.id, one.name, one.account, one.region)
    assert (KeyOwner.CUSTOMER, "EX-7") == (one.owner, one.exception)
    assert ("2026-03", "2026-03-09", "Alice Ahlberg") == (
        one.terms_version,
        one.terms_accepted_on,
        one.terms_accepted_by,
    )
    assert (Verdict.DOOMED, None) == (one.verdict, one.verified)
    assert [DATABASE, BUCKET] == [consumer.id for consumer in one.consumers]
    assert any(step.command == f"undo {ACME_KEY}" for step in one.steps)
    (happening,) = one.happenings
    assert (actor.name, "203.0.113.9", "terraform", "ScheduleKeyDeletion") == (
        happening.actor,
        happening.actor_address,
        happening.actor_agent,
        happening.operation,
    )
    assert happening.deadline is not None
    assert T0 + 7 * DAY == happening.deadline.at
    assert happening.deadline.source.startswith("deletionDate; ")
    assert any("do not" in hold for hold in found.holds)


def test_a_later_turn_says_where_the_incident_comes_from() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    found = one_fact(story, scheduled(5, days=30))
    assert (Stage.IMPAIRED, 2, T0, "worse") == (found.previous_stage, found.turn, found.opened_at, found.why)


def test_what_the_events_claim_and_what_a_check_has_shown_stay_apart() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(signal(Effect.KEY_ENABLED, 5))
    health = story.healths[ACME_KEY]
    story.healths[ACME_KEY] = replace(
        health, probed_at=T0 + 6 * MINUTE, probe_passed=False, probe_words="Decrypt: DisabledException"
    )
    assert isinstance(health, Health)
    (one,) = one_fact(story, signal(Effect.KEY_DISABLED, 7)).keys
    assert one.claimed == "key_disabled at 7 (since 2026-12-01 09:07 UTC)"
    assert one.verified is not None
    assert (False, "Decrypt: DisabledException") == (one.verified.passed, one.verified.words)


TOLD = [
    (Story(), [signal(Effect.KEY_DISABLED)], "customer: e-mail to 2 contacts goes out now"),
    (
        Story(register=registered(contacts=[Contact(name="Alice", email="alice@acme.example")])),
        [signal(Effect.KEY_DISABLED)],
        "customer: e-mail to 1 contact goes out now",
    ),
    (
        Story(),
        [replace(signal(Effect.ACCESS_REVOKED), fault=Fault.VENDOR)],
        "customer: not told (the fault is not shown to lie with the customer (fault: vendor))",
    ),
    (
        Story(),
        [signal(Effect.KEY_DISABLED), signal(Effect.KEY_ENABLED, 5)],
        "customer: told earlier in this incident; not written to about this step",
    ),
]


@pytest.mark.parametrize(("story", "signals", "words"), TOLD, ids=[row[2] for row in TOLD])
def test_the_on_call_reads_whether_the_customer_knows(story: Story, signals: list[Signal], words: str) -> None:
    fresh = Story(register=story.register)
    for one in signals:
        notices = fresh.push(one)
    page = next(notice for notice in notices if notice.reader is Reader.ON_CALL)
    assert (words, "incident opened 2026-12-01 09:00 UTC") == facts(page).told


def test_the_account_staff_read_the_same_facts_as_the_customer() -> None:
    by_reader = {notice.reader: notice for notice in Story().push(signal(Effect.KEY_DISABLED))}
    assert by_reader[Reader.ACCOUNT].facts == by_reader[Reader.CUSTOMER].facts == by_reader[Reader.ON_CALL].facts
    assert [("alarm", "mail", "Alice"), ("alarm", "mail", "Bob"), ("alarm", "mail", "Carol")] == [
        one for one in told(Story().push(signal(Effect.KEY_DISABLED))) if one[1] == "mail"
    ]


def test_a_customer_without_a_name_is_called_by_its_id() -> None:
    nameless = Customer(
        id="acme", contacts=[Contact(name="Alice", email="alice@acme.example")],
        account_staff=[Staff(name="Carol", email="carol@vendor.example")], instances=document().customers[0].instances,
    )  # fmt: skip
    plain = document()
    world = Register(structs.replace(plain, customers=[nameless, *plain.customers[1:]]), 1)
    assert "acme" == one_fact(Story(register=world), signal(Effect.KEY_DISABLED)).customer_name
