"""Contract: notices, their leases and what came of them, in every store."""

from datetime import timedelta

import pytest

from tests.workers.store.things import (
    HOSTILE,
    KEY,
    KOLKATA,
    MINUTE,
    SECOND,
    T0,
    accept,
    attempt,
    facts,
    leased,
    notice,
    operator_facts,
)
from watchdog.notices import (
    ConsumerImpact,
    Deadline,
    Happening,
    KeyFacts,
    Kind,
    Notice,
    Person,
    Reader,
    Verified,
)
from watchdog.repair import Step
from watchdog.words import Cause, Effect, Fault, KeyOwner, Means, Owner, Severity, Stage, Verdict
from workers.store.interface import NoticeState, Store

QUEUED, LEASED, ACCEPTED = NoticeState.QUEUED, NoticeState.LEASED, NoticeState.ACCEPTED
FAILED, SUPPRESSED = NoticeState.FAILED, NoticeState.SUPPRESSED
DEADLINE = Deadline(
    kind="data_irrecoverable", at=T0 + 7 * 24 * 60 * MINUTE, words="the key is gone", source="aws.md 3.4", bound="exact"
)


def full_notice() -> Notice:
    """A notice in which everything is there that can be."""
    happening = Happening(
        key=KEY,
        effect=Effect.KEY_DELETION_SCHEDULED,
        since=T0,
        fault=Fault.CUSTOMER,
        reason="scheduled",
        operation="kms:ScheduleKeyDeletion",
        actor="mallory",
        cause=Cause.PENDING_DELETION,
        means=Means.KEY_POLICY,
        deadline=DEADLINE,
    )
    impact = ConsumerImpact(
        id="db-1",
        name="orders",
        store="aws.rds",
        impact=DEADLINE,
        terminal=None,
        what="stops",
        latent=True,
        until=("restart",),
        still_works=("reads",),
        inferred=(),
        row="aws.rds.1",
    )
    key = KeyFacts(
        id=KEY,
        name="orders key",
        owner=KeyOwner.CUSTOMER,
        account="111122223333",
        region="eu-central-1",
        verdict=Verdict.DOOMED,
        claimed="pending deletion",
        verified=Verified(at=T0, passed=None, words="could not tell"),
        happenings=(happening,),
        consumers=(impact,),
        steps=(Step(owner=Owner.CUSTOMER, text="cancel", command="aws kms cancel-key-deletion --key-id x"),),
    )
    return notice(
        facts=facts(keys=(key,), headline=DEADLINE, previous_stage=Stage.AT_RISK, told=("Alice at 10:00",)),
        after="n-0",
        urgent=False,
        previous_dedup="byok:INC-1:impaired:1",
        tags={"a": "1", "b": "2"},
        created_at=T0.astimezone(KOLKATA),
    )


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(full_notice(), id="full"),
        pytest.param(notice(), id="plain"),
        pytest.param(notice(incident=None, recipient=None, facts=operator_facts(), kind=Kind.OPERATOR), id="operator"),
    ],
)
def test_a_notice_comes_back_whole(store: Store, given: Notice) -> None:
    with store.write() as unit:
        assert unit.add_notices([given]) == ["n-1"]
    with store.write() as unit:
        stored = unit.notice("n-1")
        assert stored is not None
        assert stored.notice == given
        assert type(stored.notice.facts) is type(given.facts)
        assert (stored.state, stored.attempts, stored.due_at) == (QUEUED, 0, T0)
        assert (stored.provider_id, stored.error, stored.accepted_at, stored.rendered_sha256) == (None,) * 4
        assert leased(unit).notice == given


def test_no_text_keeps_a_notice_from_being_kept(store: Store) -> None:
    for number, text in enumerate(HOSTILE):
        keep(store, f"n-{number}", text)


