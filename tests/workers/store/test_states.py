"""Contract: health, incidents, evidence, the schedule and who was seen, in every store."""

import json
from collections.abc import Iterator
from datetime import timedelta

from tests.workers.store.things import HOSTILE, KEY, KOLKATA, MINUTE, ODD_ZONE, SECOND, T0, health, incident
from watchdog.evidence import GENESIS, Sealed, verify
from workers.store.interface import FeedSeen, ProcessSeen, Store

# ----------------------------------------------------------------------------------------------------------- health


def test_health_is_written_over(store: Store) -> None:
    changed = health(
        doc=b"\x00\xff", verdict="healthy", customer="globex", changed_at=(T0 + SECOND).astimezone(KOLKATA)
    )
    with store.write() as unit:
        unit.put_health(health())
        unit.put_health(health("watch:acme", verdict="blind"))
        unit.put_health(changed)
    with store.read() as unit:
        found = unit.healths([KEY, "watch:globex", "watch:acme"])
        assert found == {KEY: changed, "watch:acme": health("watch:acme", verdict="blind")}
        assert found[KEY].changed_at.utcoffset() == timedelta()
        assert unit.healths([]) == {}


def test_all_health_comes_by_subject_however_much_there_is(store: Store) -> None:
    # Capital letters, umlauts and signs sort by code point, not by somebody's language.
    subjects = [f"key/{number:04}" for number in range(1200)] + ["Key/b", "key/a", "kéy/a", "key/B", "key-a", "Z", "ä"]
    with store.write() as unit:
        for subject in reversed(subjects):
            unit.put_health(health(subject, doc=subject.encode()))
    with store.read() as unit:
        found = list(unit.all_health())
        assert [one.subject for one in found] == sorted(subjects)
        assert all(one.doc == one.subject.encode() for one in found)
        assert len(unit.healths(iter(subjects))) == len(subjects)
        assert next(iter(unit.all_health())).subject == "Key/b"  # and the rest is left unread


# -------------------------------------------------------------------------------------------------------- incidents


def test_an_incident_is_written_over_with_its_subjects(store: Store) -> None:
    worse = incident(
        doc=b"\x00",
        customer="globex",
        stage="lost",
        subjects=("c", "a", "b"),
        check_at=(T0 + MINUTE).astimezone(KOLKATA),
    )
    with store.write() as unit:
        unit.put_incident(incident())
        assert unit.incident("INC-1") == incident()
        unit.put_incident(worse)
    with store.read() as unit:
        assert unit.incident("INC-1") == worse
        assert unit.incident("INC-404") is None
        assert unit.open_incidents([KEY, "watch:acme", "a", "b", "d"]) == {"a": "INC-1", "b": "INC-1"}


def test_an_incident_may_have_no_subject(store: Store) -> None:
    with store.write() as unit:
        unit.put_incident(incident())
        unit.put_incident(incident(subjects=()))
        assert unit.incident("INC-1") == incident(subjects=())


def test_a_closed_incident_holds_its_subjects_no_longer(store: Store) -> None:
    with store.write() as unit:
        unit.put_incident(incident())
        unit.put_incident(incident(is_open=False, stage="resolved"))
        assert unit.open_incidents([KEY]) == {}
        unit.put_incident(incident("INC-2", subjects=(KEY,)))
        assert unit.open_incidents([KEY, "watch:acme"]) == {KEY: "INC-2"}


def test_the_newest_of_several_open_incidents_of_a_subject_counts(store: Store) -> None:
    with store.write() as unit:
        for name in ("INC-10", "INC-9", "INC-8"):
            unit.put_incident(incident(name))
        unit.put_incident(incident("INC-10", stage="lost"))  # written again, but not newer
        assert unit.open_incidents([KEY]) == {KEY: "INC-8"}


