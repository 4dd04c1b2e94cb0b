"""What does not fit together in the Azure sections of a register is found, with its place and a way to mend it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.samples_azure import SAMPLES, register_of
from tests.watchdog.clouds.azure.world import (
    ACME,
    ACME_SUBSCRIPTION,
    APP,
    ARM_SUBSCRIPTION,
    DATA_VAULT,
    FILES_VAULT,
    FORWARDER,
    GLOBEX_PRINCIPAL,
    GLOBEX_SUBSCRIPTION,
    HUB,
    INITECH_KEY,
    INITECH_PRINCIPAL,
    V2,
    document,
)
from watchdog.clouds.azure.fit import findings
from watchdog.register import Document, Register

GLOBEX = "customers[0].azure"


def found(change: Callable[[Any], object]) -> list[tuple[str, str]]:
    facts = msgspec.to_builtins(document())
    change(facts)
    return [(place, text) for place, text, fix in findings(Register(msgspec.convert(facts, Document))) if fix]


def azure(facts: Any) -> Any:
    return facts["customers"][0]["azure"]


def feeds_of(facts: Any, customer: int) -> Any:
    return facts["customers"][customer]["azure"].setdefault("feeds", {})


def first_key(facts: Any) -> Any:
    return facts["customers"][0]["instances"][0]["keys"][0]


def test_a_register_that_fits_has_no_findings() -> None:
    assert found(lambda _: None) == []


def test_the_world_of_the_samples_fits() -> None:
    if not SAMPLES.exists():
        pytest.skip(f"THE LABELLED SAMPLES ARE ABSENT: {SAMPLES} was not checked")
    world = json.loads((SAMPLES / "world.json").read_text(encoding="utf-8"))
    assert list(findings(Register(register_of(world)))) == []


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (lambda f: first_key(f).update(azure={}), "customers[0].instances[0].keys[0].azure", "no version"),
        (
            lambda f: first_key(f).update(key="https://nowhere.vault.azure.net/keys/data-cmk"),
            "customers[0].instances[0].keys[0].key",
            "not the host of a container",
        ),
        (
            lambda f: first_key(f).update(key=INITECH_KEY.replace("init-cmk", "mine")),
            "customers[0].instances[0].keys[0].key",
            "of the key's owner",
        ),
        (lambda f: azure(f)["grants"].pop(0), "customers[0].instances[0].keys[0]", "nothing registered grants"),
        (lambda f: azure(f)["grants"][0].update(scope=FILES_VAULT), f"{GLOBEX}.grants[0].scope", "covers no"),
        (lambda f: azure(f)["grants"][0].update(principal=INITECH_PRINCIPAL), f"{GLOBEX}.grants[0].principal", "not"),
        (lambda f: azure(f)["grants"][0].update(role="reader"), f"{GLOBEX}.grants[0].role", "not known to suffice"),
        (lambda f: azure(f)["grants"][0].pop("id"), f"{GLOBEX}.grants[0].id", "no id"),
        (lambda f: azure(f)["grants"][3].update(container=DATA_VAULT[:-1]), f"{GLOBEX}.grants[3].container", "not"),
        (
            lambda f: azure(f)["containers"][0].update(host="x.vault.azure.net"),
            f"{GLOBEX}.containers[0].host",
            "not that",
        ),
        (
            lambda f: azure(f)["containers"][0].update(kind="managed_hsm"),
            f"{GLOBEX}.containers[0].kind",
            "does not fit",
        ),
        (
            lambda f: azure(f)["containers"][0].update(permission_model="mhsm_local_rbac"),
            f"{GLOBEX}.containers[0].permission_model",
            "no permission model",
        ),
        (lambda f: azure(f)["subscriptions"].clear(), f"{GLOBEX}.containers[0].id", "not listed"),
        (
            lambda f: f["customers"][1]["azure"]["subscriptions"].append(GLOBEX_SUBSCRIPTION),
            "customers[1].azure.subscriptions[1]",
            "already",
        ),
        (
            lambda f: azure(f)["containers"].append(azure(f)["containers"][0]),
            f"{GLOBEX}.containers[4].id",
            "already",
        ),
        (
            lambda f: azure(f)["containers"].append(
                azure(f)["containers"][0] | {"id": DATA_VAULT.upper().replace("/SUBSCRIPTIONS", "/subscriptions")}
            ),
            f"{GLOBEX}.containers[4].id",
            "already",
        ),
        (lambda f: azure(f).pop("service_principal"), f"{GLOBEX}.service_principal", "missing"),
        (lambda f: azure(f).update(tenant=ACME.upper()), f"{GLOBEX}.tenant", "is the vendor's"),
        (lambda f: azure(f)["containers"][0].update(tenant=ACME), f"{GLOBEX}.containers[0].tenant", "it trusts"),
        (
            lambda f: azure(f)["management_groups"][0]["subscriptions"].append(ACME_SUBSCRIPTION),
            f"{GLOBEX}.management_groups[0].subscriptions[1]",
            "not listed",
        ),
        (
            lambda f: azure(f)["grants"][1].update(id=azure(f)["grants"][0]["id"].upper()),
            f"{GLOBEX}.grants[1].id",
            "already",
        ),
        (
            lambda f: azure(f)["grants"][4].update(key_permissions=["Get", "WrapKey"]),
            f"{GLOBEX}.grants[4].key_permissions",
            "does not give all",
        ),
        (
            lambda f: first_key(f)["azure"]["versions"].append({"version": V2.upper()}),
            "customers[0].instances[0].keys[0].azure.versions[2].version",
            "already",
        ),
        (
            lambda f: first_key(f).update(access=[{"principal": INITECH_PRINCIPAL, "operations": ["get"]}]),
            "customers[0].instances[0].keys[0].access[0].principal",
            "not the vendor's in that tenant",
        ),
        (
            lambda f: first_key(f).update(access=[{"principal": GLOBEX_PRINCIPAL, "operations": ["GET", "sign"]}]),
            "customers[0].instances[0].keys[0].access[0].operations[1]",
            "'sign'",
        ),
        (
            lambda f: feeds_of(f, 1).update(event_hubs=[HUB.replace("glbx", "GLBX")]),
            "customers[1].azure.feeds.event_hubs[0]",
            "already",
        ),
        (lambda f: feeds_of(f, 0)["forwarders"][0].pop("type"), f"{GLOBEX}.feeds.forwarders[0].type", "unnoticed"),
        (
            lambda f: feeds_of(f, 1).update(forwarders=[{"id": f"{FORWARDER}2", "source": FORWARDER.upper()}]),
            "customers[1].azure.feeds.forwarders[0].source",
            "already",
        ),
        (
            lambda f: feeds_of(f, 1).update(
                event_subscriptions=[{"id": f"{ARM_SUBSCRIPTION}-2", "name": "to-acme-kv"}]
            ),
            "customers[1].azure.feeds.event_subscriptions[0]",
            "of globex has the name to-acme-kv too",
        ),
        (
            lambda f: azure(f)["service_principal"].update(app_id=INITECH_PRINCIPAL),
            f"{GLOBEX}.service_principal.app_id",
            "not one of the vendor's",
        ),
        (lambda f: f["vendor"]["azure"]["identities"].clear(), "vendor.azure.apps[0].identity", "not registered"),
        (
            lambda f: f["vendor"]["azure"]["apps"][0]["federated_credentials"][0].update(subject=APP),
            "vendor.azure.apps[0].federated_credentials",
            "none of them",
        ),
    ],
)
def test_what_does_not_fit_is_found_at_its_place(change: Callable[[Any], object], place: str, words: str) -> None:
    told = found(change)
    assert any(where == place and words in text for where, text in told), told
