"""An Azure Storage queue as a feed, through azure-storage-queue, without its decoding.

Its `TextBase64DecodePolicy` raises for a whole page when one message in it is not base64, and hides the others for as
long as they were to be invisible (azure.md 6.5): the text is decoded here, each message by itself.
"""

import base64
import binascii
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, unquote
from xml.etree.ElementTree import ParseError

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueClient, QueueMessage

from watchdog.clouds.azure.fields import unbased
from workers.clouds.azure.addresses import secure
from workers.clouds.azure.entra import signed_in, signed_out
from workers.clouds.azure.faults import fault_of
from workers.feeds.interface import FeedFault, Reason, Received

BATCH = 32  # the most that one GetMessages gives
VISIBILITY = 30.0

_POLL_SECONDS = 0.5  # the queue has no long poll; asked twice a second it costs about two dollars a month
_CONNECT_SECONDS = 2
_READ_SECONDS = 3  # with the last poll of a wait of five seconds: short enough that a stop is not held up
_AT_ONCE = 8  # the queue takes no batches of deletions

# What the client raises for an answer that it cannot read is no error of its own.
_ERRORS = (AzureError, ValueError, ParseError)

_HINTS: Mapping[Reason, str] = {
    Reason.CREDENTIALS: (
        "give the account's key or a shared access signature that is still valid as `key`, "
        "or this process an Entra identity that gets tokens"
    ),
    Reason.DENIED: (  # Storage Queue Data Message Processor may take and delete messages, but not keep them back
        "give the identity the role Storage Queue Data Contributor on the queue (a signature: process and update), "
        "and let this machine through the account's firewall"
    ),
    Reason.NOT_FOUND: "check the account and the queue in `url`",
}


def source(name: str, cloud: str, options: Mapping[str, Any]) -> "StorageQueueSource":
    """Return the source of a feed of kind `storage_queue`. Raises ValueError with all that is wrong with them."""
    faults: list[str] = []
    try:
        _queue_in(options["url"])
    except ValueError as fault:
        faults.append(f"url: {fault}")
    key = options.get("key")
    if key is not None and not _is_signature(key) and not _is_account_key(key):
        faults.append("key: must be an account key or a shared access signature; leave it out to use an Entra identity")
    if key is None and not faults and secure(options["url"]).scheme == "http":
        faults.append("key: is needed over plain http, where the client sends no token")
    if faults:
        raise ValueError("; ".join(faults))
    visibility = options.get("visibility_seconds", VISIBILITY)
    return StorageQueueSource(options["url"], name=name, cloud=cloud, key=key, visibility=visibility)


