from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.workers.cli.places import HOSTILE, Place, event, steered
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, BUCKET, DATABASE, GLOBEX_KEY, VENDOR_KEY, document, key, stores
from watchdog.health import Health, Mark, Origin
from watchdog.words import Verdict
from workers.store.interface import Attempt, NoticeState, ProcessSeen, StoredHealth

MINUTE = timedelta(minutes=1)


def replay(place: Place, *bodies: bytes) -> None:
    paths = [place.write(f"in/{number}.json", body) for number, body in enumerate(bodies)]
    assert 0 == place.run("replay", *paths).code


def prove(place: Place, *keys: str, ago: timedelta = MINUTE, words: str | None = None) -> None:
    """A passing check of these keys, as the store keeps it."""
    at = datetime.now(UTC) - ago
    with place.store() as store, store.write() as unit:
        for subject in keys:
            mark = Mark(id="p", at=at, origin=Origin.PROBE, effect=None, reason="encrypt and decrypt worked")
            found = Health(subject=subject, marks=(mark,))
            if words is not None:
                found = replace(found, probed_at=at, probe_passed=True, probe_words=words)
            unit.put_health(
                StoredHealth(
                    subject=subject, doc=msgspec.json.encode(found), verdict=Verdict.HEALTHY, customer="",
                    changed_at=at,
                )
            )  # fmt: skip


def alive(place: Place, *kinds: str, ago: timedelta = timedelta(), degraded: str | None = None) -> None:
    now = datetime.now(UTC)
    with place.store() as store, store.write() as unit:
        for kind in kinds:
            unit.process_beat(
                ProcessSeen(name=f"{kind}-{ago}", kind=kind, seen_at=now - ago, started_at=now, degraded=degraded)
            )


