"""Running probes, from the due row to what people are told: on the store in memory, with the real judgement of AWS."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.workers.fakes import FaultyStore
from tests.workers.probers import BROKEN_CALLER, DENIED, DISABLED, SILENT, FakeProber
from tests.workers.runtimes import make_runtime
from tests.workers.test_observing import change
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, T0, VENDOR_KEY, document, key, stores
from watchdog.health import Health
from watchdog.incidents import Incident
from watchdog.notices import Kind, Notice, Reader
from watchdog.probing import Answer, Question
from watchdog.register import Document, Grant, KeyEntry
from watchdog.register_probe import ConsumerProbe, KeyProbe
from watchdog.words import Fault, Stage, Verdict
from workers import probing as module
from workers.observing import apply, observe_row, operator_mark, take_marks
from workers.probes.probers import Probers, judge_of
from workers.probing import CLAIM, OUTSTANDING, SLOWLY, Probing
from workers.registering import import_document
from workers.runtime import Runtime
from workers.samples.corpus import eventbridge
from workers.store.interface import APART, Arrival, ProcessSeen, StoredProbe, StoreUnavailable, TakenProbe

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
EVERY = 5 * MINUTE
CONTROL = VENDOR_KEY


def probed_key(arn: str = ACME_KEY, **probe: Any) -> KeyEntry:
    """A customer's key with a database and a bucket, and a control key."""
    return msgspec.structs.replace(
        key(arn, *stores(backups=True, read_replica=False)), probe=KeyProbe(**{"control": CONTROL, **probe})
    )


@dataclass
class Stand:
    """The probes of one process on a clock that moves only when told to."""

    runtime: Runtime
    prober: FakeProber
    at: datetime = T0
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prober.now = lambda: self.at
        self.probing = Probing(self.runtime, now=lambda: self.at)

    def want(self, *keys: str) -> None:
        with self.runtime.store.write() as unit:
            unit.want_probes(keys or (ACME_KEY,), at=self.at)

    def take(self) -> list[TakenProbe]:
        return self.probing.take()

    def work(self, taken: list[TakenProbe] | None = None) -> list[str]:
        """Probe what is due (or was taken); return the keys."""
        found = self.take() if taken is None else taken
        for batch in self.probing.batches(found):
            for notices in self.probing.probe(batch):
                self.sent += [one.id for one in notices]
        return [one.key for one in found]

    def pass_by(self, time: timedelta, *, step: timedelta = 10 * SECOND) -> list[tuple[timedelta, str]]:
        """Let time go by, probing what comes due; return when each key was probed."""
        begun, found = self.at, []
        while self.at < begun + time:
            self.at += step
            found += [(self.at - begun, one) for one in self.work()]
        return found

    def arrive(self, name: str, arn: str = ACME_KEY, **fields: Any) -> None:
        """Let an event of the key come in now, and be worked."""
        body = eventbridge(change(name, arn, at=self.at - T0, eventID=f"{name} at {self.at}", **fields))
        with self.runtime.store.write() as unit:
            (row,) = unit.receive(
                [Arrival(feed="drop", event_id=f"{name}{self.at}", cloud="aws", body=body, received_at=self.at)]
            )
        found = observe_row(self.runtime, row, now=self.at)
        assert found is not None
        self.sent += [one.id for one in found.notices]

    def row(self, arn: str = ACME_KEY) -> StoredProbe:
        with self.runtime.store.read() as unit:
            return unit.probes([arn])[arn]

    def verdict(self, arn: str = ACME_KEY) -> str:
        with self.runtime.store.read() as unit:
            return unit.healths([arn])[arn].verdict

    def health(self, arn: str = ACME_KEY) -> Health:
        with self.runtime.store.read() as unit:
            return msgspec.json.decode(unit.healths([arn])[arn].doc, type=Health)

    def incidents(self) -> list[Incident]:
        with self.runtime.store.read() as unit:
            found = unit.incidents(only_open=False)
        return [msgspec.json.decode(one.doc, type=Incident) for one in reversed(found)]

    def notices(self) -> list[Notice]:
        """Everything that was queued, in order."""
        with self.runtime.store.read() as unit:
            stored = [unit.notice(one) for one in dict.fromkeys(self.sent)]
        return [one.notice for one in stored if one is not None]

    def mails(self) -> list[Kind]:
        return [one.kind for one in self.notices() if one.reader is Reader.CUSTOMER]

    def evidence(self, kind: str = "probe") -> list[Mapping[str, Any]]:
        with self.runtime.store.read() as unit:
            return [json.loads(one.body) | {"key": one.subject} for one in unit.evidence() if one.kind == kind]


