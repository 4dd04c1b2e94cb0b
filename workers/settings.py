"""Settings: one TOML file and a few environment variables, read once, every fault reported together."""

import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from alerts import heartbeat
from alerts.channels import CHANNELS
from watchdog.clouds import CLOUDS
from workers.backfill import kinds as archive_kinds
from workers.feeds.kinds import KINDS, FeedKind, Option, Shape

HOME_VARIABLE = "BYOK_WATCHDOG_HOME"
CONFIG_VARIABLE = "BYOK_WATCHDOG_CONFIG"
STORE_VARIABLE = "BYOK_WATCHDOG_STORE_URL"
BROKER_VARIABLE = "BYOK_WATCHDOG_BROKER_URL"

EMBEDDED = "embedded"
_SOCKET_PATH_BYTES = 100  # Linux allows 107
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+\Z")

LEASE = timedelta(seconds=60)
"""Longer than any channel's time-outs together, shorter than anybody should wait for a page to be sent again."""

SWEEP_AFTER = timedelta(seconds=10)
"""A row that nobody has worked by then was lost by the broker, or by a worker that died."""

_STORES = ("sqlite:///", "postgresql+psycopg://")
_WORKER = ("concurrency", "lease_seconds", "sweep_after_seconds")
_LEASE = (3, 600)
_SWEEP_AFTER = (1, 600)
_OF_EVERY_FEED = ("kind", "cloud", "customers")
_OF_EVERY_ARCHIVE = ("kind", "feed", "customers")
_DROPS = {"drop": "aws", "drop-azure": "azure", "drop-gcp": "gcp"}
"""The folders that are watched when no feed is configured, by the cloud whose records are put there."""

_TOP = (
    "store",
    "broker",
    "feeds",
    "archives",
    "channels",
    "routes",
    "operators",
    "customer_mail",
    "worker",
    "probes",
    "watch",
    "heartbeat",
    "home",
)

SYNTHETIC = "synthetic-record"
"""The name under which synthetic records are taken in; no feed of the settings may be called so."""

HEARTBEAT_EVERY = timedelta(seconds=60)
_HEARTBEAT_EVERY = (10, 3600)

SILENT_AFTER = timedelta(minutes=15)
"""How long a way of audit records may show no sign of life (responsibility.md 7)."""

_SILENT_AFTER = (1, 86_400)
_WATCH = ("silent_after_seconds",)

_PROBES = ("clouds", "off", "at_once", "per_account")
_AT_ONCE = (1, 256)
_PER_ACCOUNT = (1, 1000)


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
    """One feed: where audit records come from. `options` still hold references (`env:NAME`) instead of secrets.

    `customers` are those of whom its records are believed; None: of all whose records can come this way.
    """

    name: str
    kind: str
    cloud: str
    options: Mapping[str, Any] = field(repr=False)  # somebody may have written the secret itself
    customers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """One archive: where the records of a gap of `feed` can be read again; they count as that feed's.

    `customers` are those of whom its records are believed; None: of all of whom the feed may speak.
    """

    name: str
    kind: str
    feed: str
    cloud: str
    options: Mapping[str, Any] = field(repr=False)  # somebody may have written a secret into it
    customers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """One channel. `options` still hold references (`env:NAME`, `file:/path`) instead of secrets."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(repr=False)  # somebody may have written the secret itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How keys are probed. `clouds` are those for which this installation has credentials; of the others none is asked.

    `at_once` is how many keys one process asks at the same time, `per_account` how many of one account are begun in a
    second by all processes together.
    """

    clouds: tuple[str, ...] = ()
    at_once: int = 16
    per_account: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """Where the heartbeat goes. `options` still hold references (`env:NAME`, `file:/path`) instead of secrets."""

    kind: str
    options: Mapping[str, Any] = field(repr=False)  # somebody may have written the secret itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. `broker_url` is "embedded" when this machine runs its own."""

    home: Path
    source: str
    store_url: str = field(repr=False)  # may hold a password, like the next one
    broker_url: str = field(repr=False)
    feeds: tuple[FeedSettings, ...] = ()
    archives: tuple[ArchiveSettings, ...] = ()
    channels: tuple[ChannelSettings, ...] = ()
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    customer_mail: str | None = None
    concurrency: int = 2
    lease: timedelta = LEASE
    sweep_after: timedelta = SWEEP_AFTER
    probes: ProbeSettings = field(default_factory=ProbeSettings)
    silent_after: timedelta = SILENT_AFTER
    heartbeat: HeartbeatSettings | None = None
    audit_every: timedelta = HEARTBEAT_EVERY

    @property
    def customers_by_feed(self) -> dict[str, tuple[str, ...]]:
        """The customers of each feed that is set up for certain customers only."""
        return {feed.name: feed.customers for feed in self.feeds if feed.customers is not None}

    def feed(self, name: str) -> FeedSettings:
        """Return the feed of this name. Raises SettingsFaults naming the feeds there are."""
        for one in self.feeds:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.feeds) or "none"
        raise SettingsFaults([SettingsFault(f"feeds.{name}", f"there is no such feed; configured: {names}")])

    def archive(self, name: str) -> ArchiveSettings:
        """Return the archive of this name. Raises SettingsFaults naming the archives there are."""
        for one in self.archives:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.archives) or "none"
        raise SettingsFaults([SettingsFault(f"archives.{name}", f"there is no such archive; configured: {names}")])

    def embedded_socket(self) -> Path:
        """Path of the socket of the embedded broker."""
        path = self.home / "broker.sock"
        # Other characters take more bytes, or mean something else in a URL.
        if len(str(path)) < _SOCKET_PATH_BYTES and _PLAIN_PATH.match(str(path)):
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
    found, faults = read(environment, config=config)
    if faults:
        raise SettingsFaults(faults)
    return found


