import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.workers.fakes import FakeCloud, line
from tests.workers.runtimes import channel, make_runtime
from tests.worlds import ACME_ACCOUNT, ACME_KEY, GLOBEX_ACCOUNT, GLOBEX_KEY, T0, VENDOR_ACCOUNT
from watchdog import evidence
from watchdog.health import Health, Mark, Origin
from watchdog.incidents import Incident
from watchdog.notices import OperatorFacts, Verified
from watchdog.words import Stage, Verdict
from workers.delivering import deliver
from workers.observing import (
    ATTEMPTS_AT_MOST,
    RETRY,
    Observed,
    advance_incident,
    observe_row,
    operator_mark,
    take_marks,
)
from workers.runtime import Runtime
from workers.samples.corpus import Corpus, eventbridge
from workers.store.interface import Arrival, Store, StoreFault, StoreUnavailable, Unit

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime(tmp_path)


@pytest.fixture
def fake_cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """A cloud whose records say themselves what they mean, in the place of the real one."""
    cloud = FakeCloud()
    monkeypatch.setattr("watchdog.clouds.cloud", lambda _name: cloud)
    return cloud


def change(name: str, key: str = ACME_KEY, *, at: timedelta = timedelta(), **fields: Any) -> dict[str, Any]:
    return Corpus(seed=1).change(name, key, at=T0 + at, **fields)


def arrive(runtime: Runtime, body: bytes, *, event_id: str = "e-1", feed: str = "drop") -> int:
    """Put a record into the inbox; return its row."""
    arrival = Arrival(feed=feed, event_id=event_id, cloud="aws", body=body, received_at=T0)
    with runtime.store.write() as unit:
        (row,) = unit.receive([arrival])
    return row


def observed(runtime: Runtime, body: bytes, *, event_id: str = "e-1", feed: str = "drop") -> Observed:
    found = observe_row(runtime, arrive(runtime, body, event_id=event_id, feed=feed), now=T0 + MINUTE)
    assert found is not None
    return found


@dataclass
class State:
    """Everything that working a row may change."""

    healths: list[Any] = field(default_factory=list)
    incidents: list[Any] = field(default_factory=list)
    notices: list[Any] = field(default_factory=list)
    evidence: list[Any] = field(default_factory=list)
    quarantined: int = 0
    waiting: int = 0


def state(store: Store) -> State:
    with store.read() as unit:
        incidents = unit.incidents(only_open=False)
        return State(
            healths=list(unit.all_health()),
            incidents=incidents,
            notices=[notice for one in incidents for notice in unit.notices_of(one.id)],
            evidence=[entry for entry in unit.evidence() if entry.kind != "register"],
            quarantined=unit.quarantine_count(),
            waiting=sum(unit.inbox_counts().values()),
        )


def incident(runtime: Runtime) -> Incident:
    with runtime.store.read() as unit:
        (stored,) = unit.incidents(only_open=False)
    return msgspec.json.decode(stored.doc, type=Incident)


def operator_facts(runtime: Runtime) -> list[OperatorFacts]:
    """What the operators are told, over their first channel."""
    with runtime.store.read() as unit:
        due = [notice_id for notice_id, _ in unit.notices_due(T0 + 365 * DAY, 100, channel="operators")]
    for notice_id in due:
        deliver(runtime, notice_id, now=T0 + 365 * DAY)
    return [notice.facts for notice in channel(runtime, "operators").sent if isinstance(notice.facts, OperatorFacts)]


class FailingStore:
    """A store one method of whose units raises."""

    def __init__(self, store: Store, method: str, error: Exception) -> None:
        self._store, self._method, self._error = store, method, error
        self.broken = True

    @contextmanager
    def write(self) -> Iterator[Unit]:
        with self._store.write() as unit:
            yield _FailingUnit(unit, self._method, self._error) if self.broken else unit

    @contextmanager
    def read(self) -> Iterator[Unit]:
        with self._store.read() as unit:
            yield unit

    def close(self) -> None:
        self._store.close()


class _FailingUnit:
    def __init__(self, unit: Unit, method: str, error: Exception) -> None:
        self._unit, self._method, self._error = unit, method, error

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise self._error
        return getattr(self._unit, name)


# ----------------------------------------------------------------------------------------------------------- one commit


