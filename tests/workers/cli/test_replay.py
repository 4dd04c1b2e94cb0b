import gzip
import json

from tests.workers.cli.places import Place, event
from tests.worlds import ACME_KEY
from workers.samples.corpus import Corpus, trail_file
from workers.store.interface import NoticeState


def state(place: Place) -> tuple[object, ...]:
    """Everything that a replay may change but for the counts of its feed."""
    with place.store() as store, store.read() as unit:
        return (
            [(one.subject, one.doc) for one in unit.all_health()],
            [(one.id, one.doc) for one in unit.incidents(only_open=False)],
            dict(unit.outbox_counts()),
            [entry.seal for entry in unit.evidence()],
            unit.quarantine_count(),
        )


def folder(place: Place) -> str:
    corpus = Corpus(seed=9)
    records = [corpus.noise() for _ in range(20)]
    records[7] = corpus.change("DisableKey", ACME_KEY)
    place.write("in/a.json.gz", gzip.compress(trail_file(records)))
    place.write("in/b.json", event("EnableKey"))
    place.write("in/c.json", b'{"Records": [{"eventVersion"')
    return str(place.files / "in")


def test_records_go_the_whole_way_to_the_notices(place: Place) -> None:
    told = place.run("replay", folder(place))
    assert 0 == told.code
    assert told.out == (
        "22 records: 2 worked, 0 known already, 19 without meaning for the register, 1 unreadable (in quarantine). "
        "See: byok-watchdog status\n"
    )
    with place.store() as store, store.read() as unit:
        (incident,) = unit.incidents(only_open=False)
        assert ("acme", "recovering") == (incident.customer, incident.stage)
        counts = unit.outbox_counts()
    assert 0 < counts[NoticeState.ACCEPTED] == sum(counts.values())


def test_the_same_again_changes_nothing(place: Place) -> None:
    files = folder(place)
    place.run("replay", files)
    before = state(place)
    told = place.run("replay", files)
    assert told.out.startswith("22 records: 0 worked, 2 known already, 19 without meaning")
    assert before == state(place)


def test_the_same_record_in_another_file_and_form_is_known(place: Place) -> None:
    corpus = Corpus(seed=9)
    record = corpus.change("DisableKey", ACME_KEY)
    place.run("replay", place.write("a.json", trail_file([record])))
    before = state(place)
    told = place.run("replay", place.write("b.json", json.dumps(record)))
    assert "1 known already" in told.out
    assert before == state(place)


def test_the_operators_hear_what_could_not_be_read(place: Place) -> None:
    told = place.run("replay", folder(place))
    assert "Feed replay: a piece could not be read" in told.err
    assert "c.json, record 1." in " ".join(told.err.split())


def test_notices_on_the_console_do_not_mix_with_the_outcome(place: Place) -> None:
    told = place.run("replay", "--json", folder(place))
    assert [
        {"feed": "replay", "received": 22, "kept": 2, "known": 0, "dropped": 19, "unreadable": 1}
    ] == told.rows  # fmt: skip
    assert "alarm for on-call" in told.err


def test_records_of_a_live_feed_that_it_has_delivered_are_not_worked_again(place: Place) -> None:
    path = place.write("a.json", event("DisableKey"))
    place.run("replay", "--feed", "events", path)
    before = state(place)
    assert "1 known already" in place.run("replay", "--feed", "events", path).out
    assert before == state(place)


def test_what_was_left_in_the_inbox_is_worked_too(place: Place) -> None:
    """Somebody broke the first replay off between the commit of the row and its work."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    from workers.store.interface import Arrival  # noqa: PLC0415 - only here

    with place.store() as store, store.write() as unit:
        unit.receive(
            [Arrival(feed="replay", event_id="x", cloud="aws", body=event(), received_at=datetime.now(UTC))]
        )  # fmt: skip
    place.run("replay", place.write("empty.json", b'{"Records": []}'))
    with place.store() as store, store.read() as unit:
        assert 0 == sum(unit.inbox_counts().values())
        assert 1 == len(unit.incidents(only_open=True))


def test_standard_input_can_be_replayed(place: Place) -> None:
    assert "1 record: 1 worked" in place.run("replay", "-", typed=event("DisableKey")).out


def test_a_path_that_does_not_exist_is_named_before_anything_is_worked(place: Place) -> None:
    before = state(place)
    told = place.run("replay", place.write("a.json", event()), "not-there")
    assert 1 == told.code
    assert "No such file or folder: not-there" in told.err
    assert before == state(place)


def test_without_a_register_nothing_matters_and_nothing_fails(bare: Place) -> None:
    told = bare.run("replay", bare.write("a.json", event("DisableKey")))
    assert (0, True) == (told.code, "0 worked" in told.out)
