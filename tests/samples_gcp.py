"""The world of the labelled Google Cloud samples as a register document."""

from collections.abc import Mapping
from typing import Any

import msgspec

from watchdog.register import Document

VENDOR_FACTS = ("organization", "domains", "projects", "watchdog_principal", "push_service_account", "push_audience")
CUSTOMER_FACTS = (
    "domain",
    "organization",
    "folders",
    "billing_accounts",
    "projects",
    "service_perimeters",
    "ekm_connections",
    "single_tenant_hsm_instances",
    "custom_roles",
    "sinks",
    "asset_feeds",
    "principals",
)
KEY_FACTS = (
    "purpose", "protection_level", "versions", "primary", "required_operations", "imported", "backend", "grants",
)  # fmt: skip


def register_of(world: Mapping[str, Any]) -> Document:
    """Turn the neutral facts of `world.json` (Google Cloud) into the product's own register document.

    Every watched key gets an instance of its own, because one key serves one instance. Raises
    msgspec.ValidationError when the facts do not fit the register.
    """
    vendor = world["vendor"]
    document = {
        "version": 1,
        "vendor": {
            "name": "Acme",
            "gcp": _known(vendor, *VENDOR_FACTS, "service_perimeters") | {"feeds": _feeds(world, None)},
        },
        "customers": [_customer(customer, world) for customer in world["customers"]],
    }
    return msgspec.convert(document, Document)


def _customer(customer: Mapping[str, Any], world: Mapping[str, Any]) -> dict[str, Any]:
    access = [{"principal": one["email"], "operations": one["operations"]} for one in customer["principals"]]
    return {
        "id": customer["id"],
        "gcp": _known(customer, *CUSTOMER_FACTS)
        | {
            "vendor_project": customer["vendor_instance_project"]["id"],
            "feeds": _feeds(world, customer["id"]),
            "data_access_logs": "is on in every watched project" in world["data_access_logs"],
        },
        "instances": [
            {
                "id": f"{customer['id']}-{number}",
                "keys": [
                    {"key": key["key"], "cloud": "gcp", "access": access, "gcp": _known(key, *KEY_FACTS)},
                ],
            }
            for number, key in enumerate(customer["keys"], start=1)
        ],
    }


def _feeds(world: Mapping[str, Any], customer: str | None) -> list[dict[str, Any]]:
    return [
        _known(feed, "topic", "subscription", "kind")
        for feed in world["vendor"]["feeds"]
        if feed["customer"] == customer
    ]


def _known(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Pick the named facts that are there."""
    return {name: facts[name] for name in names if name in facts}
