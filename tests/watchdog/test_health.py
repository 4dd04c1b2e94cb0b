import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds import ACME_KEY, MINUTE, T0
from watchdog import health
from watchdog.health import Health, Mark, Origin, Slot, judge
from watchdog.signals import Actor, Signal
from watchdog.words import Cause, Effect, Fault, Means


def signal(
    effect: Effect, minutes: float = 0, *, event: str | None = None, means: Means | None = None,
    cause: Cause | None = None, deadline: datetime | None = None, subject: str | None = None, probe: bool = False,
    version: str | None = None, long_operation: str | None = None, partial: bool = False, part: str | None = None,
) -> Signal:  # fmt: skip
    return Signal(
        effect=effect,
        reason=f"{effect} at {minutes}",
        key=ACME_KEY,
        occurred_at=T0 + minutes * MINUTE,
        event_id=event or f"{effect}@{minutes}/{means}/{cause}/{subject}/{version}/{part}",
        fault=Fault.CUSTOMER,
        means=means,
        cause=cause,
        deadline=deadline,
        subject=subject,
        probe=probe,
        version=version,
        long_operation=long_operation,
        partial=partial,
        part=part,
    )


def after(*signals: Signal) -> Health:
    found = Health(subject=ACME_KEY)
    for one in signals:
        found = health.add(found, health.marks_of(one, received_at=T0))
    return found


def proof(minutes: float, origin: Origin = Origin.PROBE) -> Mark:
    at = T0 + minutes * MINUTE
    return Mark(id=f"{origin}{minutes}", at=at, origin=origin, effect=None, reason="encrypt and decrypt worked")


def open_slots(found: Health) -> list[tuple[Slot, Means | None]]:
    return [(condition.slot, condition.means) for condition in judge(found).conditions]


LOSSES = [
    (Effect.KEY_DISABLED, Slot.DISABLED, Effect.KEY_ENABLED),
    (Effect.KEY_MATERIAL_REMOVED, Slot.MATERIAL, Effect.KEY_MATERIAL_RESTORED),
    (Effect.KEY_EXPIRED, Slot.MATERIAL, Effect.KEY_MATERIAL_RESTORED),
    (Effect.KEY_STORE_DISCONNECTED, Slot.STORE, Effect.KEY_STORE_RECONNECTED),
    (Effect.PATH_BLOCKED, Slot.PATH, Effect.PATH_OPENED),
    (Effect.CONTAINER_LOST, Slot.CONTAINER, Effect.CONTAINER_RESTORED),
]


@pytest.mark.parametrize(("loss", "slot", "recovery"), LOSSES)
def test_a_loss_opens_its_condition_and_its_recovery_closes_it(loss: Effect, slot: Slot, recovery: Effect) -> None:
    assert [(slot, None)] == open_slots(after(signal(loss, 0)))
    assert [] == open_slots(after(signal(loss, 0), signal(recovery, 5)))


@pytest.mark.parametrize(("loss", "slot", "recovery"), LOSSES)
def test_an_older_recovery_that_comes_late_closes_nothing(loss: Effect, slot: Slot, recovery: Effect) -> None:
    assert [(slot, None)] == open_slots(after(signal(loss, 5), signal(recovery, 0)))


def test_a_cancelled_deletion_leaves_the_key_disabled() -> None:
    found = after(signal(Effect.KEY_DELETION_SCHEDULED, 0), signal(Effect.DELETION_CANCELLED, 60))
    assert [(Slot.DISABLED, None)] == open_slots(found)


def test_the_stores_clocks_run_on_from_the_deletion_that_was_cancelled() -> None:
    found = after(signal(Effect.KEY_DELETION_SCHEDULED, 0), signal(Effect.DELETION_CANCELLED, 60))
    assert T0 == judge(found).conditions[0].clock_from


def test_the_clock_starts_anew_when_the_key_was_usable_in_between() -> None:
    found = after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 10), signal(Effect.KEY_DISABLED, 30))
    assert T0 + 30 * MINUTE == judge(found).conditions[0].clock_from


def test_a_second_disable_does_not_restart_the_clock() -> None:
    found = after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_DISABLED, 90))
    assert T0 == judge(found).conditions[0].since


