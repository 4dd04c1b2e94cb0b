"""The corners of the table: masks, long operations, masks without bodies, lists, whose fault, and moments."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.watchdog.clouds.gcp.events import MASKED_DISABLE, asset, audit, raw, version_update
from tests.watchdog.clouds.gcp.readout import labelled
from tests.watchdog.clouds.gcp.world import (
    APP,
    DATABASE,
    ENCRYPTER_DECRYPTER,
    FILTER,
    GLOBEX,
    GLOBEX_FOLDER,
    GLOBEX_NUMBER,
    GLOBEX_ORG,
    IMPORTED,
    INITECH,
    INITECH_ORG,
    INSTANCE,
    INSTANCE_NUMBER,
    KEY,
    PERIMETER,
    ROLE,
    SINK,
    STORAGE,
    TOPIC,
    account,
    register,
)
from watchdog.clouds import gcp
from watchdog.signals import Signal

REGISTER = register()
KMS = "cloudkms.googleapis.com"


def signals(content: dict[str, Any]) -> list[Signal]:
    return gcp.meaning(raw(content), REGISTER)


def effects(content: dict[str, Any]) -> set[str]:
    return {str(signal.effect) for signal in signals(content)}


@pytest.mark.parametrize(
    ("request_", "effect"),
    [
        ({"cryptoKeyVersion": {"state": "DISABLED"}, "updateMask": "state"}, "key_disabled"),
        ({"cryptoKeyVersion": {"state": "DISABLED"}, "updateMask": " labels , state "}, "key_disabled"),
        ({"crypto_key_version": {"state": "DISABLED"}, "update_mask": {"paths": ["state"]}}, "key_disabled"),
        ({"cryptoKeyVersion": {"state": "DISABLED"}, "updateMask": "stateful"}, "key_changed"),
        ({"cryptoKeyVersion": {"state": "DISABLED"}}, "key_changed"),
        ({"cryptoKeyVersion": {"state": "PENDING_IMPORT"}, "updateMask": "state"}, "key_changed"),
        ({"updateMask": "state"}, "key_changed"),
        ({"x": 1}, "key_changed"),
    ],
)
def test_the_mask_decides_whether_a_state_was_applied(request_: dict[str, Any], effect: str) -> None:
    assert effects(version_update(request=request_)) == {effect}


@pytest.mark.parametrize(
    ("email", "fault"),
    [
        ("oncall@acme.example", "vendor"),
        ("ONCALL@ACME.EXAMPLE", "vendor"),
        (f"deploy@{INSTANCE}.iam.gserviceaccount.com", "vendor"),
        (f"{INSTANCE_NUMBER}-compute@developer.gserviceaccount.com", "vendor"),
        (f"{INSTANCE_NUMBER}@cloudservices.gserviceaccount.com", "vendor"),
        (f"service-{INSTANCE_NUMBER}@gcp-sa-anything.iam.gserviceaccount.com", "vendor"),
        (f"{INSTANCE}@appspot.gserviceaccount.com", "vendor"),
        ("jane@globex.example", "customer"),
        ("oncall@acme.example.evil.example", "customer"),
        ("oncall@notacme.example", "customer"),
        (f"deploy@{INSTANCE}-2.iam.gserviceaccount.com", "customer"),
        (f"{INSTANCE_NUMBER}0-compute@developer.gserviceaccount.com", "customer"),
        (f"{INSTANCE_NUMBER}-compute@evil.example", "customer"),
        ("service-agent-manager@system.gserviceaccount.com", "customer"),
        ("", "customer"),
    ],
)
def test_the_fault_follows_from_who_acted(email: str, fault: str) -> None:
    assert signals(version_update(by=email))[0].fault == fault


def test_a_federated_actor_is_told_by_its_subject() -> None:
    subject = "principal://iam.googleapis.com/locations/global/workforcePools/p/subject/kim"
    signal = signals(version_update(authenticationInfo={"principalSubject": subject}))[0]
    assert signal.actor is not None
    assert (signal.actor.name, signal.fault) == (subject, "customer")
    assert signals(version_update(authenticationInfo=5))[0].actor is None


@pytest.mark.parametrize(
    ("entry", "at"),
    [
        ({}, (2026, 4, 2, 10, 0, 0, 250000)),
        ({"timestamp": ...}, (2026, 4, 2, 10, 0, 1, 500000)),
        ({"timestamp": "0000-00-00T00:00:00Z"}, (2026, 4, 2, 10, 0, 1, 500000)),
        ({"timestamp": ..., "receiveTimestamp": ...}, (2030, 1, 1, 0, 0, 0, 0)),
    ],
)
def test_the_moment_is_the_record_s_own_where_it_has_one(entry: dict[str, Any], at: tuple[int, ...]) -> None:
    received = datetime(2030, 1, 1, tzinfo=UTC)
    signal = gcp.meaning(raw(version_update(entry=entry)), REGISTER, received_at=received)[0]
    assert signal.occurred_at == datetime(*at, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year to microsecond


@pytest.mark.parametrize(
    ("method", "service"),
    [
        ("updatecryptokeyversion", KMS),
        ("google.cloud.kms.v1.KeyManagementService.UpdateCryptoKeyVersion", KMS.upper()),
        ("x.UPDATECRYPTOKEYVERSION", KMS),
    ],
)
def test_methods_and_services_are_compared_without_regard_to_case(method: str, service: str) -> None:
    assert effects(audit(method, f"{KEY}/cryptoKeyVersions/3", MASKED_DISABLE, service=service)) == {"key_disabled"}


@pytest.mark.parametrize("service", ["", None, 5])
def test_a_record_of_a_key_without_its_service_is_one_of_cloud_kms(service: object) -> None:
    assert effects(audit("UpdateCryptoKeyVersion", f"{KEY}/cryptoKeyVersions/3", MASKED_DISABLE, service=service)) == {
        "key_disabled"
    }


@pytest.mark.parametrize("method", ["", None, "a.method."])
def test_a_record_of_a_registered_key_without_its_method_is_put_aside(method: str) -> None:
    assert effects(audit(method, f"{KEY}/cryptoKeyVersions/3", {})) == {"unreadable"}
    assert effects(audit(method, f"{KEY}-2/cryptoKeyVersions/3", {})) == {"no_effect"}


@pytest.mark.parametrize("service", [f"{KMS}.example", "kms.googleapis.com"])
def test_another_service_says_nothing(service: str | None) -> None:
    assert effects(audit("DestroyCryptoKeyVersion", f"{KEY}/cryptoKeyVersions/3", service=service)) == {"no_effect"}


@pytest.mark.parametrize("now", [{}, {"labels": {"a": "b"}}, {"state": None}, {"state": 5}])
def test_an_asset_whose_state_is_not_told_must_be_probed(now: dict[str, Any]) -> None:
    (signal,) = signals(asset(f"{KEY}/cryptoKeyVersions/3", now, {"state": "ENABLED"}))
    assert (signal.effect, signal.version, signal.probe) == ("key_changed", "3", True)


@pytest.mark.parametrize("version", ["3", "33", "30"])
def test_versions_are_compared_whole(version: str) -> None:
    signal = signals(version_update(version))[0]
    assert (signal.key, signal.version, signal.probe) == (KEY, version, version != "3")
    assert signal.resource == f"{KEY}/cryptoKeyVersions/{version}"


@pytest.mark.parametrize(
    "name",
    [
        f"{KEY}-2",
        KEY.replace("keyRings/acme", "keyRings/acme-2"),
        KEY.replace("payroll", "Payroll"),
        f"x{KEY}",
        f"//cloudkms.googleapis.com.example/{KEY}",
        f"//cloudkms.example/{KEY}",
    ],
)
def test_a_name_that_only_looks_like_it_is_another_key(name: str) -> None:
    assert effects(audit("DestroyCryptoKeyVersion", f"{name}/cryptoKeyVersions/3", {})) == {"no_effect"}


@pytest.mark.parametrize(
    ("version", "effect"), [("1", "key_changed"), (1, "key_changed"), ("2", "rotated"), (3, "rotated")]
)
def test_a_new_primary_is_judged_by_its_registered_state(version: object, effect: str) -> None:
    request = {"name": KEY, "cryptoKeyVersionId": version}
    assert effects(audit("UpdateCryptoKeyPrimaryVersion", KEY, request)) == {effect}


def test_resource_and_method_are_enough() -> None:
    bare = audit("DestroyCryptoKeyVersion", f"{KEY}/cryptoKeyVersions/2", entry={"resource": ..., "insertId": ...})
    assert effects(bare) == {"key_deletion_scheduled"}


def test_the_request_names_the_version_where_the_record_does_not() -> None:
    name = f"{KEY}/cryptoKeyVersions/2"
    assert signals(audit("DestroyCryptoKeyVersion", None, {"name": name}))[0].resource == name
    assert signals(audit("DestroyCryptoKeyVersion", KEY, {"name": name}))[0].resource == name


def service(method: str, name: str, on: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return audit(method, name, on, service=fields.pop("service", "serviceusage.googleapis.com"), **fields)


API = f"projects/{GLOBEX_NUMBER}/services/{KMS}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (service("DisableService", API), {"container_lost"}),
        (service("DisableService", f"{API}.example"), {"no_effect"}),
        (service("DisableService", f"projects/{GLOBEX_NUMBER}0/services/{KMS}"), {"no_effect"}),
        (service("EnableService", API, entry={"operation": {"id": "1", "first": True}}), {"no_effect"}),
        (
            service("EnableService", API, entry={"operation": {"id": "1", "first": True, "last": True}}),
            {"container_restored"},
        ),
        (service("EnableService", API, code=9), {"attempt_failed"}),
    ],
)
def test_the_api_is_exactly_cloud_kms_and_a_recovery_waits_for_the_end(
    content: dict[str, Any], expected: set[str]
) -> None:
    assert effects(content) == expected


def perimeter(status: Any, mask: str | None = "status", name: str = PERIMETER) -> dict[str, Any]:
    body = {"servicePerimeter": {"name": name, "status": status}} | ({"updateMask": mask} if mask else {})
    return audit("UpdateServicePerimeter", name, body, service="accesscontextmanager.googleapis.com", log=INITECH_ORG)


INSIDE = [f"projects/{register().customers['initech'].gcp.projects[0].number}"]  # type: ignore[union-attr]  # this world has it
OTHER = "accessPolicies/7001/servicePerimeters/other"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (perimeter({"resources": INSIDE, "restrictedServices": [KMS]}), {"access_changed"}),
        (perimeter({"resources": INSIDE, "restrictedServices": [KMS]}, name=OTHER), {"access_changed"}),
        (perimeter({"resources": INSIDE, "restrictedServices": []}), {"path_opened"}),
        (perimeter({"resources": [], "restrictedServices": [KMS]}), {"path_opened"}),
        (perimeter({"resources": []}, "status.resources"), {"path_opened"}),
        (perimeter({"restrictedServices": [KMS]}, "status.restrictedServices"), {"access_changed"}),
        (perimeter({"ingressPolicies": []}, "status.ingressPolicies"), {"access_changed"}),
        (perimeter(None), {"path_opened"}),
        (perimeter({"resources": INSIDE, "restrictedServices": [KMS]}, "title"), {"no_effect"}),
        (perimeter({"resources": INSIDE, "restrictedServices": ["storage.googleapis.com"]}, name=OTHER), {"no_effect"}),
        (
            audit("UpdateServicePerimeter", PERIMETER, service="accesscontextmanager.googleapis.com", log=INITECH_ORG),
            {"access_changed"},
        ),
    ],
)
def test_only_the_enforced_part_of_a_perimeter_counts(content: dict[str, Any], expected: set[str]) -> None:
    assert effects(content) == expected


def constraint(name: str, policy: Any, place: str = GLOBEX_FOLDER) -> dict[str, Any]:
    request = {"policy": policy} if policy is not None else None
    return audit("UpdatePolicy", f"{place}/policies/{name}", request, service="orgpolicy.googleapis.com", log=place)


def rules(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"rules": list(listed)}}


GUARD, SERVICES = "cloudkms.disableBeforeDestroy", "gcp.restrictServiceUsage"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (constraint(GUARD, rules({"enforce": True})), {"no_effect"}),
        (constraint(GUARD, rules({"enforce": False})), {"protection_weakened"}),
        (constraint(GUARD, {"spec": {"reset": True}}), {"protection_weakened"}),
        (constraint(GUARD, None), {"protection_weakened"}),
        (constraint(GUARD, {"dryRunSpec": {"rules": [{"enforce": False}]}}), {"no_effect"}),
        (
            constraint("cloudkms.minimumDestroyScheduledDuration", rules({"values": {"allowedValues": ["in:30d"]}})),
            {"no_effect"},
        ),
        (constraint("cloudkms.minimumDestroyScheduledDuration", rules({"allowAll": True})), {"protection_weakened"}),
        (constraint(SERVICES, rules({"values": {"deniedValues": [KMS]}})), {"access_changed"}),
        (constraint(SERVICES, rules({"values": {"deniedValues": ["kmsinventory.googleapis.com"]}})), {"no_effect"}),
        (constraint(SERVICES, rules({"values": {"allowedValues": [KMS]}})), {"no_effect"}),
        (constraint(SERVICES, rules({"values": {"allowedValues": ["storage.googleapis.com"]}})), {"access_changed"}),
        (constraint(SERVICES, rules({"denyAll": True})), {"access_changed"}),
        (constraint(SERVICES, rules({"allowAll": True})), {"no_effect"}),
        (constraint("compute.x", rules({"denyAll": True})), {"no_effect"}),
        (constraint(GUARD, rules({"enforce": False}), "folders/1"), {"no_effect"}),
    ],
)
def test_organisation_policies_count_when_they_forbid_or_stop_guarding(
    content: dict[str, Any], expected: set[str]
) -> None:
    assert effects(content) == expected


def sink(mask: str | None, name: str = SINK, **fields: Any) -> dict[str, Any]:
    body = {"destination": f"pubsub.googleapis.com/{TOPIC}", "filter": FILTER, "includeChildren": True} | fields
    request = {"sinkName": name, "sink": body} | ({"updateMask": mask} if mask else {})
    return audit("x.UpdateSink", name, request, service="logging.googleapis.com", log=GLOBEX_ORG)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (sink("disabled", disabled=True), {"feed_tampered"}),
        (sink("disabled", disabled=False), {"no_effect"}),
        (sink("description", disabled=True, filter="x"), {"no_effect"}),
        (sink("filter", filter="x"), {"feed_tampered"}),
        (sink("filter"), {"no_effect"}),
        (sink("destination", destination="x"), {"feed_tampered"}),
        (sink("exclusions", exclusions=[{"name": "a"}]), {"feed_tampered"}),
        (sink("exclusions", exclusions=[]), {"no_effect"}),
        (sink("includeChildren", includeChildren=False), {"feed_tampered"}),
        (sink(None), {"no_effect"}),
        (sink(None, destination="x"), {"feed_tampered"}),
        (sink(None, disabled=True), {"no_effect"}),
        (sink("filter", f"{SINK}-2", filter="x"), {"no_effect"}),
    ],
)
def test_a_sink_is_tampered_with_when_it_carries_less(content: dict[str, Any], expected: set[str]) -> None:
    assert effects(content) == expected


def role(request: Any, **fields: Any) -> dict[str, Any]:
    return audit(
        "google.iam.admin.v1.UpdateRole",
        ROLE,
        request,
        service="iam.googleapis.com",
        log=f"projects/{INITECH}",
        **fields,
    )


TO_ENCRYPT, TO_DECRYPT = "cloudkms.cryptoKeyVersions.useToEncrypt", "cloudkms.cryptoKeyVersions.useToDecrypt"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (role({"role": {"includedPermissions": [TO_ENCRYPT, TO_DECRYPT]}}), {"access_granted"}),
        (
            role({"role": {"includedPermissions": [TO_ENCRYPT]}, "updateMask": "includedPermissions"}),
            {"access_reduced"},
        ),
        (role({"role": {}, "updateMask": "includedPermissions"}), {"access_revoked"}),
        (role({"role": {"includedPermissions": []}, "updateMask": "title"}), {"no_effect"}),
        (role({"role": {"stage": "DISABLED"}, "updateMask": "stage"}), {"access_revoked"}),
        (role(None), {"access_changed"}),
        (role(None, serviceData={"permissionDelta": {"removedPermissions": [TO_DECRYPT]}}), {"access_reduced"}),
    ],
)
def test_a_custom_role_is_judged_by_what_is_left_of_it(content: dict[str, Any], expected: set[str]) -> None:
    assert effects(content) == expected


def test_a_move_tells_of_keys_and_of_the_feed() -> None:
    def moved(to: str) -> list[dict[str, Any]]:
        content = audit(
            "google.cloud.resourcemanager.v3.Projects.MoveProject",
            f"projects/{GLOBEX_NUMBER}",
            {"destinationParent": to},
            service="cloudresourcemanager.googleapis.com",
        )
        return [labelled(signal) for signal in signals(content)]

    changed = [{"effect": "access_changed", "key": key, "fault": "customer", "probe": True} for key in (KEY, IMPORTED)]
    assert moved("organizations/1") == [*changed, {"effect": "feed_tampered", "fault": "customer"}]
    assert moved(GLOBEX_ORG) == moved("folders/5") == changed


def test_a_refused_call_on_a_key_names_the_key_even_where_its_labels_name_a_version() -> None:
    labels = {"project_id": GLOBEX, "location": "europe-west3", "key_ring_id": "acme", "crypto_key_id": "payroll"}
    entry = {"resource": {"type": "cloudkms_cryptokeyversion", "labels": labels | {"crypto_key_version_id": "4"}}}
    signal = signals(audit("CreateCryptoKeyVersion", KEY, {"parent": KEY}, code=8, entry=entry))[0]
    assert (signal.effect, signal.key) == ("attempt_failed", KEY)


def test_a_policy_without_a_delta_or_a_list_is_never_an_emptied_one() -> None:
    split = {"split": {"uid": "x", "index": 0, "totalSplits": 2}}
    cut = audit("SetIamPolicy", KEY, {"policy": {"etag": "x"}}, entry=split)
    gone = audit("SetIamPolicy", KEY)
    assert effects(cut) == effects(gone) == {"access_changed"}
    assert effects(audit("SetIamPolicy", KEY, {"policy": {"etag": "x"}})) == {"access_revoked"}


def test_an_empty_delta_says_that_nothing_changed() -> None:
    content = audit(
        "SetIamPolicy",
        f"projects/{GLOBEX}",
        {},
        service="cloudresourcemanager.googleapis.com",
        serviceData={"policyDelta": {}},
    )
    assert effects(content) == {"no_effect"}


def test_a_long_reason_is_cut() -> None:
    content = audit("A" * 5000, f"{KEY}/cryptoKeyVersions/3")
    assert all(len(signal.reason) < 1100 for signal in signals(content))


def test_a_grant_without_a_time_limit_ends_the_clock_of_one_with_it() -> None:
    """One is the news of the other only when both tell of the same means (watchdog/health.py)."""
    accounts = [account(email) for email in (STORAGE, DATABASE, APP)]
    held = {"role": ENCRYPTER_DECRYPTER, "members": accounts}
    timed = held | {"condition": {"expression": 'request.time < timestamp("2030-01-01T00:00:00Z")'}}
    before, after = (
        signals(audit("SetIamPolicy", KEY, {"policy": {"bindings": [binding]}}))[0] for binding in (timed, held)
    )
    assert (before.effect, after.effect) == ("expiry_ahead", "access_granted")
    assert before.means == after.means


@pytest.mark.parametrize("method", ["DeleteKeyRing", "google.cloud.kms.v2.Rings.FreezeKeyRing"])
def test_an_unknown_write_on_a_ring_asks_for_its_keys(method: str) -> None:
    ring = KEY.rpartition("/cryptoKeys/")[0]
    found = signals(audit(method, ring, {"name": ring}))
    assert {(signal.key, signal.effect, signal.probe) for signal in found} >= {(KEY, "key_changed", True)}
    assert effects(audit(method, f"{ring}-2", {})) == {"no_effect"}
    assert effects(audit("CreateCryptoKey", ring, {})) == {"no_effect"}
