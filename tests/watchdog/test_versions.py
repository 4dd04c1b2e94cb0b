"""Versions: each version of a key is well or unwell by itself, and long operations take back what they announced."""

import importlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watchdog.stories import Story, steps
from tests.watchdog.test_health import after, proof, signal
from tests.worlds import ACME_KEY, MINUTE, T0
from watchdog import clouds, health
from watchdog.health import Condition, Health, Mark, Origin, Slot, judge
from watchdog.notices import Facts
from watchdog.register import RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import RECOVERY, Cause, Effect, Fault, Means, Stage, Verdict

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


def open_versions(found: Health) -> list[tuple[Slot, str | None]]:
    return [(condition.slot, condition.version) for condition in judge(found).conditions]


def condition_of(found: Health, version: str | None) -> Condition:
    return next(one for one in judge(found).conditions if one.version == version)


# -------------------------------------------------------------------------------------------------- opening and closing

PAIRS = [
    (Effect.KEY_DISABLED, None, Effect.KEY_ENABLED, Slot.DISABLED),
    (Effect.KEY_DELETION_SCHEDULED, None, Effect.KEY_RECOVERED, Slot.DELETION),
    (Effect.KEY_DESTROYED, None, Effect.KEY_MATERIAL_RESTORED, Slot.DESTROYED),
    (Effect.KEY_EXPIRED, None, Effect.EXPIRY_AHEAD, Slot.MATERIAL),
    (Effect.ACCESS_REVOKED, Means.KEY_OPERATIONS, Effect.ACCESS_GRANTED, Slot.ACCESS),
    (Effect.USE_FAILED, None, Effect.USE_SUCCEEDED, Slot.USE),
]


@pytest.mark.parametrize(("loss", "means", "recovery", "slot"), PAIRS)
def test_a_recovery_of_one_version_leaves_the_other_version_lost(
    loss: Effect, means: Means | None, recovery: Effect, slot: Slot
) -> None:
    cause = Cause.DISABLED if loss is Effect.USE_FAILED else None
    both = [signal(loss, 0, means=means, cause=cause, version=version) for version in ("2", "3")]
    assert [(slot, "2"), (slot, "3")] == open_versions(after(*both))
    back = signal(recovery, 5, means=means, version="3")
    assert [(slot, "2")] == [one for one in open_versions(after(*both, back)) if one[0] is slot]


@pytest.mark.parametrize(("loss", "means", "recovery", "slot"), [pair for pair in PAIRS if pair[3] not in {
    Slot.USE, Slot.DESTROYED, Slot.MATERIAL}])  # fmt: skip
def test_a_recovery_of_the_whole_key_is_one_of_every_version(
    loss: Effect, means: Means | None, recovery: Effect, slot: Slot
) -> None:
    del slot
    lost = [signal(loss, 0, means=means, version=version) for version in (None, "2", "3")]
    assert [] == open_versions(after(*lost, signal(recovery, 5, means=means)))


def test_a_recovery_of_one_version_does_not_end_the_loss_of_the_whole_key() -> None:
    found = after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 5, version="3"))
    assert [(Slot.DISABLED, None)] == open_versions(found)


def test_a_cancelled_destruction_leaves_that_version_disabled_and_the_other_one_doomed() -> None:
    doomed = [signal(Effect.KEY_DELETION_SCHEDULED, 0, version=version) for version in ("2", "3")]
    found = after(*doomed, signal(Effect.DELETION_CANCELLED, 60, version="3", partial=True))
    assert [(Slot.DELETION, "2"), (Slot.DISABLED, "3")] == open_versions(found)
    found = health.add(found, health.marks_of(signal(Effect.KEY_ENABLED, 70, version="3"), received_at=T0))
    assert [(Slot.DELETION, "2")] == open_versions(found)


def test_a_half_undone_destruction_lies_with_whoever_began_it_though_its_record_names_nobody() -> None:
    cancelled = replace(signal(Effect.DELETION_CANCELLED, 60, version="3"), fault=None)
    found = after(signal(Effect.KEY_DELETION_SCHEDULED, 0, version="3"), cancelled)
    assert Fault.CUSTOMER is judge(found).conditions[0].fault
    assert Fault.UNKNOWN is judge(after(cancelled)).conditions[0].fault


