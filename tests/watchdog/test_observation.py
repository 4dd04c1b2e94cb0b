import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watchdog.stories import ROUTING, Story, told
from tests.watchdog.test_health import SIGNALS, signal
from tests.worlds import (
    ACME_KEY,
    ACME_SECOND_KEY,
    GLOBEX_KEY,
    MINUTE,
    T0,
    VENDOR_KEY,
    key,
    register,
    stores,
)
from watchdog.health import Origin
from watchdog.incidents import Incident
from watchdog.notices import Facts, Kind, Notice, Reader
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Fault, Means, Severity, Stage, Verdict

DAY = timedelta(days=1)
EVERYBODY = [
    ("alarm", "hook", "-"),
    ("alarm", "mail", "Alice"),
    ("alarm", "mail", "Bob"),
    ("alarm", "mail", "Carol"),
    ("alarm", "pager", "-"),
]


def facts(notice: Notice) -> Facts:
    assert isinstance(notice.facts, Facts)
    return notice.facts


def scheduled(minutes: float = 0, days: int = 7) -> Signal:
    return signal(Effect.KEY_DELETION_SCHEDULED, minutes, deadline=T0 + minutes * MINUTE + days * DAY)


def test_a_disabled_key_is_told_to_the_on_call_the_owners_and_the_account_staff() -> None:
    assert EVERYBODY == told(Story().push(signal(Effect.KEY_DISABLED)))


def test_the_notice_names_the_database_as_the_headline_though_the_key_has_no_clock() -> None:
    headline = facts(Story().push(signal(Effect.KEY_DISABLED))[0]).headline
    assert headline is not None
    assert (T0 + 7 * DAY + timedelta(hours=2), "store_terminal") == (headline.at, headline.kind)
    assert "Amazon RDS User Guide" in headline.source


def test_the_same_record_again_tells_nobody() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    assert [] == story.push(signal(Effect.KEY_DISABLED))


def test_another_record_of_the_same_fact_tells_nobody() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DESTROYED, event="service"))
    assert [] == story.push(signal(Effect.KEY_DESTROYED, 0.1, event="native"))


def test_a_worse_stage_pages_again_under_a_key_of_its_own_and_clears_the_milder_alert_after_it() -> None:
    story = Story()
    first = next(notice for notice in story.push(signal(Effect.KEY_DISABLED)) if notice.channel == "pager")
    again = {notice.kind: notice for notice in story.push(scheduled(5, days=30)) if notice.channel == "pager"}
    assert first.dedup == "KW-1001:impaired:1"
    assert again[Kind.ALARM].dedup == "KW-1001:deletion_scheduled:2"
    assert (first.dedup, again[Kind.ALARM].id) == (again[Kind.CLEAR].dedup, again[Kind.CLEAR].after)
    assert again[Kind.ALARM].after == first.id


def test_a_cancelled_deletion_is_told_as_half_a_repair_and_the_database_keeps_its_deadline() -> None:
    story = Story()
    story.push(scheduled(days=30))
    notices = story.push(signal(Effect.DELETION_CANCELLED, 2 * 24 * 60))
    mail = next(notice for notice in notices if notice.reader is Reader.CUSTOMER)
    assert (Kind.PROGRESS, Stage.IMPAIRED) == (mail.kind, story.incident.stage)
    headline = facts(mail).headline
    assert headline is not None
    assert headline.at == T0 + 7 * DAY + timedelta(hours=2)


def test_an_event_that_says_enabled_closes_nothing() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    notices = story.push(signal(Effect.KEY_ENABLED, 5))
    assert Stage.RECOVERING == story.incident.stage
    assert {Kind.RECOVERING} == {notice.kind for notice in notices}
    assert {"hook", "pager"} == {notice.channel for notice in notices}


def test_a_passing_probe_resolves_it_for_everybody_who_was_told() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(signal(Effect.KEY_ENABLED, 5))
    notices = story.prove(ACME_KEY, T0 + 6 * MINUTE)
    wanted = [(str(Kind.RESOLVED), channel, who) for _, channel, who in EVERYBODY]
    assert sorted(wanted) == told(notices)
    assert story.incident.resolved_by is None
    pager = next(notice for notice in notices if notice.channel == "pager")
    assert pager.dedup == "KW-1001:impaired:1"


def test_a_relapse_pages_again_in_the_same_incident() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(signal(Effect.KEY_ENABLED, 5))
    notices = story.push(signal(Effect.KEY_DISABLED, 8))
    assert ["KW-1001:impaired:3"] == [
        notice.dedup for notice in notices if notice.channel == "pager" and notice.kind is Kind.ALARM
    ]


def test_a_loss_after_the_resolve_is_a_new_incident() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(signal(Effect.KEY_ENABLED, 5))
    story.prove(ACME_KEY, T0 + 6 * MINUTE)
    story.push(signal(Effect.KEY_DISABLED, 60))
    assert ["KW-1001", "KW-1002"] == list(story.incidents)