def stand(tmp: Path, found: Document | None = None) -> Stand:
    runtime = make_runtime(tmp, register=found or document(probed_key()))
    runtime.settings = replace(runtime.settings, probes=replace(runtime.settings.probes, clouds=("aws",)))
    prober = FakeProber()
    runtime.__dict__["probers"] = Probers.given({"aws": prober})
    made = Stand(runtime, prober)
    with runtime.store.write() as unit:
        unit.plan_probes([])  # the import asked the clock of the day
    made.probing.plan()
    return made


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stand]:
    found = stand(tmp_path)
    yield found
    found.probing.close()


def healthy(found: Stand) -> Stand:
    """After a passing probe, a while ago."""
    found.want()
    found.work()
    found.at += 6 * MINUTE
    found.work()
    assert (found.verdict(), found.incidents()) == (Verdict.HEALTHY, [])
    return found


# ------------------------------------------------------------------------------------------------------------ the turns


def test_every_registered_key_is_probed_once_in_its_interval(at: Stand) -> None:
    found = at.pass_by(HOUR)
    times = {name: [time for time, one in found if one == name] for name in (ACME_KEY, GLOBEX_KEY, VENDOR_KEY)}
    assert {name: len(one) for name, one in times.items()} == {ACME_KEY: 12, GLOBEX_KEY: 12, VENDOR_KEY: 12}
    assert len({times[name][0] % EVERY for name in times}) == 3, "their turns are spread"


def test_an_import_plans_new_keys_and_forgets_those_that_have_left(at: Stand) -> None:
    import_document(at.runtime, document(probed_key(ACME_SECOND_KEY)), by="alice", source="x", now=at.at)
    found = {name for _, name in at.pass_by(EVERY * 1.5)}
    assert found == {ACME_SECOND_KEY, GLOBEX_KEY, VENDOR_KEY}


def test_a_register_that_an_older_program_imported_is_planned_by_the_scheduler(at: Stand) -> None:
    with at.runtime.store.write() as unit:
        unit.plan_probes([])
    assert at.probing.plan() == 3
    assert at.probing.plan() == 0
    assert at.row().due_at is not None


def test_a_key_of_a_cloud_that_is_not_asked_and_one_that_is_off_are_left_alone(tmp_path: Path) -> None:
    found = stand(tmp_path, document(probed_key(off=True)))
    assert {name for _, name in found.pass_by(EVERY * 1.5)} == {GLOBEX_KEY, VENDOR_KEY}
    found.runtime.__dict__["probers"] = Probers.given({})
    assert found.pass_by(EVERY * 1.5) == []


