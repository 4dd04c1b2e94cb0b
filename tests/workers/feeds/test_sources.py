"""The contract of a source, one suite for every kind of feed."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from tests.moto_server import Moto
from workers.feeds.folder import FolderSource
from workers.feeds.interface import Received, Source
from workers.feeds.sqs import SqsSource


class Feed(Protocol):
    """A source with the far side of it."""

    source: Source

    def send(self, body: bytes) -> None: ...


class FolderFeed:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.source: Source = FolderSource(folder, name="feed-1", cloud="aws", settle=0, visibility=1)

    def send(self, body: bytes) -> None:
        self._count += 1
        self._folder.mkdir(exist_ok=True)
        (self._folder / f"{self._count}.json").write_bytes(body)


class SqsFeed:
    def __init__(self, aws: Moto, name: str) -> None:
        self._aws = aws
        self._url = aws.queue(name)
        self.source: Source = SqsSource(self._url, name="feed-1", visibility=1)

    def send(self, body: bytes) -> None:
        self._aws.client("sqs").send_message(QueueUrl=self._url, MessageBody=body.decode())


@pytest.fixture(params=["folder", pytest.param("sqs", marks=pytest.mark.servers)])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    made: Feed
    if request.param == "folder":
        made = FolderFeed(tmp_path / "drop")
    else:
        made = SqsFeed(request.getfixturevalue("aws"), request.node.name.replace("[", "-").replace("]", ""))
    with closing(made.source):
        yield made


def all_of(source: Source, count: int) -> list[Received]:
    found: list[Received] = []
    for _ in range(20):
        found += source.receive(1)
        if len(found) >= count:
            break
    return found


def test_what_is_sent_is_received_once_with_its_bytes_and_ids_of_its_own(feed: Feed) -> None:
    bodies = {b'{"n": 1}', b'{"n": 2}', b"not json"}
    for body in bodies:
        feed.send(body)

    received = all_of(feed.source, 3)

    assert {one.body for one in received} == bodies
    assert len({one.id for one in received}) == 3
    assert {(one.deliveries, one.first, one.fault) for one in received} == {(1, 1, None)}
    assert all(one.received_at.tzinfo is not None and one.place for one in received)
    feed.source.extend(received, 30)
    assert feed.source.receive(0) == []


def test_what_is_acknowledged_is_gone(feed: Feed) -> None:
    feed.send(b"{}")
    received = all_of(feed.source, 1)
    assert list(feed.source.acknowledge(received, unreadable={received[0].id})) == []

    time.sleep(1.1)
    assert list(feed.source.receive(0)) == []


def test_what_is_not_acknowledged_comes_again_and_is_counted(feed: Feed) -> None:
    feed.send(b"{}")
    assert len(all_of(feed.source, 1)) == 1

    again = all_of(feed.source, 1)

    assert [(one.body, one.deliveries) for one in again] == [(b"{}", 2)]


def test_what_is_given_back_comes_again_at_once(feed: Feed) -> None:
    feed.send(b"{}")
    received = all_of(feed.source, 1)
    assert list(feed.source.extend(received, 0)) == []

    assert [one.deliveries for one in feed.source.receive(0)] == [2]


def test_nothing_to_acknowledge_is_nothing_to_do(feed: Feed) -> None:
    assert list(feed.source.acknowledge([])) == []
    assert list(feed.source.extend([], 0)) == []
    assert list(feed.source.receive(0)) == []
