"""Repair steps carry exact commands, each with an owner, and never a text that a record could have smuggled in."""

import re
from dataclasses import replace
from itertools import product

import pytest
from msgspec import structs

from tests.watchdog.clouds.gcp.world import (
    APP,
    APP_ID,
    ASSET_FEED,
    DATABASE,
    EXTERNAL,
    FILTER,
    GLOBEX_BILLING,
    IMPORTED,
    KEY,
    PERIMETER,
    ROLE,
    SINK,
    SUBSCRIPTION,
    TENANT,
    TOPIC,
    VENDOR_PERIMETER,
    WRITER,
    account,
    register,
)
from watchdog.clouds import gcp
from watchdog.register_gcp import GcpGrant, GcpKey
from watchdog.words import LOSS, RISK, Cause, Effect, Means, Owner

REGISTER = register()
ON_KEY = "--key=payroll --keyring=acme --location=europe-west3 --project=globex-keys"
IN_RING = "--keyring=acme --location=europe-west3 --project=globex-keys"


def commands(effect: Effect, key: str, **facts: object) -> list[str]:
    steps = gcp.steps(effect, REGISTER.keys[key], REGISTER, **facts)  # type: ignore[arg-type]  # means, subject, cause
    return [step.command for step in steps if step.command]


def test_a_disabled_version_is_enabled() -> None:
    assert commands(Effect.KEY_DISABLED, KEY, subject="2") == [f"gcloud kms keys versions enable 2 {ON_KEY}"]


def test_without_a_named_version_every_version_in_use_is_enabled() -> None:
    assert commands(Effect.KEY_DISABLED, KEY) == [
        f"gcloud kms keys versions enable 2 {ON_KEY}",
        f"gcloud kms keys versions enable 3 {ON_KEY}",
    ]


def test_a_destruction_is_undone_by_restoring_first_and_then_enabling() -> None:
    assert commands(Effect.KEY_DELETION_SCHEDULED, KEY, subject="3") == [
        f"gcloud kms keys versions restore 3 {ON_KEY}",
        f"gcloud kms keys versions enable 3 {ON_KEY}",
    ]


def test_a_destroyed_version_comes_back_only_when_it_was_imported() -> None:
    assert commands(Effect.KEY_DESTROYED, KEY, subject="3") == []
    made, imported = commands(Effect.KEY_DESTROYED, IMPORTED, subject="1")
    assert made.startswith("gcloud kms import-jobs create reimport --keyring=imports --location=europe-west3")
    assert imported.startswith("gcloud kms keys versions import --version=1 --import-job=reimport --key=archive")


def test_the_member_that_lost_its_role_gets_it_back() -> None:
    found = commands(Effect.ACCESS_REVOKED, KEY, means=Means.IAM_BINDING, subject=account(DATABASE))
    assert found == [
        (
            f"gcloud kms keys add-iam-policy-binding payroll {IN_RING} --member=serviceAccount:{DATABASE} "
            "--role=roles/cloudkms.cryptoKeyEncrypterDecrypter"
        )
    ]
    assert len(commands(Effect.ACCESS_REDUCED, KEY)) == 3


@pytest.mark.parametrize(
    ("key", "start"),
    [
        (IMPORTED, "gcloud kms keyrings add-iam-policy-binding imports --location=europe-west3 --project=globex-keys"),
        (EXTERNAL, "gcloud projects add-iam-policy-binding initech-vault --member="),
        (TENANT, "gcloud resource-manager folders add-iam-policy-binding 930000000011 --member="),
    ],
)
def test_the_role_is_given_on_the_level_where_it_is_registered(key: str, start: str) -> None:
    assert commands(Effect.ACCESS_REVOKED, key)[0].startswith(start)


def test_a_timed_grant_is_given_again_without_a_condition() -> None:
    assert all(one.endswith(" --condition=None") for one in commands(Effect.EXPIRY_AHEAD, KEY))


