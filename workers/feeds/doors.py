"""The door of a feed that is pushed to: where it listens, and the TLS certificate that it shows."""

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to listen. Without a certificate only on a loopback address, behind a proxy that speaks TLS."""

    host: str
    port: int
    path: str
    certificate: Path | None = None
    private_key: Path | None = None


def door(options: Mapping[str, Any], *, path: str, now: datetime, faults: list[str]) -> Door:
    """Read `listen`, `path`, `certificate` and `private_key`; what is wrong with them is added to `faults`."""
    host, port = _address(options["listen"], faults)
    asked = options.get("path", path)
    if not asked.startswith("/") or any(character in asked for character in "?#% \t\r\n") or not asked.isascii():
        faults.append(f"path: must begin with / and be plain, without query, is {asked!r}")
    files = [options.get("certificate"), options.get("private_key")]
    if not all(files) and any(files):
        faults.append("certificate, private_key: one of the two is missing; name both, or none behind a TLS proxy")
    if not any(files) and not is_loopback(host):
        faults.append(
            f"certificate, private_key: needed to listen on {host}; only behind a TLS proxy on this machine (listen on "
            "127.0.0.1) can they be left out"
        )
    found = Door(host=host, port=port, path=asked)
    if not all(files):
        return found
    found = replace(found, certificate=Path(str(files[0])), private_key=Path(str(files[1])))
    try:
        Certificate(found).load(now)
    except ValueError as fault:
        faults.append(str(fault))
    return found


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nobody else can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(listen: str, faults: list[str]) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        faults.append(f"listen: must be HOST:PORT such as 0.0.0.0:8443 or [::]:8443, is {listen!r}")
        return "127.0.0.1", 0
    return host, int(port)


class Certificate:
    """The files of a TLS certificate, read anew when they change on disk: they are renewed every few weeks."""

    def __init__(self, where: Door) -> None:
        if where.certificate is None or where.private_key is None:
            raise ValueError("certificate, private_key: both are needed")
        self._files = (where.certificate, where.private_key)
        self._stamp: object = None
        self._ends_at: datetime | None = None
        self.context: ssl.SSLContext | None = None

    def load(self, now: datetime) -> None:
        """Read the files. Raises ValueError saying what is wrong with which, and keeps what was read before."""
        stamp = self._stamp_now()
        certificate, key = self._files
        ends_at = _ends_at(certificate, now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if b"ENCRYPTED" in _content("private_key", key):
            raise ValueError(f"private_key: {key} is encrypted; store it without a passphrase, readable by us alone")
        try:
            context.load_cert_chain(certificate, key, password="")  # a passphrase is never asked for on a terminal
        except ssl.SSLError as error:
            reason = "the key does not belong to the certificate" if error.reason == "KEY_VALUES_MISMATCH" else error
            raise ValueError(
                f"certificate, private_key: {certificate} and {key} cannot be used together ({reason}); name the PEM "
                "files of one certificate, its chain included"
            ) from None
        self.context, self._stamp, self._ends_at = context, stamp, ends_at

    def renew(self, now: datetime) -> bool:
        """Read the files anew if they have changed; True if so. Raises ValueError; the old one stays in use then."""
        try:
            changed = self._stamp_now() != self._stamp
        except ValueError:
            changed = True
        if changed:
            self.load(now)
        elif self._ends_at is not None and self._ends_at <= now:
            raise ValueError(f"certificate: {self._files[0]} has expired at {self._ends_at}: renew it")
        return changed

    def _stamp_now(self) -> object:
        found = []
        for option, path in zip(("certificate", "private_key"), self._files, strict=True):
            try:
                seen = path.stat()
            except OSError as error:
                raise ValueError(f"{option}: cannot read {path} ({error.strerror})") from None
            found.append((seen.st_mtime_ns, seen.st_size, seen.st_ino))
        return found


def _content(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{option}: cannot read {path} ({error.strerror})") from None


def _ends_at(path: Path, now: datetime) -> datetime:
    try:
        first = x509.load_pem_x509_certificates(_content("certificate", path))[0]
    except ValueError as error:
        if str(error).startswith("certificate:"):
            raise
        raise ValueError(f"certificate: {path} holds no certificate in PEM form") from None
    if first.not_valid_after_utc <= now:
        raise ValueError(f"certificate: {path} has expired at {first.not_valid_after_utc}: renew it")
    if first.not_valid_before_utc > now:
        raise ValueError(f"certificate: {path} is not valid before {first.not_valid_before_utc}: check the clock")
    return first.not_valid_after_utc
