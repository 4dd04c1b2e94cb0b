"""Event Grid push: its handshakes, its secrets and tokens, and its events on their way into the inbox."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.watchdog.clouds.azure import world
from tests.workers.feeds.pushing import House, Issuer, Sender, certificate, tls_door, until
from watchdog.clouds import azure
from watchdog.register import Register
from watchdog.words import Effect
from workers.feeds.event_grid_push import PUBLIC, ROLE, SECRET_HEADER, Authority, make, source
from workers.feeds.interface import FeedFault
from workers.feeds.kinds import make_source
from workers.feeds.listening import Listening
from workers.store.interface import StoreFault, StoreUnavailable

RECORDED = Path(__file__).resolve().parents[2] / "recorded" / "azure"
SECRET, NEW_SECRET = "correct-horse-battery", "staple-of-the-next-year"
TENANT, OTHER_TENANT = world.GLOBEX, world.STRANGER
AUDIENCE = "api://watch.acme.example"
REGISTERED = "to-acme-kv"


class Stage:
    """A listener, the house behind it, an issuer, and a sender with whatever headers."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.house = House(azure, world.register().document)
        self.issuer = stack.enter_context(closing(Issuer()))
        self.register: Callable[[], Register] = self.house.registry.known

    def listening(self, *, secrets: tuple[str, ...] = (), tokens: bool = False, **named: Any) -> Listening:
        made = make(
            tls_door(self.folder),
            name="kv",
            secrets=secrets,
            tenants=[TENANT.upper()] if tokens else [],
            audience=AUDIENCE if tokens else "",
            register=lambda: self.register(),  # noqa: PLW0108 - a test may replace it
            authority=Authority(issuer=PUBLIC.issuer, key_set=self.issuer.url, application=PUBLIC.application),
            **named,
        )
        self.stack.callback(made.close)
        return made

    def sender(self, source: Listening, **headers: str) -> Sender:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.stack.enter_context(closing(Sender(source, self.folder / "door.crt", headers=named)))

    def secret_sender(self, source: Listening, name: str = REGISTERED.upper()) -> Sender:
        return self.sender(source, **{SECRET_HEADER: SECRET, "aeg-subscription-name": name})

    def token(self, **claims: Any) -> str:
        kind = {name: claims.pop(name) for name in ("kid", "key", "age") if name in claims}
        told = {
            "aud": AUDIENCE, "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT,
            "appid": PUBLIC.application, "roles": ["Other", ROLE], "ver": "1.0",
        }  # fmt: skip
        return f"Bearer {self.issuer.token(**kind, **{**told, **claims})}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


def expired_event(event_id: str = "e1", *, cloud_event: bool = False) -> dict[str, Any]:
    """A key of Globex has expired."""
    data = {"Id": f"{world.DATA_KEY}/{world.V1}", "VaultName": "glbx-data-kv", "ObjectType": "Key",
            "ObjectName": "data-cmk", "Version": world.V1}  # fmt: skip
    common = {"id": event_id, "subject": "data-cmk", "data": data}
    kind, at = "Microsoft.KeyVault.KeyExpired", "2026-05-04T08:00:00.1234567Z"
    if cloud_event:
        return {**common, "specversion": "1.0", "source": world.DATA_VAULT, "type": kind, "time": at}
    return {**common, "topic": world.DATA_VAULT, "eventType": kind, "eventTime": at, "dataVersion": "1"}


def validation(code: object = "code-512") -> bytes:
    event = {
        "id": "v1", "topic": world.DATA_VAULT, "subject": "", "eventTime": "2026-05-04T08:00:00Z",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "dataVersion": "1",
        "data": {"validationCode": code, "validationUrl": "https://127.0.0.1:1/must-never-be-fetched"},
    }  # fmt: skip
    return json.dumps([event]).encode()


def effects(stage: Stage) -> list[Effect]:
    """What the rows of the inbox mean."""
    register = world.register()
    with stage.house.store.read() as unit:
        rows = [unit.arrived(row) for row in stage.house.handed]
    return [signal.effect for row in rows if row for signal in azure.meaning(row.body, register)]


# -------------------------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize("cloud_event", [False, True], ids=["Event Grid schema", "CloudEvents"])
@pytest.mark.parametrize("single", [False, True], ids=["batch", "single"])
def test_an_event_ends_in_the_inbox(stage: Stage, *, cloud_event: bool, single: bool) -> None:
    event = expired_event(cloud_event=cloud_event)
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        answer = stage.secret_sender(listening).send(
            json.dumps(event if single else [event]).encode(), aeg_event_type="Notification", aeg_delivery_count="0"
        )
    assert (answer.status, answer.data) == (200, b"")
    assert effects(stage) == [Effect.KEY_EXPIRED]


