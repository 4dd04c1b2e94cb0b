"""Each check of the audit passes, fails, and says so when it cannot tell; each alone holds the heartbeat back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.worlds import T0
from watchdog.audit import (
    Bounds,
    Chain,
    Check,
    Facts,
    Feed,
    Job,
    Outcome,
    Process,
    Synthetic,
    audit,
    passes,
    reasons,
)

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))

# Each has a value of its own, so that a mix-up shows.
BOUNDS = Bounds(
    notice=130 * SECOND, unsent=30 * MINUTE, record=70 * SECOND, delivery=15 * MINUTE, feed=120 * SECOND,
    process=60 * SECOND, incident=121 * SECOND, probe=10 * MINUTE, job=61 * SECOND, synthetic=25 * HOUR,
    chain=48 * HOUR,
)  # fmt: skip
PROCESSES = (
    Process(kind="scheduler", seen_at=T0 - 10 * SECOND),
    Process(kind="worker urgent,normal", seen_at=T0 - 11 * SECOND),
    Process(kind="worker bulk", seen_at=T0 - 12 * SECOND),
    Process(kind="consumer trail", seen_at=T0 - 13 * SECOND),
    Process(kind="consumer grid", seen_at=T0 - 14 * SECOND),
)
SOUND = Facts(
    at=T0, bounds=BOUNDS, oldest_due=None, oldest_unsent=None, waiting={"record": 2, "delivery": 1},
    late_record=False, late_delivery=False, late_incident=False, late_probe=False, probed=True, quarantined=0,
    feeds=(Feed(name="trail", asked_at=T0 - SECOND), Feed(name="grid", asked_at=T0 - 2 * SECOND)),
    processes=PROCESSES, queues=("urgent", "normal", "bulk"),
    jobs=(Job(name="advance", every=15 * SECOND, due_at=T0 + 10 * SECOND),),
    synthetic=(Synthetic(cloud="aws", put_in_at=T0 - HOUR, seen_at=T0 - HOUR),),
    chain=Chain(held=7, is_caught_up=True, whole_at=T0 - HOUR),
)  # fmt: skip


def found(facts: Facts, name: str) -> Check:
    (check,) = [check for check in audit(facts) if check.name == name]
    return check


def without(kind: str) -> tuple[Process, ...]:
    return tuple(one for one in PROCESSES if one.kind != kind)


def seen(kind: str, ago: timedelta, degraded: str | None = None) -> tuple[Process, ...]:
    return (*without(kind), Process(kind=kind, seen_at=T0 - ago, degraded=degraded))


def job(due: timedelta | None) -> dict[str, Any]:
    return {"jobs": (Job(name="advance", every=15 * SECOND, due_at=None if due is None else T0 + due),)}


def fresh(**changes: Any) -> dict[str, Any]:
    return {"synthetic": (replace(SOUND.synthetic[0], **changes),)}


def chain(**changes: Any) -> dict[str, Any]:
    return {"chain": replace(SOUND.chain, **changes)}


def feeds(**changes: Any) -> dict[str, Any]:
    return {"feeds": (replace(SOUND.feeds[0], **changes), SOUND.feeds[1])}


PASSED, FAILED, UNTOLD = Outcome.PASSED, Outcome.FAILED, Outcome.UNTOLD
TABLE: list[tuple[str, dict[str, Any], Outcome]] = [
    ("outbox", {"oldest_due": T0 - BOUNDS.notice}, PASSED),
    ("outbox", {"oldest_due": T0 - BOUNDS.notice - SECOND}, FAILED),
    ("delivery", {"oldest_unsent": T0 - BOUNDS.unsent}, PASSED),
    ("delivery", {"oldest_unsent": T0 - BOUNDS.unsent - SECOND}, FAILED),
    ("inbox", {"waiting": {"record": 900_000, "delivery": 0}}, PASSED),
    ("inbox", {"late_record": True}, FAILED),
    ("inbox", {"late_delivery": True}, FAILED),
    ("deadlines", {"late_incident": True}, FAILED),
    ("probes", {"late_probe": True}, FAILED),
    ("quarantine", {"quarantined": 4000}, PASSED),
    ("feed trail", feeds(asked_at=T0 - BOUNDS.feed), PASSED),
    ("feed trail", feeds(asked_at=T0 - BOUNDS.feed - SECOND), FAILED),
    ("feed trail", feeds(asked_at=None), FAILED),
    ("feed trail", feeds(asked_at=T0 + BOUNDS.feed + SECOND), UNTOLD),
    ("feed trail", feeds(error="strangers knocked"), PASSED),
    ("feed trail", {"processes": without("consumer trail")}, FAILED),
    ("feed trail", {"processes": seen("consumer trail", BOUNDS.process + SECOND)}, FAILED),
    ("feed trail", {"processes": without("consumer grid")}, PASSED),
    ("scheduler", {"processes": without("scheduler")}, FAILED),
    ("scheduler", {"processes": seen("scheduler", BOUNDS.process)}, PASSED),
    ("scheduler", {"processes": seen("scheduler", BOUNDS.process + SECOND)}, FAILED),
    ("scheduler", {"processes": seen("scheduler", -BOUNDS.process - SECOND)}, UNTOLD),
    ("worker of normal", {"processes": without("worker urgent,normal")}, FAILED),
    ("worker of bulk", {"processes": without("worker urgent,normal")}, PASSED),
    ("worker of bulk", {"processes": without("worker bulk")}, FAILED),
    ("worker of bulk", {"processes": (*PROCESSES, Process(kind="worker bulk", seen_at=T0 - DAY))}, PASSED),
    ("degraded", {"processes": seen("worker bulk", SECOND, "the broker is away")}, FAILED),
    ("degraded", {"processes": (*PROCESSES, Process(kind="worker", seen_at=T0 - DAY, degraded="away"))}, PASSED),
    ("job advance", job(None), UNTOLD),
    ("job advance", job(-30 * SECOND - BOUNDS.job), PASSED),
    ("job advance", job(-31 * SECOND - BOUNDS.job), FAILED),
    ("job advance", job(31 * SECOND + BOUNDS.job), UNTOLD),
    ("synthetic record aws", fresh(seen_at=T0 - BOUNDS.synthetic), PASSED),
    ("synthetic record aws", fresh(seen_at=T0 - BOUNDS.synthetic - SECOND), FAILED),
    ("synthetic record aws", fresh(seen_at=None), UNTOLD),
    ("synthetic record aws", fresh(trouble="the record came out otherwise"), FAILED),
    ("evidence", chain(flaw="entry 3 was changed"), FAILED),
    ("evidence", chain(is_caught_up=False), UNTOLD),
    ("evidence", chain(whole_at=None), UNTOLD),
    ("evidence", chain(whole_at=T0 - BOUNDS.chain - SECOND), UNTOLD),
]


def test_a_sound_watchdog_passes_and_has_nothing_to_say() -> None:
    checks = audit(SOUND)

    assert passes(checks)
    assert reasons(checks) == ()
    assert {check.next for check in checks} == {""}
    assert len({check.name for check in checks}) == len(checks)


@pytest.mark.parametrize(("name", "changes", "outcome"), TABLE)
def test_each_check_judges_what_it_is_about_and_alone_holds_the_heartbeat_back(
    name: str, changes: dict[str, Any], outcome: Outcome
) -> None:
    facts = replace(SOUND, **changes)

    check = found(facts, name)

    assert check.outcome is outcome
    assert bool(check.next) is (outcome is not PASSED), "what does not pass says what to do"
    if outcome is not PASSED:
        assert not passes(audit(facts))
        assert f"{name}: {check.words}" in reasons(audit(facts))


def test_every_check_is_seen_to_pass_and_not_to_pass() -> None:
    known = {check.name for check in audit(SOUND)} - {"quarantine", "feed grid", "worker of urgent"}

    assert {name for name, _, outcome in TABLE if outcome is not PASSED} == known


def test_probes_are_not_looked_at_where_no_cloud_is_probed() -> None:
    assert "probes" not in {check.name for check in audit(replace(SOUND, probed=False, late_probe=True))}


def test_what_may_go_to_a_third_party_holds_no_text_of_a_provider() -> None:
    secret = "https://queue.example/acme?sig=hunter2"
    facts = replace(
        SOUND, feeds=(Feed(name="trail", asked_at=T0 - HOUR, error=secret),),
        processes=seen("worker bulk", SECOND, secret),
    )  # fmt: skip

    checks = audit(facts)

    assert not any("hunter2" in reason for reason in reasons(checks))
    assert 2 == sum("hunter2" in check.next for check in checks), "people at the terminal do get to see it"