@pytest.mark.parametrize(
    ("effect", "key", "facts", "expected"),
    [
        (
            Effect.ACCESS_REVOKED,
            EXTERNAL,
            {"means": Means.ROLE_OR_POLICY, "subject": ROLE},
            [
                "gcloud iam roles undelete keyUse --project=initech-vault",
                (
                    "gcloud iam roles update keyUse --project=initech-vault --add-permissions="
                    "cloudkms.cryptoKeyVersions.useToDecrypt,cloudkms.cryptoKeyVersions.useToEncrypt"
                ),
            ],
        ),
        (
            Effect.ACCESS_REVOKED,
            KEY,
            {"means": Means.ORG_CONTROL, "subject": "guard on projects/globex-keys"},
            [
                (
                    "gcloud iam policies delete guard "
                    "--attachment-point=cloudresourcemanager.googleapis.com/projects/globex-keys --kind=denypolicies"
                )
            ],
        ),
        (
            Effect.ACCESS_CHANGED,
            KEY,
            {"means": Means.ORG_CONTROL, "subject": "gcp.restrictServiceUsage on folders/920000000011"},
            ["gcloud org-policies delete gcp.restrictServiceUsage --folder=920000000011"],
        ),
        (
            Effect.ACCESS_CHANGED,
            KEY,
            {"means": Means.ORG_CONTROL, "subject": "projects/acme-globex"},
            ["gcloud services enable cloudkms.googleapis.com --project=acme-globex"],
        ),
        (
            Effect.ACCESS_REVOKED,
            KEY,
            {"means": Means.IDENTITY, "subject": APP},
            [f"gcloud iam service-accounts enable {APP}", f"gcloud iam service-accounts undelete {APP_ID}"],
        ),
        (
            Effect.PATH_BLOCKED,
            KEY,
            {},
            [f"gcloud kms keys update payroll {IN_RING} --remove-key-access-justifications-policy"],
        ),
        (
            Effect.CONTAINER_LOST,
            KEY,
            {"subject": "projects/globex-keys"},
            [
                "gcloud projects undelete globex-keys",
                f"gcloud billing projects link globex-keys --billing-account={GLOBEX_BILLING.partition('/')[2]}",
                "gcloud services enable cloudkms.googleapis.com --project=globex-keys",
            ],
        ),
        (
            Effect.CONTAINER_LOST,
            KEY,
            {"subject": "cloudkms.googleapis.com in projects/globex-keys"},
            ["gcloud services enable cloudkms.googleapis.com --project=globex-keys"],
        ),
        (
            Effect.PROTECTION_WEAKENED,
            KEY,
            {"subject": "projects/globex-keys"},
            [
                (
                    "gcloud alpha resource-manager liens create --project=globex-keys "
                    "--restrictions=resourcemanager.projects.delete --reason=key-of-the-vendor"
                )
            ],
        ),
        (
            Effect.KEY_CHANGED,
            KEY,
            {"subject": "1"},
            [f"gcloud kms keys set-primary-version payroll --version=3 {IN_RING}"],
        ),
        (
            Effect.FEED_TAMPERED,
            KEY,
            {"subject": SUBSCRIPTION},
            [
                (
                    f"gcloud pubsub subscriptions create audit-globex --project=acme-watch --topic={TOPIC} "
                    "--expiration-period=never"
                )
            ],
        ),
        (
            Effect.FEED_TAMPERED,
            KEY,
            {"subject": TOPIC},
            [
                "gcloud pubsub topics create audit-globex --project=acme-watch",
                (
                    "gcloud pubsub topics add-iam-policy-binding audit-globex --project=acme-watch "
                    f"--member={WRITER} --role=roles/pubsub.publisher"
                ),
            ],
        ),
    ],
)
def test_a_loss_has_its_exact_commands(effect: Effect, key: str, facts: dict[str, object], expected: list[str]) -> None:
    assert commands(effect, key, **facts) == expected


def test_a_sink_is_put_back_with_its_agreed_filter() -> None:
    changed, deleted, _ = commands(Effect.FEED_TAMPERED, KEY, subject=SINK)
    assert changed == (
        f"gcloud logging sinks update to-acme pubsub.googleapis.com/{TOPIC} --organization=920000000001 "
        f"--log-filter='{FILTER}' --clear-exclusions --no-disabled"
    )
    assert deleted.endswith(f"--log-filter='{FILTER}' --include-children")
    assert "cloudkms.googleapis.com/CryptoKeyVersion," in commands(Effect.FEED_TAMPERED, KEY, subject=ASSET_FEED)[0]


