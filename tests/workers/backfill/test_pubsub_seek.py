"""Setting a subscription back, by the real client: what is retained comes again, and nothing that waits is lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]  # no type information

from tests.pubsub_server import Feed, PubSub, PubSubServer, served
from workers.backfill.interface import Page
from workers.backfill.pubsub_seek import PubSubSeek, archive
from workers.feeds.interface import FeedFault, Reason

pytestmark = pytest.mark.servers

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_google_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PUBSUB_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def double() -> Iterator[PubSubServer]:
    with served() as server:
        yield server


@pytest.fixture
def far(double: PubSubServer) -> Iterator[PubSub]:
    server = PubSub(double.host)
    yield server
    server.close()


def days(number: int) -> Duration:
    return Duration(seconds=number * 86400)


def retaining(far: PubSub, name: str = "audit-globex", kept: int = 7) -> Feed:
    return far.feed(name, retain_acked_messages=True, message_retention_duration=days(kept))


def read_all(feed: Feed) -> list[bytes]:
    """Take everything that waits, and acknowledge it."""
    found = feed.pull()
    if found:
        feed.acknowledge(*(one.ack_id for one in found))
    return [one.message.data for one in found]


def set_back(double: PubSubServer, feed: Feed, start: datetime) -> list[Page]:
    made = archive("gaps", {"subscription": feed.subscription, "endpoint": f"http://{double.host}"})
    try:
        return list(made.pages(start, datetime.now(UTC), None))
    finally:
        made.close()


def refused(double: PubSubServer, feed: Feed, start: datetime) -> FeedFault:
    """Return the fault; what is refused here has not been asked for."""
    asked = double.matter.calls["Seek"]
    with pytest.raises(FeedFault) as caught:
        set_back(double, feed, start)
    assert asked == double.matter.calls["Seek"] or caught.value.reason is not Reason.REFUSED
    return caught.value


def test_what_was_acknowledged_is_delivered_again_by_the_feed_itself(double: PubSubServer, far: PubSub) -> None:
    feed = retaining(far)
    feed.publish(b"one", b"two")
    assert [b"one", b"two"] == read_all(feed)
    pages = set_back(double, feed, datetime.now(UTC) - HOUR)

    assert [Page(messages=(), cursor=None, until=None)] == pages
    assert [b"one", b"two"] == read_all(feed)
    assert 1 == double.matter.calls["Seek"]


def test_what_still_waits_is_not_lost_although_it_is_older_than_the_gap(double: PubSubServer, far: PubSub) -> None:
    feed = retaining(far)
    feed.publish(b"waits")
    set_back(double, feed, datetime.now(UTC) + HOUR)  # as if the gap had begun after it was published

    assert [b"waits"] == read_all(feed)


def test_no_other_subscription_is_touched(double: PubSubServer, far: PubSub) -> None:
    feed, other = retaining(far), retaining(far, "audit-initech")
    other.publish(b"of somebody else")
    read_all(other)
    set_back(double, feed, datetime.now(UTC) - HOUR)

    assert [] == read_all(other)


def test_a_subscription_that_retains_nothing_is_left_alone_and_told_how_to(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("audit-globex")
    feed.publish(b"one")
    fault = refused(double, feed, datetime.now(UTC) - HOUR)

    assert (Reason.REFUSED, True) == (fault.reason, fault.permanent)
    assert f"update {feed.subscription} --retain-acked-messages" in fault.hint()
    assert "cloud_logging" in fault.hint()
    assert (1, 0) == double.matter.counts(feed.subscription)


def test_a_gap_that_is_older_than_what_is_kept_is_told_with_its_end(double: PubSubServer, far: PubSub) -> None:
    feed = retaining(far, kept=3)
    fault = refused(double, feed, datetime.now(UTC) - timedelta(days=3, minutes=1))

    assert Reason.REFUSED is fault.reason
    assert "3 days" in str(fault)
    assert f"before {datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}" in str(fault)
    assert "--from" in fault.hint()


def test_retention_of_the_topic_counts_too(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("audit-globex", topic_message_retention_duration=days(10))
    assert 1 == len(set_back(double, feed, datetime.now(UTC) - timedelta(days=9)))
    assert "10 days" in str(refused(double, feed, datetime.now(UTC) - timedelta(days=11)))


@pytest.mark.parametrize("method", ["GetSubscription", "Seek"])
@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        ("PERMISSION_DENIED", Reason.DENIED, True),
        ("NOT_FOUND", Reason.NOT_FOUND, True),
        ("RESOURCE_EXHAUSTED", Reason.THROTTLED, False),
        ("UNAVAILABLE", Reason.NETWORK, False),
        ("INTERNAL", Reason.SERVER, False),
        ("UNAUTHENTICATED", Reason.CREDENTIALS, True),
    ],
)
def test_every_trouble_has_its_reason(  # what goes wrong, at which call, and what it is called
    double: PubSubServer, far: PubSub, method: str, code: str, reason: Reason, *, permanent: bool
) -> None:
    feed = retaining(far)
    double.matter.refuse(method, code)
    fault = refused(double, feed, datetime.now(UTC) - HOUR)

    assert (reason, permanent) == (fault.reason, fault.permanent)
    assert fault.hint()
    if reason is Reason.DENIED:
        assert "roles/pubsub.subscriber" in fault.hint()


def test_a_service_that_is_away_is_a_matter_of_the_network(double: PubSubServer, far: PubSub) -> None:
    feed = retaining(far)
    double.stop()
    assert Reason.NETWORK is refused(double, feed, datetime.now(UTC) - HOUR).reason


def test_the_emulator_that_the_environment_names_is_spoken_to_as_by_the_feed(
    double: PubSubServer, far: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = retaining(far)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", double.host)
    made = PubSubSeek(feed.subscription)
    assert 1 == len(list(made.pages(datetime.now(UTC) - HOUR, datetime.now(UTC), None)))
    made.close()


def test_all_that_is_wrong_with_the_options_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "far.example:8085")
    with pytest.raises(
        ValueError, match=r"subscription: 'audit'.*endpoint: must be an https:// .*PUBSUB_EMULATOR_HOST"
    ):
        archive("gaps", {"subscription": "audit", "endpoint": "http://pubsub.example"})
