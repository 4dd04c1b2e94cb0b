"""E-mail over SMTP: one recipient a mail, verified TLS, and the relay's own answer kept as proof."""

import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr

from alerts import envelope, letters
from alerts.interface import Outcome, Reason, Receipt, Rendered
from alerts.text import clean, cleaned, redacted
from alerts.wire import EXCERPT_LIMIT, Cut, Guard, Limits, Stop, cutoff, dial, is_loopback, trust
from watchdog.notices import Kind, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """A relay, and who writes through it. `reply_to` may hold {incident}; `domain` is that of our message ids."""

    name: str
    host: str
    sender: str
    port: int = 587
    tls: str = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    reply_to: str = ""
    envelope_from: str = ""
    domain: str = ""
    ca_file: str = ""
    allow_plain: bool = False
    limits: Limits = field(default=Limits(connect=5.0, read=20.0, total=45.0), metadata={"wired": True})

    def __post_init__(self) -> None:
        plain = self.tls == "none" and not self.allow_plain and not is_loopback(self.host)
        wanted = {"sender": parseaddr(self.sender)[1], "reply_to": self._reply_to, "envelope_from": self._envelope_from}
        faults = [
            f"{option} must be a plain address"
            for option, text in wanted.items()
            if not envelope.ADDRESS.fullmatch(text)
        ]
        if self.sender != clean(self.sender):
            faults.append("sender must be one visible line")
        if not envelope.ADDRESS.fullmatch(f"x@{self._domain}"):
            faults.append("domain must be a plain domain name")
        if not envelope.ADDRESS.fullmatch(f"x@{self.host}") and not is_loopback(self.host):
            faults.append("host must be a plain host name or address")
        if self.tls not in {"starttls", "implicit", "none"}:
            faults.append('tls must be "starttls", "implicit" or "none"')
        if plain:
            faults.append('tls = "none" is for loopback only (or with allow_plain = true)')
        if faults:
            raise ValueError("; ".join(faults))

    def render(self, notice: Notice) -> Rendered:
        """Return the whole message, headers included, as it goes on the wire and into the evidence."""
        neat = cleaned(notice)
        letter = letters.write(neat, is_clean=True)
        who = envelope.Sender(self.sender, self.reply_to or parseaddr(self.sender)[1], self._domain)
        headers = envelope.headers(neat, letter, who) | ({"short-form": letter.flaw} if letter.flaw else {})
        body = envelope.enveloped(neat, letter, who)
        return Rendered(body=body, content_type="message/rfc822", subject=letter.subject, headers=headers)

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        """Hand the message over. Accepted: the relay took it; `provider_id` is its answer, queue id included."""
        del now  # a mail carries the time of its notice, so that every attempt sends the same bytes
        if notice.kind is Kind.CLEAR:
            return Receipt(outcome=Outcome.SUPPRESSED, excerpt="closing a page is for paging channels; no mail is due")
        address = notice.recipient.email if notice.recipient else ""
        if not envelope.ADDRESS.fullmatch(address):
            hint = "give the contact a plain ASCII address in the register"
            return Receipt(
                outcome=Outcome.PERMANENT, reason=Reason.CLIENT_ERROR, excerpt="no usable address", hint=hint
            )
        smtp = smtplib.SMTP(local_hostname=self._domain)
        with cutoff(self.limits.total) as cut:
            try:
                self._connect(smtp, cut)
                return self._handed_over(smtp, address, rendered)
            except Stop as stop:
                return stop.answer.receipt("check host, port and tls of the relay")
            except (smtplib.SMTPException, OSError) as error:
                # smtplib wraps a time-out while it waits for an answer.
                late = cut.made or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
                return self._broken(error, late=late)
            finally:
                smtp.close()

    def _connect(self, smtp: smtplib.SMTP, cut: Cut) -> None:
        guard = Guard(allow_plain=self.allow_plain)
        sock = dial(self.host, self.port, guard, plain=self.tls == "none", seconds=self.limits.connect)
        cut.watch(sock)
        sock.settimeout(self.limits.read)
        secure = self.tls == "implicit"
        smtp.sock = trust(self.ca_file).wrap_socket(sock, server_hostname=self.host) if secure else sock
        code, answer = smtp.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)
        smtp.ehlo_or_helo_if_needed()
        if self.tls == "starttls":
            self._start_tls(smtp, sock)
        if self.username:
            smtp.login(self.username, self.password)

    def _start_tls(self, smtp: smtplib.SMTP, sock: socket.socket) -> None:
        if not smtp.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("no STARTTLS")
        code, answer = smtp.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, answer)
        smtp.sock = trust(self.ca_file).wrap_socket(sock, server_hostname=self.host)
        smtp.file = None  # whatever was sent ahead in the clear is thrown away with the old reader
        smtp.ehlo()

    def _handed_over(self, smtp: smtplib.SMTP, address: str, rendered: Rendered) -> Receipt:
        size = [f"size={len(rendered.body)}"] if smtp.has_extn("size") else []
        code, answer = smtp.mail(self._envelope_from, size)
        if code != 250:
            return self._refused(code, answer, Reason.CLIENT_ERROR, "the relay does not take mail from envelope_from")
        code, answer = smtp.rcpt(address)
        if code not in {250, 251}:
            hint = "the relay refuses this contact's address: check it in the register"
            return self._refused(code, answer, Reason.REFUSED, hint)
        code, answer = smtp.data(rendered.body)
        if code != 250:
            return self._refused(code, answer, Reason.CLIENT_ERROR, "the relay refuses the content of the mail")
        with suppress(smtplib.SMTPException, OSError):  # the mail is taken; how the relay hangs up changes nothing
            smtp.quit()
        words = self._words(answer)
        hint = letters.flaw_hint(rendered.headers)
        return Receipt(outcome=Outcome.ACCEPTED, provider_id=words, http_status=None, excerpt=words, hint=hint)

    def _broken(self, error: Exception, *, late: bool) -> Receipt:
        if isinstance(error, smtplib.SMTPResponseException):
            login = isinstance(error, smtplib.SMTPAuthenticationError)
            reason, hint = (Reason.AUTH_ERROR, "check username and password") if login else (Reason.SERVER_ERROR, "")
            return self._refused(error.smtp_code, error.smtp_error, reason, hint)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            hint = "the relay offers no STARTTLS, or no login that we know: check tls, port and username"
            return Receipt(outcome=Outcome.PERMANENT, reason=Reason.CLIENT_ERROR, hint=hint)
        if isinstance(error, ssl.SSLError):
            hint = "the relay's certificate is not trusted: check host and ca_file"
            return Receipt(outcome=Outcome.RETRY, reason=Reason.CONNECTION, excerpt="TLS failed", hint=hint)
        reason = Reason.TIMEOUT if late else Reason.CONNECTION
        return Receipt(outcome=Outcome.RETRY, reason=reason, excerpt="the conversation with the relay broke off")

    def _refused(self, code: int, answer: bytes | str, reason: Reason, hint: str) -> Receipt:
        again = 400 <= code < 500 or code < 0
        return Receipt(
            outcome=Outcome.RETRY if again else Outcome.PERMANENT,
            reason=Reason.SERVER_ERROR if again and reason is not Reason.AUTH_ERROR else reason,
            excerpt=f"{code} {self._words(answer)}",
            hint=hint,
        )

    def _words(self, answer: bytes | str) -> str:
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        return clean(redacted(text, (self.password,)), EXCERPT_LIMIT)

    @property
    def _domain(self) -> str:
        return self.domain or parseaddr(self.sender)[1].rpartition("@")[2]

    @property
    def _reply_to(self) -> str:
        return self.reply_to.replace("{incident}", "KW-1") or parseaddr(self.sender)[1]

    @property
    def _envelope_from(self) -> str:
        return self.envelope_from or parseaddr(self.sender)[1]
