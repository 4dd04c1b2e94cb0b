import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.interface import Outcome, Reason, Receipt
from tests.workers.fakes import FaultyStore
from tests.workers.runtimes import channel, make_runtime
from tests.worlds import ACME_KEY, T0
from watchdog.notices import Notice, OperatorFacts
from watchdog.words import Severity
from workers.processes import (
    BEAT_EVERY,
    Presence,
    bare_alarm,
    make_consumer,
    make_source,
    note_quarantined,
    tell_quarantined,
    wait_for_store,
)
from workers.runtime import Runtime
from workers.samples.corpus import Corpus, eventbridge
from workers.settings import FeedSettings
from workers.store.interface import ProcessSeen, StoreFault, StoreUnavailable, Unreadable

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NEVER = Receipt(outcome=Outcome.PERMANENT, reason=Reason.AUTH_ERROR)


class Clock:
    """A time of day that passes when told to."""

    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime(tmp_path)


@pytest.fixture
def store(runtime: Runtime) -> FaultyStore:
    """The runtime's store, which can go away and counts its transactions."""
    found = FaultyStore(runtime.store)
    runtime.__dict__["store"] = found
    return found


def facts(notice: Notice) -> OperatorFacts:
    assert isinstance(notice.facts, OperatorFacts)
    return notice.facts


def told(runtime: Runtime, name: str = "operators") -> list[str]:
    return [facts(notice).what for notice in channel(runtime, name).sent]


def seen(runtime: Runtime) -> ProcessSeen:
    with runtime.store.read() as unit:
        (only,) = unit.processes()
    return only


# ---------------------------------------------------------------------------------------------------------- bare alarm


def test_without_a_store_the_operators_are_paged_all_the_same(runtime: Runtime, store: FaultyStore) -> None:
    store.away = True
    bare_alarm(runtime, "feed drop: nothing can be committed")
    (notice,) = channel(runtime, "operators").sent
    assert (Severity.CRITICAL, "The watchdog cannot reach its store") == (notice.severity, facts(notice).subject)
    assert facts(notice).what.startswith("feed drop: nothing can be committed. No audit record is worked")
    assert [] == channel(runtime, "second").sent


@pytest.mark.parametrize("answer", [NEVER, ZeroDivisionError("our own fault")])
def test_when_the_first_channel_fails_the_second_is_asked(runtime: Runtime, answer: Receipt | Exception) -> None:
    channel(runtime, "operators").answers = [answer]
    bare_alarm(runtime, "no store")
    assert 1 == len(channel(runtime, "second").sent)


def test_an_alarm_that_nobody_takes_is_not_taken_for_given(runtime: Runtime) -> None:
    channel(runtime, "operators").answers = [NEVER]
    channel(runtime, "second").answers = [ZeroDivisionError()]
    with pytest.raises(RuntimeError, match=r"operators: auth_error, second: ZeroDivisionError"):
        bare_alarm(runtime, "no store")


def test_without_any_operator_channel_the_alarm_says_so(runtime: Runtime) -> None:
    object.__setattr__(runtime.settings, "operators", ())
    with pytest.raises(RuntimeError, match="none is configured"):
        bare_alarm(runtime, "no store")


# ------------------------------------------------------------------------------------------------------------ presence


def test_it_gives_a_sign_of_life_at_most_every_ten_seconds(runtime: Runtime, store: FaultyStore) -> None:
    clock = Clock()
    presence = Presence(runtime, "consumer drop", clock)
    for second in range(31):
        clock.at = T0 + second * SECOND
        presence.beat()
    assert 1 + 30 // BEAT_EVERY.seconds == store.writes
    assert ("consumer drop", T0 + 30 * SECOND, T0) == (
        seen(runtime).kind,
        seen(runtime).seen_at,
        seen(runtime).started_at,
    )


def test_a_lack_is_shown_and_told_at_once_and_its_end_is_shown_at_once(runtime: Runtime) -> None:
    clock = Clock()
    presence = Presence(runtime, "consumer drop", clock)
    presence.beat()
    clock.at += SECOND
    presence.lack("the broker is away")
    presence.beat()
    assert "the broker is away" == seen(runtime).degraded
    assert ["consumer drop: the broker is away"] == told(runtime) == told(runtime, "second")
    clock.at += SECOND
    presence.lack(None)
    presence.beat()
    assert seen(runtime).degraded is None
    assert 1 == len(told(runtime))


def test_a_lack_that_lasts_is_told_again_every_hour_and_a_new_one_at_once(runtime: Runtime) -> None:
    clock = Clock()
    presence = Presence(runtime, "consumer drop", clock)
    presence.lack("the broker is away")
    moments = []
    for minute in range(150):
        clock.at = T0 + 50 * MINUTE + minute * MINUTE
        if minute == 100:
            presence.lack("the broker is away; feed drop: denied")
        before = len(told(runtime))
        presence.beat()
        if len(told(runtime)) > before:
            moments.append(minute)
    assert [0, 60, 100] == moments