def read(environment: Mapping[str, str], *, config: Path | None = None) -> tuple[Settings, list[SettingsFault]]:
    """Return what could be understood of the settings, and every fault; with a fault they are for looking only.

    Raises SettingsFaults when the file itself cannot be read.
    """
    home = Path(environment.get(HOME_VARIABLE, "byok-watchdog-home")).absolute()
    path = config or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    plain = _read(path) if path else {}
    faults: list[SettingsFault] = [
        SettingsFault(name, f"unknown section; there are: {', '.join(_TOP)}") for name in plain if name not in _TOP
    ]
    if not isinstance(plain.get("home", ""), str):
        faults.append(SettingsFault("home", f"must be the path of a folder, is {plain['home']!r}"))
    elif plain.get("home") and HOME_VARIABLE not in environment:
        home = Path(plain["home"]).absolute()
    feeds = _feeds(_section(plain, "feeds", faults), home, faults)
    channels = _channels(_section(plain, "channels", faults), faults)
    # One that has a fault of its own may be named all the same.
    names = {channel.name for channel in channels} | _section(plain, "channels", []).keys()
    routes = _routes(_section(plain, "routes", faults), names, faults)
    operators = _names(
        plain.get("operators", [next(iter(names))] if len(names) == 1 else []), "operators", names, faults
    )
    mail = plain.get("customer_mail")
    if mail is None and not plain.get("channels"):
        mail = "console"  # nobody chose a channel: the console is the only one, and carries everything
    if mail is not None and (not isinstance(mail, str) or mail not in names):
        faults.append(SettingsFault("customer_mail", f"no channel is called {mail!r}; there are: {_list(names)}"))
        mail = None
    worker = _section(plain, "worker", faults)
    faults += [
        SettingsFault(f"worker.{name}", f"unknown; there are: {_list(_WORKER)}")
        for name in worker
        if name not in _WORKER
    ]
    lease, sweep_after = int(LEASE.total_seconds()), int(SWEEP_AFTER.total_seconds())
    found = Settings(
        home=home,
        source=str(path) if path else "embedded defaults",
        store_url=_store_url(plain, environment, f"sqlite:///{home / 'watchdog.db'}", faults),
        broker_url=_broker_url(plain, environment, faults),
        feeds=feeds,
        archives=_archives(_section(plain, "archives", faults), feeds, faults),
        channels=channels,
        routes=routes or {"default": tuple(sorted(names))},
        operators=operators,
        customer_mail=mail,
        concurrency=_number(worker, "worker", "concurrency", 2, (1, 256), faults),
        lease=timedelta(seconds=_number(worker, "worker", "lease_seconds", lease, _LEASE, faults)),
        sweep_after=timedelta(
            seconds=_number(worker, "worker", "sweep_after_seconds", sweep_after, _SWEEP_AFTER, faults)
        ),
        probes=_probes(_section(plain, "probes", faults), faults),
        silent_after=_silent_after(_section(plain, "watch", faults), faults),
        heartbeat=_heartbeat(_section(plain, "heartbeat", faults), faults),
        audit_every=timedelta(
            seconds=_number(
                _section(plain, "heartbeat", []),
                "heartbeat",
                "every_seconds",
                int(HEARTBEAT_EVERY.total_seconds()),
                _HEARTBEAT_EVERY,
                faults,
            )
        ),
    )
    return found, faults


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"cannot be read ({error.strerror}); it is named by {CONFIG_VARIABLE}"
        raise SettingsFaults([SettingsFault(str(path), text)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsFaults([SettingsFault(str(path), f"is not TOML: {error}")]) from error


def _section(plain: Mapping[str, Any], name: str, faults: list[SettingsFault]) -> dict[str, Any]:
    found = plain.get(name, {})
    if isinstance(found, dict):
        return found
    faults.append(SettingsFault(name, f"must be a table ([{name}...]), is {found!r}"))
    return {}


def _store_url(
    plain: Mapping[str, Any], environment: Mapping[str, str], default: str, faults: list[SettingsFault]
) -> str:
    place, url = _url(plain, environment, "store", STORE_VARIABLE, default, faults)
    if url.startswith(_STORES):
        return url
    # The URL itself is not shown: it may hold a password.
    faults.append(SettingsFault(place, f"must begin with {' or '.join(_STORES)}"))
    return default


def _broker_url(plain: Mapping[str, Any], environment: Mapping[str, str], faults: list[SettingsFault]) -> str:
    place, url = _url(plain, environment, "broker", BROKER_VARIABLE, EMBEDDED, faults)
    if url == EMBEDDED or "://" in url:
        return url
    faults.append(SettingsFault(place, f'must be "{EMBEDDED}" or a URL such as redis://host:6379/0'))
    return EMBEDDED


def _url(
    plain: Mapping[str, Any], environment: Mapping[str, str], name: str, variable: str, default: str,
    faults: list[SettingsFault],
) -> tuple[str, str]:  # fmt: skip
    """Return where the URL stands, and the URL; the variable wins."""
    section = _section(plain, name, faults)
    faults += [SettingsFault(f"{name}.{key}", "unknown; there is: 'url'") for key in section if key != "url"]
    if environment.get(variable):
        return variable, environment[variable]
    url = section.get("url", default)
    if isinstance(url, str):
        return f"{name}.url", url
    faults.append(SettingsFault(f"{name}.url", f"must be a text, is {url!r}"))
    return f"{name}.url", default


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
        return tuple(
            FeedSettings(name=name, kind="folder", cloud=cloud, options={"path": str(home / name)})
            for name, cloud in _DROPS.items()
        )
    found = []
    for name, options in plain.items():
        place = f"feeds.{name}"
        if name == SYNTHETIC:
            faults.append(SettingsFault(place, "this name is reserved for the watchdog's own test records"))
        kind = _kind(options, place, KINDS, faults)
        if kind is None:
            continue
        rest = {key: value for key, value in options.items() if key not in _OF_EVERY_FEED}
        _options(rest, KINDS[kind].options, _OF_EVERY_FEED, f"a feed of kind {kind}", place, faults)
        found.append(
            FeedSettings(
                name=name, kind=kind, cloud=_cloud(options, KINDS[kind], place, faults), options=rest,
                customers=_customers(options, place, faults),
            )
        )  # fmt: skip
    return tuple(found)


def _options(
    rest: Mapping[str, Any], options: Mapping[str, Option], common: Collection[str], what: str, place: str,
    faults: list[SettingsFault],
) -> None:  # fmt: skip
    faults += [
        SettingsFault(f"{place}.{key}", "is missing")
        for key, option in options.items()
        if option.required and key not in rest
    ]
    known = [*options, *common]
    for key, value in rest.items():
        if key not in options:
            faults.append(SettingsFault(f"{place}.{key}", f"unknown; {what} knows: {_list(known)}"))
        elif options[key].shape is Shape.SECONDS:
            _number(rest, place, key, 0, options[key].bounds, faults)
        elif not _has_shape(value, options[key]):
            faults.append(SettingsFault(f"{place}.{key}", f"must be {options[key].shape.value}, is {value!r}"))


def _has_shape(value: object, option: Option) -> bool:
    if option.shape in {Shape.TEXTS, Shape.SECRETS}:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)


def _cloud(options: Mapping[str, Any], kind: FeedKind, place: str, faults: list[SettingsFault]) -> str:
    """Return whose records a feed carries; a kind that serves one cloud only need not say it, and a folder's is AWS."""
    cloud = options.get("cloud", kind.clouds[0])
    if cloud in kind.clouds:
        return str(cloud)
    faults.append(SettingsFault(f"{place}.cloud", f"must be one of {_list(kind.clouds)}, is {cloud!r}"))
    return kind.clouds[0]


def _customers(options: Mapping[str, Any], place: str, faults: list[SettingsFault]) -> tuple[str, ...] | None:
    wanted = options.get("customers")
    if wanted is None:
        return None
    if isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted):
        return tuple(wanted)
    faults.append(SettingsFault(f"{place}.customers", f"must be a list of customers' ids, is {wanted!r}"))
    return None


