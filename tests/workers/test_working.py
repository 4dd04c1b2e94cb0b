import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from alerts.interface import Outcome, Reason, Receipt
from tests.watchdog.stories import Story
from tests.watchdog.test_health import signal
from tests.workers.fakes import FakeCloud, FakeObjects, FaultyStore, disabled, line
from tests.workers.runtimes import ScriptedChannel, channel, make_runtime
from tests.worlds import ACME_KEY
from watchdog.cloud import Pointer
from watchdog.notices import Notice, OperatorFacts
from watchdog.words import Effect
from workers.broker import BrokerAway, Hand
from workers.feeds.interface import FeedFault
from workers.feeds.interface import Reason as FeedReason
from workers.feeds.pieces import Form, Piece
from workers.intake import Intake
from workers.observing import Queued
from workers.processes import note_quarantined
from workers.runtime import Runtime, utc_now
from workers.store.interface import Arrival, Carries, NoticeState
from workers.working import BATCH, ROUND_SECONDS, Work

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
OF_A_RECORD = {"pager": 1, "hook": 1, "mail": 1}
"""What goes out for a record of the fake cloud: it names no fault, so the customer is not written to."""

PATIENCE = 5.0
"""Seconds after which a test that waits for another thread fails instead of hanging."""


class FakeHand(Hand):
    """Notes what it is handed, or says that the broker is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.handed_rows: list[int] = []
        self.handed_notices: list[str] = []
        self.handed_probes: list[tuple[bool, list[str]]] = []
        self.handed_preflights: list[list[str]] = []

    def rows(self, rows: Iterable[tuple[int, Carries]]) -> None:
        self._look()
        self.handed_rows += [row for row, _ in rows]

    def notices(self, notices: Iterable[Queued]) -> None:
        self._look()
        self.handed_notices += [notice.id for notice in notices]

    def probes(self, claims: Mapping[str, int], *, wanted: bool) -> None:
        self._look()
        self.handed_probes.append((wanted, list(claims)))

    def preflights(self, claims: Mapping[str, int]) -> None:
        self._look()
        self.handed_preflights.append(list(claims))

    def _look(self) -> None:
        if self.away:
            raise BrokerAway("connection refused")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    cloud = FakeCloud()
    monkeypatch.setattr("watchdog.clouds.cloud", lambda _name: cloud)
    return make_runtime(tmp_path)


def work(runtime: Runtime, hand: Hand | None, objects: FakeObjects | None = None) -> Work:
    cloud = FakeCloud()
    intake = Intake(
        runtime.store, runtime.registry, lambda _name: cloud, objects={"aws": objects or FakeObjects({})},
        on_quarantine=lambda unit, feed, pieces: note_quarantined(runtime, unit, feed, pieces),
    )  # fmt: skip
    return Work(runtime, intake, hand)


def arrive(
    runtime: Runtime, *bodies: bytes, at: datetime | None = None, carries: Carries = Carries.RECORD
) -> list[int]:
    """Put rows into the inbox, a minute ago unless said otherwise; return their ids."""
    received_at = at or utc_now() - MINUTE
    with runtime.store.write() as unit:
        return unit.receive(
            [
                Arrival(
                    feed="drop", event_id=f"{number}-{body.decode()}", cloud="aws", body=body, received_at=received_at,
                    carries=carries,
                )
                for number, body in enumerate(bodies)
            ]
        )  # fmt: skip


def queue(runtime: Runtime, *, at: datetime | None = None, prefix: str = "") -> list[Notice]:
    """Put the notices of a disabled key into the outbox, a minute ago unless said otherwise."""
    notices = Story().push(signal(Effect.KEY_DISABLED), now=at or utc_now() - MINUTE)
    named = [replace(one, id=f"{prefix}{one.id}", dedup=f"{prefix}{one.dedup}") for one in notices]
    with runtime.store.write() as unit:
        unit.add_notices(named)
    return named


def waiting(runtime: Runtime) -> int:
    with runtime.store.read() as unit:
        return sum(unit.inbox_counts().values())


def accepted(runtime: Runtime) -> int:
    with runtime.store.read() as unit:
        return unit.outbox_counts()[NoticeState.ACCEPTED]


def sent(runtime: Runtime) -> dict[str, int]:
    """How many notices each channel has sent."""
    found = {name: len(channel(runtime, name).sent) for name in runtime.channels}
    return {name: count for name, count in found.items() if count}


def hang(slow: ScriptedChannel, others: Sequence[ScriptedChannel]) -> None:
    """Let `slow` send only after each of the others has sent: if it held them up, nothing would go out."""
    gone = [threading.Event() for _ in others]
    for other, event in zip(others, gone, strict=True):
        other.on_send = event.set

    def wait() -> None:
        slow.on_send = lambda: None
        assert all(event.wait(PATIENCE) for event in gone), "the slow destination held up the others"

    slow.on_send = wait


# --------------------------------------------------------------------------------------------------------- handing on


PAGES = {"pager": 1, "hook": 1}
"""What leaves together with the commit of a record; the mail to the account staff is handed on."""


def test_the_pages_of_a_record_leave_at_once_and_the_rest_is_handed_on(runtime: Runtime) -> None:
    hand = FakeHand()
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    work(runtime, hand).observe(row)
    assert 0 == waiting(runtime)
    assert PAGES == sent(runtime)
    assert 1 == len(hand.handed_notices)
    assert "account" in hand.handed_notices[0]


def test_a_pager_that_hangs_holds_up_neither_the_second_page_nor_the_mail(runtime: Runtime) -> None:
    hand = FakeHand()
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    paged = threading.Event()
    channel(runtime, "hook").on_send = paged.set

    def hang() -> None:
        assert paged.wait(PATIENCE), "the second page waited"
        for _ in range(int(PATIENCE * 100)):
            if hand.handed_notices:
                return
            threading.Event().wait(0.01)
        raise AssertionError("the mail waited")

    channel(runtime, "pager").on_send = hang
    work(runtime, hand).observe(row)
    assert (PAGES, 1) == (sent(runtime), len(hand.handed_notices))
    assert 2 == accepted(runtime)


def test_a_page_that_could_not_be_sent_at_once_is_tried_again_like_any_other(runtime: Runtime) -> None:
    channel(runtime, "pager").answers = [Receipt(outcome=Outcome.RETRY, reason=Reason.TIMEOUT)]
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    work(runtime, FakeHand()).observe(row)
    assert 1 == accepted(runtime)
    with runtime.store.read() as unit:
        assert 1 == len(unit.notices_due(utc_now() + MINUTE, 10, channel="pager"))


def test_a_record_that_was_worked_before_sends_nothing_and_hands_nothing_on(runtime: Runtime) -> None:
    hand = FakeHand()
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    for _ in range(3):
        work(runtime, hand).observe(row)
    assert (PAGES, 1) == (sent(runtime), len(hand.handed_notices))


def test_without_a_broker_the_notices_go_out_from_here(runtime: Runtime) -> None:
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    work(runtime, FakeHand(away=True)).observe(row)
    assert OF_A_RECORD == sent(runtime)


def test_without_a_broker_a_slow_destination_holds_up_no_other(runtime: Runtime) -> None:
    hang(channel(runtime, "pager"), [channel(runtime, "hook"), channel(runtime, "mail")])
    (row,) = arrive(runtime, disabled("e", ACME_KEY))
    work(runtime, FakeHand(away=True)).observe(row)
    assert 3 == accepted(runtime)


# --------------------------------------------------------------------------------------------------------------- drain


def test_by_itself_a_process_works_the_inbox_first_and_then_the_outbox(runtime: Runtime) -> None:
    queue(runtime, prefix="old-")
    arrive(runtime, line("n", key="unknown"), disabled("e", ACME_KEY))
    left: list[int] = []
    channel(runtime, "hook").on_send = lambda: left.append(waiting(runtime))
    done = work(runtime, FakeHand(away=True)).by_itself().drain(before=utc_now())
    assert [0, 0] == left
    assert {"pager": 2, "hook": 2, "mail": 4} == sent(runtime)
    assert 2 + 8 == done


def test_what_is_not_due_yet_is_left_alone(runtime: Runtime) -> None:
    now = utc_now()
    arrive(runtime, disabled("e", ACME_KEY), at=now)
    queue(runtime, at=now, prefix="new-")
    assert 0 == work(runtime, FakeHand()).drain(before=now - SECOND)
    assert (1, {}) == (waiting(runtime), sent(runtime))


def test_no_notice_waits_behind_more_than_a_batch_of_records(runtime: Runtime) -> None:
    arrive(runtime, disabled("e", ACME_KEY), *(line(f"n{number}", key="unknown") for number in range(BATCH + 9)))
    left: list[int] = []
    channel(runtime, "pager").on_send = lambda: left.append(waiting(runtime))
    work(runtime, None).drain(before=utc_now())
    assert [10] == left
    assert 0 == waiting(runtime)


def test_a_record_that_fails_is_not_worked_again_in_the_same_round(runtime: Runtime) -> None:
    arrive(runtime, line("bad", meaning="fails"), disabled("e", ACME_KEY))
    work(runtime, None).drain(before=utc_now())
    with runtime.store.read() as unit:
        (left,) = [row for row in (unit.arrived(1), unit.arrived(2)) if row]
    assert 1 == left.attempts
    assert OF_A_RECORD == sent(runtime)


def test_with_a_broker_only_the_inbox_is_swept_and_its_notices_are_handed_on(runtime: Runtime) -> None:
    hand = FakeHand()
    arrive(runtime, disabled("e", ACME_KEY))
    assert 1 == work(runtime, hand).drain_rows(before=utc_now())
    assert (1, PAGES) == (len(hand.handed_notices), sent(runtime))


# ------------------------------------------------------------------------------------------------------------- sending


@pytest.mark.parametrize("slow", ["pager", "hook", "mail"])
def test_a_slow_destination_holds_up_no_other(runtime: Runtime, slow: str) -> None:
    queue(runtime)
    hang(channel(runtime, slow), [channel(runtime, name) for name in ("pager", "hook", "mail") if name != slow])
    assert 5 == work(runtime, None).send_due(before=utc_now())
    assert 5 == accepted(runtime)


def test_a_flood_over_one_channel_does_not_hide_the_page(runtime: Runtime) -> None:
    for number in range(BATCH):
        queue(runtime, prefix=f"{number}-", at=utc_now() - 10 * MINUTE)
    channel(runtime, "mail").answers = [Receipt(outcome=Outcome.RETRY, reason=Reason.TIMEOUT)] * 1000
    assert BATCH == work(runtime, None).send_due_over("pager", before=utc_now())
    assert {"pager": BATCH} == sent(runtime)


def test_a_round_ends_in_time_and_the_next_one_goes_on(runtime: Runtime) -> None:
    for number in range(4):
        queue(runtime, prefix=f"{number}-")
    clock = [0.0]

    def pass_time() -> None:
        clock[0] += ROUND_SECONDS / 4

    channel(runtime, "mail").on_send = pass_time
    sender = Work(runtime, work(runtime, None).intake, None, monotonic=lambda: clock[0])
    assert [4, 4, 4, 0] == [sender.send_due_over("mail", before=utc_now()) for _ in range(4)]


def test_a_notice_that_is_to_be_tried_again_later_is_tried_once_in_a_round(runtime: Runtime) -> None:
    queue(runtime)
    channel(runtime, "hook").answers = [Receipt(outcome=Outcome.RETRY, reason=Reason.TIMEOUT)] * 9
    work(runtime, None).send_due(before=utc_now() + MINUTE)
    assert {"hook": 1, "pager": 1, "mail": 3} == sent(runtime)


def test_a_notice_for_a_channel_that_is_gone_is_settled_and_told(runtime: Runtime) -> None:
    queue(runtime)
    del runtime.__dict__["channels"]["hook"]
    sender = work(runtime, None)
    assert 5 == sender.send_due(before=utc_now())
    with runtime.store.read() as unit:
        assert 1 == unit.outbox_counts()[NoticeState.FAILED]
    sender.send_due(before=utc_now() + SECOND)
    (told,) = channel(runtime, "operators").sent
    assert isinstance(told.facts, OperatorFacts)
    assert "No channel is called 'hook' any more" in told.facts.next


# ---------------------------------------------------------------------------------------------------------- deliveries


def point(runtime: Runtime, name: str = "a.json.gz") -> int:
    body = msgspec.json.encode(Pointer(bucket="trail", name=name, region="eu-west-1"))
    (row,) = arrive(runtime, body, carries=Carries.DELIVERY)
    return row


def piece(*records: bytes, error: str | None = None) -> Piece:
    return Piece(name="s3://trail/a.json.gz", form=Form.LINES, body=b"\n".join(records), error=error)


def operator_subjects(runtime: Runtime) -> list[str]:
    return [one.facts.subject for one in channel(runtime, "operators").sent if isinstance(one.facts, OperatorFacts)]


def test_the_records_of_a_delivery_become_rows_of_their_own_and_are_handed_on(runtime: Runtime) -> None:
    hand = FakeHand()
    row = point(runtime)
    objects = FakeObjects({"a.json.gz": [piece(disabled("e", ACME_KEY), line("n", noise=1))]})
    work(runtime, hand, objects).read_delivery(row)
    with runtime.store.read() as unit:
        assert [(hand.handed_rows[0], Carries.RECORD)] == unit.arrived_due(utc_now(), 10)
        assert unit.arrived(row) is None


def test_without_a_broker_they_are_worked_here(runtime: Runtime) -> None:
    objects = FakeObjects({"a.json.gz": [piece(disabled("e", ACME_KEY))]})
    point(runtime)
    work(runtime, None, objects).drain(before=utc_now())
    assert (0, 3) == (waiting(runtime), accepted(runtime))


def test_a_delivery_that_somebody_reads_is_not_begun_again(runtime: Runtime) -> None:
    row = point(runtime)
    objects = FakeObjects({"a.json.gz": [piece(disabled("e", ACME_KEY))]})
    second = work(runtime, FakeHand(), objects)
    with runtime.store.write() as unit:
        assert unit.claim_arrival(row, now=utc_now(), length=MINUTE) is not None
    second.read_delivery(row)
    assert 1 == waiting(runtime)


def test_what_cannot_be_read_of_a_delivery_is_told_to_the_operators(runtime: Runtime) -> None:
    objects = FakeObjects({"a.json.gz": [piece(b"{broken"), piece(disabled("e", ACME_KEY))]})
    point(runtime)
    work(runtime, None, objects).drain(before=utc_now())
    assert ["Feed drop: a piece could not be read"] == operator_subjects(runtime)


@pytest.mark.parametrize(
    ("reason", "told"),
    [(FeedReason.DENIED, ["Feed drop: an object cannot be fetched"]), (FeedReason.NETWORK, [])],
)
def test_the_operators_hear_of_an_object_that_only_a_person_can_make_readable(
    runtime: Runtime, reason: FeedReason, told: list[str]
) -> None:
    objects = FakeObjects({"a.json.gz": [FeedFault(reason, "S3 GetObject failed")]})
    row = point(runtime)
    work(runtime, None, objects).drain(before=utc_now())
    assert told == operator_subjects(runtime)
    with runtime.store.read() as unit:
        left = unit.arrived(row)
    assert left is not None
    assert 1 == left.attempts


def test_a_worker_starts_although_the_store_is_away(runtime: Runtime) -> None:
    store = FaultyStore(runtime.store)
    runtime.__dict__["store"] = store
    store.away = True
    work(runtime, FakeHand()).warm_up()
    store.away = False
    work(runtime, FakeHand()).warm_up()
