from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.watchdog.test_health import proof
from tests.workers.runtimes import make_runtime
from tests.workers.test_observing import change, observed
from tests.worlds import (
    ACME_KEY,
    ACME_SECOND_KEY,
    GLOBEX_KEY,
    T0,
    VENDOR_KEY,
    document,
    key,
    stores,
)
from watchdog import health
from watchdog.coverage import Cover, Sign
from watchdog.health import Health
from watchdog.incidents import Incident, Turn
from watchdog.register import AwsCustomerFeeds
from watchdog.silence import State
from watchdog.words import Fault, Severity, Stage, Verdict
from workers.covering import cover
from workers.observing import put_incident
from workers.registering import import_document
from workers.runtime import Runtime
from workers.samples.corpus import eventbridge
from workers.store.interface import StoredHealth
from workers.viewing import View, view

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime(tmp_path)


def verdicts(seen: View) -> dict[str, Verdict]:
    return {one.subject: one.assessment.verdict for one in seen.subjects}


def prove(runtime: Runtime, *subjects: str, minutes: float = 0) -> None:
    """A passing probe of these keys, as the store keeps it."""
    with runtime.store.write() as unit:
        for subject in subjects:
            found = health.add(Health(subject=subject), [proof(minutes)])
            unit.put_health(
                StoredHealth(
                    subject=subject, doc=msgspec.json.encode(found), verdict=Verdict.HEALTHY, customer="",
                    changed_at=T0,
                )
            )  # fmt: skip


def test_a_registered_key_of_which_nothing_is_known_is_shown_and_is_blind(runtime: Runtime) -> None:
    seen = view(runtime, now=T0)
    assert {ACME_KEY: Verdict.BLIND, GLOBEX_KEY: Verdict.BLIND, VENDOR_KEY: Verdict.BLIND} == verdicts(seen)
    assert Verdict.BLIND is seen.worst


def test_no_register_at_all_is_not_shown_as_fine(tmp_path: Path) -> None:
    bare = make_runtime(tmp_path, register=document())
    bare.__dict__["store"] = type(bare.store)()
    bare.__dict__["registry"] = type(bare.registry)(bare.store)
    seen = view(bare, now=T0)
    assert (0, (), Verdict.BLIND) == (seen.revision, seen.subjects, seen.worst)


def test_the_stored_verdict_is_not_believed_when_the_proof_has_become_stale(runtime: Runtime) -> None:
    prove(runtime, ACME_KEY, GLOBEX_KEY, VENDOR_KEY)
    assert Verdict.HEALTHY is view(runtime, now=T0 + 5 * MINUTE).worst
    stale = view(runtime, now=T0 + 60 * MINUTE)
    assert {Verdict.BLIND} == set(verdicts(stale).values())


def test_one_bad_key_makes_the_whole_bad(runtime: Runtime) -> None:
    prove(runtime, GLOBEX_KEY, VENDOR_KEY)
    observed(runtime, eventbridge(change("DisableKey")))
    seen = view(runtime, now=T0 + MINUTE)
    assert {ACME_KEY: Verdict.UNUSABLE, GLOBEX_KEY: Verdict.HEALTHY, VENDOR_KEY: Verdict.HEALTHY} == verdicts(seen)
    assert Verdict.UNUSABLE is seen.worst
    (incident,) = seen.incidents
    assert incident.id == next(one.incident for one in seen.subjects if one.subject == ACME_KEY)
    assert 5 == len(seen.notices[incident.id])


def test_a_subject_is_shown_with_its_customer_its_instance_and_its_name(runtime: Runtime) -> None:
    acme, globex, _ = view(runtime, now=T0).subjects
    assert ("acme", "acme-prod", "Acme production", None) == (acme.customer, acme.instance, acme.name, acme.incident)
    assert ("globex", "globex-prod", "globex-prod") == (globex.customer, globex.instance, globex.name)


def test_a_key_that_has_left_the_register_is_shown_while_its_incident_is_open(runtime: Runtime) -> None:
    observed(runtime, eventbridge(change("DisableKey")))
    import_document(runtime, document(key(ACME_SECOND_KEY)), by="test", source="test", now=T0)
    seen = view(runtime, now=T0 + MINUTE)
    (gone,) = [one for one in seen.subjects if one.subject == ACME_KEY]
    assert ("acme", "", Verdict.UNUSABLE) == (gone.customer, gone.instance, gone.assessment.verdict)
    assert "has left the register" in gone.assessment.why

    with runtime.store.write() as unit:
        put_incident(unit, replace(seen.incidents[0], stage=Stage.RESOLVED))
    assert ACME_KEY not in verdicts(view(runtime, now=T0 + MINUTE))


