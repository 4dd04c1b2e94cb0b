"""The reader of Google Cloud over HTTP: what it asks for, as whom, and what stands in its place where it may not."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.key_services.gcp import REVIEWER, USER, VIEWER, Gcp, Policy, Project, speak_to
from tests.watchdog.clouds.gcp import world
from tests.watchdog.clouds.gcp.world import (
    APP,
    ASSETS,
    DATABASE,
    FILTER,
    GLOBEX,
    GLOBEX_NUMBER,
    INITECH,
    INITECH_NUMBER,
    INSTANCE,
    INSTANCE_NUMBER,
    KEY,
    OWN,
    RING,
    SINK,
    STORAGE,
    SUBSCRIPTION,
    TENANT,
    TOPIC,
    WATCH,
    WATCH_NUMBER,
    WRITER,
    account,
)
from watchdog.clouds.gcp import preflight
from watchdog.clouds.gcp.preflight import Reading
from watchdog.preflight import Checked, Outcome, Unread
from watchdog.register import Register, RegisteredKey
from watchdog.register_probe import KeyProbe
from workers.clouds.gcp.calls import Endpoints, Limits
from workers.clouds.gcp.preflight import GcpReader
from workers.preflight.interface import Reader

WATCHDOG = f"watchdog@{WATCH}.iam.gserviceaccount.com"
AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
POLICY: Policy = (
    (VIEWER, account(APP), ""), (REVIEWER, account(APP), ""),
    *((USER, account(email), "") for email in (STORAGE, DATABASE, APP)),
)  # fmt: skip
ALL_RIGHTS = {
    (APP, "resourcemanager.projects.get"), (APP, "logging.sinks.get"), (APP, "cloudkms.singleTenantHsmInstances.get"),
    (WATCHDOG, "pubsub.subscriptions.get"), (WATCHDOG, "pubsub.topics.getIamPolicy"),
}  # fmt: skip


@pytest.fixture
def gcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcp]:
    """Everything in order, as far as it can be read."""
    made = Gcp()
    for name, number in (
        (GLOBEX, GLOBEX_NUMBER), (INITECH, INITECH_NUMBER), (INSTANCE, INSTANCE_NUMBER), (WATCH, WATCH_NUMBER)
    ):  # fmt: skip
        made.projects[name] = Project(number)
    made.make_key(KEY, POLICY, versions=3).window = timedelta(days=120)
    made.rings[RING].set(made.now(), ((REVIEWER, account(APP), ""),))
    made.act("DisableCryptoKeyVersion", KEY, "1")  # registered as not in use any more
    made.liens[GLOBEX] = [
        {"name": "liens/p1", "parent": f"projects/{GLOBEX_NUMBER}", "restrictions": ["x"], "reason": "another"},
        {"name": "liens/p2", "parent": f"projects/{GLOBEX_NUMBER}",
         "restrictions": ["resourcemanager.projects.delete"], "reason": "it holds keys"},
    ]  # fmt: skip
    made.round_keys = {
        SINK: {"name": "to-acme", "destination": f"pubsub.googleapis.com/{TOPIC}", "filter": FILTER,
               "writerIdentity": WRITER, "includeChildren": True},
        TOPIC: {"bindings": [{"role": "roles/pubsub.publisher", "members": [WRITER]}]},
        SUBSCRIPTION: {"name": SUBSCRIPTION, "topic": TOPIC, "expirationPolicy": {}},
        ASSETS: {"name": ASSETS, "topic": f"projects/{WATCH}/topics/assets-globex", "expirationPolicy": {}},
    }  # fmt: skip
    made.may = set(ALL_RIGHTS)
    with made.served():
        speak_to(made, WATCHDOG, APP, tmp_path, monkeypatch)
        yield made


def reader_of(gcp: Gcp, limits: Limits | None = None) -> GcpReader:
    url = gcp.url
    places = Endpoints(kms=url, storage=url, sql=url, iam=url, projects=url, logging=url, pubsub=url)
    return GcpReader(limits, places, now=lambda: AT)


@pytest.fixture
def reader(gcp: Gcp) -> Iterator[GcpReader]:
    made = reader_of(gcp)
    yield made
    made.close()


def registered(name: str = KEY) -> tuple[RegisteredKey, Register]:
    """The world's register, in which its keys are probed as the application's account."""
    document = world.document()
    probe = KeyProbe(principal=APP)
    customers = [
        replace(
            customer,
            instances=[
                replace(one, keys=[replace(key, probe=probe) for key in one.keys]) for one in customer.instances
            ],
        )
        for customer in document.customers
    ]
    register = Register(replace(document, customers=customers))
    return register.keys[name], register


def outcomes(reader: GcpReader, name: str = KEY) -> dict[str, Checked]:
    return {one.id.removeprefix("gcp."): one for one in reader.check(*registered(name))}


def read(reader: GcpReader, name: str = KEY) -> Reading:
    return reader.read(*registered(name))


def test_the_reader_satisfies_the_contract(reader: GcpReader) -> None:
    satisfied: Reader = reader
    assert satisfied.cloud == "gcp"


def test_every_check_is_there_in_order_whatever_is_answered(gcp: Gcp, reader: GcpReader) -> None:
    wanted = [check.id for check in preflight.CHECKS]

    assert [one.id for one in reader.check(*registered())] == wanted
    gcp.keys.clear()
    gcp.may.clear()
    assert [one.id for one in reader.check(*registered())] == wanted
    gcp.accounts[WATCHDOG] = False
    gcp.revoke_tokens()
    assert [one.id for one in reader.check(*registered())] == wanted


def test_what_is_in_order_passes_and_what_nobody_can_read_is_asked_for(reader: GcpReader) -> None:
    found = outcomes(reader)

    asked = {name for name, one in found.items() if one.outcome is Outcome.CANNOT_VERIFY}
    failed = {name: one.words for name, one in found.items() if one.outcome is Outcome.FAIL}
    # The world's filter was agreed before there was a heartbeat, and its register says that there is one.
    assert list(failed) == ["sink"]
    assert "heartbeat" in failed["sink"]
    assert asked == {
        "destruction_guards", "separate_hands", "billing_account", "outer_controls", "break_glass_alerts"
    }  # fmt: skip


def test_it_changes_nothing_and_asks_each_side_as_whom_it_may(gcp: Gcp, reader: GcpReader) -> None:
    reader.check(*registered())

    asked = {(who, what) for who, what, _ in gcp.calls if what not in {"token", "generateAccessToken"}}
    assert asked == {
        (APP, "GetCryptoKey"), (APP, "ListCryptoKeyVersions"), (APP, "GetIamPolicy"), (APP, "liens.list"),
        (APP, "sinks.get"), (WATCHDOG, "topics.getIamPolicy"), (WATCHDOG, "subscriptions.get"),
    }  # fmt: skip
    assert {named for _, what, named in gcp.calls if what == "GetIamPolicy"} == {KEY, RING}
    assert {named for _, what, named in gcp.calls if what == "liens.list"} == {f"projects/{GLOBEX}"}


LATER = [
    ("destroy_window", lambda gcp: setattr(gcp.keys[KEY], "window", timedelta(days=30)), "30 days"),
    ("project_lien", lambda gcp: gcp.liens[GLOBEX].pop(), "at once"),
    ("grants_on_key", lambda gcp: gcp.grant(KEY, *(one for one in POLICY if one[1] != account(DATABASE))), DATABASE),
    ("versions_enabled", lambda gcp: gcp.act("DisableCryptoKeyVersion", KEY, "2"), "version 2: DISABLED"),
    ("versions_registered", lambda gcp: gcp.rotate(KEY), "4"),
    ("key_store", lambda gcp: setattr(gcp.keys[KEY], "level", "HSM"), "HSM"),
    ("sink_writer", lambda gcp: gcp.round_keys[TOPIC].clear(), WRITER),
    ("subscription_stays", lambda gcp: gcp.round_keys[ASSETS].pop("expirationPolicy"), "31 days"),
    ("vendor_rights", lambda gcp: gcp.grant(KEY, *POLICY, ("roles/cloudkms.admin", account(STORAGE), "")), STORAGE),
]


@pytest.mark.parametrize(("name", "change", "words"), LATER, ids=[row[0] for row in LATER])
def test_what_is_not_as_it_should_be_fails_with_its_repair(
    gcp: Gcp, reader: GcpReader, name: str, change: object, words: str
) -> None:
    before = outcomes(reader)[name]
    assert callable(change)
    change(gcp)

    after = outcomes(reader)[name]
    assert (before.outcome, after.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert words in after.words
    assert after.fix


RIGHTS = [
    ("key", VIEWER, "destroy_window", "cloudkms.cryptoKeys.get"),
    ("versions", VIEWER, "versions_enabled", "cloudkms.cryptoKeyVersions.list"),
    ("key_policy", REVIEWER, "grants_on_key", "cloudkms.cryptoKeys.getIamPolicy"),
]


@pytest.mark.parametrize(("part", "role", "check", "permission"), RIGHTS, ids=[row[0] for row in RIGHTS])
def test_a_right_on_the_key_that_is_missing_is_named(
    gcp: Gcp, reader: GcpReader, part: str, role: str, check: str, permission: str
) -> None:
    gcp.grant(KEY, *(one for one in POLICY if one[0] != role))
    gcp.rings[RING].set(gcp.now(), ())

    assert isinstance(getattr(read(reader), part), Unread)
    found = outcomes(reader)[check]
    assert found.outcome is Outcome.CANNOT_VERIFY
    assert f"{permission} on the key, as by {role} to {APP}" in (found.fix or "")


AROUND = [
    ("project_lien", (APP, "resourcemanager.projects.get"), f"projects/{GLOBEX}, as by roles/browser to {APP}"),
    ("sink", (APP, "logging.sinks.get"), f"as by roles/logging.viewer to {APP}"),
    ("sink_writer", (WATCHDOG, "pubsub.topics.getIamPolicy"), f"as by roles/iam.securityReviewer to {WATCHDOG}"),
    ("subscription_stays", (WATCHDOG, "pubsub.subscriptions.get"), f"as by roles/pubsub.viewer to {WATCHDOG}"),
]


@pytest.mark.parametrize(("check", "right", "words"), AROUND, ids=[row[0] for row in AROUND])
def test_a_right_round_the_key_that_is_missing_is_named(
    gcp: Gcp, reader: GcpReader, check: str, right: tuple[str, str], words: str
) -> None:
    gcp.may.discard(right)

    found = outcomes(reader)[check]
    assert found.outcome is Outcome.CANNOT_VERIFY
    assert right[1] in (found.fix or "")
    assert words in (found.fix or "")


@pytest.mark.parametrize(
    "how", ["throttle", "internal", "unavailable", "bad token", "html", "proxy", "redirect", "cut"]
)
def test_no_answer_is_never_a_pass_nor_a_missing_right(gcp: Gcp, reader: GcpReader, how: str) -> None:
    before = outcomes(reader)
    for operation in ("GetCryptoKey", "ListCryptoKeyVersions", "GetIamPolicy", "liens.list", "sinks.get",
                      "topics.getIamPolicy", "subscriptions.get"):  # fmt: skip
        gcp.trouble(how, operation=operation)

    found = outcomes(reader)
    assert {one.outcome for one in found.values()} == {Outcome.CANNOT_VERIFY}
    passed = [name for name, one in before.items() if one.outcome is Outcome.PASS]
    assert all(found[name].fix == f"byok-watchdog register check --key {KEY}" for name in passed)


def test_a_list_that_breaks_off_is_not_read_as_a_short_one(gcp: Gcp, reader: GcpReader) -> None:
    """The lien stands on the second page: what was not read to its end is not missing."""
    gcp.page = 1
    assert outcomes(reader)["project_lien"].outcome is Outcome.PASS
    gcp.trouble("unavailable", operation="liens.list", after=1)
    gcp.trouble("unavailable", operation="ListCryptoKeyVersions", after=1)

    found = outcomes(reader)
    assert found["project_lien"].outcome is Outcome.CANNOT_VERIFY
    assert found["versions_enabled"].outcome is Outcome.CANNOT_VERIFY


@pytest.mark.parametrize(
    ("name", "check", "fix"),
    [
        (SINK, "sink", "gcloud logging sinks create to-acme "),
        (TOPIC, "sink_writer", "gcloud pubsub topics create audit-globex "),
        (ASSETS, "subscription_stays", "gcloud pubsub subscriptions create assets-globex "),
    ],
)
def test_what_does_not_exist_is_a_failure(gcp: Gcp, reader: GcpReader, name: str, check: str, fix: str) -> None:
    del gcp.round_keys[name]

    found = outcomes(reader)[check]
    assert found.outcome is Outcome.FAIL
    assert f"{name} does not exist" in found.words
    assert (found.fix or "").startswith(fix)


def test_a_single_tenant_hsm_is_read_with_its_date(gcp: Gcp, reader: GcpReader) -> None:
    gcp.make_key(TENANT, ((VIEWER, account(APP), ""),)).level = "HSM_SINGLE_TENANT"
    gcp.round_keys[world.HSM] = {"name": world.HSM, "state": "ACTIVE", "disableTime": "2027-06-01T12:00:00Z"}

    passed = outcomes(reader, TENANT)["key_store"]
    gcp.round_keys[world.HSM]["disableTime"] = "2026-12-24T12:00:00Z"
    failed = outcomes(reader, TENANT)["key_store"]
    gcp.may.discard((APP, "cloudkms.singleTenantHsmInstances.get"))
    unread = outcomes(reader, TENANT)["key_store"]

    assert [one.outcome for one in (passed, failed, unread)] == [Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY]
    assert "2027-06-01 12:00 UTC" in passed.words
    assert "refresh" in (failed.fix or "")


def test_a_key_of_the_vendors_own_is_checked_by_the_vendors_feeds(gcp: Gcp, reader: GcpReader) -> None:
    gcp.make_key(OWN, ((VIEWER, account(APP), ""), (REVIEWER, account(APP), ""), (USER, account(STORAGE), "")))
    gcp.round_keys[world.SELF] = {"topic": f"projects/{WATCH}/topics/audit-self", "expirationPolicy": {}}

    found = outcomes(reader, OWN)
    assert found["subscription_stays"].outcome is Outcome.PASS
    assert found["sink"].outcome is Outcome.CANNOT_VERIFY


def test_a_far_end_that_hangs_is_given_up_in_time(gcp: Gcp) -> None:
    gcp.trouble("hang")
    reader = reader_of(gcp, Limits(deadline=3, connect=0.5, read=0.5))
    began = time.monotonic()
    found = reader.check(*registered())
    took = time.monotonic() - began
    reader.close()

    assert took < 10
    assert {one.outcome for one in found} == {Outcome.CANNOT_VERIFY}


def test_a_place_without_tls_is_refused() -> None:
    for name in ("projects", "logging", "pubsub"):
        with pytest.raises(ValueError, match="https"):
            Endpoints(**{name: "http://198.51.100.7"})
