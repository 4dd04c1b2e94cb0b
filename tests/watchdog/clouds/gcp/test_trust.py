"""A record is believed about a watched key only when its log and its subscription may tell of it."""

from typing import Any

import pytest

from tests.watchdog.clouds.gcp.events import asset, audit, pushed, raw, version_update
from tests.watchdog.clouds.gcp.world import (
    APP_ID,
    ASSETS,
    EKM,
    GLOBEX,
    GLOBEX_FOLDER,
    GLOBEX_NUMBER,
    INITECH,
    INSTANCE,
    KEY,
    SELF,
    SINK,
    SUBSCRIPTION,
    SUBSCRIPTION_2,
    TOPIC,
    WATCH,
    register,
)
from watchdog.clouds import gcp

REGISTER = register()
ACCOUNT = f"projects/-/serviceAccounts/{APP_ID}"
ENABLED = {"cryptoKeyVersion": {"state": "ENABLED"}, "updateMask": "state"}


def effects(content: Any) -> set[str]:
    return {str(signal.effect) for signal in gcp.meaning(raw(content), REGISTER)}


def logged(name: str) -> dict[str, Any]:
    return version_update(entry={"logName": name})


AUDIT = "cloudaudit.googleapis.com%2Factivity"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(version_update(), "key_disabled", id="the key's own project"),
        pytest.param(version_update(log=f"projects/{GLOBEX_NUMBER}"), "key_disabled", id="the same by number"),
        pytest.param(version_update(log=GLOBEX_FOLDER), "untrusted", id="the folder above"),
        pytest.param(version_update(log="projects/sandbox"), "untrusted", id="another project"),
        pytest.param(version_update(log=f"projects/{INITECH}"), "untrusted", id="another customer's project"),
        pytest.param(version_update(log=f"projects/{INSTANCE}"), "untrusted", id="the vendor's project"),
        pytest.param(logged(f"projects/{GLOBEX}/logs/not-{AUDIT}"), "untrusted", id="a log with a similar name"),
        pytest.param(logged(f"projects/{GLOBEX}/logs/{AUDIT}2"), "untrusted", id="a longer log name"),
        pytest.param(logged(f"projects/{GLOBEX}/logs/x/{AUDIT}"), "untrusted", id="a log below another"),
        pytest.param(version_update(entry={"logName": ...}), "untrusted", id="no log name"),
        pytest.param(version_update(entry={"logName": 5}), "untrusted", id="a log name that is no text"),
        pytest.param(version_update("3", ENABLED, log="projects/sandbox"), "untrusted", id="a recovery counts as well"),
        pytest.param(version_update(log="projects/sandbox", code=7), "untrusted", id="a refusal counts as well"),
        pytest.param(version_update("1", log="projects/sandbox"), "untrusted", id="about a version not in use"),
        pytest.param(
            audit("GetCryptoKey", KEY, log="projects/sandbox", kind="data_access"), "untrusted", id="a read of it"
        ),
        pytest.param(
            audit("DestroyCryptoKeyVersion", f"{KEY}-2/cryptoKeyVersions/3", log="projects/sandbox"),
            "no_effect",
            id="a key that only looks like it",
        ),
        pytest.param(
            audit(
                "DeleteProject",
                f"projects/{GLOBEX}",
                log="projects/sandbox",
                service="cloudresourcemanager.googleapis.com",
            ),
            "untrusted",
            id="the project's end told by another project",
        ),
        pytest.param(
            audit(
                "DeleteProject",
                "projects/sandbox",
                log="projects/sandbox",
                service="cloudresourcemanager.googleapis.com",
            ),
            "no_effect",
            id="the end of another project",
        ),
        pytest.param(
            audit("UpdateEkmConnection", EKM, {}, log=f"projects/{GLOBEX}"),
            "untrusted",
            id="a connection of another customer",
        ),
        pytest.param(
            audit(
                "google.logging.v2.ConfigServiceV2.DeleteSink",
                SINK,
                {},
                service="logging.googleapis.com",
                log=f"projects/{INITECH}",
            ),
            "untrusted",
            id="a sink of another customer",
        ),
        pytest.param(
            audit("google.pubsub.v1.Publisher.DeleteTopic", TOPIC, {}, service="pubsub.googleapis.com"),
            "untrusted",
            id="the vendor's topic told by the customer",
        ),
        pytest.param(
            audit(
                "google.pubsub.v1.Publisher.DeleteTopic",
                TOPIC,
                {},
                service="pubsub.googleapis.com",
                log=f"projects/{WATCH}",
            ),
            "feed_tampered",
            id="the vendor's topic told by the vendor",
        ),
        pytest.param(
            audit("google.iam.admin.v1.DeleteServiceAccount", ACCOUNT, {}, service="iam.googleapis.com"),
            "untrusted",
            id="the vendor's account told by the customer",
        ),
        pytest.param(
            audit(
                "google.api.serviceusage.v1.ServiceUsage.DisableService",
                f"projects/{GLOBEX_NUMBER}/services/cloudkms.googleapis.com",
                {},
                service="serviceusage.googleapis.com",
                log=f"projects/{INSTANCE}",
            ),
            "untrusted",
            id="the customer's API told by the vendor",
        ),
        pytest.param(pushed(version_update()), "key_disabled", id="the customer's subscription"),
        pytest.param(pushed(version_update(), SUBSCRIPTION_2), "untrusted", id="another customer's subscription"),
        pytest.param(pushed(version_update(), SELF), "untrusted", id="the vendor's own subscription"),
        pytest.param(
            pushed(version_update(), "projects/evil/subscriptions/audit-globex"), "untrusted", id="an unknown one"
        ),
        pytest.param(pushed(version_update("3", ENABLED), SUBSCRIPTION_2), "untrusted", id="a recovery by another's"),
        pytest.param(
            pushed(audit("DestroyCryptoKeyVersion", "x", log="projects/sandbox"), "projects/evil/subscriptions/x"),
            "no_effect",
            id="an unknown subscription about nothing of ours",
        ),
        pytest.param(
            pushed(asset(f"{KEY}/cryptoKeyVersions/3", {"state": "DISABLED"}, {"state": "ENABLED"}), ASSETS),
            "key_disabled",
            id="an asset by the customer's subscription",
        ),
        pytest.param(
            pushed(asset(f"{KEY}/cryptoKeyVersions/3", {"state": "DISABLED"}, {"state": "ENABLED"}), SUBSCRIPTION_2),
            "untrusted",
            id="an asset by another customer's",
        ),
        pytest.param(
            pushed(asset(f"{KEY}/cryptoKeyVersions/3", {"state": "ENABLED"}, {"state": "ENABLED"}), SUBSCRIPTION_2),
            "untrusted",
            id="a harmless asset by another customer's",
        ),
    ],
)
def test_a_record_is_believed_when_source_and_claim_agree(content: dict[str, Any], expected: str) -> None:
    assert effects(content) == {expected}


