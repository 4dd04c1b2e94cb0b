"""Cloud Logging as an archive, by google-auth and requests through HTTP on loopback."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.house.tree import ROOT
from tests.key_services.gcp import Gcp
from tests.watchdog.clouds.gcp import world
from tests.workers.backfill.gcp_logs import Logging, Trouble
from watchdog.clouds import cloud
from watchdog.clouds.gcp.catalogue import filters
from workers.backfill.gcp import APART, CloudLogging, archive
from workers.backfill.interface import Page
from workers.backfill.kinds import make_archive
from workers.feeds.interface import FeedFault, Reason, Received
from workers.intake import Intake
from workers.registry import Registry
from workers.store.memory import MemoryStore

START, END = datetime(2026, 11, 20, 8, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC)
WATCHDOG = f"watchdog@{world.WATCH}.iam.gserviceaccount.com"
RECORDED = ROOT / "tests/recorded/gcp"
GLOBEX, INSTANCE = world.GLOBEX, world.INSTANCE


def entry(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    return {
        "insertId": f"entry-{number}",
        "logName": f"projects/{GLOBEX}/logs/cloudaudit.googleapis.com%2Factivity",
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}789Z",
        "protoPayload": {"serviceName": "cloudkms.googleapis.com", "methodName": "UpdateCryptoKeyVersion"},
        **more,
    }


@dataclass
class World:
    gcp: Gcp
    logging: Logging
    slept: list[float] = field(default_factory=list)
    made: list[CloudLogging] = field(default_factory=list)
    ticks: float = 0.0

    def archive(self, *projects: str, chosen: str = 'logName:"x"') -> CloudLogging:
        made = CloudLogging(
            "globex", projects or (GLOBEX, INSTANCE), chosen=chosen, endpoint=self.logging.url, times=(1.0, 0.5),
            monotonic=lambda: self.ticks, sleep=self.sleep,
        )  # fmt: skip
        self.made.append(made)
        return made

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ticks += seconds


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Gcp().served() as gcp, Logging(gcp).served() as logging:
        file = tmp_path / "account.json"
        file.write_text(json.dumps(gcp.account(WATCHDOG)))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        logging.readers.add(WATCHDOG)
        logging.entries = {GLOBEX: [], INSTANCE: []}
        known = World(gcp, logging)
        yield known
        for one in known.made:
            one.close()


def full(far: World) -> None:
    for number, minutes in ((0, -1), (1, 0), (2, 30), (4, 120), (9, 210)):
        far.logging.entries[GLOBEX].append(entry(number, START + timedelta(minutes=minutes)))
    for number, minutes in ((3, 60), (5, 150)):
        far.logging.entries[INSTANCE].append(entry(number, START + timedelta(minutes=minutes)))


def read(one: CloudLogging, cursor: str | None = None) -> list[Page]:
    return list(one.pages(START, END, cursor))


def ids(pages: list[Page]) -> list[str]:
    return [json.loads(one.body)["insertId"].removeprefix("entry-") for page in pages for one in page.messages]


def refused(one: CloudLogging, cursor: str | None = None) -> FeedFault:
    with pytest.raises(FeedFault) as caught:
        read(one, cursor)
    assert "ya29." not in f"{caught.value}{caught.value.hint()}"
    return caught.value


# ---------------------------------------------------------------------------------------------------------------- pages


def test_all_entries_of_the_gap_come_once_oldest_first_of_all_projects(far: World) -> None:
    full(far)
    pages = read(far.archive())

    assert ["1", "2", "3", "4", "5"] == ids(pages)
    assert [True, True, False] == [page.cursor is not None for page in pages]
    assert [START + timedelta(minutes=30), START + timedelta(minutes=120), END] == [page.until for page in pages]
    assert ["projects/globex-keys", f"projects/{INSTANCE}"] == far.logging.asked[0]["resourceNames"]


def test_it_goes_on_from_any_cursor_with_nothing_left_out(far: World) -> None:
    full(far)
    pages = read(far.archive())
    for number, page in enumerate(pages[:-1]):
        assert ids(pages[number + 1 :]) == ids(read(far.archive(), page.cursor))


def test_a_token_that_is_over_costs_only_the_last_time_to_be_read_again(far: World) -> None:
    full(far)
    first = read(far.archive())[0]
    far.logging.tokens.clear()
    pages = read(far.archive(), first.cursor)

    assert ["2", "3", "4", "5"] == ids(pages)
    for number, page in enumerate(pages[:-1]):  # the cursors after that count as well
        assert ids(pages[number + 1 :]) == ids(read(far.archive(), page.cursor))


def test_a_cursor_of_other_settings_goes_on_from_its_time(far: World) -> None:
    full(far)
    first = read(far.archive())[0]
    assert ["2", "4"] == ids(read(far.archive(GLOBEX), first.cursor))


@pytest.mark.parametrize(
    "cursor", ["nonsense", "{}", '{"since": "2020-01-01T00:00:00+00:00", "last": "x", "token": "y"}']
)
def test_a_cursor_that_does_not_fit_means_the_beginning(far: World, cursor: str) -> None:
    full(far)
    assert ["1", "2", "3", "4", "5"] == ids(read(far.archive(), cursor))


def test_an_empty_page_is_not_the_end(far: World) -> None:
    full(far)
    far.logging.empty_first = True
    pages = read(far.archive())
    assert ((), ["1", "2", "3", "4", "5"]) == (pages[0].messages, ids(pages))


def test_a_gap_in_which_nothing_happened_is_one_page(far: World) -> None:
    assert [Page(messages=(), cursor=None, until=END)] == read(far.archive())


def test_calls_are_kept_apart_by_what_a_project_may_be_asked(far: World) -> None:
    full(far)
    read(far.archive())
    assert [APART, APART] == far.slept


def test_without_a_filter_it_asks_for_what_the_catalogue_has_sinks_forward(far: World) -> None:
    made = archive("globex", {"projects": [f"projects/{GLOBEX}"], "endpoint": far.logging.url})
    read(made)
    made.close()
    expected = f'({filters()["sink-filter"]}\n) AND timestamp>="2026-11-20T08:30:00.000000Z"'
    assert far.logging.asked[0]["filter"].startswith(expected)
    assert [f"projects/{GLOBEX}"] == far.logging.asked[0]["resourceNames"]


# -------------------------------------------------------------------------------------------------------------- trouble


def test_an_element_that_is_no_entry_is_put_aside_and_its_neighbours_go_on(far: World) -> None:
    far.logging.most = 10
    far.logging.entries[GLOBEX] = [7, entry(1, START), entry(2, START, timestamp="soon"), entry(3, START)]
    messages = [one for page in read(far.archive()) for one in page.messages]
    assert [True, False, False, False] == [one.fault is not None for one in messages]


def test_half_a_surrogate_pair_costs_nobody_a_page(far: World) -> None:
    body = b'{"entries": [{"insertId": "entry-1", "textPayload": "\\ud800"}, {"insertId": "entry-2"}]}'
    far.logging.troubles = [Trouble((200, body))]
    assert ["1", "2"] == ids(read(far.archive()))


@pytest.mark.parametrize(
    "body", [b"<html>Sign in", b'{"entries": [', b'{"entries": 7}', b"[]", b'{"nextPageToken": 7}', b'{"error": {}}']
)
def test_what_is_no_page_is_a_fault_and_never_an_empty_gap(far: World, body: bytes) -> None:
    full(far)
    far.logging.troubles = [Trouble((200, body), times=1)]
    fault = refused(far.archive())

    assert (Reason.SERVER, False) == (fault.reason, fault.permanent)
    assert ["1", "2", "3", "4", "5"] == ids(read(far.archive()))


def error(status: int, code: str, message: str = "no") -> tuple[int, bytes]:
    return status, json.dumps({"error": {"code": status, "status": code, "message": message}}).encode()


@pytest.mark.parametrize(("status", "code"), [(429, "RESOURCE_EXHAUSTED"), (503, "INTERNAL")])
def test_it_waits_as_long_as_it_is_told_to_and_asks_again(far: World, status: int, code: str) -> None:
    full(far)
    far.logging.troubles = [Trouble(error(status, code), times=2, headers={"Retry-After": "7"})]
    assert ["1", "2", "3", "4", "5"] == ids(read(far.archive()))
    assert [7, 7] == [one for one in far.slept if one > APART]


def test_who_is_asked_to_wait_for_long_gives_up_for_now_and_says_so(far: World) -> None:
    far.logging.troubles = [Trouble(error(429, "RESOURCE_EXHAUSTED"), headers={"Retry-After": "3600"})]
    fault = refused(far.archive())
    assert (Reason.THROTTLED, False) == (fault.reason, fault.permanent)
    assert "3600 seconds" in str(fault)
    assert [] == far.slept


@pytest.mark.parametrize(
    ("how", "reason", "permanent"),
    [
        (error(429, "RESOURCE_EXHAUSTED"), Reason.THROTTLED, False),
        (error(500, "INTERNAL"), Reason.SERVER, False),
        ((502, b"<html>"), Reason.SERVER, False),
        (error(503, "UNAVAILABLE"), Reason.NETWORK, False),
        (error(401, "UNAUTHENTICATED", "of ya29.x"), Reason.CREDENTIALS, True),
        (error(403, "PERMISSION_DENIED"), Reason.DENIED, True),
        (error(404, "NOT_FOUND"), Reason.NOT_FOUND, True),
        (error(400, "INVALID_ARGUMENT"), Reason.REFUSED, True),
        ((403, b"<html>blocked"), Reason.NETWORK, False),
        ((302, b""), Reason.NETWORK, False),
        ("hang", Reason.NETWORK, False),
        ("cut", Reason.NETWORK, False),
    ],
)
def test_every_trouble_has_its_reason(far: World, how: Any, reason: Reason, permanent: bool) -> None:
    far.logging.troubles = [Trouble(how)]
    fault = refused(far.archive())
    assert (reason, permanent) == (fault.reason, fault.permanent)
    assert fault.hint()


def test_who_may_not_read_is_told_which_role_is_missing(far: World) -> None:
    far.logging.readers.clear()
    fault = refused(far.archive())
    assert Reason.DENIED is fault.reason
    assert "roles/logging.privateLogViewer" in fault.hint()


def test_a_filter_that_is_refused_is_refused_also_with_a_cursor(far: World) -> None:
    full(far)
    first = read(far.archive())[0]
    assert Reason.REFUSED is refused(far.archive(chosen="nonsense"), first.cursor).reason


def test_a_token_that_was_revoked_is_fetched_anew(far: World) -> None:
    full(far)
    made = far.archive()
    read(made)
    far.gcp.revoke_tokens()
    assert ["1", "2", "3", "4", "5"] == ids(read(made))


def test_without_credentials_it_says_so(far: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    assert Reason.CREDENTIALS is refused(far.archive()).reason


# --------------------------------------------------------------------------------------------------- what comes is read


def meant(body: bytes) -> list[tuple[object, ...]]:
    unpacked = cloud("gcp").unpack(body)
    assert not unpacked.broken
    register = world.register()
    return sorted(
        (one.effect, one.key or "", one.version or "", one.fault or "", one.cause or "", one.subject or "",
         str(one.occurred_at), one.event_id or "")
        for found in unpacked.entries
        for one in cloud("gcp").meaning(found.raw, register)
    )  # fmt: skip


def entry_in(name: str) -> dict[str, Any] | None:
    """Return a recorded log entry; None for what is recorded in another form."""
    try:
        told = json.loads((RECORDED / name).read_text())
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"logName", "timestamp"} <= told.keys() else None


def recorded() -> list[str]:
    return [row["file"] for row in json.loads((RECORDED / "expected.json").read_text()) if entry_in(row["file"])]


def pushed(told: dict[str, Any], subscription: str) -> bytes:
    message = {"data": base64.b64encode(json.dumps(told).encode()).decode(), "messageId": "1"}
    return json.dumps({"message": message, "subscription": subscription}).encode()


@pytest.mark.parametrize("name", recorded())
def test_what_is_read_back_means_what_it_meant_live_and_is_known_as_the_same(far: World, name: str) -> None:
    told = entry_in(name)
    assert told is not None
    told["timestamp"] = "2026-11-20T09:00:00.123456789Z"
    far.logging.entries[GLOBEX] = [told]
    [message] = [one for page in read(far.archive()) for one in page.messages]

    by_feed = [meant(pushed(told, one)) for one in (world.SUBSCRIPTION, world.SUBSCRIPTION_2, world.SELF)]
    assert meant(message.body) in by_feed
    assert {one[-1] for one in meant(message.body)} == {one[-1] for live in by_feed for one in live}


def test_what_came_live_is_not_taken_in_again_and_what_was_missed_is(far: World) -> None:
    came, missed = entry_in("update_version_disabled.json"), entry_in("update_version_disabled_terraform.json")
    assert came is not None
    assert missed is not None
    for number, told in enumerate((came, missed)):
        told.update(timestamp=f"2026-11-20T09:00:0{number}Z", insertId=f"entry-{number}")
    far.logging.entries[GLOBEX] = [came, missed]
    store = MemoryStore()
    with store.write() as unit:
        unit.register_add(msgspec.json.encode(world.document()), at=START, by="alice", source="test")
    intake = Intake(store, Registry(store), cloud)
    live = Received(id="1", body=pushed(came, world.SUBSCRIPTION), received_at=START, receipt=None)

    def kept(received: Sequence[Received]) -> int:
        return intake.take("audit", "gcp", received).counts.kept

    assert 1 == kept([live])
    assert [1, 0] == [sum(kept(page.messages) for page in read(far.archive())) for _ in range(2)]


def test_there_are_enough_of_them() -> None:
    assert 150 < len(recorded())


# ------------------------------------------------------------------------------------------------------------- settings


def test_all_that_is_wrong_with_the_options_is_said_at_once() -> None:
    options = {"projects": ["Globex", "organizations/7"], "filter": " ", "endpoint": "http://logging.example"}
    with pytest.raises(ValueError, match=r"projects: .*'Globex'.*filter: .*endpoint: must be an https:// "):
        archive("a", options)
    with pytest.raises(ValueError, match="1 to 100 projects"):
        archive("a", {"projects": []})


def test_right_options_make_an_archive_without_asking_anybody() -> None:
    projects = ["globex-keys", "projects/123456789012", "example.com:old-one"]
    make_archive("cloud_logging", "a", {"projects": projects}).close()
    make_archive("pubsub_seek", "a", {"subscription": world.SUBSCRIPTION}).close()