def test_a_cause_that_differs_only_in_its_numbers_is_no_new_one(runtime: Runtime) -> None:
    clock = Clock()
    presence = Presence(runtime, "consumer drop", clock)
    for number in range(5):
        clock.at += MINUTE
        presence.lack(f"feed drop: {number} messages could not be acknowledged")
        presence.beat()
    assert 1 == len(told(runtime))


def test_many_processes_that_lack_the_same_thing_tell_once(runtime: Runtime) -> None:
    for name in ("worker urgent", "worker bulk", "consumer drop"):
        presence = Presence(runtime, name, Clock())
        presence.lack("the broker is away")
        presence.beat()
    assert 1 == len(told(runtime))


def test_a_beat_without_a_store_is_not_taken_for_given(runtime: Runtime, store: FaultyStore) -> None:
    presence = Presence(runtime, "consumer drop", Clock())
    presence.lack("the broker is away")
    store.away = True
    with pytest.raises(StoreUnavailable):
        presence.beat()
    store.away = False
    presence.beat()
    assert ["consumer drop: the broker is away"] == told(runtime)


# ---------------------------------------------------------------------------------------------------------- quarantine


def quarantine(runtime: Runtime, *places: str) -> list[int]:
    pieces = [
        Unreadable(
            feed="drop", cloud="aws", place=place, reason=f"{place} is torn", body=place.encode(), received_at=T0
        )
        for place in places
    ]
    with runtime.store.write() as unit:
        kept = [(number, piece) for piece in pieces if (number := unit.quarantine(piece)) is not None]
        note_quarantined(runtime, unit, "drop", kept)
    return [number for number, _ in kept]


def test_unreadable_pieces_are_told_with_the_first_of_them_and_kept_as_evidence(runtime: Runtime) -> None:
    ids = quarantine(runtime, "record 3", "record 7", "record 9")
    tell_quarantined(runtime, "drop", ids)
    (notice,) = channel(runtime, "operators").sent
    assert "record 3" == facts(notice).where
    assert facts(notice).what.endswith("record 3 is torn (3 pieces; this is the first)")
    with runtime.store.read() as unit:
        assert ["drop"] == [entry.subject for entry in unit.evidence() if entry.kind == "quarantined"]


def test_nothing_unreadable_tells_nothing_and_costs_no_commit(runtime: Runtime, store: FaultyStore) -> None:
    tell_quarantined(runtime, "drop", [])
    assert 0 == store.writes


# ----------------------------------------------------------------------------------------------------- start and stop


def test_a_process_that_starts_before_its_database_waits_for_it(runtime: Runtime) -> None:
    tries = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            tries.append(timeout)
            return False

    def ready() -> None:
        if len(tries) < 3:
            raise StoreUnavailable(StoreFault.UNREACHABLE, "connection refused")

    assert wait_for_store(runtime, ready, Stop())
    assert [2.0] * 3 == tries


def test_it_can_be_stopped_while_it_waits(runtime: Runtime) -> None:
    stop = threading.Event()

    def ready() -> None:
        stop.set()
        raise StoreUnavailable(StoreFault.UNREACHABLE, "connection refused")

    assert not wait_for_store(runtime, ready, stop)


def test_a_fault_of_our_own_is_not_waited_out(runtime: Runtime) -> None:
    def ready() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        wait_for_store(runtime, ready, threading.Event())


_SIGNALLED = """
import os, signal, sys
from workers.processes import stop_on_signals
stop = stop_on_signals()
os.kill(os.getpid(), signal.{name})
assert stop.wait(5), "the first one asks"
print("stopping", flush=True)
os.kill(os.getpid(), signal.{name})
print("not reached")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_signal_asks_to_stop_and_the_second_ends_at_once(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED.format(name=name)],
        capture_output=True, text=True, timeout=30, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert ("stopping\n", 128 + getattr(signal, name)) == (done.stdout, done.returncode), done.stderr


# ------------------------------------------------------------------------------------------------------------- sources


def test_a_folder_feed_makes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "drop"
    source = make_source(FeedSettings(name="drop", kind="folder", cloud="aws", options={"path": str(folder)}))
    assert folder.is_dir()
    assert ("drop", "aws") == (source.name, source.cloud)


def test_a_queue_feed_takes_its_settings_and_asks_nobody_yet() -> None:
    options = {"url": "https://sqs.eu-west-1.amazonaws.com/999988887777/events", "visibility_seconds": 77}
    source = make_source(FeedSettings(name="events", kind="sqs", cloud="aws", options=options))
    assert ("events", 77) == (source.name, source.visibility)


def test_without_a_broker_a_consumer_works_a_dropped_file_to_the_page_and_says_what_it_lacks(
    runtime: Runtime, tmp_path: Path
) -> None:
    consumer = make_consumer(runtime, runtime.settings.feeds[0])
    (tmp_path / "drop" / "event.json").write_bytes(eventbridge(Corpus(seed=1).change("DisableKey", ACME_KEY)))
    stop = threading.Event()
    channel(runtime, "operators").on_send = stop.set
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    is_told = stop.wait(10)
    stop.set()
    thread.join(10)
    assert is_told
    assert not thread.is_alive()
    assert 1 == len(channel(runtime, "pager").sent)
    assert "the broker is away" in told(runtime)[0]
    assert "the broker is away" in (seen(runtime).degraded or "")
