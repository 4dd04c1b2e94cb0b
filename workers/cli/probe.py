"""The command `probe`: ask one key now, and tell what it answered, whose fault a refusal is, and what to do."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from typing import Any

import click

from watchdog.probing import Answer, Finding, Probed
from watchdog.register import RegisteredKey
from workers import logs
from workers.cli.context import runtime, who
from workers.cli.output import count, fail, filled, json_line, moment, safe, short
from workers.probes.interface import Canary
from workers.probes.schedule import probe_of
from workers.probing import Asked, Probing
from workers.runtime import Runtime
from workers.settings import SettingsFault, SettingsFaults

_SAID = {True: ("PASSED", "green"), False: ("FAILED", "red"), None: ("CANNOT TELL", "yellow")}
_COLOURS = {Answer.OK: "green", Answer.NOT_ASKED: None}


@click.command()
@click.argument("key")
@click.option("--make-canary", is_flag=True, help="First make and keep what later probes decrypt.")
@click.option("--by", default=None, help="Who asks, for the evidence; the user's name if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def probe(key: str, *, make_canary: bool, by: str | None, as_json: bool) -> None:
    """Ask KEY (its id, or the last part of it) now, with the credentials of this process.

    What comes of it counts as any other probe: it opens and closes incidents, people are told, and it is evidence.

    Exit status: 0 the key is proven usable, 3 it is not, or that cannot be told.
    """
    logs.configure(level="warning")  # notices are sent from here; standard output is the command's own
    name = who(by)
    with runtime() as found:
        registered = _key(found, key)
        probing = Probing(found)
        try:
            # A console channel writes to standard output, which belongs to the outcome.
            with redirect_stdout(sys.stderr):
                canaries = probing.make_canaries(registered.id, by=name) if make_canary else ((), ())
                asked, probed, notices = _ask(found, probing, registered, name)
        finally:
            probing.close()
    if as_json:
        json_line(_row(registered, asked, probed, notices, *canaries))
    else:
        _show(registered, asked, probed, notices, *canaries)
    raise SystemExit(0 if probed.passed else 3)


def _key(found: Runtime, name: str) -> RegisteredKey:
    """Return the registered key that is meant, or end the command: it must be one that may be asked."""
    with found.store.read() as unit:
        keys = found.registry.current(unit).keys
    meant = [key for key in keys.values() if name in {key.id, key.id.rpartition("/")[2]}]
    if len(meant) != 1:
        what = "Not a registered key" if not meant else f"{len(meant)} registered keys end like this"
        fail(f"{what}: {name}", hint="`byok-watchdog status --all` lists the keys with their whole ids.")
    key = meant[0]
    if probe_of(key).off:
        fail("The register says that this key is never probed (probe.off).", hint="Change it there, and import it.")
    if key.cloud not in found.probers.clouds:
        fault = f"does not name {key.cloud}: this installation has no credentials to ask its keys with"
        raise SettingsFaults([SettingsFault("probes.clouds", fault)])
    return key


def _ask(found: Runtime, probing: Probing, key: RegisteredKey, by: str) -> tuple[Asked, Probed, list[str]]:
    from workers.processes import make_intake, send_all  # noqa: PLC0415 - brings boto3
    from workers.working import Work  # noqa: PLC0415 - as above

    asked, settled = probing.probe_now(key.id, by=by)
    send_all(Work(found, make_intake(found), None), settled.queued)
    if key.id not in settled.probed:
        fail("Somebody else took the key meanwhile, and what it answered here was not kept.", hint="Ask again.")
    return asked, settled.probed[key.id], [notice.id for notice in settled.queued]


def _row(
    key: RegisteredKey, asked: Asked, probed: Probed, notices: list[str], canaries: Iterable[Canary],
    making: Iterable[Finding],
) -> Mapping[str, Any]:  # fmt: skip
    return {
        "key": key.id,
        "customer": key.customer.id,
        "at": moment(probed.at),
        "passed": probed.passed,
        "fault": probed.fault,
        "words": probed.words,
        "findings": [_finding(one) for one in asked.findings],
        "canaries": [{"version": one.version, "made_at": moment(one.made_at)} for one in [*canaries, *asked.made]],
        "making": [_finding(one) for one in [*making, *asked.making]],
        "notices": notices,
    }


def _finding(one: Finding) -> Mapping[str, Any]:
    return {
        "question": one.question, "answer": one.answer, "subject": one.subject, "version": one.version,
        "words": one.words, "deadline": moment(one.deadline), "detail": one.detail,
    }  # fmt: skip


def _show(
    key: RegisteredKey, asked: Asked, probed: Probed, notices: list[str], canaries: Iterable[Canary],
    making: Iterable[Finding],
) -> None:  # fmt: skip
    said, colour = _SAID[probed.passed]
    click.secho(f"{said:12}", fg=colour, bold=True, nl=False)
    click.echo(f" {safe(key.customer.id)} / {safe(key.entry.name or key.instance.id)}  {safe(key.id)}")
    click.echo(filled("             ", probed.words))
    if not probed.passed:
        click.echo(f"             fault: {probed.fault}")
    for one in [*asked.findings, *making, *asked.making]:
        what = " ".join(filter(None, (one.question, one.subject, f"version {one.version}" if one.version else "")))
        until = f", {short(one.deadline)} UTC" if one.deadline else ""
        words = f" ({one.words})" if one.words else ""
        click.secho(safe(f"  {what}: {one.answer}{until}{words}"), fg=_COLOURS.get(one.answer, "yellow"))
    kept = [*canaries, *asked.made]
    if kept:
        versions = ", ".join(safe(one.version) for one in kept)
        click.echo(f"{count(len(kept), 'canary', 'canaries')} kept, of version {versions}.")
    if notices:
        click.echo(f"{count(len(notices), 'notice')} went out or wait in the outbox. See them: byok-watchdog status")
