"""The kinds of feed there are: whose records each carries, what its settings are called, and what makes its source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import Any, Protocol, cast

from watchdog.register import Register
from workers.feeds.interface import Source


class Shape(Enum):
    """What a setting of a feed must be."""

    TEXT = "a text"
    TEXTS = "a list of texts"
    SECRET = "a text: env:NAME or file:/path"  # noqa: S105 - the words of a fault
    SECRETS = "a list of texts: env:NAME or file:/path"
    SECONDS = "a whole number of seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting of a feed. `bounds` are those of a number."""

    shape: Shape = Shape.TEXT
    required: bool = False
    bounds: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedKind:
    """One kind of feed. `module` has the function `source`; it is imported only when such a feed is run.

    One that `needs_register` has something to answer that only the register tells; its `source` takes `register`.
    """

    clouds: Sequence[str]
    module: str
    options: Mapping[str, Option] = field(default_factory=dict)
    needs_register: bool = False


class MakesSource(Protocol):
    """The function `source` of a feed's module. Raises ValueError naming every option that is wrong, and what to do."""

    def __call__(self, name: str, cloud: str, options: Mapping[str, Any], **more: Any) -> Source:  # noqa: ANN401
        """Return the source; it connects when it is first asked."""
        ...


_LISTENS: Mapping[str, Option] = {
    "listen": Option(required=True),
    "path": Option(),
    "certificate": Option(),
    "private_key": Option(),
}
"""What every feed that is pushed to needs: HOST:PORT, the path of the URL, and the files of its TLS certificate."""

KINDS: Mapping[str, FeedKind] = {
    "folder": FeedKind(
        clouds=("aws", "azure", "gcp"), module="workers.feeds.folder", options={"path": Option(required=True)}
    ),
    "sqs": FeedKind(
        clouds=("aws",),
        module="workers.feeds.sqs",
        options={
            "url": Option(required=True),
            "region": Option(),
            "visibility_seconds": Option(shape=Shape.SECONDS, bounds=(5, 43200)),  # SQS takes up to twelve hours
        },
    ),
    "event_grid": FeedKind(
        clouds=("azure",),
        module="workers.feeds.event_grid",
        options={
            "endpoint": Option(required=True),
            "topic": Option(required=True),
            "subscription": Option(required=True),
            "key": Option(shape=Shape.SECRET),
            "lock_seconds": Option(shape=Shape.SECONDS, bounds=(60, 300)),  # azure.md 6.4
        },
    ),
    "event_grid_push": FeedKind(
        clouds=("azure",),
        module="workers.feeds.event_grid_push",
        options={
            **_LISTENS,
            "secrets": Option(shape=Shape.SECRETS),
            "tenants": Option(shape=Shape.TEXTS),
            "audience": Option(),
        },
        needs_register=True,  # to answer the handshakes of registered event subscriptions only
    ),
    "storage_queue": FeedKind(
        clouds=("azure",),
        module="workers.feeds.storage_queue",
        options={
            "url": Option(required=True),
            "key": Option(shape=Shape.SECRET),
            "visibility_seconds": Option(shape=Shape.SECONDS, bounds=(5, 604800)),
        },
    ),
    "pubsub": FeedKind(
        clouds=("gcp",),
        module="workers.feeds.pubsub",
        options={"subscription": Option(required=True)},
    ),
    "pubsub_push": FeedKind(
        clouds=("gcp",),
        module="workers.feeds.pubsub_push",
        options={**_LISTENS, "audience": Option(required=True), "service_account": Option(required=True)},
    ),
}


def make_source(
    kind: str,
    name: str,
    cloud: str,
    options: Mapping[str, Any],
    *,
    register: Callable[[], Register] | None = None,
) -> Source:
    """Return the source of a feed; secrets stand in the options already. Raises ValueError like the module itself.

    `register` gives the current register, to those kinds that need it.
    """
    makes = cast("MakesSource", import_module(KINDS[kind].module).source)
    return makes(name, cloud, options, register=register) if KINDS[kind].needs_register else makes(name, cloud, options)
