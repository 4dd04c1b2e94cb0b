"""Ids: resource ids compare by whole segments without case, key ids by host, name and version (azure.md 3.7, 6.1)."""

import re
from collections.abc import Iterator

from msgspec import Struct

URL = re.compile(r"https?://(?:[^/@?#]*@)?([^/:?#]+)(?::\d+)?([^?#]*)", re.IGNORECASE)
VERSION = re.compile(r"[0-9a-f]{32}")
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AUTHORIZATION = ("providers", "microsoft.authorization")
MANAGEMENT_GROUPS = "/providers/microsoft.management/managementgroups/"


def canonical(resource: object) -> str | None:
    """Return a resource id in lower case without query and trailing slash; "" is the root; None when it is no id."""
    if not isinstance(resource, str) or not resource.strip().startswith("/"):
        return None
    parts = resource.strip().lower().partition("?")[0].split("/")
    return "".join(f"/{part}" for part in parts if part)


def prefixes(resource: str) -> Iterator[str]:
    """Yield a canonical id and everything above it, longest first, the root not included."""
    while resource:
        yield resource
        resource = resource.rpartition("/")[0]


def holds(scope: str, resource: str) -> bool:
    """Whether a canonical scope is a resource or stands above it, on whole segments."""
    return resource == scope or resource.startswith(f"{scope}/")


def subscription_of(resource: str | None) -> str | None:
    """Return the subscription in a canonical id."""
    parts = (resource or "").split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] == "subscriptions" else None


def name_of(resource: str) -> str:
    """Return the last segment of a canonical id."""
    return resource.rpartition("/")[2]


class Place(Struct, frozen=True):
    """What the URL of a vault or managed HSM names, all in lower case; `parts` is the path."""

    host: str
    parts: tuple[str, ...]

    @property
    def collection(self) -> str:
        """What kind of thing is named: keys, deletedkeys, secrets, certificates, ...; "" for the vault itself."""
        return self.parts[0] if self.parts else ""

    @property
    def key(self) -> str | None:
        """Name of the key, if it is a key."""
        return self.parts[1] if self.collection in ("keys", "deletedkeys") and len(self.parts) > 1 else None

    @property
    def version(self) -> str | None:
        """Version of the key, if one is named."""
        found = self.parts[2] if self.collection == "keys" and len(self.parts) > 2 else ""
        return found if VERSION.fullmatch(found) else None


def place(url: object) -> Place | None:
    """Read the URL of a vault, key, secret, or call; None when it is none."""
    found = URL.match(url.strip()) if isinstance(url, str) else None
    if found is None:
        return None
    parts = (part for part in found[2].lower().split("/") if part)
    return Place(found[1].lower().rstrip("."), tuple(parts))
