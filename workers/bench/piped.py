"""Piped: the SQS feed of the product on a client that takes messages from a named pipe, one on each line, at once."""

import os
import select
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from workers.feeds.interface import Source
from workers.feeds.sqs import BATCH, SqsSource
from workers.settings import FeedSettings

_READ_BYTES = 1 << 16


class PipeClient:
    """What SqsSource asks of SQS. An empty line ends a long poll early. Nothing comes again: this measures time."""

    def __init__(self, path: Path) -> None:
        # Open for writing too, so that it does not end when nobody else writes.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._lines: list[bytes] = []
        self._rest = b""
        self._numbers = count(1)

    def receive_message(self, **arguments: object) -> Mapping[str, Any]:
        """Return what is there, or wait for it as long as asked."""
        wait = float(str(arguments["WaitTimeSeconds"]))
        if not self._lines and select.select([self._pipe], [], [], wait)[0]:
            *lines, self._rest = (self._rest + os.read(self._pipe, _READ_BYTES)).split(b"\n")
            self._lines += lines
        taken, self._lines = self._lines[:BATCH], self._lines[BATCH:]
        return {"Messages": [self._message(line) for line in taken if line]}

    def _message(self, line: bytes) -> Mapping[str, Any]:
        number = str(next(self._numbers))
        return {
            "MessageId": number,
            "ReceiptHandle": number,
            "Body": line.decode(),
            "Attributes": {"ApproximateReceiveCount": "1"},
        }

    def delete_message_batch(self, **_arguments: object) -> Mapping[str, Any]:
        """Say that all are deleted."""
        return {}

    def change_message_visibility_batch(self, **_arguments: object) -> Mapping[str, Any]:
        """Say that all are kept back."""
        return {}

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)


def piped_source(path: Path, make_source: Callable[..., Source], feed: FeedSettings, *more: object) -> Source:
    """Return the source of a feed: an SQS feed takes its messages from the pipe, any other is the product's own."""
    if feed.kind != "sqs":
        return make_source(feed, *more)
    return SqsSource(
        str(feed.options["url"]), name=feed.name, cloud=feed.cloud, connect=lambda _region: PipeClient(path)
    )
