"""What does not fit together in the Google Cloud sections of a register is found, with its place and its remedy."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.samples import SAMPLES
from tests.samples_gcp import register_of
from tests.watchdog.clouds.gcp.world import (
    APP,
    APP_2,
    ENCRYPTER_DECRYPTER,
    GLOBEX,
    GLOBEX_NUMBER,
    GLOBEX_ORG,
    INITECH,
    INITECH_NUMBER,
    INITECH_ORG,
    KEY,
    SELF,
    STORAGE,
    SUBSCRIPTION,
    TOPIC,
    VENDOR_ORG,
    WATCH_NUMBER,
    document,
)
from watchdog.clouds.gcp.fit import findings
from watchdog.register import Document, Register

SECTION = "customers[0].gcp"
FIRST = "customers[0].instances[0].keys[0]"
EXTERNAL = "customers[1].instances[0].keys[0]"


def found(change: Callable[[Any], object]) -> list[tuple[str, str]]:
    facts = msgspec.to_builtins(document())
    change(facts)
    return [(place, text) for place, text, fix in findings(Register(msgspec.convert(facts, Document))) if fix]


def gcp(facts: Any, customer: int = 0) -> Any:
    return facts["customers"][customer]["gcp"]


def key(facts: Any, customer: int = 0) -> Any:
    return facts["customers"][customer]["instances"][0]["keys"][0]


def grant(facts: Any, customer: int = 0) -> Any:
    return key(facts, customer)["gcp"]["grants"][0]


def test_a_register_that_fits_has_no_findings() -> None:
    assert found(lambda _: None) == []


def test_the_world_of_the_samples_fits() -> None:
    world = SAMPLES / "gcp" / "world.json"
    if not world.exists():
        pytest.skip(f"THE LABELLED SAMPLES ARE ABSENT: {world} was not checked")
    assert list(findings(Register(register_of(json.loads(world.read_text(encoding="utf-8")))))) == []


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        # the key's name and project
        (lambda f: key(f).update(key=KEY.replace(GLOBEX, "globex-other")), f"{FIRST}.key", "not one of the customer's"),
        (lambda f: key(f).update(key=KEY.replace(GLOBEX, INITECH)), f"{FIRST}.key", "not one of the customer's"),
        (lambda f: key(f).update(key=KEY.replace(GLOBEX, GLOBEX_NUMBER)), f"{FIRST}.key", "by the number"),
        (lambda f: key(f).update(key=KEY.replace("west3", "west3!")), f"{FIRST}.key", "no location"),
        (lambda f: key(f).update(key=KEY.replace("acme", "ac me")), f"{FIRST}.key", "no name of a key ring"),
        (lambda f: key(f).update(owner="vendor"), f"{FIRST}.key", "the key is the vendor's, but"),
        # its versions
        (lambda f: key(f).pop("gcp"), f"{FIRST}.gcp.versions", "no version in use"),
        (lambda f: key(f)["gcp"].update(primary="1"), f"{FIRST}.gcp.primary", "not among the versions in use"),
        (lambda f: key(f)["gcp"]["versions"].append({"version": "2"}), f"{FIRST}.gcp.versions[3].version", "already"),
        # who uses it
        (lambda f: key(f)["access"][0].update(principal=APP_2), f"{FIRST}.access[0].principal", "not registered"),
        (lambda f: key(f)["access"][0].update(operations=["sign"]), f"{FIRST}.access[0].operations[0]", "'sign'"),
        (
            lambda f: gcp(f)["principals"][0].update(operations=["decrypt"]),
            f"{FIRST}.access[0].operations[0]",
            "is registered without encrypt",
        ),
        (
            lambda f: [one.update(operations=["decrypt"]) for one in key(f)["access"]],
            f"{FIRST}.access",
            "no principal is registered to encrypt",
        ),
        (lambda f: (gcp(f)["principals"].clear(), key(f).pop("access")), f"{FIRST}.access", "no principal"),
        (
            lambda f: gcp(f)["principals"].append({"email": STORAGE}),
            f"{SECTION}.principals[3].email",
            "already",
        ),
        # what lets them
        (lambda f: key(f)["gcp"].update(grants=[]), FIRST, "nothing registered grants"),
        (lambda f: grant(f).update(level=INITECH_ORG), f"{FIRST}.gcp.grants[0].level", "does not reach this key"),
        (
            lambda f: grant(f).update(role="roles/cloudkms.viewer"),
            f"{FIRST}.gcp.grants[0].role",
            "does not let anybody",
        ),
        (
            lambda f: grant(f).update(role=f"projects/{GLOBEX}/roles/keyUse"),
            f"{FIRST}.gcp.grants[0].role",
            "is not registered",
        ),
        (
            lambda f: gcp(f, 1)["custom_roles"][0].update(permissions=["cloudkms.cryptoKeys.get"]),
            f"{EXTERNAL}.gcp.grants[0].role",
            "without a permission",
        ),
        (
            lambda f: grant(f).update(members=[f"serviceAccount:{APP_2}"]),
            f"{FIRST}.gcp.grants[0].members[0]",
            "none of the vendor's",
        ),
        # what stands behind it
        (lambda f: key(f)["gcp"].update(backend="x"), f"{FIRST}.gcp.backend", "has no backend"),
        (lambda f: gcp(f, 1).update(ekm_connections=[]), f"{EXTERNAL}.gcp.backend", "not registered"),
        # the projects and what is above them
        (
            lambda f: gcp(f, 1)["projects"].append(gcp(f)["projects"][0] | {"number": "930000000199"}),
            "customers[1].gcp.projects[1].id",
            "already",
        ),
        (
            lambda f: gcp(f, 1)["projects"][0].update(number=GLOBEX_NUMBER),
            "customers[1].gcp.projects[0].number",
            "already",
        ),
        (
            lambda f: gcp(f)["projects"][0].update(number=WATCH_NUMBER),
            f"{SECTION}.projects[0].number",
            "vendor.gcp.projects[0].number",
        ),
        (lambda f: gcp(f)["projects"][0]["ancestors"].pop(), f"{SECTION}.projects[0].ancestors", "not among"),
        (lambda f: gcp(f)["projects"][0]["ancestors"].reverse(), f"{SECTION}.projects[0].ancestors", "not the last"),
        (lambda f: gcp(f).pop("organization"), f"{SECTION}.projects[0].ancestors", "not the customer's organisation"),
        (lambda f: gcp(f).update(organization=VENDOR_ORG), f"{SECTION}.organization", "the vendor's"),
        (lambda f: gcp(f).update(vendor_project="acme-other"), f"{SECTION}.vendor_project", "not one of the vendor's"),
        # the feeds
        (lambda f: gcp(f)["feeds"].clear(), f"{SECTION}.feeds", "nothing can be heard"),
        (
            lambda f: gcp(f, 1)["feeds"][0].update(subscription=SUBSCRIPTION),
            "customers[1].gcp.feeds[0].subscription",
            "already",
        ),
        (
            lambda f: gcp(f, 1)["feeds"][0].update(subscription=SELF.replace("acme-watch", WATCH_NUMBER)),
            "customers[1].gcp.feeds[0].subscription",
            "already",
        ),
        (lambda f: gcp(f, 1)["feeds"][0].update(topic=TOPIC), "customers[1].gcp.feeds[0].topic", "somebody else"),
        (
            lambda f: gcp(f)["feeds"][0].update(topic="projects/elsewhere/topics/audit"),
            f"{SECTION}.feeds[0].topic",
            "no project of the vendor",
        ),
        (
            lambda f: gcp(f)["sinks"][0].update(destination=TOPIC),
            f"{SECTION}.sinks[0].destination",
            "not the topic",
        ),
        (
            lambda f: gcp(f)["sinks"][0].update(
                destination="pubsub.googleapis.com/projects/acme-watch/topics/audit-initech"
            ),
            f"{SECTION}.sinks[0].destination",
            "not the topic of a feed of this customer",
        ),
        (lambda f: gcp(f)["sinks"][0].update(scope=INITECH_ORG), f"{SECTION}.sinks[0].scope", "is not where"),
        (
            lambda f: gcp(f)["sinks"][0].update(scope=INITECH_ORG, name=f"{INITECH_ORG}/sinks/to-acme"),
            f"{SECTION}.sinks[0].scope",
            "not registered for this customer",
        ),
        (lambda f: gcp(f)["sinks"][0].update(writer_identity=APP), f"{SECTION}.sinks[0].writer_identity", "no service"),
        (
            lambda f: gcp(f).update(asset_feeds=[f"projects/{INITECH_NUMBER}/feeds/keywatch"]),
            f"{SECTION}.asset_feeds[0]",
            "lies in nothing",
        ),
        (lambda f: gcp(f)["feeds"].pop(), f"{SECTION}.asset_feeds[0]", "no feed of kind assets"),
    ],
)
def test_what_does_not_fit_is_found_at_its_place(change: Callable[[Any], object], place: str, words: str) -> None:
    told = found(change)
    assert any(where == place and words in text for where, text in told), told


def test_a_project_may_be_named_by_its_number_where_records_do_so() -> None:
    def change(facts: Any) -> None:
        gcp(facts)["sinks"][0].update(
            name=f"projects/{GLOBEX_NUMBER}/sinks/to-acme",
            scope=f"projects/{GLOBEX}",
            destination=f"pubsub.googleapis.com/{TOPIC.replace('acme-watch', WATCH_NUMBER)}",
        )

    assert found(change) == []


@pytest.mark.parametrize(
    "level", [GLOBEX_ORG, f"projects/{GLOBEX}", f"projects/{GLOBEX_NUMBER}", KEY.rpartition("/cryptoKeys/")[0]]
)
def test_a_grant_may_stand_at_any_level_above_the_key(level: str) -> None:
    assert found(lambda facts: grant(facts).update(level=level, role=ENCRYPTER_DECRYPTER)) == []


def test_a_group_may_hold_the_grant_although_its_members_are_not_known() -> None:
    assert found(lambda facts: grant(facts).update(members=["group:key-users@globex.example"])) == []
