"""Fakes that play the far end: an HTTP server with a script of good and bad answers, and a real SMTP server."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

# --------------------------------------------------------------------------------------------------------------- HTTP


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer. `drip` seconds pass between single bytes of the body; `hang` and `reset` answer nothing."""

    status: int = 202
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False
    drip: float = 0.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class HttpFake:
    """A server on loopback that gives its scripted answers in turn, and the last one ever after.

    Use as a context manager; `url` is its address, `received` everything that was asked of it.
    """

    def __init__(self, *script: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._script = script or (Answer(),)
        self._tls = tls
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.received: list[Received] = []

    def __enter__(self) -> Self:
        self._server = _server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Address of the server, without a path."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: Received) -> Answer:
        """Note a request and return the answer that is due."""
        with self._lock:
            self.received.append(request)
            return self._script[min(len(self.received), len(self._script)) - 1]

    def waited(self, seconds: float) -> bool:
        """Wait, but no longer than the fake lives; return whether it is over."""
        return self._over.wait(seconds)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How the server proves who it is; None for plain HTTP."""
        return self._tls


def _server(fake: HttpFake) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.take(Received(self.command, self.path, headers, body))
            with contextlib.suppress(OSError):  # the client may have hung up, which is what some tests are about
                self._give(answer)
            self.close_connection = True

        def _give(self, answer: Answer) -> None:
            if answer.reset:
                # Closing with a zero linger sends a reset instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if answer.hang:
                fake.waited(30)
                return
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if not answer.drip:
                self.wfile.write(answer.body)
                return
            for number in range(len(answer.body)):
                self.wfile.write(answer.body[number : number + 1])
                self.wfile.flush()
                if fake.waited(answer.drip):
                    return

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *_args: Any) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing: a test's output is for its own words."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            sock, address = super().get_request()
            if fake.tls is None:
                return sock, address
            # In the accepting thread: the tests make one request at a time.
            sock.settimeout(5)
            return fake.tls.wrap_socket(sock, server_side=True), address

        def handle_error(self, _request: Any, _client_address: Any) -> None:
            """Say nothing: clients that break off are part of the tests."""

    return Server(("127.0.0.1", 0), Handler)


# --------------------------------------------------------------------------------------------------------------- SMTP


@dataclass(slots=True)
class MailFake:
    """What a relay answers, and what it took. Answers that are None mean yes."""

    on_mail: str | None = None
    on_rcpt: str | None = None
    on_data: str | None = None
    sender: str = ""
    recipients: Sequence[str] = ()
    mails: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle_MAIL(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, mail_options: list[str]
    ) -> str:
        if self.on_mail:
            return self.on_mail
        envelope.mail_from = self.sender = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _rcpt_options: list[str]
    ) -> str:
        if self.on_rcpt:
            return self.on_rcpt
        envelope.rcpt_tos.append(address)
        self.recipients = (*self.recipients, address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.on_data:
            return self.on_data
        content = envelope.content
        self.mails.append(content if isinstance(content, bytes) else str(content).encode())
        return f"250 2.0.0 Ok: queued as {len(self.mails):04X}"


class _Controller(Controller):
    """Takes the port that the system gives, and says which one that was."""

    def factory(self) -> SMTP:
        return SMTP(self.handler, **self.SMTP_kwargs)


@contextlib.contextmanager
def mail_server(
    fake: MailFake,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    login: tuple[str, str] | None = None,
) -> Iterator[MailFake]:
    """Run a real SMTP server on loopback around `fake`; `tls` offers STARTTLS, or is spoken at once (`implicit`)."""

    def check(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any) -> AuthResult:
        good = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == login
        return AuthResult(success=good, handled=False)

    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": _free_port(), "data_size_limit": 1_000_000}
    if login:
        options |= {"authenticator": check, "auth_required": True}
    if tls and implicit:
        options["ssl_context"] = tls
    elif tls:
        options |= {"tls_context": tls, "require_starttls": True}
    controller = _Controller(fake, **options)
    controller.start()
    fake.port = controller.port
    try:
        yield fake
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what a server proves itself with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
