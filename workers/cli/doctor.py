"""The command `doctor`: check the settings and everything that they name, and say what to do about each fault."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from watchdog.audit import Chain, Outcome, audit
from watchdog.clouds.azure.feeds import SETTING
from watchdog.clouds.azure.index import index_of as azure_index_of
from watchdog.clouds.gcp.index import index_of
from watchdog.evidence import verify
from watchdog.register import Register
from workers.auditing import Audited, collect
from workers.broker import make_app
from workers.cli.context import channel_faults, store_file
from workers.cli.output import count, json_line, safe
from workers.runtime import Runtime
from workers.scheduler import CLAIMED
from workers.settings import EMBEDDED, Settings, SettingsFaults, read
from workers.store import schema_revision
from workers.store.interface import NoticeState, StoreUnavailable
from workers.supervisor import NoBroker, redis_server
from workers.viewing import STALE, View, view

OK, WARN, BAD = "ok", "warning", "fault"
_MAILING = frozenset({"smtp", "console"})
SETTINGS_FIX = "Correct the settings; deploy/byok-watchdog.toml.example shows every one."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do."""

    what: str
    state: str
    text: str
    fix: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one for each finding.")
def doctor(*, as_json: bool) -> None:
    """Check settings, store, broker, channels, register, feeds and processes. Exit 1 when something is wrong."""
    states = Counter[str]()
    for finding in findings():
        states[finding.state] += 1
        if as_json:
            json_line(finding)
            continue
        click.secho(f"{finding.state:8}", fg={OK: "green", WARN: "yellow", BAD: "red"}[finding.state], nl=False)
        click.echo(f" {safe(finding.what)}: {safe(finding.text)}")
        if finding.fix:
            click.echo(f"         {safe(finding.fix)}")
    if not as_json:
        click.echo(f"\n{count(states[BAD], 'fault')}, {count(states[WARN], 'warning')}, {states[OK]} in order.")
    raise SystemExit(1 if states[BAD] else 0)


def findings() -> Iterator[Finding]:
    """Look at everything, the foundations first. With faults in the settings nothing beyond them is looked at."""
    try:
        found, faults = read(os.environ)
    except SettingsFaults as unread:
        yield from (Finding(fault.place, BAD, fault.text, SETTINGS_FIX) for fault in unread.faults)
        return
    faults += channel_faults(found)
    yield from (Finding(fault.place, BAD, fault.text, SETTINGS_FIX) for fault in faults)
    if faults:
        return
    yield Finding("settings", OK, f"{found.source}; home {found.home}")
    yield _broker(found)
    yield from _channels(found)
    yield from _sources(found)
    store = _store(found)
    yield store
    if store.state == OK:
        yield from _state(Runtime(found))


def _broker(found: Settings) -> Finding:
    if found.broker_url == EMBEDDED and not found.embedded_socket().exists():
        try:
            return Finding("broker", WARN, f"embedded, not running ({redis_server()})", "`byok-watchdog up` starts it.")
        except NoBroker as fault:
            return Finding("broker", BAD, str(fault))
    try:
        with make_app(found).connection_for_write() as connection:
            connection.ensure_connection(max_retries=0, timeout=3)
    except (OperationalError, RedisError, OSError) as error:
        fix = "Start it, or correct broker.url. Until then every process works records and notices itself."
        return Finding("broker", BAD, f"cannot be reached: {error}", fix)
    return Finding("broker", OK, "answers")