@dataclass(slots=True)
class _Held:
    """A message that was handed out. Its receipt is another one after every update; one thread at a time uses it."""

    message_id: str
    receipt: str
    is_gone: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class StorageQueueSource:
    """Source that reads one queue. `visibility` is asked for with every message.

    After a page that cannot be read as a whole, messages are asked for one by one, then two, four, ...: so a message
    that breaks the page it is on hides nobody but itself, again and again, and is told.
    """

    def __init__(  # settings with defaults, and what tests replace
        self,
        url: str,
        *,
        name: str,
        cloud: str = "azure",
        key: str | None = None,
        visibility: float = VISIBILITY,
        credential: Callable[[], TokenCredential] = DefaultAzureCredential,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self.visibility = visibility
        self._account, self._account_url, self._queue = _queue_in(url)
        self._place = f"queue {self._queue} of {self._account}"
        self._key = key.strip() if key else None
        self._credential = credential
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._client: QueueClient | None = None
        self._entra: TokenCredential | None = None
        self._connecting = threading.Lock()
        self._most = BATCH
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"storage_queue {name}")

    def receive(self, wait: float) -> Sequence[Received]:
        """Return at most 32 messages; the queue is asked again and again for `wait` seconds. Raises FeedFault."""
        until = self._monotonic() + wait
        while True:
            found = self._messages()
            left = until - self._monotonic()
            if found or left <= 0:
                return found
            self._sleep(min(_POLL_SECONDS, left))

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Delete messages; return those that somebody else has got meanwhile: they come again. Raises FeedFault.

        A message that is not there any more is given up: an earlier deletion whose answer was lost, or its time in the
        queue was over.
        """
        del unreadable  # they are in quarantine; the queue need not know
        return self._each(self._delete, received)

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Set the visibility of messages to `seconds` from now; return those it failed for. Raises FeedFault."""
        return self._each(lambda held: self._update(held, int(seconds)), received)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        self._disconnect()

    # -------------------------------------------------------------------------------------------------------- messages

    def _messages(self) -> list[Received]:
        client, most = self._connected(), self._most
        self._most = 1  # until it has gone well
        try:
            # One page and no more: when a second one fails, the client drops the first.
            asked = client.receive_messages(
                messages_per_page=most, max_messages=most, visibility_timeout=int(self.visibility)
            )
            page = list(next(asked.by_page(), ()))
        except _ERRORS as error:
            fault = self._fault("receive", error)
            if fault.reason is Reason.CREDENTIALS:
                self._disconnect()  # a new client looks for credentials anew
            raise fault from error
        self._most = min(most * 2, BATCH)
        return [self._received(message) for message in page]

    def _fault(self, operation: str, error: Exception) -> FeedFault:
        what = f"{operation} on {self._place}"
        if isinstance(error, AzureError):
            return fault_of(error, what, _HINTS)
        return FeedFault(Reason.SERVER, f"{what}: the answer cannot be read ({type(error).__name__})")

    def _received(self, message: QueueMessage) -> Received:
        text = message.content or ""
        body, fault = _decoded(text)
        return Received(
            id=message.id,
            body=body,
            received_at=self._now(),
            receipt=_Held(message.id, message.pop_receipt or ""),
            deliveries=max(message.dequeue_count or 1, 1),
            place=f"{self._place}, message {message.id}",
            fault=fault,
        )

    def _each(self, action: Callable[[_Held], bool], received: Sequence[Received]) -> list[Received]:
        """Do something to each message, several at once; return those it was not done for. Raises FeedFault.

        Nothing is dropped when one fails: all are tried, then the first fault is raised.
        """

        def act(one: Received) -> bool | FeedFault:
            held = one.receipt
            assert isinstance(held, _Held)  # noqa: S101 - it is this source that has handed it out
            try:
                with held.lock:
                    return held.is_gone or action(held)
            except FeedFault as fault:
                return fault

        done = list(self._threads.map(act, received))
        for outcome in done:
            if isinstance(outcome, FeedFault):
                raise outcome
        return [one for one, outcome in zip(received, done, strict=True) if not outcome]

    def _delete(self, held: _Held) -> bool:
        try:
            self._connected().delete_message(held.message_id, held.receipt)
        except _ERRORS as error:
            code = _code(error)
            if code == "PopReceiptMismatch":
                return False
            if code != "MessageNotFound":
                raise self._fault("acknowledge", error) from error
        held.is_gone = True
        return True

    def _update(self, held: _Held, seconds: int) -> bool:
        try:
            updated = self._connected().update_message(held.message_id, held.receipt, visibility_timeout=seconds)
        except _ERRORS as error:
            if _code(error) in ("PopReceiptMismatch", "MessageNotFound"):
                return False
            raise self._fault("extend", error) from error
        held.receipt = updated.pop_receipt or ""
        return True

    # ------------------------------------------------------------------------------------------------------- transport

    def _connected(self) -> QueueClient:
        """Return the client. Its retries are off: the consumer waits, shows why, and stops at once when asked to."""
        with self._connecting:
            if self._client is None:
                credential = self._secret()
                transport = RequestsTransport(connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
                transport.open()  # by one thread: to open it is not safe between threads, to use it is
                self._client = QueueClient(
                    self._account_url,
                    self._queue,
                    credential=credential,
                    transport=transport,
                    retry_total=0,
                    permit_redirects=False,  # the key's signature goes to the account and nowhere else
                    user_agent="byok-watchdog",
                )
            return self._client

    def _secret(self) -> AzureSasCredential | AzureNamedKeyCredential | TokenCredential:
        if self._key is None:
            self._entra = signed_in(self._credential, self._place)
            return self._entra
        if _is_signature(self._key):
            return AzureSasCredential(self._key.lstrip("?"))
        return AzureNamedKeyCredential(self._account, self._key)

    def _disconnect(self) -> None:
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None
                signed_out(self._entra)


def _queue_in(url: str) -> tuple[str, str, str]:
    """Return account, account's URL and queue of a queue's URL. Raises ValueError.

    https://ACCOUNT.queue.core.windows.net/QUEUE, or, where the host names no account, https://HOST/ACCOUNT/QUEUE.
    """
    parts = secure(url)
    path = [unquote(part) for part in parts.path.split("/") if part]
    host = parts.hostname or ""
    account, _, rest = host.partition(".")
    if rest.startswith("queue.") and len(path) == 1:
        return account, _base(parts), path[0]
    if not rest.startswith("queue.") and len(path) == 2:
        return path[0], f"{_base(parts)}/{path[0]}", path[1]
    raise ValueError("must be the queue's own address: https://ACCOUNT.queue.core.windows.net/QUEUE")


def _base(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}"


def _is_signature(key: str) -> bool:
    return "sig=" in key and "=" in key.partition("sig=")[0]


def _is_account_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) >= 16
    except (binascii.Error, ValueError):
        return False


def _decoded(text: str) -> tuple[bytes, str | None]:
    """Return what a message carries, and what is wrong with it: base64 of JSON (Event Grid's way), or JSON as it is."""
    plain = text.encode("utf-8", "surrogatepass")
    if _is_json_like(plain):
        return plain, None
    inner = unbased(plain)
    if inner is not None and _is_json_like(inner):
        return inner, None
    return plain, "the text of the queue message is neither JSON nor base64 of JSON" if plain else "it is empty"


def _is_json_like(body: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _code(error: Exception) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")
