import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.workers.fakes import FakeCloud, disabled
from tests.workers.runtimes import channel, make_runtime
from tests.workers.test_working import PATIENCE, FakeHand, accepted, arrive, hang, queue, sent, waiting, work
from tests.worlds import ACME_KEY, T0
from watchdog.incidents import Incident, Turn
from watchdog.words import Fault, Severity, Stage
from workers.backfilling import begin
from workers.observing import put_incident
from workers.runtime import Runtime, utc_now
from workers.scheduler import NOTICE_GRACE, Job, Scheduler
from workers.settings import ArchiveSettings, ProbeSettings
from workers.store.interface import BackfillState, StoredIncident

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    cloud = FakeCloud()
    monkeypatch.setattr("watchdog.clouds.cloud", lambda _name: cloud)
    return make_runtime(tmp_path)


def scheduler(runtime: Runtime, *, away: bool = False) -> Scheduler:
    return Scheduler(runtime, work(runtime, FakeHand(away=away)))


def test_what_is_read_again_is_worked_a_step_at_a_time_until_the_stop(runtime: Runtime) -> None:
    archive = ArchiveSettings(name="gone", kind="cloudtrail_lookup", feed="drop", cloud="aws", options={})
    now = utc_now()
    with runtime.store.write() as unit:
        rows = [begin(unit, archive, T0, T0 + n * HOUR, by="x", why="x", at=now)[0] for n in (1, 2)]
    made = scheduler(runtime)
    (job,) = [job for job in made.jobs if job.name == "backfill"]
    stop = threading.Event()
    stop.set()
    made.run(stop)
    job.run(now)
    with runtime.store.read() as unit:
        assert [row.id for row in unit.backfills([BackfillState.WAITING])] == [rows[1].id, rows[0].id]

    scheduler(runtime).backfill(now)
    with runtime.store.read() as unit:
        failed = unit.backfills([BackfillState.FAILED])
    assert [row.id for row in failed] == [rows[1].id, rows[0].id], "the archive is in no settings: told, and left"


def due_incident(runtime: Runtime, number: int, check_at: datetime) -> str:
    """An open incident of a key without a mark, that time is to be looked at: it recovers, which is told."""
    incident = Incident(
        id=f"KW-{number}", customer="acme", subjects=(ACME_KEY,), opened_at=T0, stage=Stage.IMPAIRED,
        severity=Severity.CRITICAL, fault=Fault.CUSTOMER, check_at=check_at, account_told=True,
        turns=(Turn(number=1, stage=Stage.IMPAIRED, at=T0, why="opened"),),
    )  # fmt: skip
    with runtime.store.write() as unit:
        put_incident(unit, incident)
    return incident.id


def turns(runtime: Runtime, incident_id: str) -> int:
    with runtime.store.read() as unit:
        stored = unit.incident(incident_id)
    assert stored is not None
    return msgspec.json.decode(stored.doc, type=Incident).turn


def together(*actions: Callable[[], object]) -> None:
    """Run the actions at the same moment, each on a thread; fail when one raises or does not end."""
    gate = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        gate.wait(PATIENCE)
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert [] == raised


def run_until(found: Scheduler, done: threading.Event) -> None:
    """Run a scheduler until something has happened, then stop it; fail when either takes too long."""
    stop = threading.Event()
    thread = threading.Thread(target=found.run, args=(stop,), daemon=True)
    thread.start()
    happened = done.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert happened
    assert not thread.is_alive(), "it does not stop"


# --------------------------------------------------------------------------------------------------------------- sweep


def test_it_works_only_rows_that_somebody_else_should_have_worked_by_now(runtime: Runtime) -> None:
    now = utc_now()
    grace = runtime.settings.sweep_after
    arrive(runtime, disabled("e", ACME_KEY), at=now - grace + SECOND)
    scheduler(runtime).sweep(now)
    assert 1 == waiting(runtime)
    scheduler(runtime).sweep(now + SECOND)
    assert 0 == waiting(runtime)


def test_it_sends_only_notices_that_somebody_else_should_have_sent_by_now(runtime: Runtime) -> None:
    now = utc_now()
    queue(runtime, at=now - NOTICE_GRACE + SECOND)
    found = scheduler(runtime)
    found.send("pager", now)
    assert {} == sent(runtime)
    found.send("pager", now + SECOND)
    assert {"pager": 1} == sent(runtime)


def test_two_schedulers_send_each_notice_once(runtime: Runtime) -> None:
    queue(runtime)
    now = utc_now()
    jobs = [job for found in (scheduler(runtime), scheduler(runtime)) for job in found.jobs if "send" in job.name]
    together(*(lambda job=job: job.run(now) for job in jobs))
    assert {"pager": 1, "hook": 1, "mail": 3} == sent(runtime)


def test_a_slow_destination_holds_up_neither_the_others_nor_the_sweep(runtime: Runtime) -> None:
    queue(runtime)
    arrive(runtime, disabled("e", ACME_KEY))
    hang(channel(runtime, "pager"), [channel(runtime, "hook"), channel(runtime, "mail")])
    released = channel(runtime, "pager").on_send
    done = threading.Event()

    def slow() -> None:
        released()
        for _ in range(int(PATIENCE * 100)):
            if waiting(runtime) == 0:
                break
            done.wait(0.01)
        assert 0 == waiting(runtime), "the sweep waited for the slow destination"
        done.set()

    channel(runtime, "pager").on_send = slow
    run_until(scheduler(runtime), done)
    assert 5 + 2 == accepted(runtime), "what waited, and the two pages of the record"