def test_time_alone_makes_it_irreversible_soon_and_that_pages_again() -> None:
    story = Story()
    story.push(scheduled(days=7))
    assert [] == story.wait(T0 + 5 * DAY)
    notices = story.wait(T0 + 6 * DAY)
    assert Stage.IRREVERSIBLE_SOON == story.incident.stage
    assert sorted([*EVERYBODY, ("clear", "pager", "-")]) == told(notices)
    assert [] == story.wait(T0 + 6 * DAY + MINUTE)


def test_the_vendors_own_key_pages_and_mails_nobody_outside() -> None:
    story = Story()
    notices = story.push(replace(signal(Effect.KEY_DISABLED), key=VENDOR_KEY))
    assert {Reader.ON_CALL} == {notice.reader for notice in notices}
    assert "the key is the vendor's own" in [decision.why for _, decision in story.decisions if not decision.told]


@pytest.mark.parametrize("fault", [Fault.VENDOR, Fault.UNKNOWN, Fault.PROVIDER, None])
def test_a_fault_that_is_not_shown_to_be_the_customers_never_mails_the_customer(fault: Fault | None) -> None:
    lost = replace(signal(Effect.ACCESS_REVOKED, means=Means.ROLE_OR_POLICY), fault=fault)
    assert Reader.CUSTOMER not in {notice.reader for notice in Story().push(lost)}


def test_the_customer_is_told_as_soon_as_the_cause_turns_out_to_lie_with_it() -> None:
    story = Story()
    denied = replace(signal(Effect.USE_FAILED, cause=Cause.ACCESS_DENIED), fault=Fault.UNKNOWN)
    assert Reader.CUSTOMER not in {notice.reader for notice in story.push(denied)}
    notices = story.push(signal(Effect.ACCESS_REVOKED, 3, means=Means.KEY_POLICY))
    assert Reader.CUSTOMER in {notice.reader for notice in notices}


def test_a_change_that_nobody_can_judge_is_unreachable_and_for_the_vendor_only() -> None:
    story = Story()
    notices = story.push(signal(Effect.ACCESS_CHANGED, means=Means.KEY_POLICY, probe=True))
    assert Verdict.UNREACHABLE == facts(notices[0]).keys[0].verdict
    assert Reader.CUSTOMER not in {notice.reader for notice in notices}
    assert {ACME_KEY} == story.probe_wanted


def test_losses_of_many_keys_by_one_record_are_one_incident() -> None:
    story = Story(register=register(key(ACME_KEY), key(ACME_SECOND_KEY)))
    lost = signal(Effect.CONTAINER_LOST)
    notices = story.push(lost, replace(lost, key=ACME_SECOND_KEY))
    assert EVERYBODY == told(notices)
    assert (ACME_KEY, ACME_SECOND_KEY) == story.incident.subjects


def test_it_stays_open_until_every_key_of_it_is_proven() -> None:
    story = Story(register=register(key(ACME_KEY), key(ACME_SECOND_KEY)))
    lost, back = signal(Effect.CONTAINER_LOST), signal(Effect.CONTAINER_RESTORED, 5)
    story.push(lost, replace(lost, key=ACME_SECOND_KEY))
    story.push(back, replace(back, key=ACME_SECOND_KEY))
    story.prove(ACME_KEY, T0 + 30 * MINUTE)
    stages = [story.incident.stage]
    story.prove(ACME_SECOND_KEY, T0 + 31 * MINUTE)
    stages.append(story.incident.stage)
    assert [Stage.RECOVERING, Stage.RESOLVED] == stages


def test_one_customers_record_opens_nothing_for_another() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    assert GLOBEX_KEY not in story.healths
    assert ["acme"] == [incident.customer for incident in story.incidents.values()]


def test_a_policy_revocation_says_which_half_is_lost() -> None:
    notice = Story().push(signal(Effect.ACCESS_REVOKED, means=Means.KEY_POLICY))[0]
    assert facts(notice).split == "file store cannot be read; primary database goes on running for now"
    assert facts(notice).headline is None


def test_a_database_with_a_replica_is_irreversible_soon_at_once() -> None:
    story = Story(register=register(key(ACME_KEY, *stores(backups=True, read_replica=True))))
    story.push(signal(Effect.KEY_DISABLED))
    assert (Stage.IRREVERSIBLE_SOON, Severity.CRITICAL) == (story.incident.stage, story.incident.severity)


def test_only_attached_volumes_make_a_latent_loss() -> None:
    from watchdog.register import Consumer  # noqa: PLC0415 - only this story has a volume

    story = Story(register=register(key(ACME_KEY, Consumer(id="vol-1", store="aws.ebs", name="volume"))))
    notice = story.push(signal(Effect.KEY_DISABLED))[0]
    assert (Verdict.LATENT_LOSS, Severity.ERROR) == (facts(notice).keys[0].verdict, notice.severity)
    assert any("do not stop, start, reboot" in hold for hold in facts(notice).holds)


def test_a_tampered_feed_is_an_incident_of_the_watch_and_mails_no_customer() -> None:
    story = Story()
    tampered = replace(signal(Effect.FEED_TAMPERED), key=None, customer="acme")
    notices = story.push(tampered)
    assert ("watch:acme",) == story.incident.subjects
    assert {Reader.ON_CALL, Reader.ACCOUNT} == {notice.reader for notice in notices}
    assert Verdict.BLIND == facts(notices[0]).keys[0].verdict