def incident(number: int, stage: Stage, severity: Severity, headline_at: datetime | None = None) -> Incident:
    return Incident(
        id=f"KW-{number}", customer="acme", subjects=(f"key-{number}",), opened_at=T0 + number * MINUTE, stage=stage,
        severity=severity, fault=Fault.CUSTOMER, headline_at=headline_at,
        turns=(Turn(number=1, stage=stage, at=T0, why="opened"),),
    )  # fmt: skip


def test_what_can_be_saved_only_now_stands_before_what_has_a_date_and_before_what_is_quiet(runtime: Runtime) -> None:
    opened = [
        incident(1, Stage.AT_RISK, Severity.WARNING, T0 + DAY),
        incident(2, Stage.DELETION_SCHEDULED, Severity.CRITICAL, T0 + 30 * DAY),
        incident(3, Stage.DELETION_SCHEDULED, Severity.CRITICAL, T0 + 7 * DAY),
        incident(4, Stage.IRREVERSIBLE_SOON, Severity.CRITICAL),  # no grace is documented: act now
        incident(5, Stage.RECOVERING, Severity.INFO),
        incident(6, Stage.IMPAIRED, Severity.CRITICAL),
    ]
    with runtime.store.write() as unit:
        for one in opened:
            put_incident(unit, one)
    assert ["KW-4", "KW-3", "KW-2", "KW-6", "KW-1", "KW-5"] == [one.id for one in view(runtime, now=T0).incidents]


def test_the_view_counts_what_waits(runtime: Runtime) -> None:
    observed(runtime, eventbridge(change("DisableKey")))
    seen = view(runtime, now=T0)
    assert {"record": 0, "delivery": 0} == seen.inbox
    assert 5 == seen.outbox["queued"]
    assert 0 == seen.quarantined


def test_a_store_without_backups_shows_its_earlier_end(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, register=document(key(ACME_KEY, *stores(backups=True, read_replica=True))))
    observed(runtime, eventbridge(change("DisableKey")))
    (one,) = [one for one in view(runtime, now=T0).subjects if one.subject == ACME_KEY]
    assert Stage.IRREVERSIBLE_SOON is one.assessment.stage


def beating(tmp: Path) -> Runtime:
    """Acme's account beats by a rule; of it a sign has come just now, and a schedule has looked."""
    plain = document()
    rule = f"arn:aws:events:eu-west-1:{ACME_KEY.split(':')[4]}:rule/beat"
    acme = plain.customers[0]
    feeds = AwsCustomerFeeds(heartbeat_rules=[rule])
    acme = msgspec.structs.replace(acme, aws=msgspec.structs.replace(acme.aws, feeds=feeds))
    runtime = make_runtime(tmp, register=msgspec.structs.replace(plain, customers=[acme, *plain.customers[1:]]))
    asked(runtime, T0)
    with runtime.store.write() as unit:
        unit.note_signs([Sign(feed="drop", route=f"aws:{ACME_KEY.split(':')[4]}:eu-west-1", at=T0)])
    cover(runtime, now=T0)
    return runtime


def asked(runtime: Runtime, at: datetime) -> None:
    with runtime.store.write() as unit:
        unit.feed_seen("drop", asked_at=at)


def test_a_key_that_works_is_not_green_while_its_owners_records_have_fallen_silent(tmp_path: Path) -> None:
    runtime = beating(tmp_path)
    prove(runtime, ACME_KEY, GLOBEX_KEY, VENDOR_KEY, minutes=16)
    asked(runtime, T0 + 17 * MINUTE)
    for minutes, verdict, state in ((16, Verdict.HEALTHY, State.PROVEN), (17, Verdict.AT_RISK, State.SILENT)):
        seen = view(runtime, now=T0 + minutes * MINUTE)
        assert verdicts(seen) == {ACME_KEY: verdict, GLOBEX_KEY: Verdict.HEALTHY, VENDOR_KEY: Verdict.HEALTHY}
        (acme,) = [one for one in seen.subjects if one.subject == ACME_KEY]
        assert {one.cover: one.state for one in acme.covers}[Cover.FORWARDED] is state
    assert "a loss may be seen late: No sign of life has come from" in acme.assessment.why
    assert {one.way.customer for one in seen.routes if one.state is State.SILENT} == {"acme"}


def test_a_key_that_is_lost_stays_so_whatever_is_silent(tmp_path: Path) -> None:
    runtime = beating(tmp_path)
    observed(runtime, eventbridge(change("DisableKey")))
    asked(runtime, T0 + 60 * MINUTE)
    assert verdicts(view(runtime, now=T0 + 60 * MINUTE))[ACME_KEY] is Verdict.UNUSABLE