def _channels(found: Settings) -> Iterator[Finding]:
    yield Finding("channels", OK, ", ".join(f"{one.name} ({one.kind})" for one in found.channels))
    if found.customer_mail is None:
        fix = 'Set customer_mail = "NAME" to a channel of kind smtp.'
        yield Finding("customer mail", BAD, "no channel: no customer is ever told", fix)
    elif (kind := next(one.kind for one in found.channels if one.name == found.customer_mail)) not in _MAILING:
        text = f"the channel {found.customer_mail} is of kind {kind}, which writes no mails"
        yield Finding("customer mail", BAD, text, "Name a channel of kind smtp.")
    if not found.operators:
        fix = 'Set operators = ["NAME"] to at least one channel, better two.'
        yield Finding("operators", BAD, "no channel: nobody hears of trouble with the watchdog itself", fix)
    elif len(found.operators) < 2:
        fix = "Name a second channel of another kind."
        yield Finding("operators", WARN, "only one channel: its own failure cannot be told", fix)
    if all(channel.kind == "console" for channel in found.channels):
        fix = "Add a channel of kind pagerduty or webhook, and one of kind smtp for the customers."
        yield Finding("paging", WARN, "only the console: nobody is paged or mailed", fix)


_STATES = {Outcome.PASSED: OK, Outcome.UNTOLD: WARN, Outcome.FAILED: BAD}

# The option of a feed that is pulled which says whom to ask; the others listen, or find their way by themselves.
_ENDPOINTS = {"sqs": "url", "event_grid": "endpoint", "storage_queue": "url"}
_PATIENCE = 3.0  # seconds to connect in


def _sources(found: Settings) -> Iterator[Finding]:
    """Tell of feeds that cannot even be made with their settings, and of far ends that do not take a connection."""
    # What a feed is made of may be large (an SDK): only the kinds that are configured are imported, and only here.
    from workers.processes import make_source  # noqa: PLC0415

    for feed in found.feeds:
        if feed.kind == "folder":
            continue  # making its source makes the folder, and the doctor changes nothing
        try:
            make_source(feed).close()
        except SettingsFaults as faults:
            yield from (Finding(fault.place, BAD, fault.text, SETTINGS_FIX) for fault in faults.faults)
            continue
        option = _ENDPOINTS.get(feed.kind)
        if option is not None and (fault := _silent(str(feed.options[option]))):
            fix = "Check the address, the network and the firewall; behind a proxy for HTTPS this may be as it should."
            yield Finding(f"feed {feed.name}", WARN, fault, fix)
    yield from _archives(found)


def _archives(found: Settings) -> Iterator[Finding]:
    """Tell of archives that cannot be made with their settings."""
    from workers.backfilling import open_archive  # noqa: PLC0415 - as above

    for archive in found.archives:
        try:
            open_archive(archive).close()
        except SettingsFaults as faults:
            yield from (Finding(fault.place, BAD, fault.text, SETTINGS_FIX) for fault in faults.faults)