def test_a_recovered_key_is_disabled_as_it_was_before() -> None:
    found = after(
        signal(Effect.KEY_DISABLED, 0, version="a"), signal(Effect.KEY_DELETION_SCHEDULED, 5),
        signal(Effect.KEY_RECOVERED, 9),
    )  # fmt: skip
    assert [(Slot.DISABLED, "a")] == open_versions(found)


def test_the_beginning_of_an_import_does_not_undo_a_destruction_and_its_end_does() -> None:
    begun = signal(Effect.KEY_MATERIAL_RESTORED, 5, version="3", probe=True)
    done = signal(Effect.KEY_MATERIAL_RESTORED, 9, version="3")
    destroyed = signal(Effect.KEY_DESTROYED, 0, version="3")
    assert [(Slot.DESTROYED, "3")] == open_versions(after(destroyed, begun))
    assert [] == open_versions(after(destroyed, begun, done))
    assert [(Slot.DESTROYED, None)] == open_versions(after(signal(Effect.KEY_DESTROYED), replace(done, version=None)))


def test_a_lock_that_is_removed_answers_no_question_about_a_version() -> None:
    asked = signal(Effect.KEY_CHANGED, 0, version="a", probe=True)
    weakened = signal(Effect.PROTECTION_WEAKENED, 5)
    assert [(Slot.QUESTION, "a"), (Slot.PROTECTION, None)] == open_versions(after(asked, weakened))


def test_an_expiry_of_one_version_does_not_hide_that_of_another() -> None:
    early, late = T0 + timedelta(days=3), T0 + timedelta(days=90)
    found = after(
        signal(Effect.EXPIRY_AHEAD, 0, version="a", deadline=early),
        signal(Effect.EXPIRY_AHEAD, 1, version="b", deadline=late),
        signal(Effect.EXPIRY_AHEAD, 2, version="b", deadline=late + timedelta(days=1)),
    )
    assert [early, late + timedelta(days=1)] == [one.latest.deadline for one in judge(found).conditions]
    assert not judge(found).probe_wanted


# --------------------------------------------------------------------------------------- symptoms, contradictions, ties


def test_a_failure_is_a_symptom_only_of_a_loss_of_the_same_version_or_of_the_whole_key() -> None:
    failed = signal(Effect.USE_FAILED, 5, cause=Cause.DISABLED, version="3")
    explained = after(signal(Effect.KEY_DISABLED, 0, version="3"), failed)
    assert [(Slot.DISABLED, "3")] == open_versions(explained)
    assert [(Slot.DISABLED, "2"), (Slot.USE, "3")] == open_versions(
        after(signal(Effect.KEY_DISABLED, 0, version="2"), failed)
    )
    whole = after(signal(Effect.CONTAINER_LOST, 0, subject="projects/p"), failed)
    assert [(Slot.CONTAINER, None)] == open_versions(whole)


def test_a_success_that_names_no_version_proves_nothing_about_one_that_failed() -> None:
    found = after(
        signal(Effect.USE_FAILED, 0, cause=Cause.DISABLED, version="2"), signal(Effect.USE_SUCCEEDED, 5),
        signal(Effect.USE_SUCCEEDED, 6, version="3"),
    )  # fmt: skip
    assert [(Slot.USE, "2")] == open_versions(found)


def test_a_success_of_one_product_does_not_hide_that_another_one_is_refused() -> None:
    denied = signal(Effect.USE_FAILED, 0, cause=Cause.ACCESS_DENIED, subject="cloud-sql@agents.example")
    other = signal(Effect.USE_SUCCEEDED, 5, subject="storage@agents.example")
    assert [(Slot.USE, None)] == open_versions(after(denied, other))
    assert [] == open_versions(after(denied, other, replace(other, subject=denied.subject, event_id="own")))


def test_failures_of_two_versions_in_one_hour_are_folded_apart() -> None:
    found = after(
        *(
            signal(Effect.USE_FAILED, n / 60, cause=Cause.DISABLED, version=version, event=f"{version}-{n}")
            for n in range(300)
            for version in ("2", "3")
        )
    )
    assert 4 == len(found.marks)
    assert [(Slot.USE, "2"), (Slot.USE, "3")] == open_versions(found)