def keep(store: Store, name: str, text: str) -> None:
    given = notice(name, facts=facts(why=text), tags={text: text}, dedup=text, recipient=None)
    with store.write() as unit:
        assert unit.add_notices([given]) == [name]
        assert unit.add_notices([given]) == []
        lease = leased(unit, name)
        # What UTF-8 cannot hold is shown by its number; everything else is exact.
        shown = text.encode("utf-8", "backslashreplace").decode()
        assert lease.notice == notice(name, facts=facts(why=shown), tags={shown: shown}, dedup=shown, recipient=None)
        failed = attempt(excerpt=text, reason=f"r{text}")
        assert unit.settle(name, lease.fence, state=FAILED, attempt=failed, provider_id=text, content_type=text)
        assert unit.attempts(name) == [failed]
        stored = unit.notice(name)
        assert stored is not None
        assert stored.provider_id == text


def test_the_same_notice_is_queued_once(store: Store) -> None:
    def same(notice_id: str, **other: object) -> Notice:
        return notice(notice_id, **{"dedup": "byok:INC-1:impaired:1", **other})

    carol = Person(name="Carol Chen", email="carol@acme.example", role="deputy")
    with store.write() as unit:
        assert unit.add_notices([same("a"), same("b", why="again", created_at=T0 + MINUTE)]) == ["a"]
        different = [
            same("c", incident="INC-2"),
            same("d", incident=None),
            same("e", kind=Kind.RESOLVED),
            same("f", dedup="byok:INC-1:lost:1"),
            same("g", channel="webhook"),
            same("h", recipient=carol),
            same("i", recipient=None),
        ]
        assert unit.add_notices(different) == ["c", "d", "e", "f", "g", "h", "i"]
        assert unit.add_notices([same("j", recipient=None), same("k", incident=None)]) == []
        assert unit.notice("b") is None


def test_another_notice_under_a_known_id_is_an_error(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice("a", dedup="x")])
    with pytest.raises(Exception, match=r"(?i)notice"), store.write() as unit:
        unit.add_notices([notice("a", dedup="y")])


def test_urgent_notices_are_due_first_then_the_oldest(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices(
            [
                notice("slow-old", urgent=False, created_at=T0 - MINUTE),
                notice("new", created_at=T0),
                notice("old", created_at=T0 - SECOND),
                notice("new-too", created_at=T0),
                notice("slow-new", urgent=False, created_at=T0),
                notice("future", created_at=T0 + SECOND),
            ]
        )
        assert unit.notices_due(T0, 10) == [
            ("old", True),
            ("new", True),
            ("new-too", True),
            ("slow-old", False),
            ("slow-new", False),
        ]
        assert unit.notices_due(T0, 4)[-1] == ("slow-old", False)
        assert unit.notices_due(T0, 2) == [("old", True), ("new", True)]
        assert unit.oldest_due_notice(T0) == T0 - MINUTE
        assert unit.oldest_due_notice(T0 - 2 * MINUTE) is None


def test_the_due_notices_of_one_channel_are_found_behind_those_of_others(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice(f"flood-{number}", channel="flood", dedup=f"d{number}") for number in range(5)])
        unit.add_notices([notice("slow", channel="other", urgent=False), notice("page", channel="other")])
        assert unit.notices_due(T0, 2, channel="other") == [("page", True), ("slow", False)]
        assert unit.notices_due(T0, 2, channel="nobody") == []


def test_a_lease_is_given_to_one(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice()])
        assert unit.lease("n-1", now=T0 - SECOND, length=MINUTE) is None, "not due yet"
        lease = unit.lease("n-1", now=T0.astimezone(KOLKATA), length=MINUTE)
        assert lease is not None
        assert (lease.fence, lease.attempts, lease.until) == (1, 0, T0 + MINUTE)
        assert lease.until.utcoffset() == timedelta()
        assert unit.lease("n-1", now=T0, length=MINUTE) is None
        assert unit.lease("n-404", now=T0, length=MINUTE) is None
        assert unit.notices_due(T0 + MINUTE - SECOND, 10) == []
        stored = unit.notice("n-1")
        assert stored is not None
        assert stored.state is LEASED
        assert unit.outbox_counts() == {"queued": 0, "leased": 1, "accepted": 0, "failed": 0, "suppressed": 0}


