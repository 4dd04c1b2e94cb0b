"""The customer's forwarder: what goes through it means what it meant, and nothing that it is given is lost."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure.readout import ordered, told
from tests.watchdog.clouds.azure.test_recorded import EXPECTED, RECORDED
from tests.watchdog.clouds.azure.world import DATA_KEY, document
from watchdog.clouds import azure
from watchdog.clouds.azure import audit, forwarder, topic, triage
from watchdog.register import Document, Register
from watchdog.words import Effect

SOURCE = "/subscriptions/a5ab0000-1111-4222-8333-00000000acde/resourceGroups/rg/providers/Microsoft.Web/sites/all"


def register() -> Register:
    """The world's register, with a forwarder of the vendor's, which may speak of everybody."""
    facts = msgspec.to_builtins(document())
    facts["vendor"]["azure"]["feeds"]["forwarders"] = [{"id": SOURCE, "source": SOURCE, "type": forwarder.RECORD}]
    return Register(msgspec.convert(facts, Document))


REGISTER = register()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as the catalogue prints it."""
    monkeypatch.setenv("BYOK_SOURCE", SOURCE)
    monkeypatch.setenv("BYOK_TOPIC", "globex")
    monkeypatch.setenv("BYOK_KEY", "key-of-the-topic")
    found = ModuleType("forwarder")
    exec(compile(azure.filters()["forwarder"], "forwarder.py", "exec"), found.__dict__)
    return found


def is_log(content: Any) -> bool:
    """Whether a recorded file is what a diagnostic setting writes: one record, or a list of them."""
    if isinstance(content, dict):
        return "operationName" in content or ("records" in content and "headers" not in content)
    return False


LOGS = [
    entry for entry in EXPECTED if is_log(json.loads((RECORDED / entry["file"]).read_text(encoding="utf-8")))
]  # fmt: skip


def test_there_are_records_of_every_kind() -> None:
    effects = {label["effect"] for entry in LOGS for label in entry["expect"]}
    assert len(LOGS) > 100
    assert {"key_disabled", "access_revoked", "use_failed", "feed_tampered", "unreadable", "no_effect"} <= effects


@pytest.mark.parametrize("entry", LOGS, ids=lambda entry: str(entry["file"]).removesuffix(".json"))
def test_a_record_that_went_through_means_what_its_label_says(program: ModuleType, entry: dict[str, Any]) -> None:
    sent = list(program.events((RECORDED / entry["file"]).read_bytes()))
    if sent:
        assert ordered(entry["expect"]) == told(json.dumps(sent).encode(), REGISTER)
    else:  # a forgery of something harmless: with the customer's own forwarder there is nobody to tell of it
        assert {label["effect"] for label in entry["expect"]} <= {"no_effect", "untrusted"}


def record(**fields: Any) -> dict[str, Any]:
    facts = json.loads((RECORDED / "key_delete.json").read_text(encoding="utf-8"))
    return {**facts, **fields}


def names(program: ModuleType, *records: Any) -> list[str | None]:
    sent = program.events(json.dumps({"records": list(records)}).encode())
    return [event["data"].get("operationName") for event in sent]


def test_a_record_is_passed_on_untouched_under_a_name_that_is_the_same_each_time(program: ModuleType) -> None:
    one = record(odd={"ä": [1, 2.5, None, "\u2028"]})
    first, again = (next(program.events(json.dumps(form).encode())) for form in (one, {"records": [one]}))
    assert first["data"] == again["data"] == one
    assert first["id"] == again["id"] == hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest()
    assert first["id"] != next(program.events(json.dumps(record(time="x")).encode()))["id"]
    assert (first["specversion"], first["source"], first["type"]) == ("1.0", SOURCE, "byok.azure.record")


def test_it_leaves_out_only_what_means_nothing(program: ModuleType) -> None:
    rules = {rule.operation.lower(): rule for rule in audit.RULES}
    assert program.OPERATIONS == triage.NEVER
    assert all(rules[operation].meaning is None for operation in program.OPERATIONS)
    assert program.CATEGORIES == triage.UNWANTED
    for rule in audit.RULES:
        assert names(program, record(operationName=rule.operation)) == ([rule.operation] if rule.meaning else [])


def test_secrets_and_reads_of_resources_stay_at_home_but_nothing_that_nobody_knows(program: ModuleType) -> None:
    assert names(program, *(record(operationName=name) for name in ("SecretGet", "CertificateImport"))) == []
    assert names(program, record(operationName="Microsoft.KeyVault/vaults/READ", category="Administrative")) == []
    assert names(program, record(operationName="KeyOfTomorrow"), record(operationName=7), {"x": 1}) == [
        "KeyOfTomorrow", 7, None,
    ]  # fmt: skip
    for rule in topic.RULES:
        copy = f"{rule.operation.rpartition('.')[2]}EventGridNotification"
        assert names(program, record(operationName=copy)) == [copy]


