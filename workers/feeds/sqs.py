"""An Amazon SQS queue as a feed, through boto3."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from workers.clouds.aws.faults import fault_of
from workers.feeds.interface import Reason, Received

BATCH = 10  # the most that one ReceiveMessage gives and one batch request takes (aws.md 6)
VISIBILITY = 30.0
_DELETE_TRIES = 3
_CONNECT_SECONDS = 2
_READ_SECONDS = 8  # longer than the long poll, short enough that a dead connection does not hold up a stop


class SqsClient(Protocol):
    """What is used of boto3's SQS client."""

    def receive_message(self, **arguments: object) -> Mapping[str, Any]:
        """ReceiveMessage."""
        ...

    def delete_message_batch(self, **arguments: object) -> Mapping[str, Any]:
        """DeleteMessageBatch."""
        ...

    def change_message_visibility_batch(self, **arguments: object) -> Mapping[str, Any]:
        """ChangeMessageVisibilityBatch."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def client(region: str | None = None) -> SqsClient:
    """Return an SQS client. Standard variables (AWS_ENDPOINT_URL_SQS and the like) are honoured by boto3 itself.

    boto3's own retries are off: the consumer waits, shows why, and stops at once when asked to.
    """
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent_extra="byok-watchdog",
    )
    try:
        # A session of its own: boto3's default session is not safe between threads.
        made: SqsClient = Session().client("sqs", region_name=region, config=config)
    except (BotoCoreError, ClientError) as error:
        raise fault_of(error, "SQS") from error
    return made


def source(name: str, cloud: str, options: Mapping[str, Any]) -> "SqsSource":
    """Return the source of a feed of kind `sqs`."""
    visibility = options.get("visibility_seconds", VISIBILITY)
    return SqsSource(options["url"], name=name, cloud=cloud, region=options.get("region"), visibility=visibility)


class SqsSource:
    """Source that reads one queue. `visibility` is asked for with every message, whatever the queue's own is.

    A queue that does not exist yet, or credentials that do not work yet, are faults to be waited out.
    """

    def __init__(  # settings with defaults, and what tests replace
        self,
        url: str,
        *,
        name: str,
        cloud: str = "aws",
        region: str | None = None,
        visibility: float = VISIBILITY,
        connect: Callable[[str | None], SqsClient] = client,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self.visibility = visibility
        self._url = url
        self._region = region or _region_in(url)
        self._connect = connect
        self._now = now
        self._sleep = sleep
        self._connected: SqsClient | None = None

    def receive(self, wait: float) -> Sequence[Received]:
        """Return at most ten messages by one long poll of `wait` seconds (at most 6). Raises FeedFault."""
        answer = self._ask(
            "receive_message",
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=max(0, min(int(wait), _READ_SECONDS - 2)),
            VisibilityTimeout=int(self.visibility),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [self._received(message) for message in answer.get("Messages", [])]

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Delete messages; a partial failure is tried again a few times. Returns those that stay. Raises FeedFault."""
        del unreadable  # they are in quarantine; the queue need not know
        left = list(received)
        for tried in range(_DELETE_TRIES):
            if tried:
                self._sleep(0.1 * 2**tried)
            left = [message for part in _tens(left) for message in self._delete(part)]
            if not left:
                break
        return left

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Set the visibility of messages to `seconds` from now; return those it failed for. Raises FeedFault."""
        left: list[Received] = []
        for part in _tens(received):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt, "VisibilityTimeout": int(seconds)}
                for number, message in enumerate(part)
            ]
            left += _failed(part, self._ask("change_message_visibility_batch", Entries=entries))
        return left

    def close(self) -> None:
        """Close the connections."""
        if self._connected is not None:
            self._connected.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _delete(self, part: Sequence[Received]) -> list[Received]:
        entries = [{"Id": str(number), "ReceiptHandle": message.receipt} for number, message in enumerate(part)]
        return _failed(part, self._ask("delete_message_batch", Entries=entries))

    def _ask(self, operation: str, **arguments: object) -> Mapping[str, Any]:
        if self._connected is None:
            self._connected = self._connect(self._region)
        try:
            answer: Mapping[str, Any] = getattr(self._connected, operation)(QueueUrl=self._url, **arguments)
        except (BotoCoreError, ClientError) as error:
            fault = fault_of(error, f"SQS {operation} on {self._url}")
            if fault.reason is Reason.CREDENTIALS:
                self._connected = None  # a new client looks for credentials anew
            raise fault from error
        return answer

    def _received(self, message: Mapping[str, Any]) -> Received:
        message_id = message["MessageId"]
        return Received(
            id=message_id,
            body=message["Body"].encode(),
            received_at=self._now(),
            receipt=message["ReceiptHandle"],
            deliveries=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            place=f"message {message_id}",
        )


def _region_in(url: str) -> str | None:
    """Return the region that a queue's URL names: https://sqs.REGION.amazonaws.com[.cn]/account/name."""
    host = url.partition("://")[2].partition("/")[0].split(".")
    return host[1] if len(host) >= 4 and host[0] == "sqs" and host[2] == "amazonaws" else None


def _tens(messages: Sequence[Received]) -> list[Sequence[Received]]:
    return [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]


def _failed(part: Sequence[Received], answer: Mapping[str, Any]) -> list[Received]:
    return [part[int(one["Id"])] for one in answer.get("Failed", [])]
