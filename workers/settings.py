"""Settings: one TOML file and a few environment variables, read once, every fault reported together."""

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

HOME_VARIABLE = "BYOK_WATCHDOG_HOME"
CONFIG_VARIABLE = "BYOK_WATCHDOG_CONFIG"
STORE_VARIABLE = "BYOK_WATCHDOG_STORE_URL"
BROKER_VARIABLE = "BYOK_WATCHDOG_BROKER_URL"

EMBEDDED = "embedded"
_SOCKET_PATH_BYTES = 100  # Linux allows 107

LEASE = timedelta(seconds=45)
"""Longer than any channel's time-outs together, shorter than anybody should wait for a page to be sent again."""

SWEEP_AFTER = timedelta(seconds=10)
"""A row that nobody has worked by then was lost by the broker, or by a worker that died."""

_FEED_KINDS = {"sqs": ("url", "region", "visibility_seconds"), "folder": ("path",)}
_WORKER = ("concurrency", "lease_seconds", "sweep_after_seconds")
_VISIBILITY = (5, 43200)  # seconds; SQS takes up to twelve hours
_LEASE = (5, 600)
_SWEEP_AFTER = (1, 600)
_TOP = ("store", "broker", "feeds", "channels", "routes", "operators", "customer_mail", "worker", "home")


@dataclass(frozen=True, slots=True)
class SettingsFault:
    """One thing wrong in the settings: where, what, and what to write instead."""

    place: str
    text: str


