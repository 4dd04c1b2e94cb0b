"""Pub/Sub's own memory: a subscription that is set back delivers again, through its live feed, what it has retained.

It is no archive, and the only call of the watchdog that changes anything in a cloud: it moves the delivery position of
one subscription, the one that the settings name, and no other. It needs pubsub.subscriptions.get (roles/pubsub.viewer)
and pubsub.subscriptions.consume (roles/pubsub.subscriber) on it, and retention of acknowledged messages on the
subscription or retention on its topic, switched on before the messages were published.

How far it is set back. A seek also does the opposite: what was published before its time counts as acknowledged, also
what still waits to be read, and is lost. So the time is never later than the oldest message that may still wait; more
comes again than was asked for, and is known already.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]  # it ships no type information
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsub_v1 import SubscriberClient  # type: ignore[import-untyped]  # it ships no type information
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from workers.backfill.interface import Page
from workers.clouds.gcp.faults import ERRORS, fault_of
from workers.clouds.gcp.identities import is_safe
from workers.feeds import pubsub
from workers.feeds.interface import FeedFault, Reason

_SECONDS = 10.0  # of one call
_MARGIN = timedelta(minutes=10)  # between the service's clock and ours, and of what it calls published
_USUAL = timedelta(days=7)  # what an unread message is kept where the settings say nothing (gcp.md 6.3)
_GONE_TOPIC = "_deleted-topic_"
_SUBSCRIPTION = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")
_HINTS = {
    Reason.DENIED: "give this process' account roles/pubsub.subscriber and roles/pubsub.viewer on the subscription",
    Reason.NOT_FOUND: "check `subscription`: it must be the one that the live feed reads",
}


def archive(name: str, options: Mapping[str, Any]) -> "PubSubSeek":
    """Return an archive of kind `pubsub_seek`. Raises ValueError with all that is wrong with its options."""
    del name
    subscription = options.get("subscription", "")
    faults = []
    if not _SUBSCRIPTION.fullmatch(subscription):
        faults.append(
            f"subscription: {subscription!r} is no name; a full one is projects/PROJECT/subscriptions/ID, and it must "
            "be the one that the live feed reads"
        )
    endpoint = options.get("endpoint")
    if endpoint is not None and (not is_safe(endpoint) or urlsplit(endpoint).path.strip("/")):
        faults.append(
            "endpoint: must be an https:// address without a path, such as https://europe-west1-pubsub.googleapis.com "
            "(plain http only to loopback)"
        )
    try:
        pubsub.emulator()
    except ValueError as fault:
        faults.append(str(fault))
    if faults:
        raise ValueError("; ".join(faults))
    return PubSubSeek(subscription, endpoint=endpoint)


class PubSubSeek:
    """Sets one subscription back. Its only page has no messages: they come by the live feed."""

    def __init__(
        self,
        subscription: str,
        *,
        endpoint: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._subscription = subscription
        self._endpoint = endpoint
        self._now = now
        self._client: SubscriberClient | None = None

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Set the subscription back to `start` or earlier, once, and yield one page without messages or an `until`.

        `end` plays no part: what was published since is delivered too. Raises FeedFault when what was published at
        `start` is not retained any more; then nothing is changed.
        """
        del end, cursor
        settings: Any = self._call("get_subscription", {"subscription": self._subscription})
        at = self._oldest(settings, start)
        self._call("seek", {"subscription": self._subscription, "time": at})
        yield Page(messages=(), cursor=None)

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # ---------------------------------------------------------------------------------------------------------- inside

    def _oldest(self, settings: Any, start: datetime) -> datetime:  # noqa: ANN401 - the library has no types
        """Return the time to seek to. Raises FeedFault when messages of `start` are not kept."""
        waits: timedelta = settings.message_retention_duration or _USUAL
        by_topic: timedelta = settings.topic_message_retention_duration
        kept = max(waits if settings.retain_acked_messages else timedelta(), by_topic)
        mend = (
            f"gcloud pubsub subscriptions update {self._subscription} --retain-acked-messages "
            "--message-retention-duration=7d (it holds for what is published from then on); fill this gap from an "
            "archive of kind cloud_logging"
        )
        if not kept:
            text = f"{self._subscription} keeps no message that was acknowledged: nothing can be delivered again"
            raise FeedFault(Reason.REFUSED, text, hint=mend)
        if settings.detached or (settings.topic == _GONE_TOPIC and not settings.retain_acked_messages):
            raise FeedFault(Reason.REFUSED, f"{self._subscription} has lost its topic", hint=mend)
        reach = self._now() - kept
        if start < reach:
            text = (
                f"{self._subscription} keeps messages for {_days(kept)}: what was published before "
                f"{reach:%Y-%m-%d %H:%M} UTC cannot be had back from it"
            )
            hint = (
                f"read from that time on (replay --from), and what is older from an archive of kind cloud_logging; "
                f"to keep more in future: {mend.replace('7d', '31d')}"
            )
            raise FeedFault(Reason.REFUSED, text, hint=hint)
        return min(start, self._now() - waits - _MARGIN)

    def _call(self, operation: str, asked: Mapping[str, object]) -> object:
        what = f"Pub/Sub {operation} on {self._subscription}"
        try:
            if self._client is None:
                self._client = _connected(self._endpoint)
            return getattr(self._client, operation)(request=dict(asked), retry=None, timeout=_SECONDS)
        except ERRORS as error:
            fault = fault_of(error, what)
            raise FeedFault(fault.reason, str(fault), hint=_HINTS.get(fault.reason)) from error


def _connected(endpoint: str | None) -> SubscriberClient:
    """Return a client of the service, of a place of it that is named, or of an emulator on this machine."""
    if endpoint is None:
        return pubsub.client()
    parts = urlsplit(endpoint)
    if parts.scheme == "https":
        host = f"{parts.hostname}:{parts.port or 443}"
        return SubscriberClient(client_options=ClientOptions(api_endpoint=host))
    return SubscriberClient(
        transport=SubscriberGrpcTransport(
            host=parts.netloc,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google.auth has gaps in its types
            channel=grpc.insecure_channel(parts.netloc),
        )
    )


def _days(kept: timedelta) -> str:
    hours = kept.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} hours"