def _archives(
    plain: dict[str, Any], feeds: tuple[FeedSettings, ...], faults: list[SettingsFault]
) -> tuple[ArchiveSettings, ...]:
    found = []
    for name, options in plain.items():
        place = f"archives.{name}"
        kind = _kind(options, place, archive_kinds.KINDS, faults)
        if kind is None:
            continue
        row = archive_kinds.KINDS[kind]
        rest = {key: value for key, value in options.items() if key not in _OF_EVERY_ARCHIVE}
        _options(rest, row.options, _OF_EVERY_ARCHIVE, f"an archive of kind {kind}", place, faults)
        wanted = options.get("feed")
        feed = next((one for one in feeds if one.name == wanted and one.cloud == row.cloud), None)
        if feed is None:
            names = _list(one.name for one in feeds if one.cloud == row.cloud)
            text = f"must name the feed of {row.cloud} whose gaps it fills, is {wanted!r}; there are: {names}"
            faults.append(SettingsFault(f"{place}.feed", text))
            continue
        customers = _customers(options, place, faults) or feed.customers
        strangers = [] if feed.customers is None else [one for one in customers or () if one not in feed.customers]
        if strangers:
            text = f"feed {feed.name} is not set up for {_list(strangers)}"
            faults.append(SettingsFault(f"{place}.customers", text))
        found.append(
            ArchiveSettings(
                name=name, kind=kind, feed=feed.name, cloud=row.cloud, options=rest, customers=customers
            )
        )  # fmt: skip
    return tuple(found)


