"""The Activity Log and the blobs of a diagnostic setting as archives, by azure-core over HTTPS on loopback."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.house.tree import ROOT
from tests.key_services.azure import MANAGEMENT
from tests.watchdog.clouds.azure import world
from tests.workers.backfill.azure_logs import AzureLogs
from watchdog.clouds import cloud
from workers.backfill import audit_blobs, azure
from workers.backfill.audit_blobs import AuditBlobs
from workers.backfill.azure import ActivityLog
from workers.backfill.interface import Archive, Page
from workers.backfill.kinds import make_archive
from workers.clouds.azure.identities import Limits
from workers.feeds.interface import FeedFault, Reason

APP = world.APP
TENANT, ONE, TWO = world.GLOBEX, world.GLOBEX_SUBSCRIPTION, world.STRANGER_SUBSCRIPTION
SECRET = "the secret that nobody may read"
START, END = datetime(2026, 11, 20, 8, 30, tzinfo=UTC), datetime(2026, 11, 22, 20, tzinfo=UTC)
QUICK = Limits(deadline=5, connect=1, read=0.5)
RECORDED = ROOT / "tests/recorded/azure"
ACCOUNT, CONTAINER = "https://glbxaudit.blob.core.windows.net", "insights-logs-auditevent"
PREFIX = f"resourceId={world.DATA_VAULT.upper()}"


def record(number: int, at: datetime, subscription: str = ONE, **more: Any) -> dict[str, Any]:
    vault = world.vault_id(subscription, "rg-data", f"vault-{number}")
    return {
        "operationName": {"value": "Microsoft.KeyVault/vaults/delete", "localizedValue": "Delete Key Vault"},
        "status": {"value": "Succeeded", "localizedValue": "Succeeded"},
        "eventTimestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}7Z",
        "eventDataId": f"00000000-1111-4222-8333-{number:012}",
        "resourceId": vault,
        **more,
    }


@dataclass
class World:
    azure: AzureLogs
    environment: dict[str, str]
    slept: list[float] = field(default_factory=list)
    made: list[Archive] = field(default_factory=list)

    def log(self, *subscriptions: str, limits: Limits = QUICK, **environment: str) -> ActivityLog:
        made = ActivityLog(
            "globex", TENANT, subscriptions or (ONE,), environment={**self.environment, **environment},
            application=APP, limits=limits, now=lambda: self.azure.now, sleep=self.slept.append,
        )  # fmt: skip
        self.made.append(made)
        return made

    def blobs(self, prefix: str = PREFIX, limits: Limits = QUICK) -> AuditBlobs:
        made = AuditBlobs(
            ACCOUNT, CONTAINER, prefix, tenant=TENANT, application=APP, environment=self.environment, limits=limits,
            now=lambda: self.azure.now, sleep=self.slept.append,
        )  # fmt: skip
        self.made.append(made)
        return made

    def hour(self, at: datetime, *lines: bytes) -> None:
        self.azure.files[f"{PREFIX}/{at:y=%Y/m=%m/d=%d/h=%H}/m=00/PT1H.json"] = b"\r\n".join(lines)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with AzureLogs() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        made.apps[TENANT, APP] = ""
        made.secrets[APP] = SECRET
        made.readers.add((TENANT, APP))
        made.tenants = {ONE: TENANT, TWO: TENANT}
        made.container = CONTAINER
        known = World(made, {"AZURE_CLIENT_SECRET": SECRET})
        yield known
        for one in known.made:
            one.close()


def read(archive: Archive, cursor: str | None = None, start: datetime = START, end: datetime = END) -> list[Page]:
    return list(archive.pages(start, end, cursor))


def ids(pages: list[Page]) -> list[str]:
    return [json.loads(one.body)["eventDataId"][-1] for page in pages for one in page.messages]


def full(far: World) -> None:
    """Five records of two subscriptions over three days, and one on either side of the gap."""
    for number, hours in ((0, -1), (1, 0), (2, 3), (3, 4), (4, 30), (9, 60)):
        far.azure.records.setdefault(ONE, []).append(record(number, START + timedelta(hours=hours)))
    far.azure.records[TWO] = [record(5, START + timedelta(hours=31), TWO)]


def refused(archive: Archive, cursor: str | None = None) -> FeedFault:
    with pytest.raises(FeedFault) as caught:
        read(archive, cursor)
    fault = caught.value
    assert SECRET not in f"{fault}{fault.hint()}"
    assert "token." not in str(fault)
    return fault


# ------------------------------------------------------------------------------------------------------- Activity Log


def test_all_records_of_the_gap_come_once_of_each_subscription_day_by_day(far: World) -> None:
    full(far)
    pages = read(far.log(ONE, TWO))

    assert ["3", "2", "1", "4", "5"] == ids(pages)
    assert [None] == [page.cursor for page in pages if page is pages[-1]]
    assert all(page.cursor for page in pages[:-1])
    told = [page.until for page in pages if page.until]
    assert len(pages) == len(told)
    assert all(one <= other for one, other in pairwise(told))
    assert END == told[-1]


def test_windows_meet_without_a_hole_and_without_an_overlap(far: World) -> None:
    read(far.log())
    asked = [(since, until) for _, since, until in far.azure.windows]

    assert ("2026-11-20T08:30:00.000000Z", "2026-11-21T08:29:59.9999999Z") == asked[0]
    assert "2026-11-21T08:30:00.000000Z" == asked[1][0]
    assert ("2026-11-22T08:30:00.000000Z", "2026-11-22T19:59:59.9999999Z") == asked[-1]
    assert 3 == len(asked)


def test_it_goes_on_from_any_cursor_with_nothing_left_out(far: World) -> None:
    full(far)
    pages = read(far.log(ONE, TWO))
    for number, page in enumerate(pages[:-1]):
        rest = read(far.log(ONE, TWO), page.cursor)
        assert ids(pages[number + 1 :]) == ids(rest)


def test_a_link_that_is_not_accepted_any_more_costs_one_day_to_be_read_again(far: World) -> None:
    full(far)
    first = read(far.log(ONE, TWO))[0]
    far.azure.accepts_links, far.azure.page_size = False, 10

    assert ["3", "2", "1", "4", "5"] == ids(read(far.log(ONE, TWO), first.cursor))


@pytest.mark.parametrize(
    "cursor", ["nonsense", "[]", '{"since": "2026-11-20"}', '{"since": "2020-01-01T00:00:00+00:00"}']
)
def test_a_cursor_that_does_not_fit_means_the_beginning(far: World, cursor: str) -> None:
    full(far)
    assert ["3", "2", "1", "4"] == ids(read(far.log(), cursor))


@pytest.mark.parametrize(
    "host",
    [
        "https://evil.example",
        "http://management.azure.com",
        "https://management.azure.com@evil.example",
        "https://management.azure.com:444",
    ],
)
def test_a_link_to_elsewhere_is_not_followed(far: World, host: str) -> None:
    full(far)
    far.azure.next_host = host
    fault = refused(far.log())

    assert Reason.SERVER is fault.reason
    assert "not followed" in str(fault)
    assert {MANAGEMENT, "login.microsoftonline.com"} >= {one.host for one in far.azure.calls}


def test_a_cursor_with_a_link_to_elsewhere_is_not_followed_either(far: World) -> None:
    cursor = json.dumps({"since": START.isoformat(), "subscription": ONE, "link": "https://evil.example/x"})
    assert "not followed" in str(refused(far.log(), cursor))


def test_what_is_older_than_the_log_is_refused_and_told(far: World) -> None:
    far.azure.now = START + timedelta(days=91)
    fault = refused(far.log())

    assert (Reason.REFUSED, True) == (fault.reason, fault.permanent)
    assert "2026-11-21 08:30 UTC is gone" in str(fault)
    assert "--from" in fault.hint()
    assert not far.azure.windows


def test_an_element_that_is_no_record_is_put_aside_and_its_neighbours_go_on(far: World) -> None:
    records: list[Any] = [record(1, START), "junk", record(2, START + timedelta(hours=1))]
    far.azure.records[ONE] = records
    far.azure.page_size = 10
    messages = [one for page in read(far.log(), end=START + timedelta(hours=2)) for one in page.messages]

    assert [False, True, False] == [one.fault is not None for one in messages]
    assert b'"junk"' == messages[1].body


def test_half_a_surrogate_pair_costs_nobody_a_page(far: World) -> None:
    body = b'{"value": [{"eventDataId": "1", "caller": "\\ud800"}, {"eventDataId": "2"}]}'
    far.azure.trouble((200, body), host=MANAGEMENT)
    assert ["1", "2"] == ids(read(far.log(), end=START + timedelta(hours=2)))


@pytest.mark.parametrize(
    "body", [b"<html>Sign in", b'{"value": [', b'{"value": 7}', b"[]", b"{}", b'{"value": [], "nextLink": 7}']
)
def test_what_is_no_page_is_a_fault_and_never_an_empty_gap(far: World, body: bytes) -> None:
    full(far)
    far.azure.trouble((200, body), host=MANAGEMENT, times=1)
    fault = refused(far.log())

    assert (Reason.SERVER, False) == (fault.reason, fault.permanent)
    assert ["3", "2", "1", "4"] == ids(read(far.log()))


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told_to_and_asks_again(far: World, status: int) -> None:
    full(far)
    far.azure.trouble((status, b'{"error": {"code": "Busy"}}'), host=MANAGEMENT, times=2)

    assert ["3", "2", "1", "4"] == ids(read(far.log()))
    assert [10, 10] == far.slept


def error(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "no"}}).encode()


@pytest.mark.parametrize(
    ("how", "reason", "permanent"),
    [
        ((429, error("TooManyRequests")), Reason.THROTTLED, False),
        ((500, b""), Reason.SERVER, False),
        ((502, b"<html>"), Reason.SERVER, False),
        ((401, error("InvalidAuthenticationTokenTenant")), Reason.CREDENTIALS, True),
        ((403, error("AuthorizationFailed")), Reason.DENIED, True),
        ((403, b"<html>blocked"), Reason.NETWORK, False),
        ((302, b""), Reason.NETWORK, False),
        ((400, error("BadRequest")), Reason.REFUSED, True),
        ("hang", Reason.NETWORK, False),
        ("cut", Reason.NETWORK, False),
    ],
)
def test_every_trouble_has_its_reason(far: World, how: Any, reason: Reason, permanent: bool) -> None:
    far.azure.trouble(how, host=MANAGEMENT)
    fault = refused(far.log())
    assert (reason, permanent) == (fault.reason, fault.permanent)
    assert fault.hint()


def test_who_may_not_read_is_told_which_role_is_missing(far: World) -> None:
    far.azure.readers.clear()
    fault = refused(far.log())
    assert Reason.DENIED is fault.reason
    assert "Monitoring Reader" in fault.hint()


def test_a_subscription_of_another_tenant_is_not_found(far: World) -> None:
    far.azure.tenants[ONE] = world.ACME
    assert Reason.NOT_FOUND is refused(far.log()).reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [("AADSTS700016", Reason.DENIED), ("AADSTS7000222", Reason.CREDENTIALS), ("AADSTS53003", Reason.DENIED)],
)
def test_a_tenant_that_gives_no_token_is_told_with_entras_code(far: World, code: str, reason: Reason) -> None:
    far.azure.apps[TENANT, APP] = code
    fault = refused(far.log())
    assert reason is fault.reason
    assert code in str(fault)


def test_it_recovers_when_the_identity_is_mended(far: World) -> None:
    full(far)
    archive = far.log()
    far.azure.apps[TENANT, APP] = "AADSTS7000222"
    refused(archive)
    far.azure.apps[TENANT, APP] = ""
    assert ["3", "2", "1", "4"] == ids(read(archive))


def test_it_only_asks(far: World) -> None:
    full(far)
    read(far.log(ONE, TWO))
    assert {"GET"} == {one.method for one in far.azure.calls if one.host == MANAGEMENT}


# --------------------------------------------------------------------------------------------------- what comes is read


def live_events() -> list[str]:
    """The recorded events of the resource-manager plane that come from where they say."""
    found = []
    for row in json.loads((RECORDED / "expected.json").read_text()):
        told = json.loads((RECORDED / row["file"]).read_text()) if row["file"].startswith("arm_") else None
        one = told[0] if isinstance(told, list) and len(told) == 1 else {}
        data = one.get("data")
        is_whole = isinstance(data, dict) and data.get("operationName") and data.get("status")
        effects = {signal["effect"] for signal in row["expect"]}
        if is_whole and "ResourceNot" not in one["eventType"] and not effects & {"untrusted", "unreadable"}:
            found.append(row["file"])
    return found


def as_read_back(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the Activity Log's REST interface tells of the change that an event of Event Grid told live."""
    data = event["data"]
    failed = event["eventType"].endswith(("Failure", "Cancel"))  # the recorded data all say Succeeded
    status = "Failed" if failed else "Succeeded"
    bodies = {name: data[name] for name in ("requestbody", "responseBody") if name in data}
    return {
        "authorization": {**data.get("authorization", {})},
        "caller": "jane@globex.example",
        "claims": data.get("claims", {}),
        "correlationId": data.get("correlationId", "c"),
        "eventDataId": event["id"],
        "eventName": {"value": "EndRequest", "localizedValue": "End request"},
        "category": {"value": "Administrative", "localizedValue": "Administrative"},
        "operationName": {"value": data["operationName"], "localizedValue": "Something"},
        "resourceId": data.get("resourceUri") or event["subject"],
        "status": {"value": status, "localizedValue": status},
        "subStatus": {"value": "", "localizedValue": ""},
        "eventTimestamp": event["eventTime"],
        "submissionTimestamp": "2026-11-24T08:00:00Z",
        "subscriptionId": data.get("subscriptionId", ""),
        "tenantId": data.get("tenantId", ""),
        "properties": bodies,
    }


