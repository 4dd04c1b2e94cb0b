import base64
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure import world as azure
from tests.watchdog.clouds.gcp import world as gcp
from tests.watchdog.stories import Story
from tests.watchdog.test_health import signal
from tests.workers.cli.places import Place, event
from tests.workers.cli.test_evidence import tamper
from tests.workers.cli.test_status import alive, settle
from tests.worlds import T0, agreed
from watchdog.audit import Check, Outcome
from watchdog.words import Effect
from workers.auditing import Audited, put_audit
from workers.observing import put_incident
from workers.scheduler import CLAIMED
from workers.settings import BROKER_VARIABLE, STORE_VARIABLE
from workers.store.interface import NoticeState
from workers.synthetic import Passage

GOOD = """
heartbeat = { kind = "healthchecks", url = "env:TEST_PING" }
operators = ["page", "second"]
customer_mail = "mail"
[channels.page]
kind = "pagerduty"
routing_key = "env:TEST_KEY"
[channels.second]
kind = "console"
[channels.mail]
kind = "smtp"
host = "relay.example"
sender = "Key watch <key-watch@vendor.example>"
[routes.default]
channels = ["page"]
[routes.platform]
channels = ["page"]
[feeds.drop]
kind = "folder"
path = "/nowhere"
"""
FAULTY = """
customer_mail = "post"
[store]
url = "mysql://x"
[channels.page]
kind = "pagerduty"
routing_key = "env:TEST_MISSING"
[channels.mail]
kind = "smtp"
port = "many"
"""


