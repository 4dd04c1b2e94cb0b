"""Pager: an HTTP server on loopback that plays PagerDuty, accepts every event, and knows when each arrived."""

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from workers.bench.stamped import shared_clock

_ACCEPTED = b'{"status":"success","message":"Event processed"}'


@dataclass(frozen=True, slots=True)
class Page:
    """One event: when its last byte had arrived, and what it says."""

    at: float
    body: bytes


class Pager:
    """The far end. Use as a context manager."""

    def __init__(self) -> None:
        self._pages: queue.SimpleQueue[Page] = queue.SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _taker(self._pages))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="pager")

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next(self, seconds: float) -> Page | None:
        """Return the next page; None when none arrives in time."""
        try:
            return self._pages.get(timeout=seconds)
        except queue.Empty:
            return None


def _taker(pages: "queue.SimpleQueue[Page]") -> type[BaseHTTPRequestHandler]:
    class Taker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            pages.put(Page(shared_clock(), body))
            self.send_response(202)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_ACCEPTED)))
            self.end_headers()
            self.wfile.write(_ACCEPTED)

        def log_message(self, *_arguments: Any) -> None:  # noqa: ANN401 - the base class's
            """Say nothing."""

    return Taker