def test_incidents_are_listed_newest_first(store: Store) -> None:
    with store.write() as unit:
        for number in range(5):
            unit.put_incident(incident(f"INC-{number}", is_open=number % 2 == 0, subjects=(f"s-{number}", "t")))
        unit.put_incident(incident("INC-0", stage="lost", subjects=("s-0",)))
    with store.read() as unit:
        assert [one.id for one in unit.incidents(only_open=False)] == ["INC-4", "INC-3", "INC-2", "INC-1", "INC-0"]
        assert [one.id for one in unit.incidents(only_open=True)] == ["INC-4", "INC-2", "INC-0"]
        assert [one.subjects for one in unit.incidents(only_open=False, limit=2)] == [("s-4", "t"), ("s-3", "t")]


def test_incidents_are_checked_when_their_time_has_come(store: Store) -> None:
    with store.write() as unit:
        unit.put_incident(incident("late", check_at=T0 + SECOND))
        unit.put_incident(incident("never"))
        unit.put_incident(incident("early", check_at=T0.astimezone(ODD_ZONE)))
        unit.put_incident(incident("closed", check_at=T0, is_open=False))
        assert unit.incidents_due(T0 - SECOND, 10) == []
        assert unit.incidents_due(T0, 10) == ["early", "closed"]
        assert unit.incidents_due(T0 + SECOND, 10) == ["early", "closed", "late"]
        assert unit.incidents_due(T0 + SECOND, 1) == ["early"]
        unit.put_incident(incident("early"))
        assert unit.incidents_due(T0, 10) == ["closed"]


def test_incident_numbers_are_never_given_twice(store: Store) -> None:
    with store.write() as unit:
        assert [unit.incident_number() for _ in range(3)] == [1, 2, 3]
    with store.write() as unit:
        assert unit.incident_number() == 4


# --------------------------------------------------------------------------------------------------------- evidence


def test_evidence_is_a_chain_that_verifies(store: Store) -> None:
    with store.write() as unit:
        first = unit.append_evidence("signal", KEY, {"b": 1, "a": [None, "é"]}, at=T0)
    with store.write() as unit:
        unit.append_evidence("notice", "n-1", {}, at=T0 - MINUTE)
        third = unit.append_evidence("probe", KEY, {"n": 3}, at=T0)
    with store.read() as unit:
        entries = list(unit.evidence())
        assert verify(entries) == (3, None)
        assert [entry.number for entry in entries] == [1, 2, 3]
        assert (entries[0], entries[2]) == (first, third)
        assert entries[0].previous == GENESIS
        assert entries[0].body == '{"a":[null,"é"],"b":1}'
        assert list(unit.evidence(after=2)) == [third]
        assert list(unit.evidence(after=3)) == []


def test_a_seal_holds_whatever_the_zone_of_its_time(store: Store) -> None:
    times = [
        T0.replace(microsecond=microseconds).astimezone(zone)
        for zone in (KOLKATA, ODD_ZONE)
        for microseconds in (0, 1, 999_999)
    ]
    with store.write() as unit:
        for at in times:
            unit.append_evidence("signal", KEY, {}, at=at)
    with store.read() as unit:
        entries = list(unit.evidence())
        assert [entry.at for entry in entries] == times
        assert {entry.at.utcoffset() for entry in entries} == {timedelta()}
        assert verify(entries) == (len(times), None)


def test_evidence_about_any_text_verifies(store: Store) -> None:
    with store.write() as unit:
        for text in HOSTILE:
            unit.append_evidence("signal", text, {text: [text, {"inner": text}]}, at=T0)
    with store.read() as unit:
        entries = list(unit.evidence())
        assert verify(entries) == (len(HOSTILE), None)
        for text, entry in zip(HOSTILE, entries, strict=True):
            shown = text.encode("utf-8", "backslashreplace").decode()
            assert entry.subject == shown
            assert json.loads(entry.body) == {shown: [shown, {"inner": shown}]}


def test_evidence_streams_while_it_is_read(store: Store) -> None:
    with store.write() as unit:
        for number in range(1100):
            unit.append_evidence("signal", KEY, {"n": number}, at=T0)
    with store.read() as unit:
        both = zip(unit.evidence(), unit.evidence(after=100), strict=False)
        assert [(one.number, other.number) for one, other in both] == [(n, n + 100) for n in range(1, 1001)]
        assert verify(unit.evidence()) == (1100, None)


