"""A signed webhook: Standard Webhooks 1.0.0 around a CloudEvents 1.0 body that holds the outline of the facts."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import datetime

from alerts import letters
from alerts.interface import Outcome, Receipt, Rendered
from alerts.outline import Budget, Plain, fitting, moment, outline
from alerts.text import cleaned
from alerts.wire import Guard, Limits, NoAnswer, Wire, trust, url_fault
from watchdog.notices import Facts, Kind, Notice

BODY_LIMIT = 20_000

_HINTS = {
    401: "the receiver refuses the signature or the address: compare its secret with `secrets`",
    403: "the receiver refuses the signature or the address: compare its secret with `secrets`",
    404: "check url: nothing is there",
    410: "the receiver has closed this endpoint for good: remove the channel or give it a new url",
    0: "check url and the receiver; redirects are never followed, so give the final address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One endpoint. During a rotation `secrets` holds the old and the new one, and both sign."""

    name: str
    url: str = field(repr=False)  # the path may be a secret too
    secrets: tuple[str, ...] = field(repr=False)
    type_prefix: str
    source: str = "/byok-watchdog"
    ca_file: str = ""
    allow_private: bool = False
    allow_plain_http: bool = False
    limits: Limits = field(default=Limits(), metadata={"wired": True})

    def __post_init__(self) -> None:
        fault = url_fault(self.url, allow_plain=self.allow_plain_http)
        faults = [f"url {fault}"] if fault else []
        if not self.secrets or not all(key_of(secret) for secret in self.secrets):
            faults.append('secrets must be one or more of the form "whsec_" + base64 of 24 to 64 bytes')
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", self.type_prefix):
            faults.append('type_prefix must be a domain in reverse, such as "com.example.byok"')
        if faults:
            raise ValueError("; ".join(faults))

    def render(self, notice: Notice) -> Rendered:
        """Return the event; the signature is made anew for every attempt, since it covers the time."""
        neat = cleaned(notice)
        body = fitting(lambda budget: _json(self._event(neat, budget)), BODY_LIMIT)
        return Rendered(
            body=body,
            content_type="application/cloudevents+json; charset=utf-8",
            subject=f"{event_type(neat)} {subject(neat)}",
            headers={"webhook-id": webhook_id(neat)},
        )

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        """Sign and post. Any 2xx is a success, nothing else is."""
        del notice  # all that is sent stands in `rendered`
        message, seconds = rendered.headers["webhook-id"], int(now.timestamp())
        signed = {
            "Content-Type": rendered.content_type,
            "webhook-id": message,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(sign(secret, message, seconds, rendered.body) for secret in self.secrets),
        }
        guard = Guard(allow_private=self.allow_private, allow_plain=self.allow_plain_http)
        wire = Wire(guard=guard, limits=self.limits, context=trust(self.ca_file) if self.ca_file else None)
        answer = wire.post(self.url, rendered.body, signed)
        if isinstance(answer, NoAnswer):
            return answer.receipt(
                "check url; a private target needs allow_private = true, a plain one allow_plain_http"
            )
        hidden = (*self.secrets, self.url)
        if not 200 <= answer.status < 300:
            return answer.failure(now, _HINTS, hidden)
        return Receipt(
            outcome=Outcome.ACCEPTED,
            provider_id=message,
            http_status=answer.status,
            excerpt=answer.excerpt(hidden),
        )

    def _event(self, notice: Notice, budget: Budget) -> Plain:
        return {
            "specversion": "1.0",
            "id": webhook_id(notice),
            "source": self.source,
            "type": f"{self.type_prefix}.{event_type(notice)}.v1",
            "subject": subject(notice),
            "time": moment(notice.created_at),
            "datacontenttype": "application/json",
            "data": letters.either(
                lambda: outline(notice, budget),
                lambda flaw: {"incident": notice.incident, "text": _short(notice), "flaw": flaw},
            ),
        }


def _short(notice: Notice) -> str:
    return letters.write(notice, html=False).text


def event_type(notice: Notice) -> str:
    """Return what has happened to the incident, in the words of the event types."""
    facts = notice.facts
    if not isinstance(facts, Facts):
        return "operator"
    if notice.kind is Kind.ALARM:
        return "incident.opened" if facts.previous_stage is None else "incident.escalated"
    return f"incident.{'cleared' if notice.kind is Kind.CLEAR else notice.kind.value}"


def subject(notice: Notice) -> str:
    """Return `customer/ID/key/FINGERPRINT`; the key's own id stands in the data, not in what routers log."""
    facts = notice.facts
    if not isinstance(facts, Facts):
        return "watch"
    ids = sorted(key.id for key in facts.keys)
    mark = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]
    return f"customer/{facts.customer}/{'key' if len(ids) == 1 else 'keys'}/{mark}"


def webhook_id(notice: Notice) -> str:
    """Return the notice's id as a header may carry it: no dot, which would blur what is signed."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,200}", notice.id):
        return notice.id
    return hashlib.sha256(notice.id.encode()).hexdigest()


def key_of(secret: str) -> bytes:
    """Return the bytes of a `whsec_` secret; none when it is not one, or not 24 to 64 bytes long."""
    try:
        found = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return found if secret.startswith("whsec_") and 24 <= len(found) <= 64 else b""


def sign(secret: str, message: str, seconds: int, body: bytes) -> str:
    """Return the `v1` signature over id, time and body (Standard Webhooks 1.0.0)."""
    text = f"{message}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), text, "sha256")).decode()


def _json(event: Plain) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