def _silent(url: str) -> str | None:
    """Say why the far end of a URL does not take a connection; None when it does."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or (443 if place.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=_PATIENCE).close()
    except OSError as error:
        return f"{address[0]}:{address[1]} does not answer: {error.strerror or error}"
    return None


def _store(found: Settings) -> Finding:
    file = store_file(found)
    fix = "`byok-watchdog register import FILE` or `byok-watchdog up` makes it."
    if file is not None and not file.exists():
        return Finding("store", WARN, f"not made yet: {file}", fix)
    try:
        revision = schema_revision(found.store_url)
    except StoreUnavailable as fault:
        return Finding("store", BAD, str(fault), fault.hint())
    if revision is None:
        return Finding("store", WARN, "empty", fix)
    return Finding("store", OK, f"answers, schema {revision}")


def _state(runtime: Runtime) -> Iterator[Finding]:
    now = datetime.now(UTC)
    try:
        with runtime.store.read() as unit:
            held, flaw = verify(unit.evidence())
            register = runtime.registry.current(unit)
            # The whole chain was walked just now, from its first entry to its last.
            chain = Chain(held=held, is_caught_up=True, whole_at=now, flaw=flaw.text if flaw else None)
            facts = collect(runtime, unit, chain, CLAIMED, now=now)
        seen = view(runtime, now=now)
    except StoreUnavailable as fault:
        yield Finding("store", BAD, str(fault), fault.hint())
        return
    finally:
        runtime.store.close()
    if flaw is None:
        yield Finding("evidence", OK, f"{count(held, 'entry', 'entries')}, each sealing the one before it")
    else:
        yield Finding("evidence", BAD, flaw.text, "Keep the store as it is, and compare it with a backup.")
    yield from _register(register, runtime.settings)
    for look in (_feeds, _processes, _waiting):
        yield from look(seen, runtime.settings)
    for check in audit(facts):  # what the heartbeat hangs on, by the same rules
        yield Finding(f"audit: {check.name}", _STATES[check.outcome], check.words, check.next)
    yield _heartbeat(seen.audited, runtime.settings, now)


def _register(register: Register, found: Settings) -> Iterator[Finding]:
    if not register.revision:
        yield Finding("register", BAD, "none imported: nothing is watched", "`byok-watchdog register import FILE`")
        return
    yield Finding("register", OK, f"revision {register.revision}, {count(len(register.keys), 'key')}")
    for instance in {key.instance.id: key.instance for key in register.keys.values()}.values():
        if instance.on_call not in found.routes:
            used = "the route default" if "default" in found.routes else "the operators' channels"
            fix = f"Add [routes.{instance.on_call}] to the settings, or name another route in the register."
            text = f"its route {instance.on_call} does not exist: {used} will be used"
            yield Finding(f"instance {instance.id}", WARN, text, fix)
    yield from _carried(register, found)


def _carried(register: Register, found: Settings) -> Iterator[Finding]:
    """Tell of keys whose records no feed carries, and of feeds whose records the register would not believe."""
    for cloud in sorted({key.cloud for key in register.keys.values()} - {feed.cloud for feed in found.feeds}):
        fix = f"Add a feed with the records of {cloud} to the settings."
        yield Finding(f"keys on {cloud}", BAD, "registered, but no feed carries records of this cloud", fix)
    for feed in found.feeds:
        strangers = sorted(set(feed.customers or ()) - register.customers.keys())
        if strangers:
            text = f"set up for customers that are not in the register: {', '.join(strangers)}"
            yield Finding(f"feed {feed.name}", WARN, text, "Correct `customers`, or import the register that has them.")
    yield from _subscriptions(register, found)
    yield from _unlogged(register)


def _unlogged(register: Register) -> Iterator[Finding]:
    """Tell whose vaults write their log to nowhere: nothing else carries the loss of a key on Azure (azure.md 6.6)."""
    index = azure_index_of(register)
    vaults = Counter(
        container.estate.customer
        for container in index.containers.values()
        if container.keys and not any(feed.kind == SETTING for feed in index.feeds_under.get(container.id, []))
    )
    for customer, number in vaults.items():
        text = f"{count(number, 'vault')} with registered keys and no diagnostic setting: their loss is told by nobody"
        fix = "Set it up (deploy/azure), and list it in azure.feeds.diagnostic_settings."
        yield Finding(f"vaults of {customer or 'the vendor'}", WARN, text, fix)


def _subscriptions(register: Register, found: Settings) -> Iterator[Finding]:
    """Compare the subscriptions that are read with those that are registered: a record is believed by its own."""
    index = index_of(register)
    pulled = set()
    for feed in found.feeds:
        if feed.kind == "pubsub":
            name = index.normal(feed.options["subscription"])
            pulled.add(name)
            if name not in index.subscriptions:
                fix = "List it in the feeds of a customer (gcp.feeds), or of the vendor."
                text = f"{feed.options['subscription']} is not in the register: none of its records will be believed"
                yield Finding(f"feed {feed.name}", BAD, text, fix)
    if not pulled or any(feed.kind == "pubsub_push" for feed in found.feeds):
        return  # which subscriptions are pushed is set in the cloud
    for name in sorted(index.subscriptions.keys() - pulled):
        fix = 'Add a feed of kind "pubsub" with this subscription.'
        yield Finding(f"subscription {name}", WARN, "in the register, but no feed reads it", fix)


def _feeds(seen: View, found: Settings) -> Iterator[Finding]:
    known = {feed.feed: feed for feed in seen.feeds}
    for feed in found.feeds:
        one = known.get(feed.name)
        start = f"Run `byok-watchdog consume {feed.name}` or `up`."
        if one is not None and one.error:
            yield Finding(f"feed {feed.name}", BAD, one.error, "Mend that; it is tried again all the time.")
        elif one is None or one.asked_at is None:
            yield Finding(f"feed {feed.name}", WARN, "has never asked its source", start)
        elif seen.at - one.asked_at >= STALE:
            text = f"last asked {one.asked_at:%Y-%m-%d %H:%M:%S} UTC: nobody listens to it now"
            yield Finding(f"feed {feed.name}", BAD, text, start)
        else:
            yield Finding(f"feed {feed.name}", OK, f"asked {one.asked_at:%Y-%m-%d %H:%M:%S} UTC")
    if seen.quarantined:
        fix = "Look at them: `byok-watchdog status --quarantine`"
        yield Finding("quarantine", WARN, f"{count(seen.quarantined, 'piece')} could not be read", fix)


_NEEDED: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("a scheduler", lambda kind: kind == "scheduler"),
    ("a worker", lambda kind: kind.startswith("worker")),
    ("a consumer", lambda kind: kind.startswith("consumer")),
)


def _processes(seen: View, found: Settings) -> Iterator[Finding]:
    del found
    alive = [one for one in seen.processes if seen.at - one.seen_at < STALE]
    for name, fits in _NEEDED:
        count = sum(1 for one in alive if fits(one.kind))
        if count:
            yield Finding(name, OK, f"{count} alive")
        else:
            yield Finding(name, BAD, "none alive", "Start it, or run `byok-watchdog up`.")
    for one in alive:
        if one.degraded:
            yield Finding(one.kind, BAD, one.degraded, "Mend that; the process takes note of it by itself.")


def _heartbeat(audited: Audited | None, found: Settings, now: datetime) -> Finding:
    """Tell when the last heartbeat left, or why none does."""
    if found.heartbeat is None:
        fix = "Set [heartbeat] to something outside that pages when it stays away, such as a check of Healthchecks."
        return Finding("heartbeat", WARN, "none configured: nobody hears of it when the watchdog itself dies", fix)
    if audited is None:
        return Finding("heartbeat", WARN, "none sent yet: no scheduler has made an audit", "Start a scheduler.")
    last = f"the last one left {_moment(audited.sent_at)}" if audited.sent_at else "none has left yet"
    if now - audited.at >= max(STALE, 3 * found.audit_every):
        text = f"{last}; no scheduler has made an audit since {_moment(audited.at)}"
        return Finding("heartbeat", BAD, text, "Start a scheduler.")
    if audited.error is not None:
        fix = "Mend that; it is tried again all the time."
        return Finding("heartbeat", BAD, f"{last}; the next one could not be sent: {audited.error}", fix)
    if audited.failing_since is not None:
        text = f"{last}; held back since {_moment(audited.failing_since)}, because the audit does not pass"
        return Finding("heartbeat", BAD, text, "Mend what the audit says.")
    return Finding("heartbeat", OK, last)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _waiting(seen: View, found: Settings) -> Iterator[Finding]:
    del found
    waits = sum(seen.inbox.values())
    yield Finding("inbox", OK, f"{count(waits, 'row')} to be worked" if waits else "empty")
    failed = [
        one for notices in seen.notices.values() for one in notices if one.state is NoticeState.FAILED
    ]  # of open incidents: with the others nobody can do anything any more
    for one in failed:
        whom = one.notice.recipient.email if one.notice.recipient else "the on-call"
        fix = f"Reach {whom} in another way; what to say: `byok-watchdog status {one.notice.incident}`"
        yield Finding(f"notice {one.notice.id}", BAD, f"failed for good: {one.error}", fix)
    states = ", ".join(f"{name} {number}" for name, number in seen.outbox.items() if number)
    yield Finding("outbox", OK, states or "empty")
