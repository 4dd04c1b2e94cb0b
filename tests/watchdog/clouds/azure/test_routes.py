"""Routes on Azure: which ways a key has, which signals are signs of life of them, and what never is one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure.records import (
    activity,
    audit,
    change,
    cloud_event,
    directory,
    forwarded,
    notification,
    raw,
    request,
    topic,
    use,
)
from tests.watchdog.clouds.azure.world import (
    ACME_SUBSCRIPTION,
    DATA_KEY,
    DATA_VAULT,
    FILES_KEY,
    FORWARDER,
    GLOBEX_PRINCIPAL,
    GLOBEX_SUBSCRIPTION,
    HSM,
    HSM_KEY,
    HUB,
    IDENTITY,
    INITECH_KEY,
    INITECH_SUBSCRIPTION,
    INITECH_VAULT,
    MAIL_KEY,
    OWN_KEY,
    OWN_VAULT,
    SECOND_APP,
    SETTING,
    SYSTEM_TOPIC,
    UNWATCHED_VAULT,
    V1,
    document,
    register,
)
from watchdog.clouds import azure
from watchdog.clouds.azure.forwarder import HEARTBEAT
from watchdog.coverage import Cover, Way
from watchdog.register import Document, Register
from watchdog.words import Effect

PLAIN = register()
VAULT = "azure:vault:glbx-data-kv.vault.azure.net"
CARRIER = f"azure:forwarder:{FORWARDER.lower()}"
CHANGES = f"azure:subscription:{GLOBEX_SUBSCRIPTION}"
OTHER_KEY = f"https://other-data-kv.vault.azure.net/keys/data-cmk/{V1}"
LATER = "2026-05-04T09:15:00Z"


def changed(change: Any) -> Register:
    """The world's register with something else in it; `change` is given its plain content."""
    facts = msgspec.to_builtins(document())
    change(facts)
    return Register(msgspec.convert(facts, Document))


def side(facts: Any, customer: int) -> Any:
    return facts["customers"][customer]["azure"]


def ways(key: str, known: Register = PLAIN) -> list[Way]:
    return list(azure.ways(known.keys[key], known))


def short(found: list[Way]) -> list[tuple[str, str, str | None, timedelta | None]]:
    return [(way.cover.value, way.route, way.customer, way.beats) for way in found]


def way(key: str, route: str, known: Register = PLAIN) -> Way:
    return next(one for one in ways(key, known) if one.route == route)


def routes(record: Any, known: Register = PLAIN) -> set[tuple[str, str | None]]:
    return {(signal.effect.value, signal.route) for signal in azure.meaning(raw(record), known)}


def beat(source: str = FORWARDER, **fields: Any) -> dict[str, Any]:
    made = {"specversion": "1.0", "id": "b-1", "source": source, "type": HEARTBEAT, "time": LATER, "data": {"beat": 1}}
    return made | fields


# ------------------------------------------------------------------------------------------------------------ the ways


def test_a_key_has_the_log_of_its_vault_its_forwarder_and_its_subscription() -> None:
    minutes = timedelta(minutes=5)
    assert short(ways(DATA_KEY)) == [
        ("forwarded", VAULT, "globex", minutes),
        ("forwarded", CARRIER, "globex", minutes),
        ("forwarded", CHANGES, "globex", None),
    ]
    assert way(DATA_KEY, VAULT).lag == timedelta(minutes=10)
    for found in ways(DATA_KEY):
        assert found.words
        assert bool(found.expects) == (found.beats is not None)
    assert SETTING.lower() in way(DATA_KEY, VAULT).expects
    assert FORWARDER in way(DATA_KEY, CARRIER).expects


def test_a_vault_without_a_diagnostic_setting_has_no_way_of_its_own() -> None:
    assert [found.route for found in ways(FILES_KEY)] == [CARRIER, CHANGES]
    assert [found.route for found in ways(HSM_KEY)] == [CARRIER, CHANGES]


def test_the_setting_of_a_vault_whose_name_is_longer_is_another_ones() -> None:
    def rename(facts: Any) -> None:
        name = SETTING.replace("glbx-data-kv", "glbx-data-kv2")
        side(facts, 0)["feeds"]["diagnostic_settings"] = [{"id": name, "destination": HUB}]

    assert VAULT not in [found.route for found in ways(DATA_KEY, changed(rename))]


def test_a_customer_that_registered_nothing_has_no_way() -> None:
    assert ways(INITECH_KEY) == []


def test_two_keys_with_a_way_in_common_have_equal_values_of_it() -> None:
    assert way(DATA_KEY, CARRIER) == way(FILES_KEY, CARRIER) == way(HSM_KEY, CARRIER)
    assert way(DATA_KEY, CHANGES) == way(MAIL_KEY, CHANGES)


