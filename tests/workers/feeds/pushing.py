"""What the tests of push feeds need: an issuer of tokens, a certificate, a sender, and a consumer that runs."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
import msgspec
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm

from tests.workers.fakes import FaultyStore
from watchdog.cloud import Cloud
from watchdog.register import Document
from workers.consumer import Consumer
from workers.feeds.doors import Door
from workers.feeds.interface import Source
from workers.feeds.listening import Listening
from workers.intake import Intake
from workers.registry import Registry
from workers.store.interface import Carries
from workers.store.memory import MemoryStore

# -------------------------------------------------------------------------------------------------------- certificates


def certificate(
    folder: Path,
    name: str = "door",
    *,
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=1),
    passphrase: bytes | None = None,
) -> tuple[Path, Path]:
    """Make a certificate of this machine, signed by itself; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    hiding = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hiding))
    return files


def tls_door(folder: Path, path: str = "/in") -> Door:
    """A door on a free port of loopback, with a certificate in the folder."""
    made, key = certificate(folder)
    return Door(host="127.0.0.1", port=0, path=path, certificate=made, private_key=key)


# ------------------------------------------------------------------------------------------------------------- issuer


_KEYS: dict[str, rsa.RSAPrivateKey] = {}
_MAKING = threading.Lock()  # the issuer's thread and the test's must not make two of one name


def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """An RSA key; it takes a moment to make, so that each name has one for the whole run."""
    with _MAKING:
        if name not in _KEYS:
            _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return _KEYS[name]


class Issuer:
    """An issuer of tokens whose key set is served over plain HTTP on loopback."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {"key-1": "one"}  # id -> name of the RSA key
        self.away = False
        self.answer: bytes | None = None  # in place of the key set
        self.asked = 0
        issuer = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(500 if issuer.away else 200)
                self.end_headers()
                self.wfile.write(issuer.answer if issuer.answer is not None else issuer.key_set())

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name that it has
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/keys"

    def key_set(self) -> bytes:
        found = [
            {**RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True), "kid": kid, "use": "sig"}
            for kid, name in self.keys.items()
        ]
        return json.dumps({"keys": found}).encode()

    def token(self, *, kid: str | None = "key-1", key: str | None = None, age: float = 0, **claims: Any) -> str:
        """Sign a token; a claim that is None is left out. `age` shifts its times into the past (seconds)."""
        now = time.time() - age
        told = {"iat": int(now), "exp": int(now + 3600), **claims}
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.PyJWS().encode(
            json.dumps(told).encode(), rsa_key(key or self.keys.get(kid or "", "one")), algorithm="RS256",
            headers={"kid": kid} if kid else None,
        )  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# ------------------------------------------------------------------------------------------------------------- sender


@dataclass
class Sender:
    """Sends requests to a listener, as many at a time as it is told to."""

    source: Listening
    trust: Path | None = None
    path: str = "/in"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tls: dict[str, Any] = {"ca_certs": str(self.trust), "cert_reqs": "CERT_REQUIRED"} if self.trust else {}
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=256, retries=False, timeout=30, **tls)
        self._threads = ThreadPoolExecutor(max_workers=220)

    @property
    def url(self) -> str:
        assert self.source.address is not None
        host, port = self.source.address
        return f"{'https' if self.trust else 'http'}://{host}:{port}{self.path}"

    def send(
        self, body: bytes = b"", method: str = "POST", *, query: str = "", **headers: str
    ) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request(method, self.url + query, body=body, headers={**self.headers, **named})

    def later(self, body: bytes, **headers: str) -> "Future[urllib3.BaseHTTPResponse]":
        return self._threads.submit(self.send, body, **headers)

    def close(self) -> None:
        self._threads.shutdown()
        self._pool.clear()


# ----------------------------------------------------------------------------------------------------------- consumer


class House:
    """The real consumer and intake on a memory store, running in a thread."""

    def __init__(self, cloud: Cloud, register: Document) -> None:
        self.store = FaultyStore(MemoryStore())
        self.registry = Registry(self.store)
        self.intake = Intake(self.store, self.registry, lambda _: cloud)
        self.degraded: list[str | None] = []
        self.handed: list[int] = []
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(register), at=datetime.now(UTC), by="alice", source="test")
        self.registry.known()

    def inbox(self) -> list[str]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(datetime.now(UTC), 1000)]
        return [row.event_id for row in rows if row is not None]

    def quarantine(self) -> list[tuple[str, str]]:
        with self.store.read() as unit:
            return [(piece.place, piece.reason) for _, piece in unit.quarantined(100)]

    @contextmanager
    def consuming(self, source: Source) -> Iterator[threading.Event]:
        """Run a consumer of the source; setting the event stops it."""
        stop = threading.Event()
        consumer = Consumer(
            source, self.intake, self._hand_on, drain=lambda: None, tell_quarantined=lambda _name, _ids: None,
            on_degraded=self.degraded.append, beat=lambda: None, bare_alarm=lambda _text: None, wait=0.1,
        )  # fmt: skip
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        try:
            until(lambda: getattr(source, "address", None) is not None)
            yield stop
        finally:
            stop.set()
            thread.join(10)
            assert not thread.is_alive()

    def _hand_on(self, rows: Sequence[tuple[int, Carries]]) -> None:
        self.handed += [row for row, _ in rows]


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds. Raises AssertionError when it does not come to hold in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.005)