def test_two_conditions_are_open_side_by_side_and_closed_one_by_one() -> None:
    both = (signal(Effect.KEY_DISABLED, 0), signal(Effect.ACCESS_REVOKED, 1, means=Means.KEY_POLICY))
    assert [(Slot.DISABLED, None), (Slot.ACCESS, Means.KEY_POLICY)] == open_slots(after(*both))
    assert [(Slot.ACCESS, Means.KEY_POLICY)] == open_slots(after(*both, signal(Effect.KEY_ENABLED, 2)))


def test_access_given_by_other_means_does_not_close_a_loss() -> None:
    found = after(
        signal(Effect.ACCESS_REVOKED, 0, means=Means.GRANT), signal(Effect.ACCESS_GRANTED, 5, means=Means.KEY_POLICY)
    )
    assert [(Slot.ACCESS, Means.GRANT)] == open_slots(found)


def test_a_policy_verdict_settles_the_question_about_the_policy() -> None:
    question = signal(Effect.ACCESS_CHANGED, 0, means=Means.KEY_POLICY, probe=True)
    assert [(Slot.QUESTION, Means.KEY_POLICY)] == open_slots(after(question))
    assert [] == open_slots(after(question, signal(Effect.ACCESS_GRANTED, 5, means=Means.KEY_POLICY)))


def test_a_tie_counts_as_the_worse_and_asks_for_a_probe() -> None:
    found = judge(after(signal(Effect.KEY_ENABLED, 0), signal(Effect.KEY_DISABLED, 0)))
    assert [Slot.DISABLED] == [condition.slot for condition in found.conditions]
    assert found.probe_wanted


def test_cancel_and_enable_in_one_second_count_as_disabled_until_probed() -> None:
    found = judge(
        after(
            signal(Effect.KEY_DELETION_SCHEDULED, -60),
            signal(Effect.DELETION_CANCELLED, 0),
            signal(Effect.KEY_ENABLED, 0),
        )
    )
    assert [Slot.DISABLED] == [condition.slot for condition in found.conditions]
    assert found.probe_wanted


def test_enabling_a_key_that_is_pending_deletion_is_a_contradiction() -> None:
    found = judge(after(signal(Effect.KEY_DELETION_SCHEDULED, 0), signal(Effect.KEY_ENABLED, 5)))
    assert [Slot.DELETION] == [condition.slot for condition in found.conditions]
    assert found.probe_wanted


def test_an_earlier_deadline_of_the_same_deletion_counts() -> None:
    early, late = T0 + timedelta(days=7), T0 + timedelta(days=30)
    for first, second in ((early, late), (late, early)):
        found = after(
            signal(Effect.KEY_DELETION_SCHEDULED, 0, event="a", deadline=first),
            signal(Effect.KEY_DELETION_SCHEDULED, 1, event="b", deadline=second),
        )
        assert early == judge(found).conditions[0].latest.deadline


@pytest.mark.parametrize("cause", [Cause.THROTTLED, Cause.TRANSIENT, Cause.CALLER_ERROR])
def test_trouble_of_the_caller_or_the_provider_says_nothing_about_the_key(cause: Cause) -> None:
    assert [] == open_slots(after(signal(Effect.USE_FAILED, 0, cause=cause)))


def test_a_failed_use_is_a_loss_of_its_own_where_no_event_explains_it() -> None:
    assert [(Slot.USE, None)] == open_slots(after(signal(Effect.USE_FAILED, 0, cause=Cause.DISABLED)))


def test_a_failed_use_is_only_a_symptom_where_an_event_explains_it() -> None:
    found = after(signal(Effect.KEY_DISABLED, 0), signal(Effect.USE_FAILED, 1, cause=Cause.DISABLED))
    assert [(Slot.DISABLED, None)] == open_slots(found)


def test_thousands_of_failures_leave_two_marks_an_hour() -> None:
    found = after(*(signal(Effect.USE_FAILED, n / 60, cause=Cause.DISABLED, event=f"e{n}") for n in range(2000)))
    assert 2 == len(found.marks)
    assert T0 == judge(found).conditions[0].since


def test_a_failure_after_a_success_within_the_hour_is_not_folded_away() -> None:
    found = after(
        signal(Effect.USE_FAILED, 5, cause=Cause.DISABLED),
        signal(Effect.USE_SUCCEEDED, 10),
        signal(Effect.USE_FAILED, 50, cause=Cause.DISABLED),
    )
    assert [(Slot.USE, None)] == open_slots(found)


