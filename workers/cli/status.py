"""The command `status`: the verdict of every key, the open incidents with their countdown, and the watchdog itself."""

from datetime import UTC, datetime
from typing import Any

import click

from watchdog.incidents import Incident
from watchdog.notices import Deadline
from watchdog.words import Verdict
from workers.cli.context import runtime
from workers.cli.output import fail, json_line, moment, remaining, safe, short, table
from workers.runtime import Runtime
from workers.viewing import STALE, SubjectView, View, view

_COLOURS = {
    Verdict.HEALTHY: "green",
    Verdict.RECOVERING: "cyan",
    Verdict.AT_RISK: "yellow",
    Verdict.BLIND: "yellow",
    Verdict.UNREACHABLE: "yellow",
    Verdict.LATENT_LOSS: "red",
    Verdict.UNUSABLE: "red",
    Verdict.DOOMED: "red",
    Verdict.DESTROYED: "red",
}


@click.command()
@click.argument("what", required=False)
@click.option("--quarantine", is_flag=True, help="List what could not be read.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def status(what: str | None, *, quarantine: bool, as_json: bool) -> None:
    """Show everything, or one incident (KW-...) or key (its ARN) in full.

    Exit status: 0 nothing is wrong, 3 something is wrong or cannot be told.
    """
    with runtime() as found:
        if quarantine:
            _quarantine(found, as_json=as_json)
            return
        seen = view(found, now=datetime.now(UTC))
        if what is not None:
            _one(found, seen, what, as_json=as_json)
            return
    if as_json:
        for subject in seen.subjects:
            json_line(subject_row(subject, seen))
        for incident in seen.incidents:
            json_line(incident_row(incident, seen))
        json_line(system_row(seen))
    else:
        show(seen)
    if seen.worst is not Verdict.HEALTHY:
        raise SystemExit(3)


def subject_row(subject: SubjectView, seen: View) -> dict[str, Any]:
    """Return one key as plain JSON."""
    found = subject.assessment
    return {
        "type": "key",
        "key": subject.subject,
        "customer": subject.customer,
        "instance": subject.instance,
        "verdict": found.verdict,
        "why": found.why,
        "claimed": [f"{one.effect} since {moment(one.since)}" for one in found.judgement.claimed],
        "verified": {"at": moment(subject.probed_at), "words": subject.probe_words} if subject.probed_at else None,
        "fault": found.fault,
        "headline": deadline_row(found.headline, seen.at),
        "second": deadline_row(found.second, seen.at),
        "next_impact": deadline_row(found.next_impact, seen.at),
        "stores": [
            {"id": one.id, "store": one.store, "impact": deadline_row(one.impact, seen.at), "latent": one.latent}
            for one in found.consumers
        ],
        "holds": found.holds,
        "steps": found.steps,
        "incident": subject.incident,
        "at": moment(seen.at),
    }


def deadline_row(deadline: Deadline | None, now: datetime) -> dict[str, Any] | None:
    """Return a deadline as plain JSON, with what is left of it and its source."""
    if deadline is None:
        return None
    return {
        "kind": deadline.kind,
        "at": moment(deadline.at),
        "bound": deadline.bound,
        "left": remaining(deadline.at, now) if deadline.at else None,
        "words": deadline.words,
        "source": deadline.source,
    }


def incident_row(incident: Incident, seen: View) -> dict[str, Any]:
    """Return one open incident as plain JSON."""
    return {
        "type": "incident",
        "incident": incident.id,
        "customer": incident.customer,
        "stage": incident.stage,
        "severity": incident.severity,
        "fault": incident.fault,
        "opened_at": moment(incident.opened_at),
        "keys": incident.subjects,
        "turns": incident.turns,
        "notices": [
            {
                "notice": one.notice.id,
                "kind": one.notice.kind,
                "channel": one.notice.channel,
                "recipient": one.notice.recipient.email if one.notice.recipient else None,
                "state": one.state,
                "attempts": one.attempts,
                "accepted_at": moment(one.accepted_at),
                "error": one.error,
            }
            for one in seen.notices.get(incident.id, ())
        ],
    }


def system_row(seen: View) -> dict[str, Any]:
    """Return the state of the watchdog itself as plain JSON."""
    return {
        "type": "watchdog",
        "at": moment(seen.at),
        "register_revision": seen.revision,
        "inbox": seen.inbox,
        "outbox": seen.outbox,
        "quarantined": seen.quarantined,
        "feeds": seen.feeds,
        "processes": [
            {"name": one.name, "kind": one.kind, "seen_at": one.seen_at, "alive": seen.at - one.seen_at < STALE,
             "degraded": one.degraded}
            for one in seen.processes
        ],
    }  # fmt: skip


def show(seen: View) -> None:
    """Print everything for a person: the worst first."""
    order = list(Verdict)
    bad = [one for one in seen.subjects if one.assessment.verdict is not Verdict.HEALTHY]
    click.secho(
        f"{short(seen.at)} UTC: {len(seen.subjects)} keys watched, {len(bad)} not proven healthy, "
        f"{len(seen.incidents)} open incidents. Register revision {seen.revision or 'none: nothing is watched'}.",
        bold=True,
    )
    if seen.subjects:
        click.echo()
        rows = sorted(
            seen.subjects,
            key=lambda one: (-order.index(one.assessment.verdict), _headline_at(one, seen.at), one.subject),
        )
        for one in rows:
            _show_subject(one, seen)
    for incident in seen.incidents:
        click.echo()
        _show_incident(incident, seen)
    click.echo()
    _show_system(seen)


def _headline_at(one: SubjectView, now: datetime) -> datetime:
    headline = one.assessment.headline
    return headline.at if headline and headline.at else now.replace(year=9999)


def _show_subject(one: SubjectView, seen: View) -> None:
    found = one.assessment
    click.secho(f"{found.verdict:12}", fg=_COLOURS[found.verdict], bold=True, nl=False)
    click.echo(f" {safe(one.customer or '-')} / {safe(one.name)}  {safe(one.subject)}")
    click.echo(f"             {safe(found.why)}")
    for label, deadline in (("headline", found.headline), ("then", found.second), ("next impact", found.next_impact)):
        if deadline is not None:
            click.echo(f"             {label}: {safe(words(deadline, seen.at))}")
    if one.probed_at:
        click.echo(f"             checked {short(one.probed_at)} UTC: {safe(one.probe_words)}")


def words(deadline: Deadline, now: datetime) -> str:
    """Print a deadline with its bound, what is left, and its source."""
    if deadline.at is None:
        return f"{deadline.words} [{deadline.source}]"
    bound = {"at_least": "not before ", "about": "about ", "at_most": "by "}.get(deadline.bound, "")
    late = " at the latest" if deadline.bound == "at_most" else ""
    when = f"{bound}{short(deadline.at)} UTC{late} (in {remaining(deadline.at, now)})"
    return f"{when}: {deadline.words} [{deadline.source}]"


def _show_incident(incident: Incident, seen: View) -> None:
    click.secho(f"{incident.id}  {incident.stage}  {safe(incident.customer or 'vendor')}", bold=True, nl=False)
    click.echo(f"  severity {incident.severity}, fault {incident.fault}, opened {short(incident.opened_at)} UTC")
    for turn in incident.turns:
        click.echo(f"    {short(turn.at)}  {turn.stage}: {turn.why}")
    for one in seen.notices.get(incident.id, ()):
        whom = one.notice.recipient.email if one.notice.recipient else "on-call"
        when = f" {short(one.accepted_at)} UTC" if one.accepted_at else ""
        error = f" ({one.error})" if one.error else ""
        click.echo(f"    {one.notice.kind} to {safe(whom)} by {one.notice.channel}: {one.state}{when}{safe(error)}")


def _show_system(seen: View) -> None:
    for feed in seen.feeds:
        click.echo(
            f"feed {safe(feed.feed)}: asked {short(feed.asked_at)}, last record {short(feed.record_at)} UTC, "
            f"{feed.received} received, {feed.kept} kept, {feed.dropped} dropped, {feed.broken} unreadable"
        )
        if feed.error:
            click.secho(f"  {safe(feed.error)}", fg="red")
    if not seen.feeds:
        click.secho("no feed has ever asked its source: nothing can be seen", fg="yellow")
    alive = [one for one in seen.processes if seen.at - one.seen_at < STALE]
    gone = len(seen.processes) - len(alive)
    click.echo(
        f"processes alive: {', '.join(sorted(one.kind for one in alive)) or 'none'}"
        + (f"; {gone} gone" if gone else "")
    )
    for one in alive:
        if one.degraded:
            click.secho(f"  {one.kind} is degraded: {safe(one.degraded)}", fg="yellow")
    click.echo(f"inbox {_counts(seen.inbox)}; outbox {_counts(seen.outbox)}; quarantined {seen.quarantined}")


def _counts(counts: Any) -> str:  # noqa: ANN401 - a mapping of names to numbers
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if number) or "empty"


