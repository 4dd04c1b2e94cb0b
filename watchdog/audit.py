"""Audit: from facts about the watchdog itself to checks with a reason each; a heartbeat goes out when all pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

UP = "Start it, or run `byok-watchdog up`."


class Outcome(StrEnum):
    """What came of one check. What cannot be told is never taken for passed."""

    PASSED = "passed"
    FAILED = "failed"
    UNTOLD = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: how it is in words, and what a person should do (empty when it passed).

    `words` may go to a third party with the heartbeat: they hold no text of a provider and nothing of a record.
    """

    name: str
    outcome: Outcome
    words: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How old or how late each thing may be; they follow from the settings."""

    notice: timedelta
    """A notice that may be sent now, and is not."""
    unsent: timedelta
    """A notice that was tried again and again, since it was made."""
    record: timedelta
    """A record in the inbox that may be worked now, and is not."""
    delivery: timedelta
    """The same for an object full of records, which may take minutes to read."""
    feed: timedelta
    """A feed since it was last asked with success; one that listens notes the same while it can answer."""
    process: timedelta
    """A process since its last sign of life."""
    incident: timedelta
    """An incident since the time when it was to be looked at again."""
    probe: timedelta
    """A key since the time when it was to be probed."""
    job: timedelta
    """A periodic job beyond twice its period."""
    synthetic: timedelta
    """The synthetic record of a cloud since it last came out at the other end."""
    chain: timedelta
    """The whole chain of evidence since it was last verified from its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed of the settings: when it was last asked with success, and what is wrong with it now in its own words."""

    name: str
    asked_at: datetime | None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that was ever seen. `kind` is "scheduler", "consumer FEED" or "worker QUEUE,QUEUE"."""

    kind: str
    seen_at: datetime
    degraded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A periodic job that one scheduler claims; `due_at` None: nobody ever has."""

    name: str
    every: timedelta
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """The synthetic record of a cloud: when one was put in, when one last came out right, and what went wrong since."""

    cloud: str
    put_in_at: datetime | None
    seen_at: datetime | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The chain of evidence: how many entries hold, whether its end was reached, when all of it was last verified.

    `flaw` says where it does not hold.
    """

    held: int
    is_caught_up: bool
    whole_at: datetime | None
    flaw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that an audit judges, seen at one moment.

    `oldest_due` is since when the longest waiting notice may be sent, `oldest_unsent` when the oldest one that has not
    left was made. `late_record`, `late_delivery`, `late_incident` and `late_probe` say whether one is later than its
    bound. `queues` are those of which each needs a worker; `probed` says whether any cloud is probed.
    """

    at: datetime
    bounds: Bounds
    oldest_due: datetime | None
    oldest_unsent: datetime | None
    waiting: Mapping[str, int]
    late_record: bool
    late_delivery: bool
    late_incident: bool
    late_probe: bool
    probed: bool
    quarantined: int
    feeds: Sequence[Feed]
    processes: Sequence[Process]
    queues: Sequence[str]
    jobs: Sequence[Job]
    synthetic: Sequence[Synthetic]
    chain: Chain


def audit(facts: Facts) -> tuple[Check, ...]:
    """Judge the facts, always with the same names in the same order. Pure."""
    return (
        _outbox(facts),
        _unsent(facts),
        _inbox(facts),
        *(_feed(facts, feed) for feed in facts.feeds),
        *_processes(facts),
        *(_job(facts, job) for job in facts.jobs),
        _deadlines(facts),
        *([_probes(facts)] if facts.probed else []),
        _chain(facts),
        *(_synthetic(facts, one) for one in facts.synthetic),
        _quarantine(facts),
    )


def passes(checks: Iterable[Check]) -> bool:
    """Whether a heartbeat may go out: every check passed, none failed and none is unknown."""
    return all(check.outcome is Outcome.PASSED for check in checks)


def reasons(checks: Iterable[Check]) -> tuple[str, ...]:
    """Return, in words for people, everything that keeps the heartbeat back."""
    return tuple(f"{one.name}: {one.words}" for one in checks if one.outcome is not Outcome.PASSED)


# ------------------------------------------------------------------------------------------------- what waits too long


def _outbox(facts: Facts) -> Check:
    bound = facts.bounds.notice
    if facts.oldest_due is not None and facts.at - facts.oldest_due > bound:
        return Check(
            name="outbox", outcome=Outcome.FAILED,
            words=f"a notice may be sent since {_time(facts.oldest_due)}, and nobody sends it (bound {_span(bound)})",
            next="Look for workers and schedulers that hang or are gone; the notice goes out as soon as one is back.",
        )  # fmt: skip
    return _passed("outbox", "no notice is overdue")


def _unsent(facts: Facts) -> Check:
    bound = facts.bounds.unsent
    if facts.oldest_unsent is not None and facts.at - facts.oldest_unsent > bound:
        return Check(
            name="delivery", outcome=Outcome.FAILED,
            words=f"a notice of {_time(facts.oldest_unsent)} has not been taken by its channel yet "
            f"(bound {_span(bound)})",
            next="`byok-watchdog status` names the channel and its error. Mend it, or reach the people in another way.",
        )  # fmt: skip
    return _passed("delivery", "every notice was taken by its channel, or is being tried")


def _inbox(facts: Facts) -> Check:
    waits = sum(facts.waiting.values())
    for late, what, bound in (
        (facts.late_record, "a record", facts.bounds.record),
        (facts.late_delivery, "an object full of records", facts.bounds.delivery),
    ):
        if late:
            return Check(
                name="inbox", outcome=Outcome.FAILED,
                words=f"{what} waits for more than {_span(bound)} and nobody works it; {waits} wait in all",
                next="Look for workers and schedulers that hang, or start more workers.",
            )  # fmt: skip
    return _passed("inbox", f"nothing is overdue, {waits} to be worked")


def _deadlines(facts: Facts) -> Check:
    if facts.late_incident:
        return Check(
            name="deadlines", outcome=Outcome.FAILED,
            words=f"an incident was to be looked at again more than {_span(facts.bounds.incident)} ago",
            next="Look at the scheduler's log for `job.failed` and `incident.failed`.",
        )  # fmt: skip
    return _passed("deadlines", "every incident is looked at in time")


def _probes(facts: Facts) -> Check:
    if facts.late_probe:
        return Check(
            name="probes", outcome=Outcome.FAILED,
            words=f"a key was to be probed more than {_span(facts.bounds.probe)} ago",
            next="Start more workers of the queues probe-now and probe, or raise probes.at_once and per_account.",
        )  # fmt: skip
    return _passed("probes", "every key that is due is probed in time")


def _quarantine(facts: Facts) -> Check:
    # No reason to hold the heartbeat back: each piece was told in the commit that put it there. Whoever can write to a
    # feed could otherwise keep the heartbeat away for ever, and with it the word of anything else.
    found = f"{facts.quarantined} pieces could not be read, and were told" if facts.quarantined else "empty"
    return _passed("quarantine", found)


# ------------------------------------------------------------------------------------------------------- who is alive


def _feed(facts: Facts, feed: Feed) -> Check:
    name = f"feed {feed.name}"
    start = f"Run `byok-watchdog consume {feed.name}` or `up`."
    alive = [one for one in facts.processes if one.kind == f"consumer {feed.name}"]
    if feed.asked_at is None:
        words = "has never been asked with success, so nothing of it is seen"
        return Check(name=name, outcome=Outcome.FAILED, words=words, next=feed.error or start)
    checks = [
        _fresh(name, [feed.asked_at], facts.at, facts.bounds.feed, "asked", feed.error or start),
        _fresh(name, [one.seen_at for one in alive], facts.at, facts.bounds.process, "its consumer was seen", start),
    ]
    return _worst(checks)


def _processes(facts: Facts) -> Iterator[Check]:
    def of(fits: Callable[[str], bool]) -> list[datetime]:
        return [one.seen_at for one in facts.processes if fits(one.kind)]

    bound = facts.bounds.process
    yield _fresh("scheduler", of(lambda kind: kind == "scheduler"), facts.at, bound, "seen", UP)
    for queue in facts.queues:
        taken = of(lambda kind, queue=queue: _takes(kind, queue))  # type: ignore[misc]  # a default binds the loop's value
        yield _fresh(f"worker of {queue}", taken, facts.at, bound, "seen", UP)
    lacking = [one for one in facts.processes if one.degraded and _age_is_sound(one.seen_at, facts.at, bound)]
    if lacking:
        names = ", ".join(sorted({one.kind for one in lacking}))
        yield Check(
            name="degraded", outcome=Outcome.FAILED, words=f"{names} must do without something that is needed",
            next="; ".join(sorted({f"{one.kind}: {one.degraded}" for one in lacking})),
        )  # fmt: skip
    else:
        yield _passed("degraded", "no process lacks anything")


def _takes(kind: str, queue: str) -> bool:
    return kind.startswith("worker ") and queue in kind.removeprefix("worker ").split(",")


def _job(facts: Facts, job: Job) -> Check:
    name = f"job {job.name}"
    if job.due_at is None:
        return Check(name=name, outcome=Outcome.UNTOLD, words="has not run yet", next=UP)
    late, bound = facts.at - job.due_at, 2 * job.every + facts.bounds.job
    if late > bound:
        words = f"was to run at {_time(job.due_at)} and did not"
        return Check(name=name, outcome=Outcome.FAILED, words=words, next="Look at the scheduler's log; restart it.")
    if -late > bound:
        words = f"is to run at {_time(job.due_at)} only, later than its period allows: a clock has gone wrong"
        return Check(name=name, outcome=Outcome.UNTOLD, words=words, next="Compare the clocks of the machines.")
    return _passed(name, "runs in time")


def _fresh(name: str, seen: Sequence[datetime], at: datetime, bound: timedelta, verb: str, next_: str) -> Check:
    """Judge by the newest time; one that lies ahead says nothing, for a dead process with a wrong clock would live."""
    if not seen:
        return Check(name=name, outcome=Outcome.FAILED, words="none was ever seen", next=next_)
    sound = [one for one in seen if one - at <= bound]
    if not sound:
        words = f"the last time, {_time(max(seen))}, lies ahead of the time now"
        return Check(name=name, outcome=Outcome.UNTOLD, words=words, next="Compare the clocks of the machines.")
    if at - max(sound) > bound:
        words = f"last {verb} at {_time(max(sound))}, longer than {_span(bound)} ago"
        return Check(name=name, outcome=Outcome.FAILED, words=words, next=next_)
    return _passed(name, f"{verb} within {_span(bound)}")


def _age_is_sound(seen_at: datetime, at: datetime, bound: timedelta) -> bool:
    return abs(at - seen_at) <= bound


def _worst(checks: Sequence[Check]) -> Check:
    order = (Outcome.PASSED, Outcome.UNTOLD, Outcome.FAILED)
    return max(checks, key=lambda check: order.index(check.outcome))


# ------------------------------------------------------------------------------------------------------- what is proven


def _chain(facts: Facts) -> Check:
    chain = facts.chain
    if chain.flaw is not None:
        keep = "Keep the store as it is, and compare it with a backup."
        return Check(name="evidence", outcome=Outcome.FAILED, words=chain.flaw, next=keep)
    if not chain.is_caught_up:
        words = f"{chain.held} entries hold so far; the end has not been reached yet"
        return Check(
            name="evidence", outcome=Outcome.UNTOLD, words=words, next="Nothing: it goes on at the next audit."
        )
    if chain.whole_at is None or facts.at - chain.whole_at > facts.bounds.chain:
        since = f"since {_time(chain.whole_at)}" if chain.whole_at else "yet"
        words = f"the new entries hold; the whole was not verified {since}"
        return Check(name="evidence", outcome=Outcome.UNTOLD, words=words, next="`byok-watchdog evidence verify`")
    return _passed("evidence", f"{chain.held} entries, each sealing the one before it")


def _synthetic(facts: Facts, one: Synthetic) -> Check:
    name, bound = f"synthetic record {one.cloud}", facts.bounds.synthetic
    look = "Look at the log for `synthetic`; try a recorded event with `byok-watchdog explain`."
    if one.trouble is not None:
        return Check(name=name, outcome=Outcome.FAILED, words=one.trouble, next=look)
    if one.seen_at is None:
        words = "none has come out at the other end yet"
        return Check(
            name=name, outcome=Outcome.UNTOLD, words=words, next="A scheduler puts one in soon after its start."
        )
    if abs(facts.at - one.seen_at) > bound:
        words = f"the last one came out at {_time(one.seen_at)}, not within {_span(bound)}"
        return Check(name=name, outcome=Outcome.FAILED, words=words, next=look)
    return _passed(name, f"came out right at {_time(one.seen_at)}")


# --------------------------------------------------------------------------------------------------------------- words


def _passed(name: str, words: str) -> Check:
    return Check(name=name, outcome=Outcome.PASSED, words=words)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
