"""The text of the customer's forwarder, a small program; what it leaves out is written from the decoder's tables."""

from collections.abc import Iterable

from watchdog.clouds.azure.audit import OTHER_OBJECTS
from watchdog.clouds.azure.topic import COPY
from watchdog.clouds.azure.triage import NEVER, UNWANTED

RECORD = "byok.azure.record"
HEARTBEAT = "byok.azure.heartbeat"


def forwarder() -> str:
    """Return the program: it uses the standard library only, and runs wherever an event hub can be read."""
    text = TEMPLATE
    for mark, words in (("@OPERATIONS@", NEVER), ("@CATEGORIES@", UNWANTED)):
        text = text.replace(mark, _listed(words))
    for mark, value in (("@OBJECTS@", OTHER_OBJECTS.pattern), ("@COPY@", COPY), ("@RECORD@", RECORD)):
        text = text.replace(mark, value)
    return text.replace("@HEARTBEAT@", HEARTBEAT)


def _listed(words: Iterable[str]) -> str:
    return "\n".join(f'        "{word}",' for word in sorted(words))


TEMPLATE = '''"""Passes audit records of key vaults on to the vendor's watch, untouched, and a heartbeat beside them.

Printed by `byok-watchdog catalogue --cloud azure --for forwarder`: what is left out comes from the table by which the
watch itself judges. Records about secrets and certificates are left out too. It needs the standard library only; as an
Azure Function it is run by function_app.py. Settings are environment variables: BYOK_ENDPOINT (https://...), BYOK_TOPIC
and BYOK_KEY of the vendor's Event Grid namespace topic, BYOK_SOURCE (what the vendor has registered as this forwarder).
"""

# ruff: noqa: INP001 - a program by itself, of no package

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

Event = dict[str, Any]

RECORD = "@RECORD@"
HEARTBEAT = "@HEARTBEAT@"
# Operations and log categories that change nothing for any key, in lower case.
OPERATIONS = frozenset(
    {
@OPERATIONS@
    }
)
CATEGORIES = frozenset(
    {
@CATEGORIES@
    }
)
# Operations on secrets and certificates; the vault's copies of events about them are passed on all the same.
OBJECTS = re.compile(r"@OBJECTS@", re.IGNORECASE)
COPY = "@COPY@".lower()
VERSION = "2024-06-01"
LARGEST = 500_000  # bytes of one request; Event Grid takes a million
REFUSED = (400, 413)  # what is refused so is refused for ever


def forward(messages: Iterable[bytes]) -> None:
    """Pass on what is in messages of the event hub. Raises when it could not: then they must be delivered again."""
    publish([event for body in messages for event in events(body)])


def beat() -> None:
    """Tell the watch that this forwarder lives: without records, silence could mean either."""
    now = datetime.now(UTC).isoformat()
    publish([_event(HEARTBEAT, hashlib.sha256(now.encode()).hexdigest(), {"beat": now})])


def events(body: bytes) -> Iterator[Event]:
    """Turn one message into events, one a record. What cannot be read is passed on as such, never dropped."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        yield _unreadable(body, "not JSON")
        return
    records = found.get("records", found) if isinstance(found, dict) else found
    for record in records if isinstance(records, list) else [records]:
        text = json.dumps(record, sort_keys=True).encode()
        if not isinstance(record, dict) or not record:
            yield _unreadable(text, "not a record")
        elif is_wanted(record):
            yield _event(RECORD, hashlib.sha256(text).hexdigest(), record)


def is_wanted(record: dict[str, Any]) -> bool:
    """Whether a record may concern a key; whatever is not known to be harmless does."""
    operation, category = record.get("operationName"), record.get("category")
    if isinstance(category, str) and category.lower() in CATEGORIES:
        return False
    if not isinstance(operation, str):
        return True
    name = operation.lower()
    if name in OPERATIONS or ("/" in name and name.endswith("/read")):
        return False
    return name.endswith(COPY) or OBJECTS.fullmatch(operation) is None


def publish(found: list[Event]) -> None:
    """Send events in requests that are not too large. Raises urllib.error.URLError when they were not taken."""
    batch: list[Event] = []
    size = 0
    for event in found:
        length = len(json.dumps(event))
        if batch and size + length > LARGEST:
            _send(batch)
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        _send(batch)


def _send(batch: list[Event]) -> None:
    """Send a batch; an event that is refused for ever goes as a note of its loss, and holds nothing else up."""
    try:
        _post(batch)
    except urllib.error.HTTPError as fault:
        fault.close()
        if fault.code not in REFUSED or (len(batch) == 1 and "unreadable" in batch[0]["data"]):
            raise
        if len(batch) == 1:
            _send([_unreadable(json.dumps(batch[0]["data"]).encode(), f"refused with {fault.code}")])
            return
        middle = len(batch) // 2
        _send(batch[:middle])
        _send(batch[middle:])


def _post(batch: list[Event]) -> None:
    endpoint = os.environ["BYOK_ENDPOINT"].rstrip("/")
    place = urlsplit(endpoint)
    if place.scheme != "https" and place.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("BYOK_ENDPOINT must begin with https://")
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        f"{endpoint}/topics/{quote(os.environ['BYOK_TOPIC'])}:publish?api-version={VERSION}",
        data=json.dumps(batch).encode(),
        headers={
            "Authorization": f"SharedAccessKey {os.environ['BYOK_KEY']}",
            "Content-Type": "application/cloudevents-batch+json; charset=utf-8",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - same
        answer.read()


def _event(kind: str, name: str, data: Event) -> Event:
    return {
        "specversion": "1.0",
        "id": name,
        "source": os.environ["BYOK_SOURCE"],
        "type": kind,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }


def _unreadable(body: bytes, why: str) -> Event:
    """Say that something came that could not be passed on: the watch tells its operators."""
    name, begins = hashlib.sha256(body).hexdigest(), body[:1000].decode("utf-8", "replace")
    return _event(RECORD, name, {"unreadable": why, "sha256": name, "begins": begins})'''