@pytest.mark.parametrize(
    ("version", "wanted"), [("3", True), (None, True), ("2", False)], ids=["the same", "any", "another"]
)
def test_a_success_of_a_version_that_is_lost_is_a_contradiction(version: str | None, *, wanted: bool) -> None:
    lost = signal(Effect.KEY_DISABLED, 0, version="3" if version else None)
    found = judge(after(lost, signal(Effect.USE_SUCCEEDED, 60, version=version)))
    assert wanted == found.probe_wanted


@pytest.mark.parametrize(
    ("doomed", "enabled", "wanted"), [("3", "3", True), (None, "3", True), ("2", "3", False), ("3", None, True)]
)
def test_enabling_a_version_whose_destruction_is_pending_is_a_contradiction(
    doomed: str | None, enabled: str | None, *, wanted: bool
) -> None:
    scheduled = signal(Effect.KEY_DELETION_SCHEDULED, 0, version=doomed)
    assert wanted == judge(after(scheduled, signal(Effect.KEY_ENABLED, 5, version=enabled))).probe_wanted


def test_two_versions_that_change_in_one_second_are_no_tie() -> None:
    swapped = after(signal(Effect.KEY_ENABLED, 0, version="3"), signal(Effect.KEY_DISABLED, 0, version="2"))
    assert not judge(swapped).probe_wanted
    tie = after(signal(Effect.KEY_ENABLED, 0, version="2"), signal(Effect.KEY_DISABLED, 0, version="2"))
    assert judge(tie).probe_wanted


# ---------------------------------------------------------------------------------------------------- clocks and proofs


def test_the_stores_clock_of_a_version_runs_from_its_own_loss() -> None:
    found = after(
        signal(Effect.KEY_DISABLED, 0, version="2"), signal(Effect.KEY_DISABLED, 30, version="3"),
        signal(Effect.KEY_ENABLED, 40, version="2"),
    )  # fmt: skip
    assert T0 + 30 * MINUTE == condition_of(found, "3").clock_from


def test_the_clock_of_a_version_runs_on_through_a_loss_of_the_whole_key() -> None:
    found = after(
        signal(Effect.CONTAINER_LOST, 0, subject="projects/p"),
        signal(Effect.KEY_DISABLED, 30, version="3"),
        signal(Effect.CONTAINER_RESTORED, 60, subject="projects/p"),
    )
    assert T0 == condition_of(found, "3").clock_from


@pytest.mark.parametrize("origin", [Origin.PROBE, Origin.OPERATOR])
def test_a_proof_is_one_of_every_version(origin: Origin) -> None:
    lost = after(signal(Effect.KEY_DISABLED, 0, version="2"), signal(Effect.KEY_DISABLED, 1, version="3"))
    proven = health.add(lost, [proof(30, origin)])
    assert [] == open_versions(proven)
    assert T0 + 30 * MINUTE == judge(proven).proven_at


def test_a_version_that_was_lost_just_now_is_not_proven_by_a_probe_that_proves_another() -> None:
    lost = after(signal(Effect.KEY_DISABLED, 0, version="2"), signal(Effect.KEY_DISABLED, 28, version="3"))
    assert [(Slot.DISABLED, "3")] == open_versions(health.add(lost, [proof(30)]))


def test_a_destruction_that_was_undone_or_decided_stays_so_after_later_proofs() -> None:
    undone = after(signal(Effect.KEY_DESTROYED, 0), signal(Effect.KEY_RECOVERED, 5))
    decided = health.add(after(signal(Effect.KEY_DESTROYED, 0)), [proof(5, Origin.OPERATOR)])
    for found in (undone, decided):
        once = health.settle(health.add(found, [proof(60)]))
        twice = health.settle(health.add(once, [proof(600)]))
        assert [] == open_versions(twice)
        assert T0 + 600 * MINUTE == judge(twice).proven_at


# ----------------------------------------------------------------------------------------------------------- containers

PROJECT, API, BILLING = "projects/p", "cloudkms.googleapis.com in projects/p", "billing of projects/p"
VAULT = "/subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/v"


