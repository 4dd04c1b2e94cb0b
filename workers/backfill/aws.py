"""CloudTrail as an archive: its event history (LookupEvents), and the files of a trail in a bucket (aws.md 6).

Both are read with the role that the settings name, or as this process. Neither knows all: the event history holds
management events of 90 days, one account and Region at a time; a trail holds what its selectors let through.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from alerts.wire import is_loopback
from watchdog.cloud import Pointer
from workers.backfill.interface import Page
from workers.clouds.aws.faults import fault_of
from workers.clouds.aws.objects import S3Objects
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.pieces import Piece

Client = Any  # boto3 ships no types

PACE = 0.55
"""Seconds between two LookupEvents of one account and Region: two a second are allowed, and others ask too."""

HISTORY = timedelta(days=90)
WINDOW = timedelta(hours=6)
"""How much is asked for at a time: the newest events come first, so this is how finely progress can be told."""

LATE = timedelta(hours=1)
"""How long after its events a file of a trail may be written: five minutes are usual, and nothing is promised."""

PAGE_BYTES = 4 << 20
PAGE_FILES = 100

_CHANGES, _ALL = "changes", "all"
_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]\Z")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+\Z")
_WRITTEN_AT = re.compile(r"_([0-9]{8}T[0-9]{4})Z_[^/]*\Z")
_SEALS = "/CloudTrail-Digest/"

_LOOKUP_HINT = (
    "let this caller do cloudtrail:LookupEvents in the account (a managed policy: AWSCloudTrail_ReadOnlyAccess)"
)
_BUCKET_HINT = (
    "let this caller do s3:ListBucket on the bucket and s3:GetObject on its objects (and kms:Decrypt where they are "
    "encrypted with a key)"
)
_ROLE_HINT = "let this process assume the role: sts:AssumeRole here, and the trust policy (with external id) there"


def lookup(name: str, options: Mapping[str, Any]) -> "EventHistory":
    """Return an archive of kind `cloudtrail_lookup`. Raises ValueError with all that is wrong with its options."""
    del name
    events = options.get("events", _CHANGES)
    faults = [*_faults(options), *_wrong(options, "regions", _REGION, "AWS Regions such as eu-west-1")]
    if events not in {_CHANGES, _ALL}:
        faults.append(
            f"events: must be {_CHANGES!r} (what changed something) or {_ALL!r} (uses of keys too: many), is {events!r}"
        )
    if faults:
        raise ValueError("; ".join(faults))
    return EventHistory(_caller(options), options["regions"], changes_only=events == _CHANGES)


def bucket(name: str, options: Mapping[str, Any]) -> "TrailBucket":
    """Return an archive of kind `trail_bucket`. Raises ValueError with all that is wrong with its options."""
    del name
    faults = [
        *_faults(options),
        *_wrong(options, "accounts", _ACCOUNT, "AWS account ids of 12 digits"),
        *_wrong(options, "regions", _REGION, "AWS Regions such as eu-west-1"),
    ]
    if "/" in options["bucket"] or not options["bucket"]:
        faults.append(f"bucket: must be a name without s3:// and path, is {options['bucket']!r}")
    if faults:
        raise ValueError("; ".join(faults))
    middle = [part.strip("/") for part in (options.get("prefix", ""), "AWSLogs", options.get("organization", ""))]
    return TrailBucket(
        _caller(options),
        options["bucket"],
        "/".join(part for part in middle if part),
        accounts=options["accounts"],
        regions=options["regions"],
    )


def _faults(options: Mapping[str, Any]) -> list[str]:
    role = options.get("role")
    if role is not None and not _ROLE.match(role):
        return [f"role: must be arn:aws:iam::ACCOUNT:role/NAME, is {role!r}"]
    if options.get("external_id") and role is None:
        return ["external_id: belongs to a `role`, and there is none"]
    return []


def _wrong(options: Mapping[str, Any], name: str, form: re.Pattern[str], what: str) -> list[str]:
    found: Sequence[str] = options.get(name, ())
    wrong = [one for one in found if not form.match(one)]
    return [f"{name}: must be {what}, is {wrong or found!r}"] if wrong or not found else []


def _caller(options: Mapping[str, Any]) -> "Caller":
    return Caller(options.get("role"), options.get("external_id"))


class Caller:
    """Makes clients that act as a role (None: as this process). Of one reading, which is shorter than its credentials.

    Standard variables (AWS_ENDPOINT_URL_CLOUDTRAIL and the like) are honoured by boto3 itself. Its retries are off: who
    reads waits, shows why, and stops when asked to.
    """

    def __init__(self, role: str | None = None, external_id: str | None = None) -> None:
        self._role = role
        self._external_id = external_id
        self._arguments: Mapping[str, str] | None = None
        self._clients: dict[tuple[str, str | None], Client] = {}

    def client(self, service: str, region: str | None) -> Client:
        """Return a client. Raises FeedFault when there is nobody to act as."""
        if (service, region) not in self._clients:
            self._clients[service, region] = self._made(service, region, self._acting(region))
        return self._clients[service, region]

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _acting(self, region: str | None) -> Mapping[str, str]:
        if self._role is None:
            return {}
        if self._arguments is None:
            self._arguments = self._assumed(self._role, region)
        return self._arguments

    def _assumed(self, role: str, region: str | None) -> Mapping[str, str]:
        more = {"ExternalId": self._external_id} if self._external_id else {}
        client = self._made("sts", region, {})
        what = f"AssumeRole {role}"
        try:
            found = client.assume_role(RoleArn=role, RoleSessionName="byok-watchdog", **more)["Credentials"]
        except (BotoCoreError, ClientError) as error:
            raise _with_hint(fault_of(error, what), _ROLE_HINT) from error
        finally:
            client.close()
        return {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }

    @staticmethod
    def _made(service: str, region: str | None, arguments: Mapping[str, str]) -> Client:
        config = Config(
            connect_timeout=3,
            read_timeout=15,
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra="byok-watchdog",
        )
        try:
            # A session of its own: boto3's default session is not safe between threads.
            client = _MAKERS[service](Session(), region_name=region, config=config, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise fault_of(error, service) from error
        except ValueError as error:  # an endpoint that is no address
            raise FeedFault(Reason.SETTINGS, f"{service}: {error}") from error
        endpoint = urlsplit(client.meta.endpoint_url)
        if endpoint.scheme != "https" and not is_loopback(endpoint.hostname or ""):
            client.close()
            raise FeedFault(Reason.SETTINGS, f"{service}: the endpoint is not TLS, which is for loopback only")
        return client


_MAKERS: Mapping[str, Callable[..., Client]] = {
    "sts": lambda session, **arguments: session.client("sts", **arguments),
    "s3": lambda session, **arguments: session.client("s3", **arguments),
    "cloudtrail": lambda session, **arguments: session.client("cloudtrail", **arguments),
}
"""How a client of each service is made: spelled out, so that the house can see what may be talked to."""


def _with_hint(fault: FeedFault, hint: str) -> FeedFault:
    return FeedFault(fault.reason, str(fault), hint=hint) if fault.reason is Reason.DENIED else fault


# ------------------------------------------------------------------------------------------------------- event history


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a reading of the event history is: a window of one Region, and AWS's own token in it."""

    window: datetime
    region: str
    token: str | None = None

    def written(self) -> str:
        return json.dumps({"window": self.window.isoformat(), "region": self.region, "token": self.token})


