"""The heartbeat leaves while everything works, stays away as soon as one part stops, and the operators hear of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Answer, HttpFake
from tests.workers.runtimes import make_runtime
from tests.workers.store.things import arrival, notice
from tests.workers.test_scheduler import together
from tests.workers.test_working import FakeHand, work
from tests.worlds import T0
from watchdog.audit import Outcome
from watchdog.evidence import seal, verify
from workers.auditing import Audited, Walk, last_audit, walk_on
from workers.heartbeat import SETTLING, beat
from workers.observing import observe_row
from workers.runtime import Runtime
from workers.scheduler import CLAIMED, COMING_UP, Scheduler
from workers.settings import HeartbeatSettings
from workers.store.interface import ProcessSeen
from workers.synthetic import passages, put_in

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
KINDS = ("scheduler", "worker urgent,normal", "worker bulk", "consumer drop")


@pytest.fixture
def far_end() -> Iterator[HttpFake]:
    with HttpFake() as fake:
        yield fake


@pytest.fixture
def runtime(tmp_path: Path, far_end: HttpFake) -> Runtime:
    made = make_runtime(tmp_path)
    made.settings = replace(
        made.settings, heartbeat=HeartbeatSettings(kind="healthchecks", options={"url": f"{far_end.url}/uuid"})
    )
    return made


def live(runtime: Runtime, now: datetime, *, without: str = "", degraded: str | None = None) -> None:
    """Let everything be alive and done at this moment, but for one part."""
    with runtime.store.write() as unit:
        for kind in KINDS:
            if kind != without:
                unit.process_beat(
                    ProcessSeen(name=kind, kind=kind, seen_at=now, started_at=T0, degraded=degraded)
                )  # fmt: skip
        if without != "feed":
            unit.feed_seen("drop", asked_at=now)
        for name, every in CLAIMED.items():
            if name != without:
                unit.claim_job(name, now=now, every=every)
    if without != "synthetic":
        for row, _ in put_in(runtime, lambda *_: None, now=now):
            observe_row(runtime, row, now=now)


def turn(runtime: Runtime, now: datetime) -> Audited:
    return beat(runtime, CLAIMED, now=now).audited


def paths(far_end: HttpFake) -> list[str]:
    return [one.path for one in far_end.received]


def failing(audited: Audited) -> set[str]:
    return {check.name for check in audited.checks if check.outcome is not Outcome.PASSED}


def operators_told(runtime: Runtime) -> int:
    with runtime.store.read() as unit:
        return sum(unit.outbox_counts().values())


def test_while_all_works_each_turn_sends_one_heartbeat(runtime: Runtime, far_end: HttpFake) -> None:
    for minutes in range(3):
        live(runtime, T0 + minutes * MINUTE)
        audited = turn(runtime, T0 + minutes * MINUTE)
        assert failing(audited) == set()
        assert (audited.sent_at, audited.error) == (T0 + minutes * MINUTE, None)

    assert paths(far_end) == ["/uuid"] * 3
    assert operators_told(runtime) == 0


@pytest.mark.parametrize(
    ("stopped", "names"),
    [
        ("consumer drop", {"feed drop"}),
        ("feed", {"feed drop"}),
        ("worker urgent,normal", {"worker of urgent", "worker of normal"}),
        ("worker bulk", {"worker of bulk"}),
        ("scheduler", {"scheduler"}),
        ("advance", {"job advance"}),
    ],
)
def test_what_stops_makes_the_heartbeat_stay_away_and_its_return_brings_it_back(
    runtime: Runtime, far_end: HttpFake, stopped: str, names: set[str]
) -> None:
    live(runtime, T0)
    turn(runtime, T0)
    later = T0 + 3 * MINUTE
    live(runtime, later, without=stopped)

    audited = turn(runtime, later)

    assert failing(audited) == names
    assert (audited.failing_since, audited.sent_at) == (later, T0)
    assert paths(far_end) == ["/uuid"], "nothing is sent, not even a failure: it may be coming up"
    live(runtime, later + MINUTE)
    assert turn(runtime, later + MINUTE).sent_at == later + MINUTE
    assert paths(far_end) == ["/uuid", "/uuid"]


def test_a_synthetic_record_that_never_comes_out_makes_it_stay_away(runtime: Runtime, far_end: HttpFake) -> None:
    live(runtime, T0, without="synthetic")
    assert failing(turn(runtime, T0)) == {"synthetic record aws"}
    live(runtime, T0 + MINUTE)
    assert failing(turn(runtime, T0 + MINUTE)) == set()
    late = T0 + MINUTE + 25 * HOUR + SECOND
    live(runtime, late, without="synthetic")
    audited = turn(runtime, late)
    assert failing(audited) == {"synthetic record aws"}
    assert len(paths(far_end)) == 1


def test_what_waits_too_long_makes_it_stay_away(runtime: Runtime) -> None:
    live(runtime, T0)
    with runtime.store.write() as unit:
        unit.add_notices([notice(created_at=T0)])
        unit.receive([arrival("e", received_at=T0)])
    live(runtime, T0 + MINUTE)
    assert failing(turn(runtime, T0 + MINUTE)) == set()
    live(runtime, T0 + 3 * MINUTE)
    assert failing(turn(runtime, T0 + 3 * MINUTE)) == {"outbox", "inbox"}
    live(runtime, T0 + 31 * MINUTE)
    assert failing(turn(runtime, T0 + 31 * MINUTE)) == {"outbox", "inbox", "delivery"}


def test_a_failure_that_lasts_is_told_outside_and_to_the_operators_once_an_hour(
    runtime: Runtime, far_end: HttpFake
) -> None:
    told = []
    for minutes in range(125):
        now = T0 + minutes * MINUTE
        live(runtime, now, degraded="the broker is away")
        told.append(len(beat(runtime, CLAIMED, now=now).queued))

    assert told[:2] == [0, 0]
    assert [number for number, count in enumerate(told) if count] == [2, 60, 120], "T0 is a full hour"
    assert {count for count in told if count} == {2}, "over both channels of the operators"
    assert set(paths(far_end)) == {"/uuid/fail"}
    assert len(paths(far_end)) == 123
    assert far_end.received[0].body.startswith(b"degraded: ")


def test_after_a_night_without_audits_the_settling_begins_anew(runtime: Runtime) -> None:
    live(runtime, T0, degraded="x")
    turn(runtime, T0)
    morning = T0 + 9 * HOUR

    assert turn(runtime, morning).failing_since == morning
    assert operators_told(runtime) == 0
    live(runtime, morning + SETTLING, degraded="x")
    assert turn(runtime, morning + SETTLING).failing_since == morning
    assert operators_told(runtime) == 2


@pytest.mark.parametrize("answer", [Answer(500, body=b"ill"), Answer(200, body=b"OK (not found)")])
def test_a_heartbeat_that_cannot_be_sent_is_shown_and_sent_at_the_next_turn(
    tmp_path: Path, answer: Answer
) -> None:  # fmt: skip
    with HttpFake(answer, Answer(200, body=b"OK")) as fake:
        made = make_runtime(tmp_path)
        options = {"url": f"{fake.url}/uuid"}
        made.settings = replace(made.settings, heartbeat=HeartbeatSettings(kind="healthchecks", options=options))
        live(made, T0)
        first = turn(made, T0)
        assert first.sent_at is None
        assert answer.body.decode() in (first.error or "")
        live(made, T0 + MINUTE)
        second = turn(made, T0 + MINUTE)
    assert (second.sent_at, second.error) == (T0 + MINUTE, None)


@pytest.mark.parametrize("options", [{"url": "env:TEST_NO_SUCH_VARIABLE"}, {"url": "http://far.example/x"}])
def test_settings_that_are_wrong_are_shown_and_raise_nothing(runtime: Runtime, options: dict[str, Any]) -> None:
    runtime.settings = replace(runtime.settings, heartbeat=HeartbeatSettings(kind="healthchecks", options=options))
    live(runtime, T0)

    audited = turn(runtime, T0)

    assert audited.sent_at is None
    assert audited.error is not None
    assert "heartbeat" in audited.error


def test_a_sender_whose_own_code_fails_raises_nothing_either(runtime: Runtime) -> None:
    class Failing:
        def passed(self, summary: str, now: datetime) -> Any:
            raise RuntimeError(f"{summary} {now}")

    runtime.__dict__["heartbeat"] = Failing()
    live(runtime, T0)

    assert "RuntimeError" in (turn(runtime, T0).error or "")


def test_without_a_heartbeat_the_audit_is_made_all_the_same(runtime: Runtime, far_end: HttpFake) -> None:
    runtime.settings = replace(runtime.settings, heartbeat=None)
    live(runtime, T0)

    assert turn(runtime, T0) == Audited(at=T0, checks=turn(runtime, T0).checks)
    assert paths(far_end) == []


def test_two_schedulers_send_one_heartbeat(runtime: Runtime, far_end: HttpFake) -> None:
    found = [Scheduler(runtime, work(runtime, FakeHand())) for _ in range(2)]
    live(runtime, found[0].started_at)
    jobs = [job for one in found for job in one.jobs if job.name == "audit"]
    assert [(job.claimed, job.every) for job in jobs] == [(True, MINUTE)] * 2

    together(*(lambda one=one, job=job: one._once(job) for one, job in zip(found, jobs, strict=True)))

    assert paths(far_end) == ["/uuid"]


def test_the_scheduler_puts_synthetic_records_in_when_it_has_come_up_and_hands_them_on(runtime: Runtime) -> None:
    hand = FakeHand()
    found = Scheduler(runtime, work(runtime, hand))
    found.put_in_synthetic(found.started_at + COMING_UP - SECOND)
    assert hand.handed_rows == []
    found.put_in_synthetic(found.started_at + COMING_UP)
    assert len(hand.handed_rows) == 1


def test_without_a_broker_a_synthetic_record_waits_for_the_sweep(runtime: Runtime) -> None:
    found = Scheduler(runtime, work(runtime, FakeHand(away=True)))
    found.put_in_synthetic(found.started_at + COMING_UP)
    with runtime.store.read() as unit:
        assert unit.inbox_counts()["record"] == 1
    found.sweep(found.started_at + COMING_UP + MINUTE)
    with runtime.store.read() as unit:
        assert unit.inbox_counts()["record"] == 0
        assert passages(unit, ["aws"])["aws"].seen_at is not None


def test_every_claimed_job_but_the_audit_itself_is_audited(runtime: Runtime) -> None:
    found = Scheduler(runtime, work(runtime, FakeHand()))

    assert {job.name: job.every for job in found.jobs if job.claimed and job.name != "audit"} == CLAIMED


# ------------------------------------------------------------------------------------------------ the chain, in pieces


def entries(runtime: Runtime, count: int) -> int:
    with runtime.store.write() as unit:
        for number in range(count):
            unit.append_evidence("signal", "key", {"number": number}, at=T0)
    with runtime.store.read() as unit:
        return verify(unit.evidence())[0]


def walk(runtime: Runtime, before: Walk, now: datetime, limit: int = 100) -> tuple[Walk, Any]:
    with runtime.store.read() as unit:
        return walk_on(unit, before, now=now, limit=limit)


def test_a_long_chain_is_verified_in_pieces_and_until_its_end_nothing_can_be_told(runtime: Runtime) -> None:
    total = entries(runtime, 24)
    assert total == 25, "one is of the import"
    found, steps = Walk(), []
    for _ in range(3):
        found, chain = walk(runtime, found, T0, limit=10)
        steps.append((chain.held, chain.is_caught_up, chain.whole_at, chain.flaw))

    assert steps == [(10, False, None, None), (20, False, None, None), (25, True, T0, None)]


def test_then_only_what_is_new_is_read_and_the_whole_again_after_a_day(runtime: Runtime) -> None:
    entries(runtime, 4)
    found, _ = walk(runtime, Walk(), T0)
    entries(runtime, 3)
    again, chain = walk(runtime, found, T0 + HOUR)
    assert (chain.held, chain.whole_at) == (8, T0)
    assert again.whole_began_at is None
    _, chain = walk(runtime, again, T0 + DAY)
    assert chain.whole_at == T0 + DAY


def test_a_chain_that_ends_just_where_a_piece_does_is_caught_up_at_the_next_turn(runtime: Runtime) -> None:
    entries(runtime, 9)
    found, chain = walk(runtime, Walk(), T0, limit=10)
    assert not chain.is_caught_up
    _, chain = walk(runtime, found, T0, limit=10)
    assert (chain.held, chain.is_caught_up) == (10, True)


def tampered(runtime: Runtime, change: Any) -> None:
    state = runtime.store._state  # type: ignore[attr-defined]  # past the store, as an intruder would
    state.evidence = change(state.evidence)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda chain: chain[:-2], "entry 10 was there, and is gone"),
        (lambda chain: [*chain[:-1], replace(chain[-1], seal="0" * 64)], "entry 10 is another one than it was"),
        (lambda chain: [*chain[:-1], replace(chain[-1], body="{}")], "entry 10 is another one than it was"),
        (
            lambda chain: [*chain[:-1], seal(chain[-2], "s", "k", {}, at=T0)],
            "entry 10 is another one than it was",
        ),
    ],
)
def test_an_end_that_was_cut_off_or_rewritten_is_seen_at_the_next_audit(
    runtime: Runtime, change: Any, words: str
) -> None:
    entries(runtime, 9)
    found, _ = walk(runtime, Walk(), T0)
    tampered(runtime, change)

    for _ in range(2):
        found, chain = walk(runtime, found, T0 + MINUTE)
        assert chain.flaw == words, "and stays seen"


def test_an_old_entry_that_was_rewritten_is_seen_within_the_day_and_fails_the_audit(
    runtime: Runtime, far_end: HttpFake
) -> None:
    entries(runtime, 9)
    live(runtime, T0)
    turn(runtime, T0)
    tampered(runtime, lambda chain: [*chain[:3], replace(chain[3], body="{}"), *chain[4:]])
    live(runtime, T0 + HOUR)
    assert failing(turn(runtime, T0 + HOUR)) == set(), "what was verified is not read again all the time"
    for hours in (24, 25):
        live(runtime, T0 + hours * HOUR)
        audited = turn(runtime, T0 + hours * HOUR)
        assert failing(audited) == {"evidence"}
    assert any("entry 4 was changed" in check.words for check in audited.checks)
    assert len(paths(far_end)) == 2
    with runtime.store.read() as unit:
        assert last_audit(unit) == audited