def lost(subject: str, minutes: float = 0) -> Signal:
    return signal(Effect.CONTAINER_LOST, minutes, subject=subject)


def back(subject: str, minutes: float, *, partial: bool = False, means: Means | None = None) -> Signal:
    return signal(Effect.CONTAINER_RESTORED, minutes, subject=subject, partial=partial, means=means)


def test_a_project_its_api_and_its_billing_are_given_back_each_by_itself() -> None:
    gone = (lost(PROJECT), lost(BILLING, 1), lost(API, 2))
    assert [PROJECT, BILLING] == [one.latest.subject for one in judge(after(*gone, back(API, 9))).conditions]
    assert [PROJECT, API] == [one.latest.subject for one in judge(after(*gone, back(BILLING, 9))).conditions]


def test_a_project_that_is_restored_still_lacks_its_billing() -> None:
    restored = (lost(PROJECT), back(PROJECT, 5, partial=True))
    (rest,) = judge(after(*restored)).conditions
    assert (Slot.CONTAINER, Effect.CONTAINER_LOST, Fault.CUSTOMER) == (rest.slot, rest.effect, rest.fault)
    assert T0 == rest.clock_from
    assert [] == open_versions(after(*restored, back(BILLING, 9)))


@pytest.mark.parametrize("dated_first", [True, False])
def test_of_two_records_of_one_deletion_the_one_with_the_date_counts(*, dated_first: bool) -> None:
    dated = signal(Effect.CONTAINER_LOST, 0 if dated_first else 2, subject=VAULT, deadline=T0 + timedelta(days=90))
    found = judge(after(dated, lost(VAULT, 1)))
    assert [T0 + timedelta(days=90)] == [one.latest.deadline for one in found.conditions]


@pytest.mark.parametrize("place", [VAULT, "/subscriptions/s/resourcegroups/g", "/subscriptions/s"])
def test_a_vault_that_is_recovered_is_there_with_all_that_stands_above_it(place: str) -> None:
    assert [] == open_versions(after(lost(place), back(VAULT, 5)))


def test_a_subscription_that_is_active_again_does_not_bring_a_deleted_vault_back() -> None:
    found = after(lost(VAULT), lost("/subscriptions/s", 1), back("/subscriptions/s", 5))
    assert [VAULT] == [one.latest.subject for one in judge(found).conditions]
    near_miss = after(lost("/subscriptions/s/resourcegroups/g"), back("/subscriptions/s/resourcegroups/g2/v", 5))
    assert [(Slot.CONTAINER, None)] == open_versions(near_miss)


def test_a_vault_that_comes_back_without_its_role_assignments_is_a_lost_access_of_the_same_side() -> None:
    found = after(lost(VAULT), replace(back(VAULT, 5, partial=True, means=Means.IAM_BINDING), fault=None))
    (rest,) = judge(found).conditions
    assert (Slot.ACCESS, Means.IAM_BINDING, Effect.ACCESS_REVOKED) == (rest.slot, rest.means, rest.effect)
    assert Fault.CUSTOMER is rest.fault
    granted = signal(Effect.ACCESS_GRANTED, 9, means=Means.IAM_BINDING)
    assert [] == open_versions(health.add(found, health.marks_of(granted, received_at=T0)))


# ------------------------------------------------------------------------------------------------------ long operations


def first(minutes: float = 0, operation: str = "x/op-1") -> Signal:
    return signal(Effect.CONTAINER_LOST, minutes, subject=API, long_operation=operation, event=f"first {operation}")


def last(minutes: float, operation: str = "x/op-1", effect: Effect = Effect.ATTEMPT_FAILED) -> Signal:
    return signal(effect, minutes, subject=API, long_operation=operation, event=f"last {operation} {effect}")


@pytest.mark.parametrize("late", [False, True], ids=["in order", "the end arrives first"])
def test_an_operation_that_fails_takes_its_own_alarm_back(*, late: bool) -> None:
    told = [first(), last(1)]
    found = judge(after(*reversed(told)) if late else after(*told))
    assert ((), None, True) == (found.conditions, found.proven_at, found.probe_wanted)
    assert T0 + MINUTE == found.last_change_at


