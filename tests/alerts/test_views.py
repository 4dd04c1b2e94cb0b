from dataclasses import replace
from datetime import timedelta

import pytest

from alerts import views
from tests.alerts import stories
from watchdog.notices import ConsumerImpact, Deadline
from watchdog.words import Effect, Stage

NOW = stories.SEEN_AT


def store(*, bound: str = "exact", hours: float | None = 1.0, latent: bool = False, words: str = "x") -> ConsumerImpact:
    at = None if hours is None else NOW + timedelta(hours=hours)
    return replace(
        stories.bucket(), impact=Deadline(kind="impact", at=at, words=words, source="s", bound=bound), latent=latent
    )


@pytest.mark.parametrize(
    ("consumer", "state"),
    [
        (store(hours=-1), "stopped"),
        (store(hours=-1, bound="at_least"), "may_have_stopped"),
        (store(hours=1), "running"),
        (store(hours=1, bound="at_least"), "running"),
        (store(hours=1, bound="at_most"), "stopping"),
        (store(hours=1, bound="about"), "stopping"),
        (store(hours=None, latent=True), "latent"),
        (store(hours=None, words="not affected"), "unaffected"),
        (store(hours=None, words="not documented by the provider"), "unknown"),
    ],
)
def test_a_store_stands_as_its_document_says_and_no_better(consumer: ConsumerImpact, state: str) -> None:
    assert views.state(consumer, NOW) == state


@pytest.mark.parametrize(
    ("story", "reach"),
    [
        ("disabled", "partly"),
        ("deletion", "doomed"),
        ("split", "split"),
        ("destroyed", "gone"),
        ("expiry", "harmless"),
        ("undocumented", "stops"),
        ("several", "partly"),
    ],
)
def test_how_far_a_loss_reaches_is_told_in_one_word(story: str, reach: str) -> None:
    assert views.view(stories.INCIDENTS[story]()).reach == reach


def test_only_latent_stores_make_a_latent_loss() -> None:
    facts = stories.facts(keys=(stories.key(consumers=(stories.database(latent=True),)),))

    assert views.view(facts).reach == "latent"


def test_the_hardest_to_undo_names_the_incident() -> None:
    disabled = stories.happening(Effect.KEY_DISABLED)
    doomed = stories.happening(Effect.KEY_DELETION_SCHEDULED, since=disabled.since + timedelta(hours=1))

    found = views.main(stories.key(happenings=(disabled, doomed)))
    assert found is not None
    assert found.effect is Effect.KEY_DELETION_SCHEDULED
    assert views.main(stories.key(happenings=())) is None


def test_one_actor_doing_one_thing_to_many_keys_is_told_once() -> None:
    (record,) = views.view(stories.several()).records

    assert len(record.events) == 3
    assert record.first == stories.LOST_AT
    assert record.last == stories.LOST_AT + timedelta(seconds=34)


def test_two_actors_are_two_records() -> None:
    one = stories.happening(Effect.KEY_DISABLED)
    other = replace(one, actor="somebody else")

    assert len(views.records((one, other))) == 2


def test_keys_that_need_the_same_steps_share_a_plan_with_every_command() -> None:
    first, second = views.view(stories.several()).plans

    assert [key.name for key in first.keys] == ["acme-prod-data"]
    assert [key.name for key in second.keys] == ["acme-prod-files", "acme-prod-logs"]
    assert len(second.steps[0].commands) == 2
    assert [step.number for step in first.steps] == [1, 2, 3, 4]


def test_a_command_that_two_losses_need_is_asked_for_once() -> None:
    again = replace(stories.ENABLE, text="Enable the key: cancelling leaves it disabled.")
    (plan,) = views.plans((stories.key(steps=(stories.CANCEL, again, stories.ENABLE, stories.PROVE_KEY)),))

    assert [step.text for step in plan.steps] == [stories.CANCEL.text, again.text, stories.PROVE_KEY.text]
    assert [step.number for step in plan.steps] == [1, 2, 3]


def test_stores_that_fare_alike_are_one_line_and_others_are_not() -> None:
    database, buckets = views.stores(stories.several())

    assert database.names == ("acme-prod database",)
    assert buckets.names == ("bucket-prod-files", "bucket-prod-logs")


def test_a_cancelled_deletion_is_told_as_such_only_when_a_record_says_so() -> None:
    half = stories.half_repaired()
    key = half.keys[0]
    silent = replace(half, keys=(replace(key, happenings=(replace(key.happenings[0], operation="DisableKey"),)),))

    assert views.deletion_stopped(half)
    assert not views.deletion_stopped(silent)
    assert not views.deletion_stopped(replace(half, previous_stage=Stage.IMPAIRED))


def test_no_documented_delay_is_as_urgent_as_the_last_day() -> None:
    assert views.is_urgent(stories.undocumented())
    assert views.is_urgent(stories.last_day())
    assert not views.is_urgent(stories.deletion())
    assert not views.is_urgent(stories.split())
    assert not views.is_urgent(stories.resolved())


def test_the_time_of_a_record_is_its_own_and_not_since_when_the_key_is_unwell() -> None:
    (record,) = views.view(stories.half_repaired()).records

    assert record.operation == "CancelKeyDeletion"
    assert record.since == stories.LOST_AT
    assert record.first == stories.LOST_AT + timedelta(days=2, hours=1, seconds=19)


def test_a_record_whose_time_is_not_known_has_none() -> None:
    (record,) = views.records((stories.happening(Effect.KEY_DISABLED, recorded_at=None),))

    assert (record.first, record.last) == (None, None)


def test_a_key_is_called_by_its_name_or_by_the_end_of_its_id() -> None:
    facts = stories.facts()

    assert views.label(facts.keys[0], facts) == '"acme-prod-data"'
    for nameless in ("", facts.instance, facts.instance_name):
        assert views.label(replace(facts.keys[0], name=nameless), facts) == '"...567890ab"'


def test_a_destroyed_key_leaves_the_customer_nothing_to_run() -> None:
    words = replace(stories.ENABLE, command=None, text="A destroyed key cannot be restored by anybody.")
    gone = stories.destroyed()
    facts = replace(gone, keys=tuple(replace(key, steps=(words, *key.steps)) for key in gone.keys))

    assert not views.view(facts).customer_can_act
    assert views.view(stories.disabled()).customer_can_act