def test_a_perimeter_is_opened_by_its_owner() -> None:
    for subject, owner in ((PERIMETER, Owner.CUSTOMER), (VENDOR_PERIMETER, Owner.VENDOR)):
        found = gcp.steps(Effect.USE_FAILED, REGISTER.keys[KEY], REGISTER, subject=subject, cause=Cause.PATH_BLOCKED)
        assert found[0].owner is owner
        assert found[0].command


def test_the_vendor_s_own_fault_is_the_vendor_s_to_repair() -> None:
    found = gcp.steps(Effect.ACCESS_REVOKED, REGISTER.keys[KEY], REGISTER, means=Means.IDENTITY, subject=APP)
    assert {step.owner for step in found} == {Owner.VENDOR}


HOSTILE = (
    "3; rm -rf /",
    "$(id) on projects/globex-keys",
    "guard on projects/globex-keys --quiet",
    "projects/globex-keys\nrm",
    "accessPolicies/1/servicePerimeters/p;id",
    f"{TOPIC}$(id)",
    f"{SUBSCRIPTION} --x",
    "serviceAccount:x@y.iam.gserviceaccount.com;id",
    "projects/initech-vault/roles/a`id`",
    "x'y",
    "",
)
SAFE = re.compile(r"gcloud [A-Za-z0-9 ,.:;@/_=~%+-]*")
QUOTED = re.compile(r"'[^']*'")


@pytest.mark.parametrize("subject", [*HOSTILE, None])
def test_no_outsider_s_text_gets_into_a_command(subject: str | None) -> None:
    for effect, means, key in product(LOSS | RISK | {Effect.FEED_TAMPERED}, [None, *Means], (KEY, EXTERNAL, TENANT)):
        for command in commands(effect, key, means=means, subject=subject):
            assert SAFE.fullmatch(QUOTED.sub("", command)), command
            assert ";" not in command
            assert "\n" not in command


@pytest.mark.parametrize(
    "grant",
    [
        GcpGrant(level=KEY, role="roles/a", members=["serviceAccount:x;id@y.example"]),
        GcpGrant(level=KEY, role="roles/a", members=["allUsers$(id)"]),
        GcpGrant(level=KEY, role="roles/a;id", members=[account(APP)]),
        GcpGrant(level="projects/globex-keys;id", role="roles/a", members=[account(APP)]),
        GcpGrant(level=KEY, role="roles/a", members=[account(APP)], condition="resource.name == 'x'"),
    ],
)
def test_a_grant_with_odd_names_is_told_in_words(grant: GcpGrant) -> None:
    key = REGISTER.keys[KEY]
    odd = replace(key, entry=structs.replace(key.entry, gcp=structs.replace(key.entry.gcp or GcpKey(), grants=[grant])))
    found = gcp.steps(Effect.ACCESS_REVOKED, odd, REGISTER)
    assert [step.command for step in found] == [None]
    assert found[0].text


@pytest.mark.parametrize("effect", sorted(LOSS | RISK | {Effect.FEED_TAMPERED, Effect.DELETION_CANCELLED}))
def test_every_loss_and_risk_has_a_step(effect: Effect) -> None:
    for key in REGISTER.keys.values():
        assert gcp.steps(effect, key, REGISTER)


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_of_a_failed_use_has_a_step(cause: Cause) -> None:
    for key in REGISTER.keys.values():
        assert gcp.steps(Effect.USE_FAILED, key, REGISTER, cause=cause)


def test_without_a_registered_version_the_versions_are_listed_with_their_states() -> None:
    key = REGISTER.keys[KEY]
    bare = replace(key, entry=structs.replace(key.entry, gcp=GcpKey()))
    (step,) = gcp.steps(Effect.KEY_DISABLED, bare, REGISTER)
    assert step.command == f"gcloud kms keys versions list {ON_KEY}"
    assert "every version" in step.text
