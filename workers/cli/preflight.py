"""The live pre-flight of `register check`, and how a pre-flight is shown."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import click

from watchdog.preflight import Line, Outcome, Preflight, Summary, is_command
from watchdog.probing import Answer, Finding
from watchdog.register import RegisteredKey
from workers import logs
from workers.cli.context import runtime
from workers.cli.output import count, fail, filled, json_line, moment, safe, short
from workers.preflighting import AT_ONCE, Preflighting
from workers.probes.schedule import probe_of
from workers.probing import Probing
from workers.runtime import Runtime

_WIDTH = 15
_INDENT = " " * (_WIDTH + 2)
_LABELS = {Outcome.PASS: "PASS", Outcome.FAIL: "FAIL", Outcome.CANNOT_VERIFY: "CANNOT VERIFY"}
_COLOURS = {"PASS": "green", "FAIL": "red", "BLOCKS": "red", "AGREED": "cyan", "CANNOT VERIFY": "yellow"}
_ORDER = ("BLOCKS", "FAIL", "AGREED", "CANNOT VERIFY", "PASS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What the live pre-flight of one key came to; `canaries` are versions, `troubles` what no canary could be made of.

    `found` is None when somebody else took the key meanwhile.
    """

    key: RegisteredKey
    found: Preflight | None
    canaries: tuple[str, ...]
    troubles: tuple[Finding, ...]
    notices: tuple[str, ...]


def check_keys(names: Sequence[str], *, by: str, as_json: bool) -> bool:
    """Check these keys (none named: all) live and print what came of it; return whether nothing blocks."""
    logs.configure(level="warning")  # notices are sent from here; standard output is the command's own
    with runtime() as found:
        keys = _chosen(found, names)
        every = []
        for done in _done(found, keys, by):
            every.append(done)
            json_line(row_of(done)) if as_json else _show(done)
    if not as_json:
        _show_summary(every)
    return not any(one.found is None or one.found.summary.blocked_by for one in every)


def _chosen(found: Runtime, names: Sequence[str]) -> list[RegisteredKey]:
    with found.store.read() as unit:
        register = found.registry.current(unit)
    if not register.keys:
        fail("No register has been imported.", hint="`byok-watchdog register import FILE`, then again.")
    chosen = []
    for name in names:
        meant = [key for key in register.keys.values() if name in {key.id, key.id.rpartition("/")[2]}]
        if len(meant) != 1:
            what = "Not a registered key" if not meant else f"{len(meant)} registered keys end like this"
            fail(f"{what}: {name}", hint="`byok-watchdog register show` lists the keys with their whole ids.")
        chosen += meant
    return chosen or list(register.keys.values())


def _done(found: Runtime, keys: Sequence[RegisteredKey], by: str) -> Iterator[Done]:
    """Check the keys side by side, some at a time, and send what follows; yield them in their order."""
    from workers.processes import make_intake, send_all  # noqa: PLC0415 - brings boto3
    from workers.working import Work  # noqa: PLC0415 - as above

    probing, preflighting = Probing(found), Preflighting(found)
    work = Work(found, make_intake(found), None)
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check")
    try:
        for start in range(0, len(keys), AT_ONCE):
            # A console channel writes to standard output, which belongs to the outcome.
            with redirect_stdout(sys.stderr):
                some = keys[start : start + AT_ONCE]
                every = list(pool.map(lambda key: _check(found, probing, preflighting, key, by), some))
                send_all(work, [one for _, queued in every for one in queued])
            yield from (done for done, _ in every)
    finally:
        pool.shutdown(cancel_futures=True)
        probing.close()
        preflighting.close()


def _check(
    found: Runtime, probing: Probing, preflighting: Preflighting, key: RegisteredKey, by: str
) -> tuple[Done, list[Any]]:
    canaries: list[str] = []
    troubles: list[Finding] = []
    queued: list[Any] = []
    if key.cloud in found.probers.clouds and not probe_of(key).off:
        with found.store.read() as unit:
            have = unit.canaries([key.id])
        if not have:
            made, making = probing.make_canaries(key.id, by=by)
            canaries += [one.version for one in made]
            troubles += making
        asked, settled = probing.probe_now(key.id, by=by)
        canaries += [one.version for one in asked.made]
        troubles += asked.making
        queued += settled.queued
    checked, notices = preflighting.check_now(key.id, by=by)
    queued += notices
    bad = tuple(one for one in troubles if one.answer not in {Answer.OK, Answer.NOT_ASKED})
    done = Done(
        key=key, found=checked, canaries=tuple(dict.fromkeys(canaries)), troubles=bad,
        notices=tuple(one.id for one in queued),
    )  # fmt: skip
    return done, queued


# --------------------------------------------------------------------------------------------------------- for machines


def row_of(done: Done) -> Mapping[str, Any]:
    """Return the pre-flight of one key as plain JSON."""
    return {
        "key": done.key.id,
        "customer": done.key.customer.id,
        "instance": done.key.instance.id,
        "preflight": preflight_row(done.found),
        "canaries": done.canaries,
        "canary_troubles": [f"{one.version or ''} {one.answer}: {one.words}".strip() for one in done.troubles],
        "notices": done.notices,
    }


