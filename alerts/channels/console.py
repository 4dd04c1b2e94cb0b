"""The console: every notice in full, for eyes (in colour on a terminal) or as one line of JSON for machines."""

import json
import os
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import TextIO

from alerts import letters
from alerts.interface import Outcome, Reason, Receipt, Rendered
from alerts.outline import moment, outline
from alerts.text import cleaned
from watchdog.notices import Notice

_COLOURS = {"critical": "bold white on red", "error": "bold red", "warning": "bold yellow", "info": "bold green"}
_WIDTH = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """A stream, standard output unless one is given. Facts are cleaned, so they carry no escape sequences to it."""

    name: str
    json: bool = False
    stream: TextIO | None = field(default=None, metadata={"wired": True}, repr=False)

    def render(self, notice: Notice) -> Rendered:
        """Return the notice without colours: a head line and the text, or one line of JSON."""
        neat = cleaned(notice)
        letter = letters.write(neat, html=False, is_clean=True)
        headers = {"short-form": letter.flaw} if letter.flaw else {}
        if self.json:
            line = {
                "notice": neat.id,
                "at": moment(neat.created_at),
                "channel": neat.channel,
                "reader": neat.reader.value,
                "recipient": neat.recipient.email if neat.recipient else None,
                "dedup": neat.dedup,
                "subject": letter.subject,
                "summary": letter.summary,
                "text": letter.text,
                "outline": outline(neat),
            }
            body = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            return Rendered(body=body, content_type="application/json", subject=letter.subject, headers=headers)
        to = f" to {neat.recipient.email}" if neat.recipient else ""
        head = f"{neat.severity.value.upper()} {neat.kind.value} for {neat.reader.value.replace('_', '-')}{to}"
        rule = "=" * _WIDTH
        shown = f"{rule}\n{head}\n{letter.subject}\n{rule}\n\n{letter.text}\n"
        body = shown.encode("utf-8")
        content = "text/plain; charset=utf-8"
        return Rendered(body=body, content_type=content, subject=letter.subject, headers=headers)

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        """Write it out and flush. A stream that is gone can be retried; nothing else is known about it."""
        del now
        stream = self.stream or sys.stdout
        encoding = stream.encoding or "utf-8"
        text = rendered.body.decode("utf-8").encode(encoding, "backslashreplace").decode(encoding)
        try:
            if not self.json and stream.isatty() and "NO_COLOR" not in os.environ:
                _write_coloured(stream, text, _COLOURS[notice.severity.value])
            else:
                stream.write(text)
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            words = f"the stream cannot be written to ({type(error).__name__})"
            return Receipt(outcome=Outcome.RETRY, reason=Reason.CONNECTION, excerpt=words)
        return Receipt(outcome=Outcome.ACCEPTED, hint=letters.flaw_hint(rendered.headers))


def _write_coloured(stream: TextIO, text: str, colour: str) -> None:
    from rich.console import Console as Rich  # noqa: PLC0415 - only a terminal needs it, and it loads slowly
    from rich.text import Text  # noqa: PLC0415

    # Text, never markup: a name such as "[red]" stays what it is.
    rule, head, subject, *rest = text.split("\n")
    shown = Text("\n").join([Text(rule, style=colour), Text(head, style=colour), Text(subject, style="bold")])
    for line in rest:
        shown.append("\n")
        heading = line.isupper() and not line.startswith(" ")
        command = line.startswith("    ") and not line.startswith("     ")
        shown.append(line, style="bold" if heading else "bold cyan" if command else "")
    Rich(file=stream, force_terminal=True, soft_wrap=True, highlight=False, markup=False).print(shown, end="")
