"""The seam to the engine: what `watchdog` really decides, from its own table and repair steps, becomes whole texts."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from alerts import letters
from alerts.letters import Letter
from tests.watchdog import stories as engine
from tests.worlds import ACME_KEY, ROLE, T0, register
from watchdog.clouds import aws
from watchdog.health import Origin
from watchdog.notices import Kind, Notice, Reader
from watchdog.observation import World
from watchdog.register import RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Actor, Signal
from watchdog.words import Cause, Effect, Fault, Means

HOUR = timedelta(hours=1)
CLEANER = "arn:aws:sts::111122223333:assumed-role/CostCleanup/nightly"


def steps(
    effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
) -> Sequence[Step]:
    return aws.steps(effect, key, register(), means=means, subject=subject, cause=cause)


class Story(engine.Story):
    """The engine's story, with the real repair steps of AWS."""

    def world(self) -> World:
        plain = super().world()
        return World(
            register=plain.register, table=plain.table, routing=plain.routing, steps=steps, number=plain.number
        )


def signal(effect: Effect, hours: float, *, operation: str, **changes: object) -> Signal:
    base: dict[str, object] = {
        "effect": effect,
        "reason": f"{operation} by the customer",
        "key": ACME_KEY,
        "operation": operation,
        "occurred_at": T0 + hours * HOUR,
        "actor": Actor(name=CLEANER, address="203.0.113.7", agent="aws-cli/2.15"),
        "fault": Fault.CUSTOMER,
        "event_id": f"event-{hours}",
    }
    return Signal(**{**base, **changes})  # type: ignore[arg-type]  # a test may change any field


def disabled_doomed_cancelled_enabled() -> list[Notice]:
    story = Story()
    deletion = {"deadline": T0 + timedelta(days=7), "deadline_source": "deletionDate of the event"}
    story.push(signal(Effect.KEY_DISABLED, 0, operation="DisableKey"))
    story.push(signal(Effect.KEY_DELETION_SCHEDULED, 1, operation="ScheduleKeyDeletion", **deletion))
    story.push(signal(Effect.DELETION_CANCELLED, 24, operation="CancelKeyDeletion", partial=True))
    story.push(signal(Effect.KEY_ENABLED, 25, operation="EnableKey"))
    story.prove(ACME_KEY, T0 + 26 * HOUR)
    return story.notices


def revoked() -> list[Notice]:
    story = Story()
    story.push(signal(Effect.ACCESS_REVOKED, 0, operation="PutKeyPolicy", means=Means.KEY_POLICY, subject=ROLE))
    return story.notices


def destroyed() -> list[Notice]:
    story = Story()
    story.push(signal(Effect.KEY_DESTROYED, 0, operation="DeleteKey", actor=None))
    return story.notices


def feed_stopped() -> list[Notice]:
    story = Story()
    story.push(signal(Effect.FEED_TAMPERED, 0, operation="StopLogging", key=None, customer="acme"))
    return story.notices


def by_us() -> list[Notice]:
    story = Story()
    story.push(signal(Effect.ACCESS_REVOKED, 0, operation="DetachRolePolicy", fault=Fault.VENDOR))
    return story.notices


STORIES = (disabled_doomed_cancelled_enabled, revoked, destroyed, feed_stopped, by_us)


def written(notices: Sequence[Notice], reader: Reader, kind: Kind) -> Letter:
    """The last letter of that kind to that reader."""
    return letters.write([one for one in notices if (one.reader, one.kind) == (reader, kind)][-1])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("story", STORIES)
def test_whatever_the_engine_decides_becomes_a_whole_text(story: object) -> None:
    assert callable(story)
    notices: list[Notice] = story()

    assert notices
    for notice in notices:
        found = letters.write(notice)
        assert found.flaw == "", notice.id
        assert str(notice.incident) in found.subject


def test_the_customer_reads_the_real_deadline_the_real_source_and_the_real_command() -> None:
    text = flat(written(disabled_doomed_cancelled_enabled(), Reader.CUSTOMER, Kind.ALARM).text)

    assert "Not before 2026-12-08 09:00 UTC (in 6 d 23 h)" in text
    assert "deletionDate of the event" in text
    assert "Amazon RDS User Guide" in text
    assert f"aws kms cancel-key-deletion --region eu-west-1 --key-id {ACME_KEY}" in text
    assert text.count("aws kms enable-key ") == 1
    assert CLEANER in text
    assert "203.0.113.7" not in text


def test_a_half_repair_asks_for_the_other_half() -> None:
    text = written(disabled_doomed_cancelled_enabled(), Reader.CUSTOMER, Kind.PROGRESS).text

    assert text.startswith("STILL NEEDED: the deletion of the encryption key")
    assert "aws kms enable-key" in text
    assert "cancel-key-deletion" not in text


def test_a_proof_is_told_as_a_proof() -> None:
    found = written(disabled_doomed_cancelled_enabled(), Reader.CUSTOMER, Kind.RESOLVED)

    assert "works again, and we have proven it" in flat(found.text)
    assert found.subject.startswith("[Resolved] Encryption key works again")


def test_a_persons_decision_is_never_told_as_a_proof() -> None:
    story = Story()
    story.push(signal(Effect.KEY_DISABLED, 0, operation="DisableKey"))
    story.push(signal(Effect.KEY_ENABLED, 1, operation="EnableKey"))
    story.prove(ACME_KEY, T0 + 2 * HOUR, by=Origin.OPERATOR)

    for reader in (Reader.CUSTOMER, Reader.ON_CALL, Reader.ACCOUNT):
        found = written(story.notices, reader, Kind.RESOLVED)
        assert "decision of" in flat(found.text).casefold()
        assert "proven" not in (found.text + found.subject + found.summary).casefold()


def test_our_own_fault_pages_us_and_writes_to_no_customer() -> None:
    notices = by_us()

    assert Reader.CUSTOMER not in {notice.reader for notice in notices}
    assert "Fault: On our side." in flat(written(notices, Reader.ON_CALL, Kind.ALARM).text)
