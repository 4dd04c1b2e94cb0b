"""The command `resolve`: a named person decides that an incident is over; the decision is evidence."""

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime

import click

from workers import logs
from workers.cli.context import runtime, who
from workers.cli.output import count, fail, json_line, safe
from workers.observing import operator_mark, take_marks
from workers.processes import send_all
from workers.working import Work


@click.command()
@click.argument("incident")
@click.option("--reason", required=True, help="Why it is over; kept as evidence and told to everybody who was told.")
@click.option("--by", default=None, help="Who decides; the user's name if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def resolve(incident: str, reason: str, by: str | None, *, as_json: bool) -> None:
    """Close INCIDENT by decision, without the proof of a passing probe.

    Everybody who was told of the loss is told of the decision, with its reason and its author.
    """
    from workers.processes import make_intake  # noqa: PLC0415 - brings boto3

    logs.configure(level="warning")  # notices are sent from here; standard output is the command's own
    if not reason.strip():
        fail("The reason is empty.", hint="Say with --reason why it is over: it is evidence, and people will read it.")
    name = who(by)
    now = datetime.now(UTC)
    with runtime() as found:
        with found.store.read() as unit:
            stored = unit.incident(incident)
        if stored is None or not stored.is_open:
            fail(f"There is no open incident {incident}.", hint="`byok-watchdog status` lists the open ones.")
        mark = operator_mark(name, reason, at=now)
        queued = take_marks(
            found, {subject: [mark] for subject in stored.subjects}, kind="decided",
            evidence={"incident": incident, "by": name, "reason": reason}, now=now,
        )  # fmt: skip
        # A console channel writes to standard output, which belongs to the outcome.
        with redirect_stdout(sys.stderr):
            send_all(Work(found, make_intake(found), None), queued)
    if as_json:
        json_line({"incident": incident, "resolved_by": name, "reason": reason, "notices": [one.id for one in queued]})
    else:
        click.echo(
            f"{incident} is resolved by decision of {safe(name)}; {count(len(queued), 'notice')} went out or wait in "
            f"the outbox. See them: byok-watchdog status {incident}"
        )
