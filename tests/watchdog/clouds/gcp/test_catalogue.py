"""The catalogue is complete against the provider's own client, and the filters follow from the decoder's tables."""

import inspect
import re
from typing import Any

import pytest

from watchdog.clouds import gcp
from watchdog.clouds.gcp import kms, services
from watchdog.clouds.gcp.rules import KMS, Rule, Seen, Witness
from watchdog.clouds.gcp.uses import USES

CLIENTS = (
    "AutokeyAdminClient",
    "AutokeyClient",
    "EkmServiceClient",
    "HsmManagementClient",
    "KeyManagementServiceClient",
)
STATEMENT = re.compile(r'\(protoPayload\.serviceName="([^"]+)" AND protoPayload\.methodName=~"([^"]+)"\)')
WHOLE = re.compile(r'protoPayload\.serviceName=\(([^)]*)\)|protoPayload\.serviceName="([^"]+)"(?! AND)')


def operations_of(client: Any) -> set[str]:
    """The calls of a client: every public method that takes a request."""
    return {
        "".join(part.capitalize() for part in name.split("_"))
        for name, method in vars(client).items()
        if not name.startswith("_") and inspect.isfunction(method) and "request" in inspect.signature(method).parameters
    }


def lets_through(text: str, service: str, method: str) -> bool:
    """Whether a sink filter lets an admin activity record of this method through."""
    methods = dict(STATEMENT.findall(text))
    if service in methods:
        return re.search(methods[service], method) is not None
    whole = " ".join(first or second for first, second in WHOLE.findall(text))
    return service in whole.replace('"', "").split(" OR ") or service in whole.split() or f'"{service}"' in whole


def test_every_operation_of_the_client_is_watched_or_ignored_with_a_reason() -> None:
    module = pytest.importorskip(
        "google.cloud.kms_v1",
        reason="GOOGLE-CLOUD-KMS IS NOT INSTALLED: its operations were not compared",
        exc_type=ImportError,
    )
    rows = {row.operation for row in gcp.catalogue() if row.service == KMS}
    found = set[str]().union(*(operations_of(getattr(module, name)) for name in CLIENTS))
    assert len(found) > 50
    assert found - rows == set()


def test_every_client_of_the_package_is_walked() -> None:
    module = pytest.importorskip(
        "google.cloud.kms_v1",
        reason="GOOGLE-CLOUD-KMS IS NOT INSTALLED: its clients were not compared",
        exc_type=ImportError,
    )
    clients = {name for name in dir(module) if name.endswith("Client") and not name.endswith("AsyncClient")}
    assert clients == set(CLIENTS)


def test_every_row_says_why_and_where_that_stands() -> None:
    assert all(row.source.startswith("https://") and row.effect for row in gcp.catalogue())
    assert all(rule.note for rule in (*kms.RULES, *services.RULES))


def test_no_operation_is_classified_twice() -> None:
    named = [(rule.service, rule.operation.lower()) for rule in (*kms.RULES, *services.RULES)]
    assert sorted(named) == sorted(set(named))
    assert set(USES).isdisjoint(rule.operation.lower() for rule in kms.RULES)


def test_only_what_changes_nothing_has_no_meaning() -> None:
    for rule in (*kms.RULES, *services.RULES):
        assert (rule.meaning is None) == (rule.effect == "no_effect"), rule.operation


def customers(rule: Rule) -> bool:
    return rule.meaning is not None and rule.seen is not Seen.VENDOR


@pytest.mark.parametrize("rule", services.RULES, ids=lambda rule: f"{rule.service} {rule.operation}")
def test_the_sink_filter_carries_what_the_decoder_watches(rule: Rule) -> None:
    text = gcp.filters()["sink-filter"]
    for method in (rule.operation, f"google.x.v1.Service.{rule.operation}"):
        if customers(rule):
            assert lets_through(text, rule.service, method)
        elif rule.service in dict(STATEMENT.findall(text)):
            assert not lets_through(text, rule.service, method)


@pytest.mark.parametrize("rule", services.RULES, ids=lambda rule: f"{rule.service} {rule.operation}")
def test_the_vendor_s_filter_carries_what_its_own_projects_tell(rule: Rule) -> None:
    if rule.meaning and (rule.seen is Seen.VENDOR or rule.witness is Witness.EITHER):
        assert lets_through(gcp.filters()["vendor-sink-filter"], rule.service, f"google.x.v1.Service.{rule.operation}")


def test_the_sink_filter_carries_every_change_of_a_key_and_every_refused_use() -> None:
    text = gcp.filters()["sink-filter"]
    assert f'(protoPayload.serviceName="{KMS}" AND (log_id("cloudaudit.googleapis.com/activity")' in text
    assert 'log_id("cloudaudit.googleapis.com/policy") OR protoPayload.status.code>0' in text
    assert text.endswith(f'OR logName:"{KMS}"')
    assert text.count("(") == text.count(")")


def test_the_sink_filter_carries_a_test_of_a_connection_that_went_well() -> None:
    tests = [rule.operation for rule in kms.RULES if rule.seen is Seen.TESTS]
    assert tests
    assert f'OR protoPayload.methodName=~"(?i)(^|[.])({"|".join(tests)})$"' in gcp.filters()["sink-filter"]


def test_methods_are_never_compared_with_full_names() -> None:
    for text in gcp.filters().values():
        assert 'methodName="' not in text
        assert "methodName=(" not in text


def test_the_billing_account_s_own_filter_carries_its_closing() -> None:
    text = gcp.filters()["billing-sink-filter"]
    assert 'protoPayload.serviceName="cloudbilling.googleapis.com"' in text
    assert "(CloseBillingAccount|ReopenBillingAccount)$" in text
