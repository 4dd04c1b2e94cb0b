"""Routes on AWS: which ways a key has, which signals are signs of life of them, and what never is one."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.aws.events import event, notification, raw, record, use
from tests.watchdog.clouds.aws.world import (
    BACKUP_ROLE,
    GLOBEX,
    GLOBEX_MANAGEMENT,
    GOV,
    GRANTED,
    HEARTBEAT_RULE,
    INITECH,
    KEY,
    OPT_IN,
    OWN,
    RULE,
    STORED,
    STRANGER,
    TOPIC,
    VENDOR,
    VENDOR_GOV,
    register,
)
from watchdog.clouds import aws
from watchdog.coverage import Cover, Way
from watchdog.register import Register
from watchdog.signals import Signal

OUR_RULE = f"arn:aws:events:eu-west-1:{VENDOR}:rule/own-heartbeat"
PLAIN = register()
BEATING = Register(
    msgspec.structs.replace(
        PLAIN.document,
        vendor=msgspec.structs.replace(
            PLAIN.vendor,
            aws=msgspec.structs.replace(
                PLAIN.vendor.aws,
                feeds=msgspec.structs.replace(PLAIN.vendor.aws.feeds, heartbeat_rules=[OUR_RULE]),
            ),
        ),
    )
    if PLAIN.vendor.aws
    else PLAIN.document
)


def beat(rule: str = HEARTBEAT_RULE, **fields: Any) -> dict[str, Any]:
    """A scheduled event as EventBridge sends it."""
    made = {
        "version": "0",
        "id": "7d1c0a5e-0000-4000-8000-0000000000aa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": rule.split(":")[4],
        "time": "2026-04-02T10:05:00Z",
        "region": rule.split(":")[3],
        "resources": [rule],
        "detail": {},
    }
    return made | fields


def ways(key: str, known: Register = PLAIN) -> list[Way]:
    return list(aws.ways(known.keys[key], known))


def short(found: list[Way]) -> list[tuple[str, str, str | None, timedelta | None]]:
    return [(way.cover.value, way.route, way.customer, way.beats) for way in found]


def meant(content: Any, known: Register = PLAIN) -> list[Signal]:
    return aws.meaning(raw(content), known)


def routes(content: Any, known: Register = PLAIN) -> list[tuple[str, str | None]]:
    return [(signal.effect.value, signal.route) for signal in meant(content, known)]


# ----------------------------------------------------------------------------------------------------------------- ways


FIVE = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            KEY,
            [
                ("forwarded", f"aws:{GLOBEX}:eu-west-1", "globex", FIVE),
                ("self_observed", f"aws:{VENDOR}:eu-west-1", None, None),
            ],
        ),
        (
            STORED,
            [
                ("forwarded", f"aws:{INITECH}:eu-central-1", "initech", None),
                ("self_observed", f"aws:{VENDOR}:eu-central-1", None, None),
            ],
        ),
        (
            OPT_IN,
            [
                ("forwarded", f"aws:{INITECH}:me-south-1", "initech", None),
                ("self_observed", f"aws:{VENDOR}:me-south-1", None, None),
            ],
        ),
        (
            GOV,
            [
                ("forwarded", f"aws:{INITECH}:us-gov-west-1", "initech", None),
                ("self_observed", f"aws:{VENDOR_GOV}:us-gov-west-1", None, None),
            ],
        ),
        (OWN, [("self_observed", f"aws:{VENDOR}:eu-west-1", None, None)]),
    ],
)
def test_a_key_has_its_owners_way_and_the_vendors(key: str, expected: list[Any]) -> None:
    assert expected == short(ways(key))


def test_the_vendors_way_beats_where_it_registers_a_heartbeat() -> None:
    assert [way.beats for way in ways(KEY, BEATING)] == [FIVE, FIVE]
    assert [way.beats for way in ways(STORED, BEATING)] == [None, None], "that rule is in another Region"


def test_keys_of_one_account_and_region_share_their_ways() -> None:
    assert ways(KEY) == ways(GRANTED)
    assert ways(KEY)[1] == ways(OWN)[0]
    assert {BACKUP_ROLE} < {access.principal for access in PLAIN.keys[KEY].entry.access}, "two roles of one account"


def test_a_way_says_what_is_expected_where_and_how_late_it_may_be() -> None:
    forwarded, own = ways(KEY)
    assert forwarded.cover is Cover.FORWARDED
    assert forwarded.words == f"the audit records of AWS account {GLOBEX} in eu-west-1"
    assert forwarded.expects == (
        f"an event of the scheduled rule acme-heartbeat (rate(5 minutes)) of AWS account {GLOBEX} in eu-west-1"
    )
    assert forwarded.lag == timedelta(minutes=1)
    assert (own.expects, own.lag) == ("", timedelta()), "silence says nothing where no sign is agreed"


# ------------------------------------------------------------------------------------------------------- signs of life


@pytest.mark.parametrize(
    ("content", "effect", "route"),
    [
        (event(record()), "key_disabled", f"aws:{GLOBEX}:eu-west-1"),
        (event(record(), region="eu-west-2"), "key_disabled", f"aws:{GLOBEX}:eu-west-2"),
        (record(awsRegion="eu-west-3"), "key_disabled", f"aws:{GLOBEX}:eu-west-3"),
        (notification(event(record()), TOPIC), "key_disabled", f"aws:{GLOBEX}:eu-west-1"),
        (event(record("GetKeyPolicy", readOnly=True)), "no_effect", f"aws:{GLOBEX}:eu-west-1"),
        (use(), "use_succeeded", f"aws:{VENDOR}:eu-west-1"),
        (event(use(errorCode="DisabledException")), "use_failed", f"aws:{VENDOR}:eu-west-1"),
        (
            {"EventTime": "2026-04-02T10:00:00Z", "CloudTrailEvent": raw(record(awsRegion="eu-west-3")).decode()},
            "key_disabled",
            f"aws:{GLOBEX}:eu-west-3",
        ),
        (
            event(
                record(
                    "DetachPolicy",
                    eventSource="organizations.amazonaws.com",
                    awsRegion="us-east-1",
                    recipientAccountId=GLOBEX_MANAGEMENT,
                    requestParameters={"policyId": "p-1", "targetId": "r-glbx"},
                    resources=None,
                )
            ),
            "access_changed",
            f"aws:{GLOBEX_MANAGEMENT}:us-east-1",
        ),
    ],
)
def test_what_is_believed_is_a_sign_of_life_of_its_route(content: Any, effect: str, route: str) -> None:
    assert {(effect, route)} == set(routes(content))


@pytest.mark.parametrize(
    ("content", "effect"),
    [
        (event(record(), account=STRANGER), "untrusted"),
        (event(record(), account=INITECH), "untrusted"),
        (event(record(), source="my.kms"), "untrusted"),
        (record(recipientAccountId=INITECH), "untrusted"),
        (notification(event(record()), "arn:aws:sns:eu-west-1:998877665544:mine"), "untrusted"),
        (event(record(requestParameters=None, responseElements=None, resources=[], recipientAccountId=STRANGER,
                      userIdentity={"type": "AWSService", "invokedBy": "x"})), "no_effect"),
        (record(recipientAccountId=STRANGER, requestParameters=None, responseElements=None, resources=[]), "no_effect"),
        (record(recipientAccountId=None), "key_disabled"),
        (record(awsRegion=None, requestParameters={"keyId": KEY}), "key_disabled"),
        (record(awsRegion="eu west\n1"), "key_disabled"),
        ({"eventName": "DisableKey"}, "unreadable"),
    ],
)  # fmt: skip
def test_what_is_not_believed_or_not_placed_is_no_sign_of_life(content: Any, effect: str) -> None:
    assert [(effect, None)] == routes(content)


# ---------------------------------------------------------------------------------------------------------- heartbeats


def test_a_registered_heartbeat_is_kept_and_proves_its_route_only() -> None:
    body = raw(beat())

    kept = aws.unpack(body, register=PLAIN).entries
    assert [entry.raw for entry in kept] == [body]
    [signal] = meant(beat())
    assert (signal.effect.value, signal.route, signal.key) == ("no_effect", f"aws:{GLOBEX}:eu-west-1", None)
    assert HEARTBEAT_RULE in signal.reason
    assert (signal.occurred_at.isoformat() if signal.occurred_at else None) == "2026-04-02T10:05:00+00:00"


def test_the_vendors_heartbeat_is_kept_once_it_is_registered() -> None:
    body = raw(beat(OUR_RULE))

    assert aws.unpack(body, register=PLAIN).entries == []
    assert len(aws.unpack(body, register=BEATING).entries) == 1
    assert routes(beat(OUR_RULE), BEATING) == [("no_effect", f"aws:{VENDOR}:eu-west-1")]


@pytest.mark.parametrize(
    "rule",
    [
        RULE,  # registered, but no heartbeat
        f"{HEARTBEAT_RULE}-2",
        HEARTBEAT_RULE.replace("eu-west-1", "eu-west-2"),
        HEARTBEAT_RULE.replace("rule/", "rule/other/"),
    ],
)
def test_a_schedule_that_is_no_registered_heartbeat_stays_noise(rule: str) -> None:
    unpacked = aws.unpack(raw(beat(rule)), register=PLAIN)
    assert (unpacked.entries, unpacked.dropped_count) == ([], 1)


def test_without_a_register_every_schedule_may_be_a_heartbeat() -> None:
    assert len(aws.unpack(raw(beat(RULE))).entries) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"region": "eu-west-2"},
        {"account": INITECH},
        {"account": VENDOR},
        {"account": STRANGER},
        {"source": "my.events"},
        {"resources": [HEARTBEAT_RULE, f"arn:aws:events:eu-west-1:{INITECH}:rule/acme-heartbeat"], "account": INITECH},
    ],
)
def test_a_heartbeat_of_another_place_than_its_rule_is_not_believed(fields: dict[str, Any]) -> None:
    assert len(aws.unpack(raw(beat(**fields)), register=PLAIN).entries) == 1, "what is forged is told, not dropped"
    assert routes(beat(**fields)) == [("untrusted", None)]


def test_a_heartbeat_on_another_customers_topic_is_not_believed() -> None:
    theirs = HEARTBEAT_RULE.replace(GLOBEX, INITECH)
    assert routes(notification(beat(), TOPIC)) == [("no_effect", f"aws:{GLOBEX}:eu-west-1")]
    assert routes(notification(beat(theirs), TOPIC)) == [("untrusted", None)]


def test_stopping_the_vendors_heartbeat_is_told_as_the_vendors() -> None:
    stopped = record(
        "DisableRule",
        eventSource="events.amazonaws.com",
        requestParameters={"name": "own-heartbeat"},
        recipientAccountId=VENDOR,
        resources=None,
    )
    [signal] = meant(event(stopped), BEATING)
    assert (signal.effect.value, signal.fault, signal.customer, signal.subject) == (
        "feed_tampered",
        "vendor",
        None,
        OUR_RULE,
    )
    assert [one.effect.value for one in meant(event(stopped), PLAIN)] == ["no_effect"]
