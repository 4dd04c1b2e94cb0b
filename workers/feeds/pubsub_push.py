"""Pub/Sub push as a feed: a webhook over HTTPS with Google's OIDC token (gcp.md 6.3, 6.4)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from watchdog.clouds.gcp.record import UnreadableError, decoded, is_message
from watchdog.reading import mapping, text, whole
from workers.feeds.doors import Door, door
from workers.feeds.listening import Answer, Delivery, Listening, RefusedError
from workers.feeds.lobby import Limits
from workers.feeds.tokens import KeySet, Tokens

PATH = "/pubsub"
LIMITS = Limits(body=16 << 20, answer=8.0)
"""A message has at most 10 MB, in base64 a third more; Pub/Sub waits for the ack deadline, 10 seconds at least."""

_SUBSCRIPTION, _MESSAGE, _PUBLISHED = (
    "x-goog-pubsub-subscription-name",
    "x-goog-pubsub-message-id",
    "x-goog-pubsub-publish-time",
)
_NO_CONTENT = Answer(status=204)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who makes the tokens: the names it goes by, and its key set. No setting: a wrong one would let anybody in."""

    names: tuple[str, ...]
    key_set: str


GOOGLE = Issuer(
    names=("accounts.google.com", "https://accounts.google.com"), key_set="https://www.googleapis.com/oauth2/v3/certs"
)


def source(name: str, cloud: str, options: Mapping[str, Any]) -> Listening:
    """Return the source of a feed of kind `pubsub_push`. Raises ValueError with all that its options lack."""
    faults: list[str] = []
    where = door(options, path=PATH, now=datetime.now(UTC), faults=faults)
    audience, account = options["audience"], options["service_account"]
    if not audience.strip():
        faults.append("audience: is empty; name the audience that the push subscription puts into its tokens")
    if account.count("@") != 1 or account != account.strip():
        faults.append(f"service_account: must be the e-mail address of the push account, is {account!r}")
    if faults:
        raise ValueError("; ".join(faults))
    return make(where, name=name, cloud=cloud, audience=audience, service_account=account)


def make(  # what the settings give, and what tests replace
    where: Door,
    *,
    name: str,
    cloud: str = "gcp",
    audience: str,
    service_account: str,
    issuer: Issuer = GOOGLE,
    limits: Limits = LIMITS,
    tend_every: float = 10.0,
) -> Listening:
    """Return the source, its options being right."""
    desk = PubsubDesk(audience, service_account, issuer)
    return Listening(where, desk, name=name, cloud=cloud, limits=limits, tend_every=tend_every)


class PubsubDesk:
    """Decides about requests of Pub/Sub: whether they come from our push account, and what they bring."""

    methods = ("POST",)

    def __init__(self, audience: str, service_account: str, issuer: Issuer) -> None:
        self._tokens = Tokens(KeySet(issuer.key_set), issuers=issuer.names, audience=audience)
        self._account = service_account

    async def admit(self, request: Request) -> None:
        """Check the token and whose it is. Raises RefusedError, UnableError."""
        claims = await self._tokens.claims(request.headers.get("authorization"))
        if claims.get("email") != self._account:
            raise RefusedError("the token is not that of the push account")
        if claims.get("email_verified") is not True:  # a text "true" is none (gcp.md 6.4)
            raise RefusedError("the address in the token is not verified")

    async def tend(self) -> None:
        """Keep the key set fresh."""
        await self._tokens.keys.tend()

    def lacks(self) -> str | None:
        """Say why no token can be checked at all."""
        return None if self._tokens.keys.is_known else self._tokens.keys.fault

    async def take(self, request: Request, body: bytes) -> Delivery:
        """Return the delivery, wrapped: the decoder believes a message by the subscription in its wrapper.

        What comes without its wrapper is wrapped here, if the headers say by which subscription it came. If they do
        not, the decoder could not tell whose it is, and would believe it: it goes to quarantine.
        """
        subscription = request.headers.get(_SUBSCRIPTION)
        if subscription is not None:
            # Whatever the body looks like, it is what somebody published, and may imitate a wrapper.
            message = {
                "data": base64.b64encode(body).decode(),
                "messageId": request.headers.get(_MESSAGE, ""),
                "publishTime": request.headers.get(_PUBLISHED, ""),
            }
            wrapped = json.dumps({"message": message, "subscription": subscription}).encode()
            return Delivery(body=wrapped, place=_place(message["messageId"]), answer=_NO_CONTENT)
        told = _told(body)
        message_id = text(mapping(told.get("message")).get("messageId"))
        message_id = message_id or text(mapping(told.get("message")).get("message_id"))
        fault = None
        if not is_message(told) or text(told.get("subscription")) is None:
            fault = (
                "nothing says by which subscription it came, so that it cannot be believed; let the push subscription "
                "deliver wrapped messages, or write metadata into the headers"
            )
        return Delivery(
            body=body,
            place=_place(message_id or ""),
            deliveries=max(1, whole(told.get("deliveryAttempt")) or 1),
            fault=fault,
            answer=_NO_CONTENT,
        )


def _told(body: bytes) -> Mapping[str, object]:
    try:
        return mapping(decoded(body))
    except UnreadableError:
        return {}


def _place(message_id: str) -> str:
    return f"pushed message {message_id[:200]}" if message_id else "a pushed message without an id"
