"""The far ends of the system tests: a PagerDuty and a mail relay on loopback, with answers by script."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.fakes import Answer, HttpFake, MailFake, Received, mail_server

ACCEPTED = Answer(202, b'{"status":"success","message":"Event processed"}', {"Content-Type": "application/json"})
TOO_MANY = Answer(429, b'{"status":"throttle exceeded"}', {"Retry-After": "1"})
BROKEN = Answer(500, b"oops")
INVALID = Answer(400, b'{"status":"invalid event","message":"Event object is invalid","errors":["no"]}')
WRONG_KEY = Answer(401, b'{"status":"unauthorized"}')
SILENT = Answer(hang=True)


@dataclass(frozen=True, slots=True)
class Page:
    """One event that was posted, and the status that it got (0: no answer)."""

    path: str
    event: dict[str, Any]
    status: int
    at: float

    @property
    def action(self) -> str:
        """`trigger`, `resolve`, or `change`."""
        return "change" if self.path == "/v2/change/enqueue" else str(self.event["event_action"])

    @property
    def dedup(self) -> str:
        return str(self.event.get("dedup_key", ""))

    @property
    def mentions(self) -> str:
        """Everything it says, for finding a customer or a key in it."""
        return json.dumps(self.event)


class Pager(HttpFake):
    """PagerDuty's two event addresses. Without a script it accepts everything.

    `script` gives the answers to the next events that mention a text; `holding` keeps such events waiting; `pace` is
    how many seconds it takes for every answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._scripts: list[tuple[str, list[Answer]]] = []
        self._holds: list[tuple[str, threading.Event, threading.Event]] = []
        self.pages: list[Page] = []
        self.pace = 0.0

    def script(self, mentions: str, *answers: Answer) -> None:
        with self._guard:
            self._scripts.append((mentions, list(answers)))

    @contextlib.contextmanager
    def holding(self, mentions: str) -> Iterator[threading.Event]:
        """Keep the answer to events that mention a text back until the block is left; yields "one is waiting"."""
        waiting, go_on = threading.Event(), threading.Event()
        hold = (mentions, waiting, go_on)
        with self._guard:
            self._holds.append(hold)
        try:
            yield waiting
        finally:
            with self._guard:
                self._holds.remove(hold)
            go_on.set()

    def take(self, request: Received) -> Answer:
        event = json.loads(request.body)
        text = request.body.decode()
        with self._guard:
            answer = next((answers.pop(0) for word, answers in self._scripts if word in text and answers), ACCEPTED)
            held = [hold for hold in self._holds if hold[0] in text]
        for _, waiting, go_on in held:
            waiting.set()
            go_on.wait(30)
        time.sleep(self.pace)
        with self._guard:
            self.pages.append(Page(request.path, event, 0 if answer.hang else answer.status, time.monotonic()))
        return answer

    def taken(self, mentions: str, action: str | None = None) -> list[Page]:
        """The accepted events that mention a text, in their order."""
        return [page for page in self.asked(mentions, action) if page.status == 202]

    def asked(self, mentions: str, action: str | None = None) -> list[Page]:
        """All events that mention a text, accepted or not."""
        with self._guard:
            pages = list(self.pages)
        return [page for page in pages if mentions in page.mentions and action in (None, page.action)]


@dataclass(slots=True)
class Relay(MailFake):
    """A mail relay. Without a script it takes everything; `script` gives the answers to the next mails to somebody."""

    scripts: list[tuple[str, list[str]]] = field(default_factory=list)
    taken: list[tuple[str, EmailMessage]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def script(self, recipient: str, *answers: str) -> None:
        self.scripts.append((recipient, list(answers)))

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        recipient = envelope.rcpt_tos[0]
        answer = next((answers.pop(0) for whom, answers in self.scripts if whom == recipient and answers), None)
        if answer is not None:
            self.refused.append((recipient, answer))
            return answer
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode()
        message = message_from_bytes(raw, policy=modern)
        self.taken.append((recipient, message))
        return f"250 2.0.0 Ok: queued as {len(self.taken):04X}"

    def to(self, recipient: str) -> list[EmailMessage]:
        """The mails that were taken for somebody, in their order."""
        return [message for whom, message in list(self.taken) if whom == recipient]


@contextlib.contextmanager
def relay() -> Iterator[Relay]:
    """Run a relay on loopback."""
    fake = Relay()
    with mail_server(fake):
        yield fake


def plain_text(message: EmailMessage) -> str:
    """The plain text of a mail, which is its master."""
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())
