from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.interface import Outcome, Reason, Receipt
from tests.watchdog.stories import Story
from tests.watchdog.test_health import signal
from tests.workers.runtimes import ACCEPTED, channel, make_runtime
from watchdog.evidence import verify
from watchdog.notices import Kind, Notice
from watchdog.words import Effect
from workers.delivering import GIVE_UP, RETRIES, deliver, wait
from workers.runtime import Runtime, utc_now
from workers.settings import LEASE
from workers.store.interface import NoticeState

AGAIN = Receipt(outcome=Outcome.RETRY, reason=Reason.SERVER_ERROR, http_status=503)
NEVER = Receipt(outcome=Outcome.PERMANENT, reason=Reason.AUTH_ERROR, http_status=401, hint="Check the routing key.")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime(tmp_path)


def queue(runtime: Runtime, *, name: str = "pager", at: datetime | None = None) -> Notice:
    """Put the alarm of a disabled key into the outbox; return the notice for one channel."""
    story = Story()
    notices = story.push(signal(Effect.KEY_DISABLED), now=at or utc_now())
    with runtime.store.write() as unit:
        unit.add_notices(notices)
    return next(notice for notice in notices if notice.channel == name)


def state(runtime: Runtime, notice: Notice) -> NoticeState:
    with runtime.store.read() as unit:
        stored = unit.notice(notice.id)
    assert stored is not None
    return stored.state


def operator_notices(runtime: Runtime, now: datetime) -> list[str]:
    with runtime.store.read() as unit:
        return [notice_id for notice_id, _ in unit.notices_due(now, 100) if notice_id.startswith("OP-")]


def test_it_keeps_the_receipt_and_the_bytes(runtime: Runtime) -> None:
    notice = queue(runtime)
    deliver(runtime, notice.id, now=utc_now())
    assert NoticeState.ACCEPTED is state(runtime, notice)
    with runtime.store.read() as unit:
        stored = unit.notice(notice.id)
        assert stored is not None
        assert ("id-1", 1) == (stored.provider_id, stored.attempts)
        assert f"{notice.id} alarm".encode() == unit.rendered(notice.id)
        assert ["attempt"] == [entry.kind for entry in unit.evidence() if entry.kind == "attempt"]
        assert verify(unit.evidence())[1] is None


def test_a_notice_that_was_accepted_is_not_sent_again(runtime: Runtime) -> None:
    notice = queue(runtime)
    for _ in range(3):
        deliver(runtime, notice.id, now=utc_now())
    assert 1 == len(channel(runtime, "pager").sent)


def test_a_temporary_failure_is_tried_again_by_the_time_in_the_row(runtime: Runtime) -> None:
    notice = queue(runtime)
    channel(runtime, "pager").answers = [AGAIN]
    now = utc_now()
    deliver(runtime, notice.id, now=now)
    assert NoticeState.QUEUED is state(runtime, notice)
    assert deliver(runtime, notice.id, now=now + timedelta(seconds=1)) is None
    deliver(runtime, notice.id, now=now + timedelta(seconds=8))
    assert NoticeState.ACCEPTED is state(runtime, notice)


def test_what_cannot_be_delivered_is_told_to_the_operators_over_another_channel(runtime: Runtime) -> None:
    notice = queue(runtime, name="mail")
    channel(runtime, "mail").answers = [NEVER]
    deliver(runtime, notice.id, now=utc_now())
    assert NoticeState.FAILED is state(runtime, notice)
    for notice_id in operator_notices(runtime, utc_now()):
        deliver(runtime, notice_id, now=utc_now())
    told = channel(runtime, "operators").sent
    assert [Kind.OPERATOR] == [one.kind for one in told]
    assert "Check the routing key. Reach alice@acme.example in another way now" in str(told[0].facts)


def test_a_failing_operator_channel_is_told_over_the_other_one_and_only_once(runtime: Runtime) -> None:
    notice = queue(runtime, name="mail")
    channel(runtime, "mail").answers = [NEVER]
    channel(runtime, "operators").answers = [NEVER] * 9
    deliver(runtime, notice.id, now=utc_now())
    for _ in range(5):
        for notice_id in operator_notices(runtime, utc_now()):
            deliver(runtime, notice_id, now=utc_now())
    assert 1 == len(channel(runtime, "operators").sent)
    assert 1 == len(channel(runtime, "second").sent)


