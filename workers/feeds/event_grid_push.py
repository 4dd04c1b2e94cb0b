"""Event Grid push as a feed: a webhook over HTTPS, with both handshakes (azure.md 6.3)."""

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from watchdog.clouds.azure.fields import UnreadableError, decoded
from watchdog.clouds.azure.index import index_of
from watchdog.clouds.azure.record import SUBSCRIPTION_HEADER, VALIDATION
from watchdog.reading import items, mapping, text
from watchdog.register import Register
from workers.feeds.doors import Door, door
from workers.feeds.listening import Answer, Delivery, Listening, RefusedError, UnableError
from workers.feeds.lobby import Limits
from workers.feeds.tokens import KeySet, Tokens
from workers.store.interface import StoreUnavailable

PATH = "/event-grid"
SECRET_HEADER = "x-byok-watchdog-secret"  # noqa: S105 - the name of the header, not a secret
SECRET_PARAMETER = "secret"  # noqa: S105 - same
ROLE = "AzureEventGridSecureWebhookSubscriber"
LIMITS = Limits(body=4 << 20, answer=25.0)
"""A batch has at most 1 MB, before its headers and escapes; Event Grid waits 30 seconds for the answer."""

SHORTEST_SECRET = 16
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOST = re.compile(r"[A-Za-z0-9.*-]{1,253}")
_PASSED_ON = (SUBSCRIPTION_HEADER, "aeg-event-type", "aeg-delivery-count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who makes Event Grid's tokens in one Azure cloud: its issuer by tenant, its key set, and Event Grid's own id.

    Sovereign clouds have others. They are no settings: one of them, wrong, would let nothing or anybody in.
    """

    issuer: str
    key_set: str
    application: str


PUBLIC = Authority(
    issuer="https://sts.windows.net/{tenant}/",
    key_set="https://login.microsoftonline.com/common/discovery/keys",
    application="4962773b-9cdb-44cf-a8bf-237846a00ab7",
)


def source(
    name: str, cloud: str, options: Mapping[str, Any], *, register: Callable[[], Register] | None = None
) -> Listening:
    """Return the source of a feed of kind `event_grid_push`. Raises ValueError with all that its options lack.

    `register` gives the current register: handshakes are answered only for event subscriptions that stand in it.
    """
    faults: list[str] = []
    where = door(options, path=PATH, now=datetime.now(UTC), faults=faults)
    secrets, tenants, audience = options.get("secrets", []), options.get("tenants", []), options.get("audience", "")
    faults += [f"secrets: number {number} {why}" for number, one in enumerate(secrets, 1) if (why := _weakness(one))]
    faults += [
        f"tenants: {one!r} is not the id of a tenant (a GUID)" for one in tenants if not _GUID.fullmatch(one.lower())
    ]
    if bool(tenants) != bool(audience):
        faults.append("tenants, audience: both are needed to check tokens; one is missing")
    if not secrets and not tenants and not audience:
        faults.append(
            "secrets, or tenants with audience: at least one is needed, else anybody could write here; give the event "
            f"subscription a secret in the delivery header {SECRET_HEADER}, or secure it with Entra ID"
        )
    if faults:
        raise ValueError("; ".join(faults))
    return make(where, name=name, cloud=cloud, secrets=secrets, tenants=tenants, audience=audience, register=register)


def make(  # what the settings give, and what tests replace
    where: Door,
    *,
    name: str,
    cloud: str = "azure",
    secrets: Sequence[str] = (),
    tenants: Sequence[str] = (),
    audience: str = "",
    register: Callable[[], Register] | None = None,
    authority: Authority = PUBLIC,
    limits: Limits = LIMITS,
    tend_every: float = 10.0,
) -> Listening:
    """Return the source, its options being right."""
    if not secrets and not (tenants and audience):
        raise ValueError("neither a secret nor tenants and audience: anybody could write here")
    desk = EventGridDesk(secrets, tenants, audience, register, authority)
    return Listening(where, desk, name=name, cloud=cloud, limits=limits, tend_every=tend_every)


def _weakness(secret: str) -> str | None:
    """Say why a secret is none; the secret itself is not shown."""
    if len(secret) < SHORTEST_SECRET:
        return f"is too short: use at least {SHORTEST_SECRET} random characters"
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return "has characters that a header cannot carry: use letters, digits and -._~"
    return None


class EventGridDesk:
    """Decides about requests of Event Grid: whether they are its own, what they bring, and what to answer.

    With secrets and tenants configured both must hold.
    """

    methods = ("POST", "OPTIONS")

    def __init__(
        self,
        secrets: Sequence[str],
        tenants: Sequence[str],
        audience: str,
        register: Callable[[], Register] | None,
        authority: Authority,
    ) -> None:
        self._secrets = [one.encode() for one in secrets]
        self._register = register
        self._application = authority.application
        self._tokens: Tokens | None = None
        if tenants:
            issuers = [authority.issuer.format(tenant=tenant.lower()) for tenant in tenants]
            self._tokens = Tokens(KeySet(authority.key_set), issuers=issuers, audience=audience)

    # ---------------------------------------------------------------------------------------------------- authenticity

    async def admit(self, request: Request) -> None:
        """Check the secret, then the token. Raises RefusedError, UnableError."""
        if self._secrets:
            self._check_secret(request)
        if self._tokens is None:
            return
        claims = await self._tokens.claims(request.headers.get("authorization"))
        if claims.get("appid") != self._application:
            raise RefusedError("the token is not Event Grid's own (appid)")
        roles = claims.get("roles")
        if not isinstance(roles, list) or ROLE not in roles:
            raise RefusedError(f"the token lacks the role {ROLE}")

    def _check_secret(self, request: Request) -> None:
        """Compare every secret, without telling by the time it takes which one came near."""
        headers = request.headers.getlist(SECRET_HEADER)
        given = [*headers, *parse_qs(request.scope["query_string"].decode("latin-1")).get(SECRET_PARAMETER, [])]
        if not given:
            raise RefusedError("there is no secret")
        if not any([hmac.compare_digest(one.encode(), known) for one in given for known in self._secrets]):  # noqa: C419
            raise RefusedError("the secret is wrong")

    async def tend(self) -> None:
        """Keep the key set fresh."""
        if self._tokens is not None:
            await self._tokens.keys.tend()

    def lacks(self) -> str | None:
        """Say why no token can be checked at all."""
        return self._tokens.keys.fault if self._tokens is not None and not self._tokens.keys.is_known else None

    # -------------------------------------------------------------------------------------------------------- delivery

    async def take(self, request: Request, body: bytes) -> Delivery:
        """Return the delivery in the form of a request, as the decoder takes it. Raises UnableError."""
        name = request.headers.get(SUBSCRIPTION_HEADER)
        place = f"push of event subscription {name[:200]}" if name else "push without the name of its subscription"
        kept = {one: request.headers[one] for one in _PASSED_ON if one in request.headers}
        count = kept.get("aeg-delivery-count", "")
        deliveries = int(count) + 1 if count.isascii() and count.isdigit() and len(count) < 9 else 1
        kept.pop("aeg-delivery-count", None)  # the same delivery has the same bytes each time it is sent
        if request.method == "OPTIONS":
            head = _json({"method": "OPTIONS", "headers": kept})
            return Delivery(body=head, place=f"handshake, {place}", answer=await self._permission(request, name))
        try:
            told = decoded(body)
        except UnreadableError:
            # As it is: the decoder saves what is whole in a damaged list, but not in a damaged wrapper.
            return Delivery(body=body, place=place, deliveries=deliveries)
        wrapped = b'{"method":"POST","headers":' + _json(kept) + b',"body":' + body + b"}"
        answer = await self._echo(told, name)
        return Delivery(body=wrapped, place=place, deliveries=deliveries, answer=answer or Answer())

    async def _echo(self, told: object, name: str | None) -> Answer | None:
        """Answer the handshake of the Event Grid schema: its code, for a registered subscription; None if it is none.

        It is committed like any other delivery, so that a handshake which nobody expects is seen.
        """
        for event in map(mapping, items(told)):
            if (text(event.get("eventType")) or "").lower() != VALIDATION.lower():
                continue
            code = text(mapping(event.get("data")).get("validationCode"))
            if code is None or name is None or not await self._is_registered(name):
                return _UNKNOWN
            return Answer(body=_json({"validationResponse": code}), headers={"Content-Type": "application/json"})
        return None

    async def _permission(self, request: Request, name: str | None) -> Answer:
        """Answer the handshake of CloudEvents: who may send, and how fast.

        Whether it names its event subscription is not documented: without a name its secret or token is enough.
        """
        if name is not None and not await self._is_registered(name):
            return _UNKNOWN
        origin, rate = request.headers.get("webhook-request-origin"), request.headers.get("webhook-request-rate", "")
        allowed = {"Allow": ", ".join(self.methods)}
        if origin is not None and _HOST.fullmatch(origin):
            told = rate if rate.isascii() and rate.isdigit() and len(rate) < 9 else "*"
            allowed |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": told}
        return Answer(headers=allowed)

    async def _is_registered(self, name: str) -> bool:
        """Whether an event subscription stands in the register. Raises UnableError when that cannot be told."""
        if self._register is None:
            raise UnableError("the register is not at hand, so that no handshake can be judged")
        try:
            # In a thread: the first look reads the store.
            return await asyncio.to_thread(_names_subscription, self._register, name)
        except StoreUnavailable as away:
            raise UnableError("the store is away, so that no handshake can be judged") from away


_UNKNOWN = Answer(
    status=403,
    body=b"This event subscription is not registered: add it to the register, then create or update it again.\n",
    headers={"Content-Type": "text/plain"},
)


def _names_subscription(register: Callable[[], Register], name: str) -> bool:
    return name.lower() in index_of(register()).subscriptions


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