def meant(body: bytes) -> list[tuple[object, ...]]:
    unpacked = cloud("azure").unpack(body)
    assert not unpacked.broken
    register = world.register()
    return sorted(
        (one.effect, one.key or "", one.fault or "", one.means or "", one.subject or "", str(one.occurred_at))
        for entry in unpacked.entries
        for one in cloud("azure").meaning(entry.raw, register)
    )


@pytest.mark.parametrize("name", live_events())
def test_what_is_read_back_means_what_it_meant_live(far: World, name: str) -> None:
    live = json.loads((RECORDED / name).read_text())
    event = live[0]
    event["eventTime"] = "2026-11-20T09:00:00.1234567Z"
    far.azure.records[ONE] = [as_read_back(event)]
    pages = read(far.log(), end=START + timedelta(hours=2))

    [message] = [one for page in pages for one in page.messages]
    assert meant(json.dumps(live).encode()) == meant(message.body)


def test_there_are_enough_of_them() -> None:
    assert 60 < len(live_events())


# --------------------------------------------------------------------------------------------------------- audit blobs


def line(name: str, at: str = "2026-11-20T09:10:00.0000000Z") -> bytes:
    told = json.loads((RECORDED / name).read_text())
    return json.dumps({**told, "time": at}).encode()


def test_the_hours_of_a_gap_are_read_in_order_and_mean_what_they_meant_live(far: World) -> None:
    disabled, deleted = line("key_update_disabled.json"), line("key_delete.json", "2026-11-20T11:00:00Z")
    far.hour(START - timedelta(hours=1), line("key_purge.json"))
    far.hour(START, disabled)
    far.hour(START + timedelta(hours=3), deleted, line("key_purge.json"))
    far.hour(END + timedelta(hours=1), line("key_recover.json"))
    pages = read(far.blobs())

    bodies = [one.body for page in pages for one in page.messages]
    assert [meant(disabled), sorted(meant(deleted) + meant(line("key_purge.json")))] == [meant(one) for one in bodies]
    assert "key_disabled" == meant(bodies[0])[0][0]
    assert (None, END) == (pages[-1].cursor, pages[-1].until)