def test_after_a_day_of_trying_it_is_told_instead(runtime: Runtime) -> None:
    notice = queue(runtime, at=utc_now() - GIVE_UP)
    channel(runtime, "pager").answers = [AGAIN]
    deliver(runtime, notice.id, now=utc_now())
    assert NoticeState.FAILED is state(runtime, notice)
    assert 2 == len(operator_notices(runtime, utc_now()))


def test_a_fault_of_a_senders_own_code_does_not_lose_the_notice(runtime: Runtime) -> None:
    notice = queue(runtime)
    channel(runtime, "pager").answers = [ZeroDivisionError("secret-in-text")]
    delivered = deliver(runtime, notice.id, now=utc_now())
    assert NoticeState.QUEUED is state(runtime, notice)
    assert delivered is not None
    assert "secret-in-text" not in str(delivered.receipt)


def test_the_milder_alert_stays_open_when_the_worse_one_could_not_be_sent(runtime: Runtime) -> None:
    story = Story()
    now = utc_now()
    notices = story.push(signal(Effect.KEY_DISABLED), now=now) + story.push(signal(Effect.KEY_DESTROYED, 5), now=now)
    with runtime.store.write() as unit:
        unit.add_notices(notices)
    channel(runtime, "pager").answers = [ACCEPTED, NEVER]
    pages = [notice for notice in notices if notice.channel == "pager"]
    for notice in pages:
        deliver(runtime, notice.id, now=utc_now())
    assert [Kind.ALARM, Kind.ALARM, Kind.CLEAR] == [notice.kind for notice in pages]
    assert [NoticeState.ACCEPTED, NoticeState.FAILED, NoticeState.SUPPRESSED] == [state(runtime, one) for one in pages]
    assert 2 == len(channel(runtime, "pager").sent)


def test_a_channel_that_is_gone_from_the_settings_is_told(runtime: Runtime) -> None:
    notice = queue(runtime)
    del runtime.__dict__["channels"]["pager"]
    deliver(runtime, notice.id, now=utc_now())
    assert NoticeState.FAILED is state(runtime, notice)
    assert operator_notices(runtime, utc_now())


def test_a_sender_that_died_is_replaced_when_its_lease_ends(runtime: Runtime) -> None:
    notice = queue(runtime)
    now = utc_now()
    with runtime.store.write() as unit:
        assert unit.lease(notice.id, now=now, length=LEASE) is not None
    assert deliver(runtime, notice.id, now=now + LEASE / 2) is None
    assert deliver(runtime, notice.id, now=now + LEASE * 1.1) is not None


def test_a_late_sender_does_not_overwrite_what_its_successor_recorded(runtime: Runtime) -> None:
    notice = queue(runtime)
    now = utc_now()

    def successor() -> None:
        channel(runtime, "pager").on_send = lambda: None
        deliver(runtime, notice.id, now=now + LEASE * 1.1)

    channel(runtime, "pager").on_send = successor
    channel(runtime, "pager").answers = [Receipt(outcome=Outcome.ACCEPTED, provider_id="successor"), AGAIN]
    deliver(runtime, notice.id, now=now)
    assert NoticeState.ACCEPTED is state(runtime, notice)
    with runtime.store.read() as unit:
        stored = unit.notice(notice.id)
    assert stored is not None
    assert "successor" == stored.provider_id


@pytest.mark.parametrize("attempts", range(9))
def test_waits_grow_to_a_quarter_of_an_hour_and_no_further(attempts: int) -> None:
    planned = RETRIES[min(attempts, len(RETRIES) - 1)]
    assert planned * 0.89 <= wait(attempts, None) <= planned * 1.11


def test_it_waits_as_long_as_the_far_end_asks_but_not_for_ever() -> None:
    assert timedelta(minutes=2) == wait(0, timedelta(minutes=2))
    assert RETRIES[-1] == wait(0, timedelta(days=2))