def test_an_expiry_ahead_is_told_to_the_owner_with_its_date() -> None:
    story = Story()
    notices = story.push(signal(Effect.EXPIRY_AHEAD, deadline=T0 + 60 * DAY, means=Means.KEY_POLICY))
    assert EVERYBODY == told(notices)
    headline = facts(notices[0]).headline
    assert headline is not None
    assert (T0 + 60 * DAY, "expiry") == (headline.at, headline.kind)
    assert Severity.WARNING == notices[0].severity


def test_a_named_decision_resolves_and_is_named() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.prove(ACME_KEY, T0 + 2 * MINUTE, by=Origin.OPERATOR)
    assert (Stage.RESOLVED, "encrypt and decrypt worked") == (story.incident.stage, story.incident.resolved_by)


def test_a_decision_counts_although_the_clouds_clock_runs_ahead_of_ours() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED))
    story.push(signal(Effect.KEY_ENABLED, 5), now=T0 + 4 * MINUTE)
    story.prove(ACME_KEY, T0 + 4.5 * MINUTE, by=Origin.OPERATOR)
    assert Stage.RESOLVED == story.incident.stage


@pytest.mark.parametrize("effect", [Effect.ATTEMPT_FAILED, Effect.NO_EFFECT, Effect.ROTATED, Effect.UNTRUSTED])
def test_what_changes_nothing_tells_nobody(effect: Effect) -> None:
    story = Story()
    assert [] == story.push(signal(effect))
    assert {} == story.healths


def test_without_a_mail_channel_the_decision_says_so() -> None:
    story = Story(routing=replace(ROUTING, customer_mail=None))
    story.push(signal(Effect.KEY_DISABLED))
    assert "no channel for customer mail is configured" in [one.why for _, one in story.decisions if not one.told]


@settings(max_examples=150, deadline=None)
@given(st.lists(SIGNALS, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_repeats_and_reordering_never_lose_the_alarm(signals: list[Signal], chance: random.Random) -> None:
    shuffled = [*signals, *chance.sample(signals, k=len(signals) // 2)]
    chance.shuffle(shuffled)
    stories = []
    for sequence in (signals, shuffled):
        story = Story()
        for one in sequence:
            story.push(one, now=T0 + 60 * MINUTE)
        stories.append(story)
    assert [story.incident.stage for story in stories if story.incidents] in (
        [stories[0].incident.stage] * 2 if stories[0].incidents else [],
        [Stage.RECOVERING] * len([story for story in stories if story.incidents]),
    )
    for story in stories:
        for incident in story.incidents.values():
            assert [n for n in story.notices if n.incident == incident.id and n.kind is Kind.ALARM]


# ------------------------------------------------------------------------------------------------------------- flapping


def _lost_and_proven(story: Story, minute: float) -> list[str]:
    """Let the key be disabled at a minute, enabled two minutes later, proven a minute after; return what was told."""
    kinds = [str(one.kind) for one in story.push(signal(Effect.KEY_DISABLED, minute, event=f"off-{minute}"))]
    kinds += [str(one.kind) for one in story.push(signal(Effect.KEY_ENABLED, minute + 2, event=f"on-{minute}"))]
    return sorted({*kinds, *(str(one.kind) for one in story.prove(ACME_KEY, T0 + (minute + 3) * MINUTE))})


def _newest(story: Story) -> Incident:
    return list(story.incidents.values())[-1]


def test_a_key_that_comes_and_goes_opens_at_once_each_time_and_ends_only_when_it_stays_well() -> None:
    story = Story()
    assert "resolved" in _lost_and_proven(story, 0)
    assert _lost_and_proven(story, 10) == ["alarm", "recovering"]
    held = _newest(story)
    assert (Stage.RECOVERING, T0 + 27 * MINUTE, 1) == (held.stage, held.check_at, held.flaps)

    again = story.push(signal(Effect.KEY_DISABLED, 15, event="off again"))
    assert Kind.ALARM in {one.kind for one in again if one.channel == "pager"}
    story.push(signal(Effect.KEY_ENABLED, 16, event="on again"))
    story.prove(ACME_KEY, T0 + 17 * MINUTE)
    assert T0 + 46 * MINUTE == _newest(story).check_at

    assert story.wait(T0 + 45 * MINUTE) == []
    assert "resolved" in {str(one.kind) for one in story.wait(T0 + 46 * MINUTE)}
    assert [Stage.RESOLVED] * 2 == [incident.stage for incident in story.incidents.values()]


def test_a_key_that_was_well_for_an_hour_is_not_flapping() -> None:
    story = Story()
    _lost_and_proven(story, 0)
    assert "resolved" in _lost_and_proven(story, 64)


def test_a_named_decision_ends_a_flapping_incident_at_once() -> None:
    story = Story()
    _lost_and_proven(story, 0)
    _lost_and_proven(story, 10)
    told_now = story.prove(ACME_KEY, T0 + 14 * MINUTE, by=Origin.OPERATOR)
    assert {Kind.RESOLVED} == {one.kind for one in told_now}