LABELS = {"project_id": GLOBEX, "location": "europe-west3", "key_ring_id": "acme", "crypto_key_id": "payroll"}


def application(payload: dict[str, Any], log: str = f"projects/{GLOBEX}/logs/app") -> dict[str, Any]:
    return {"logName": log, "insertId": "1", "resource": {"labels": LABELS}, "jsonPayload": payload}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (application(version_update()["protoPayload"]), "untrusted"),
        (application(version_update()["protoPayload"], f"projects/{GLOBEX}/logs/{AUDIT}"), "untrusted"),
        (application({"scheduledDestructionEvent": {}}), "untrusted"),
        (
            application({"scheduledDestructionEvent": {}}, f"projects/{INITECH}/logs/cloudkms.googleapis.com%2Fx"),
            "untrusted",
        ),
        (application({"rotationEvent": {}}, f"projects/{GLOBEX}/logs/cloudkms.googleapis.com%2Fx"), "rotated"),
        (application({"message": f"encrypted with {KEY}"}), "no_effect"),
        (application({"methodName": "GET", "path": "/"}), "no_effect"),
    ],
)
def test_an_imitation_in_another_log_is_not_believed(content: dict[str, Any], expected: str) -> None:
    assert effects(content) == {expected}


def test_the_number_of_a_project_is_no_other_project() -> None:
    assert SUBSCRIPTION != SUBSCRIPTION_2
    assert effects(version_update(log=f"projects/{GLOBEX_NUMBER}0")) == {"untrusted"}


def test_a_wrapper_inside_the_transports_own_cannot_name_another_subscription() -> None:
    nested = pushed(pushed(version_update(), subscription=SUBSCRIPTION), subscription=SUBSCRIPTION_2)
    assert effects(nested) == {"untrusted"}
    assert effects(pushed(pushed(version_update(), subscription=SUBSCRIPTION_2), subscription=SUBSCRIPTION)) == {
        "key_disabled"
    }