def test_it_takes_back_no_other_alarm_of_the_same_thing() -> None:
    found = after(first(), first(2, "x/op-2"), last(3, "x/op-1"))
    assert [T0 + 2 * MINUTE] == [one.since for one in judge(found).conditions]
    untold = replace(last(3), long_operation=None)
    assert [(Slot.CONTAINER, None)] == open_versions(after(first(), untold))


def test_an_alarm_that_is_taken_back_needs_a_proof_even_where_one_stood_before_it() -> None:
    proven = health.add(after(first(30), last(31)), [proof(5)])
    assert judge(proven).proven_at is None
    again = health.add(proven, [proof(40)])
    assert T0 + 40 * MINUTE == judge(again).proven_at


def test_the_end_of_an_operation_that_nobody_was_told_of_changes_nothing() -> None:
    alone = health.add(after(last(31)), [proof(5)])
    assert T0 + 5 * MINUTE == judge(alone).proven_at
    assert not judge(after(last(31))).probe_wanted


def test_a_failed_attempt_without_an_operation_leaves_no_mark() -> None:
    assert () == health.marks_of(signal(Effect.ATTEMPT_FAILED), received_at=T0)


def test_the_incident_of_a_failed_operation_recovers_and_waits_for_the_proof() -> None:
    story = Story()
    story.push(first())
    assert Stage.DELETION_SCHEDULED is story.stage()
    story.push(last(1))
    assert Stage.RECOVERING is story.stage()
    story.prove(ACME_KEY, T0 + 20 * MINUTE)
    assert Stage.RESOLVED is story.stage()


def test_an_operation_whose_failure_is_known_opens_no_incident() -> None:
    story = Story()
    assert [] == story.push(last(1))
    assert [] == story.push(first(), now=T0 + 2 * MINUTE)
    assert {} == story.incidents


def test_the_beginning_and_the_end_of_an_operation_are_one_alarm() -> None:
    story = Story()
    story.push(first())
    assert [] == story.push(last(1, effect=Effect.CONTAINER_LOST))
    assert T0 == judge(story.healths[ACME_KEY]).conditions[0].since


# --------------------------------------------------------------------------------------------------------- what is told


def test_a_notice_says_which_versions_are_meant_and_asks_for_each_of_them_once() -> None:
    asked: list[str | None] = []

    def plan(
        effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
    ) -> Sequence[Step]:
        asked.append(subject)
        return steps(effect, key, means, subject, cause)

    story = Story(steps=plan)
    story.push(signal(Effect.KEY_DISABLED, 0, version="2"), signal(Effect.KEY_DISABLED, 0, version="3"))
    facts = story.notices[0].facts
    assert isinstance(facts, Facts)
    (key,) = facts.keys
    assert ["2", "3"] == [one.version for one in key.happenings]
    assert {"2", "3"} == set(asked)
    assert "(version 2)" in key.claimed
    assert 1 == len([step for step in key.steps if step.command == f"undo {ACME_KEY}"])


def test_two_versions_have_each_their_own_deadline() -> None:
    story = Story()
    days = {"2": 9, "3": 5}
    story.push(
        *(
            signal(Effect.KEY_DELETION_SCHEDULED, 0, version=version, deadline=T0 + timedelta(days=number))
            for version, number in days.items()
        )
    )
    facts = story.notices[0].facts
    assert isinstance(facts, Facts)
    told = {one.version: one.deadline.at for one in facts.keys[0].happenings if one.deadline}
    assert {version: T0 + timedelta(days=number) for version, number in days.items()} == told
    assert facts.headline is not None
    assert T0 + timedelta(days=5) == facts.headline.at


# ------------------------------------------------------------------------------------ stored before there were versions


def test_marks_that_were_stored_before_there_were_versions_are_read_as_before() -> None:
    found = after(signal(Effect.KEY_DISABLED, 0), signal(Effect.USE_FAILED, 1, cause=Cause.DISABLED))
    plain = json.loads(msgspec.json.encode(found))
    for mark in plain["marks"]:
        for name in ("version", "long_operation", "partial"):
            del mark[name]
    assert found == msgspec.json.decode(json.dumps(plain).encode(), type=Health)


def test_the_marks_of_a_whole_key_have_the_ids_that_they_always_had() -> None:
    (mark,) = health.marks_of(signal(Effect.KEY_DISABLED, event="e-1"), received_at=T0)
    assert "e-1:key_disabled:" == mark.id