def test_a_vault_beats_as_often_as_the_fastest_probe_of_a_key_in_it() -> None:
    files = f"{DATA_VAULT.rpartition('/')[0]}/glbx-files-kv".replace("rg-data", "rg-files")

    def of(*probes: Any) -> timedelta | None:
        def change(facts: Any) -> None:
            feeds = side(facts, 0)["feeds"]
            feeds["diagnostic_settings"] += [{"id": SETTING.replace(DATA_VAULT, files), "destination": HUB}]
            for number, probe in enumerate(probes, start=1):  # files-cmk and mail-cmk share a vault
                facts["customers"][0]["instances"][number]["keys"][0]["probe"] = probe

        known = changed(change)
        route = "azure:vault:glbx-files-kv.vault.azure.net"
        assert way(FILES_KEY, route, known) == way(MAIL_KEY, route, known)
        return way(FILES_KEY, route, known).beats

    assert of(None, None) == timedelta(minutes=5)
    assert of({"every_seconds": 900}, {"every_seconds": 600}) == timedelta(minutes=10)
    assert of({"every_seconds": 900}, {"every_seconds": 600, "off": True}) == timedelta(minutes=15)
    assert of({"off": True}, {"off": True}) is None
    # What an application does that is not registered in this tenant is noise to the decoder, so it is no sign either.
    assert of({"every_seconds": 900}, {"every_seconds": 600, "principal": SECOND_APP}) == timedelta(minutes=15)
    assert of({"principal": SECOND_APP}, {"principal": SECOND_APP}) is None


def test_a_log_that_goes_through_anothers_hub_comes_by_that_ones_forwarder() -> None:
    def lend(facts: Any) -> None:
        setting = f"{INITECH_VAULT}/providers/Microsoft.Insights/diagnosticSettings/x"
        side(facts, 1)["feeds"] = {"diagnostic_settings": [{"id": setting, "destination": HUB}]}

    known = changed(lend)
    assert [(found.route, found.customer) for found in ways(INITECH_KEY, known)] == [
        ("azure:vault:init-kv.vault.azure.net", "initech"),
        (CARRIER, "globex"),
    ]
    assert way(INITECH_KEY, CARRIER, known) == way(DATA_KEY, CARRIER, known)


def test_the_vendors_own_ways_come_last_and_are_nobodys_else() -> None:
    setting = f"/subscriptions/{ACME_SUBSCRIPTION}/providers/Microsoft.Insights/diagnosticSettings/activity"
    own = f"{OWN_VAULT}/providers/microsoft.insights/diagnosticSettings/audit"

    def export(facts: Any) -> None:
        facts["vendor"]["azure"]["feeds"]["diagnostic_settings"] = [{"id": setting}, {"id": own}]

    known = changed(export)
    route = f"azure:subscription:{ACME_SUBSCRIPTION}"
    assert short(ways(DATA_KEY, known))[-1] == ("self_observed", route, None, None)
    assert short(ways(OWN_KEY, known)) == [
        ("self_observed", "azure:vault:acme-own-kv.vault.azure.net", None, timedelta(minutes=5)),
        ("self_observed", route, None, None),
    ]
    # Initech is served by an application without a registered identity: nothing of the vendor's can tell about it.
    assert ways(INITECH_KEY, known) == []


def test_a_topic_of_the_vendors_namespace_tells_nothing_of_its_subscription() -> None:
    assert all(found.cover is not Cover.SELF_OBSERVED for found in ways(DATA_KEY))


def test_the_subscription_needs_something_that_carries_its_changes() -> None:
    def without(facts: Any) -> None:
        side(facts, 0)["feeds"]["event_subscriptions"] = []

    assert CHANGES not in [found.route for found in ways(DATA_KEY, changed(without))]


def test_a_key_whose_vault_is_not_registered_has_no_way() -> None:
    def without(facts: Any) -> None:
        side(facts, 1)["containers"] = []

    assert ways(INITECH_KEY, changed(without)) == []


# -------------------------------------------------------------------------------------------------------- signs of life


