"""The ways in of the system tests on Azure and Google Cloud: one feed each, and the far end that plays its provider."""

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from azure.storage.queue import QueueClient
from google.pubsub_v1 import types

from tests.azurite import KEY as QUEUE_KEY
from tests.azurite import Azurite, NoAzuriteError, azurite
from tests.event_grid_server import KEY as NAMESPACE_KEY
from tests.event_grid_server import SUBSCRIPTION, TOPIC, EventGrid, event_grid
from tests.pubsub_server import PubSub, PubSubServer, served
from tests.servers import free_port
from tests.system import local_issuer
from tests.system.parties import Party
from tests.system.stage import ENTRY, Stage, Way
from tests.workers.feeds.pushing import Issuer, certificate
from workers.feeds.event_grid_push import SECRET_HEADER
from workers.samples.azure import event_batch, forwarded, queue_text
from workers.samples.gcp import message

SECRETS = {
    "ACME_NAMESPACE_KEY": NAMESPACE_KEY,
    "ACME_QUEUE_KEY": QUEUE_KEY,
    "ACME_PUSH_SECRET": "example-secret-of-a-delivery-header",
}
"""What the settings of the feeds refer to by `env:NAME`."""

NAMESPACE, WEBHOOK, QUEUE, SUBSCRIPTIONS, PUSH = "namespace", "webhook", "queue", "subscriptions", "push"
CLOUDS = {NAMESPACE: "azure", WEBHOOK: "azure", QUEUE: "azure", SUBSCRIPTIONS: "gcp", PUSH: "gcp"}
"""Every way in, by its name, and whose records come by it."""

AUDIENCE = "https://watchdog.vendor.example/pubsub"
ACCOUNT = "push@vendor-watch.iam.gserviceaccount.com"


def _table(feed: str, kind: str, parties: Iterable[Party], **options: object) -> str:
    """Write the table of a feed in the settings; its records are believed of these parties only."""
    rows = {"kind": kind, "customers": [party.id for party in parties], **options}
    return f"\n[feeds.{feed}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())


# ------------------------------------------------------------------------------------------------------------- pulled


@dataclass
class ByPubSub:
    """Pub/Sub subscriptions: each serves one customer and is a feed by itself, and one process reads all of them."""

    server: PubSubServer
    owner: PubSub
    name: str
    parties: Sequence[Party]

    def __post_init__(self) -> None:
        for project in (party.project for party in self.parties):
            self.owner.publisher.create_topic(name=project.topic)
            self.owner.subscriber.create_subscription(
                types.Subscription(name=project.subscription, topic=project.topic, ack_deadline_seconds=10)
            )

    @property
    def feeds(self) -> Sequence[str]:
        return [f"{self.name}-{party.number}" for party in self.parties]

    @property
    def settings(self) -> str:
        return "".join(
            _table(feed, "pubsub", [party], subscription=party.project.subscription)
            for feed, party in zip(self.feeds, self.parties, strict=True)
        )

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        """Publish what a sink exports to the party's topic; what concerns none of this way's, to the last one's."""
        for record in records:
            self._publish(party if party in self.parties else self.parties[-1], msgspec.json.encode(record))

    def put(self, body: bytes) -> None:
        self._publish(self.parties[-1], body)

    def _publish(self, party: Party, body: bytes) -> None:
        self.owner.publisher.publish(topic=party.project.topic, messages=[types.PubsubMessage(data=body)], retry=None)

    def left(self) -> int:
        return sum(sum(self.server.matter.counts(party.project.subscription)) for party in self.parties)


@dataclass
class ByEventGrid:
    """A subscription of an Event Grid namespace, to which the parties' forwarders publish."""

    server: EventGrid
    name: str
    parties: Sequence[Party]

    @property
    def feeds(self) -> Sequence[str]:
        return [self.name]

    @property
    def settings(self) -> str:
        return _table(
            self.name, "event_grid", self.parties,
            endpoint=self.server.endpoint, topic=TOPIC, subscription=SUBSCRIPTION, key="env:ACME_NAMESPACE_KEY",
        )  # fmt: skip

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        self.server.publish(*(forwarded(record, party.vault) for record in records))

    def put(self, body: bytes) -> None:
        self.server.put(body)

    def left(self) -> int:
        state = self.server.state()
        return state["waiting"] + state["locked"]