def test_the_events_of_a_batch_are_taken_each_and_a_broken_one_costs_nobody_else(stage: Stage) -> None:
    batch = [expired_event("e1"), {"eventType": "x", "type": "y"}, expired_event("e2", cloud_event=True)]
    damaged = json.dumps(batch).encode()[:-1] + b", {broken]"
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        sender = stage.secret_sender(listening)
        assert sender.send(json.dumps(batch).encode()).status == 200
        assert (len(stage.house.inbox()), len(stage.house.quarantine())) == (2, 1)
        assert sender.send(damaged).status == 200

    assert len(stage.house.inbox()) == 2
    assert "damaged document" in stage.house.quarantine()[0][1]
    assert stage.house.quarantine()[-1][0].startswith(f"push of event subscription {REGISTERED.upper()}, record")


def test_the_same_event_twice_is_one(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        sender = stage.secret_sender(listening)
        for count in range(3):
            body = json.dumps([expired_event()]).encode()
            assert sender.send(body, aeg_delivery_count=str(count)).status == 200

    assert len(stage.house.inbox()) == 1


def test_the_count_of_the_sender_is_taken_over(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET,))
    listening.receive(0)
    sender = stage.secret_sender(listening)
    for told, deliveries in (("0", 1), ("6", 7), ("x", 3), ("-1", 4)):
        waiting = sender.later(json.dumps([expired_event()]).encode(), aeg_delivery_count=told)
        received = listening.receive(2)
        listening.extend(received, 0)
        assert waiting.result().status == 503
        assert [one.deliveries for one in received] == [deliveries]


def test_the_deletion_of_a_registered_subscription_is_told_by_its_header(stage: Stage) -> None:
    event = {
        "id": "d1", "topic": world.DATA_VAULT, "subject": "", "eventTime": "2026-05-04T08:00:00Z",
        "eventType": "Microsoft.EventGrid.SubscriptionDeletedEvent", "dataVersion": "1", "data": {},
    }  # fmt: skip
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        sender = stage.secret_sender(listening)
        answer = sender.send(json.dumps([event]).encode(), aeg_event_type="SubscriptionDeletion")

    assert answer.status == 200
    assert effects(stage) == [Effect.FEED_TAMPERED]


@pytest.mark.parametrize("body", [b"", b"{", b"null", b'"text"', b"\xff\xfe", b"[" * 200_000, b"[]"])
def test_any_body_of_a_sender_who_may_send_is_taken(stage: Stage, body: bytes) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        assert stage.secret_sender(listening).send(body).status == 200

    assert stage.house.inbox() == []


def test_a_batch_as_large_as_event_grid_sends_is_taken(stage: Stage) -> None:
    events = [{**expired_event(f"e{number}"), "subject": "ä" * 20_000} for number in range(25)]
    body = json.dumps(events).encode()
    assert len(body) > 2 << 20
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        assert stage.secret_sender(listening).send(body).status == 200

    assert len(stage.house.inbox()) == 25


# ---------------------------------------------------------------------------------------------------------- handshakes


@pytest.mark.parametrize("name", [REGISTERED, REGISTERED.upper()])
def test_the_handshake_of_the_event_grid_schema_is_answered_with_its_code_and_exactly_200(
    stage: Stage, name: str
) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        answer = stage.secret_sender(listening, name).send(validation(), aeg_event_type="SubscriptionValidation")

    assert (answer.status, json.loads(answer.data)) == (200, {"validationResponse": "code-512"})
    assert answer.headers["content-type"] == "application/json"
    assert stage.house.inbox() == []


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_the_handshake_of_a_subscription_that_is_not_registered_gets_no_code_and_is_seen(
    stage: Stage, method: str
) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        sender = stage.secret_sender(listening, "FREE-RIDER")
        body = validation() if method == "POST" else b""
        answer = sender.send(body, method, webhook_request_origin="eventgrid.azure.net")

    assert answer.status == 403
    assert b"code-512" not in answer.data
    assert "webhook-allowed-origin" not in answer.headers
    assert effects(stage) == [Effect.UNTRUSTED]


