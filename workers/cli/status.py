"""The command `status`: the verdict of every key, the open incidents with their countdown, and the watchdog itself."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from watchdog.assessment import Assessment
from watchdog.audit import reasons
from watchdog.covers import Covering
from watchdog.incidents import Incident
from watchdog.notices import ConsumerImpact, Deadline, Facts
from watchdog.silence import Standing, State
from watchdog.words import Stage, Verdict
from workers.cli.backfills import backfill_row, show_backfills
from workers.cli.context import runtime
from workers.cli.output import count, countdown, fail, filled, json_line, moment, remaining, safe, short, table
from workers.cli.preflight import in_a_line, summary_row
from workers.runtime import Runtime
from workers.store.interface import NoticeState, StoredNotice
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
@click.option("--all", "every", is_flag=True, help="List the healthy keys too.")
@click.option("--quarantine", is_flag=True, help="List what could not be read.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def status(what: str | None, *, every: bool, quarantine: bool, as_json: bool) -> None:
    """Show everything, or one incident (KW-...) or key (its ARN) in full.

    Exit status: 0 nothing is wrong, 3 something is wrong or cannot be told.
    An incident that is closed counts as nothing wrong.
    """
    with runtime() as found:
        if quarantine:
            _quarantine(found, as_json=as_json)
            return
        seen = view(found, now=datetime.now(UTC))
        if what is not None:
            raise SystemExit(0 if _one(found, seen, what, as_json=as_json) else 3)
    if as_json:
        for subject in seen.subjects:
            json_line(subject_row(subject, seen))
        for incident in seen.incidents:
            json_line(incident_row(incident, seen.notices.get(incident.id, ())))
        for standing in seen.routes:
            json_line(route_row(standing))
        json_line(system_row(seen))
    else:
        show(seen, every=every)
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
        "verified": _verified(subject),
        "next_probe_at": moment(subject.next_probe_at) if subject.not_probed is None else None,
        "not_probed": subject.not_probed,
        "coverage": [cover_row(one) for one in subject.covers],
        "preflight": summary_row(subject.preflight),
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


def cover_row(covering: Covering) -> dict[str, Any]:
    """Return one cover of a key as plain JSON."""
    return {
        "cover": covering.cover,
        "state": covering.state,
        "at": moment(covering.at),
        "since": moment(covering.since),
        "words": covering.words,
    }


def route_row(standing: Standing) -> dict[str, Any]:
    """Return one way of audit records as plain JSON."""
    return {
        "type": "route",
        "route": standing.way.route,
        "customer": standing.way.customer,
        "cover": standing.way.cover,
        "state": standing.state,
        "feed": standing.feed,
        "last_sign_at": moment(standing.at),
        "blind_since": moment(standing.since),
        "words": standing.words,
    }


def _verified(subject: SubjectView) -> dict[str, Any] | None:
    if not subject.probed_at:
        return None
    return {"at": moment(subject.probed_at), "passed": subject.probe_passed, "words": subject.probe_words}


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


def incident_row(incident: Incident, notices: Sequence[StoredNotice]) -> dict[str, Any]:
    """Return one incident as plain JSON."""
    return {
        "type": "incident",
        "incident": incident.id,
        "customer": incident.customer,
        "stage": incident.stage,
        "severity": incident.severity,
        "fault": incident.fault,
        "opened_at": moment(incident.opened_at),
        "resolved_at": moment(incident.resolved_at),
        "resolved_by": incident.resolved_by,
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
            for one in notices
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
        "audit": seen.audited,
        "backfills": [backfill_row(one) for one in seen.backfills],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ for a person


def show(seen: View, *, every: bool = False) -> None:
    """Print everything for a person, the worst first; what is fine, and what is merely quiet, in one line each.

    Keys that are proven healthy are only counted, unless `every` key is asked for.
    """
    verdicts = Counter(one.assessment.verdict for one in seen.subjects)
    counted = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in reversed(Verdict) if verdicts[verdict])
    register = f"register revision {seen.revision}" if seen.revision else "no register imported: nothing is watched"
    click.secho(
        f"{short(seen.at)} UTC  {count(len(seen.subjects), 'key')} watched{f': {counted}' if counted else ''}; "
        f"{count(len(seen.incidents), 'open incident')}; {register}",
        bold=True,
    )
    ordered = sorted(seen.subjects, key=lambda one: _urgency(one, seen.at))
    for one in (one for one in ordered if not _is_quiet(one)):
        click.echo()
        _show_subject(one, seen)
    quiet = [one for one in ordered if _is_quiet(one) and (every or one.assessment.verdict is not Verdict.HEALTHY)]
    if quiet:
        click.echo()
    for one in quiet:
        _head(one, one.subject)
        if one.preflight is not None:
            click.echo(filled("             pre-flight: ", in_a_line(one.preflight)))
    if any(one.assessment.verdict is Verdict.BLIND for one in quiet):
        click.echo("             blind: nothing is known to be wrong, and nothing proves the key usable now")
    if len(quiet) < sum(1 for one in ordered if _is_quiet(one)):
        click.echo(f"{count(verdicts[Verdict.HEALTHY], 'healthy key')} not listed: byok-watchdog status --all")
    _show_not_probed(seen)
    _show_blocked(seen)
    for incident in seen.incidents:
        click.echo()
        _show_incident(incident, seen.notices.get(incident.id, ()))
    click.echo()
    _show_system(seen)


_ROUTES_AT_MOST = 20


def _show_routes(seen: View) -> None:
    """Say how many ways of audit records are heard, and name those that are silent, with their last sign."""
    if not seen.routes:
        return
    states = Counter(one.state for one in seen.routes)
    said = ", ".join(f"{number} {state}" for state, number in states.most_common())
    click.echo(f"ways of audit records: {said}")
    listed = sorted((one for one in seen.routes if one.state is not State.QUIET), key=_loudness)
    for one in listed[:_ROUTES_AT_MOST]:
        last = f"last sign {short(one.at)} UTC" if one.at else "no sign yet"
        text = f"  {one.state}: {one.way.route} ({one.way.customer or 'our own'}), {last}"
        if one.state is State.SILENT:
            click.secho(filled("  ", f"{text.strip()}. {one.words}"), fg="yellow")
        else:
            click.echo(safe(text))
    if len(listed) > _ROUTES_AT_MOST:
        click.echo(f"  and {len(listed) - _ROUTES_AT_MOST} more: byok-watchdog status --json")


def _loudness(one: Standing) -> tuple[bool, bool, str]:
    return one.state is not State.SILENT, one.state is not State.NOT_YET, one.way.route


def _show_not_probed(seen: View) -> None:
    """Say of how many keys nobody checks whether they work, and why: their silence is no sign of health."""
    reasons = Counter(re.sub(r"\d.* UTC", "a while", one.not_probed) for one in seen.subjects if one.not_probed)
    for reason, number in reasons.most_common():
        click.secho(f"{count(number, 'key')} {reason}", fg="yellow")


def _show_blocked(seen: View) -> None:
    """Say how many keys are easier to lose than an exception allows, and by which checks."""
    blocked = [one for one in seen.subjects if one.preflight is not None and one.preflight.blocked_by]
    if blocked:
        checks = Counter(check for one in blocked if one.preflight for check in one.preflight.blocked_by)
        named = ", ".join(f"{check} ({number})" for check, number in checks.most_common())
        text = f"{count(len(blocked), 'key')} blocked by hard pre-flight checks: {named}: byok-watchdog register check"
        click.secho(filled("", text), fg="yellow")


def _is_quiet(one: SubjectView) -> bool:
    """Whether nothing of a key needs to be read: a check that passed is shown by the verdict already."""
    checked = one.probed_at is not None and one.probe_passed is not True
    return not one.assessment.judgement.conditions and one.incident is None and not checked


def _urgency(one: SubjectView, now: datetime) -> tuple[int, bool, datetime, str]:
    found = one.assessment
    headline = found.headline.at if found.headline and found.headline.at else now.replace(year=9999)
    worst_first = -list(Verdict).index(found.verdict)
    return worst_first, found.stage is not Stage.IRREVERSIBLE_SOON, headline, one.subject


def _head(one: SubjectView, more: str = "") -> None:
    verdict = one.assessment.verdict
    click.secho(f"{verdict.upper():12}", fg=_COLOURS[verdict], bold=True, nl=False)
    click.secho(f" {safe(one.customer or '-')} / {safe(one.name)}", bold=True, nl=False)
    click.echo(f"  {safe(more)}" if more else "")


def _show_subject(one: SubjectView, seen: View, *, whole: bool = False) -> None:
    """Print a key; the `whole` of it with what must not be done now, what brings it back, and its stores."""
    found = one.assessment
    _head(one)
    _row("key", one.subject, wrap=False)
    _row("why", found.why)
    for label, deadline in (("deadline", found.headline), ("then", found.second), ("next", found.next_impact)):
        if deadline is not None:
            _row(label, words(_of_store(deadline, found.consumers), seen.at))
    if one.probed_at:
        _row("checked", f"{short(one.probed_at)} UTC: {one.probe_words}")
    if one.not_probed:
        _row("probe", one.not_probed)
    elif one.next_probe_at:
        _row("probe", f"the next one {countdown(one.next_probe_at, seen.at).replace('passed', 'now')}")
    if one.customer and one.instance:
        _row("preflight", in_a_line(one.preflight))
    for number, covering in enumerate(one.covers):
        _row("" if number else "coverage", _said_of_cover(covering, whole=whole))
    if one.incident and not whole:
        _row("incident", f"{one.incident}; in full: byok-watchdog status {one.incident}")
    if whole:
        _show_rest(found, seen)


def _show_rest(found: Assessment, seen: View) -> None:
    for number, hold in enumerate(found.holds):
        _row("" if number else "holds", f"- {hold}")
    for number, step in enumerate(found.steps, start=1):
        _row(f"step {number}", f"({step.owner}) {step.text}")
        if step.command:
            _row("", step.command, wrap=False)
        if step.note:
            _row("", f"note: {step.note}")
    for consumer in found.consumers:
        _row("store", f"{consumer.name} ({consumer.store})")
        for deadline in filter(None, (consumer.impact, consumer.terminal)):
            _row("", words(_without_store(deadline, consumer), seen.at))


def _said_of_cover(covering: Covering, *, whole: bool) -> str:
    """Return one cover of a key in words: of the whole, or of one that is silent, also what is known and what to do."""
    said = f"{covering.cover.replace('_', '-')}: {in_short(covering)}"
    return f"{said}; {covering.words}" if whole or covering.state is State.SILENT else said


def in_short(covering: Covering) -> str:
    """Say the state of a cover in a few words, with its date."""
    if covering.state is State.SILENT:
        return f"silent, blind since {short(covering.since)} UTC" if covering.since else "silent, never heard"
    return f"{covering.state} ({short(covering.at)} UTC)" if covering.at else str(covering.state)


def _row(label: str, text: str, *, wrap: bool = True) -> None:
    """Print one row of a key. A command is not wrapped, so that it can be copied."""
    head = f"             {label:9} "
    if not wrap:
        click.echo(head + safe(text))
        return
    click.echo(filled(head, text))


def _of_store(deadline: Deadline, consumers: Sequence[ConsumerImpact]) -> Deadline:
    """Return a deadline that names the store that it is about as people know it."""
    found = next((one for one in consumers if one.id == deadline.consumer), None)
    if found is None:
        return deadline
    plain = _without_store(deadline, found)
    return replace(plain, words=f"{found.name}: {plain.words}")


def _without_store(deadline: Deadline, consumer: ConsumerImpact) -> Deadline:
    return replace(deadline, words=deadline.words.removeprefix(f"{consumer.store}: "))


def words(deadline: Deadline, now: datetime) -> str:
    """Print a deadline with its bound, what is left, and its source."""
    if deadline.at is None:
        return f"{deadline.words} [{deadline.source}]"
    bound = {"at_least": "not before ", "about": "about ", "at_most": "by "}.get(deadline.bound, "")
    late = " at the latest" if deadline.bound == "at_most" else ""
    when = f"{bound}{short(deadline.at)} UTC{late} ({countdown(deadline.at, now)})"
    return f"{when}: {deadline.words} [{deadline.source}]"


def _show_incident(incident: Incident, notices: Sequence[StoredNotice]) -> None:
    click.secho(f"{incident.id}  {incident.stage}  {safe(incident.customer or 'vendor')}", bold=True, nl=False)
    click.echo(f"  severity {incident.severity}, fault {incident.fault}, opened {short(incident.opened_at)} UTC")
    for turn in incident.turns:
        click.echo(f"    {short(turn.at)}  {turn.stage}: {turn.why}")
    if incident.resolved_at:
        click.echo(f"    closed by {safe(incident.resolved_by or 'a check that passed')}")
    for one in notices:
        whom = one.notice.recipient.email if one.notice.recipient else one.notice.reader.replace("_", "-")
        when = f" {short(one.accepted_at)} UTC" if one.accepted_at else ""
        error = f" ({one.error})" if one.error else ""
        stage = one.notice.facts.stage if isinstance(one.notice.facts, Facts) else ""
        what = f"{one.notice.kind} ({stage}) to {safe(whom)} over {safe(one.notice.channel)}"
        line = f"    {what}: {one.state}{when}{safe(error)}"
        click.secho(line, fg="red" if one.state is NoticeState.FAILED else None)


def _show_system(seen: View) -> None:
    """Print whether the watchdog itself works: what does not is in colour, and says what to do."""
    known = {feed.feed: feed for feed in seen.feeds}
    for feed in seen.feeds:
        stale = feed.feed in seen.configured and (feed.asked_at is None or seen.at - feed.asked_at >= STALE)
        line = (
            f"feed {safe(feed.feed)}: asked {_at(feed.asked_at)}, last record {_at(feed.record_at)}; "
            f"{count(feed.received, 'record')}: {feed.kept} kept, {feed.dropped} dropped, {feed.broken} unreadable"
        )
        click.secho(line + (" - nobody asks it now" if stale else ""), fg="yellow" if stale else None)
        if feed.error:
            click.secho(f"  {safe(feed.error)}", fg="red")
    for name in seen.configured:
        if name not in known:
            click.secho(f"feed {safe(name)}: never asked, so nothing of it is seen", fg="yellow")
    _show_routes(seen)
    alive = [one for one in seen.processes if seen.at - one.seen_at < STALE]
    kinds = sorted({one.kind for one in alive})
    click.secho(
        f"processes: {', '.join(kinds)}" if kinds else "processes: none alive, nobody watches: byok-watchdog doctor",
        fg=None if kinds else "red",
    )
    for kind, seen_at in sorted(_missing(seen).items()):
        click.secho(f"  {kind}: no sign of life since {short(seen_at)} UTC", fg="red")
    for one in alive:
        if one.degraded:
            click.secho(f"  {one.kind} is degraded: {safe(one.degraded)}", fg="yellow")
    _show_audit(seen)
    show_backfills(seen.backfills)
    click.echo(f"inbox: {_counts(seen.inbox)}")
    failed = seen.outbox.get(NoticeState.FAILED, 0)
    click.secho(f"outbox: {_counts(seen.outbox)}", fg="yellow" if failed else None)
    if seen.quarantined:
        pieces = count(seen.quarantined, "piece")
        click.secho(f"quarantine: {pieces} that could not be read: byok-watchdog status --quarantine", fg="yellow")


def _show_audit(seen: View) -> None:
    """Print what the last audit found, and what became of the heartbeat."""
    last = seen.audited
    if last is None:
        return
    sent = f"heartbeat sent {short(last.sent_at)} UTC" if last.sent_at else "no heartbeat sent"
    if last.failing_since is None:
        click.echo(f"audit: passed {short(last.at)} UTC; {sent}")
    else:
        since = f"does not pass since {short(last.failing_since)} UTC"
        click.secho(f"audit: {since}; {sent}: byok-watchdog doctor", fg="red")
        for reason in reasons(last.checks):
            click.echo(f"  {safe(reason)}")
    if last.error:
        click.secho(f"  the heartbeat could not be sent: {safe(last.error)}", fg="red")


def _at(when: datetime | None) -> str:
    return f"{short(when)} UTC" if when else "never"


def _missing(seen: View) -> dict[str, datetime]:
    """The kinds of process of the last day of which none is alive, with their last sign of life."""
    last: dict[str, datetime] = {}
    for one in seen.processes:
        last[one.kind] = max(one.seen_at, last.get(one.kind, one.seen_at))
    return {kind: at for kind, at in last.items() if STALE <= seen.at - at < timedelta(days=1)}


def _counts(counts: Any) -> str:  # noqa: ANN401 - a mapping of names to numbers
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if number) or "empty"


def _one(found: Runtime, seen: View, what: str, *, as_json: bool) -> bool:
    """Print one key or incident in full; return whether nothing is wrong with it."""
    for one in seen.subjects:
        if what in {one.subject, one.subject.rpartition("/")[2]}:
            json_line(subject_row(one, seen)) if as_json else _show_subject(one, seen, whole=True)
            return one.assessment.verdict is Verdict.HEALTHY
    with found.store.read() as unit:
        stored, notices = unit.incident(what), unit.notices_of(what)
    if stored is None:
        fail(f"Neither an incident nor a registered key: {what}", hint="`byok-watchdog status` lists both.")
    incident = msgspec.json.decode(stored.doc, type=Incident)
    if as_json:
        json_line(incident_row(incident, notices))
        return not incident.is_open
    _show_incident(incident, notices)
    for one in seen.subjects if incident.is_open else ():
        if one.subject in incident.subjects:
            click.echo()
            _show_subject(one, seen, whole=True)
    return not incident.is_open


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
    click.echo(f"{count(len(pieces), 'piece')}. The bytes: byok-watchdog status --quarantine --json")