def preflight_row(found: Preflight | None) -> Mapping[str, Any] | None:
    """Return a pre-flight in full as plain JSON, None when there is none."""
    if found is None:
        return None
    return {**(summary_row(found.summary) or {}), "checks": [_line_row(line) for line in found.lines]}


def summary_row(found: Summary | None) -> Mapping[str, Any] | None:
    """Return a pre-flight in short as plain JSON, None when there is none."""
    if found is None:
        return None
    return {
        "at": moment(found.at),
        "pass": found.passed,
        "fail": found.failed,
        "agreed": found.agreed,
        "cannot_verify": found.unverified,
        "blocked_by": found.blocked_by,
    }


def _line_row(line: Line) -> Mapping[str, Any]:
    one = line.checked
    return {
        "check": one.id, "title": one.title, "outcome": one.outcome, "words": one.words, "fix": one.fix,
        "owner": one.owner, "hard": one.hard, "source": one.source, "blocks": line.blocks, "agreed": line.is_agreed,
        "deviation": line.deviation, "statement": line.statement, "statement_is_old": line.is_stale,
        "verified_until": moment(line.verified_until), "alarms": line.alarms,
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- for people


def in_a_line(found: Summary | None) -> str:
    """Say a pre-flight in a line: when, how many of what, and what blocks."""
    if found is None:
        return "none yet: byok-watchdog register check"
    blocked = f"; blocked by {', '.join(found.blocked_by)}" if found.blocked_by else ""
    return f"{short(found.at)} UTC: {found.words}{blocked}"


def _show(done: Done) -> None:
    key = done.key
    click.secho(f"{safe(key.customer.id)} / {safe(key.entry.name or key.instance.name or key.instance.id)}", bold=True)
    click.echo(f"  {safe(key.id)}")
    reference = f"exception {key.entry.exception.reference}" if key.entry.exception else f"owner {key.entry.owner}"
    if done.found is None:
        click.secho(f"  {safe(reference)}; somebody else took the key meanwhile: check it again", fg="yellow")
        click.echo()
        return
    click.echo(filled("", f"{reference}; pre-flight of {in_a_line(done.found.summary)}", indent="  "))
    if done.canaries:
        click.echo(
            f"  {count(len(done.canaries), 'canary', 'canaries')} made, of version {safe(', '.join(done.canaries))}"
        )
    for one in done.troubles:
        click.secho(filled("", f"no canary could be made: {one.answer} ({one.words})", indent="  "), fg="yellow")
    click.echo()
    for line in sorted(done.found.lines, key=lambda line: _ORDER.index(_label(line))):
        _show_line(line)
    if done.notices:
        click.echo(f"  {count(len(done.notices), 'notice')} went out or wait in the outbox: byok-watchdog status")
    click.echo()


def _label(line: Line) -> str:
    if line.checked.outcome is Outcome.FAIL and line.is_agreed:
        return "AGREED"
    return "BLOCKS" if line.blocks else _LABELS[line.checked.outcome]


def _show_line(line: Line) -> None:
    one, label = line.checked, _label(line)
    click.secho(f"  {label:{_WIDTH}}", fg=_COLOURS[label], bold=label != "PASS", nl=False)
    click.echo(filled("", f"{one.title}  [{one.id}]", indent=_INDENT).lstrip())
    _row(one.words)
    if line.verified_until is not None:
        _row(f"It was verified until {short(line.verified_until)} UTC.")
    for text in _said(line):
        _row(text)
    if one.fix and one.outcome is not Outcome.PASS and label != "AGREED":
        if is_command(one.fix):
            _row(f"fix ({one.owner}):")
            click.echo(_INDENT + safe(one.fix))  # in one line, so that it can be copied
        else:
            _row(f"fix ({one.owner}): {one.fix}")


def _said(line: Line) -> Iterator[str]:
    if line.statement is not None:
        old = ", more than a year ago: ask again" if line.is_stale else ""
        words = f": {line.statement.words}" if line.statement.words else ""
        yield f"stated by {line.statement.by} on {line.statement.stated_on}{old}{words}"
    if line.deviation is not None and line.checked.outcome is not Outcome.PASS:
        until = f" until {line.deviation.until}" if line.deviation.until else ""
        agreed = "agreed with" if line.is_agreed else "its time has passed: was agreed with"
        yield f"{agreed} {line.deviation.owner}{until}: {line.deviation.reason}"


def _row(text: str) -> None:
    click.echo(filled("", text, indent=_INDENT))


_FOOT = (
    "What cannot be verified is no pass. The exception of a key (in the register) keeps the answers of people, as "
    "statements: [{check, by, stated_on, words}], and what is agreed to fail, as deviations: [{check, owner, reason, "
    "until}]."
)


def _show_summary(every: Iterable[Done]) -> None:
    found = [(one.key, one.found.summary) for one in every if one.found is not None]
    blocked = [key for key, summary in found if summary.blocked_by]
    failed = sum(1 for _, summary in found if summary.failed > summary.agreed and not summary.blocked_by)
    text = f"{count(len(found), 'key')} checked: {len(blocked)} blocked, {failed} with failures that are not agreed"
    click.secho(text, bold=True, fg="red" if blocked else None)
    click.echo(filled("", _FOOT))
