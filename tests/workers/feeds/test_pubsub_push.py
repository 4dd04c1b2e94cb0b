"""Pub/Sub push: whose token passes, and what becomes of wrapped and unwrapped messages."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.gcp import world
from tests.watchdog.clouds.gcp.events import MASKED_DISABLE, audit
from tests.workers.feeds.pushing import House, Issuer, Sender, certificate, tls_door, until
from watchdog.clouds import gcp
from watchdog.words import Effect
from workers.feeds.kinds import make_source
from workers.feeds.listening import Listening
from workers.feeds.pubsub_push import GOOGLE, LIMITS, make, source
from workers.feeds.pubsub_push import Issuer as Names

AUDIENCE = "https://watch.acme.example/pubsub"
ACCOUNT = "push@acme-watch.iam.gserviceaccount.com"
SUBSCRIPTION_HEADER = "x-goog-pubsub-subscription-name"


class Stage:
    """A listener, the house behind it, and an issuer."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.house = House(gcp, world.register().document)
        self.issuer = stack.enter_context(closing(Issuer()))

    def listening(self, **named: Any) -> Listening:
        made = make(
            tls_door(self.folder), name="globex", audience=AUDIENCE, service_account=ACCOUNT,
            issuer=Names(names=GOOGLE.names, key_set=self.issuer.url), **named,
        )  # fmt: skip
        self.stack.callback(made.close)
        return made

    def sender(self, source: Listening, authorization: str | None = None, **headers: str) -> Sender:
        named = {"authorization": authorization or self.token(), **headers}
        return self.stack.enter_context(closing(Sender(source, self.folder / "door.crt", headers=named)))

    def token(self, **claims: Any) -> str:
        kind = {name: claims.pop(name) for name in ("kid", "key", "age") if name in claims}
        told = {"aud": AUDIENCE, "iss": GOOGLE.names[1], "email": ACCOUNT, "email_verified": True, "sub": "1093"}
        return f"Bearer {self.issuer.token(**kind, **{**told, **claims})}"

    def effects(self) -> list[tuple[Effect, str | None]]:
        register = world.register()
        with self.house.store.read() as unit:
            rows = [unit.arrived(row) for row in self.house.handed]
        return [(one.effect, one.key) for row in rows if row for one in gcp.meaning(row.body, register)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


def disabled() -> bytes:
    """Somebody of Globex disables a version of its key."""
    return json.dumps(audit("UpdateCryptoKeyVersion", f"{world.KEY}/cryptoKeyVersions/3", MASKED_DISABLE)).encode()


def wrapped(data: bytes, subscription: str | None = world.SUBSCRIPTION, **outer: Any) -> bytes:
    message = {"data": base64.b64encode(data).decode(), "messageId": "90210", "publishTime": "2026-04-02T10:00:01Z"}
    told = {"message": message, "subscription": subscription, **outer}
    return json.dumps({name: value for name, value in told.items() if value is not None}).encode()


# ------------------------------------------------------------------------------------------------------------ messages


def test_a_pushed_message_ends_in_the_inbox_and_is_answered_after_that(stage: Stage) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        answer = stage.sender(listening).send(wrapped(disabled()))
        assert len(stage.house.inbox()) == 1

    assert (answer.status, answer.data) == (204, b"")
    assert stage.effects()[0][0] is Effect.KEY_DISABLED


def test_a_message_by_the_subscription_of_somebody_else_is_not_believed(stage: Stage) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        answer = stage.sender(listening).send(wrapped(disabled(), world.SUBSCRIPTION_2))

    assert answer.status == 204
    assert {effect for effect, _ in stage.effects()} == {Effect.UNTRUSTED}


def test_an_unwrapped_message_is_believed_by_the_subscription_in_its_headers(stage: Stage) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        headers = {"x-goog-pubsub-message-id": "90210", "x-goog-pubsub-publish-time": "2026-04-02T10:00:01Z"}
        sender = stage.sender(listening, **{SUBSCRIPTION_HEADER: world.SUBSCRIPTION}, **headers)
        assert sender.send(disabled()).status == 204
        other = audit("UpdateCryptoKeyVersion", f"{world.KEY}/cryptoKeyVersions/3", MASKED_DISABLE, by="bob@x.example")
        body = json.dumps({**other, "insertId": "z"}).encode()
        assert stage.sender(listening, **{SUBSCRIPTION_HEADER: world.SUBSCRIPTION_2}).send(body).status == 204

    assert [effect for effect, _ in stage.effects()][:1] == [Effect.KEY_DISABLED]
    assert Effect.UNTRUSTED in {effect for effect, _ in stage.effects()}
    assert len(stage.house.inbox()) == 2


@pytest.mark.parametrize(
    "body",
    [
        disabled(),
        wrapped(disabled(), None),
        wrapped(disabled(), ""),
        wrapped(disabled(), ["projects/p/subscriptions/s"]),  # type: ignore[arg-type]  # what a stranger may send
        b"",
        b"{",
        b"null",
        b"\xff",
        b"[" * 100_000,
        json.dumps([json.loads(wrapped(disabled()))]).encode(),
    ],
)
def test_what_does_not_say_by_which_subscription_it_came_goes_to_quarantine(stage: Stage, body: bytes) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        assert stage.sender(listening).send(body).status == 204

    assert stage.house.inbox() == []
    assert ["nothing says by which subscription" in reason for _, reason in stage.house.quarantine()] == [True]


def test_a_wrapped_message_that_cannot_be_read_goes_to_quarantine_by_its_id(stage: Stage) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        assert stage.sender(listening).send(wrapped(b"rubbish")).status == 204

    assert [place for place, _ in stage.house.quarantine()] == ["pushed message 90210, record 1"]


def test_the_attempts_of_the_sender_are_taken_over(stage: Stage) -> None:
    listening = stage.listening()
    listening.receive(0)
    sender = stage.sender(listening)
    for told, deliveries in ((6, 6), ("x", 1), (None, 1), (-3, 1)):
        waiting = sender.later(wrapped(disabled(), deliveryAttempt=told))
        received = listening.receive(2)
        listening.acknowledge(received)
        assert waiting.result().status == 204
        assert [(one.deliveries, one.place) for one in received] == [(deliveries, "pushed message 90210")]


def test_a_message_as_large_as_pubsub_sends_is_taken(stage: Stage) -> None:
    listening = stage.listening()
    listening.receive(0)
    body = wrapped(b"\xfb" * 10_000_000)
    waiting = stage.sender(listening).later(body)
    received = listening.receive(10)
    listening.acknowledge(received)

    assert [len(one.body) for one in received] == [len(body)]
    assert waiting.result().status == 204
    assert LIMITS.answer < 10


# -------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("iss", GOOGLE.names)
def test_both_names_of_google_pass(stage: Stage, iss: str) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        assert stage.sender(listening, stage.token(iss=iss)).send(wrapped(disabled())).status == 204


WRONG: list[dict[str, Any]] = [
    {"email": "push@other.iam.gserviceaccount.com"},
    {"email": ACCOUNT.upper()},
    {"email": None},
    {"email_verified": False},
    {"email_verified": "true"},
    {"email_verified": 1},
    {"email_verified": None},
    {"aud": AUDIENCE + "/"},
    {"aud": None},
    {"iss": "https://accounts.google.com.evil.example"},
    {"age": 7200},
    {"key": "two"},
]


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_a_token_that_is_wrong_in_one_thing_is_refused(stage: Stage, changed: dict[str, Any]) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        assert stage.sender(listening, stage.token(**changed)).send(wrapped(disabled())).status == 401

    assert stage.house.inbox() == []


def test_a_request_without_a_token_is_refused_and_options_are_not_known(stage: Stage) -> None:
    listening = stage.listening()
    with stage.house.consuming(listening):
        assert stage.sender(listening, "none").send(wrapped(disabled())).status == 401
        assert stage.sender(listening).send(b"", "OPTIONS").status == 405


def test_while_google_is_away_it_answers_503_and_then_takes_what_comes_again(stage: Stage) -> None:
    stage.issuer.away = True
    listening = stage.listening(tend_every=0.1)
    with stage.house.consuming(listening):
        sender = stage.sender(listening)
        assert sender.send(wrapped(disabled())).status == 503
        until(lambda: "cannot be fetched" in str(stage.house.degraded))
        stage.issuer.away = False
        until(lambda: sender.send(wrapped(disabled())).status == 204, 15)

    assert len(stage.house.inbox()) == 1


# ------------------------------------------------------------------------------------------------------------- options


def test_the_options_make_a_source(tmp_path: Path) -> None:
    made, own_key = certificate(tmp_path)
    options = {
        "listen": "0.0.0.0:8443", "certificate": str(made), "private_key": str(own_key),
        "audience": AUDIENCE, "service_account": ACCOUNT,
    }  # fmt: skip
    with closing(make_source("pubsub_push", "globex", "gcp", options)) as found:
        assert (found.name, found.cloud) == ("globex", "gcp")
        assert 0 < found.visibility < 10


def test_wrong_options_are_named_together() -> None:
    with pytest.raises(ValueError, match="service_account: must be the e-mail address") as told:
        source("globex", "gcp", {"listen": "0.0.0.0", "audience": " ", "service_account": "push"})

    assert [word in str(told.value) for word in ("listen:", "audience:", "service_account:")] == [True] * 3
