"""CloudTrail files in Amazon S3: one object read as a bounded stream, through boto3."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from watchdog.cloud import Pointer
from watchdog.register import Register
from workers.clouds.aws.faults import fault_of
from workers.feeds.interface import FeedFault, Reason
from workers.feeds.pieces import LIMITS, Limits, Piece, cut


class Body(Protocol):
    """The body of an answer, as botocore gives it."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class S3Client(Protocol):
    """What is used of boto3's S3 client."""

    def get_object(self, **arguments: object) -> Mapping[str, Any]:
        """GetObject."""
        ...


def client(region: str | None) -> S3Client:
    """Return an S3 client. Standard variables (AWS_ENDPOINT_URL_S3 and the like) are honoured by boto3 itself."""
    config = Config(
        connect_timeout=3,
        read_timeout=10,
        retries={"total_max_attempts": 2, "mode": "standard"},
        user_agent_extra="byok-watchdog",
    )
    try:
        # A session of its own: boto3's default session is not safe between threads.
        made: S3Client = Session().client("s3", region_name=region, config=config)
    except (BotoCoreError, ClientError) as error:
        raise fault_of(error, "S3") from error
    return made


class S3Objects:
    """Reads CloudTrail files. Only buckets that the register names as the vendor's own are read."""

    def __init__(self, connect: Callable[[str | None], S3Client] = client, limits: Limits = LIMITS) -> None:
        self._connect = connect
        self._limits = limits
        self._clients: dict[str | None, S3Client] = {}

    def refusal(self, pointer: Pointer, register: Register) -> str | None:
        """Say why an object must not be fetched: its bucket is not registered, so anybody may have written it."""
        aws = register.vendor.aws
        if aws is not None and pointer.bucket in aws.feeds.trail_buckets:
            return None
        return (
            f"the notice points at bucket {pointer.bucket}, which the register does not name: if it is yours, "
            "add it to vendor.aws.feeds.trail_buckets and replay the notice"
        )

    def pieces(self, pointer: Pointer) -> Iterator[Piece]:
        """Read one object in pieces. Raises FeedFault, also in the middle of the object."""
        what = f"s3://{pointer.bucket}/{pointer.name}"
        stream = _Stream(self._body(pointer, what), what)
        try:
            yield from cut(stream, what, self._limits)
        finally:
            stream.close()

    def _body(self, pointer: Pointer, what: str) -> Body:
        region = pointer.region
        if region not in self._clients:
            self._clients[region] = self._connect(region)
        try:
            body: Body = self._clients[region].get_object(Bucket=pointer.bucket, Key=pointer.name)["Body"]
        except (BotoCoreError, ClientError) as error:
            fault = fault_of(error, f"S3 GetObject {what}")
            if fault.reason is Reason.CREDENTIALS:
                del self._clients[region]  # a new client looks for credentials anew
            if fault.reason is Reason.DENIED:
                hint = (
                    "let the role of this process do s3:GetObject on the bucket (and kms:Decrypt where it is encrypted "
                    "with a key); without s3:ListBucket S3 says the same of an object that does not exist"
                )
                raise FeedFault(Reason.DENIED, str(fault), hint=hint) from error
            raise fault from error
        return body


class _Stream:
    """The body of an answer. A broken connection is a fault of the feed, never the end of the file."""

    def __init__(self, body: Body, what: str) -> None:
        self._body = body
        self._what = what

    def read(self, size: int, /) -> bytes:
        try:
            return self._body.read(size)
        except (BotoCoreError, ClientError) as error:
            raise fault_of(error, f"S3 GetObject {self._what}") from error
        except OSError as error:
            raise FeedFault(Reason.NETWORK, f"S3 GetObject {self._what}: {error}") from error

    def close(self) -> None:
        self._body.close()