class EventHistory:
    """The event history of one account: a window of time after the other, in each of them Region after Region.

    With `changes_only` uses of keys are left out (they are more than 99 of 100 events, and two requests of 50 a second
    would never catch up with them): what was refused meanwhile is not told then, that the key works is for its probe.
    """

    def __init__(
        self,
        caller: Caller,
        regions: Sequence[str],
        *,
        changes_only: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._caller = caller
        self._regions = list(dict.fromkeys(regions))
        self._only = {"LookupAttributes": [{"AttributeKey": "ReadOnly", "AttributeValue": "false"}]}
        self._filter: Mapping[str, object] = self._only if changes_only else {}
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._asked_at: dict[str, float] = {}

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield a page for each answer. Raises FeedFault, also when `start` lies before what is kept."""
        if start < self._now() - HISTORY:
            raise FeedFault(
                Reason.SETTINGS,
                f"the event history of CloudTrail reaches back {HISTORY.days} days only, not to {start:%Y-%m-%d}",
                hint="begin later, and read what is older from the trail's bucket (an archive of kind trail_bucket)",
            )
        places = [_Place(window, region) for window in _windows(start, end) for region in self._regions]
        first, token = _found(places, cursor)
        for number, place in enumerate(places[first:], start=first):
            following = places[number + 1] if number + 1 < len(places) else None
            while True:
                body, token = self._asked(place, max(place.window, start), min(place.window + WINDOW, end), token)
                onward = _Place(place.window, place.region, token) if token else following
                yield Page(
                    messages=(_message(body, f"LookupEvents {place.region}", self._now()),) if body else (),
                    cursor=onward.written() if onward else None,
                    until=max(onward.window, start) if onward else end,
                )
                if not token:
                    break

    def close(self) -> None:
        """Let go of connections."""
        self._caller.close()

    def _asked(self, place: _Place, start: datetime, end: datetime, token: str | None) -> tuple[bytes, str | None]:
        """Ask for one page; return it as an answer that the decoder reads (empty: no events), and the next token."""
        what = f"LookupEvents {place.region}"
        client = self._caller.client("cloudtrail", place.region)
        more = {"NextToken": token} if token else {}
        self._wait(place.region)
        try:
            answer = client.lookup_events(StartTime=start, EndTime=end, MaxResults=50, **self._filter, **more)
        except ClientError as error:
            if token and error.response.get("Error", {}).get("Code") == "InvalidNextTokenException":
                return self._asked(place, start, end, None)  # it has run out: this window from its beginning
            raise _with_hint(fault_of(error, what), _LOOKUP_HINT) from error
        except BotoCoreError as error:
            raise fault_of(error, what) from error
        events = answer.get("Events") or []
        return msgspec.json.encode({"Events": events}) if events else b"", answer.get("NextToken")

    def _wait(self, region: str) -> None:
        asked_at = self._asked_at.get(region)
        if asked_at is not None and (rest := asked_at + PACE - self._monotonic()) > 0:
            self._sleep(rest)
        self._asked_at[region] = self._monotonic()


def _windows(start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the beginnings of the windows that touch this time: the same ones whatever `start` is."""
    window = datetime.fromtimestamp(start.timestamp() // WINDOW.total_seconds() * WINDOW.total_seconds(), UTC)
    while window < end:
        yield window
        window += WINDOW


def _found(places: Sequence[_Place], cursor: str | None) -> tuple[int, str | None]:
    """Return where to go on; at the beginning when the settings have changed since the cursor was written."""
    try:
        told = json.loads(cursor) if cursor else {}
    except ValueError:  # the archive was of another kind then
        told = {}
    for number, place in enumerate(places):
        if (place.window.isoformat(), place.region) == (told.get("window"), told.get("region")):
            return number, told.get("token")
    return 0, None


def _message(body: bytes, place: str, now: datetime) -> Received:
    return Received(id=hashlib.sha256(body).hexdigest(), body=body, received_at=now, receipt=None, place=place)


# ------------------------------------------------------------------------------------------------------ trail's bucket


class TrailBucket:
    """The files of a trail, day by day. The cursor is the name after which to go on: of a file, or of a folder.

    A file may hold older records, so the files of an hour after the end are read too; what is told later is not found.
    """

    def __init__(
        self,
        caller: Caller,
        name: str,
        root: str,
        *,
        accounts: Sequence[str],
        regions: Sequence[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self._caller = caller
        self._bucket = name
        self._root = root
        self._accounts = list(dict.fromkeys(accounts))
        self._regions = list(dict.fromkeys(regions))
        self._region = self._regions[0]  # S3 itself says where a bucket is, when it is not there
        self._objects = S3Objects(lambda region: caller.client("s3", region))
        self._now = now
        self._page_bytes = page_bytes

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield pages of about four million bytes or a hundred files. Raises FeedFault."""
        folders = self._folders(start, end + LATE)
        first = next((number for number, (name, _) in enumerate(folders) if (cursor or "").startswith(name)), 0)
        messages: list[Received] = []
        size = files = 0
        for number, (folder, day) in enumerate(folders[first:], start=first):
            place = cursor if number == first and cursor and cursor.startswith(folder) else folder
            until = min(max(day, start), end)
            for name in self._names(folder, place, start, end + LATE):
                for piece in self._pieces(name):
                    messages.append(_received(piece, self._now()))
                    size += len(piece.body)
                    if size >= self._page_bytes:  # perhaps in the middle of the file: then it is read again
                        yield Page(messages=tuple(messages), cursor=place, until=until)
                        messages, size, files = [], 0, 0
                place, files = name, files + 1
                if files >= PAGE_FILES:
                    yield Page(messages=tuple(messages), cursor=place, until=until)
                    messages, size, files = [], 0, 0
            if number + 1 < len(folders):
                # Also when nothing was found: whoever reads may be asked to stop, and goes on here.
                yield Page(messages=tuple(messages), cursor=folders[number + 1][0], until=until)
                messages, size, files = [], 0, 0
        yield Page(messages=tuple(messages), cursor=None, until=end)

    def close(self) -> None:
        """Let go of connections."""
        self._caller.close()

    def _folders(self, start: datetime, end: datetime) -> list[tuple[str, datetime]]:
        """Return the folders of all days, accounts and Regions, each with its day (UTC, as in their names)."""
        day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        found = []
        while day <= end:
            found += [
                (f"{self._root}/{account}/CloudTrail/{region}/{day:%Y/%m/%d}/", day)
                for account in self._accounts
                for region in self._regions
            ]
            day += timedelta(days=1)
        return found

    def _names(self, folder: str, after: str, start: datetime, end: datetime) -> Iterator[str]:
        """Yield the names in a folder after one of them; without the files that were written before or after all."""
        what = f"S3 ListObjectsV2 s3://{self._bucket}/{folder}"
        client = self._caller.client("s3", self._region)
        while True:
            try:
                answer = client.list_objects_v2(Bucket=self._bucket, Prefix=folder, StartAfter=after)
            except (BotoCoreError, ClientError) as error:
                raise _with_hint(fault_of(error, what), _BUCKET_HINT) from error
            names = [str(one["Key"]) for one in answer.get("Contents") or ()]
            yield from (name for name in names if _SEALS not in f"/{name}" and _may_hold(name, start, end))
            if not answer.get("IsTruncated") or not names:
                return
            after = names[-1]

    def _pieces(self, name: str) -> Iterator[Piece]:
        try:
            yield from self._objects.pieces(Pointer(bucket=self._bucket, name=name, region=self._region))
        except FeedFault as fault:
            if fault.reason is not Reason.NOT_FOUND:
                raise
            # It was listed a moment ago: at the next try it is not listed any more, or there.
            raise FeedFault(fault.reason, str(fault), permanent=False) from fault


def _may_hold(name: str, start: datetime, end: datetime) -> bool:
    """Whether a file may hold records of this time, by the minute in its name; a file of another name may."""
    found = _WRITTEN_AT.search(name)
    if found is None:
        return True
    try:
        written_at = datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        return True
    return start - timedelta(minutes=1) < written_at <= end


def _received(piece: Piece, now: datetime) -> Received:
    identity = hashlib.sha256(f"{piece.name}:{piece.first}".encode("utf-8", "surrogateescape")).hexdigest()
    return Received(
        id=identity, body=piece.body, received_at=now, receipt=None, place=piece.name, first=piece.first,
        fault=piece.error,
    )  # fmt: skip