class SettingsFaults(Exception):  # noqa: N818 - the plural says that all faults come at once
    """Everything that is wrong with the settings, together."""

    def __init__(self, faults: list[SettingsFault]) -> None:
        super().__init__("\n".join(f"{fault.place}: {fault.text}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """One feed: where audit records come from."""

    name: str
    kind: str
    cloud: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """One channel. `options` still hold references (`env:NAME`, `file:/path`) instead of secrets."""

    name: str
    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. `broker_url` is "embedded" when this machine runs its own."""

    home: Path
    source: str
    store_url: str
    broker_url: str
    feeds: tuple[FeedSettings, ...] = ()
    channels: tuple[ChannelSettings, ...] = ()
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    customer_mail: str | None = None
    concurrency: int = 2
    lease: timedelta = LEASE
    sweep_after: timedelta = SWEEP_AFTER

    def feed(self, name: str) -> FeedSettings:
        """Return the feed of this name. Raises SettingsFaults naming the feeds there are."""
        for one in self.feeds:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.feeds) or "none"
        raise SettingsFaults([SettingsFault(f"feeds.{name}", f"there is no such feed; configured: {names}")])

    def embedded_socket(self) -> Path:
        """Path of the socket of the embedded broker."""
        path = self.home / "broker.sock"
        if len(str(path)) < _SOCKET_PATH_BYTES:
            return path
        short = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"byok-{short}.sock"

    def celery_broker_url(self) -> str:
        """The broker's address as Celery wants it."""
        if self.broker_url == EMBEDDED:
            return f"redis+socket://{self.embedded_socket()}"
        return self.broker_url


def load(environment: Mapping[str, str], *, config: Path | None = None) -> Settings:
    """Read the settings. With neither file nor variables the embedded defaults hold: SQLite, own broker, console.

    Raises SettingsFaults with every fault found.
    """
    home = Path(environment.get(HOME_VARIABLE, "byok-watchdog-home")).absolute()
    path = config or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    plain = _read(path) if path else {}
    faults: list[SettingsFault] = [
        SettingsFault(name, f"unknown section; there are: {', '.join(_TOP)}") for name in plain if name not in _TOP
    ]
    if isinstance(plain.get("home"), str) and HOME_VARIABLE not in environment:
        home = Path(plain["home"]).absolute()
    feeds = _feeds(_section(plain, "feeds", faults), home, faults)
    channels = _channels(_section(plain, "channels", faults), faults)
    names = {channel.name for channel in channels}
    routes = _routes(_section(plain, "routes", faults), names, faults)
    operators = _names(
        plain.get("operators", [next(iter(names))] if len(names) == 1 else []), "operators", names, faults
    )
    mail = plain.get("customer_mail")
    if mail is None and not plain:
        mail = "console"
    if mail is not None and mail not in names:
        faults.append(SettingsFault("customer_mail", f"no channel is called {mail!r}; there are: {_list(names)}"))
    worker = _section(plain, "worker", faults)
    faults += [
        SettingsFault(f"worker.{name}", f"unknown; there are: {_list(_WORKER)}")
        for name in worker
        if name not in _WORKER
    ]
    lease, sweep_after = int(LEASE.total_seconds()), int(SWEEP_AFTER.total_seconds())
    settings = Settings(
        home=home,
        source=str(path) if path else "embedded defaults",
        store_url=environment.get(STORE_VARIABLE) or _url(plain, "store", f"sqlite:///{home / 'watchdog.db'}", faults),
        broker_url=environment.get(BROKER_VARIABLE) or _url(plain, "broker", EMBEDDED, faults),
        feeds=feeds,
        channels=channels,
        routes=routes or {"default": tuple(sorted(names))},
        operators=operators,
        customer_mail=mail,
        concurrency=_number(worker, "worker", "concurrency", 2, (1, 256), faults),
        lease=timedelta(seconds=_number(worker, "worker", "lease_seconds", lease, _LEASE, faults)),
        sweep_after=timedelta(
            seconds=_number(worker, "worker", "sweep_after_seconds", sweep_after, _SWEEP_AFTER, faults)
        ),
    )
    if faults:
        raise SettingsFaults(faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsFaults([SettingsFault(str(path), f"no such file; it is named by {CONFIG_VARIABLE}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsFaults([SettingsFault(str(path), f"is not TOML: {error}")]) from error


def _section(plain: Mapping[str, Any], name: str, faults: list[SettingsFault]) -> dict[str, Any]:
    found = plain.get(name, {})
    if isinstance(found, dict):
        return found
    faults.append(SettingsFault(name, f"must be a table ([{name}...]), is {found!r}"))
    return {}


def _url(plain: Mapping[str, Any], name: str, default: str, faults: list[SettingsFault]) -> str:
    url = _section(plain, name, faults).get("url", default)
    if isinstance(url, str) and url:
        return url
    faults.append(SettingsFault(f"{name}.url", f"must be a text, is {url!r}"))
    return default


def _number(
    plain: Mapping[str, Any], place: str, name: str, default: int, bounds: tuple[int, int], faults: list[SettingsFault]
) -> int:
    low, high = bounds
    found = plain.get(name, default)
    if isinstance(found, int) and not isinstance(found, bool) and low <= found <= high:
        return found
    faults.append(SettingsFault(f"{place}.{name}", f"must be a whole number from {low} to {high}, is {found!r}"))
    return default


def _feeds(plain: dict[str, Any], home: Path, faults: list[SettingsFault]) -> tuple[FeedSettings, ...]:
    if not plain:
        return (FeedSettings(name="drop", kind="folder", cloud="aws", options={"path": str(home / "drop")}),)
    found = []
    for name, options in plain.items():
        place = f"feeds.{name}"
        kind = options.get("kind") if isinstance(options, dict) else None
        if kind not in _FEED_KINDS:
            faults.append(SettingsFault(f"{place}.kind", f"must be one of {_list(_FEED_KINDS)}, is {kind!r}"))
            continue
        rest = {key: value for key, value in options.items() if key not in {"kind", "cloud"}}
        required = _FEED_KINDS[kind][0]
        if required not in rest:
            faults.append(SettingsFault(f"{place}.{required}", "is missing"))
        faults += [
            SettingsFault(f"{place}.{key}", f"unknown; a feed of kind {kind} knows: {_list(_FEED_KINDS[kind])}")
            for key in rest
            if key not in _FEED_KINDS[kind]
        ]
        if "visibility_seconds" in rest and kind == "sqs":
            _number(rest, place, "visibility_seconds", 0, _VISIBILITY, faults)
        cloud = options.get("cloud", "aws")
        if cloud != "aws":
            faults.append(SettingsFault(f"{place}.cloud", f"must be 'aws', is {cloud!r}"))
        found.append(FeedSettings(name=name, kind=kind, cloud=cloud, options=rest))
    return tuple(found)


def _channels(plain: dict[str, Any], faults: list[SettingsFault]) -> tuple[ChannelSettings, ...]:
    if not plain:
        return (ChannelSettings(name="console", kind="console", options={}),)
    found = []
    for name, options in plain.items():
        kind = options.get("kind") if isinstance(options, dict) else None
        if not isinstance(kind, str):
            faults.append(SettingsFault(f"channels.{name}.kind", f"must name a kind of channel, is {kind!r}"))
            continue
        rest = {key: value for key, value in options.items() if key != "kind"}
        found.append(ChannelSettings(name=name, kind=kind, options=rest))
    return tuple(found)


def _routes(plain: dict[str, Any], names: set[str], faults: list[SettingsFault]) -> dict[str, tuple[str, ...]]:
    return {
        route: _names(
            options.get("channels") if isinstance(options, dict) else None, f"routes.{route}.channels", names, faults
        )
        for route, options in plain.items()
    }


def _names(wanted: object, place: str, names: set[str], faults: list[SettingsFault]) -> tuple[str, ...]:
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        faults.append(SettingsFault(place, f"must be a list of channel names, is {wanted!r}"))
        return ()
    unknown = [one for one in wanted if one not in names]
    if unknown:
        faults.append(SettingsFault(place, f"no channel is called {_list(unknown)}; there are: {_list(names)}"))
    return tuple(wanted)


def _list(names: Any) -> str:  # noqa: ANN401 - any collection of names
    return ", ".join(repr(name) for name in sorted(names)) or "none"


def secret(reference: object, place: str) -> object:
    """Return what `env:NAME` or `file:/path` refers to; any other value as it is. Raises SettingsFaults."""
    if not isinstance(reference, str):
        return reference
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        if rest not in os.environ:
            raise SettingsFaults([SettingsFault(place, f"the environment variable {rest} is not set")])
        return os.environ[rest]
    if scheme == "file":
        try:
            return Path(rest).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsFaults(
                [SettingsFault(place, f"cannot read the secret from {rest}: {error.strerror}")]
            ) from None
    return reference


def resolved(channel: ChannelSettings) -> dict[str, object]:
    """Return a channel's options with the secrets in place; lists are resolved one by one. Raises SettingsFaults."""
    place = f"channels.{channel.name}"
    return {
        key: [secret(one, f"{place}.{key}") for one in value]
        if isinstance(value, list)
        else secret(value, f"{place}.{key}")
        for key, value in channel.options.items()
    }
