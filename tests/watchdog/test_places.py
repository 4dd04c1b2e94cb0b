"""Where a key lies, in the words of its cloud, and which cloud an incident is about."""

from dataclasses import replace

import pytest

from tests.watchdog.clouds.azure import world as azure_world
from tests.watchdog.clouds.gcp import world as gcp_world
from tests.watchdog.test_assessment import AZURE_KEY, GCP_KEY
from tests.worlds import ACME_ACCOUNT, ACME_KEY, register
from watchdog.incidents import VENDOR_WATCH
from watchdog.places import cloud_of, place_of


def test_a_key_lies_where_its_id_or_its_registered_vault_says() -> None:
    assert (ACME_ACCOUNT, "eu-west-1") == place_of(ACME_KEY, None)
    assert ("acme-keys", "europe-west1") == place_of(GCP_KEY, None)
    known = azure_world.register().keys[azure_world.HSM_KEY]
    assert (azure_world.GLOBEX_SUBSCRIPTION, "northeurope") == place_of(azure_world.HSM_KEY, known)


def test_a_vendors_own_azure_key_has_its_vault_too() -> None:
    known = azure_world.register().keys[azure_world.OWN_KEY]
    assert known.container is not None
    assert azure_world.OWN_VAULT == known.container.id


@pytest.mark.parametrize("subject", ["watch:acme", "watch:vendor", AZURE_KEY, "arn:aws:kms"])
def test_what_nothing_tells_stays_empty(subject: str) -> None:
    known = azure_world.register().keys[azure_world.HSM_KEY]
    assert ("", "") == place_of(subject, replace(known, container=None) if subject == AZURE_KEY else None)


def test_an_incident_is_about_the_cloud_of_its_keys_even_of_those_that_have_left_the_register() -> None:
    assert ["aws", "azure", "gcp"] == [cloud_of((key,), "acme", register()) for key in (ACME_KEY, AZURE_KEY, GCP_KEY)]


def test_the_watch_of_a_customer_is_about_the_cloud_where_its_keys_are() -> None:
    assert "azure" == cloud_of(("watch:globex",), "globex", azure_world.register())
    assert "gcp" == cloud_of(("watch:globex",), "globex", gcp_world.register())


def test_the_vendors_own_watch_is_about_a_cloud_that_the_vendor_uses() -> None:
    assert "gcp" == cloud_of((VENDOR_WATCH,), "vendor", gcp_world.register())
    assert "aws" == cloud_of((VENDOR_WATCH,), "vendor", register())
