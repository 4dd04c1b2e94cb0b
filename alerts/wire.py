"""One HTTP request: no retries, no redirects, TLS verified, bounded in time and size, only to permitted addresses."""

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import cast
from urllib.parse import SplitResult, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as faults
from urllib3.connection import HTTPConnection, HTTPSConnection

from alerts.interface import Outcome, Reason, Receipt
from alerts.text import clean, redacted

ANSWER_LIMIT = 16 * 1024
EXCERPT_LIMIT = 200
LONGEST_WAIT = timedelta(days=1)

# Where clouds answer questions about the machine itself: whoever can make us talk to these owns our identity.
_METADATA = tuple(ipaddress.ip_network(net) for net in ("fd00:ec2::/32", "fd20:ce::254/128", "168.63.129.16/32"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Limits:
    """Time-outs in seconds: to connect, between two pieces of the answer, and for the whole attempt."""

    connect: float = 3.0
    read: float = 10.0
    total: float = 20.0


@dataclass(frozen=True, slots=True)
class Guard:
    """Which addresses may be talked to. Loopback counts as private; link-local and metadata addresses never pass."""

    allow_private: bool = True
    allow_plain: bool = False

    def objection(self, address: str, *, plain: bool) -> str:
        """Say why this address may not be used (`plain`: without TLS); empty when it may."""
        found = _real(ipaddress.ip_address(address.partition("%")[0]))
        if found.is_link_local or any(found in net for net in _METADATA if net.version == found.version):
            return "the name leads to a link-local or metadata address"
        if found.is_unspecified or found.is_multicast:
            return "the name leads to an address that is no single machine"
        if not found.is_global and not self.allow_private:
            return "the name leads to a private address"
        if plain and not found.is_loopback and not self.allow_plain:
            return "speaking without TLS is for loopback only"
        return ""


def _real(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv6 one that only wraps it, so that no wrapping slips past the guard."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


@dataclass(frozen=True, slots=True)
class Answer:
    """What the far end said: its status, headers in lower case, and the first bytes of its body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def excerpt(self, secrets: tuple[str, ...] = ()) -> str:
        """Return the beginning of the body, clean, and without any of our secrets in it."""
        return clean(redacted(self.body.decode("utf-8", "replace"), secrets), EXCERPT_LIMIT)

    def failure(self, now: datetime, hints: Mapping[int, str], secrets: tuple[str, ...] = ()) -> Receipt:
        """Return the receipt for an answer that is no success: whether to try again, when, and what a person can do."""
        status = self.status
        again = status in {408, 425, 429} or status >= 500
        if again:
            reason = Reason.RATE_LIMITED if status == 429 else Reason.SERVER_ERROR
        elif status in {401, 403}:
            reason = Reason.AUTH_ERROR
        else:
            reason = Reason.GONE if status == 410 else Reason.CLIENT_ERROR
        return Receipt(
            outcome=Outcome.RETRY if again else Outcome.PERMANENT,
            reason=reason,
            http_status=status,
            retry_after=retry_after(self.headers, now) if again else None,
            excerpt=self.excerpt(secrets),
            hint=hints.get(status, "" if again else hints.get(0, "")),
        )


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why nothing was heard, in our own words: the library's may carry the address with a secret in it."""

    reason: Reason
    words: str
    permanent: bool = False

    def receipt(self, hint: str) -> Receipt:
        """Return the receipt for it: try again, unless a person has to change something first."""
        outcome = Outcome.PERMANENT if self.permanent else Outcome.RETRY
        return Receipt(outcome=outcome, reason=self.reason, excerpt=self.words, hint=hint)


class Stop(Exception):  # noqa: N818 - no error: it carries the answer out of the libraries that call `dial`
    """Ends an attempt before anything was sent; `answer` says why."""

    def __init__(self, answer: NoAnswer) -> None:
        super().__init__(answer.words)
        self.answer = answer


def url_fault(url: str, *, allow_plain: bool) -> str:
    """Say what is wrong with a URL of the settings; empty when nothing is. The URL itself is not repeated."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port is None or parts.port > 0 else None
    except ValueError:  # no number for a port, or a bracket that is never closed
        return "must be an https:// address"
    if parts.scheme not in {"https", "http"} or not host:
        return "must be an https:// address"
    if parts.username or parts.password:
        return "must not carry a user name or password"
    if parts.scheme == "http" and not allow_plain and not is_loopback(host):
        return "must be https:// (plain http only to loopback, or with allow_plain_http = true)"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host of the settings is this machine itself, as far as its name tells."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trust(ca_file: str = "") -> ssl.SSLContext:
    """Return a context that verifies names and certificates, with the system's roots or with those of `ca_file`."""
    return ssl.create_default_context(cafile=ca_file or None)


@dataclass(frozen=True, slots=True)
class Wire:
    """How to post: to which addresses, for how long at most, and whom to trust (None: the system's roots)."""

    guard: Guard = Guard()
    limits: Limits = Limits()
    context: ssl.SSLContext | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | NoAnswer:
        """Send `body` once and return what came of it. Raises ValueError for a URL that `url_fault` objects to."""
        return self.ask("POST", url, body, headers)

    def ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | NoAnswer:
        """Ask once by any method (an empty `body`: none is sent). Raises as `post`."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": "byok-watchdog", "Accept": "application/json", "Connection": "close", **headers}
        with cutoff(self.limits.total) as cut:
            connection = self._connection(parts, cut)
            try:
                connection.connect()
                connection.timeout = self.limits.read
                connection.request(method, target, body or None, sent, preload_content=False, decode_content=False)
                response = connection.getresponse()
                answer_headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status, headers=answer_headers, body=_first_bytes(response))
            except Stop as stop:
                return stop.answer
            except (OSError, HTTPException, faults.HTTPError) as error:
                return _no_answer(error, cut)
            finally:
                connection.close()

    def _connection(self, parts: SplitResult, cut: "Cut") -> HTTPConnection:
        # A bare connection, not a pool: the pool logs the path, and the path of a webhook may be a secret.
        def connect(connection: HTTPConnection) -> socket.socket:
            plain = parts.scheme == "http"
            sock = dial(connection.host, connection.port, self.guard, plain=plain, seconds=self.limits.connect)
            cut.watch(sock)
            return sock

        if parts.hostname is None:
            raise ValueError("no host in the URL")
        # `_new_conn` is the seam that urllib3's own SOCKS support uses; there is no public one.
        if parts.scheme == "https":
            secure = cast("type[HTTPSConnection]", type("GuardedHTTPS", (HTTPSConnection,), {"_new_conn": connect}))
            context = self.context or trust()
            return secure(parts.hostname, parts.port, timeout=self.limits.connect, ssl_context=context)
        plain = cast("type[HTTPConnection]", type("GuardedHTTP", (HTTPConnection,), {"_new_conn": connect}))
        return plain(parts.hostname, parts.port, timeout=self.limits.connect)


def _first_bytes(response: BaseHTTPResponse) -> bytes:
    got = bytearray()
    try:
        while len(got) < ANSWER_LIMIT:
            piece = response.read1(ANSWER_LIMIT - len(got))
            if not piece:
                break
            got += piece
    except (faults.HTTPError, OSError, ValueError):
        # The status decides, and it has been read: a body that never ends must not turn an accepted page into a second
        # page. What was heard of it so far is returned.
        return bytes(got)
    return bytes(got)


def _no_answer(error: Exception, cut: "Cut") -> NoAnswer:
    if cut.made or isinstance(error, TimeoutError | faults.TimeoutError):
        return NoAnswer(Reason.TIMEOUT, "no answer in time")
    if isinstance(error, ssl.SSLError):
        return NoAnswer(Reason.CONNECTION, "TLS failed: the certificate is not trusted, or the far end speaks no TLS")
    return NoAnswer(Reason.CONNECTION, "the connection broke before an answer came")


def dial(host: str, port: int, guard: Guard, *, plain: bool, seconds: float) -> socket.socket:
    """Look the name up once, judge every address, and connect to one of exactly these: no second look-up to cheat.

    `plain` says that no TLS will follow. Raises Stop.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Stop(NoAnswer(Reason.CONNECTION, "the name of the host is not known")) from error
    for *_, address in found:
        objection = guard.objection(str(address[0]), plain=plain)
        if objection:
            raise Stop(NoAnswer(Reason.REFUSED, objection, permanent=True))
    failed = NoAnswer(Reason.CONNECTION, "the name of the host leads nowhere")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(seconds)
        try:
            sock.connect(address)
        except TimeoutError:
            failed = NoAnswer(Reason.TIMEOUT, "no connection in time")
        except OSError as error:
            failed = NoAnswer(Reason.CONNECTION, f"no connection: {error.strerror or type(error).__name__}")
        else:
            return sock
        sock.close()
    raise Stop(failed)


class Cut:
    """Ends a conversation from outside when its time is up. `made` tells whether that happened."""

    def __init__(self) -> None:
        self.made = False
        self._line: list[socket.socket] = []

    def watch(self, sock: socket.socket) -> None:
        """Hold on to the line under a socket; TLS takes the socket itself over, but not this second hold on it."""
        self._line.append(sock.dup())

    def shut(self) -> None:
        """End the conversation: whoever waits for a byte on it is woken."""
        self.made = True
        for sock in self._line:
            with contextlib.suppress(OSError):  # the far end has hung up already, which is all that is wanted
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the line."""
        for sock in self._line:
            sock.close()


@contextlib.contextmanager
def cutoff(seconds: float) -> Iterator[Cut]:
    """Shut what is watched after `seconds`: a far end that drips one byte at a time must not hold a worker."""
    cut = Cut()
    timer = threading.Timer(seconds, cut.shut)
    timer.daemon = True
    timer.start()
    try:
        yield cut
    finally:
        timer.cancel()
        timer.join()
        cut.close()


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long the far end asks us to wait, from seconds or an HTTP date; None when it does not say so."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), LONGEST_WAIT)