@pytest.mark.parametrize(
    ("record", "effect", "route"),
    [
        (use(), "use_succeeded", VAULT),
        (use(properties={"httpStatusCode": 403}), "use_failed", VAULT),
        (forwarded(use()), "use_succeeded", VAULT),
        (audit("KeyDelete", DATA_KEY), "key_deletion_scheduled", VAULT),
        (audit("KeyDelete", DATA_KEY, properties={"httpStatusCode": 403}), "attempt_failed", VAULT),
        (audit("KeyDelete", HSM_KEY, resourceId=HSM), "key_deletion_scheduled",
         "azure:vault:glbxhsm.managedhsm.azure.net"),
        (change("Microsoft.KeyVault/vaults/delete", DATA_VAULT), "container_lost", CHANGES),
        (change("Microsoft.Compute/virtualMachines/write", f"/subscriptions/{GLOBEX_SUBSCRIPTION}/x"), "no_effect",
         CHANGES),
        (activity("Microsoft.KeyVault/vaults/delete", DATA_VAULT), "container_lost", CHANGES),
        (forwarded(activity("Microsoft.KeyVault/vaults/delete", DATA_VAULT)), "container_lost", CHANGES),
        (activity("Microsoft.ManagedIdentity/userAssignedIdentities/delete", IDENTITY), "access_revoked",
         f"azure:subscription:{ACME_SUBSCRIPTION}"),
        (beat(), "no_effect", CARRIER),
        (beat(FORWARDER.upper()), "no_effect", CARRIER),
    ],
)  # fmt: skip
def test_what_is_believed_says_which_way_it_came(record: Any, effect: str, route: str) -> None:
    assert routes(record) == {(effect, route)}


@pytest.mark.parametrize(
    "record",
    [
        audit(resourceId=UNWATCHED_VAULT),
        audit(resourceId=INITECH_VAULT),
        audit(url=OTHER_KEY),
        audit(operationName=...),
        audit(url=OTHER_KEY, resourceId=UNWATCHED_VAULT),
        forwarded(use(), source="/somewhere/else"),
        forwarded(audit("KeyGet"), source="/somewhere/else"),
        forwarded(audit("KeyDelete", INITECH_KEY, resourceId=INITECH_VAULT)),
        forwarded(audit("KeyGet", INITECH_KEY, resourceId=INITECH_VAULT)),
        forwarded(activity("Microsoft.Compute/x/write", f"/subscriptions/{INITECH_SUBSCRIPTION}/x")),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT, topic="/subscriptions/elsewhere"),
        change("Microsoft.Compute/x/write", DATA_VAULT, topic=f"/subscriptions/{INITECH_SUBSCRIPTION}"),
        change("Microsoft.KeyVault/vaults/delete", UNWATCHED_VAULT),
        activity("Microsoft.Authorization/x/write", "/providers/Microsoft.Management/managementGroups/mg-globex"),
        beat("/somewhere/else"),
        beat(SYSTEM_TOPIC),
        beat(type="acme.azure.heartbeat"),
        {"specversion": "1.0", "id": "1", "source": FORWARDER, "type": "acme.azure.record", "data": None},
        topic("KeyExpired"),
        cloud_event(topic("KeyExpired")),
        notification(DATA_VAULT, {"enablePurgeProtection": True}),
        directory("Remove service principal", GLOBEX_PRINCIPAL),
        request("SubscriptionDeletion", [topic("Microsoft.EventGrid.SubscriptionDeletedEvent")]),
        "nothing that can be read",
    ],
)  # fmt: skip
def test_nothing_else_is_a_sign_of_life(record: Any) -> None:
    assert {route for _, route in routes(record)} == {None}


def test_a_heartbeat_is_believed_only_of_a_registered_forwarder() -> None:
    assert routes(beat("/somewhere/else")) == {("untrusted", None)}
    assert routes(beat(source="")) == {("untrusted", None)}


@pytest.mark.parametrize("known", [None, PLAIN], ids=["without the register", "with it"])
def test_a_heartbeat_passes_triage_and_tells_its_own_time(known: Register | None) -> None:
    [kept] = azure.unpack(raw([beat()]), register=known).entries
    [signal] = azure.meaning(kept.raw, PLAIN, received_at=datetime(2026, 5, 4, 9, 16, tzinfo=UTC))
    assert (signal.effect, signal.route, signal.customer) == (Effect.NO_EFFECT, CARRIER, "globex")
    assert signal.occurred_at == datetime(2026, 5, 4, 9, 15, tzinfo=UTC)


def test_our_own_unwraps_pass_triage_and_our_own_reads_are_noise() -> None:
    [kept] = azure.unpack(raw({"records": [use(), use("KeyGet", DATA_KEY)]}), register=PLAIN).entries
    assert [signal.route for signal in azure.meaning(kept.raw, PLAIN)] == [VAULT]


def test_every_way_with_a_beat_has_a_sign_that_proves_it() -> None:
    proven = {route for record in (use(), beat()) for _, route in routes(record)}
    assert {found.route for found in ways(DATA_KEY) if found.beats} == proven


def test_the_catalogue_says_that_the_heartbeat_is_seen() -> None:
    [row] = [row for row in azure.catalogue() if row.operation == HEARTBEAT]
    assert (row.effect, "forwarder" in row.seen_through) == ("no_effect", True)
    assert HEARTBEAT in azure.filters()["forwarder"]
