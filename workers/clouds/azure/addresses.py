"""Addresses of Azure services in the settings: TLS, or this machine itself."""

from urllib.parse import SplitResult, urlsplit

from alerts.wire import is_loopback


def secure(address: str) -> SplitResult:
    """Return an address in its parts; https is meant where it names no scheme. Raises ValueError, without the address.

    azure-eventgrid's own documents write endpoints without a scheme, and its client fails on them (azure.md 6.4).
    """
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # no number for a port, or a bracket that is never closed
        raise ValueError("must be an https:// address") from None
    if parts.scheme not in {"https", "http"} or not host or port == 0:
        raise ValueError("must be an https:// address")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not carry anything after a ? or #; a secret belongs into `key`")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https:// (plain http only to loopback)")
    return parts
