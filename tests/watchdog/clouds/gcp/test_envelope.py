"""A delivery is cut into messages whatever its form, and a broken one keeps its neighbours."""

import base64
import json
from typing import Any

import pytest

from tests.watchdog.clouds.gcp.events import audit, pushed, raw, version_update
from tests.watchdog.clouds.gcp.readout import told
from tests.watchdog.clouds.gcp.world import ASSET_FEED, KEY, SUBSCRIPTION, SUBSCRIPTION_2, register
from watchdog.clouds import gcp

REGISTER = register()
DISABLED = {"effect": "key_disabled", "key": f"{KEY}/cryptoKeyVersions/3", "fault": "customer"}
NOISE = {**audit("storage.objects.get", "projects/_/buckets/b", service="storage.googleapis.com"), "insertId": "n"}


def pulled(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"receivedMessages": [{"ackId": "a", "message": one["message"]} for one in messages], **fields}


def event(content: Any, **fields: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": "google.cloud.audit.log.v1.written", "data": content, **fields}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(version_update(), id="a bare entry"),
        pytest.param(pushed(version_update()), id="a push"),
        pytest.param(pushed(version_update(), None), id="a push without a subscription"),
        pytest.param(pulled(pushed(version_update())), id="a pull"),
        pytest.param(
            pulled(pushed(NOISE), pushed(version_update()), subscription=SUBSCRIPTION), id="a pull with noise"
        ),
        pytest.param([NOISE, version_update()], id="a list"),
        pytest.param(event(version_update()), id="a CloudEvent"),
        pytest.param(event(json.dumps(version_update())), id="a CloudEvent with text"),
        pytest.param(
            event(None, data_base64=base64.b64encode(raw(version_update())).decode()), id="a CloudEvent in base64"
        ),
        pytest.param(event(pushed(version_update())), id="a CloudEvent around a push"),
        pytest.param(
            {"message": {"data": pushed(version_update())["message"]["data"]}}, id="a message without attributes"
        ),
    ],
)
def test_a_record_is_found_in_every_form(content: Any) -> None:
    assert told(raw(content), REGISTER) == [DISABLED]
    assert told(raw(content), REGISTER, triage_knows=False) == [DISABLED]
    assert told(b"\xef\xbb\xbf" + json.dumps(content, indent=2).encode(), REGISTER) == [DISABLED]


def test_json_lines_are_taken_line_by_line() -> None:
    unpacked = gcp.unpack(b"\n".join([raw(NOISE), b"{broken", raw(version_update())]), first=5, detail=True)
    assert [one.number for one in unpacked.dropped] == [5]
    assert [one.number for one in unpacked.broken] == [6]
    assert [one.number for one in unpacked.entries] == [7]


def test_a_broken_message_keeps_its_neighbours() -> None:
    bad = {"message": {"data": "***", "messageId": "1"}}
    found = gcp.unpack(raw(pulled(bad, pushed(version_update()), pushed(b"{"), pushed(b"42"))))
    assert [(one.number, bool(one.reason)) for one in found.broken] == [(1, True), (3, True), (4, True)]
    assert [one.number for one in found.entries] == [2]


def test_the_subscription_of_a_pull_binds_each_of_its_messages() -> None:
    body = raw(pulled(pushed(version_update()), subscription=SUBSCRIPTION_2))
    assert told(body, REGISTER) == [{"effect": "untrusted"}]


@pytest.mark.parametrize(
    ("body", "effect"),
    [
        (b"\xff\xfe", "unreadable"),
        (b"hello", "unreadable"),
        (b'"text"', "unreadable"),
        (b"42", "unreadable"),
        (b"{}", "unreadable"),
        (raw({"protoPayload": "text"}), "unreadable"),
        (raw({"asset": 5}), "unreadable"),
        (raw({"message": {"attributes": {}}}), "unreadable"),
        (b"welcome to projects/1/feeds/other", "unreadable"),
        (f"welcome to {ASSET_FEED}".encode(), "no_effect"),
        (f"welcome to {ASSET_FEED}-2".encode(), "unreadable"),
        (f"welcome to\n{ASSET_FEED}.\n".encode(), "no_effect"),
        (raw({"logName": "x", "textPayload": KEY}), "no_effect"),
        (b"", "no_effect"),
        (b"[" * 100_000, "unreadable"),
    ],
)
def test_what_cannot_be_read_is_said_and_what_is_plain_is_quiet(body: bytes, effect: str) -> None:
    assert told(body, REGISTER) == [{"effect": effect}]


def test_the_same_entry_through_two_sinks_is_one_happening() -> None:
    one, two = gcp.unpack(raw(version_update())), gcp.unpack(raw(pushed(version_update())))
    assert one.entries[0].event_id == two.entries[0].event_id
    other = gcp.unpack(raw(version_update(entry={"timestamp": "2026-04-02T10:00:00.250000002Z"})))
    assert other.entries[0].event_id != one.entries[0].event_id


def test_the_parts_of_a_split_entry_are_two_happenings() -> None:
    parts = [version_update() | {"split": {"uid": "u", "index": part, "totalSplits": 2}} for part in (0, 1)]
    names = {gcp.unpack(raw(part)).entries[0].event_id for part in (*parts, parts[0])}
    assert len(names) == 2


def test_without_an_insert_id_the_content_names_the_happening() -> None:
    bare = {"insertId": ...}
    one = gcp.unpack(raw(version_update(entry=bare)))
    late = gcp.unpack(raw(pushed(version_update(entry=bare | {"receiveTimestamp": "2026-04-02T10:09:09Z"}))))
    other = gcp.unpack(raw(version_update("2", entry=bare)))
    assert one.entries[0].event_id == late.entries[0].event_id != other.entries[0].event_id


def test_uses_of_other_keys_are_dropped_only_with_the_register() -> None:
    body = raw(audit("Encrypt", f"{KEY}-2", kind="data_access"))
    assert gcp.unpack(body, register=REGISTER).dropped_count == 1
    assert gcp.unpack(body).dropped_count == 0