def _silent_after(plain: dict[str, Any], faults: list[SettingsFault]) -> timedelta:
    faults += [
        SettingsFault(f"watch.{name}", f"unknown; there are: {_list(_WATCH)}") for name in plain if name not in _WATCH
    ]
    usual = int(SILENT_AFTER.total_seconds())
    return timedelta(seconds=_number(plain, "watch", "silent_after_seconds", usual, _SILENT_AFTER, faults))


def _probes(plain: dict[str, Any], faults: list[SettingsFault]) -> ProbeSettings:
    faults += [
        SettingsFault(f"probes.{name}", f"unknown; there are: {_list(_PROBES)}")
        for name in plain
        if name not in _PROBES
    ]
    clouds, off = plain.get("clouds", []), plain.get("off", False)
    if not isinstance(clouds, list) or not all(one in CLOUDS for one in clouds):
        faults.append(SettingsFault("probes.clouds", f"must be a list of {_list(CLOUDS)}, is {clouds!r}"))
        clouds = []
    if not isinstance(off, bool):
        faults.append(SettingsFault("probes.off", f"must be true or false, is {off!r}"))
    plain_settings = ProbeSettings()
    return ProbeSettings(
        clouds=() if off else tuple(dict.fromkeys(clouds)),
        at_once=_number(plain, "probes", "at_once", plain_settings.at_once, _AT_ONCE, faults),
        per_account=_number(plain, "probes", "per_account", plain_settings.per_account, _PER_ACCOUNT, faults),
    )


def _heartbeat(plain: dict[str, Any], faults: list[SettingsFault]) -> HeartbeatSettings | None:
    """Return where the heartbeat goes, None when nowhere. `every_seconds` alone sets the pace of the audit."""
    options = {name: value for name, value in plain.items() if name != "every_seconds"}
    if not options:
        return None
    kind = _kind(options, "heartbeat", heartbeat.KINDS, faults)
    if kind is None:
        return None
    del options["kind"]
    known = heartbeat.OPTIONS[kind]
    faults += [
        SettingsFault(f"heartbeat.{name}", f"unknown; a heartbeat of kind {kind} knows: {_list(known)}")
        for name in options
        if name not in known
    ]
    if known[0] not in options:
        faults.append(SettingsFault(f"heartbeat.{known[0]}", "is missing"))
    return HeartbeatSettings(kind=kind, options=options)