def test_after_an_event_the_key_is_probed_at_once_and_at_one_five_and_fifteen_minutes(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.arrive("DisableKey")
    assert at.row().wanted_at == at.at
    found = [time for time, name in at.pass_by(21 * MINUTE) if name == ACME_KEY]
    assert [time // MINUTE for time in found][:4] == [0, 1, 5, 10] or 15 in {time // MINUTE for time in found}
    assert {0, 1, 5, 15} <= {round(time / MINUTE) for time in found}


@pytest.mark.parametrize("name", ["CreateAlias", "DisableKey"])
def test_an_event_that_says_nothing_new_asks_for_no_probe(at: Stand, name: str) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.arrive("DisableKey")
    at.work()
    at.at += MINUTE / 2
    before = at.row()
    at.arrive(name)
    assert at.row() == before


def test_a_swarm_of_events_is_probed_no_more_often_than_makes_sense(at: Stand) -> None:
    healthy(at)
    begun = len(at.prober.asked)
    for number in range(20):
        at.arrive("DisableKey" if number % 2 else "EnableKey")
        at.work()
        at.at += SECOND
    assert len(at.prober.asked) - begun <= 2 * (20 * SECOND // APART + 1)


def test_without_an_answer_a_key_is_asked_less_often_and_again_as_usual_once_it_answers(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = {Question.STATE: Answer.UNREACHABLE, Question.USE: Answer.UNREACHABLE}
    times = [time for time, name in at.pass_by(HOUR) if name == ACME_KEY]
    assert 4 <= len(times) <= 6
    assert at.row().failures == len(times)
    at.prober.says.clear()
    at.pass_by(20 * MINUTE)
    assert at.row().failures == 0
    assert [name for _, name in at.pass_by(20 * MINUTE)].count(ACME_KEY) == 4


def test_one_process_never_has_more_than_so_many_keys_at_a_time(tmp_path: Path) -> None:
    names = [ACME_KEY[:-4] + f"{number:04d}" for number in range(12)]
    found = stand(tmp_path, document(*[probed_key(name) for name in names]))
    found.runtime.settings = replace(
        found.runtime.settings, probes=replace(found.runtime.settings.probes, at_once=3)
    )  # fmt: skip
    under_way, most, lock = 0, 0, threading.Lock()
    gate = threading.Event()

    def on_ask(_key: object) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        gate.wait(0.02)
        with lock:
            under_way -= 1

    found.prober.on_ask = on_ask
    found.want(*names)
    assert len(found.work()) == 12
    assert most == 3
    found.probing.close()


def test_keys_of_one_account_are_begun_no_faster_than_its_pace_by_all_processes_together(tmp_path: Path) -> None:
    names = [ACME_KEY[:-4] + f"{number:04d}" for number in range(12)]
    found = stand(tmp_path, document(*[probed_key(name) for name in names]))
    found.runtime.settings = replace(
        found.runtime.settings, probes=replace(found.runtime.settings.probes, per_account=5)
    )  # fmt: skip
    other = Stand(found.runtime, found.prober)
    found.want(*names)
    assert (len(found.take()), len(other.take())) == (5, 0)
    other.at += SECOND
    assert len(other.take()) == 5


def test_no_more_keys_are_taken_than_may_be_under_way(at: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTSTANDING", 2)
    at.want(ACME_KEY, GLOBEX_KEY, VENDOR_KEY)
    assert len(at.take()) == 2
    assert at.take() == []
    assert OUTSTANDING > 2 * 50_000 / 300, "a fleet of fifty thousand keys needs so many in a second"


# -------------------------------------------------------------------------------------------------------- what is asked


def test_a_healthy_key_is_asked_for_state_and_use_and_the_slow_questions_a_few_times_a_day(tmp_path: Path) -> None:
    consumers = [ConsumerProbe(consumer="db", kind="rds_status", target="acme-prod")]
    entry = msgspec.structs.replace(
        probed_key(canary=True, consumers=consumers), grants=[Grant(id="g-1", grantee="x", operations=["Decrypt"])]
    )
    found = stand(tmp_path, document(entry))
    found.want()
    found.work()
    often = (Question.STATE, Question.USE, Question.GRANTS, Question.CONSUMER)
    assert found.prober.asked == [(ACME_KEY, (*often, Question.CONTROL))], "there is no canary yet"
    found.prober.asked.clear()
    found.pass_by(2 * SLOWLY - HOUR, step=MINUTE)
    slow = [asked for name, asked in found.prober.asked if name == ACME_KEY and asked != often]
    assert slow == [(*often, Question.CANARY, Question.CONTROL)]


def test_a_refusal_is_compared_with_the_control_at_once(at: Stand) -> None:
    healthy(at)
    at.prober.asked.clear()
    at.prober.says[ACME_KEY] = DENIED
    at.pass_by(EVERY * 1.5)
    first, second, *_ = [asked for name, asked in at.prober.asked if name == ACME_KEY]
    assert (first, second) == ((Question.STATE, Question.USE), (Question.CONTROL,))


def test_a_canary_is_made_at_the_beginning_and_again_after_a_rotation(tmp_path: Path) -> None:
    found = stand(tmp_path, document(probed_key(canary=True)))
    found.pass_by(2 * SLOWLY, step=MINUTE)
    assert found.prober.made == 1
    found.prober.version = "m-2"
    found.pass_by(HOUR, step=MINUTE)
    assert found.prober.made == 2
    with found.runtime.store.read() as unit:
        assert [one.version for one in unit.canaries([ACME_KEY])[ACME_KEY]] == ["m-1", "m-2"]
    assert [one["versions"] for one in found.evidence("canary")] == [["m-1"], ["m-2"]]
    assert {one.version for one in found.prober.given} == {"m-1"}, "the second one was not asked yet"


def test_a_key_that_is_unwell_gets_no_canary(tmp_path: Path) -> None:
    found = stand(tmp_path, document(probed_key(canary=True)))
    found.prober.says[ACME_KEY] = DISABLED
    found.pass_by(HOUR)
    assert found.prober.made == 0


# --------------------------------------------------------------------------------------------- what a passing one costs


def test_probes_that_say_the_same_leave_their_row_alone_and_their_proof_never_becomes_stale(
    at: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.want()
    at.work()
    writes: list[datetime] = []

    def noted(*arguments: Any, **more: Any) -> Any:
        writes.append(at.at)
        return apply(*arguments, **more)

    monkeypatch.setattr(module, "apply", noted)
    for _ in range(20):
        at.pass_by(EVERY)
        with at.runtime.store.read() as unit:
            (seen,) = [one for one in unit.all_health() if one.subject == ACME_KEY]
        kept = msgspec.json.decode(seen.doc, type=Health)
        assert kept.probed_at is not None
        assert at.at - kept.probed_at < 19 * MINUTE
    # Three keys in a hundred minutes, each written anew about every ten to fifteen.
    assert 3 * 6 <= len(writes) <= 3 * 11
    assert at.verdict() == Verdict.HEALTHY


def test_what_a_key_says_is_evidence_when_it_changes_and_once_a_day(at: Stand) -> None:
    at.pass_by(timedelta(hours=25), step=MINUTE)
    assert [one["passed"] for one in at.evidence() if one["key"] == ACME_KEY] == [True, True]
    at.prober.says[ACME_KEY] = DISABLED
    at.pass_by(3 * HOUR, step=MINUTE)
    *_, last = [one for one in at.evidence() if one["key"] == ACME_KEY]
    assert (last["passed"], last["fault"], len(at.evidence())) == (False, "customer", 7)
    assert last["findings"][0] == {"question": "state", "answer": "disabled", "words": "it says disabled"}


def test_after_a_decision_the_first_passing_probe_is_shown_at_once(at: Stand) -> None:
    healthy(at)
    at.want()
    at.work()
    at.at += APART
    at.arrive("DisableKey")
    mark = operator_mark("alice", "a drill", at=at.at)
    take_marks(at.runtime, {ACME_KEY: [mark]}, kind="decided", evidence={}, now=at.at)
    at.at += SECOND
    at.work()
    assert (at.row().last_at, at.verdict()) == (at.at, Verdict.HEALTHY)


def test_a_loss_is_judged_on_the_last_proof_although_only_its_row_was_written(at: Stand) -> None:
    for _ in range(2):
        at.at += 3 * MINUTE
        at.want()
        at.work()
    proven = at.row().last_at
    assert at.health().probed_at == T0 + 3 * MINUTE != proven, "the second one left its row only"
    at.prober.says[ACME_KEY] = DISABLED
    at.at += MINUTE
    at.want()
    at.work()
    assert proven in {mark.at for mark in at.health().marks if mark.effect is None}


# ----------------------------------------------------------------------------------------------------- what it comes to


def test_a_probe_alone_opens_an_incident_and_tells_everybody(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.pass_by(EVERY * 1.5)

    (incident,) = at.incidents()
    assert (incident.subjects, incident.fault, incident.stage) == ((ACME_KEY,), Fault.CUSTOMER, Stage.IMPAIRED)
    assert {Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT} <= {one.reader for one in at.notices()}


def test_what_keeps_failing_is_told_once(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.pass_by(EVERY * 1.5)
    told = len(at.notices())
    at.pass_by(HOUR)
    assert len(at.notices()) == told
    assert len(at.incidents()) == 1


def test_an_event_and_the_probe_of_it_are_one_incident(at: Stand) -> None:
    healthy(at)
    at.arrive("DisableKey")
    at.prober.says[ACME_KEY] = DISABLED
    told = len(at.notices())
    at.pass_by(HOUR)
    (incident,) = at.incidents()
    assert incident.fault is Fault.CUSTOMER
    assert len(at.notices()) == told
    assert at.health().probe_passed is False


def test_a_passing_probe_closes_a_recovering_incident_and_says_so(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.arrive("DisableKey")
    at.pass_by(HOUR)
    at.arrive("EnableKey")
    (incident,) = at.incidents()
    assert incident.stage is Stage.RECOVERING, "an event is no proof"
    at.prober.says.clear()
    at.pass_by(30 * MINUTE)
    (incident,) = at.incidents()
    assert (incident.stage, incident.resolved_by) == (Stage.RESOLVED, None)
    assert at.mails()[-1] is Kind.RESOLVED
    assert at.verdict() == Verdict.HEALTHY


def test_a_passing_probe_closes_what_a_probe_alone_had_opened(at: Stand) -> None:
    healthy(at)
    at.prober.says[ACME_KEY] = DISABLED
    at.pass_by(20 * MINUTE)
    at.prober.says.clear()
    at.pass_by(30 * MINUTE)
    assert [one.stage for one in at.incidents()] == [Stage.RESOLVED]
    assert at.mails()[-1] is Kind.RESOLVED


@pytest.mark.parametrize(
    ("answers", "fault", "mails"),
    [
        pytest.param(BROKEN_CALLER, Fault.VENDOR, False, id="the vendor's own caller is broken"),
        pytest.param({**SILENT, Question.USE: Answer.DENIED}, Fault.PROVIDER, False, id="the provider is away"),
        pytest.param(DENIED, Fault.CUSTOMER, True, id="the customer has taken the access away"),
    ],
)
def test_three_refusals_that_look_alike_come_to_three_faults_and_only_one_is_the_customers(
    at: Stand, answers: Mapping[Question, Answer], fault: Fault, mails: bool
) -> None:  # fmt: skip
    healthy(at)
    at.prober.says[ACME_KEY] = answers
    at.pass_by(HOUR)
    assert {one.fault for one in at.incidents()} == {fault}
    assert bool(at.mails()) is mails
    assert Reader.ON_CALL in {one.reader for one in at.notices()}


def test_several_keys_of_a_customer_that_fail_together_are_one_incident(tmp_path: Path) -> None:
    found = stand(tmp_path, document(probed_key(), probed_key(ACME_SECOND_KEY)))
    found.want(ACME_KEY, ACME_SECOND_KEY)
    found.work()
    found.at += MINUTE
    found.prober.says = {ACME_KEY: DISABLED, ACME_SECOND_KEY: DISABLED}
    found.want(ACME_KEY, ACME_SECOND_KEY)
    found.work()
    (incident,) = found.incidents()
    assert incident.subjects == (ACME_KEY, ACME_SECOND_KEY)


def test_a_caller_that_is_broken_for_every_key_is_one_incident_of_the_vendor_and_ends_with_the_last(
    tmp_path: Path,
) -> None:
    found = stand(tmp_path, document(probed_key(), probed_key(ACME_SECOND_KEY)))
    both = (ACME_KEY, ACME_SECOND_KEY)
    found.pass_by(EVERY * 1.5)
    found.prober.says = dict.fromkeys(both, BROKEN_CALLER)
    found.pass_by(HOUR)
    (incident,) = found.incidents()
    assert (incident.subjects, incident.fault, found.mails()) == (("watch:vendor",), Fault.VENDOR, [])
    found.prober.says.clear()
    found.pass_by(HOUR)
    assert [one.stage for one in found.incidents()] == [Stage.RESOLVED]


# -------------------------------------------------------------------------------------------------- lost, twice, broken


def test_a_probe_whose_taker_died_is_due_again_and_said_to_be_lost(at: Stand) -> None:
    at.want()
    assert [one.lost for one in at.take()] == [False]
    at.at += CLAIM
    assert [(one.key, one.lost) for one in at.take()] == [(ACME_KEY, True)]


@pytest.mark.parametrize("stop", ["probe.claimed", "probe.asked", "probe.committed"])
def test_a_crash_at_any_stop_leaves_everything_as_if_it_had_not_been(
    at: Stand, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        """The process is gone."""

    def crash(name: str) -> None:
        if name == stop:
            raise Crash

    at.prober.says[ACME_KEY] = DISABLED
    at.want()
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_at", crash)
        with pytest.raises(Crash):
            at.work()
    at.pass_by(EVERY * 1.5)
    (incident,) = at.incidents()
    with at.runtime.store.read() as unit:
        assert len(unit.notices_of(incident.id)) > 0, "committed with what caused them; the sweeper sends them"
        whom = [(one.notice.channel, one.notice.recipient) for one in unit.notices_of(incident.id)]
        assert len(whom) == len(set(whom)), "nobody is told twice"
    assert at.row().last_passed is False


def test_a_task_that_comes_twice_changes_nothing_the_second_time(at: Stand) -> None:
    at.prober.says[ACME_KEY] = DISABLED
    at.want()
    taken = at.take()
    at.work(taken)
    asked, told, row = len(at.prober.asked), len(at.sent), at.row()
    at.work(taken)
    assert (len(at.prober.asked), len(at.sent), at.row()) == (asked, told, row)


def test_an_answer_that_comes_after_somebody_else_has_taken_over_is_not_kept(at: Stand) -> None:
    at.want()
    (taken,) = at.take()
    later = Stand(at.runtime, FakeProber(), at=at.at + CLAIM)

    def on_ask(_key: object) -> None:
        at.prober.on_ask = lambda _key: None
        at.at = later.at
        later.work()
        at.prober.says[ACME_KEY] = DISABLED

    at.prober.on_ask = on_ask
    at.work([taken])
    assert (at.row().fence, at.row().last_passed, at.incidents()) == (2, True, [])


def test_a_claim_that_is_nearly_over_is_left_to_the_next(at: Stand) -> None:
    at.want()
    taken = at.take()
    at.at += CLAIM - 30 * SECOND
    at.work(taken)
    assert at.prober.asked == []


def test_a_prober_that_fails_holds_up_no_other_key_and_is_told(at: Stand) -> None:
    def on_ask(asked: Any) -> None:
        if asked.id == ACME_KEY:
            raise KeyError("metadata")

    at.prober.on_ask = on_ask
    at.want(ACME_KEY, GLOBEX_KEY)
    at.work()
    assert (at.row().last_passed, at.row(GLOBEX_KEY).last_passed) == (None, True)
    assert "KeyError: 'metadata'" in at.row().last_words
    assert at.verdict() == Verdict.UNREACHABLE
    assert [one.reader for one in at.notices()] == [Reader.OPERATOR, Reader.OPERATOR]


def test_a_judgement_that_fails_holds_up_no_other_key_and_is_told(at: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    real = judge_of("aws")

    def judge(findings: Any, asked: Any, *rest: Any, **more: Any) -> Any:
        if asked.id == ACME_KEY:
            raise ZeroDivisionError
        return real(findings, asked, *rest, **more)

    monkeypatch.setattr(module, "judge_of", lambda _cloud: judge)
    at.want(ACME_KEY, GLOBEX_KEY)
    at.work()
    assert (at.row().last_passed, at.row(GLOBEX_KEY).last_passed) == (None, True)
    assert "ZeroDivisionError" in at.row().last_words
    assert {one.reader for one in at.notices()} == {Reader.OPERATOR}
    assert ACME_KEY not in at.work(), "not at once again"


def test_a_key_that_hangs_holds_up_no_other_and_its_claim_runs_out(at: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASKING", 0.3)
    monkeypatch.setattr(module, "WAVE", 0.05)
    released = threading.Event()

    def on_ask(asked: Any) -> None:
        if asked.id == ACME_KEY:
            released.wait(10)

    at.prober.on_ask = on_ask
    at.want(ACME_KEY, GLOBEX_KEY)
    at.work()
    assert (at.row().last_at, at.row(GLOBEX_KEY).last_passed) == (None, True)
    released.set()
    at.prober.on_ask = lambda _key: None
    at.at += CLAIM
    assert [one.lost for one in at.take() if one.key == ACME_KEY] == [True]


def test_a_store_that_is_away_leaves_the_claims_to_run_out(at: Stand) -> None:
    faulty = FaultyStore(at.runtime.store)
    at.runtime.__dict__["store"] = faulty
    at.want()
    taken = at.take()
    at.prober.on_ask = lambda _key: setattr(faulty, "away", True)
    with pytest.raises(StoreUnavailable):
        at.work(taken)
    faulty.away = False
    at.prober.on_ask = lambda _key: None
    at.at += CLAIM
    assert ACME_KEY in at.work()


# ------------------------------------------------------------------------------------------------------------ on demand


def test_a_person_gets_the_whole_answer_whenever_it_asks_and_it_is_evidence(at: Stand) -> None:
    at.want()
    at.work()
    at.prober.asked.clear()
    for _ in range(2):
        at.at += SECOND
        asked, settled = at.probing.probe_now(ACME_KEY, by="alice")
        assert settled.probed[ACME_KEY].passed is True
        assert [one.question for one in asked.findings] == [Question.STATE, Question.USE, Question.CONTROL]
    assert [one["by"] for one in at.evidence()] == [None, "alice", "alice"]


@pytest.mark.parametrize("name", ["nobody", ACME_KEY])
def test_a_key_that_is_not_registered_or_never_asked_is_not_asked_for_a_person_either(
    tmp_path: Path, name: str
) -> None:
    found = stand(tmp_path, document(probed_key(off=True)))
    with pytest.raises(KeyError):
        found.probing.probe_now(name, by="alice")
    with pytest.raises(KeyError):
        found.probing.make_canaries(name, by="alice")
    assert found.prober.asked == []


def test_a_canary_is_made_when_a_person_wants_it(at: Stand) -> None:
    made, _ = at.probing.make_canaries(ACME_KEY, by="alice")
    with at.runtime.store.read() as unit:
        assert unit.canaries([ACME_KEY]) == {ACME_KEY: list(made)}
    assert [one["by"] for one in at.evidence("canary")] == ["alice"]


# -------------------------------------------------------------------------------------------------------------- probers


def test_a_prober_is_made_when_it_is_needed_and_closed_once() -> None:
    made: list[FakeProber] = []

    def make(cloud: str) -> FakeProber:
        made.append(FakeProber(cloud))
        return made[-1]

    found = Probers(("aws", "gcp"), make)
    assert made == []
    assert found.of("gcp") is found.of("gcp")
    with pytest.raises(KeyError):
        found.of("azure")
    found.close()
    assert [(one.cloud, one.closed) for one in made] == [("gcp", True)]


def test_a_worker_is_seen_by_its_sign_of_life(at: Stand) -> None:
    assert not at.probing.has_workers()
    for kind in ("worker urgent,normal", "consumer probe"):
        beat(at, kind)
    assert not at.probing.has_workers()
    beat(at, "worker probe-now,probe")
    assert at.probing.has_workers()
    at.at += 2 * MINUTE
    assert not at.probing.has_workers()


def beat(found: Stand, kind: str) -> None:
    with found.runtime.store.write() as unit:
        unit.process_beat(ProcessSeen(name=kind, kind=kind, seen_at=found.at, started_at=T0, degraded=None))
