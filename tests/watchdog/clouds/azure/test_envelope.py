"""Deliveries in every form are cut alike, and what is broken costs nobody else (azure.md 6)."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.watchdog.clouds.azure.readout import told
from tests.watchdog.clouds.azure.records import (
    attributes,
    audit,
    change,
    cloud_event,
    forwarded,
    notification,
    pull,
    queued,
    raw,
    request,
    topic,
)
from tests.watchdog.clouds.azure.world import DATA_KEY, DATA_VAULT, V1, register
from watchdog.clouds import azure
from watchdog.words import Effect

REGISTER = register()
DISABLED = audit(properties=attributes(enabled=False))
DELETED = audit("KeyDelete", DATA_KEY)
EXPIRED = topic("KeyExpired")
SIGNAL = {"effect": "key_disabled", "key": f"{DATA_KEY}/{V1}", "fault": "customer"}
LINES = raw(DISABLED) + b"\r\n" + raw(audit("KeyList", f"{DATA_KEY}/versions")) + b"\n"


def lines(*records: Any) -> bytes:
    return b"\n".join(raw(record) for record in records)


@pytest.mark.parametrize(
    "body",
    [
        raw(DISABLED),
        b"\xef\xbb\xbf  " + raw(DISABLED) + b"\n",
        json.dumps(DISABLED, indent=1).encode(),
        raw([DISABLED]),
        raw({"records": [DISABLED]}),
        json.dumps({"records": [DISABLED]}, indent=2).encode(),
        LINES,
        raw({"name": "resourceId=/x/PT1H.json", "container": "insights-logs-auditevent", "text": LINES.decode()}),
        base64.b64encode(raw(DISABLED)),
        base64.encodebytes(raw({"records": [DISABLED]})),
        raw({"messageText": raw(DISABLED).decode()}),
        raw(queued({"records": [DISABLED]})),
        raw(queued([DISABLED])),
        raw(forwarded(DISABLED)),
        raw(forwarded([DISABLED])),
        raw(forwarded({"records": [DISABLED]})),
        raw(forwarded(json.dumps(DISABLED))),
        raw([forwarded(DISABLED)]),
        raw(pull(forwarded(DISABLED))),
        raw(pull(forwarded({"records": [DISABLED]}))),
        raw(pull(forwarded(DISABLED))["value"][0]),
        raw(queued(forwarded(DISABLED))),
        raw(request("Notification", [forwarded(DISABLED)])),
        raw(request("Notification", json.dumps(forwarded(DISABLED)))),
    ],
)
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_log_record_is_found_in_every_form(body: bytes, *, triage_knows: bool) -> None:
    assert told(body, REGISTER, triage_knows=triage_knows) == [SIGNAL]


@pytest.mark.parametrize(
    "body",
    [
        raw(EXPIRED),
        raw([EXPIRED]),
        raw({key: value for key, value in EXPIRED.items() if key not in ("dataVersion", "metadataVersion")}),
        raw(cloud_event(EXPIRED)),
        raw([cloud_event(EXPIRED)]),
        raw({key: value for key, value in cloud_event(EXPIRED).items() if key != "specversion"}),
        raw(cloud_event(EXPIRED) | {"X-Extension": 1, "time": "no time at all"}),
        raw(pull(cloud_event(EXPIRED))),
        raw(queued(EXPIRED)),
        raw(request("Notification", [EXPIRED])),
        raw(request("Notification", cloud_event(EXPIRED))),
        raw({"messageText": json.dumps(EXPIRED)}),
        raw(EXPIRED | {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 3}),
        lines(EXPIRED, EXPIRED),
    ],
)
def test_an_event_is_found_in_every_form(body: bytes) -> None:
    assert told(body, REGISTER) == [{"effect": "key_expired", "key": f"{DATA_KEY}/{V1}", "fault": "customer"}]


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
@pytest.mark.parametrize(
    "event",
    [
        EXPIRED,
        topic("KeyDeleted"),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT, "Failure"),
        notification(DATA_VAULT, None, deleted=True),
    ],
    ids=["known", "unknown", "resource", "refused", "notification"],
)
def test_the_type_of_an_event_compares_without_case(event: dict[str, Any], spelling: Callable[[str], str]) -> None:
    field = "eventType" if "eventType" in event else "type"
    other = event | {field: spelling(event[field])}
    assert told(raw([other]), REGISTER) == told(raw([event]), REGISTER) != [{"effect": "no_effect"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"7",
        b'"text"',
        b"not json",
        b"{",
        b"\xff\xfe{",
        b"\x1f\x8b\x08",
        b'{"records":',
        b"[" * 2000,
        b'{"a":' * 2000,
        raw({"x": 1}),
        raw({"Records": [DISABLED]}),
        raw({"messageText": "not base64 %%"}),
        raw({"messageText": None}),
        raw({"messageText": base64.b64encode(b"plain text").decode()}),
        raw(request("Notification", None)),
        raw(request("Notification", "no json")),
        raw({key: value for key, value in EXPIRED.items() if key != "eventType"}),
        raw(EXPIRED | {"eventType": 7}),
        raw(EXPIRED | {"type": "Microsoft.KeyVault.KeyNearExpiry"}),
        raw(cloud_event(EXPIRED) | {"data_base64": "e30="}),
        base64.b64encode(b"plain text"),
    ],
)
def test_what_cannot_be_read_goes_aside_with_a_reason(body: bytes) -> None:
    found = azure.unpack(body, register=REGISTER)
    assert (len(found.broken), found.entries, found.dropped_count) == (1, [], 0)
    assert found.broken[0].reason
    assert found.broken[0].number == 1


@pytest.mark.parametrize("body", [b" \n ", b"[]", b'{"records": []}', b'{"value": []}'])
def test_an_empty_batch_holds_nothing(body: bytes) -> None:
    found = azure.unpack(body, register=REGISTER)
    assert (found.entries, found.broken, found.dropped_count) == ([], [], 0)


@pytest.mark.parametrize("junk", [None, 1, "x", [], {}, {"x": 1}])
def test_junk_among_records_costs_no_neighbour(junk: object) -> None:
    for body in (raw({"records": [junk, DISABLED, junk]}), raw([junk, DISABLED]), raw(pull(junk, forwarded(DISABLED)))):
        found = azure.unpack(body, register=REGISTER)
        assert len(found.entries) == 1
        assert found.broken


def test_a_broken_line_costs_no_neighbour() -> None:
    body = b'{"time": "2026-\n' + lines(DISABLED) + b'\n{"time": '
    found = azure.unpack(body, register=REGISTER)
    assert [entry.number for entry in found.entries] == [2]
    assert [broken.number for broken in found.broken] == [1, 3]


def test_a_cut_delivery_keeps_what_is_whole() -> None:
    body = raw({"records": [DISABLED, DELETED, DISABLED]})
    for cut in (body[:-30], body.replace(b'"KeyDelete"', b'"KeyDelete', 1)):
        found = azure.unpack(cut, register=REGISTER)
        assert len(found.entries) >= 1
        assert found.broken


def test_a_delivery_full_of_broken_lines_is_put_aside_in_the_end() -> None:
    found = azure.unpack(raw(DISABLED) + b"\n" + b"{broken\n" * 3000, register=REGISTER)
    assert len(found.entries) == 1
    assert 1000 <= len(found.broken) <= 1001


def test_half_a_surrogate_pair_in_a_name_costs_nothing() -> None:
    named = raw(DISABLED).replace(b"jane@globex.example", rb"jane\ud800@globex.example")
    assert told(named, REGISTER) == [SIGNAL]
    assert told(b'{"records": [' + named + b"]}", REGISTER) == [SIGNAL]


def test_a_repeated_event_counts_once_and_the_same_id_elsewhere_is_another() -> None:
    other = topic("KeyExpired", source=DATA_VAULT + "2")
    found = azure.unpack(raw([EXPIRED, EXPIRED, other]))
    assert (len(found.entries), found.dropped_count) == (2, 1)
    assert len({entry.event_id for entry in found.entries}) == 2


def test_a_repeated_log_record_counts_once_and_begin_and_end_are_two() -> None:
    begun = change_record("Start")
    found = azure.unpack(raw({"records": [begun, change_record("Success"), begun]}))
    assert (len(found.entries), found.dropped_count) == (2, 1)


def change_record(result: str) -> dict[str, Any]:
    operation = "Microsoft.KeyVault/vaults/delete"
    return {
        "time": "2026-05-04T08:00:00Z",
        "resourceId": DATA_VAULT,
        "operationName": operation,
        "category": "Administrative",
        "resultType": result,
        "correlationId": "c",
    }


def test_records_without_an_id_are_one_happening_only_when_they_are_equal() -> None:
    bare = {key: value for key, value in DISABLED.items() if key != "correlationId"}
    found = azure.unpack(raw([bare, bare, bare | {"durationMs": 1}]))
    assert (len(found.entries), found.dropped_count) == (2, 1)


def test_an_entry_is_complete_in_itself() -> None:
    for body in (raw(pull(forwarded([DISABLED, DELETED]))), raw(request("Notification", [forwarded([DISABLED])]))):
        for entry in azure.unpack(body, register=REGISTER).entries:
            again = azure.unpack(entry.raw, register=REGISTER).entries
            assert [(one.raw, one.event_id) for one in again] == [(entry.raw, entry.event_id)]
            assert {signal.event_id for signal in azure.meaning(entry.raw, REGISTER)} == {entry.event_id}


def test_triage_says_why_it_dropped_a_record() -> None:
    records = [audit("KeyList", f"{DATA_KEY}/versions"), change("Microsoft.Compute/disks/delete", "/subscriptions/x/y")]
    found = azure.unpack(raw(records), first=5, detail=True, register=REGISTER)
    assert [(one.number, one.operation) for one in found.dropped] == [
        (5, "KeyList"),
        (6, "Microsoft.Compute/disks/delete"),
    ]
    assert all(one.reason for one in found.dropped)


@pytest.mark.parametrize("operation", ["VaultGet", "KeyList", "SecretGet", "KeyGet", "Authentication"])
def test_a_harmless_call_is_dropped_without_a_register_unless_it_does_not_agree_with_itself(operation: str) -> None:
    honest, forged = audit(operation), audit(operation, resourceId=DATA_VAULT + "2")
    assert azure.unpack(raw(honest)).entries == []
    assert len(azure.unpack(raw(forged)).entries) == 1
    assert [signal.effect for signal in azure.meaning(raw(forged), REGISTER)] == [Effect.UNTRUSTED]


def test_the_time_of_receipt_stands_in_for_a_missing_one() -> None:
    received = datetime(2026, 5, 5, tzinfo=UTC)
    timeless = {key: value for key, value in DISABLED.items() if key != "time"}
    assert [one.occurred_at for one in azure.meaning(raw(timeless), REGISTER, received_at=received)] == [received]
    assert azure.meaning(b"no json", REGISTER, received_at=received)[0].occurred_at == received