def test_bytes_are_kept_once_by_their_hash(store: Store) -> None:
    body = b"\x00\xff" * (1 << 19)
    with store.write() as unit:
        first = unit.keep_raw(body, at=T0)
        assert unit.keep_raw(body, at=T0 + SECOND) == first
        assert unit.keep_raw(b"", at=T0) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with store.read() as unit:
        assert unit.raw(first) == body
        assert unit.raw("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == b""
        assert unit.raw("0" * 64) is None


# ------------------------------------------------------------------------------------- schedule, processes and feeds


def test_a_job_is_run_by_one_once_per_interval(store: Store) -> None:
    def claims() -> Iterator[bool]:
        for seconds in (0, 0, 59, 60, 60, 119, 121, 180):
            with store.write() as unit:
                yield unit.claim_job("sweep", now=T0 + seconds * SECOND, every=MINUTE)

    assert list(claims()) == [True, False, False, True, False, False, True, False]
    with store.write() as unit:
        assert unit.claim_job("probe", now=T0, every=MINUTE), "another job has its own time"


def test_a_clock_that_went_wrong_does_not_stop_a_job_for_ever(store: Store) -> None:
    with store.write() as unit:
        assert unit.claim_job("sweep", now=T0.replace(year=2040), every=MINUTE)
        assert unit.claim_job("sweep", now=T0, every=MINUTE)
        # Seconds between two schedulers are no reason to run it twice.
        assert not unit.claim_job("sweep", now=T0 - 30 * SECOND, every=MINUTE)


def test_the_last_sign_of_life_of_a_process_counts(store: Store) -> None:
    first = ProcessSeen(name="b", kind="worker", seen_at=T0, started_at=T0 - MINUTE, degraded="no broker")
    other = ProcessSeen(name="a", kind="consumer", seen_at=T0, started_at=T0, degraded=None)
    again = ProcessSeen(name="b", kind="web", seen_at=(T0 + SECOND).astimezone(KOLKATA), started_at=T0, degraded=None)
    with store.write() as unit:
        for process in (first, other, again):
            unit.process_beat(process)
    with store.read() as unit:
        assert unit.processes() == [other, again]
        assert unit.processes()[1].seen_at.utcoffset() == timedelta()


def test_a_feed_adds_up_and_its_times_never_go_back(store: Store) -> None:
    with store.write() as unit:
        unit.feed_seen("b", received=10, kept=4, dropped=5, broken=1)
        unit.feed_seen("b", asked_at=T0, record_at=T0 - SECOND, received=1, kept=1)
        unit.feed_seen("b", asked_at=(T0 - MINUTE).astimezone(KOLKATA), record_at=T0.astimezone(ODD_ZONE), dropped=1)
        unit.feed_seen("a", error="no such queue")
    with store.read() as unit:
        assert unit.feeds() == [
            FeedSeen(
                feed="a", asked_at=None, record_at=None, received=0, kept=0, dropped=0, broken=0, error="no such queue"
            ),
            FeedSeen(feed="b", asked_at=T0, record_at=T0, received=11, kept=5, dropped=6, broken=1, error=None),
        ]


def test_an_error_of_a_feed_stays_until_it_was_asked_with_success(store: Store) -> None:
    def error() -> str | None:
        with store.read() as unit:
            return unit.feeds()[0].error

    seen = []
    for known in ({"error": "throttled"}, {"received": 1}, {"asked_at": T0}, {"asked_at": T0, "error": "partial"}):
        with store.write() as unit:
            unit.feed_seen("a", **known)
        seen.append(error())

    assert seen == ["throttled", "throttled", None, "partial"]


def test_counts_may_be_large(store: Store) -> None:
    with store.write() as unit:
        unit.feed_seen("a", received=1 << 40)
        unit.feed_seen("a", received=1)
        assert unit.feeds()[0].received == (1 << 40) + 1


def test_a_sealed_entry_is_what_was_returned(store: Store) -> None:
    with store.write() as unit:
        entry = unit.append_evidence("signal", KEY, {}, at=T0)
        assert isinstance(entry, Sealed)
        assert list(unit.evidence()) == [entry]