# ------------------------------------------------------------------------------------------------------------- advance


def test_a_deadline_that_comes_near_is_told_once_although_two_schedulers_run(runtime: Runtime) -> None:
    now = utc_now()
    incident_id = due_incident(runtime, 7, now)
    one, other = scheduler(runtime), scheduler(runtime)
    together(*[lambda found=found: found.advance(now) for found in (one, other)] * 3)
    assert 2 == turns(runtime, incident_id)
    with runtime.store.read() as unit:
        assert ["KW-7-2-recovering-hook", "KW-7-2-recovering-pager"] == sorted(
            stored.notice.id for stored in unit.notices_of(incident_id)
        )


def test_an_incident_is_left_alone_until_its_time(runtime: Runtime) -> None:
    now = utc_now()
    incident_id = due_incident(runtime, 7, now)
    scheduler(runtime).advance(now - SECOND)
    assert 1 == turns(runtime, incident_id)


def test_one_incident_that_cannot_be_advanced_holds_up_no_other_and_is_not_hushed_up(runtime: Runtime) -> None:
    now = utc_now()
    with runtime.store.write() as unit:
        unit.put_incident(
            StoredIncident(
                id="KW-1", doc=b"{damaged", is_open=True, customer="globex", stage="impaired", subjects=("x",),
                check_at=now - HOUR,
            )
        )  # fmt: skip
    incident_id = due_incident(runtime, 2, now)
    with pytest.raises(msgspec.DecodeError):
        scheduler(runtime).advance(now)
    assert 2 == turns(runtime, incident_id)


def test_without_a_broker_what_a_deadline_causes_goes_out_from_here(runtime: Runtime) -> None:
    now = utc_now()
    due_incident(runtime, 7, now)
    scheduler(runtime, away=True).advance(now)
    assert {"pager": 1, "hook": 1} == sent(runtime)


# ------------------------------------------------------------------------------------------------------------ the loop


def test_a_claimed_job_runs_once_in_its_period_however_many_schedulers_there_are(runtime: Runtime) -> None:
    ran: list[datetime] = []
    job = Job("job", HOUR, ran.append)
    found = [scheduler(runtime) for _ in range(3)]
    together(*(lambda one=one: one._once(job) for one in found))
    assert 1 == len(ran)


def test_a_job_that_every_scheduler_has_to_do_runs_in_each(runtime: Runtime) -> None:
    ran: list[datetime] = []
    job = Job("job", HOUR, ran.append, claimed=False)
    for one in (scheduler(runtime), scheduler(runtime)):
        one._once(job)
    assert 2 == len(ran)


def test_a_failing_job_ends_neither_itself_nor_the_others(runtime: Runtime) -> None:
    failures: list[datetime] = []
    done = threading.Event()

    def fail(now: datetime) -> None:
        failures.append(now)
        raise RuntimeError("no")

    def look(_: datetime) -> None:
        if len(failures) >= 3:
            done.set()

    found = scheduler(runtime)
    quick = timedelta(milliseconds=5)
    found.jobs = (Job("fails", quick, fail, claimed=False), Job("looks", quick, look, claimed=False))
    run_until(found, done)


def test_it_gives_a_sign_of_life_and_lets_everybody_see_since_when(runtime: Runtime) -> None:
    found = scheduler(runtime)
    for seconds in (0, 10):
        found.beat(T0 + seconds * SECOND)
    with runtime.store.read() as unit:
        (seen,) = unit.processes()
    assert ("scheduler", T0 + 10 * SECOND, found.started_at, None) == (
        seen.kind,
        seen.seen_at,
        seen.started_at,
        seen.degraded,
    )


def test_every_channel_has_a_job_of_its_own_and_lost_channels_share_one(runtime: Runtime) -> None:
    names = [job.name for job in scheduler(runtime).jobs if job.name.startswith("send over ")]
    assert [*(f"send over {name}" for name in runtime.channels), "send over lost channels"] == names


# -------------------------------------------------------------------------------------------------------------- probes


def test_keys_are_probed_by_the_schedule_only_where_a_cloud_is_asked(runtime: Runtime) -> None:
    assert "probe" not in [job.name for job in scheduler(runtime).jobs]
    runtime.settings = replace(runtime.settings, probes=ProbeSettings(clouds=("aws",)))
    (job,) = [job for job in scheduler(runtime).jobs if job.name == "probe"]
    assert (job.every, job.claimed) == (SECOND, False)


def test_the_rows_of_the_probes_are_planned_by_one_scheduler(runtime: Runtime) -> None:
    with runtime.store.write() as unit:
        unit.plan_probes([])
    (job,) = [job for job in scheduler(runtime).jobs if job.name == "plan probes"]
    assert job.claimed
    job.run(utc_now())
    with runtime.store.read() as unit:
        assert 3 == len(list(unit.all_probes()))
