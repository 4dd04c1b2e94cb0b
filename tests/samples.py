"""The labelled samples that live beside the repository: where they are, and their world as a register document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchdog.register import Document

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"


def register_of(world: Mapping[str, Any]) -> Document:
    """Turn the neutral facts of `world.json` (AWS) into the product's own register document.

    Every watched key gets an instance of its own, because one key serves one instance; the vendor's dependents become
    consumers of their key. Raises msgspec.ValidationError when the facts do not fit the register.
    """
    vendor = world["vendor"]
    feeds = vendor["feeds"]
    document = {
        "version": 1,
        "vendor": {
            "name": "Acme",
            "aws": {
                "accounts": [_known(account, "id", "partition", "organization") for account in vendor["accounts"]],
                "principals": [_known(item, "arn", "unique_id", "managed_policies") for item in vendor["principals"]],
                "feeds": {
                    "event_buses": feeds["event_buses"],
                    "queues": [queue["arn"] for queue in feeds["queues"]],
                    "rules": feeds["rules"],
                    "topics": feeds["topics"],
                    "trail_buckets": feeds["trail_buckets"],
                },
            },
        },
        "customers": [_customer(customer, world) for customer in world["customers"]],
    }
    return msgspec.convert(document, Document)


def _customer(customer: Mapping[str, Any], world: Mapping[str, Any]) -> dict[str, Any]:
    name = customer["name"]
    keys = [key for key in world["watched_keys"] if key["customer"] == name]
    return {
        "id": name,
        "aws": _known(customer, "accounts", "organization", "feeds"),
        "instances": [
            {"id": f"{name}-{number}", "keys": [_key(key, world)]} for number, key in enumerate(keys, start=1)
        ],
    }


def _key(key: Mapping[str, Any], world: Mapping[str, Any]) -> dict[str, Any]:
    grants = [grant for grant in world["grants"] if grant["key"] == key["key"]]
    dependents = [item["arn"] for item in world["vendor"]["dependents"] if item["key"] == key["key"]]
    return {
        "key": key["key"],
        "access": [
            {"principal": access["principal"], "operations": access["required"], "via": access["via"]}
            for access in key["access"]
        ],
        "grants": [_known(grant, "id", "grantee", "operations", "purpose") for grant in grants],
        "consumers": [{"id": arn, "store": arn.split(":")[2]} for arn in dependents],
        "aws": {
            "origin": key["origin"],
            "custom_key_store_id": key.get("custom_key_store_id"),
            "multi_region": key.get("multi_region"),
            "aliases": key.get("aliases_in_use", []),
            "policy_tags": key.get("tags_in_policies", []),
            "needs_vendor_organization": key.get("vendor_org_condition", False),
        },
    }


def _known(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Pick the named facts that are there; the rest of the world's facts have no place in the register."""
    return {name: facts[name] for name in names if name in facts}
