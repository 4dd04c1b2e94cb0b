"""Names of resources, logs and principals: taken apart and put into one spelling (gcp.md 1 and 6.1)."""

import re

from msgspec import Struct

KMS_SERVICE = "cloudkms.googleapis.com"
KEY_NAME = re.compile(
    r"(projects/([^/]+)/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)(?:/cryptoKeyVersions/([^/]+))?", re.ASCII
)
RING_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+")
VERSION_IN_TEXT = re.compile(
    r"(projects/[^/\s'\"]+/locations/[^/\s'\"]+/keyRings/[^/\s'\"]+/cryptoKeys/[^/\s'\"]+)/cryptoKeyVersions/(\d+)"
)
HOST = re.compile(r"//[a-z0-9-]+\.googleapis\.com/")  # whole: `cloudkms.googleapis.com.example` is nobody (8, 10)
AUDIT_LOG = re.compile(
    r"((?:projects|folders|organizations|billingAccounts)/[^/]+)/logs/"
    r"cloudaudit\.googleapis\.com%2F(activity|data_access|system_event|policy)"
)
# The log id is not published; only Google's services write to logs of this prefix, as far as is known (gcp.md 3.6).
PLATFORM_LOG = re.compile(r"(projects/[^/]+)/logs/cloudkms\.googleapis\.com%2F[A-Za-z0-9_.-]+")
HEARTBEAT = "byok-watchdog-heartbeat"
"""The id of the log that a project's heartbeat is written to, and the name of the job that writes it."""
HEARTBEAT_LOG = re.compile(rf"(projects/[^/]+)/logs/{HEARTBEAT}")
FEED_IN_TEXT = re.compile(
    r"(?:projects|folders|organizations)/[A-Za-z0-9._:-]+/feeds/[A-Za-z0-9._~%+-]*[A-Za-z0-9_~%+-]"
)
CONTAINER = re.compile(r"(?:projects|folders|organizations|billingAccounts)/[^/]+")
DEAD = "deleted:"


class KeyName(Struct, frozen=True):
    """The name of a key, or of one of its versions."""

    key: str
    project: str
    version: str | None = None


def plain(name: str) -> str:
    """Take the host off a name that has one, as those of assets do."""
    found = HOST.match(name)
    return name[found.end() :] if found else name


def key_name(name: str | None) -> KeyName | None:
    """Take the name of a key or version apart; None for any other name. `new` in place of a version says nothing."""
    found = KEY_NAME.fullmatch(plain(name)) if name else None
    if found is None:
        return None
    version = found[3]
    return KeyName(found[1], found[2], version if version and version.isascii() and version.isdigit() else None)


def version_name(key: str, version: str | None) -> str | None:
    """Return the full name of a version of a key; None for no version."""
    return f"{key}/cryptoKeyVersions/{version}" if version else None


def project_of(key: str) -> str:
    """Return the project in the name of a key or of anything else in a project."""
    return key.split("/", 2)[1]


def ring_of(key: str) -> str:
    """Return the key ring of a key."""
    return key.rpartition("/cryptoKeys/")[0]


def container_of(name: str | None) -> str | None:
    """Return the project, folder, organisation or billing account in which a named resource lies."""
    found = CONTAINER.match(plain(name)) if name else None
    return found[0] if found else None


def attachment(name: str | None) -> str | None:
    """Return the container that a deny policy is attached to (gcp.md 3.2, B8); its name holds it URL-encoded."""
    decoded = (name or "").replace("%2F", "/").replace("%2f", "/")
    head, slash, rest = decoded.partition("cloudresourcemanager.googleapis.com/")
    return container_of(rest) if slash and head in ("policies/", "") else None


def member_email(member: str) -> str | None:
    """Return the e-mail of a live service account in a policy's member, else None."""
    kind, _, email = member.partition(":")
    return email if kind == "serviceAccount" else None


def dead_email(member: str) -> str | None:
    """Return the e-mail of a deleted service account: `deleted:serviceAccount:MAIL?uid=N` grants nothing."""
    if not member.startswith(DEAD):
        return None
    return member_email(member.removeprefix(DEAD).partition("?")[0])