def test_what_cannot_be_read_is_passed_on_as_such_and_told_by_the_watch(program: ModuleType) -> None:
    for body in (b'{"records": [', b"\xff\xfe", b"[]x", b'"text"', b'{"records": [1, {}]}', b"{}"):
        sent = list(program.events(body))
        assert sent
        assert {one["effect"] for one in told(json.dumps(sent).encode(), REGISTER)} == {"unreadable"}, body


def test_the_heartbeat_is_kept_and_changes_nothing(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(program, "_send", sent.extend)
    program.beat()
    [event] = sent
    assert event["type"] == forwarder.HEARTBEAT
    [kept] = azure.unpack(json.dumps(sent).encode(), register=REGISTER).entries
    [signal] = azure.meaning(kept.raw, REGISTER)
    assert (signal.effect, signal.route) == (Effect.NO_EFFECT, f"azure:forwarder:{SOURCE.lower()}")
    assert signal.occurred_at == datetime.fromisoformat(event["time"])


# ------------------------------------------------------------------------------------------------------------- sending


@dataclass
class FarEnd:
    """An Event Grid namespace that takes events, or refuses them."""

    answer: Callable[[list[Any]], int] = lambda _: 200
    taken: list[Any] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], int]] = field(default_factory=list)


@pytest.fixture
def far_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[FarEnd]:
    end = FarEnd()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            events = json.loads(body)
            end.requests.append((self.path, dict(self.headers), len(body)))
            status = end.answer(events)
            if status == 200:
                end.taken += events
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("BYOK_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    yield end
    server.shutdown()
    thread.join()
    server.server_close()


def messages(number: int, padding: int = 0) -> list[bytes]:
    return [json.dumps(record(correlationId=str(count), padding="x" * padding)).encode() for count in range(number)]


def test_events_are_published_as_a_batch_of_cloudevents(program: ModuleType, far_end: FarEnd) -> None:
    program.forward(messages(3))
    [(path, headers, _)] = far_end.requests
    assert path == "/topics/globex:publish?api-version=2024-06-01"
    assert headers["Authorization"] == "SharedAccessKey key-of-the-topic"
    assert headers["Content-Type"] == "application/cloudevents-batch+json; charset=utf-8"
    found = told(json.dumps(far_end.taken).encode(), REGISTER)
    assert [(one["effect"], one["key"]) for one in found] == [("key_deletion_scheduled", DATA_KEY)] * 3


def test_a_large_number_goes_in_several_requests(program: ModuleType, far_end: FarEnd) -> None:
    program.forward(messages(40, padding=50_000))
    assert len(far_end.taken) == 40
    assert 4 <= len(far_end.requests) <= 8
    assert all(size < 600_000 for _, _, size in far_end.requests)


def test_nothing_to_tell_costs_no_request(program: ModuleType, far_end: FarEnd) -> None:
    program.forward([json.dumps(record(operationName="SecretGet")).encode()])
    assert far_end.requests == []


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_far_end_that_is_away_raises_so_that_the_hub_delivers_again(
    program: ModuleType, far_end: FarEnd, status: int
) -> None:
    far_end.answer = lambda _: status
    with pytest.raises(OSError, match=str(status)):
        program.forward(messages(2))
    assert far_end.taken == []


@pytest.mark.parametrize("status", [400, 413])
def test_one_event_that_is_refused_for_ever_holds_nothing_up_and_its_loss_is_told(
    program: ModuleType, far_end: FarEnd, status: int
) -> None:
    far_end.answer = lambda events: status if any(one["data"].get("correlationId") == "5" for one in events) else 200
    program.forward(messages(9))
    assert len(far_end.taken) == 9
    effects = [one["effect"] for one in told(json.dumps(far_end.taken).encode(), REGISTER)]
    assert (effects.count(Effect.KEY_DELETION_SCHEDULED), effects.count(Effect.UNREADABLE)) == (8, 1)


def test_a_topic_that_refuses_everything_ends_in_an_error_not_in_a_loop(program: ModuleType, far_end: FarEnd) -> None:
    far_end.answer = lambda _: 400
    with pytest.raises(OSError, match="400"):
        program.forward(messages(4))


def test_plain_text_is_refused_but_on_the_machine_itself(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOK_ENDPOINT", "http://byok-watchdog.westeurope-1.eventgrid.azure.net")
    with pytest.raises(ValueError, match="https"):
        program.forward(messages(1))


def test_a_message_nested_too_deeply_is_passed_on_as_unreadable(program: ModuleType) -> None:
    (sent,) = program.events(b"[" * 100_000)
    assert sent["data"]["unreadable"] == "not JSON"