@dataclass
class ByStorageQueue:
    """A storage queue, into which an event subscription writes what the parties' forwarders publish."""

    server: Azurite
    name: str
    parties: Sequence[Party]
    visibility: int = 30

    def __post_init__(self) -> None:
        self.queue: QueueClient = self.server.queue(self.name)

    @property
    def feeds(self) -> Sequence[str]:
        return [self.name]

    @property
    def settings(self) -> str:
        return _table(
            self.name, "storage_queue", self.parties, url=self.server.queue_url(self.name), key="env:ACME_QUEUE_KEY",
            visibility_seconds=self.visibility,
        )  # fmt: skip

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        for record in records:
            self.queue.send_message(queue_text(forwarded(record, party.vault)))

    def put(self, body: bytes) -> None:
        self.queue.send_message(body.decode())

    def left(self) -> int:
        return self.queue.get_queue_properties().approximate_message_count or 0


# ------------------------------------------------------------------------------------------------------------- pushed


class Courier:
    """Sends requests to one URL, over TLS; what it carries it sends again until that is accepted, as a provider does.

    Real providers wait for ten seconds and more before they send again.
    """

    AGAIN = 0.3

    def __init__(self, url: str, trusted: Path) -> None:
        self.url = url
        self.answers: list[int] = []
        """The status of every answer; 0 where there was none."""
        self._pool = urllib3.PoolManager(
            maxsize=32, retries=False, timeout=30, ca_certs=str(trusted), cert_reqs="CERT_REQUIRED"
        )
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="courier")
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._carried = 0

    @property
    def left(self) -> int:
        """How many deliveries have not been accepted yet."""
        with self._lock:
            return self._carried

    def send(self, body: bytes, headers: Mapping[str, str], method: str = "POST") -> urllib3.BaseHTTPResponse:
        """Send once, and return the answer."""
        return self._pool.request(method, self.url, body=body, headers=dict(headers))

    def carry(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send until it is accepted, without waiting for that here."""
        with self._lock:
            self._carried += 1
        self._threads.submit(self._carry, body, headers)

    def _carry(self, body: bytes, headers: Mapping[str, str]) -> None:
        status = 0
        while not 200 <= status < 300 and not self._over.is_set():
            try:
                status = self.send(body, headers).status
            except urllib3.exceptions.HTTPError:  # nobody listens, or whoever did was killed
                status = 0
            self.answers.append(status)
            if not 200 <= status < 300:
                self._over.wait(self.AGAIN)
        with self._lock:
            self._carried -= 1

    def close(self) -> None:
        """Give up what is still carried."""
        self._over.set()
        self._threads.shutdown()
        self._pool.clear()


@dataclass
class ByEventGridPush:
    """A webhook to which the parties' event subscriptions deliver."""

    certificate: tuple[Path, Path]
    name: str
    parties: Sequence[Party]
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.courier = Courier(f"https://127.0.0.1:{self.port}/event-grid", self.certificate[0])

    @property
    def feeds(self) -> Sequence[str]:
        return [self.name]

    @property
    def settings(self) -> str:
        made, key = map(str, self.certificate)
        return _table(
            self.name, "event_grid_push", self.parties,
            listen=f"127.0.0.1:{self.port}", certificate=made, private_key=key, secrets=["env:ACME_PUSH_SECRET"],
        )  # fmt: skip

    def headers(self, party: Party) -> dict[str, str]:
        """The headers of a delivery of the party's event subscription."""
        return {
            SECRET_HEADER: SECRETS["ACME_PUSH_SECRET"],
            "aeg-subscription-name": party.vault.name.upper(),
            "aeg-event-type": "Notification",
        }

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        """Deliver what the party's forwarder published, in the schema of CloudEvents."""
        self.courier.carry(event_batch([forwarded(record, party.vault) for record in records]), self.headers(party))

    def bring_events(self, party: Party, *events: dict[str, Any]) -> None:
        """Deliver events of the party's subscription in Event Grid's own schema."""
        self.courier.carry(event_batch(events), self.headers(party))

    def put(self, body: bytes) -> None:
        self.courier.carry(body, self.headers(self.parties[-1]))

    def left(self) -> int:
        return self.courier.left


@dataclass
class ByPubSubPush:
    """A webhook to which push subscriptions deliver, with tokens of an issuer on this machine."""

    certificate: tuple[Path, Path]
    issuer: Issuer
    name: str
    parties: Sequence[Party]
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.courier = Courier(f"https://127.0.0.1:{self.port}/pubsub", self.certificate[0])

    @property
    def feeds(self) -> Sequence[str]:
        return [self.name]

    @property
    def settings(self) -> str:
        made, key = map(str, self.certificate)
        return _table(
            self.name, "pubsub_push", self.parties,
            listen=f"127.0.0.1:{self.port}", certificate=made, private_key=key, audience=AUDIENCE,
            service_account=ACCOUNT,
        )  # fmt: skip

    def headers(self, **claims: Any) -> dict[str, str]:
        """The headers of a delivery; `claims` replace some of its token's."""
        told: dict[str, Any] = {
            "iss": local_issuer.NAME,
            "aud": AUDIENCE,
            "email": ACCOUNT,
            "email_verified": True,
            **claims,
        }
        return {"Authorization": f"Bearer {self.issuer.token(**told)}"}

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        for record in records:
            self.put(msgspec.json.encode(message(record, party.project.subscription)))

    def put(self, body: bytes) -> None:
        self.courier.carry(body, self.headers())

    def left(self) -> int:
        return self.courier.left


# ------------------------------------------------------------------------------------------------------------- all five


@dataclass
class Ways:
    """All ways in, each by its name, and what their processes need in the environment."""

    namespace: ByEventGrid
    webhook: ByEventGridPush
    queue: ByStorageQueue | None
    subscriptions: ByPubSub
    push: ByPubSubPush
    environment: Mapping[str, str]
    lacking: str = ""
    """Why there is no queue."""

    def here(self) -> dict[str, Way]:
        """Return those that there are."""
        found: list[Way] = [self.namespace, self.webhook, self.subscriptions, self.push]
        return {way.name: way for way in (*found, *([self.queue] if self.queue else []))}

    def way(self, name: str) -> Way:
        """Return one; skip the test where it cannot be had."""
        if name == QUEUE and self.queue is None:
            pytest.skip(f"no Azurite: {self.lacking}")
        return self.here()[name]

    def start(self, stage: Stage, *, kept: bool) -> None:
        """Start the consumers, a process for each way."""
        for name, way in self.here().items():
            entry = local_issuer.__name__ if name == PUSH else ENTRY
            stage.start(name, "consume", *way.feeds, kept=kept, alone=True, entry=entry)


@contextlib.contextmanager
def far_ends(
    tmp: Path, parties: Mapping[str, Sequence[Party]], *, lock: float = 60.0, visibility: int = 30, hurry: float = 1.0
) -> Iterator[Ways]:
    """Run everything that plays a provider, each way in for its parties.

    What is not given up comes again: on the namespace after `lock` seconds, on the queue after `visibility`, on the
    subscriptions after 30 seconds, as many times faster as `hurry` says.
    """
    with contextlib.ExitStack() as stack:
        tls = certificate(tmp)
        issuer = Issuer()
        stack.callback(issuer.close)
        server = stack.enter_context(served())
        server.matter.hurry = hurry
        owner = PubSub(server.host)
        stack.callback(owner.close)
        webhook = ByEventGridPush(tls, WEBHOOK, parties[WEBHOOK])
        stack.callback(webhook.courier.close)
        push = ByPubSubPush(tls, issuer, PUSH, parties[PUSH])
        stack.callback(push.courier.close)
        queue, lacking = None, ""
        try:
            queue = ByStorageQueue(stack.enter_context(azurite(tmp)), QUEUE, parties[QUEUE], visibility)
        except NoAzuriteError as fault:
            lacking = str(fault)
        yield Ways(
            ByEventGrid(stack.enter_context(event_grid(tmp, lock_seconds=lock)), NAMESPACE, parties[NAMESPACE]),
            webhook,
            queue,
            ByPubSub(server, owner, SUBSCRIPTIONS, parties[SUBSCRIPTIONS]),
            push,
            {**SECRETS, **owner.environment, local_issuer.KEY_SET: issuer.url},
            lacking,
        )