def test_a_record_that_matters_leaves_state_notices_and_evidence_together(runtime: Runtime) -> None:
    found = observed(runtime, eventbridge(change("DisableKey")))
    assert ("key_disabled",) == found.effects
    after = state(runtime.store)
    assert (0, Stage.IMPAIRED) == (after.waiting, incident(runtime).stage)
    assert [(ACME_KEY, Verdict.UNUSABLE, "acme")] == [(one.subject, one.verdict, one.customer) for one in after.healths]
    assert {stored.notice.id for stored in after.notices} == {notice.id for notice in found.notices}
    assert 5 == len(found.notices)


STEPS = ["keep_raw", "append_evidence", "put_healths", "put_incident", "add_notices", "arrival_done", "incident_number"]


@pytest.mark.parametrize("method", STEPS)
def test_a_failure_anywhere_leaves_nothing_and_the_next_try_does_it_all(runtime: Runtime, method: str) -> None:
    row = arrive(runtime, eventbridge(change("DisableKey")))
    before = state(runtime.store)
    failing = FailingStore(runtime.store, method, RuntimeError("no"))
    runtime.__dict__["store"] = failing
    assert observe_row(runtime, row, now=T0) is None
    assert before == state(runtime.store)
    with runtime.store.read() as unit:
        arrived = unit.arrived(row)
    assert arrived is not None
    assert 1 == arrived.attempts

    failing.broken = False
    assert observe_row(runtime, row, now=T0 + MINUTE) is not None
    assert ([1, 0], 5) == (
        [len(state(runtime.store).incidents), state(runtime.store).waiting],
        len(state(runtime.store).notices),
    )


@pytest.mark.parametrize("method", ["put_healths", "want_probes", "arrival_done", "arrived"])
def test_a_store_that_goes_away_says_nothing_about_the_record(runtime: Runtime, method: str) -> None:
    row = arrive(runtime, eventbridge(change("DisableKey")))
    failing = FailingStore(runtime.store, method, StoreUnavailable(StoreFault.LOST, "the connection broke"))
    runtime.__dict__["store"] = failing
    for _ in range(2 * ATTEMPTS_AT_MOST):
        with pytest.raises(StoreUnavailable):
            observe_row(runtime, row, now=T0)
    failing.broken = False
    with runtime.store.read() as unit:
        arrived = unit.arrived(row)
    assert arrived is not None
    assert (0, 0) == (arrived.attempts, state(runtime.store).quarantined)


def test_a_row_that_is_done_changes_nothing_any_more(runtime: Runtime) -> None:
    row = arrive(runtime, eventbridge(change("DisableKey")))
    assert observe_row(runtime, row, now=T0) is not None
    before = state(runtime.store)
    assert observe_row(runtime, row, now=T0 + MINUTE) is None
    assert observe_row(runtime, row + 1, now=T0) is None
    assert before == state(runtime.store)


def test_the_same_event_over_another_feed_tells_nobody_again(runtime: Runtime) -> None:
    body = eventbridge(change("DisableKey"))
    observed(runtime, body)
    again = observed(runtime, body, feed="other")
    assert () == again.notices
    assert 1 == len(state(runtime.store).incidents)
    assert ["drop", "other"] == [
        json.loads(entry.body)["feed"] for entry in state(runtime.store).evidence if entry.kind == "record"
    ]


def test_what_a_proof_has_made_history_is_not_kept_for_ever(runtime: Runtime) -> None:
    for number in range(6):
        at = number * HOUR
        observed(runtime, eventbridge(change("DisableKey", at=at)), event_id=f"d{number}")
        mark = operator_mark("Alice", "it works", at=T0 + at + 30 * MINUTE)
        take_marks(runtime, {ACME_KEY: [mark]}, kind="decided", evidence={}, now=T0 + at + 30 * MINUTE)
    (stored,) = state(runtime.store).healths
    assert len(msgspec.json.decode(stored.doc, type=Health).marks) <= 2


# ------------------------------------------------------------------------------------------------------------- evidence


def test_the_evidence_tells_the_record_the_verdict_the_incident_and_each_decision_and_holds(runtime: Runtime) -> None:
    body = eventbridge(change("DisableKey"))
    observed(runtime, body)
    with runtime.store.read() as unit:
        entries = list(unit.evidence())
        (record,) = [json.loads(entry.body) for entry in entries if entry.kind == "record"]
        assert body == unit.raw(record["raw_sha256"])
    assert (len(entries), None) == evidence.verify(entries)
    kinds = [entry.kind for entry in entries]
    assert ["register", "record", "verdict", "incident", *["decision"] * 4] == kinds
    assert ("drop", "key_disabled", ACME_KEY) == (
        record["feed"],
        record["signals"][0]["effect"],
        record["signals"][0]["key"],
    )
    bodies = {entry.kind: json.loads(entry.body) for entry in entries}
    assert ("blind", "unusable") == (bodies["verdict"]["was"], bodies["verdict"]["is"])
    assert ("impaired", "opened", "customer", [ACME_KEY]) == tuple(
        bodies["incident"][name] for name in ("stage", "why", "fault", "subjects")
    )
    who = {json.loads(entry.body)["who"] for entry in entries if entry.kind == "decision"}
    assert {"on-call by pager", "on-call by hook", "customer's contacts by mail", "account staff by mail"} == who


