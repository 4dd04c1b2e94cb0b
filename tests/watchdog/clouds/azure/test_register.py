"""The Azure sections of the register: what they take, what they refuse, and that they can be written and read again."""

from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure.world import CUSTOM_ROLE_ID, DATA_VAULT, document, register
from watchdog.clouds.azure.index import index_of
from watchdog.register import Document
from watchdog.register_azure import AzureContainer, AzureCustomer, AzureGrant, AzureKey, AzureVendor


def test_the_register_can_be_written_and_read_again() -> None:
    written = msgspec.json.encode(document())
    assert msgspec.json.decode(written, type=Document) == document()
    assert msgspec.convert(msgspec.to_builtins(document()), Document) == document()


def test_the_register_has_a_schema() -> None:
    schema = msgspec.json.schema(Document)
    assert {"AzureVendor", "AzureCustomer", "AzureKey"} <= set(schema["$defs"])
    assert all("description" in schema["$defs"][name] for name in ("AzureContainer", "AzureGrant", "AzureFeeds"))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AzureCustomer, {"tenant": "not-a-guid"}),
        (AzureCustomer, {}),
        (AzureCustomer, {"tenant": "b0000000-1111-4222-8333-000000000b01", "vaults": []}),
        (AzureContainer, {"id": "glbx-data-kv", "host": "glbx-data-kv.vault.azure.net"}),
        (AzureContainer, {"id": DATA_VAULT, "host": "https://glbx-data-kv.vault.azure.net"}),
        (AzureContainer, {"id": DATA_VAULT, "host": "a.b", "retention_days": 6}),
        (AzureContainer, {"id": DATA_VAULT, "host": "a.b", "permission_model": "roles"}),
        (AzureContainer, {"id": DATA_VAULT, "host": "a.b", "network": {"default_action": "deny"}}),
        (AzureGrant, {"kind": "role_assignment", "scope": "rg", "principal": "b0000000-1111-4222-8333-000000000b01"}),
        (AzureKey, {"versions": [{"version": "latest"}]}),
        (AzureKey, {"versions": [{"version": "1" * 32, "expires": "2027-01-01T00:00:00"}]}),
        (AzureVendor, {"tenant": "b0000000-1111-4222-8333-000000000b01", "apps": [{"app_id": "x", "object_id": "y"}]}),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, kind)


def test_the_two_roles_made_for_it_suffice_without_being_registered() -> None:
    sufficient = index_of(register()).sufficient
    assert sufficient == {
        "e147488a-f6f5-4113-8e2d-b22465e65bf6",
        "33413926-3206-4cdd-b39a-83574fe37a17",
        CUSTOM_ROLE_ID,
    }
