"""CloudTrail's event history over HTTP on loopback (aws.md 6): moto has no LookupEvents. With the STS that leads to it.

The real SDK is the client. It answers the newest first, fifty a page at most, one account and Region, and a token only
with the very parameters that it was given for.
"""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.key_services.loopback import answering

Document = dict[str, Any]

ROLE = "arn:aws:iam::111122223333:role/byok-watchdog-reader"
EXTERNAL_ID = "acme-7"
_SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
_ASSUMED = "ASIAEXAMPLEREADER"


class Refusal(Exception):  # noqa: N818  # an answer of AWS, not a failure of the double
    """An error answer."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass
class EventHistory:
    """What one account's event history holds, by Region, and who may look. `asked` are the requests that came."""

    records: dict[str, list[Document]] = field(default_factory=dict)
    page: int = 50
    needs_role: bool = False
    refusals: list[str] = field(default_factory=list)
    """Error codes that the next requests get, one each ("": an answer)."""
    asked: list[Document] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    tokens: dict[str, tuple[str, int]] = field(default_factory=dict)
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What lets boto3 of any process speak to it."""
        return {
            "AWS_ENDPOINT_URL_CLOUDTRAIL": self.url,
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextlib.contextmanager
    def served(self) -> Iterator["EventHistory"]:
        """Serve on a free port of loopback."""
        with answering(_handler(self)) as self.url:
            yield self

    def add(self, region: str, *records: Document) -> None:
        self.records.setdefault(region, []).extend(records)

    def lookup(self, region: str, access_key: str, body: Document) -> Document:
        self.asked.append({"region": region, "caller": access_key, **body})
        self.asked_at.append(time.monotonic())
        if self.refusals and (code := self.refusals.pop(0)):
            raise Refusal(code, "said the test")
        if self.needs_role and access_key != _ASSUMED:
            raise Refusal("AccessDeniedException", "User is not authorized to perform: cloudtrail:LookupEvents")
        if not 1 <= body.get("MaxResults", 50) <= 50:
            raise Refusal("InvalidMaxResultsException")
        start, end = (datetime.fromtimestamp(body[name], UTC) for name in ("StartTime", "EndTime"))
        if end < start:
            raise Refusal("InvalidTimeRangeException")
        found = [one for one in self.records.get(region, []) if start <= _time(one) <= end and _matches(one, body)]
        found.sort(key=_time, reverse=True)
        asks = json.dumps([region, {key: body[key] for key in sorted(body) if key != "NextToken"}])
        first = self._place(body.get("NextToken"), asks)
        answer: Document = {"Events": [_event(one) for one in found[first : first + self.page]]}
        if first + self.page < len(found):
            token = f"token-{len(self.tokens)}"
            self.tokens[token] = (asks, first + self.page)
            answer["NextToken"] = token
        return answer

    def _place(self, token: str | None, asks: str) -> int:
        if token is None:
            return 0
        known, place = self.tokens.get(token, ("", 0))
        if known != asks:
            raise Refusal("InvalidNextTokenException", "The token is not one of these parameters")
        return place

    def assume(self, form: dict[str, list[str]]) -> str:
        if form["RoleArn"] != [ROLE] or form.get("ExternalId") != [EXTERNAL_ID]:
            raise Refusal("AccessDenied", "not authorized to perform: sts:AssumeRole")
        until = datetime.fromtimestamp(time.time() + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
            f"<AccessKeyId>{_ASSUMED}</AccessKeyId><SecretAccessKey>example</SecretAccessKey>"
            f"<SessionToken>example</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleResult>"
            "</AssumeRoleResponse>"
        )


def _time(record: Document) -> datetime:
    return datetime.fromisoformat(record["eventTime"])


def _matches(record: Document, body: Document) -> bool:
    wanted = {one["AttributeKey"]: one["AttributeValue"] for one in body.get("LookupAttributes", ())}
    return "ReadOnly" not in wanted or wanted["ReadOnly"] == str(record.get("readOnly")).lower()


def _event(record: Document) -> Document:
    return {
        "EventId": record["eventID"],
        "EventName": record["eventName"],
        "ReadOnly": str(record.get("readOnly")).lower(),
        "EventTime": _time(record).timestamp(),
        "EventSource": record["eventSource"],
        "Resources": [],
        "CloudTrailEvent": json.dumps(record),
    }


def _handler(history: EventHistory) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base's
            """Say nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            signed = _SIGNED.search(self.headers.get("Authorization", ""))
            assert signed is not None
            access_key, region, service = signed.groups()
            kind = "text/xml" if service == "sts" else "application/x-amz-json-1.1"
            try:
                if service == "sts":
                    self._send(200, history.assume(parse_qs(body.decode())), kind)
                else:
                    assert self.headers["X-Amz-Target"].endswith("CloudTrail_20131101.LookupEvents")
                    self._send(200, json.dumps(history.lookup(region, access_key, json.loads(body))), kind)
            except Refusal as refusal:
                if service == "sts":
                    inner = f"<Code>{refusal.code}</Code><Message>{refusal}</Message>"
                    text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
                else:
                    text = json.dumps({"__type": refusal.code, "message": str(refusal)})
                self._send(400, text, kind)

        def _send(self, status: int, text: str, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    return Handler