def findings(place: Place) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in place.run("doctor", "--json").rows}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def sound(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Everything as it should be, but for the broker, which no test starts."""
    monkeypatch.setenv("TEST_KEY", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("TEST_PING", "https://hc.example/hunter2-uuid")
    place.settings(monkeypatch, GOOD)
    alive(place, "scheduler", "worker urgent,normal", "worker bulk", "consumer drop")
    now = datetime.now(UTC)
    with place.store() as store, store.write() as unit:
        unit.feed_seen("drop", asked_at=now)
        for name, every in CLAIMED.items():
            unit.claim_job(name, now=now, every=every)
        unit.put_memo("synthetic:aws", msgspec.json.encode(Passage(put_in_at=now, seen_at=now)), at=now)
    audited(place, sent_at=now)
    return place


def audited(place: Place, **changes: Any) -> None:
    """Let an audit have been made just now."""
    with place.store() as store, store.write() as unit:
        put_audit(unit, Audited(at=datetime.now(UTC), **changes))


def test_what_is_in_order_is_said_to_be_and_ends_with_nought(sound: Place) -> None:
    told = sound.run("doctor")
    assert 0 == told.code, told.out
    assert {"broker": "warning"} == {
        what: row["state"] for what, row in findings(sound).items() if row["state"] != "ok"
    }  # fmt: skip
    assert told.out.splitlines()[-1] == "0 faults, 1 warning, 29 in order."
    assert "ok       evidence: 1 entry, each sealing the one before it" in told.out
    assert "ok       register: revision 1, 3 keys" in told.out


def test_every_fault_of_the_settings_and_of_the_channels_comes_at_once(
    bare: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.settings(monkeypatch, FAULTY)
    told = bare.run("doctor", "--json")
    assert 1 == told.code
    assert {"customer_mail", "store.url", "channels.page.routing_key", "channels.mail"} == {
        row["what"] for row in told.rows
    }
    assert {"fault"} == {row["state"] for row in told.rows}
    assert not bare.home.exists()


def test_a_settings_file_that_is_not_there_is_a_finding(bare: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOK_WATCHDOG_CONFIG", str(bare.files / "none.toml"))
    told = bare.run("doctor")
    assert 1 == told.code
    assert f"fault    {bare.files / 'none.toml'}: cannot be read" in told.out


def test_a_place_where_nothing_was_made_yet_is_no_fault_and_stays_as_it_is(bare: Place) -> None:
    told = bare.run("doctor")
    assert 0 == told.code
    assert f"warning  store: not made yet: {bare.database}" in told.out
    assert "`byok-watchdog register import FILE` or `byok-watchdog up` makes it." in told.out
    assert "warning  paging: only the console: nobody is paged or mailed" in told.out
    assert not bare.home.exists()


def test_without_a_register_nothing_is_watched(bare: Place) -> None:
    bare.run("replay", bare.write("a.json", event()))
    found = findings(bare)["register"]
    assert ("fault", "none imported: nothing is watched") == (found["state"], found["text"])


def test_a_broker_that_is_away_is_told_quickly_and_without_its_password(
    sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BROKER_VARIABLE, f"redis://:hunter2@127.0.0.1:{closed_port()}/0")
    told = sound.run("doctor")
    assert 1 == told.code
    assert "fault    broker: cannot be reached: " in told.out
    assert "every process works records and notices itself" in told.out
    assert "hunter2" not in told.out


def test_the_audit_that_the_heartbeat_hangs_on_is_printed_check_by_check(sound: Place) -> None:
    with sound.store() as store, store.write() as unit:
        unit.put_memo("synthetic:aws", msgspec.json.encode(Passage(trouble="it came out otherwise")), at=T0)
    found = {what: row for what, row in findings(sound).items() if what.startswith("audit: ")}
    assert {"audit: outbox", "audit: feed drop", "audit: worker of bulk", "audit: evidence"} < found.keys()
    assert {"audit: synthetic record aws"} == {what for what, row in found.items() if row["state"] != "ok"}
    wrong = found["audit: synthetic record aws"]
    assert ("fault", "it came out otherwise") == (wrong["state"], wrong["text"])
    assert wrong["fix"]


def test_what_cannot_be_told_is_a_warning_and_not_in_order(sound: Place) -> None:
    with sound.store() as store, store.write() as unit:
        unit.put_memo("synthetic:aws", msgspec.json.encode(Passage()), at=T0)
    assert "warning" == findings(sound)["audit: synthetic record aws"]["state"]


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"sent_at": T0}, "ok", "the last one left 2026-12-01 09:00:00 UTC"),
        ({"sent_at": T0, "error": "server_error HTTP 500"}, "fault", "could not be sent: server_error HTTP 500"),
        ({"failing_since": T0}, "fault", "none has left yet; held back since 2026-12-01 09:00:00 UTC"),
    ],
)
def test_what_became_of_the_heartbeat_is_told(sound: Place, changes: dict[str, Any], state: str, words: str) -> None:
    audited(sound, **changes)
    told = sound.run("doctor", "--json")
    found = findings(sound)["heartbeat"]
    assert state == found["state"]
    assert words in found["text"]
    assert "hunter2" not in told.out


def test_an_installation_without_a_heartbeat_is_warned(sound: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sound.settings(monkeypatch, GOOD.replace("heartbeat =", "# heartbeat ="))
    found = findings(sound)["heartbeat"]
    assert ("warning", True) == (found["state"], "when the watchdog itself dies" in found["text"])


def test_a_heartbeat_whose_address_is_missing_is_a_fault_of_the_settings(
    sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_PING")
    assert "TEST_PING is not set" in findings(sound)["heartbeat.url"]["text"]


def test_status_shows_why_no_heartbeat_leaves(sound: Place) -> None:
    checks = (Check(name="outbox", outcome=Outcome.FAILED, words="a notice waits"),)
    audited(sound, sent_at=T0, failing_since=T0, checks=checks, error="timeout")
    told = sound.run("status").out
    assert "audit: does not pass since 2026-12-01 09:00" in told
    assert "outbox: a notice waits" in told
    assert "the heartbeat could not be sent: timeout" in told
    (row,) = [row for row in sound.run("status", "--json").rows if row["type"] == "watchdog"]
    assert [("outbox", "failed")] == [(one["name"], one["outcome"]) for one in row["audit"]["checks"]]


def test_a_store_that_is_away_is_told_without_its_password(sound: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_VARIABLE, f"postgresql+psycopg://watchdog:hunter2@127.0.0.1:{closed_port()}/watchdog")
    told = sound.run("doctor")
    assert 1 == told.code
    assert "fault    store: store unreachable: " in told.out
    assert "Check that the database runs" in told.out
    assert "hunter2" not in told.out


@pytest.mark.parametrize("kind", ["scheduler", "worker", "consumer"])
def test_a_kind_of_process_of_which_none_is_alive_is_a_fault(place: Place, kind: str) -> None:
    alive(place, *({"scheduler", "worker", "consumer"} - {kind}))
    alive(place, kind, ago=timedelta(minutes=5))
    found = findings(place)
    assert ("fault", "none alive") == (found[f"a {kind}"]["state"], found[f"a {kind}"]["text"])
    assert 2 == len([1 for name in ("scheduler", "worker", "consumer") if found[f"a {name}"]["state"] == "ok"])


def test_what_a_process_lacks_is_a_fault(sound: Place) -> None:
    alive(sound, "consumer drop", degraded="the broker is away")
    found = findings(sound)["consumer drop"]
    assert ("fault", "the broker is away") == (found["state"], found["text"])


@pytest.mark.parametrize(
    ("settings", "what", "state", "words"),
    [
        (("[routes.platform]", "[routes.other]"), "instance acme-prod", "warning", "its route platform does not exist"),
        (('operators = ["page", "second"]', "operators = []"), "operators", "fault", "nobody hears of trouble"),
        (('["page", "second"]', '["page"]'), "operators", "warning", "only one channel"),
        (('customer_mail = "mail"', ""), "customer mail", "fault", "no customer is ever told"),
        (('"mail"', '"page"'), "customer mail", "fault", "of kind pagerduty, which writes no mails"),
    ],
)
def test_what_would_leave_people_untold_is_found(
    sound: Place, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, str], what: str, state: str, words: str
) -> None:
    sound.settings(monkeypatch, GOOD.replace(*settings))
    found = findings(sound)[what]
    assert state == found["state"]
    assert words in found["text"]
    assert found["fix"]


@pytest.mark.parametrize("name", ["drop", "new"])
def test_the_fault_of_a_feed_is_shown_whether_it_ever_answered_or_not(
    sound: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sound.settings(monkeypatch, GOOD.replace("feeds.drop", f"feeds.{name}"))
    with sound.store() as store, store.write() as unit:
        unit.feed_seen(name, error="AccessDenied: sqs:ReceiveMessage")
    found = findings(sound)[f"feed {name}"]
    assert ("fault", "AccessDenied: sqs:ReceiveMessage") == (found["state"], found["text"])


def test_a_feed_that_was_asked_long_ago_is_not_in_order(sound: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sound.settings(monkeypatch, GOOD.replace("feeds.drop", "feeds.old"))
    with sound.store() as store, store.write() as unit:
        unit.feed_seen("old", asked_at=datetime.now(UTC) - timedelta(minutes=5))
    found = findings(sound)["feed old"]
    assert "fault" == found["state"]
    assert "nobody listens to it now" in found["text"]


def test_tampered_evidence_is_a_fault(sound: Place) -> None:
    tamper(sound, "UPDATE evidence SET body = '{}' WHERE number = 1")
    found = findings(sound)["evidence"]
    assert ("fault", "entry 1 was changed after it was sealed") == (found["state"], found["text"])


def test_a_notice_of_an_open_incident_that_failed_says_whom_to_reach_and_what_to_say(sound: Place) -> None:
    story = Story()
    notices = story.push(signal(Effect.KEY_DISABLED), now=datetime.now(UTC))
    mail = next(notice for notice in notices if notice.recipient)
    with sound.store() as store, store.write() as unit:
        put_incident(unit, story.incident)
        unit.add_notices(notices)
    settle(sound, mail.id, NoticeState.FAILED, "no such mailbox")
    found = findings(sound)[f"notice {mail.id}"]
    assert ("fault", "failed for good: gone: no such mailbox") == (found["state"], found["text"])
    assert found["fix"] == (
        "Reach alice@acme.example in another way; what to say: `byok-watchdog status " + story.incident.id + "`"
    )


def test_what_could_not_be_read_is_a_warning_that_leads_on(sound: Place) -> None:
    sound.run("replay", sound.write("a.json", b"{broken"))
    found = findings(sound)["quarantine"]
    assert ("warning", "1 piece could not be read") == (found["state"], found["text"])


def test_every_finding_that_is_not_in_order_says_what_to_do(bare: Place) -> None:
    for row in bare.run("doctor", "--json").rows:
        assert {"what", "state", "text", "fix"} == row.keys()
        assert row["state"] == "ok" or row["fix"].strip(), row


# ------------------------------------------------------------------------------------------------ feeds of every cloud


@pytest.fixture
def listener() -> Iterator[str]:
    """A far end on this machine that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def feed(kind: str, **options: object) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join([f"[feeds.{kind}]", f'kind = "{kind}"', *lines, ""])


KEY = base64.b64encode(b"a key of thirty-two bytes or more").decode()


def test_a_feed_that_cannot_be_made_of_its_settings_is_told_before_anybody_starts_it(
    sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = [
        feed("event_grid", endpoint="http://byok.example", topic="", subscription="w"),
        feed("event_grid_push", listen="127.0.0.1:0"),
        feed("storage_queue", url="https://account.queue.core.windows.net"),
        feed("pubsub", subscription="byok"),
        feed("pubsub_push", listen="8443", audience="a", service_account="b"),
    ]
    sound.settings(monkeypatch, GOOD + "\n".join(feeds))
    told = sound.run("doctor", "--json")
    assert 1 == told.code
    faults = " ".join(f"{row['what']}: {row['text']}" for row in told.rows if row["state"] == "fault")
    for kind in ("event_grid", "event_grid_push", "storage_queue", "pubsub", "pubsub_push"):
        assert f"feeds.{kind}" in faults, kind


@pytest.mark.parametrize("answers", [True, False])
def test_a_far_end_that_does_not_answer_is_told(
    sound: Place, monkeypatch: pytest.MonkeyPatch, listener: str, *, answers: bool
) -> None:
    place = listener if answers else f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("TEST_GRID", KEY)
    grid = {"topic": "globex", "subscription": "watch", "key": "env:TEST_GRID"}
    sound.settings(monkeypatch, GOOD + feed("event_grid", endpoint=f"http://{place}", **grid))
    told = [row for row in sound.run("doctor", "--json").rows if "does not answer" in row["text"]]
    assert [("feed event_grid", "warning")] * (not answers) == [(row["what"], row["state"]) for row in told]


def test_keys_of_a_cloud_whose_records_no_feed_carries_are_a_fault(
    sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "keys on azure" not in findings(sound)
    sound.imported(agreed(azure.document()))
    found = findings(sound)["keys on azure"]
    assert ("fault", "registered, but no feed carries records of this cloud") == (found["state"], found["text"])
    sound.settings(monkeypatch, GOOD.replace('kind = "folder"', 'kind = "folder"\ncloud = "azure"'))
    assert "keys on azure" not in findings(sound)


def test_a_subscription_that_the_register_does_not_know_and_one_that_nobody_reads_are_told(
    sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound.imported(agreed(gcp.document()))
    sound.settings(monkeypatch, GOOD + feed("pubsub", subscription="projects/acme-watch/subscriptions/odd"))
    told = sound.run("doctor").out
    assert "fault    feed pubsub: projects/acme-watch/subscriptions/odd is not in the register" in told
    assert f"warning  subscription {gcp.SUBSCRIPTION}: in the register, but no feed reads it" in told
    for named in (gcp.SUBSCRIPTION, gcp.SUBSCRIPTION.replace(gcp.WATCH, gcp.WATCH_NUMBER)):
        sound.settings(monkeypatch, GOOD + feed("pubsub", subscription=named))
        told = sound.run("doctor").out
        assert "not in the register" not in told
        assert f"subscription {gcp.SUBSCRIPTION}" not in told


def test_a_feed_for_customers_that_nobody_registered_is_told(sound: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sound.settings(monkeypatch, GOOD.replace('kind = "folder"', 'kind = "folder"\ncustomers = ["acme", "hooli"]'))
    told = [row["text"] for row in sound.run("doctor", "--json").rows if row["what"] == "feed drop"]
    assert "set up for customers that are not in the register: hooli" in told


def test_vaults_whose_log_goes_nowhere_are_told(sound: Place) -> None:
    assert not [what for what in findings(sound) if what.startswith("vaults of")]
    sound.imported(agreed(azure.document()))
    found = findings(sound)
    assert {"vaults of globex", "vaults of initech", "vaults of the vendor"} == {
        what for what in found if what.startswith("vaults of")
    }
    assert "3 vaults with registered keys and no diagnostic setting" in found["vaults of globex"]["text"]