def test_a_handshake_without_a_name_or_without_a_code_gets_none(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        assert stage.sender(listening, **{SECRET_HEADER: SECRET}).send(validation()).status == 403
        for code in (None, "", 7, {"a": 1}):
            assert stage.secret_sender(listening).send(validation(code)).status == 403


@pytest.mark.parametrize(("asked", "granted"), [("120", "120"), (None, "*"), ("many", "*"), ("-1", "*")])
@pytest.mark.parametrize("name", [REGISTERED.upper(), None])
def test_the_handshake_of_cloud_events_is_granted(
    stage: Stage, name: str | None, asked: str | None, granted: str
) -> None:
    listening = stage.listening(secrets=(SECRET,))
    headers = {"webhook_request_origin": "eventgrid.azure.net", "webhook_request_rate": asked,
               "webhook_request_callback": "https://127.0.0.1:1/never", "aeg_subscription_name": name}  # fmt: skip
    with stage.house.consuming(listening):
        sender = stage.sender(listening, **{SECRET_HEADER: SECRET})
        answer = sender.send(b"", "OPTIONS", **{key: value for key, value in headers.items() if value is not None})

    assert answer.status == 200
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert answer.headers["webhook-allowed-rate"] == granted
    assert stage.house.inbox() == []


@pytest.mark.parametrize("origin", [None, "", "a b", "<script>"])
def test_options_without_a_proper_origin_grants_nothing(stage: Stage, origin: str | None) -> None:
    listening = stage.listening(secrets=(SECRET,))
    headers = {} if origin is None else {"webhook_request_origin": origin}
    with stage.house.consuming(listening):
        answer = stage.secret_sender(listening).send(b"", "OPTIONS", **headers)

    assert answer.status == 200
    assert "webhook-allowed-origin" not in answer.headers


def test_a_handshake_waits_for_a_register_that_cannot_be_read(stage: Stage) -> None:
    def away() -> Register:
        raise StoreUnavailable(StoreFault.UNREACHABLE, "connection refused")

    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        stage.register = away
        assert stage.secret_sender(listening).send(validation()).status == 503
        stage.register = stage.house.registry.known
        assert stage.secret_sender(listening).send(validation()).status == 200


def test_without_a_register_no_handshake_is_granted_but_events_pass(stage: Stage) -> None:
    listening = make(tls_door(stage.folder), name="kv", secrets=[SECRET])
    stage.stack.callback(listening.close)
    with stage.house.consuming(listening):
        sender = stage.secret_sender(listening)
        assert sender.send(validation()).status == 503
        assert sender.send(json.dumps([expired_event()]).encode()).status == 200


# -------------------------------------------------------------------------------------------------------------- secrets


def status(stage: Stage, listening: Listening, query: str = "", **headers: str) -> int:
    return stage.sender(listening, **headers).send(json.dumps([expired_event()]).encode(), query=query).status


def test_a_secret_passes_in_the_header_or_in_the_query_the_old_one_and_the_new(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET, NEW_SECRET))
    with stage.house.consuming(listening):
        for secret in (SECRET, NEW_SECRET):
            assert status(stage, listening, **{SECRET_HEADER: secret}) == 200
            assert status(stage, listening, f"?code=1&secret={quote(secret)}") == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?secret=", {}),
        ("?secret=wrong", {}),
        (f"?Secret={SECRET}", {}),
        ("", {SECRET_HEADER: "wrong"}),
        ("", {SECRET_HEADER: SECRET[:-1]}),
        ("", {SECRET_HEADER: SECRET + "x"}),
        ("", {SECRET_HEADER: SECRET.upper()}),
        ("", {SECRET_HEADER: f"{SECRET},{SECRET}"}),
        ("", {"authorization": f"Bearer {SECRET}"}),
        ("?secret=%FF%00", {SECRET_HEADER: "\xe4"}),
    ],
)
def test_a_wrong_or_missing_secret_is_refused(stage: Stage, query: str, headers: dict[str, str]) -> None:
    listening = stage.listening(secrets=(SECRET,))
    with stage.house.consuming(listening):
        assert status(stage, listening, query, **headers) == 401
        sender = stage.sender(listening, **headers)
        assert sender.send(b"", "OPTIONS", query=query).status == 401
        assert sender.send(validation(), query=query).status == 401

    assert stage.house.inbox() == []