def test_an_accepted_notice_is_done_and_its_bytes_are_kept(store: Store) -> None:
    accepted = attempt(outcome="accepted", reason="none", http_status=202, excerpt="ok")
    with store.write() as unit:
        unit.add_notices([notice()])
        lease = leased(unit)
        assert unit.settle(
            "n-1",
            lease.fence,
            state=ACCEPTED,
            attempt=accepted,
            provider_id="<17@mail.example>",
            rendered=b"Dear Alice\x00\xff",
            content_type="message/rfc822",
        )
    with store.write() as unit:
        stored = unit.notice("n-1")
        assert stored is not None
        assert (stored.state, stored.attempts, stored.due_at) == (ACCEPTED, 1, T0)
        assert (stored.provider_id, stored.error, stored.accepted_at) == ("<17@mail.example>", None, accepted.at)
        assert unit.rendered("n-1") == b"Dear Alice\x00\xff"
        assert unit.raw(stored.rendered_sha256 or "") == b"Dear Alice\x00\xff"
        assert unit.attempts("n-1") == [accepted]
        assert unit.notices_due(T0 + 60 * MINUTE, 10) == []
        assert unit.lease("n-1", now=T0 + 60 * MINUTE, length=MINUTE) is None
        assert unit.outbox_counts()["accepted"] == 1


def test_a_retry_goes_back_to_the_queue_until_its_time(store: Store) -> None:
    first, second = attempt(), attempt(at=T0 + MINUTE, excerpt="", reason="timeout", http_status=None)
    with store.write() as unit:
        unit.add_notices([notice()])
        lease = leased(unit)
        assert unit.settle("n-1", lease.fence, state=QUEUED, attempt=first, due_at=T0 + MINUTE, rendered=b"one")
        stored = unit.notice("n-1")
        assert stored is not None
        assert (stored.state, stored.attempts, stored.due_at) == (QUEUED, 1, T0 + MINUTE)
        assert stored.error == "server_error: try later"
        assert unit.lease("n-1", now=T0 + MINUTE - SECOND, length=MINUTE) is None
        lease = leased(unit, now=T0 + MINUTE)
        assert (lease.fence, lease.attempts) == (2, 1)
        # The second time nothing was rendered: the bytes of the first stay.
        assert unit.settle("n-1", lease.fence, state=FAILED, attempt=second)
        stored = unit.notice("n-1")
        assert stored is not None
        assert (stored.state, stored.attempts, stored.error) == (FAILED, 2, "timeout")
        assert unit.rendered("n-1") == b"one"
        assert unit.attempts("n-1") == [first, second]


def test_a_lease_that_ran_out_is_taken_over_and_the_late_one_changes_nothing(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice()])
        slow = leased(unit, length=MINUTE)
    with store.write() as unit:
        assert unit.notices_due(T0 + MINUTE, 10) == [("n-1", True)]
        # Since when it waits does not start anew with the lease.
        assert unit.oldest_due_notice(T0 + MINUTE) == T0
        quick = leased(unit, now=T0 + MINUTE)
        assert (quick.fence, quick.attempts) == (2, 0)
    with store.write() as unit:
        before = unit.notice("n-1")
        late = attempt(outcome="accepted")
        assert not unit.settle(
            "n-1", slow.fence, state=ACCEPTED, attempt=late, provider_id="late", rendered=b"late", content_type="x"
        )
        assert unit.notice("n-1") == before
        assert unit.attempts("n-1") == []
        assert unit.rendered("n-1") is None
        assert unit.settle("n-1", quick.fence, state=ACCEPTED, attempt=attempt(outcome="accepted"))


def test_a_late_settlement_counts_while_nobody_has_taken_over(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice()])
        lease = leased(unit, length=SECOND)
        assert unit.settle("n-1", lease.fence, state=ACCEPTED, attempt=attempt(at=T0 + 5 * MINUTE))