def _channels(plain: dict[str, Any], faults: list[SettingsFault]) -> tuple[ChannelSettings, ...]:
    if not plain:
        return (ChannelSettings(name="console", kind="console", options={}),)
    found = []
    for name, options in plain.items():
        kind = _kind(options, f"channels.{name}", CHANNELS, faults)
        if kind is None:
            continue
        rest = {key: value for key, value in options.items() if key != "kind"}
        found.append(ChannelSettings(name=name, kind=kind, options=rest))
    return tuple(found)


def _kind(options: object, place: str, kinds: Collection[str], faults: list[SettingsFault]) -> str | None:
    kind = options.get("kind") if isinstance(options, dict) else None
    if isinstance(kind, str) and kind in kinds:
        return kind
    faults.append(SettingsFault(f"{place}.kind", f"must be one of {_list(kinds)}, is {kind!r}"))
    return None


def _routes(plain: dict[str, Any], names: set[str], faults: list[SettingsFault]) -> dict[str, tuple[str, ...]]:
    found = {}
    for route, options in plain.items():
        place = f"routes.{route}"
        if not isinstance(options, dict):
            faults.append(SettingsFault(place, f"must be a table ([{place}]), is {options!r}"))
            continue
        unknown = [key for key in options if key != "channels"]
        faults += [SettingsFault(f"{place}.{key}", "unknown; there is: 'channels'") for key in unknown]
        found[route] = _names(options.get("channels"), f"{place}.channels", names, faults)
        if not found[route] and options.get("channels") == []:
            faults.append(SettingsFault(f"{place}.channels", f"names no channel; there are: {_list(names)}"))
    return found


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
        if not os.environ.get(rest):
            raise SettingsFaults([SettingsFault(place, f"the environment variable {rest} is not set, or empty")])
        return os.environ[rest]
    if scheme == "file":
        return _secret_in(Path(rest), place)
    return reference


def _secret_in(path: Path, place: str) -> str:
    try:
        found = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsFaults([SettingsFault(place, f"cannot read the secret from {path}: {error.strerror}")]) from None
    except UnicodeDecodeError:
        # Without its cause: that shows the bytes.
        raise SettingsFaults([SettingsFault(place, f"the secret in {path} is not UTF-8 text")]) from None
    if not found:
        raise SettingsFaults([SettingsFault(place, f"the file {path} is empty")])
    return found


def resolved(one: ChannelSettings | FeedSettings | ArchiveSettings | HeartbeatSettings) -> dict[str, object]:
    """Return the options of one thing that has a kind, the secrets in place; lists are resolved one by one.

    Raises SettingsFaults with every secret that is missing.
    """
    found: dict[str, object] = {}
    faults: list[SettingsFault] = []
    for key, value in one.options.items():
        try:
            found[key] = _resolved(value, f"{_place(one)}.{key}") if _may_refer(one, key) else value
        except SettingsFaults as missing:
            faults += missing.faults
    if faults:
        raise SettingsFaults(faults)
    return found


def _place(one: ChannelSettings | FeedSettings | ArchiveSettings | HeartbeatSettings) -> str:
    if isinstance(one, HeartbeatSettings):
        return "heartbeat"
    if isinstance(one, ArchiveSettings):
        return f"archives.{one.name}"
    return f"{'channels' if isinstance(one, ChannelSettings) else 'feeds'}.{one.name}"


def _may_refer(one: ChannelSettings | FeedSettings | ArchiveSettings | HeartbeatSettings, key: str) -> bool:
    """Whether an option may be a reference: in a feed or an archive those that are secret, elsewhere every one."""
    if isinstance(one, FeedSettings):
        return KINDS[one.kind].options[key].shape in {Shape.SECRET, Shape.SECRETS}
    if isinstance(one, ArchiveSettings):
        return archive_kinds.KINDS[one.kind].options[key].shape in {Shape.SECRET, Shape.SECRETS}
    return True


def _resolved(value: object, place: str) -> object:
    return [secret(one, place) for one in value] if isinstance(value, list) else secret(value, place)