# ------------------------------------------------------------------------------------------------ what cannot be worked


def test_a_record_that_our_own_code_fails_on_is_tried_again_and_then_told(
    runtime: Runtime, fake_cloud: FakeCloud
) -> None:
    row = arrive(runtime, line("bad", meaning="fails"), event_id="bad")
    now = T0
    for attempt in range(1, ATTEMPTS_AT_MOST):
        assert observe_row(runtime, row, now=now) is None
        assert [] == operator_facts(runtime)
        with runtime.store.read() as unit:
            assert [] == unit.arrived_due(now + RETRY * attempt - MINUTE / 60, 10)
            now += RETRY * attempt
            assert [row] == [number for number, _ in unit.arrived_due(now, 10)]
    assert observe_row(runtime, row, now=now) is None

    with runtime.store.read() as unit:
        ((_, piece),) = unit.quarantined(10)
        assert unit.arrived(row) is None
    assert (line("bad", meaning="fails"), "bad", "drop") == (piece.body, piece.place, piece.feed)
    assert "our own reading failed 5 times: KeyError: 'meaning fails'" == piece.reason
    (told,) = operator_facts(runtime)
    assert ("Feed drop: a piece could not be read", "bad") == (told.subject, told.where)
    assert ["quarantined"] == [entry.kind for entry in state(runtime.store).evidence if entry.kind != "attempt"]


def test_a_bad_record_holds_up_none_of_the_others(runtime: Runtime, fake_cloud: FakeCloud) -> None:
    bad = arrive(runtime, line("bad", meaning="fails"), event_id="bad")
    good = arrive(runtime, line("good", key=ACME_KEY), event_id="good")
    assert observe_row(runtime, bad, now=T0) is None
    assert observe_row(runtime, good, now=T0) is not None
    assert 1 == len(state(runtime.store).incidents)


@pytest.mark.parametrize(
    ("effect", "subject"),
    [("untrusted", "a record cannot be trusted"), ("unreadable", "a piece could not be read")],
)
def test_the_operators_hear_of_it_once_an_hour_for_each_feed(
    runtime: Runtime, fake_cloud: FakeCloud, effect: str, subject: str
) -> None:
    def work(number: int, feed: str, at: timedelta) -> None:
        row = arrive(runtime, line(f"e{number}", says=[effect], n=number), event_id=f"e{number}", feed=feed)
        assert observe_row(runtime, row, now=T0 + at) is not None

    for number, (feed, at) in enumerate(
        [("one", 0 * MINUTE), ("one", 1 * MINUTE), ("one", 59 * MINUTE), ("two", 1 * MINUTE), ("one", 61 * MINUTE)]
    ):
        work(number, feed, at)
    told = [facts.subject for facts in operator_facts(runtime)]
    assert sorted([f"Feed one: {subject}", f"Feed two: {subject}", f"Feed one: {subject}"]) == sorted(told)
    after = state(runtime.store)
    assert ([], []) == (after.healths, after.incidents)
    assert (5 if effect == "unreadable" else 0) == after.quarantined


def test_what_the_operators_are_told_does_not_wait_for_a_sweep(runtime: Runtime, fake_cloud: FakeCloud) -> None:
    found = observed(runtime, line("e", says=["untrusted"]))
    assert ["operators", "second"] == [notice.id.rpartition("-")[2] for notice in found.notices]
    assert {True} == {notice.urgent for notice in found.notices}


# -------------------------------------------------------------------------------------------- whose record, whose key


def by_recipient(account: str) -> bytes:
    """Somebody's own, genuine feed tells of a key that is not his."""
    return eventbridge(change("DisableKey") | {"recipientAccountId": account})


def by_envelope(account: str) -> bytes:
    """The record claims the owner's account, the envelope, which AWS writes, says otherwise."""
    return eventbridge(change("DisableKey")).replace(
        f'"account":"{ACME_ACCOUNT}"'.encode(), f'"account":"{account}"'.encode()
    )


