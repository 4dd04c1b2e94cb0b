"""Whatever arrives, nothing raises, every message is accounted for once, and what triage drops has no meaning."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.watchdog.clouds.gcp.events import asset, audit, policy_asset, pushed
from tests.watchdog.clouds.gcp.test_recorded import EXPECTED, RECORDED
from tests.watchdog.clouds.gcp.world import (
    APP,
    ASSET_FEED,
    EKM,
    ENCRYPTER_DECRYPTER,
    GLOBEX,
    GLOBEX_NUMBER,
    GLOBEX_ORG,
    HSM,
    IMPORTS,
    INSTANCE,
    KEY,
    PERIMETER,
    ROLE,
    SINK,
    STORAGE,
    SUBSCRIPTION,
    TOPIC,
    WATCH,
    register,
)
from watchdog.cloud import Broken, Dropped, Entry
from watchdog.clouds import gcp
from watchdog.clouds.gcp import kms, services
from watchdog.clouds.gcp.uses import USES
from watchdog.words import NOT_A_SIGNAL, Effect

REGISTER = register()
RELAXED = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])

WORDS = st.sampled_from(
    [
        KEY,
        f"{KEY}/cryptoKeyVersions/3",
        f"{KEY}/cryptoKeyVersions/new",
        IMPORTS,
        f"projects/{GLOBEX}",
        GLOBEX_ORG,
        f"projects/{GLOBEX_NUMBER}",
        EKM,
        HSM,
        ROLE,
        SINK,
        TOPIC,
        SUBSCRIPTION,
        ASSET_FEED,
        PERIMETER,
        ENCRYPTER_DECRYPTER,
        f"serviceAccount:{APP}",
        f"deleted:serviceAccount:{APP}?uid=1",
        "group:x@globex.example",
        "allUsers",
        STORAGE,
        "ADD",
        "REMOVE",
        "state",
        "DISABLED",
        "ENABLED",
        "cloudkms.googleapis.com",
        "includedPermissions",
        "status",
        'request.time < timestamp("2026-06-01T00:00:00Z")',
        "request.time < timestamp('9999-12-31T23:59:59-23:00')",
        "0000-00-00T00:00:00Z",
        "cloudkms.disableBeforeDestroy",
        "gcp.restrictServiceUsage",
        "principalSet://goog/public:all",
        "cloudkms.googleapis.com/cryptoKeyVersions.useToDecrypt",
        "keyAccessJustificationsPolicy",
        "",
        "projects/",
        "/",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
    st.text(),
)
NAMES = st.sampled_from(
    [
        "bindings",
        "members",
        "role",
        "condition",
        "expression",
        "rules",
        "denyRule",
        "deniedPermissions",
        "deniedPrincipals",
        "exceptionPrincipals",
        "denialCondition",
        "name",
        "state",
        "status",
        "spec",
        "resources",
        "restrictedServices",
        "values",
        "allowedValues",
        "deniedValues",
        "enforce",
        "services",
        "violations",
        "type",
        "subject",
        "includedPermissions",
        "included_permissions",
        "paths",
        "bindingDeltas",
        "auditConfigDeltas",
        "action",
        "member",
        "service",
        "filter",
        "disabled",
        "exclusions",
        "destination",
        "destroyTime",
        "primary",
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | WORDS, inner, max_size=4),
    max_leaves=10,
)
RULES = (*kms.RULES, *services.RULES)
OPERATIONS = st.sampled_from(
    [(rule.service, rule.operation) for rule in RULES] + [("cloudkms.googleapis.com", name) for name in USES.values()]
)
REQUESTS = st.sampled_from(
    [
        "name",
        "policy",
        "updateMask",
        "update_mask",
        "cryptoKeyVersion",
        "cryptoKey",
        "cryptoKeyVersionId",
        "parent",
        "resource",
        "role",
        "servicePerimeter",
        "servicePerimeters",
        "constraint",
        "projectId",
        "destinationParent",
        "serviceNames",
        "serviceIds",
        "consumerPolicy",
        "enableRules",
        "resourceName",
        "billingAccountName",
        "sinkName",
        "sink",
        "topic",
        "subscription",
        "feed",
        "singleTenantHsmInstanceProposal",
        "policyId",
        "consumerProjectId",
    ]
)
CONTAINERS = st.sampled_from(
    [
        f"projects/{GLOBEX}",
        GLOBEX_ORG,
        f"projects/{INSTANCE}",
        f"projects/{WATCH}",
        "projects/initech-vault",
        "projects/x",
    ]
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """An entry of a known operation with some of its fields replaced by anything."""
    service, name = draw(OPERATIONS)
    request = draw(st.none() | st.dictionaries(REQUESTS, JSON, max_size=4))
    made = audit(name, draw(WORDS), request, service=service, log=draw(CONTAINERS), by=draw(WORDS))
    payload = made["protoPayload"]
    extras = ["status", "metadata", "serviceData", "response", "resourceName", "authenticationInfo", "serviceName"]
    for field in draw(st.lists(st.sampled_from([*extras, "request", "requestMetadata"]), max_size=3)):
        payload[field] = draw(JSON)
    for field in draw(
        st.lists(st.sampled_from(["operation", "split", "resource", "timestamp", "logName"]), max_size=2)
    ):
        made[field] = draw(JSON)
    return made


ASSET_CHANGES = st.one_of(
    st.builds(asset, WORDS, JSON, JSON, st.sampled_from(["CryptoKey", "CryptoKeyVersion", "EkmConnection"])),
    st.builds(policy_asset, WORDS, JSON, JSON),
    st.dictionaries(st.sampled_from(["asset", "priorAsset", "deleted", "window", "name", "asset_type"]), JSON),
)


def check(body: bytes) -> None:
    for known in (None, REGISTER):
        unpacked = gcp.unpack(body, register=known, first=7)
        again = gcp.unpack(body, register=known, first=7, detail=True)
        assert unpacked.entries == again.entries
        assert [one.number for one in unpacked.broken] == [one.number for one in again.broken]
        assert unpacked.dropped_count == again.dropped_count == len(again.dropped)
        found: list[Entry | Broken | Dropped] = [*again.entries, *again.broken, *again.dropped]
        assert sorted(one.number for one in found) == list(range(7, 7 + len(found)))
        for entry in unpacked.entries:
            for signal in gcp.meaning(entry.raw, REGISTER):
                assert signal.reason
                assert (signal.key or KEY) in REGISTER.keys
                assert signal.resource in {None, f"{signal.key}/cryptoKeyVersions/{signal.version}"}
                assert (signal.resource is None) == (signal.version is None)
                assert signal.effect not in NOT_A_SIGNAL or signal.key is None
                assert signal.deadline is None or signal.deadline.tzinfo is not None
                assert signal.event_id == entry.event_id or signal.effect is Effect.UNREADABLE


@RELAXED
@given(st.binary(max_size=200))
def test_any_bytes_are_taken(body: bytes) -> None:
    check(body)
    assert gcp.meaning(body, REGISTER)


@RELAXED
@given(JSON)
def test_any_json_is_taken(content: Any) -> None:
    body = json.dumps(content).encode()
    check(body)
    assert gcp.meaning(body, REGISTER)


@RELAXED
@given(entries() | ASSET_CHANGES)
def test_any_mutated_message_is_taken_in_every_wrapper(made: dict[str, Any]) -> None:
    pull = {"receivedMessages": [{"message": pushed(made)["message"]}, {"message": made}, made]}
    for content in (made, pushed(made), pull, {"specversion": "1.0", "data": made}, [made, made]):
        body = json.dumps(content).encode()
        check(body)
        assert gcp.meaning(body, REGISTER)


@RELAXED
@given(entries() | ASSET_CHANGES)
def test_what_triage_drops_has_no_meaning(made: dict[str, Any]) -> None:
    body = json.dumps(made).encode()
    for known in (None, REGISTER):
        if gcp.unpack(body, register=known).dropped_count:
            effects = {signal.effect for signal in gcp.meaning(body, REGISTER)}
            # Without a register a forged read of a watched key cannot be told from any other read, nor need it be.
            assert effects <= ({Effect.NO_EFFECT} if known else {Effect.NO_EFFECT, Effect.UNTRUSTED})


@RELAXED
@given(st.lists(entries() | ASSET_CHANGES | JSON, max_size=5), st.integers(0, 5), st.binary(max_size=20))
def test_lines_account_for_every_message_once(made: list[Any], at: int, rubbish: bytes) -> None:
    lines = [json.dumps(one).encode() for one in made]
    check(b"\n".join([*lines[:at], rubbish.replace(b"\n", b""), *lines[at:]]))


@RELAXED
@given(st.sampled_from(EXPECTED), st.data())
def test_a_recorded_event_may_be_damaged_anywhere(entry: dict[str, Any], data: st.DataObject) -> None:
    body = bytearray((RECORDED / entry["file"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    check(bytes(body))
    assert gcp.meaning(bytes(body), REGISTER)