def test_a_green_probe_minutes_after_a_disable_proves_nothing() -> None:
    found = health.add(after(signal(Effect.KEY_DISABLED, 0)), [proof(5)])
    assert [(Slot.DISABLED, None)] == open_slots(found)
    assert judge(found).probe_wanted
    assert judge(found).proven_at is None


def test_a_green_probe_after_the_clouds_have_settled_closes_it() -> None:
    found = health.add(after(signal(Effect.KEY_DISABLED, 0)), [proof(16)])
    assert [] == open_slots(found)
    assert judge(found).proven_at == T0 + 16 * MINUTE


def test_a_green_probe_right_after_the_recovery_is_proof() -> None:
    found = health.add(after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 3)), [proof(3.5)])
    assert judge(found).proven_at == T0 + 3.5 * MINUTE


def test_an_event_alone_is_never_proof() -> None:
    assert judge(after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 3))).proven_at is None


def test_a_working_key_is_no_proof_that_it_was_not_destroyed() -> None:
    found = health.add(after(signal(Effect.KEY_DESTROYED, 0)), [proof(60)])
    assert [(Slot.DESTROYED, None)] == open_slots(found)
    assert judge(found).probe_wanted


def test_a_named_decision_closes_everything() -> None:
    found = health.add(after(signal(Effect.KEY_DESTROYED, 0)), [proof(1, Origin.OPERATOR)])
    assert [] == open_slots(found)


def test_expiry_outlives_a_passing_probe() -> None:
    ahead = signal(Effect.EXPIRY_AHEAD, 0, deadline=T0 + timedelta(days=9))
    assert [(Slot.EXPIRY, None)] == open_slots(health.add(after(ahead), [proof(60)]))


def test_material_imported_for_ever_ends_the_expiry() -> None:
    ahead = signal(Effect.EXPIRY_AHEAD, 0, deadline=T0 + timedelta(days=9))
    assert [] == open_slots(after(ahead, signal(Effect.KEY_MATERIAL_RESTORED, 5)))


def test_material_imported_with_an_end_starts_a_clock() -> None:
    found = after(signal(Effect.KEY_MATERIAL_RESTORED, 5, deadline=T0 + timedelta(days=30)))
    assert [(Slot.EXPIRY, None)] == open_slots(found)


def test_an_old_record_that_comes_after_the_proof_opens_nothing() -> None:
    proven = health.settle(
        health.add(after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 5)), [proof(60)])
    )
    late = health.add(proven, health.marks_of(signal(Effect.KEY_DISABLED, 20, event="late"), received_at=T0))
    assert late == proven


def test_settling_forgets_only_what_is_proven_away() -> None:
    found = health.add(
        after(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 5), signal(Effect.PROTECTION_WEAKENED, 6)),
        [proof(60)],
    )
    settled = health.settle(found)
    assert judge(settled).conditions == judge(found).conditions
    assert len(settled.marks) < len(found.marks)