def test_a_large_hour_goes_on_in_its_middle(far: World) -> None:
    lines = [line("key_update_disabled.json", f"2026-11-20T08:40:00.{number:07}Z") for number in range(9000)]
    far.hour(START, *lines)
    far.hour(START + timedelta(hours=1), line("key_delete.json"))
    pages = read(far.blobs())
    with_records = [page for page in pages if page.messages]
    assert (3, 1) == (len(with_records), len(with_records[-1].messages))

    for number, page in enumerate(with_records[:-1]):
        again = [one for page in read(far.blobs(), page.cursor) for one in page.messages]
        assert [one for page in with_records[number + 1 :] for one in page.messages] == again
    assert [0] == [len(page.messages) for page in pages if page.cursor is None]


def test_a_broken_line_is_put_aside_and_its_neighbours_count(far: World) -> None:
    far.hour(START, line("key_update_disabled.json"), b'{"time": "2026', line("key_delete.json"))
    [message] = [one for page in read(far.blobs()) for one in page.messages]
    unpacked = cloud("azure").unpack(message.body)
    assert (2, 1) == (len(unpacked.entries), len(unpacked.broken))


def test_a_prefix_without_any_blob_is_a_fault_and_not_a_quiet_vault(far: World) -> None:
    far.hour(START, line("key_update_disabled.json"))
    fault = refused(far.blobs(PREFIX.lower()))
    assert Reason.NOT_FOUND is fault.reason
    assert "prefix" in fault.hint()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ((403, error("AuthorizationPermissionMismatch")), Reason.DENIED),
        ((404, error("ContainerNotFound")), Reason.NOT_FOUND),
        ((503, error("ServerBusy")), Reason.THROTTLED),
        ((404, b"<html>"), Reason.NETWORK),
        ("cut", Reason.NETWORK),
    ],
)
def test_an_hour_that_cannot_be_read_is_not_an_hour_without_records(far: World, how: Any, reason: Reason) -> None:
    far.hour(START, line("key_update_disabled.json"))
    far.azure.trouble(how, path="PT1H.json")
    assert reason is refused(far.blobs()).reason


