"""PagerDuty, Events API v2: triggers and resolves alerts, tells a recovery that is not proven as a change event."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime

from alerts import letters
from alerts.interface import Outcome, Receipt, Rendered
from alerts.outline import Budget, Plain, fitting, moment
from alerts.page import details
from alerts.text import clean, cleaned
from alerts.wire import Guard, Limits, NoAnswer, Wire, url_fault
from watchdog.notices import Facts, Kind, Notice

PREFIX = "byok:"
SUMMARY_LIMIT = 1000  # PagerDuty takes 1024; clean() may add a few for its mark
DEDUP_LIMIT = 255
EVENT_LIMIT = 500_000  # PagerDuty takes 512 KB, routing key included

_HINTS = {
    400: "PagerDuty calls the event invalid: see the excerpt; report it as a fault of this program",
    401: "check routing_key: PagerDuty does not accept it",
    403: "check routing_key: PagerDuty does not accept it",
    404: "check base_url: PagerDuty's event interface is not there",
    0: "check base_url: PagerDuty's event interface answers 202 to a success, and never this",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """A service of PagerDuty. The routing key goes on the wire only, never into what is rendered and kept."""

    name: str
    routing_key: str = field(repr=False)
    base_url: str = "https://events.pagerduty.com"
    client: str = "byok-watchdog"
    runbook_base: str = ""
    status_url: str = ""
    allow_plain_http: bool = False
    limits: Limits = field(default=Limits(), metadata={"wired": True})

    def __post_init__(self) -> None:
        fault = url_fault(self.base_url, allow_plain=self.allow_plain_http)
        faults = [f"base_url {fault}"] if fault else []
        if not (self.routing_key.isascii() and self.routing_key.isalnum()):
            faults.append("routing_key must be letters and digits (32 of them, from an Events API v2 integration)")
        if faults:
            raise ValueError("; ".join(faults))

    def render(self, notice: Notice) -> Rendered:
        """Return the event without its routing key; `headers["path"]` is where it is posted."""
        neat = cleaned(notice)
        letter = letters.write(neat, html=False, is_clean=True)
        body = fitting(lambda budget: _json(self._event(neat, letter, budget)), EVENT_LIMIT)
        path = "/v2/change/enqueue" if neat.kind is Kind.RECOVERING else "/v2/enqueue"
        headers = {"path": path} | ({"short-form": letter.flaw} if letter.flaw else {})
        return Rendered(body=body, content_type="application/json", subject=letter.summary, headers=headers)

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        """Post the event with its routing key. 202 means taken over, not read."""
        secret = f'{{"routing_key":"{self.routing_key}",'.encode()
        wire = Wire(guard=Guard(allow_plain=self.allow_plain_http), limits=self.limits)
        url = self.base_url.rstrip("/") + rendered.headers["path"]
        answer = wire.post(url, secret + rendered.body.removeprefix(b"{"), {"Content-Type": rendered.content_type})
        if isinstance(answer, NoAnswer):
            return answer.receipt("check that this machine may reach PagerDuty (base_url)")
        if answer.status != 202:
            return answer.failure(now, _HINTS, (self.routing_key,))
        # PagerDuty has no other id: the name of the alert is how it is found again, and how its webhooks call it.
        return Receipt(
            outcome=Outcome.ACCEPTED,
            provider_id=dedup_key(notice),
            http_status=202,
            excerpt=answer.excerpt((self.routing_key,)),
            hint=letters.flaw_hint(rendered.headers),
        )

    def _event(self, notice: Notice, letter: letters.Letter, budget: Budget) -> Plain:
        if notice.kind in {Kind.CLEAR, Kind.RESOLVED}:
            return {"event_action": "resolve", "dedup_key": dedup_key(notice)}
        facts = notice.facts
        payload: Plain = {
            "summary": clean(letter.summary, SUMMARY_LIMIT),
            "source": f"{facts.customer}/{facts.instance}".strip("/") if isinstance(facts, Facts) else facts.where,
            "timestamp": moment(facts.at),
            "custom_details": letters.either(
                lambda: details(notice, letter, budget), lambda flaw: {"PAGE": letter.text, "flaw": flaw}
            ),
        }
        if notice.kind is Kind.RECOVERING:
            return {"payload": payload, "links": self._links(notice)}
        payload["severity"] = notice.severity.value
        if isinstance(facts, Facts):
            payload |= {"component": f"{facts.cloud} key", "group": facts.customer, "class": facts.stage.value}
        event: Plain = {"event_action": "trigger", "dedup_key": dedup_key(notice), "client": self.client}
        event |= {"client_url": self.status_url} if self.status_url else {}
        return event | {"payload": payload, "links": self._links(notice)}

    def _links(self, notice: Notice) -> list[Plain]:
        stage = f"/{notice.facts.stage}" if isinstance(notice.facts, Facts) else ""
        links = [
            (f"{self.runbook_base.rstrip('/')}/{notice.kind}{stage}" if self.runbook_base else "", "Runbook"),
            (self.status_url, "Status page"),
        ]
        return [{"href": href, "text": text} for href, text in links if href]


def dedup_key(notice: Notice) -> str:
    """Return the name of the alert at PagerDuty; one that is too long is told apart by its hash."""
    key = PREFIX + clean(notice.dedup)
    if len(key) <= DEDUP_LIMIT:
        return key
    return f"{key[:180]}:{hashlib.sha256(key.encode()).hexdigest()}"


def _json(event: Plain) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()