def test_no_secret_comes_into_the_log(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    listening = stage.listening(secrets=(SECRET,), tokens=True)
    with stage.house.consuming(listening):
        status(stage, listening, f"?secret={SECRET}", authorization=stage.token(aud="other"))
        status(stage, listening, "?secret=the-guess-of-a-stranger", **{SECRET_HEADER: "the-guess-of-a-stranger"})
        status(stage, listening, f"?secret={SECRET}", authorization=stage.token())
        until(lambda: stage.house.degraded)

    written = "".join(capfd.readouterr()) + repr(stage.house.degraded)
    assert "the secret is wrong" in written
    assert "the token is for another audience" in written
    assert SECRET not in written
    assert "the-guess" not in written
    assert "eyJ" not in written


# --------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_of_event_grid_passes(stage: Stage) -> None:
    listening = stage.listening(tokens=True)
    with stage.house.consuming(listening):
        assert status(stage, listening, authorization=stage.token()) == 200
        assert stage.sender(
            listening, authorization=stage.token(), aeg_subscription_name=REGISTERED
        ).send(validation()).status == 200  # fmt: skip


WRONG: list[dict[str, Any]] = [
    {"aud": "api://other"},
    {"iss": f"https://sts.windows.net/{OTHER_TENANT}/"},
    {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
    {"iss": "https://sts.windows.net/{tenant}/"},
    {"appid": "00000000-0000-0000-0000-000000000000"},
    {"appid": None},
    {"appid": None, "azp": PUBLIC.application},
    {"roles": ["Other"]},
    {"roles": ROLE},
    {"roles": None},
    {"roles": None, "scp": ROLE},
    {"age": 7200},
    {"key": "two"},
    {"kid": "key-2", "key": "two"},
]


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_a_token_that_is_wrong_in_one_thing_is_refused(stage: Stage, changed: dict[str, Any]) -> None:
    listening = stage.listening(tokens=True)
    stage.issuer.token()
    with stage.house.consuming(listening):
        got = status(stage, listening, authorization=stage.token(**changed))

    assert got == (503 if changed.get("kid") else 401)  # an unknown key may be a new one: the set is a moment old
    assert stage.house.inbox() == []


def test_with_both_configured_both_must_hold(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET,), tokens=True)
    with stage.house.consuming(listening):
        assert status(stage, listening, **{SECRET_HEADER: SECRET}) == 401
        assert status(stage, listening, authorization=stage.token()) == 401
        assert status(stage, listening, **{SECRET_HEADER: "wrong"}, authorization=stage.token()) == 401
        assert status(stage, listening, **{SECRET_HEADER: SECRET}, authorization=stage.token(roles=[])) == 401
        assert status(stage, listening, **{SECRET_HEADER: SECRET}, authorization=stage.token()) == 200


def test_while_no_key_set_can_be_had_it_answers_503_and_says_so(stage: Stage) -> None:
    stage.issuer.away = True
    listening = stage.listening(tokens=True, tend_every=0.1)
    with stage.house.consuming(listening):
        assert status(stage, listening, authorization=stage.token()) == 503
        until(lambda: stage.house.degraded)
        assert "cannot be fetched" in str(stage.house.degraded[-1])
        stage.issuer.away = False
        until(lambda: status(stage, listening, authorization=stage.token()) == 200, 15)
        until(lambda: stage.house.degraded[-1] is None)


# -------------------------------------------------------------------------------------------------------------- options


def test_the_options_make_a_source(tmp_path: Path) -> None:
    made, own_key = certificate(tmp_path)
    options = {
        "listen": "0.0.0.0:8443", "certificate": str(made), "private_key": str(own_key),
        "secrets": [SECRET], "tenants": [TENANT], "audience": AUDIENCE,
    }  # fmt: skip
    with closing(make_source("event_grid_push", "kv", "azure", options)) as found:
        assert (found.name, found.cloud) == ("kv", "azure")
        assert 0 < found.visibility < 30


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["at least one is needed", SECRET_HEADER], {}),
        (["at least one is needed"], {"secrets": [], "tenants": []}),
        (["tenants, audience: both are needed"], {"tenants": [TENANT]}),
        (["tenants, audience: both are needed"], {"audience": AUDIENCE}),
        (["tenants: 'common' is not the id"], {"tenants": ["common"], "audience": AUDIENCE}),
        (["secrets: number 2 is too short"], {"secrets": [SECRET, "hush-hush"]}),
        (["secrets: number 1 has characters"], {"secrets": ["hush-hush hush-hush"]}),
        (["secrets: number 1 has characters"], {"secrets": ["hush-hush-häsch-hash"]}),
        (["listen: must be", "secrets: number 1", "tenants, audience"],
         {"listen": "x", "secrets": ["hush-hush"], "tenants": [TENANT]}),
    ],
)  # fmt: skip
def test_wrong_options_are_named_together_and_no_secret_is_shown(words: list[str], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words[0]) as told:
        source("kv", "azure", {"listen": "127.0.0.1:8080", **options})

    assert all(word in str(told.value) for word in words)
    assert "hush-hush" not in str(told.value)


def test_a_source_that_anybody_could_write_to_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="anybody could write here"):
        make(tls_door(tmp_path), name="kv")


def test_a_refused_subscription_is_named_as_a_trouble_with_what_to_do(stage: Stage) -> None:
    listening = stage.listening(secrets=(SECRET,))
    listening.receive(0)
    assert status(stage, listening) == 401
    with pytest.raises(FeedFault, match="1 x there is no secret") as told:
        listening.receive(0)
    assert "give it the secret" in told.value.hint()
