"""The demo's story means what its titles say, record by record, against its own register, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.worlds import table
from watchdog import clouds
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect
from workers.register_file import dump, parse
from workers.samples import story
from workers.samples.story import Chapter

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
REGISTER = Register(story.document(), 1)
CHAPTERS = {chapter.customer: chapter for chapter in story.chapters(seed=1)}

EFFECTS = {
    "acme": [Effect.KEY_DISABLED, Effect.KEY_DELETION_SCHEDULED, Effect.DELETION_CANCELLED, Effect.KEY_ENABLED],
    "globex": [Effect.KEY_DELETION_SCHEDULED, Effect.KEY_RECOVERED],
    "initech": [
        Effect.KEY_DELETION_SCHEDULED, Effect.KEY_DELETION_SCHEDULED, Effect.DELETION_CANCELLED, Effect.KEY_ENABLED,
    ],
}  # fmt: skip
ACTORS = {
    "acme": ["clean-up/nightly-4711", "clean-up/nightly-4711", "key-admins/alice", "key-admins/alice"],
    "globex": ["tom@globex.example", "gina@globex.example"],
    "initech": ["deploy@initech-keys.iam.gserviceaccount.com", "", "ines@initech.example", "ines@initech.example"],
}

each_customer = pytest.mark.parametrize("customer", CHAPTERS)


def told(chapter: Chapter, body: bytes) -> list[Signal]:
    cloud = clouds.cloud(chapter.cloud)
    unpacked = cloud.unpack(body, register=REGISTER)
    assert unpacked.broken == []
    found = [signal for entry in unpacked.entries for signal in cloud.meaning(entry.raw, REGISTER)]
    return [signal for signal in found if signal.effect is not Effect.NO_EFFECT]


@each_customer
def test_each_step_means_one_thing_for_the_customers_key_done_by_whom_the_title_names(customer: str) -> None:
    chapter = CHAPTERS[customer]

    steps = [
        [signal for body in step.tells(AT + timedelta(seconds=number)) for signal in told(chapter, body)]
        for number, step in enumerate(chapter.steps)
    ]

    assert [[signal.effect for signal in step] for step in steps] == [[effect] for effect in EFFECTS[customer]]
    signals = [step[0] for step in steps]
    assert {signal.key for signal in signals} == {chapter.key}
    assert [signal.occurred_at for signal in signals] == [AT + timedelta(seconds=n) for n in range(len(steps))]
    actors = [signal.actor.name if signal.actor else "" for signal in signals]
    assert [actor.partition("assumed-role/")[2] or actor for actor in actors] == ACTORS[customer]


@each_customer
def test_a_use_of_the_key_is_told_from_its_own_customer(customer: str) -> None:
    chapter = CHAPTERS[customer]

    [used] = [signal for body in chapter.used(AT) for signal in told(chapter, body)]

    assert (used.effect, used.key, used.occurred_at) == (Effect.USE_SUCCEEDED, chapter.key, AT)


def test_the_deadlines_are_those_of_the_titles() -> None:
    aws, gcp = CHAPTERS["acme"], CHAPTERS["initech"]

    [scheduled] = told(aws, aws.steps[1].tells(AT)[0])
    [dated] = told(gcp, gcp.steps[1].tells(AT)[0])

    assert (scheduled.deadline, dated.deadline) == (AT + timedelta(days=7), AT + timedelta(days=30))
    assert scheduled.deadline_source == "deletionDate in the record"


@each_customer
def test_the_noise_of_a_chapter_means_nothing(customer: str) -> None:
    chapter = CHAPTERS[customer]
    noise = chapter.noise(2000)

    unpacked = clouds.cloud(chapter.cloud).unpack(noise)

    assert len(unpacked.entries) + unpacked.dropped_count == 2000
    assert told(chapter, noise) == []


@each_customer
def test_another_seed_tells_of_other_happenings(customer: str) -> None:
    ids: list[set[str]] = []
    for seed in (1, 2):
        chapter = next(one for one in story.chapters(seed) if one.customer == customer)
        cloud = clouds.cloud(chapter.cloud)
        bodies = [body for step in chapter.steps for body in step.tells(AT)]
        ids.append({entry.event_id for body in bodies for entry in cloud.unpack(body).entries})

    assert ids[0].isdisjoint(ids[1])


def test_the_register_of_the_demo_has_no_fault() -> None:
    made = story.document()

    assert parse(dump(made), name="register.yaml", stores=table().topologies()) == made
