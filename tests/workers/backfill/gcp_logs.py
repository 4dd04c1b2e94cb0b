"""Cloud Logging's entries.list on loopback, with tokens from `tests.key_services.gcp`."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.key_services.gcp import Document, Gcp, Refusal
from tests.key_services.loopback import answering
from watchdog.clouds.gcp.dates import moment

_TIMES = re.compile(r'\((.*)\n\) AND timestamp>="([0-9T:.-]+Z)" AND timestamp<"([0-9T:.-]+Z)"', re.DOTALL)


@dataclass
class Trouble:
    """What is answered instead: `hang`, `cut`, or a status with a body and headers; `times` counts down."""

    how: str | tuple[int, bytes]
    times: int = -1
    headers: dict[str, str] = field(default_factory=dict)


class Logging:
    """`entries` by project in the order of writing. A token counts for the request that it was given to."""

    def __init__(self, gcp: Gcp) -> None:
        self.gcp = gcp
        self.entries: dict[str, list[Any]] = {}
        self.readers: set[str] = set()
        self.most = 2  # entries of a page, whatever is asked for
        self.empty_first = False
        self.asked: list[Document] = []
        self.troubles: list[Trouble] = []
        self.tokens: dict[str, tuple[Document, int]] = {}
        self.url = ""
        self.over = threading.Event()

    def answer(self, body: Document, token: str) -> Document:
        caller = self.gcp.caller(token)
        self.asked.append(body)
        names = [one.removeprefix("projects/") for one in body["resourceNames"]]
        if caller not in self.readers or any(one not in self.entries for one in names):
            raise Refusal(403, "PERMISSION_DENIED", "Permission denied for all log views")
        assert ("timestamp asc", 1000) == (body["orderBy"], body["pageSize"])
        found = _TIMES.fullmatch(body["filter"])
        if found is None or "nonsense" in found[1]:
            raise Refusal(400, "INVALID_ARGUMENT", "Unparseable filter")
        skip = self._skipped(body)
        since, until = moment(found[2]), moment(found[3])
        assert since is not None
        assert until is not None
        matching = sorted(
            (
                one
                for name in names
                for one in self.entries[name]
                if _at(one, since) < until and _at(one, since) >= since
            ),
            key=lambda one: _at(one, since),
        )
        shown = [] if self.empty_first and not skip else matching[skip : skip + self.most]
        after = skip + len(shown)
        if after >= len(matching):
            return {"entries": shown} if shown else {}
        name = f"token-{len(self.tokens)}"
        self.tokens[name] = ({key: value for key, value in body.items() if key != "pageToken"}, after or -1)
        return {"entries": shown, "nextPageToken": name}

    def _skipped(self, body: Document) -> int:
        if "pageToken" not in body:
            return 0
        made_for, skip = self.tokens.get(body["pageToken"], ({}, 0))
        if made_for != {key: value for key, value in body.items() if key != "pageToken"}:
            raise Refusal(400, "INVALID_ARGUMENT", "page_token doesn't match arguments from the request")
        self.empty_first = False
        return max(skip, 0)

    @contextlib.contextmanager
    def served(self) -> Iterator["Logging"]:
        """Answer on a free port of loopback."""
        with answering(_handler(self)) as self.url:
            try:
                yield self
            finally:
                self.over.set()


def _at(entry: Any, otherwise: datetime) -> datetime:
    return (moment(entry.get("timestamp")) if isinstance(entry, dict) else None) or otherwise


def _handler(logging: Logging) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base's
            pass

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            trouble = next((one for one in logging.troubles if one.times), None)
            if trouble is not None:
                trouble.times -= 1
                self._suffer(trouble)
                return
            try:
                assert "/v2/entries:list" == self.path
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                self._send(200, json.dumps(logging.answer(json.loads(content), token)).encode())
            except Refusal as refusal:
                self._send(refusal.status, json.dumps(refusal.body).encode())

        def _suffer(self, trouble: Trouble) -> None:
            if isinstance(trouble.how, tuple):
                self._send(*trouble.how, trouble.headers)
                return
            self.close_connection = True
            if trouble.how == "hang":
                logging.over.wait(30)

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler
