"""Running pre-flights, from the due row to what people are told: on the store in memory, with a reader that obeys."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.workers.fakes import FaultyStore
from tests.workers.probers import BROKEN_CALLER, FakeProber
from tests.workers.readers import RIGHTS, WINDOW, FakeReader
from tests.workers.runtimes import make_runtime
from tests.workers.test_observing import change
from tests.workers.test_probing import probed_key
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, ROLE, T0, VENDOR_KEY, document, key
from watchdog import preflight_common
from watchdog.incidents import Incident
from watchdog.notices import Notice, Reader
from watchdog.preflight import Outcome, Preflight, Summary, listed
from watchdog.register import Deviation, Document, KeyException
from watchdog.words import Stage, Verdict
from workers import preflighting as module
from workers.observing import observe_row
from workers.preflight.readers import Readers
from workers.preflighting import AGAIN, AT_LEAST, AT_ONCE, CLAIM, DAY, OUTSTANDING, Preflighting, last_preflight
from workers.probes.probers import Probers
from workers.probing import Probing
from workers.registering import import_document
from workers.runtime import Runtime
from workers.samples.corpus import eventbridge
from workers.store.interface import Arrival, StoredPreflight, StoreUnavailable

PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
OURS = "aws.vendor_alarms"
"""A check that the vendor has to repair."""


@dataclass
class Stand:
    """The pre-flights and probes of one process on a clock that moves only when told to."""

    runtime: Runtime
    reader: FakeReader
    prober: FakeProber
    at: datetime = T0

    def __post_init__(self) -> None:
        self.prober.now = lambda: self.at
        self.checking = Preflighting(self.runtime, now=lambda: self.at)
        self.probing = Probing(self.runtime, now=lambda: self.at)
        self.sent: list[str] = []

    def want(self, *keys: str) -> None:
        with self.runtime.store.write() as unit:
            unit.want_preflights(keys or (ACME_KEY,), at=self.at)

    def work(self) -> list[str]:
        """Check what is due; return the keys."""
        taken = self.checking.take()
        for batch in self.checking.batches(taken):
            self.sent += [one.id for one in self.checking.check(batch)]
        return list(taken)

    def check(self, arn: str = ACME_KEY, **outcomes: Outcome) -> Preflight:
        """Check one key at once, ten minutes later, when its cloud says this of its checks."""
        self.at += 10 * MINUTE
        self.reader.says[arn] = {name.replace("__", "."): outcome for name, outcome in outcomes.items()}
        found, queued = self.checking.check_now(arn, by="alice")
        assert found is not None
        self.sent += [one.id for one in queued]
        return found

    def probe(self, arn: str = ACME_KEY) -> None:
        """Probe one key a minute later."""
        self.at += MINUTE
        _, settled = self.probing.probe_now(arn, by="alice")
        self.sent += [one.id for one in settled.queued]

    def row(self, arn: str = ACME_KEY) -> StoredPreflight:
        with self.runtime.store.read() as unit:
            return unit.preflights([arn])[arn]

    def stored(self, arn: str = ACME_KEY) -> Preflight:
        with self.runtime.store.read() as unit:
            found = last_preflight(unit, arn)
        assert found is not None
        return found

    def outcomes(self, arn: str = ACME_KEY) -> dict[str, Outcome]:
        return {line.checked.id: line.checked.outcome for line in self.stored(arn).lines}

    def incidents(self) -> list[Incident]:
        with self.runtime.store.read() as unit:
            found = unit.incidents(only_open=False)
        return [msgspec.json.decode(one.doc, type=Incident) for one in reversed(found)]

    def notices(self, reader: Reader | None = None) -> list[Notice]:
        with self.runtime.store.read() as unit:
            stored = [unit.notice(one) for one in dict.fromkeys(self.sent)]
        return [one.notice for one in stored if one is not None and reader in {None, one.notice.reader}]

    def evidence(self) -> list[Mapping[str, Any]]:
        with self.runtime.store.read() as unit:
            return [json.loads(one.body) | {"key": one.subject} for one in unit.evidence() if one.kind == "preflight"]

    def arrive(self, name: str, **fields: Any) -> None:
        """Let an event of the key come in now, and be worked."""
        body = eventbridge(change(name, ACME_KEY, at=self.at - T0, eventID=f"{name}{self.at}", **fields))
        with self.runtime.store.write() as unit:
            (row,) = unit.receive(
                [Arrival(feed="drop", event_id=f"{name}{self.at}", cloud="aws", body=body, received_at=self.at)]
            )
        assert observe_row(self.runtime, row, now=self.at) is not None


def stand(tmp: Path, found: Document | None = None) -> Stand:
    runtime = make_runtime(tmp, register=found or document(probed_key()))
    runtime.settings = replace(runtime.settings, probes=replace(runtime.settings.probes, clouds=("aws",)))
    prober, reader = FakeProber(), FakeReader()
    runtime.__dict__["probers"] = Probers.given({"aws": prober})
    runtime.__dict__["readers"] = Readers.given({"aws": reader})
    made = Stand(runtime, reader, prober)
    with runtime.store.write() as unit:
        unit.plan_preflights({})  # the import asked the clock of the day
        unit.plan_probes([])
    made.checking.plan()
    made.probing.plan()
    return made


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stand]:
    found = stand(tmp_path)
    yield found
    found.checking.close()
    found.probing.close()


def check_names(*names: str, outcome: Outcome = FAIL) -> dict[str, Outcome]:
    return {name.replace(".", "__"): outcome for name in names}


# ------------------------------------------------------------------------------------------------------------ the turns


def test_every_key_is_checked_once_a_day_at_a_turn_of_its_own(at: Stand) -> None:
    for name in (ACME_KEY, GLOBEX_KEY, VENDOR_KEY):
        at.probe(name)
    times: dict[str, list[datetime]] = {}
    for _ in range(3 * 24 * 12):
        at.at += 5 * MINUTE
        for name in at.work():
            times.setdefault(name, []).append(at.at)
    assert set(times) == {ACME_KEY, GLOBEX_KEY, VENDOR_KEY}
    assert [len(found) for found in times.values()] == [3, 3, 3]
    assert len({found[-1].time() for found in times.values()}) == 3, "their turns are spread"


def test_a_key_of_which_no_probe_has_told_yet_is_checked_again_after_its_first(at: Stand) -> None:
    at.want()
    at.work()
    assert at.outcomes()["all.usable"] is UNTOLD
    assert at.row().due_at <= at.at + 6 * MINUTE, "a probe comes within five"
    at.probe()
    at.at = at.row().due_at
    at.work()
    assert at.outcomes()["all.usable"] is PASS
    assert at.row().due_at > at.at + DAY / 2


def test_a_key_whose_first_probe_is_late_is_not_checked_all_the_time(at: Stand) -> None:
    at.at += HOUR
    at.want()
    at.work()
    assert at.row().due_at == at.at + AGAIN


def test_no_more_keys_are_taken_than_may_be_under_way(at: Stand) -> None:
    names = [f"k{number:03}" for number in range(OUTSTANDING + 5)]
    with at.runtime.store.write() as unit:
        unit.plan_preflights(dict.fromkeys(names, at.at))
    taken = at.checking.take()
    assert len(taken) == OUTSTANDING
    assert [len(batch) for batch in at.checking.batches(taken)] == [AT_ONCE] * (OUTSTANDING // AT_ONCE)
    assert at.checking.take() == {}
    at.at += CLAIM
    assert len(at.checking.take()) == OUTSTANDING, "whoever had them did not come back"


def test_an_import_lets_new_and_changed_keys_be_checked_at_once(at: Stand) -> None:
    at.at += DAY
    while at.work():
        pass
    import_document(at.runtime, document(probed_key(), key(ACME_SECOND_KEY)), by="alice", source="x", now=at.at)
    assert at.work() == [ACME_SECOND_KEY]
    changed = document(probed_key(every_seconds=600), key(ACME_SECOND_KEY))
    import_document(at.runtime, changed, by="alice", source="x", now=at.at)
    assert at.work() == [ACME_KEY]


def test_rows_follow_a_register_that_an_older_program_imported(at: Stand) -> None:
    with at.runtime.store.write() as unit:
        unit.plan_preflights({"gone": at.at})
    assert [at.checking.plan(), at.checking.plan()] == [4, 0]


def test_a_record_of_a_weakened_protection_lets_the_key_be_checked_at_once(at: Stand) -> None:
    at.at += DAY
    while at.work():
        pass
    at.at += MINUTE
    at.arrive("CreateAlias")
    assert at.work() == []
    allow = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "kms:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [allow]}
    at.arrive(
        "PutKeyPolicy",
        requestParameters={
            "keyId": ACME_KEY, "policyName": "default", "policy": json.dumps(policy),
            "bypassPolicyLockoutSafetyCheck": True,
        },
    )  # fmt: skip
    assert at.work() == [ACME_KEY]


# ----------------------------------------------------------------------------------------------- what is asked and kept


def test_all_checks_of_a_key_are_kept_with_its_summary(at: Stand) -> None:
    at.probe()
    found = at.check(**check_names(WINDOW))
    assert at.stored() == found
    assert [line.checked.id for line in found.lines[-len(listed("aws")) :]] == [one.id for one in listed("aws")]
    assert msgspec.json.decode(at.row().summary or b"", type=Summary) == found.summary
    assert (at.outcomes()["all.usable"], at.outcomes()[WINDOW]) == (PASS, FAIL)


@pytest.mark.parametrize(("off", "clouds", "words"), [(True, ("aws",), "probe.off"), (False, (), "does not name aws")])
def test_a_cloud_that_is_not_asked_is_not_verified_and_the_rest_is_judged(
    tmp_path: Path, off: bool, clouds: tuple[str, ...], words: str
) -> None:
    found = stand(tmp_path, document(probed_key(off=off)))
    found.runtime.__dict__["readers"] = Readers.given(dict.fromkeys(clouds, found.reader))
    found.runtime.__dict__["probers"] = Probers.given(dict.fromkeys(clouds, found.prober))
    lines = found.check().lines
    of_cloud = [line.checked for line in lines if line.checked.id.startswith("aws.")]
    assert [one.id for one in of_cloud] == [one.id for one in listed("aws")]
    assert {one.outcome for one in of_cloud} == {UNTOLD}
    assert all(words in one.words for one in of_cloud)
    assert any(line.checked.id == "all.usable" and words in line.checked.words for line in lines)
    assert found.reader.asked == []
    assert found.incidents() == []


def test_it_is_evidence_when_it_comes_to_something_else_and_once_a_week(at: Stand) -> None:
    def daily() -> int:
        at.at += DAY
        at.want(GLOBEX_KEY)
        at.work()
        return len([one for one in at.evidence() if one["key"] == GLOBEX_KEY])

    begun = daily()
    assert begun == 1
    at.reader.says[GLOBEX_KEY] = {OURS: UNTOLD}
    assert [daily(), daily()] == [begun + 1, begun + 1]
    for _ in range(AT_LEAST // DAY - 2):
        assert daily() == begun + 1
    assert daily() == begun + 2
    last = [one for one in at.evidence() if one["key"] == GLOBEX_KEY][-1]
    assert (last["checks"][OURS], last["checks"][WINDOW], last["by"]) == ("cannot verify", "pass", None)


def test_what_a_person_asked_for_is_evidence_with_the_name(at: Stand) -> None:
    at.check()
    at.check()
    assert [one["by"] for one in at.evidence()] == ["alice", "alice"]


# ------------------------------------------------------------------------------------------------------------ the drift


def test_a_protection_that_is_lost_opens_an_incident_and_is_resolved_when_it_is_back_and_proven(at: Stand) -> None:
    at.probe()
    at.check()
    assert at.incidents() == []
    at.check(**check_names(WINDOW))
    (incident,) = at.incidents()
    assert (incident.stage, incident.subjects) == (Stage.AT_RISK, (ACME_KEY,))
    mails = at.notices(Reader.CUSTOMER)
    assert {one.recipient.email for one in mails if one.recipient} == {"alice@acme.example", "bob@acme.example"}
    step = mails[0].facts.keys[0].steps[0]  # type: ignore[union-attr]  # of an incident
    assert (step.command, step.owner) == (at.reader.fix, "customer")
    assert at.row().due_at == at.at + AGAIN, "nobody wants to wait for a day"

    at.check()
    assert at.incidents()[0].stage is Stage.RECOVERING
    with at.runtime.store.read() as unit:
        assert unit.probes([ACME_KEY])[ACME_KEY].wanted_at is not None, "the proof is wanted"
    at.probe()
    (incident,) = at.incidents()
    assert incident.stage is Stage.RESOLVED
    with at.runtime.store.read() as unit:
        assert unit.healths([ACME_KEY])[ACME_KEY].verdict == Verdict.HEALTHY


def test_a_second_lost_protection_joins_the_incident_and_both_must_be_back(at: Stand) -> None:
    at.probe()
    at.check()
    at.check(**check_names(WINDOW))
    at.check(**check_names(WINDOW, RIGHTS))
    at.probe()
    at.check(**check_names(RIGHTS))
    at.probe()
    (incident,) = at.incidents()
    assert incident.stage is Stage.AT_RISK
    at.check()
    at.probe()
    assert at.incidents()[0].stage is Stage.RESOLVED


def test_a_failure_that_the_vendor_has_to_repair_is_paged_and_never_mailed_to_the_customer(at: Stand) -> None:
    at.probe()
    at.check()
    at.check(**check_names(OURS))
    (incident,) = at.incidents()
    assert incident.fault == "vendor"
    assert at.notices(Reader.CUSTOMER) == []
    assert at.notices(Reader.ON_CALL) != []


def test_a_key_of_the_vendors_own_is_nobody_elses_matter(at: Stand) -> None:
    at.check(VENDOR_KEY, **check_names(RIGHTS))
    (incident,) = at.incidents()
    assert incident.fault == "vendor"
    assert at.notices(Reader.CUSTOMER) == []


def test_what_is_agreed_is_not_told(tmp_path: Path) -> None:
    agreed = Deviation(check=RIGHTS, owner="Carol", reason="old role", until=(T0 + 10 * DAY).date())
    exception = KeyException(reference="EX-7", deviations=[agreed])
    at = stand(tmp_path, document(msgspec.structs.replace(probed_key(), exception=exception)))
    found = at.check(**check_names(RIGHTS))
    assert (found.summary.agreed, found.summary.blocked_by, at.incidents()) == (1, (), [])
    assert at.evidence()[-1]["agreed"][RIGHTS]["until"] == date(2026, 12, 11).isoformat()
    at.at += 11 * DAY
    assert at.check(**check_names(RIGHTS)).summary.blocked_by == (RIGHTS,)
    assert [one.stage for one in at.incidents()] == [Stage.AT_RISK]


def test_a_key_that_cannot_be_used_by_our_own_fault_is_not_told_as_a_protection(at: Stand) -> None:
    at.prober.says[ACME_KEY] = BROKEN_CALLER
    at.probe()
    assert at.check().summary.blocked_by == ()
    assert at.outcomes()["all.usable"] is UNTOLD


# ------------------------------------------------------------------------------------------------------------- troubles


def test_a_fault_of_our_own_is_told_to_the_operators_and_the_other_keys_are_checked(at: Stand) -> None:
    def fail(key: Any) -> None:
        if key.id == ACME_KEY:
            raise ZeroDivisionError("odd answer")

    at.reader.on_check = fail
    at.at += DAY
    while at.work():
        pass
    of_cloud = [line.checked for line in at.stored().lines if line.checked.id.startswith("aws.")]
    assert {one.outcome for one in of_cloud} == {UNTOLD}
    assert all("ZeroDivisionError: odd answer" in one.words for one in of_cloud)
    assert at.outcomes(GLOBEX_KEY)[WINDOW] is PASS
    told = at.notices(Reader.OPERATOR)
    assert {one.channel for one in told} == {"operators", "second"}
    assert "odd answer" in str(told[0].facts)


def test_what_fails_in_judging_one_key_leaves_the_others_their_results(
    at: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = preflight_common.common_checks

    def judge(key: Any, *rest: Any) -> Any:
        if key.id == ACME_KEY:
            raise ZeroDivisionError("odd fact")
        return real(key, *rest)

    monkeypatch.setattr(module, "common_checks", judge)
    at.at += DAY
    at.work()
    assert at.outcomes(GLOBEX_KEY)[WINDOW] is PASS
    assert (at.row().last_at, at.row().due_at) == (None, at.at + CLAIM), "it is tried again"
    assert "odd fact" in str(at.notices(Reader.OPERATOR)[0].facts)


def test_a_key_that_somebody_took_over_meanwhile_is_theirs(at: Stand) -> None:
    at.at += DAY
    taken = at.checking.take()
    found = at.check()
    at.sent.clear()
    for batch in at.checking.batches(taken):
        at.checking.check(batch)
    assert at.stored() == found


def test_a_key_that_has_left_the_register_meanwhile_is_left(at: Stand) -> None:
    at.at += DAY
    taken = at.checking.take()
    import_document(at.runtime, document(key(ACME_SECOND_KEY)), by="alice", source="x", now=at.at)
    for batch in at.checking.batches(taken):
        at.checking.check(batch)
    assert ACME_KEY not in at.reader.asked
    with pytest.raises(KeyError):
        at.checking.check_now(ACME_KEY, by="alice")


def test_a_store_that_is_away_says_nothing_of_the_keys(at: Stand) -> None:
    store = FaultyStore(at.runtime.store)
    at.runtime.__dict__["store"] = store
    at.at += DAY
    taken = at.checking.take()
    at.reader.on_check = lambda _key: setattr(store, "away", True)
    with pytest.raises(StoreUnavailable):
        at.checking.check(taken)
    store.away = False
    assert at.row().last_at is None


def test_a_reader_that_hangs_holds_nobody_up(at: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(key: Any) -> None:
        if key.id == ACME_KEY:
            over.wait(30)

    at.reader.on_check = hang
    monkeypatch.setattr(module, "ASKING", 0.3)
    at.at += DAY
    at.work()
    over.set()
    assert at.outcomes(GLOBEX_KEY)[WINDOW] is PASS
    assert at.row().last_at is None
