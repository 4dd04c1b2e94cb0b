"""The reader of Google Cloud: asks by REST what the pre-flight checks of a key need, and changes nothing."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from watchdog.clouds.gcp import preflight
from watchdog.clouds.gcp.index import index_of
from watchdog.clouds.gcp.names import project_of, ring_of
from watchdog.clouds.gcp.preflight import Answer, Missing, Reading
from watchdog.preflight import Checked, Unread
from watchdog.probing import Answer as Told
from watchdog.register import Register, RegisteredKey
from workers.clouds.gcp.calls import Desk, Endpoints, Limits, Said
from workers.clouds.gcp.identities import Callers

T = TypeVar("T")

LIMITS = Limits(deadline=30.0)
SCOPES = (
    "https://www.googleapis.com/auth/cloudkms",
    "https://www.googleapis.com/auth/cloudplatformprojects.readonly",
    "https://www.googleapis.com/auth/logging.read",
    "https://www.googleapis.com/auth/pubsub",  # Pub/Sub has none that only reads
)


def reader() -> "GcpReader":
    """Return the reader of Google Cloud keys, with the application default credentials of the process."""
    return GcpReader()


class GcpReader:
    """Checks keys of Google Cloud. Safe between threads; what is not answered stands in the reading as unread.

    The customer's side is asked as the account that the key is probed as, the vendor's own topics and subscriptions as
    the process itself.
    """

    cloud = "gcp"

    def __init__(
        self,
        limits: Limits | None = None,
        endpoints: Endpoints | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or LIMITS
        self._endpoints = endpoints or Endpoints()
        self._now = now
        self._monotonic = monotonic
        times = (self._limits.connect, self._limits.read)
        self._callers = Callers(times, self._endpoints.iam, self._limits.sessions, scopes=SCOPES)

    def check(self, key: RegisteredKey, register: Register) -> Sequence[Checked]:
        """Ask and judge, about 30 seconds at most in whole."""
        return preflight.checks(self.read(key, register), key, register, at=self._now())

    def read(self, key: RegisteredKey, register: Register) -> Reading:
        """Ask all that the checks of a key need, once."""
        until = self._monotonic() + self._limits.deadline - self._limits.connect - self._limits.read
        asked_as = key.entry.probe.principal if key.entry.probe else None
        theirs, ours = (
            Desk(
                self._callers, self._endpoints, self._limits, lambda: self._monotonic() < until, index_of(register),
                principal,
            )
            for principal in (asked_as, None)
        )  # fmt: skip
        vendor = register.vendor.gcp
        own = (vendor.watchdog_principal if vendor else None) or "the watchdog's account"
        return _read(key, register, (theirs, asked_as or own), (ours, own))

    def close(self) -> None:
        """Let go of connections."""
        self._callers.close()


def _read(key: RegisteredKey, register: Register, theirs: tuple[Desk, str], ours: tuple[Desk, str]) -> Reading:
    (desk, who), (own_desk, own) = theirs, ours
    project, ring = project_of(key.id), ring_of(key.id)

    def viewed(permission: str, place: str) -> str:
        return f"{permission} on {place}, as by roles/cloudkms.viewer to {who}"

    def reviewed(permission: str, place: str, account: str) -> str:
        return f"{permission} on {place}, as by roles/iam.securityReviewer to {account}"

    described = _answer(desk.kms(key.id, "GetCryptoKey"), viewed("cloudkms.cryptoKeys.get", "the key"))
    versions, listed = desk.versions(key.id)
    liens, liened = desk.liens(project)
    backend = key.entry.gcp.backend if key.entry.gcp else None
    sinks, feeds = preflight.wanted(key, register)
    topics = dict.fromkeys(preflight.topic_of(sink) for sink in sinks)
    return Reading(
        key=described,
        versions=_whole(versions, listed, viewed("cloudkms.cryptoKeyVersions.list", "the key")),
        key_policy=_answer(desk.policy(key.id), reviewed("cloudkms.cryptoKeys.getIamPolicy", "the key", who)),
        ring_policy=_answer(desk.policy(ring), reviewed("cloudkms.keyRings.getIamPolicy", ring, who)),
        liens=_whole(
            liens, liened, f"resourcemanager.projects.get on projects/{project}, as by roles/browser to {who}"
        ),
        backend=_answer(desk.kms(backend, "Get"), viewed("the right to get it", backend)) if backend else None,
        sinks={
            one.name: _found(
                desk.sink(one.name), f"logging.sinks.get on {one.scope}, as by roles/logging.viewer to {who}"
            )
            for one in sinks
        },
        topics={
            name: _found(own_desk.topic_policy(name), reviewed("pubsub.topics.getIamPolicy", name, own))
            for name in topics
        },
        subscriptions={
            one.subscription: _found(
                own_desk.subscription(one.subscription),
                f"pubsub.subscriptions.get on {one.subscription}, as by roles/pubsub.viewer to {own}",
            )
            for one in feeds
        },
    )


def _found(said: Said, right: str) -> Answer | Missing:
    return Missing() if said.answer is Told.NOT_FOUND else _answer(said, right)


def _answer(said: Said, right: str) -> Answer:
    return said.result if said.result is not None else _unread(said, right)


def _whole(read: T, said: Said, right: str) -> T | Unread:
    """Return a list only when it was read to its end: what is missing in it is not there."""
    return read if said.result is not None else _unread(said, right)


def _unread(said: Said, right: str) -> Unread:
    return Unread(why=said.words, right=right if said.answer is Told.DENIED else "")
