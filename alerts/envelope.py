"""The mail as bytes: headers and two readings of one letter, put together by hand.

The mail is the legal record, so the same notice must give the same bytes, whatever Python runs. The standard library's
message classes fold headers differently from version to version (and lose blanks in long ones); everything here is
ASCII, short, and assembled in one fixed order. The tests read it back with the standard library's parser.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC
from email.quoprimime import body_encode
from email.utils import format_datetime, formataddr, parseaddr

from alerts import views
from alerts.letters import Letter
from alerts.text import ascii_only
from watchdog.notices import Facts, Notice

ADDRESS = re.compile(r"[!-;=?A-~]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
ENCODED_WORD_LIMIT = 75


@dataclass(frozen=True, slots=True)
class Sender:
    """Who writes: `author` as "Name <address>", `reply_to` (may hold {incident}), `domain` of our message ids."""

    author: str
    reply_to: str
    domain: str


def enveloped(notice: Notice, letter: Letter, sender: Sender) -> bytes:
    """Return the whole message of a (cleaned) notice: ASCII, CRLF, plain text first."""
    mark = f"byok-{hashlib.sha256(notice.id.encode()).hexdigest()[:32]}"
    lines = [f"{name}: {value}" for name, value in headers(notice, letter, sender).items()]
    lines += [
        "MIME-Version: 1.0",
        f'Content-Type: multipart/alternative; boundary="{mark}"',
        "",
        *_part(mark, "plain", letter.text),
        *_part(mark, "html", letter.html),
        f"--{mark}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def headers(notice: Notice, letter: Letter, sender: Sender) -> dict[str, str]:
    """Return the headers in their order (alerting.md 4.1). Every value is printable ASCII in one line."""
    incident = word(notice.incident) if notice.incident else ""
    stage = notice.facts.stage.value if isinstance(notice.facts, Facts) else notice.kind.value
    found = {
        "From": mailbox(*parseaddr(sender.author)),
        "To": _recipient(notice),
        "Reply-To": sender.reply_to.replace("{incident}", incident or "operator"),
        "Subject": letter.subject,
        "Date": format_datetime(notice.created_at.astimezone(UTC)),
        "Message-ID": f"<{word(notice.id).lower()}@{sender.domain}>",
    }
    if incident:
        # No mail carries this id. It is the root that makes all mails of an incident one conversation.
        root = f"<{incident.lower()}@{sender.domain}>"
        found |= {"In-Reply-To": root, "References": root}
    found |= {"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"}
    found |= {"X-Byok-Incident": incident} if incident else {}
    found |= {"X-Byok-Stage": stage, "X-Byok-Notice": word(notice.id)}
    if isinstance(notice.facts, Facts):
        found |= {"X-Byok-Drill": "yes"} if notice.facts.drill else {}
        found |= {"Importance": "high", "X-Priority": "1"} if views.is_urgent(notice.facts) else {}
    return found | {"Content-Language": letter.language}


def word(name: str) -> str:
    """Return an id as it may stand inside a message id; an odd one by its hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def mailbox(name: str, address: str) -> str:
    """Return "Name <address>"; a name that one encoded word cannot hold is left out, for folding would break it."""
    written = formataddr((name, address)) if name else address
    return written if len(written) - len(address) <= ENCODED_WORD_LIMIT and written.isascii() else address


def _recipient(notice: Notice) -> str:
    person = notice.recipient
    if person is None or not ADDRESS.fullmatch(person.email):
        return "undisclosed-recipients:;"
    plain = ascii_only(person.name, 60)
    return mailbox(plain if plain == person.name else person.name, person.email)


def _part(mark: str, kind: str, text: str) -> list[str]:
    octets = text.encode("utf-8").decode("latin-1")
    encoded = body_encode(octets, maxlinelen=76, eol="\r\n")
    # Relays write ">From " where a line begins with "From ": then the kept bytes would not be those that arrived.
    guarded = re.sub(r"(?m)^From ", "=46rom ", encoded)
    return [
        f"--{mark}",
        f"Content-Type: text/{kind}; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        guarded,
    ]
