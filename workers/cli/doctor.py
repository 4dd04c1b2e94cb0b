"""The command `doctor`: check the settings and everything that they name, and say what to do about each fault."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from watchdog.evidence import verify
from workers.broker import make_app
from workers.cli.context import settings
from workers.cli.output import json_line, safe
from workers.runtime import Runtime
from workers.settings import EMBEDDED, Settings, SettingsFaults
from workers.store import schema_revision
from workers.store.interface import StoreUnavailable
from workers.supervisor import NoBroker, redis_server
from workers.viewing import STALE, View, view

OK, WARN, BAD = "ok", "warning", "fault"


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
    bad = False
    for finding in findings(settings()):
        bad = bad or finding.state == BAD
        if as_json:
            json_line(finding)
            continue
        click.secho(f"{finding.state:8}", fg={OK: "green", WARN: "yellow", BAD: "red"}[finding.state], nl=False)
        click.echo(f" {finding.what}: {safe(finding.text)}")
        if finding.fix:
            click.echo(f"         {safe(finding.fix)}")
    raise SystemExit(1 if bad else 0)


def findings(found: Settings) -> Iterator[Finding]:
    """Look at everything, the foundations first."""
    yield Finding("settings", OK, f"{found.source}; home {found.home}")
    yield _broker(found)
    runtime = Runtime(found)
    yield from _channels(found, runtime)
    store = _store(found)
    yield store
    if store.state != BAD:
        yield from _state(runtime)


def _broker(found: Settings) -> Finding:
    if found.broker_url == EMBEDDED and not found.embedded_socket().exists():
        try:
            return Finding("broker", WARN, f"embedded, not running ({redis_server()})", "`byok-watchdog up` starts it.")
        except NoBroker as fault:
            return Finding("broker", BAD, str(fault))
    try:
        with make_app(found).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except (OperationalError, RedisError, OSError) as error:
        fix = "Start it, or correct broker.url. Until then every process works records and notices itself."
        return Finding("broker", BAD, f"cannot be reached: {error}", fix)
    return Finding("broker", OK, "answers")


def _channels(found: Settings, runtime: Runtime) -> Iterator[Finding]:
    try:
        names = ", ".join(f"{name}" for name in runtime.channels)
    except SettingsFaults as faults:
        for fault in faults.faults:
            yield Finding(fault.place, BAD, fault.text, "Correct the settings.")
        return
    yield Finding("channels", OK, names)
    if found.customer_mail is None:
        fix = 'Set customer_mail = "NAME" to a channel of kind smtp.'
        yield Finding("customer mail", BAD, "no channel: no customer is ever told", fix)
    if not found.operators:
        fix = 'Set operators = ["NAME"] to at least one channel, better two.'
        yield Finding("operators", BAD, "no channel: nobody hears of trouble with the watchdog itself", fix)
    elif len(found.operators) < 2:
        fix = "Name a second channel of another kind."
        yield Finding("operators", WARN, "only one channel: its own failure cannot be told", fix)
    if all(channel.kind == "console" for channel in found.channels):
        yield Finding(
            "channels", WARN, "only the console: nobody is paged", "Add a channel of kind pagerduty or webhook."
        )


def _store(found: Settings) -> Finding:
    if found.store_url.startswith("sqlite:///") and not Path(found.store_url.removeprefix("sqlite:///")).exists():
        return Finding(
            "store", WARN, "not made yet", "The first `byok-watchdog register import FILE` or `up` makes it."
        )
    try:
        revision = schema_revision(found.store_url)
    except StoreUnavailable as fault:
        return Finding("store", BAD, str(fault), fault.hint())
    if revision is None:
        return Finding("store", WARN, "empty", "The first `byok-watchdog register import FILE` or `up` prepares it.")
    return Finding("store", OK, f"answers, schema {revision}")


def _state(runtime: Runtime) -> Iterator[Finding]:
    try:
        with runtime.store.read() as unit:
            held, flaw = verify(unit.evidence())
        seen = view(runtime, now=datetime.now(UTC))
    except StoreUnavailable as fault:
        yield Finding("store", BAD, str(fault), fault.hint())
        return
    if flaw is None:
        yield Finding("evidence", OK, f"{held} entries hold")
    else:
        yield Finding("evidence", BAD, flaw.text, "Compare the store with a backup.")
    for look in (_register, _feeds, _processes, _outbox):
        yield from look(seen, runtime.settings)
    runtime.store.close()


def _register(seen: View, found: Settings) -> Iterator[Finding]:
    if not seen.revision:
        yield Finding("register", BAD, "none imported: nothing is watched", "`byok-watchdog register import FILE`")
        return
    yield Finding("register", OK, f"revision {seen.revision}, {len(seen.subjects)} keys")
    if not found.routes:
        yield Finding("routes", BAD, "none: no on-call is paged", 'Add [routes.default] channels = ["NAME"].')


def _feeds(seen: View, found: Settings) -> Iterator[Finding]:
    known = {feed.feed: feed for feed in seen.feeds}
    for feed in found.feeds:
        one = known.get(feed.name)
        if one is None or one.asked_at is None:
            yield Finding(
                f"feed {feed.name}", WARN, "has never asked its source", "Run `byok-watchdog consume` or `up`."
            )
        elif one.error:
            yield Finding(f"feed {feed.name}", BAD, one.error)
        else:
            yield Finding(f"feed {feed.name}", OK, f"asked {one.asked_at:%Y-%m-%d %H:%M:%S} UTC")
    if seen.quarantined:
        fix = "`byok-watchdog status --quarantine`"
        yield Finding("quarantine", BAD, f"{seen.quarantined} pieces could not be read", fix)


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
            yield Finding(one.kind, BAD, one.degraded)


def _outbox(seen: View, found: Settings) -> Iterator[Finding]:
    del found
    failed = seen.outbox.get("failed", 0)
    if failed:
        fix = "See which with `byok-watchdog status`, and reach the people in another way."
        yield Finding("outbox", BAD, f"{failed} notices failed for good", fix)
    else:
        yield Finding(
            "outbox", OK, ", ".join(f"{name} {count}" for name, count in seen.outbox.items() if count) or "empty"
        )