@pytest.mark.parametrize("account", [GLOBEX_ACCOUNT, VENDOR_ACCOUNT, "555500001111"])
@pytest.mark.parametrize("forged", [by_recipient, by_envelope])
def test_no_account_but_its_owners_can_say_that_a_key_was_disabled(runtime: Runtime, forged: Any, account: str) -> None:
    body = forged(account)
    assert account.encode() in body
    found = observed(runtime, body)
    after = state(runtime.store)
    assert ([], []) == (after.healths, after.incidents)
    assert {"untrusted"} == set(found.effects) or {"no_effect"} == set(found.effects)
    if "untrusted" in found.effects:
        assert ["Feed drop: a record cannot be trusted"] == [facts.subject for facts in operator_facts(runtime)]


def test_a_customers_record_touches_only_its_own_key(runtime: Runtime) -> None:
    observed(runtime, eventbridge(change("DisableKey", GLOBEX_KEY)))
    assert [GLOBEX_KEY] == [one.subject for one in state(runtime.store).healths]
    assert "globex" == incident(runtime).customer


# ------------------------------------------------------------------------------------------------ probes and decisions


def test_a_named_decision_resolves_tells_who_was_told_and_is_evidence(runtime: Runtime) -> None:
    first = observed(runtime, eventbridge(change("DisableKey")))
    mark = operator_mark("Oscar", "read an old file", at=T0 + HOUR)
    queued = take_marks(runtime, {ACME_KEY: [mark]}, kind="decided", evidence={"by": "Oscar"}, now=T0 + HOUR)
    assert (Stage.RESOLVED, "Oscar: read an old file") == (incident(runtime).stage, incident(runtime).resolved_by)
    assert len(first.notices) == len(queued)
    (decided,) = [entry for entry in state(runtime.store).evidence if entry.kind == "decided"]
    assert (ACME_KEY, {"by": "Oscar"}) == (decided.subject, json.loads(decided.body))
    with runtime.store.read() as unit:
        assert {} == unit.open_incidents([ACME_KEY])
        assert [] == unit.incidents_due(T0 + 365 * DAY, 10)
        assert evidence.verify(unit.evidence())[1] is None


def test_a_passing_probe_resolves_and_what_it_said_is_kept(runtime: Runtime) -> None:
    observed(runtime, eventbridge(change("DisableKey")))
    at = T0 + HOUR
    probe = Mark(id="p-1", at=at, origin=Origin.PROBE, effect=None, reason="encrypt and decrypt worked")
    said = Verified(at=at, passed=True, words="encrypt and decrypt worked")
    take_marks(runtime, {ACME_KEY: [probe]}, kind="probe", evidence={}, now=at, probed={ACME_KEY: said})
    assert (Stage.RESOLVED, None) == (incident(runtime).stage, incident(runtime).resolved_by)
    (stored,) = state(runtime.store).healths
    assert (Verdict.HEALTHY, at) == (stored.verdict, msgspec.json.decode(stored.doc, type=Health).probed_at)


def test_an_incident_whose_time_has_come_is_looked_at_once(runtime: Runtime) -> None:
    observed(
        runtime,
        eventbridge(
            change(
                "ScheduleKeyDeletion",
                requestParameters={"pendingWindowInDays": 7},
                responseElements={"deletionDate": "Dec 8, 2026, 9:00:00 AM"},
            )
        ),
    )
    due = T0 + 6 * DAY
    opened = incident(runtime)
    assert (Stage.DELETION_SCHEDULED, due) == (opened.stage, opened.check_at)
    assert () == advance_incident(runtime, opened.id, now=due - MINUTE)
    told = advance_incident(runtime, opened.id, now=due)
    assert told
    assert (Stage.IRREVERSIBLE_SOON, 2) == (incident(runtime).stage, incident(runtime).turn)
    assert () == advance_incident(runtime, opened.id, now=due)
    assert () == advance_incident(runtime, "KW-999", now=due)


def test_a_feed_that_is_set_up_for_others_cannot_move_a_key_and_its_operators_hear_of_it(runtime: Runtime) -> None:
    only = replace(runtime.settings.feeds[0], customers=("globex",))
    runtime.settings = replace(runtime.settings, feeds=(only,))
    found = observed(runtime, json.dumps(change("DisableKey")).encode())
    assert found.effects == ("untrusted",)
    assert state(runtime.store).healths == []
    (told,) = operator_facts(runtime)
    assert "set up for others: " in told.what
    assert "`customers`" in told.next