def rows(place: Place, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """What `status --json` prints, by type."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in place.run("status", "--json", *arguments).rows:
        found.setdefault(row["type"], []).append(row)
    return found


def settle(place: Place, notice_id: str, state: NoticeState, excerpt: str) -> None:
    """Say what came of a notice that waits."""
    now = datetime.now(UTC) + MINUTE
    with place.store() as store, store.write() as unit:
        lease = unit.lease(notice_id, now=now, length=MINUTE)
        assert lease is not None
        attempt = Attempt(at=now, outcome="permanent", reason="gone", http_status=410, excerpt=excerpt)
        assert unit.settle(notice_id, lease.fence, state=state, attempt=attempt)


# --------------------------------------------------------------------------------------------------------- exit status


def test_only_a_proof_of_every_key_ends_with_nought(place: Place) -> None:
    assert 3 == place.run("status").code
    prove(place, ACME_KEY, GLOBEX_KEY)
    assert 3 == place.run("status").code
    prove(place, VENDOR_KEY)
    assert 0 == place.run("status").code
    prove(place, VENDOR_KEY, ago=timedelta(hours=2))
    assert 3 == place.run("status").code


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_open_incident_ends_with_three_also_for_machines(place: Place, options: tuple[str, ...]) -> None:
    prove(place, ACME_KEY, GLOBEX_KEY, VENDOR_KEY)
    replay(place, event("DisableKey", ago=timedelta(seconds=1)))
    assert 3 == place.run("status", *options).code


def test_one_key_ends_by_its_own_verdict_and_one_incident_by_whether_it_is_open(place: Place) -> None:
    prove(place, GLOBEX_KEY)
    replay(place, event("DisableKey"))
    assert 0 == place.run("status", GLOBEX_KEY).code
    assert 3 == place.run("status", ACME_KEY).code
    assert 3 == place.run("status", "KW-1").code
    assert 0 == place.run("resolve", "KW-1", "--reason", "it works", "--by", "Oscar").code
    assert 0 == place.run("status", "KW-1").code


def test_without_a_store_it_ends_with_one_and_makes_none(bare: Place) -> None:
    told = bare.run("status")
    assert (1, "") == (told.code, told.out)
    assert f"There is no store at {bare.database}." in told.err
    assert "`byok-watchdog register import FILE`" in told.err
    assert not bare.home.exists()


def test_what_is_neither_key_nor_incident_is_said_so(place: Place) -> None:
    told = place.run("status", "KW-99")
    assert 1 == told.code
    assert "Neither an incident nor a registered key: KW-99\n`byok-watchdog status` lists both.\n" == told.err


# ---------------------------------------------------------------------------------------------------------------- JSON


def test_each_key_is_one_object_with_what_is_claimed_and_what_is_verified(place: Place) -> None:
    prove(place, GLOBEX_KEY, words="encrypt and decrypt worked")
    replay(place, event("DisableKey"))
    found = {row["key"]: row for row in rows(place)["key"]}
    assert {ACME_KEY, GLOBEX_KEY, VENDOR_KEY} == found.keys()
    acme, globex = found[ACME_KEY], found[GLOBEX_KEY]
    assert ("acme", "acme-prod", "unusable", "customer", "KW-1") == tuple(
        acme[name] for name in ("customer", "instance", "verdict", "fault", "incident")
    )
    assert acme["claimed"][0].startswith("key_disabled since 20")
    assert acme["verified"] is None
    assert ("healthy", "encrypt and decrypt worked") == (globex["verdict"], globex["verified"]["words"])
    assert [DATABASE, BUCKET] == [one["id"] for one in acme["stores"]]
    assert acme["holds"]
    assert any("aws kms enable-key" in (step["command"] or "") for step in acme["steps"])
    assert "blind" == found[VENDOR_KEY]["verdict"]


def test_every_deadline_has_its_kind_what_is_left_and_its_source(place: Place) -> None:
    replay(place, event("DisableKey"))
    (acme,) = [row for row in rows(place)["key"] if row["key"] == ACME_KEY]
    for deadline in (acme["headline"], acme["next_impact"], *(one["impact"] for one in acme["stores"])):
        assert {"kind", "at", "bound", "left", "words", "source"} == deadline.keys()
        assert deadline["source"]
    assert ("store_terminal", "at_least") == (acme["headline"]["kind"], acme["headline"]["bound"])
    assert acme["headline"]["left"].startswith("7 d 0")


def test_an_incident_is_one_object_with_its_turns_and_its_notices(place: Place) -> None:
    replay(place, event("DisableKey"))
    (incident,) = rows(place)["incident"]
    assert ("KW-1", "acme", "impaired", "critical", "customer", [ACME_KEY]) == tuple(
        incident[name] for name in ("incident", "customer", "stage", "severity", "fault", "keys")
    )
    assert [(1, "impaired", "opened")] == [(turn["number"], turn["stage"], turn["why"]) for turn in incident["turns"]]
    told = {(one["kind"], one["recipient"], one["state"]) for one in incident["notices"]}
    assert {("alarm", who, "accepted") for who in
            (None, "alice@acme.example", "bob@acme.example", "carol@vendor.example")} == told  # fmt: skip


def test_the_watchdog_itself_is_one_object(place: Place) -> None:
    replay(place, event("DisableKey"), b"{broken")
    alive(place, "scheduler")
    alive(place, "worker bulk", ago=timedelta(minutes=5))
    (system,) = rows(place)["watchdog"]
    assert (1, 1) == (system["register_revision"], system["quarantined"])
    assert {"record": 0, "delivery": 0} == system["inbox"]
    assert {"scheduler": True, "worker bulk": False} == {one["kind"]: one["alive"] for one in system["processes"]}
    assert [("replay", 2, 1, 1)] == [
        (one["feed"], one["received"], one["kept"], one["broken"]) for one in system["feeds"]
    ]


def test_a_closed_incident_is_told_as_fully_as_an_open_one(place: Place) -> None:
    replay(place, event("DisableKey"))
    place.run("resolve", "KW-1", "--reason", "read an old file", "--by", "Oscar")
    assert {"key", "route", "watchdog"} == rows(place).keys()
    (closed,) = place.run("status", "--json", "KW-1").rows
    assert ("resolved", "Oscar: read an old file") == (closed["stage"], closed["resolved_by"])
    assert closed["resolved_at"]
    assert {"alarm", "resolved"} == {one["kind"] for one in closed["notices"]}


@pytest.mark.parametrize("name", [ACME_KEY, ACME_KEY.rpartition("/")[2]])
def test_a_key_can_be_named_in_full_or_by_its_id(place: Place, name: str) -> None:
    (row,) = place.run("status", "--json", name).rows
    assert ("key", ACME_KEY) == (row["type"], row["key"])


# -------------------------------------------------------------------------------------------------------- for a person


def lines(place: Place, *arguments: str) -> list[str]:
    return place.run("status", *arguments).out.splitlines()


def test_the_first_line_says_how_it_stands(place: Place) -> None:
    prove(place, GLOBEX_KEY)
    replay(place, event("DisableKey"))
    assert lines(place)[0].endswith(
        "UTC  3 keys watched: 1 unusable, 1 blind, 1 healthy; 1 open incident; register revision 1"
    )


def test_the_worst_comes_first_and_what_can_only_be_saved_now_before_it(place: Place) -> None:
    mild, bad = stores(backups=True, read_replica=False), stores(read_replica=True)
    place.imported(document(key(ACME_KEY, *mild), key(ACME_SECOND_KEY, *bad)))
    replay(
        place,
        event("DisableKey", ago=10 * MINUTE),
        event("DisableKey", ACME_SECOND_KEY, ago=5 * MINUTE),
        event("ScheduleKeyDeletion", GLOBEX_KEY, ago=4 * MINUTE, requestParameters={"pendingWindowInDays": 7}),
    )
    shown = place.run("status").out
    order = [shown.index(one) for one in (GLOBEX_KEY, ACME_SECOND_KEY, ACME_KEY, VENDOR_KEY)]
    assert sorted(order) == order


def test_a_person_reads_why_until_when_and_where_to_read_on(place: Place) -> None:
    replay(place, event("DisableKey"))
    shown = place.run("status").out
    assert "UNUSABLE     acme / Acme production" in shown
    assert "             why       The key was disabled: nobody can use it" in shown
    assert "             deadline  not before 20" in shown
    assert "(in 7 d 0" in shown
    assert "[Amazon RDS User Guide" in " ".join(shown.split())
    assert "             incident  KW-1; in full: byok-watchdog status KW-1" in shown


def test_healthy_keys_are_counted_and_listed_when_asked_for(place: Place) -> None:
    prove(place, GLOBEX_KEY, VENDOR_KEY)
    shown = place.run("status").out
    assert GLOBEX_KEY not in shown
    assert "2 healthy keys not listed: byok-watchdog status --all" in shown
    every = place.run("status", "--all").out
    assert f"HEALTHY      globex / globex-prod  {GLOBEX_KEY}" in every
    assert "not listed" not in every


def test_quiet_keys_take_a_line_each_and_are_never_shown_as_fine(place: Place) -> None:
    shown = lines(place)
    assert f"BLIND        acme / Acme production  {ACME_KEY}" in shown
    assert "             blind: nothing is known to be wrong, and nothing proves the key usable now" in shown


def test_an_incident_in_full_says_what_not_to_do_and_how_to_repair_with_commands_in_one_piece(place: Place) -> None:
    replay(place, event("DisableKey"))
    shown = place.run("status", "KW-1").out
    assert "             holds     - do not stop, start, reboot" in shown
    assert "             step 1    (customer) " in shown
    (command,) = [line.strip() for line in shown.splitlines() if "aws kms enable-key" in line]
    assert command.endswith(ACME_KEY), "a command that is broken over two lines cannot be copied"
    assert "             store     primary database (aws.rds)" in shown
    assert "    alarm (impaired) to alice@acme.example over console: accepted 20" in shown


def test_a_notice_that_failed_shows_its_reason(place: Place) -> None:
    with place.store() as store:
        from tests.watchdog.stories import Story  # noqa: PLC0415 - only here: a notice that nobody has sent
        from tests.watchdog.test_health import signal  # noqa: PLC0415
        from watchdog.words import Effect  # noqa: PLC0415
        from workers.observing import put_incident  # noqa: PLC0415

        story = Story()
        notices = story.push(signal(Effect.KEY_DISABLED), now=datetime.now(UTC))
        with store.write() as unit:
            put_incident(unit, story.incident)
            unit.add_notices(notices)
    mail = next(notice for notice in notices if notice.recipient)
    settle(place, mail.id, NoticeState.FAILED, "no such mailbox\x1b[2K")
    shown = place.run("status", story.incident.id).out
    assert "over mail: failed (gone: no such mailbox\N{REPLACEMENT CHARACTER}[2K)" in shown


def test_a_key_that_has_left_the_register_stays_visible_with_its_incident(place: Place) -> None:
    replay(place, event("DisableKey"))
    place.imported(document(key(ACME_SECOND_KEY)))
    shown = " ".join(place.run("status").out.split())
    assert f"UNUSABLE acme / {ACME_KEY}" in shown
    assert "the key has left the register, so its stores and their deadlines are not known" in shown


# -------------------------------------------------------------------------------------------------- the watchdog itself


def test_that_nobody_watches_is_said_in_words(place: Place) -> None:
    shown = lines(place)
    assert "feed drop: never asked, so nothing of it is seen" in shown
    assert "processes: none alive, nobody watches: byok-watchdog doctor" in shown


def test_a_kind_of_process_that_is_gone_is_named_and_one_that_was_replaced_is_not(place: Place) -> None:
    alive(place, "scheduler")
    alive(place, "scheduler", "consumer drop", ago=timedelta(minutes=5))
    alive(place, "consumer old", ago=timedelta(days=3))
    shown = lines(place)
    assert "processes: scheduler" in shown
    (gone,) = [line for line in shown if "no sign of life since" in line]
    assert gone.startswith("  consumer drop: ")


def test_what_a_process_lacks_is_shown(place: Place) -> None:
    alive(place, "consumer drop", degraded="the broker is away\x1b[2J")
    assert "  consumer drop is degraded: the broker is away\N{REPLACEMENT CHARACTER}[2J" in lines(place)


def feed_line(place: Place) -> str:
    (line,) = [line for line in lines(place) if line.startswith("feed drop:")]
    return line


def test_a_feed_that_nobody_asks_any_more_is_not_shown_as_fine(place: Place) -> None:
    now = datetime.now(UTC)
    with place.store() as store, store.write() as unit:
        unit.feed_seen("drop", asked_at=now - timedelta(minutes=5), record_at=now, received=7, kept=2, dropped=5)
    assert feed_line(place).endswith("7 records: 2 kept, 5 dropped, 0 unreadable - nobody asks it now")
    with place.store() as store, store.write() as unit:
        unit.feed_seen("drop", asked_at=now)
    assert feed_line(place).endswith("0 unreadable")


def test_a_feed_that_never_brought_a_record_says_never(place: Place) -> None:
    with place.store() as store, store.write() as unit:
        unit.feed_seen("drop", asked_at=datetime.now(UTC))
    assert "UTC, last record never; 0 records" in feed_line(place)


def test_the_fault_of_a_feed_is_shown(place: Place) -> None:
    with place.store() as store, store.write() as unit:
        unit.feed_seen("drop", error="AccessDenied: \x1b]0;title\x07")
    assert [] == steered(place.run("status").out)
    assert any("AccessDenied" in line for line in lines(place))


def quarantined(place: Place, options: Sequence[str] = ()) -> Any:
    return place.run("status", "--quarantine", *options)


def test_what_could_not_be_read_is_listed_with_its_place_and_reason(place: Place) -> None:
    replay(place, b"{broken", event("DisableKey"))
    assert "quarantine: 1 piece that could not be read: byok-watchdog status --quarantine" in lines(place)
    told = quarantined(place)
    assert 0 == told.code
    assert "0.json, record 1" in told.out
    assert "not JSON" in told.out or "not valid JSON" in told.out
    (row,) = quarantined(place, ["--json"]).rows
    assert ("replay", "{broken") == (row["feed"], row["text"])
    assert {"id", "feed", "place", "reason", "received_at", "bytes", "text"} == row.keys()


def test_a_hostile_file_name_cannot_steer_the_terminal(place: Place) -> None:
    name = HOSTILE.replace("\x00", "").replace("/", "")
    place.run("replay", place.write(f"in/{name}.json", b"{broken"))
    told = quarantined(place)
    assert "mallory" in told.out
    assert [] == steered(told.out)


def test_of_every_key_the_three_covers_are_told_and_of_every_way_its_last_sign(place: Place) -> None:
    found = place.run("status", "--json").rows
    covers = next(row["coverage"] for row in found if row.get("key") == ACME_KEY)
    assert ["forwarded", "self_observed", "probed"] == [one["cover"] for one in covers]
    assert ["quiet", "quiet", "none"] == [one["state"] for one in covers]
    assert all(one["words"] for one in covers)
    ways = [row for row in found if row["type"] == "route"]
    assert {None} == {row["last_sign_at"] for row in ways}
    assert "aws:111122223333:eu-west-1" in {row["route"] for row in ways}
    told = place.run("status", ACME_KEY).out
    assert "forwarded: quiet; no sign of life is agreed for" in " ".join(told.split())
    assert "ways of audit records: " in place.run("status").out