SIGNALS = st.builds(
    signal,
    st.sampled_from([effect for effect in Effect if effect is not Effect.FEED_TAMPERED]),
    st.integers(min_value=0, max_value=40).map(float),
    event=st.integers(min_value=0, max_value=12).map(str),
    means=st.sampled_from([None, Means.KEY_POLICY, Means.GRANT]),
    cause=st.sampled_from([None, Cause.DISABLED, Cause.ACCESS_DENIED, Cause.UNKNOWN, Cause.THROTTLED]),
    deadline=st.sampled_from([None, T0 + timedelta(days=7), T0 + timedelta(days=30)]),
    subject=st.sampled_from([None, "g1", "g2"]),
    probe=st.booleans(),
    version=st.sampled_from([None, "2", "3"]),
    long_operation=st.sampled_from([None, None, "op-1", "op-2"]),
    partial=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(SIGNALS, max_size=14), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_of_the_events_gives_the_same_health(
    signals: list[Signal], chance: random.Random
) -> None:
    shuffled = [*signals, *chance.sample(signals, k=len(signals) // 2)]
    chance.shuffle(shuffled)
    assert judge(after(*signals)) == judge(after(*shuffled))


@settings(max_examples=200, deadline=None)
@given(st.lists(SIGNALS, max_size=10), st.lists(st.integers(0, 60), max_size=3), st.randoms(use_true_random=False))
def test_the_order_in_which_probes_and_events_arrive_does_not_matter(
    signals: list[Signal], probes: list[int], chance: random.Random
) -> None:
    marks = [mark for one in signals for mark in health.marks_of(one, received_at=T0)] + [proof(n) for n in probes]
    shuffled = list(marks)
    chance.shuffle(shuffled)
    one = health.add(Health(subject=ACME_KEY), marks)
    other = Health(subject=ACME_KEY)
    for mark in shuffled:
        other = health.add(other, [mark])
    assert judge(one) == judge(other)


def test_who_did_it_stays_known_when_a_second_source_tells_of_the_same_change() -> None:
    said = signal(Effect.KEY_DELETION_SCHEDULED, 0)
    by_name = replace(said, actor=Actor(name="alice"), operation="DestroyCryptoKeyVersion")
    nameless = signal(Effect.KEY_DELETION_SCHEDULED, 1, deadline=T0 + timedelta(days=30))
    (found,) = judge(after(by_name, nameless)).conditions
    assert found.latest.actor == Actor(name="alice")
    assert (found.latest.operation, found.latest.deadline) == ("DestroyCryptoKeyVersion", T0 + timedelta(days=30))


def test_nobody_is_named_for_what_another_change_did() -> None:
    cancelled = replace(signal(Effect.DELETION_CANCELLED, 0), actor=Actor(name="alice"))
    disabled = signal(Effect.KEY_DISABLED, 1)
    assert [one.latest.actor for one in judge(after(cancelled, disabled)).conditions] == [None]


# --------------------------------------------------------------------------------------------------------------- parts

BINDING = Means.IAM_BINDING


@pytest.mark.parametrize(
    ("loss", "recovery", "means"),
    [(Effect.ACCESS_REVOKED, Effect.ACCESS_GRANTED, BINDING), (Effect.PATH_BLOCKED, Effect.PATH_OPENED, None)],
)
def test_what_is_lost_in_parts_is_given_back_part_by_part(loss: Effect, recovery: Effect, means: Means | None) -> None:
    lost = [signal(loss, 0, means=means, part="database"), signal(loss, 1, means=means, part="storage")]
    one_back = signal(recovery, 2, means=means, part="database")
    assert ["storage"] == [one.latest.part for one in judge(after(*lost, one_back)).conditions]
    assert [] == open_slots(after(*lost, one_back, signal(recovery, 3, means=means, part="storage")))
    assert [] == open_slots(after(*lost, signal(recovery, 3, means=means))), "what is said of all holds for each"


def test_protections_stand_side_by_side_and_are_put_back_by_name() -> None:
    weak = [signal(Effect.PROTECTION_WEAKENED, 0, subject=name) for name in ("lock", "purge protection")]
    assert ["lock", "purge protection"] == [one.latest.subject for one in judge(after(*weak)).conditions]
    back = signal(Effect.ACCESS_GRANTED, 1, subject="lock")
    assert ["purge protection"] == [one.latest.subject for one in judge(after(*weak, back)).conditions]


def test_one_part_given_back_leaves_what_was_lost_of_all() -> None:
    lost = signal(Effect.ACCESS_REVOKED, 0, means=BINDING)
    back = signal(Effect.ACCESS_GRANTED, 1, means=BINDING, part="storage")
    assert [(Slot.ACCESS, BINDING)] == open_slots(after(lost, back))


def test_a_failure_that_nobody_understands_is_a_question_until_the_same_user_succeeds() -> None:
    failed = signal(Effect.USE_FAILED, 0, cause=Cause.UNKNOWN, subject="storage")
    assert [(Slot.QUESTION, None)] == open_slots(after(failed))
    other, same = (signal(Effect.USE_SUCCEEDED, 1, subject=who) for who in ("database", "storage"))
    assert [(Slot.QUESTION, None)] == open_slots(after(failed, other))
    assert [] == open_slots(after(failed, same))
    changed = signal(Effect.KEY_CHANGED, 0)
    assert [(Slot.QUESTION, None)] == open_slots(after(changed, same)), "it asked something else"
