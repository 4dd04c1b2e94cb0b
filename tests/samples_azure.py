"""The labelled Azure samples that live beside the repository: where they are, and their world as a register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchdog.register import Document

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples" / "azure"

FEEDS = {
    "diagnostic_setting": "diagnostic_settings",
    "system_topic": "system_topics",
    "event_subscription": "event_subscriptions",
    "event_hub": "event_hubs",
    "forwarder": "forwarders",
    "event_grid_namespace": "namespaces",
}
STORES = {
    "object_storage": "azure.blob",
    "managed_disks": "azure.managed_disk",
    "mysql": "azure.mysql_flexible",
}


def register_of(world: Mapping[str, Any]) -> Document:
    """Turn the neutral facts of `world.json` (Azure) into the product's own register document.

    Every watched key gets an instance of its own, because one key serves one instance. Raises msgspec.ValidationError
    when the facts do not fit the register, and KeyError for a fact of a kind that has no place in it.
    """
    vendor = world["vendor"]
    document = {
        "version": 1,
        "vendor": {
            "name": "Acme",
            "azure": {
                "tenant": vendor["tenant_id"],
                "subscriptions": vendor["subscriptions"],
                "addresses": vendor["addresses"],
                "apps": [_app(app) for app in vendor["apps"]],
                "identities": [_renamed(one, resource_id="id") for one in vendor["identities"]],
                "sufficient_roles": [_role(role) for role in world["sufficient_roles"]],
                "feeds": _feeds(world, None),
            },
        },
        "customers": [_customer(customer, world) for customer in world["customers"]],
    }
    return msgspec.convert(document, Document)


def _customer(customer: Mapping[str, Any], world: Mapping[str, Any]) -> dict[str, Any]:
    name = customer["name"]
    containers = [one for one in world["containers"] if one["customer"] == name]
    ids = {one["resource_id"] for one in containers}
    keys = [key for key in world["keys"] if key["customer"] == name]
    assert all(key["container"] in ids for key in keys)
    return {
        "id": name,
        "azure": {
            "tenant": customer["tenant_id"],
            "subscriptions": customer["subscriptions"],
            "management_groups": customer["management_groups"],
            "service_principal": customer["service_principal"],
            "containers": [_container(one) for one in containers],
            "grants": [_grant(one) for one in world["grants"] if _owner(one, world) == name],
            "feeds": _feeds(world, name),
        },
        "instances": [
            {"id": f"{name}-{number}", "keys": [_key(key, customer, world)]} for number, key in enumerate(keys, start=1)
        ],
    }


def _key(key: Mapping[str, Any], customer: Mapping[str, Any], world: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": key["key"],
        "cloud": "azure",
        "access": [
            {"principal": customer["service_principal"]["object_id"], "operations": world["required_operations"]}
        ],
        "consumers": [{"id": name, "store": STORES[name]} for name in key["consumers"]],
        "azure": {"versions": key["versions_in_use"], "follows_latest": key["follows_latest"]},
    }


def _owner(grant: Mapping[str, Any], world: Mapping[str, Any]) -> str:
    """Whose keys a grant covers: always one customer's."""
    owners = {key["customer"] for key in world["keys"] if key["key"] in grant["covers"]}
    assert len(owners) == 1, grant
    return str(owners.pop())


def _grant(grant: Mapping[str, Any]) -> dict[str, Any]:
    """`covers` has no place of its own: it follows from the scope, which a test compares."""
    named = _renamed(grant, principal_id="principal", role_definition_id="role")
    return {name: value for name, value in named.items() if name != "covers" and value is not None}


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _renamed(container, resource_id="id").items() if name != "customer"}


def _app(app: Mapping[str, Any]) -> dict[str, Any]:
    """`serves` has no place of its own: it follows from the customers' service principals, which a test compares."""
    return {name: value for name, value in _renamed(app, display_name="name").items() if name != "serves"}


def _role(role: Mapping[str, Any]) -> dict[str, Any]:
    return _renamed(role, role_definition_id="id")


def _feeds(world: Mapping[str, Any], customer: str | None) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for feed in world["feeds"]:
        if feed["customer"] == customer:
            found.setdefault(FEEDS[feed["kind"]], []).append(_feed(feed))
    return found


def _feed(feed: Mapping[str, Any]) -> Any:
    names = {"resource_id": "id", "cloudevent_source": "source", "cloudevent_type": "type"}
    named = {
        name: value for name, value in _renamed(feed, **names).items() if name not in ("kind", "owner", "customer")
    }
    return named if FEEDS[feed["kind"]] not in ("system_topics", "event_hubs") else named["id"]


def _renamed(facts: Mapping[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in facts.items()}
