"""Azure in memory (`tests.key_services.azure`) with its Activity Log and the blobs of diagnostic settings."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.key_services.azure import MANAGEMENT, Azure, Document, Refusal
from watchdog.clouds.azure.dates import moment

_VALUES = re.compile(
    r"/subscriptions/([0-9a-f-]+)/providers/microsoft.insights/eventtypes/management/values", re.IGNORECASE
)
_WINDOW = re.compile(r"eventTimestamp ge '([0-9T:.-]+Z)' and eventTimestamp le '([0-9T:.-]+Z)'")


class AzureLogs(Azure):
    """`records` by subscription, newest first as they are given out, a few on a page; `files` by path of the blob."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, list[Any]] = {}
        self.page_size = 2
        self.readers: set[tuple[str, str]] = set()  # (tenant, client id) that may read the log of a subscription
        self.tenants: dict[str, str] = {}
        self.windows: list[tuple[str, str, str]] = []
        self.accepts_links = True
        self.next_host = f"https://{MANAGEMENT}"
        self.files: dict[str, bytes] = {}
        self.container = ""

    def _answered(
        self, host: str, method: str, url: Any, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Document | bytes]:
        found = _VALUES.fullmatch(url.path) if host == MANAGEMENT else None
        if found:
            self._for(headers, f"https://{MANAGEMENT}")
            return 200, self._values(found[1], parse_qs(url.query), self._bearer(headers))
        if ".blob." in host and self.container:
            self._for(headers, "https://storage.azure.com")
            return 200, self._file(unquote(url.path), parse_qs(url.query), headers)
        return super()._answered(host, method, url, headers, body)

    def _values(self, subscription: str, query: Mapping[str, list[str]], token: Document) -> Document:
        assert query["api-version"] == ["2015-04-01"]
        if self.tenants.get(subscription) != token["tid"]:
            raise Refusal(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if (token["tid"], token["app"]) not in self.readers:
            text = "does not have authorization to perform action 'Microsoft.Insights/eventtypes/values/read'"
            raise Refusal(403, "AuthorizationFailed", f"The client '{token['app']}' {text}.")
        window = _WINDOW.fullmatch(query["$filter"][0])
        if window is None:
            raise Refusal(400, "BadRequest", "The $filter is not supported.")
        skip = int(query.get("$skipToken", ["0"])[0])
        if skip and not self.accepts_links:
            raise Refusal(400, "InvalidSkipToken", "The skip token is not valid any more.")
        if not skip:
            self.windows.append((subscription, window[1], window[2]))
        since, until = moment(window[1]), moment(window[2])
        assert since is not None
        assert until is not None
        matching = [
            one for one in reversed(self.records.get(subscription, []))
            if not isinstance(one, dict) or since <= _at(one) <= until
        ]  # fmt: skip
        link = (
            f"{self.next_host}/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values"
            f"?api-version=2015-04-01&$filter={quote(window[0])}&$skipToken={skip + self.page_size}"
        )
        more = skip + self.page_size < len(matching)
        return {"value": matching[skip : skip + self.page_size], **({"nextLink": link} if more else {})}

    def _file(self, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> bytes:
        assert headers["x-ms-version"]
        if not path.startswith(f"/{self.container}"):
            raise _storage(404, "ContainerNotFound")
        if query.get("comp") == ["list"]:
            found = [name for name in self.files if name.startswith(query["prefix"][0])][:1]
            blobs = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in found)
            listed = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
            return f"<?xml version='1.0'?>{listed}".encode()
        name = path.removeprefix(f"/{self.container}/")
        if name not in self.files:
            raise _storage(404, "BlobNotFound")
        return self.files[name]


def _at(record: Document) -> datetime:
    found = moment(record["eventTimestamp"])
    assert found is not None
    return found


def _storage(status: int, code: str) -> Refusal:
    refusal = Refusal(status, code, code)
    refusal.headers = {"x-ms-error-code": code}
    return refusal