# ------------------------------------------------------------------------------------------------------------- settings


def test_all_that_is_wrong_with_the_options_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"tenant: .*subscriptions: .*'prod'.*endpoint: must be https://"):
        azure.archive("a", {"tenant": "globex", "subscriptions": ["prod"], "endpoint": "http://management.azure.com"})
    with pytest.raises(ValueError, match=r"tenant: .*url: .*container: .*prefix: "):
        audit_blobs.archive("a", {"tenant": "", "url": "http://x.example", "container": "A", "prefix": "vaults"})


def test_right_options_make_an_archive_without_asking_anybody() -> None:
    options = {"tenant": TENANT, "subscriptions": [ONE], "endpoint": "http://127.0.0.1:1"}
    make_archive("activity_log", "a", options).close()
    make_archive("audit_blobs", "a", {"tenant": TENANT, "url": ACCOUNT, "prefix": PREFIX}).close()


def test_an_endpoint_on_this_machine_may_be_plain(far: World) -> None:
    archive = ActivityLog(
        "globex", TENANT, [ONE], endpoint=f"http://127.0.0.1:{far.azure.port}", environment=far.environment,
        application=APP, limits=QUICK, now=lambda: far.azure.now,
    )  # fmt: skip
    far.made.append(archive)
    fault = refused(archive)  # what answers there is a machine's own endpoint, and no Activity Log

    assert "no object with a list value" in str(fault)
    assert "machine" == far.azure.calls[-1].host