def _one(found: Runtime, seen: View, what: str, *, as_json: bool) -> None:
    for incident in seen.incidents:
        if incident.id == what:
            json_line(incident_row(incident, seen)) if as_json else _show_incident(incident, seen)
            return
    for one in seen.subjects:
        if what in {one.subject, one.subject.rpartition("/")[2]}:
            json_line(subject_row(one, seen)) if as_json else _show_subject(one, seen)
            return
    with found.store.read() as unit:
        stored = unit.incident(what)
    if stored is None:
        fail(f"Neither an incident nor a registered key: {what}", hint="`byok-watchdog status` lists both.")
    click.echo(stored.doc.decode() if as_json else f"{what} is closed (stage {stored.stage}).")


def _quarantine(found: Runtime, *, as_json: bool) -> None:
    with found.store.read() as unit:
        pieces = unit.quarantined(1000)
    if as_json:
        for number, piece in pieces:
            json_line(
                {"id": number, "feed": piece.feed, "place": piece.place, "reason": piece.reason,
                 "received_at": moment(piece.received_at), "bytes": len(piece.body),
                 "text": piece.body[:2000].decode("utf-8", "replace")}
            )  # fmt: skip
        return
    table(
        ("ID", "FEED", "RECEIVED", "PLACE", "REASON"),
        ((number, piece.feed, short(piece.received_at), piece.place, piece.reason) for number, piece in pieces),
    )
