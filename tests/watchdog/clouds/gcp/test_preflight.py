"""The pre-flight of Google Cloud as a table: what was read, what each check comes to, and the repair that it prints."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.gcp.world import (
    APP,
    APP_2,
    ASSETS,
    DATABASE,
    EKM,
    ENCRYPTER_DECRYPTER,
    EXTERNAL,
    FILTER,
    GLOBEX,
    HSM,
    INITECH,
    KEY,
    OWN,
    RING,
    ROLE,
    SINK,
    STORAGE,
    STORAGE_2,
    SUBSCRIPTION,
    TENANT,
    TOPIC,
    WATCH,
    WRITER,
    account,
    document,
)
from watchdog.clouds.gcp.names import HEARTBEAT
from watchdog.clouds.gcp.preflight import CHECKS, Missing, Reading, checks
from watchdog.preflight import Checked, Outcome, Unread
from watchdog.register import Document, Register
from watchdog.words import Owner

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
ASSETS_TOPIC = f"projects/{WATCH}/topics/assets-globex"
OPTIONS = f"--key=payroll --keyring=acme --location=europe-west3 --project={GLOBEX}"
ON_KEY = f"gcloud kms keys add-iam-policy-binding payroll --keyring=acme --location=europe-west3 --project={GLOBEX}"
UNTIL = 'request.time < timestamp("2027-03-01T00:00:00Z")'
PERSON = "user:jane@globex.example"
NEW_FILTER = f'{FILTER}\nOR log_id("{HEARTBEAT}")'


def policy(*bindings: tuple[Any, ...]) -> dict[str, Any]:
    """Make a policy of bindings: role, member, and the condition if there is one."""
    return {
        "bindings": [
            {"role": role, "members": [member]} | ({"condition": {"expression": rest[0]}} if rest else {})
            for role, member, *rest in bindings
        ]
    }


def uses(*emails: str, role: str = ENCRYPTER_DECRYPTER) -> list[tuple[str, str]]:
    return [(role, account(email)) for email in emails]


def version(state: str = "ENABLED", level: str = "SOFTWARE") -> dict[str, Any]:
    return {"state": state, "protectionLevel": level}


def key(**facts: Any) -> dict[str, Any]:
    return {
        "name": KEY,
        "destroyScheduledDuration": "10368000s",
        "primary": {"name": f"{KEY}/cryptoKeyVersions/3", "state": "ENABLED"},
        "versionTemplate": {"protectionLevel": "SOFTWARE"},
    } | facts


GIVEN = policy(*uses(STORAGE, DATABASE, APP))
SUBSCRIBED = {
    SUBSCRIPTION: {"topic": TOPIC, "expirationPolicy": {}},
    ASSETS: {"topic": ASSETS_TOPIC, "expirationPolicy": {}},
}
SUNK = {
    "destination": f"pubsub.googleapis.com/{TOPIC}",
    "filter": NEW_FILTER,
    "writerIdentity": WRITER,
    "includeChildren": True,
}
FINE = Reading(
    key=key(),
    versions={"1": version("DISABLED"), "2": version(), "3": version()},
    key_policy=GIVEN,
    ring_policy={"etag": "ACAB"},
    liens=[{"restrictions": ["resourcemanager.projects.delete"], "reason": "it holds keys"}],
    sinks={SINK: SUNK},
    topics={TOPIC: policy(("roles/pubsub.publisher", WRITER))},
    subscriptions=SUBSCRIBED,
)


def world(change: Callable[[Any], None] | None = None) -> Register:
    """The world with a filter that lets the heartbeat through, and changed as told."""
    tree = msgspec.to_builtins(document())
    tree["customers"][0]["gcp"]["sinks"][0]["filter"] = NEW_FILTER
    if change:
        change(tree)
    return Register(msgspec.convert(tree, Document))


REGISTER = world()


def at_key(tree: Any) -> Any:
    return tree["customers"][0]["instances"][0]["keys"][0]["gcp"]


def check(name: str, reading: Reading, of: Register = REGISTER, of_key: str = KEY) -> Checked:
    found = {one.id: one for one in checks(reading, of.keys[of_key], of, at=AT)}
    return found[f"gcp.{name}"]


def but(**changes: Any) -> Reading:
    return replace(FINE, **changes)


# ---------------------------------------------------------------------------------------------------------- the whole


NOTHING = Reading(
    key=Unread(why="gone away"), versions=Unread(why="gone away"), key_policy=Unread(why="gone away"),
    ring_policy=Unread(why="gone away"), liens=Unread(why="gone away"), backend=Unread(why="gone away"),
)  # fmt: skip


def test_every_check_is_there_once_in_the_same_order_whatever_was_read() -> None:
    ids = [one.id for one in CHECKS]
    for reading in (FINE, NOTHING):
        for of_key in REGISTER.keys:
            assert [one.id for one in checks(reading, REGISTER.keys[of_key], REGISTER, at=AT)] == ids
    assert len(ids) == len(set(ids))
    assert all(one.startswith("gcp.") for one in ids)


def test_nothing_read_is_nothing_passed_and_everything_says_what_to_do() -> None:
    for one in checks(NOTHING, REGISTER.keys[KEY], REGISTER, at=AT):
        assert one.outcome is UNTOLD, one.id
        assert one.fix, one.id


def test_each_check_that_can_pass_passes_when_all_is_as_it_should_be() -> None:
    found = {one.id.removeprefix("gcp."): one.outcome for one in checks(FINE, REGISTER.keys[KEY], REGISTER, at=AT)}
    asked = {"destruction_guards", "separate_hands", "billing_account", "outer_controls", "break_glass_alerts"}

    assert {name for name, outcome in found.items() if outcome is UNTOLD} == asked
    assert {outcome for name, outcome in found.items() if name not in asked} == {PASS}


def test_what_only_the_customer_knows_is_asked_with_the_name_of_the_statement() -> None:
    for name in ("destruction_guards", "separate_hands", "billing_account", "outer_controls", "break_glass_alerts"):
        fix = check(name, FINE).fix or ""
        assert f"exception.statements, check: gcp.{name}." in fix
        assert "None" not in fix


def test_only_the_vendors_rights_must_pass_before_an_exception_is_granted() -> None:
    """No line of responsibility.md 5.4 is marked (M); the least right is, in 5.1."""
    assert [one.id for one in CHECKS if one.hard] == ["gcp.vendor_rights"]


def test_a_missing_right_is_named_and_another_reason_is_not_taken_for_one() -> None:
    right = "cloudkms.cryptoKeys.get on the key"
    refused = check("destroy_window", but(key=Unread(why="403: refused", right=right)))
    silent = check("destroy_window", but(key=Unread(why="ConnectTimeout")))

    assert right in (refused.fix or "")
    assert "403: refused" in refused.words
    assert silent.fix == f"byok-watchdog register check --key {KEY}"
    assert (refused.owner, silent.owner) == (Owner.CUSTOMER, Owner.VENDOR)


# ---------------------------------------------------------------------------------------------------------- each check

Row = tuple[str, Reading, Outcome, Sequence[str]]
"""The check, what was read, the outcome, and what words or fix must hold."""

ROWS: dict[str, Row] = {
    # the window
    "a window of 120 days": ("destroy_window", FINE, PASS, ["120 days"]),
    "a window of 119 days": (
        "destroy_window", but(key=key(destroyScheduledDuration="10281600s")), FAIL, ["119 days", "never be changed"]
    ),
    "a window of a day": ("destroy_window", but(key=key(destroyScheduledDuration="86400s")), FAIL, ["24 hours"]),
    "a window that is not told": ("destroy_window", but(key=key(destroyScheduledDuration=None)), UNTOLD, []),
    "a window of another form": ("destroy_window", but(key=key(destroyScheduledDuration="P30D")), UNTOLD, []),
    # hands
    "one person with both hands": (
        "separate_hands", but(key_policy=policy(("roles/cloudkms.admin", PERSON))), FAIL,
        [PERSON, "gcloud kms keys remove-iam-policy-binding payroll", f"--member={PERSON} --role=roles/cloudkms.admin"],
    ),
    "both hands by the ring": (
        "separate_hands", but(ring_policy=policy(("roles/owner", PERSON))), FAIL,
        ["gcloud kms keyrings remove-iam-policy-binding acme"],
    ),
    "nobody seen, the ring not read": ("separate_hands", but(ring_policy=Unread(why="x", right="R")), UNTOLD, ["R"]),
    # lien and project
    "no lien": ("project_lien", but(liens=[]), FAIL, [f"liens create --project={GLOBEX}"]),
    "a lien on something else": ("project_lien", but(liens=[{"restrictions": ["x.y.z"]}]), FAIL, []),
    "a lien of an odd form": ("project_lien", but(liens=[{"restrictions": None}]), FAIL, []),
    # grants on the key
    "one account missing": (
        "grants_on_key", but(key_policy=policy(*uses(STORAGE, APP))), FAIL,
        [DATABASE, f"{ON_KEY} --member={account(DATABASE)} --role={ENCRYPTER_DECRYPTER} --condition=None"],
    ),
    "two accounts missing": (
        "grants_on_key", but(key_policy=policy(*uses(APP))), FAIL, [account(STORAGE), " && ", account(DATABASE)]
    ),
    "by the ring alone": (
        "grants_on_key", but(key_policy=policy(*uses(STORAGE, APP)), ring_policy=policy(*uses(DATABASE))), FAIL,
        [f"By the ring alone: {DATABASE}"],
    ),
    "one operation of two": (
        "grants_on_key",
        but(key_policy=policy(*uses(STORAGE, APP), *uses(DATABASE, role="roles/cloudkms.cryptoKeyDecrypter"))), FAIL,
        [DATABASE],
    ),
    "a dead account": (
        "grants_on_key",
        but(key_policy=policy(*uses(STORAGE, APP), (ENCRYPTER_DECRYPTER, f"deleted:{account(DATABASE)}?uid=1"))), FAIL,
        [DATABASE],
    ),
    "a grant that has ended": (
        "grants_on_key",
        but(key_policy=policy(
            *uses(STORAGE, APP),
            (ENCRYPTER_DECRYPTER, account(DATABASE), 'request.time < timestamp("2026-11-24T08:59:59Z")'),
        )), FAIL, [DATABASE],
    ),
    "by a group": (
        "grants_on_key", but(key_policy=policy(*uses(STORAGE, APP), (ENCRYPTER_DECRYPTER, "group:a@acme.example"))),
        UNTOLD, [DATABASE],
    ),
    # conditions
    "until a date, not agreed": (
        "lasting_grants",
        but(key_policy=policy(*uses(STORAGE, APP), (ENCRYPTER_DECRYPTER, account(DATABASE), UNTIL))), FAIL,
        ["2027-03-01", DATABASE, "--condition=None"],
    ),
    "until a date, beside a lasting one": (
        "lasting_grants",
        but(key_policy=policy(*uses(STORAGE, APP, DATABASE), (ENCRYPTER_DECRYPTER, account(DATABASE), UNTIL))), PASS,
        ["None of what the accounts need"],
    ),
    "a condition by the ring": (
        "lasting_grants",
        but(key_policy=policy(*uses(STORAGE, APP)),
            ring_policy=policy((ENCRYPTER_DECRYPTER, account(DATABASE), 'resource.name == "x"'))), FAIL, [DATABASE],
    ),
    "a condition of a stranger": (
        "lasting_grants", but(ring_policy=policy((ENCRYPTER_DECRYPTER, PERSON, UNTIL))), PASS, []
    ),
    "rights from above": ("lasting_grants", but(key_policy=policy(*uses(STORAGE, APP))), UNTOLD, [DATABASE]),
    "all by the key, the ring not read": ("lasting_grants", but(ring_policy=Unread(why="x", right="R")), PASS, []),
    "one from above, the ring not read": (
        "lasting_grants", but(key_policy=policy(*uses(STORAGE, APP)), ring_policy=Unread(why="x", right="R")), UNTOLD,
        ["R"],
    ),
    # outer controls
    "no reason is allowed": (
        "outer_controls", but(key=key(keyAccessJustificationsPolicy={})), FAIL,
        ["CUSTOMER_INITIATED_ACCESS", "gcloud kms keys update payroll", "--remove-key-access-justifications-policy"],
    ),
    "one reason is missing": (
        "outer_controls",
        but(key=key(keyAccessJustificationsPolicy={"allowedAccessReasons": ["CUSTOMER_INITIATED_ACCESS"]})), FAIL,
        ["do not allow GOOGLE_INITIATED_SYSTEM_OPERATION"],
    ),
    "both reasons are allowed": (
        "outer_controls",
        but(key=key(keyAccessJustificationsPolicy={
            "allowedAccessReasons": ["GOOGLE_INITIATED_SYSTEM_OPERATION", "CUSTOMER_INITIATED_ACCESS"]
        })), UNTOLD, [GLOBEX],
    ),
    # versions
    "an older version in use is disabled": (
        "versions_enabled", but(versions={"2": version("DISABLED"), "3": version()}), FAIL,
        ["version 2: DISABLED", f"gcloud kms keys versions enable 2 {OPTIONS}"],
    ),
    "one is scheduled": (
        "versions_enabled", but(versions={"2": version(), "3": version("DESTROY_SCHEDULED")}), FAIL,
        [f"gcloud kms keys versions restore 3 {OPTIONS} && gcloud kms keys versions enable 3 {OPTIONS}"],
    ),
    "one is destroyed": (
        "versions_enabled", but(versions={"2": version("DESTROYED"), "3": version()}), FAIL, ["original material"]
    ),
    "one is not there": ("versions_enabled", but(versions={"3": version()}), FAIL, ["version 2: MISSING"]),
    "a retired one is gone": (
        "versions_enabled", but(versions={"1": version("DESTROYED"), "2": version(), "3": version()}), PASS, ["2, 3"]
    ),
    "an unknown one is disabled": (
        "versions_enabled", but(versions={"2": version(), "3": version(), "4": version("DISABLED")}), FAIL,
        ["version 4: DISABLED"],
    ),
    "an unknown one waits for its material": (
        "versions_enabled", but(versions={"2": version(), "3": version(), "4": version("PENDING_IMPORT")}), PASS, []
    ),
    "an unknown one is enabled": (
        "versions_registered", but(versions={"2": version(), "3": version(), "40": version()}), FAIL,
        ["version 40", '{version: "40"}'],
    ),
    "an unknown one never was": (
        "versions_registered", but(versions={"3": version(), "4": version("GENERATION_FAILED")}), PASS, []
    ),
    "another primary": (
        "versions_registered", but(key=key(primary={"name": f"{KEY}/cryptoKeyVersions/2"})), FAIL, ['primary: "2"']
    ),
    "rotation is planned": (
        "versions_registered", but(key=key(nextRotationTime="2026-12-24T00:00:00Z")), PASS, ["2026-12-24"]
    ),
    # the key store
    "another level": (
        "key_store", but(versions={"2": version(level="HSM"), "3": version()}), FAIL,
        ["HSM", "the register says SOFTWARE"],
    ),
    "another level of a retired version": (
        "key_store", but(versions={"1": version(level="HSM"), "2": version(), "3": version()}), PASS, []
    ),
    "another level of the next version": (
        "key_store", but(key=key(versionTemplate={"protectionLevel": "EXTERNAL"})), FAIL, ["EXTERNAL"]
    ),
    "no level told": ("key_store", but(key={}, versions={"2": {"state": "ENABLED"}}), UNTOLD, []),
    # the sink
    "switched off": ("sink", but(sinks={SINK: SUNK | {"disabled": True}}), FAIL, ["switched off", "--no-disabled"]),
    "another filter": ("sink", but(sinks={SINK: SUNK | {"filter": FILTER}}), FAIL, ["filter", NEW_FILTER]),
    "another destination": (
        "sink", but(sinks={SINK: SUNK | {"destination": "pubsub.googleapis.com/projects/x/topics/y"}}), FAIL,
        ["another destination"],
    ),
    "an exclusion": ("sink", but(sinks={SINK: SUNK | {"exclusions": [{"name": "kms"}]}}), FAIL, ["exclusion"]),
    "an exclusion that is off": (
        "sink", but(sinks={SINK: SUNK | {"exclusions": [{"name": "kms", "disabled": True}]}}), PASS, []
    ),
    "without what is below": ("sink", but(sinks={SINK: SUNK | {"includeChildren": False}}), FAIL, ["projects below"]),
    "another writer": ("sink", but(sinks={SINK: SUNK | {"writerIdentity": "serviceAccount:x"}}), FAIL, ["writer"]),
    "no sink": ("sink", but(sinks={SINK: Missing()}), FAIL, [f"{SINK} does not exist", "sinks create to-acme"]),
    "the sink was not asked for": ("sink", but(sinks={}), UNTOLD, []),
    # its writer
    "the writer may not publish": (
        "sink_writer", but(topics={TOPIC: policy(("roles/pubsub.subscriber", WRITER))}), FAIL,
        [f"topics add-iam-policy-binding audit-globex --project={WATCH} --member={WRITER}"],
    ),
    "the writer may publish for a while": (
        "sink_writer", but(topics={TOPIC: policy(("roles/pubsub.publisher", WRITER, UNTIL))}), FAIL, []
    ),
    # subscriptions
    "one ends after a month": (
        "subscription_stays", but(subscriptions=SUBSCRIBED | {ASSETS: {"topic": ASSETS_TOPIC}}), FAIL,
        ["31 days", f"subscriptions update assets-globex --project={WATCH} --expiration-period=never"],
    ),
    "one ends after a day": (
        "subscription_stays",
        but(subscriptions=SUBSCRIBED | {SUBSCRIPTION: {"topic": TOPIC, "expirationPolicy": {"ttl": "86400s"}}}), FAIL,
        ["86400s"],
    ),
    "one is detached": (
        "subscription_stays",
        but(subscriptions=SUBSCRIBED | {ASSETS: {"topic": ASSETS_TOPIC, "detached": True, "expirationPolicy": {}}}),
        FAIL, ["not attached"],
    ),
    "one is of another topic": (
        "subscription_stays", but(subscriptions=SUBSCRIBED | {ASSETS: {"topic": TOPIC, "expirationPolicy": {}}}), FAIL,
        ["not attached"],
    ),
    "one could not be read": (
        "subscription_stays", but(subscriptions=SUBSCRIBED | {ASSETS: Unread(why="x", right="R")}), UNTOLD, ["R"]
    ),
    "one ends, one could not be read": (
        "subscription_stays", but(subscriptions={SUBSCRIPTION: {"topic": TOPIC}, ASSETS: Unread(why="x")}), FAIL, []
    ),
    # the vendor's rights
    "an administrator of the vendor's": (
        "vendor_rights", but(key_policy=policy(*uses(STORAGE, DATABASE, APP), ("roles/cloudkms.admin", account(APP)))),
        FAIL, ["not a role for using keys alone", "remove-iam-policy-binding payroll", f"--member={account(APP)}"],
    ),
    "a reader of the vendor's": (
        "vendor_rights", but(ring_policy=policy(("roles/cloudkms.viewer", account(APP)))), PASS, []
    ),
    "an account that is not registered": (
        "vendor_rights", but(ring_policy=policy(*uses(STORAGE_2))), FAIL, ["not registered for this key", STORAGE_2]
    ),
    "a person of the vendor's": (
        "vendor_rights", but(key_policy=policy((ENCRYPTER_DECRYPTER, "user:eve@acme.example"))), FAIL,
        ["user:eve@acme.example"],
    ),
    "somebody of the customer's": (
        "vendor_rights", but(key_policy=policy(("roles/owner", PERSON), *uses("x@globex-web.iam.gserviceaccount.com"))),
        PASS, [],
    ),
    "the ring was not read": ("vendor_rights", but(ring_policy=Unread(why="x", right="R")), UNTOLD, ["R"]),
    "too much by the key, the ring not read": (
        "vendor_rights", but(key_policy=policy(("roles/owner", account(APP))), ring_policy=Unread(why="x")), FAIL, [APP]
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_check_comes_to_what_was_read(row: Row) -> None:
    name, reading, outcome, told = row

    found = check(name, reading)
    assert found.outcome is outcome, found
    for words in told:
        assert words in f"{found.words}\n{found.fix}"
    assert found.outcome is PASS or found.fix


def test_every_check_that_can_fail_fails_in_the_table() -> None:
    failing = {row[0] for row in ROWS.values() if row[2] is FAIL}
    asked = {"destruction_guards", "billing_account", "break_glass_alerts"}
    assert failing == {one.id.removeprefix("gcp.") for one in CHECKS} - asked


COMMANDS = [
    command.strip()
    for name, reading, _, _ in ROWS.values()
    if (fix := check(name, reading).fix)
    for part in ([fix] if fix.startswith("gcloud ") else re.findall(r"`(gcloud [^`]*)`", fix))
    for command in part.split(" && ")
]


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_repair_is_a_command_that_can_be_pasted(command: str) -> None:
    first, *rest = shlex.split(command)
    assert first == "gcloud"
    assert not re.search(r"<|\bNone\b", command.replace("--condition=None", ""))
    assert all(rest)


# --------------------------------------------------------------------------------------------------- by the register


def test_a_window_that_the_register_does_not_know_falsifies_deadlines() -> None:
    other = world(lambda tree: at_key(tree).update(destroy_scheduled_duration="2592000s"))
    found = check("destroy_window", FINE, other)

    assert (found.outcome, found.owner) == (FAIL, Owner.VENDOR)
    assert "destroy_scheduled_duration: 10368000s" in (found.fix or "")


def test_an_agreed_end_is_no_fault() -> None:
    def agree(tree: Any) -> None:
        at_key(tree)["grants"] = [
            {"level": KEY, "role": ENCRYPTER_DECRYPTER, "members": [account(DATABASE)], "condition": UNTIL},
            {"level": KEY, "role": ENCRYPTER_DECRYPTER, "members": [account(STORAGE), account(APP)]},
        ]

    timed = but(key_policy=policy(*uses(STORAGE, APP), (ENCRYPTER_DECRYPTER, account(DATABASE), UNTIL)))
    later = UNTIL.replace("2027", "2028")
    assert check("lasting_grants", timed, world(agree)).outcome is PASS
    other = but(key_policy=policy(*uses(STORAGE, APP), (ENCRYPTER_DECRYPTER, account(DATABASE), later)))
    assert check("lasting_grants", other, world(agree)).outcome is FAIL


def test_an_account_has_no_more_than_it_needs() -> None:
    def reads_only(tree: Any) -> None:
        tree["customers"][0]["instances"][0]["keys"][0]["access"][1]["operations"] = ["decrypt"]

    found = check("vendor_rights", FINE, world(reads_only))
    assert found.outcome is FAIL
    assert f"{account(DATABASE)} has {ENCRYPTER_DECRYPTER} (it needs only to decrypt)" in found.words
    repair = check("grants_on_key", but(key_policy=policy(*uses(STORAGE, APP))), world(reads_only)).fix or ""
    assert f"--member={account(DATABASE)} --role=roles/cloudkms.cryptoKeyDecrypter " in repair


def test_a_registered_custom_role_is_read_by_its_permissions() -> None:
    given = but(key_policy=policy(*uses(STORAGE_2, APP_2, role=ROLE)))
    assert check("grants_on_key", given, of_key=EXTERNAL).outcome is PASS
    assert check("vendor_rights", given, of_key=EXTERNAL).outcome is PASS


def test_a_registered_heartbeat_that_the_agreed_filter_stops_is_told() -> None:
    old = world(lambda tree: tree["customers"][0]["gcp"]["sinks"][0].update(filter=FILTER))
    same = but(sinks={SINK: SUNK | {"filter": FILTER}})
    found = check("sink", same, old)
    assert (found.outcome, found.owner) == (FAIL, Owner.VENDOR)
    assert HEARTBEAT in (found.fix or "")

    def silence(tree: Any) -> None:
        tree["customers"][0]["gcp"]["sinks"][0]["filter"] = FILTER
        tree["customers"][0]["gcp"]["projects"][0]["heartbeat"] = False

    assert check("sink", same, world(silence)).outcome is PASS


def test_where_no_sink_covers_the_project_nothing_is_said_of_one() -> None:
    for name in ("sink", "sink_writer"):
        found = check(name, FINE, of_key=EXTERNAL)
        assert found.outcome is UNTOLD
        assert INITECH in found.words
    assert check("sink", FINE, of_key=OWN).outcome is UNTOLD


def test_without_a_registered_account_nothing_is_said_of_its_rights() -> None:
    def nobody(tree: Any) -> None:
        tree["customers"][0]["gcp"]["principals"] = []
        tree["customers"][0]["instances"][0]["keys"][0]["access"] = []
        at_key(tree)["grants"] = []

    found = check("grants_on_key", FINE, world(nobody))
    assert (found.outcome, found.owner) == (UNTOLD, Owner.VENDOR)
    assert check("lasting_grants", FINE, world(nobody)).outcome is UNTOLD


STORES: dict[str, tuple[str, Any, Outcome, str]] = {
    "an HSM that lives on": (TENANT, {"state": "ACTIVE", "disableTime": "2027-06-01T00:00:00Z"}, PASS, "2027-06-01"),
    "an HSM that soon ends": (TENANT, {"state": "ACTIVE", "disableTime": "2027-01-01T00:00:00Z"}, FAIL, "2027-01-01"),
    "an HSM that is off": (TENANT, {"state": "DISABLED", "disableTime": "2027-06-01T00:00:00Z"}, FAIL, "DISABLED"),
    "an HSM without a date": (TENANT, {"state": "ACTIVE"}, UNTOLD, "disableTime"),
    "an HSM not read": (TENANT, Unread(why="x", right="the right to get it"), UNTOLD, HSM),
    "an HSM not registered": (TENANT, None, UNTOLD, "not registered"),
    "a manager's certificate holds": (
        EXTERNAL, {"serviceResolvers": [{"serverCertificates": [{"notAfterTime": "2027-06-01T00:00:00Z"}]}]}, PASS,
        "2027-06-01",
    ),
    "a manager's certificate ends": (
        EXTERNAL, {"serviceResolvers": [{"serverCertificates": [{"notAfterTime": "2026-12-01T00:00:00Z"}]}]}, FAIL, EKM
    ),
    "the next certificate is pinned beside": (
        EXTERNAL,
        {"serviceResolvers": [{"serverCertificates": [
            {"notAfterTime": "2026-12-01T00:00:00Z"}, {"notAfterTime": "2028-01-01T00:00:00Z"}
        ]}]}, PASS, "2028-01-01",
    ),
    "a certificate without a date": (EXTERNAL, {"serviceResolvers": [{"serverCertificates": [{}]}]}, UNTOLD, EKM),
}  # fmt: skip


@pytest.mark.parametrize(("of_key", "backend", "outcome", "words"), STORES.values(), ids=STORES)
def test_what_holds_a_key_is_looked_at(of_key: str, backend: Any, outcome: Outcome, words: str) -> None:
    level = "HSM_SINGLE_TENANT" if of_key == TENANT else "EXTERNAL_VPC"
    reading = but(key={}, versions={"1": version(level=level)}, backend=backend)

    found = check("key_store", reading, of_key=of_key)
    assert found.outcome is outcome
    assert words in found.words


def test_the_ring_in_a_repair_is_the_keys_own() -> None:
    found = check("separate_hands", but(ring_policy=policy(("roles/cloudkms.admin", PERSON))))
    assert RING.rpartition("/")[2] in (found.fix or "")