def test_a_lease_is_settled_once(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice()])
        assert not unit.settle("n-1", 0, state=ACCEPTED, attempt=attempt()), "never leased"
        lease = leased(unit)
        assert not unit.settle("n-1", lease.fence + 1, state=ACCEPTED, attempt=attempt()), "not that one"
        assert unit.settle("n-1", lease.fence, state=SUPPRESSED, attempt=attempt(outcome="suppressed"))
        assert not unit.settle("n-1", lease.fence, state=ACCEPTED, attempt=attempt())
        assert not unit.settle("n-404", 1, state=ACCEPTED, attempt=attempt())
        assert [one.outcome for one in unit.attempts("n-1")] == ["suppressed"]


@pytest.mark.parametrize(("state", "due_at"), [(QUEUED, None), (LEASED, T0), (ACCEPTED, T0)])
def test_a_settlement_that_makes_no_sense_is_an_error(store: Store, state: NoticeState, due_at: object) -> None:
    with store.write() as unit:
        unit.add_notices([notice()])
        lease = leased(unit)
        with pytest.raises(ValueError, match=r"lease|due time"):
            unit.settle("n-1", lease.fence, state=state, attempt=attempt(), due_at=due_at)  # type: ignore[arg-type]  # T0 or None
        assert unit.attempts("n-1") == []


@pytest.mark.parametrize("end", [ACCEPTED, FAILED, SUPPRESSED])
def test_a_notice_waits_until_the_one_before_it_has_left_the_queue(store: Store, end: NoticeState) -> None:
    with store.write() as unit:
        unit.add_notices([notice("clear", after="page", created_at=T0 - MINUTE), notice("page")])
        assert unit.notices_due(T0, 10) == [("page", True)]
        assert unit.lease("clear", now=T0, length=MINUTE) is None
        assert unit.oldest_due_notice(T0) == T0
        lease = leased(unit, "page")
        assert unit.lease("clear", now=T0, length=MINUTE) is None
        unit.settle("page", lease.fence, state=QUEUED, attempt=attempt(), due_at=T0 + MINUTE)
        assert unit.lease("clear", now=T0, length=MINUTE) is None
        lease = leased(unit, "page", now=T0 + MINUTE)
        unit.settle("page", lease.fence, state=end, attempt=attempt())
        assert unit.notices_due(T0, 10) == [("clear", True)]
        assert unit.oldest_due_notice(T0) == T0 - MINUTE
        assert leased(unit, "clear").notice.after == "page"


def test_a_notice_after_one_that_nobody_knows_is_sent(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice(after="n-404")])
        assert unit.notices_due(T0, 10) == [("n-1", True)]
        assert leased(unit).fence == 1


def test_notices_of_an_incident_stand_in_the_order_of_adding(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice("z"), notice("b", incident="INC-2"), notice("a", created_at=T0 - MINUTE)])
        unit.add_notices([notice("m", reader=Reader.ON_CALL, severity=Severity.INFO), notice("n", incident=None)])
        accept(unit, "z")
        assert [(one.notice.id, one.state) for one in unit.notices_of("INC-1")] == [
            ("z", ACCEPTED),
            ("a", QUEUED),
            ("m", QUEUED),
        ]
        assert unit.notices_of("INC-404") == []
        assert unit.notice("n-404") is None
        assert unit.attempts("n-404") == []
        assert unit.rendered("n-404") is None


def test_equal_bytes_of_two_notices_are_kept_once(store: Store) -> None:
    with store.write() as unit:
        unit.add_notices([notice("a"), notice("b")])
        for notice_id in ("a", "b"):
            fence = leased(unit, notice_id).fence
            unit.settle(
                notice_id, fence, state=ACCEPTED, attempt=attempt(), rendered=b"same", content_type="text/plain"
            )
        assert unit.rendered("a") == unit.rendered("b") == b"same"