# ------------------------------------------------------------------------------------------------ records, in any order


@cache
def recorded(cloud: str) -> list[list[Signal]]:
    """The signals of every recorded event of one cloud that name a key, by key; those of few are left out."""
    known = importlib.import_module(f"tests.watchdog.clouds.{cloud}.world").register()
    half = clouds.cloud(cloud)
    found: dict[str, list[Signal]] = {}
    for path in sorted((RECORDED / cloud).glob("*.json")):
        if path.name == "expected.json":
            continue
        for number, entry in enumerate(half.unpack(path.read_bytes(), register=known).entries):
            for one in half.meaning(entry.raw, known):
                if one.key:  # the recorded ones share their id: told apart, as real ones are
                    found.setdefault(one.key, []).append(replace(one, event_id=f"{path.name}-{number}"))
    return [signals for signals in found.values() if len(signals) > 10]


@st.composite
def happenings(draw: st.DrawFn) -> list[Signal]:
    """Some recorded signals of one key of any cloud, at other times."""
    signals = draw(st.sampled_from(recorded(draw(st.sampled_from(clouds.CLOUDS)))))
    some = draw(st.lists(st.sampled_from(signals), min_size=1, max_size=12))
    return [
        replace(one, occurred_at=T0 + draw(st.integers(0, 90)) * MINUTE, event_id=f"{one.event_id}-{number}")
        for number, one in enumerate(some)
    ]


def marks_of(signals: list[Signal]) -> list[Mark]:
    return [mark for one in signals for mark in health.marks_of(one, received_at=T0)]


@settings(max_examples=300, deadline=None)
@given(happenings(), st.lists(st.integers(0, 120), max_size=2), st.randoms(use_true_random=False))
def test_the_order_of_any_clouds_records_and_their_repetition_change_nothing(
    signals: list[Signal], probes: list[int], chance: random.Random
) -> None:
    marks = marks_of(signals) + [proof(minutes) for minutes in probes]
    shuffled = [*marks, *chance.sample(marks, k=len(marks) // 2)]
    chance.shuffle(shuffled)
    other = Health(subject="key")
    for mark in shuffled:
        other = health.add(other, [mark])
    assert judge(health.add(Health(subject="key"), marks)) == judge(other)


@settings(max_examples=300, deadline=None)
@given(happenings(), st.lists(st.integers(0, 120), min_size=1, max_size=3))
def test_settling_changes_no_judgement_of_any_clouds_records(signals: list[Signal], probes: list[int]) -> None:
    found = health.add(Health(subject="key"), marks_of(signals) + [proof(minutes) for minutes in probes])
    settled = health.settle(found)
    assert judge(found).conditions == judge(settled).conditions
    assert judge(found).proven_at == judge(settled).proven_at


@settings(max_examples=200, deadline=None)
@given(happenings())
def test_no_recovery_of_one_version_ever_closes_another_versions_condition(signals: list[Signal]) -> None:
    losses = [one for one in signals if one.effect not in RECOVERY]
    before = {(one.slot, one.version) for one in judge(health.add(Health(subject="key"), marks_of(losses))).conditions}
    for one in signals:
        if one.effect in RECOVERY and one.version is not None:
            late = replace(one, occurred_at=T0 + 200 * MINUTE)
            found = judge(health.add(Health(subject="key"), marks_of([*losses, late])))
            left = {(condition.slot, condition.version) for condition in found.conditions}
            assert {place for place in before - left if place[0] is not Slot.USE} <= {
                (slot, late.version) for slot in Slot
            }


def test_every_cloud_takes_part_in_these_properties() -> None:
    versions = {cloud: {one.version for group in recorded(cloud) for one in group} for cloud in clouds.CLOUDS}
    assert {None} == versions["aws"]
    assert len(versions["azure"]) > 2
    assert len(versions["gcp"]) > 2


def test_the_story_of_one_version_has_the_verdict_of_that_version() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED, 0, version="3"))
    facts = story.notices[0].facts
    assert isinstance(facts, Facts)
    assert Verdict.UNUSABLE is facts.keys[0].verdict
