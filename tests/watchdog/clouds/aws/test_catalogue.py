"""The catalogue is complete against the provider's own list of operations, and the filters follow from it."""

import json

import botocore.session

from watchdog.cloud import Cloud
from watchdog.clouds import aws
from watchdog.clouds.aws import kms, services
from watchdog.clouds.aws.failures import USES
from watchdog.clouds.aws.feeds import keeps_kms_writes, lets_kms_through
from watchdog.clouds.aws.rules import KMS

HALF: Cloud = aws  # the type checker compares every signature with the port


def test_the_half_has_the_name_under_which_it_is_found() -> None:
    assert HALF.NAME == "aws"


def operations_of(service: str) -> set[str]:
    return set(botocore.session.get_session().get_service_model(service).operation_names)


def test_every_kms_operation_is_watched_or_ignored_with_a_reason() -> None:
    rows = {row.operation: row for row in aws.catalogue() if row.service == KMS}
    assert operations_of("kms") - set(rows) == set()
    assert all(row.note and row.source.startswith("https://") for row in aws.catalogue())


def test_no_operation_is_classified_twice() -> None:
    named = [rule.operation for rule in kms.RULES]
    assert sorted(named) == sorted(set(named))
    assert USES.isdisjoint(named)


def test_the_rows_of_other_services_name_operations_that_exist() -> None:
    service_events = {"CloseAccountResult"}
    for rule in services.RULES:
        assert rule.operation in operations_of(rule.service.partition(".")[0]) | service_events, rule.operation


def test_only_what_changes_nothing_has_no_meaning() -> None:
    for rule in (*kms.RULES, *services.RULES):
        assert (rule.meaning is None) == (rule.effect == "no_effect"), rule.operation


def test_the_forward_rule_carries_every_watched_write() -> None:
    pattern = json.loads(aws.filters()["forward-rule"])
    assert pattern["$or"][1]["detail"]["eventName"] == [rule.operation for rule in kms.WATCHED]
    assert len(kms.WATCHED) == 20
    assert lets_kms_through(pattern)
    assert {"AWS Service Event via CloudTrail", "KMS CMK Deletion"} < set(pattern["detail-type"])


def test_the_trail_selectors_keep_what_kms_writes() -> None:
    selectors = json.loads(aws.filters()["trail-selectors"])
    lowered = [{name[0].lower() + name[1:]: value for name, value in one.items()} for one in selectors]
    assert keeps_kms_writes({"eventSelectors": lowered})


def test_every_rule_of_another_service_is_in_one_filter() -> None:
    named: list[str] = []
    for text in aws.filters().values():
        if text.startswith("{"):
            named += json.loads(text).get("detail", {}).get("eventName", [])
    for rule in services.RULES:
        if rule.meaning:
            assert rule.operation in named, rule.operation


def test_a_heartbeat_gets_from_the_bus_to_the_queue() -> None:
    [wanted] = json.loads(aws.filters()["vendor-bus-rule"])["source"]
    heartbeat = next(row for row in aws.catalogue() if row.operation == "Scheduled Event")
    assert heartbeat.service.startswith(wanted["prefix"])
    assert lets_kms_through(aws.filters()["vendor-bus-rule"])


def test_the_vendors_own_rules_are_watched_too() -> None:
    named = json.loads(aws.filters()["vendor-intake-rule"])["detail"]["eventName"]
    assert {"DisableRule", "DeleteRule", "RemoveTargets", "PutRule", "DeleteQueue"} < set(named)
