"""Heartbeats: the sign that the watchdog watches, sent to something outside that pages when it stays away."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from alerts.interface import Outcome, Reason, Receipt
from alerts.text import clean
from alerts.wire import Answer, Guard, Limits, NoAnswer, Wire, trust, url_fault

BODY_LIMIT = 10_000
"""Bytes of a body: Healthchecks keeps the first 100,000 in its cloud, an installation of one's own may keep less."""

METHODS = ("GET", "HEAD", "POST")
_SUMMARY_LIMIT = 1000  # PagerDuty takes 1024 characters
_HINT = "check the address of [heartbeat], and that this machine may reach it"


class Heartbeat(Protocol):
    """Where heartbeats go. Both send once and never sleep, return what came of it, raise only for our own faults."""

    def passed(self, summary: str, now: datetime) -> Receipt:
        """Say that the audit has passed."""
        ...

    def failed(self, reasons: Sequence[str], now: datetime) -> Receipt | None:
        """Say that it has not, and why, where the far end can be told; None where only silence tells."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """Any URL that wants to be asked from time to time."""

    url: str = field(repr=False)  # the path is a secret: whoever has it can feign life
    method: str = "GET"
    ca_file: str = ""
    limits: Limits = field(default=Limits(), metadata={"wired": True})

    def __post_init__(self) -> None:
        faults = _url_faults(self.url)
        if self.method not in METHODS:
            faults.append(f"method must be one of {', '.join(METHODS)}")
        _raise(faults)

    def passed(self, summary: str, now: datetime) -> Receipt:
        """Ask the URL. Any 2xx is a success."""
        body = _body([summary]) if self.method == "POST" else b""
        answer = _wire(self.limits, self.ca_file).ask(self.method, self.url, body, _text_headers(body))
        return _receipt(answer, now, (self.url,))

    def failed(self, reasons: Sequence[str], now: datetime) -> Receipt | None:
        """Stay silent."""
        del reasons, now
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthchecks:
    """A check of Healthchecks, in its cloud or an installation of one's own (healthchecks.io/docs/http_api).

    `url` is the ping URL; a failure goes to the same with `/fail`, with the reasons as the body.
    """

    url: str = field(repr=False)
    ca_file: str = ""
    limits: Limits = field(default=Limits(), metadata={"wired": True})

    def __post_init__(self) -> None:
        faults = _url_faults(self.url)
        if not faults and ("?" in self.url or self.url.rstrip("/").endswith(("/fail", "/start", "/log"))):
            faults.append("url must be the plain ping URL of the check, without /fail, /start, /log or a query")
        _raise(faults)

    def passed(self, summary: str, now: datetime) -> Receipt:
        """Ping the check."""
        return self._ping("", [summary], now)

    def failed(self, reasons: Sequence[str], now: datetime) -> Receipt | None:
        """Signal a failure: people are told at once, not only when the ping is overdue."""
        return self._ping("/fail", reasons, now)

    def _ping(self, end: str, lines: Sequence[str], now: datetime) -> Receipt:
        body = _body(lines)
        url = self.url.rstrip("/") + end
        answer = _wire(self.limits, self.ca_file).ask("POST", url, body, _text_headers(body))
        # A check that does not exist, or is asked too often, is answered 200 "OK (not found)" and "OK (rate limited)".
        if isinstance(answer, Answer) and answer.status == 200 and answer.body.lstrip().startswith(b"OK ("):
            return Receipt(
                outcome=Outcome.RETRY, reason=Reason.REFUSED, http_status=200, excerpt=answer.excerpt((self.url,)),
                hint="the ping was not recorded: compare url with the ping URL of the check",
            )  # fmt: skip
        return _receipt(answer, now, (self.url, url))


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """PagerDuty's Heartbeat Event Monitoring: each heartbeat is a `trigger` with a dedup key of its own.

    An event orchestration suspends it for the window and lets a webhook resolve the one before, so that an incident
    begins when no further one comes (pagerduty.com/prompt-library/heartbeat-event-monitoring). Without such an
    orchestration every heartbeat would page, so the routing key must be one that leads to it and to nothing else.
    """

    routing_key: str = field(repr=False)
    base_url: str = "https://events.pagerduty.com"
    limits: Limits = field(default=Limits(), metadata={"wired": True})

    def __post_init__(self) -> None:
        fault = url_fault(self.base_url, allow_plain=False)
        faults = [f"base_url {fault}"] if fault else []
        if not (self.routing_key.isascii() and self.routing_key.isalnum()):
            faults.append("routing_key must be letters and digits (32 of them, of the orchestration for heartbeats)")
        _raise(faults)

    def passed(self, summary: str, now: datetime) -> Receipt:
        """Send the event. 202 means taken over."""
        event = {
            "routing_key": self.routing_key,
            "event_action": "trigger",
            "dedup_key": f"byok:heartbeat:{now:%Y-%m-%dT%H:%M:%S.%fZ}",
            "payload": {
                # It is what people read when the next one does not come.
                "summary": clean(f"byok-watchdog is silent: no heartbeat since {now:%Y-%m-%d %H:%M:%S} UTC. "
                                 f"At that time: {summary}", _SUMMARY_LIMIT),
                "source": "byok-watchdog",
                "severity": "critical",
                "timestamp": now.isoformat(),
                "class": "heartbeat",
            },
        }  # fmt: skip
        body = json.dumps(event, separators=(",", ":")).encode()
        answer = _wire(self.limits, "").post(
            self.base_url.rstrip("/") + "/v2/enqueue", body, {"Content-Type": "application/json"}
        )
        return _receipt(answer, now, (self.routing_key,))

    def failed(self, reasons: Sequence[str], now: datetime) -> Receipt | None:
        """Stay silent: the orchestration opens the incident when its window is over."""
        del reasons, now
        return None


KINDS: Mapping[str, type[Url | Healthchecks | PagerDuty]] = {
    "url": Url,
    "healthchecks": Healthchecks,
    "pagerduty": PagerDuty,
}

OPTIONS: Mapping[str, Sequence[str]] = {
    "url": ("url", "method", "ca_file"),
    "healthchecks": ("url", "ca_file"),
    "pagerduty": ("routing_key", "base_url"),
}
"""What each kind may be told; the first is what it cannot do without."""


def build(kind: str, options: Mapping[str, Any]) -> Heartbeat:
    """Return the heartbeat of a kind. Raises ValueError with everything that is wrong with its options."""
    known = OPTIONS[kind]
    faults = [f"{name} is unknown; there are: {', '.join(known)}" for name in options if name not in known]
    faults += [f"{name} must be a text" for name, value in options.items() if not isinstance(value, str)]
    if known[0] not in options:
        faults.append(f"{known[0]} is missing")
    _raise(faults)
    return KINDS[kind](**options)


def _url_faults(url: str) -> list[str]:
    fault = url_fault(url, allow_plain=False)
    return [f"url {fault}"] if fault else []


def _raise(faults: Sequence[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _wire(limits: Limits, ca_file: str) -> Wire:
    return Wire(guard=Guard(), limits=limits, context=trust(ca_file) if ca_file else None)


def _body(lines: Sequence[str]) -> bytes:
    """Return the lines as text; a cut body ends with a mark, not in the middle of a letter."""
    text = "\n".join(clean(line) for line in lines)
    whole = text.encode()
    return whole if len(whole) <= BODY_LIMIT else whole[: BODY_LIMIT - 4].decode("utf-8", "ignore").encode() + b" ..."


def _text_headers(body: bytes) -> dict[str, str]:
    return {"Content-Type": "text/plain; charset=utf-8"} if body else {}


def _receipt(answer: Answer | NoAnswer, now: datetime, secrets: tuple[str, ...]) -> Receipt:
    if isinstance(answer, NoAnswer):
        return answer.receipt(_HINT)
    if not 200 <= answer.status < 300:
        return answer.failure(now, {0: f"{_HINT}; redirects are never followed"}, secrets)
    return Receipt(outcome=Outcome.ACCEPTED, http_status=answer.status, excerpt=answer.excerpt(secrets))
