"""The reading of access: whole policies, what changed in one, and deny policies, against what the register expects."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from tests.watchdog.clouds.gcp.world import (
    APP,
    APP_2,
    DATABASE,
    ENCRYPTER_DECRYPTER,
    IMPORTED,
    INITECH,
    KEY,
    ROLE,
    STORAGE,
    STORAGE_2,
    account,
    register,
)
from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.index import index_of

REGISTER = register()
INDEX = index_of(REGISTER)
AT = datetime(2026, 4, 2, 10, tzinfo=UTC)
ALL = [account(email) for email in (STORAGE, DATABASE, APP)]
TWO, ONE = ALL[:2], ALL[2:]
ENC, DEC = "roles/cloudkms.cryptoKeyEncrypter", "roles/cloudkms.cryptoKeyDecrypter"
AHEAD, FURTHER = 'request.time < timestamp("2026-05-01T00:00:00Z")', 'request.time < timestamp("2026-06-01T00:00:00Z")'
PAST = 'request.time < timestamp("2026-01-01T00:00:00Z")'
OTHER = 'resource.name.startsWith("projects/")'
CUSTOM = "projects/globex-keys/roles/other"


def binding(members: list[str], role: str = ENCRYPTER_DECRYPTER, condition: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"role": role, "members": members}
    return made | ({"condition": {"title": "t", "expression": condition}} if condition else {})


@pytest.mark.parametrize(
    ("bindings", "effect", "until"),
    [
        pytest.param([binding(ALL)], "access_granted", None, id="complete"),
        pytest.param([binding(TWO), binding(ONE)], "access_granted", None, id="several bindings add up"),
        pytest.param([binding(ALL, ENC), binding(ALL, DEC)], "access_granted", None, id="several roles add up"),
        pytest.param([binding(ALL, f"{ENCRYPTER_DECRYPTER}ViaDelegation")], "access_granted", None, id="by delegation"),
        pytest.param([binding(ALL), binding(ALL, condition=PAST)], "access_granted", None, id="an expired leftover"),
        pytest.param(
            [binding(ALL), binding([f"deleted:{ONE[0]}?uid=1"])], "access_granted", None, id="a dead entry beside"
        ),
        pytest.param([], "access_revoked", None, id="empty"),
        pytest.param([binding(TWO)], "access_revoked", None, id="one missing"),
        pytest.param([binding(ALL, "roles/cloudkms.admin")], "access_revoked", None, id="a role that cannot use keys"),
        pytest.param([binding(ALL, "roles/cloudkms.viewer")], "access_revoked", None, id="a viewer"),
        pytest.param([binding(ALL, "roles/editor")], "access_revoked", None, id="an editor"),
        pytest.param([binding(ALL, condition=PAST)], "access_revoked", None, id="a time limit already past"),
        pytest.param(
            [binding(TWO), binding([f"deleted:{ONE[0]}?uid=1"])], "access_revoked", None, id="only a dead entry"
        ),
        pytest.param(
            [binding(TWO), binding([account(APP_2)])], "access_revoked", None, id="the agent of another instance"
        ),
        pytest.param([binding(TWO), binding([f"{ONE[0]}x"])], "access_revoked", None, id="a longer name"),
        pytest.param([binding(TWO), binding(["user:x@y.example"])], "access_revoked", None, id="a person instead"),
        pytest.param(
            [binding(TWO), binding(["group:g@y.example"], "roles/viewer")],
            "access_revoked",
            None,
            id="a group of viewers",
        ),
        pytest.param([binding(ALL, DEC)], "access_reduced", None, id="decrypt only"),
        pytest.param([binding(TWO), binding(ONE, ENC)], "access_reduced", None, id="one may encrypt only"),
        pytest.param(
            [binding(TWO), binding(ONE, ENC), binding(ONE, DEC, PAST)], "access_reduced", None, id="half of it ran out"
        ),
        pytest.param([binding(TWO, DEC)], "access_revoked", None, id="the worst decides"),
        pytest.param(
            [binding(TWO), binding(ONE, CUSTOM)], "access_changed", None, id="a custom role that is not registered"
        ),
        pytest.param([binding(TWO), binding(ONE, "roles/owner")], "access_changed", None, id="an owner"),
        pytest.param([binding(TWO), binding(ONE, condition=OTHER)], "access_changed", None, id="another condition"),
        pytest.param(
            [binding(TWO), binding(ONE, condition=f"{AHEAD} && true")], "access_changed", None, id="two conditions"
        ),
        pytest.param(
            [binding(TWO), binding(ONE) | {"condition": {"title": "until may"}}],
            "access_changed",
            None,
            id="a condition that is not shown",
        ),
        pytest.param(
            [binding(TWO), binding(ONE) | {"condition": {"title": ""}}], "access_granted", None, id="an empty condition"
        ),
        pytest.param([binding(TWO), binding(["group:g@y.example"])], "access_changed", None, id="a group"),
        pytest.param([binding(TWO), binding(["domain:y.example"])], "access_changed", None, id="a domain"),
        pytest.param([binding(TWO), binding(["allUsers"])], "access_changed", None, id="everybody"),
        pytest.param(
            [binding(TWO), binding([ONE[0].upper().replace("SERVICEACCOUNT", "serviceAccount")])],
            "access_changed",
            None,
            id="other case",
        ),
        pytest.param([binding(ALL, condition=AHEAD)], "expiry_ahead", "05-01", id="timed"),
        pytest.param([binding(TWO), binding(ONE, condition=FURTHER)], "expiry_ahead", "06-01", id="one is timed"),
        pytest.param(
            [binding(TWO, condition=FURTHER), binding(ONE, condition=AHEAD)],
            "expiry_ahead",
            "05-01",
            id="the earliest end",
        ),
        pytest.param(
            [binding(ALL, condition=AHEAD), binding(ALL, condition=FURTHER)],
            "expiry_ahead",
            "06-01",
            id="the longer of two",
        ),
        pytest.param([binding(ALL, DEC), binding(ALL, ENC, AHEAD)], "expiry_ahead", "05-01", id="half of it timed"),
        pytest.param(
            [binding(TWO, condition=AHEAD), binding(ONE, CUSTOM)],
            "access_changed",
            None,
            id="unclear is worse than timed",
        ),
        pytest.param(
            ["x", {"role": 5, "members": "y"}, binding(ALL)], "access_granted", None, id="odd bindings beside"
        ),
    ],
)
def test_a_whole_policy_is_judged_by_its_worst_member(bindings: list[Any], effect: str, until: str | None) -> None:
    verdict = access.judge({"bindings": bindings}, REGISTER.keys[KEY], KEY, INDEX, AT)
    assert verdict is not None
    assert verdict.effect == effect
    assert verdict.reason.endswith(".")
    assert (f"{verdict.until:%m-%d}" if verdict.until else None) == until
    assert verdict.probe == (effect == "access_changed")


def test_only_a_dead_entry_leaves_the_fault_open() -> None:
    dead = access.judge(
        {"bindings": [binding(TWO), binding([f"deleted:{ONE[0]}?uid=1"])]}, REGISTER.keys[KEY], KEY, INDEX, AT
    )
    gone = access.judge({"bindings": [binding(TWO)]}, REGISTER.keys[KEY], KEY, INDEX, AT)
    assert dead
    assert gone
    assert (dead.open_fault, gone.open_fault) == (True, False)


def test_a_level_without_a_registered_grant_cannot_be_judged() -> None:
    assert access.judge({"bindings": []}, REGISTER.keys[IMPORTED], IMPORTED, INDEX, AT) is None


LEVEL = f"projects/{INITECH}"
EXTERNAL = next(key for key in REGISTER.keys if key.startswith(LEVEL) and "/ext/" in key)
MINE, HIS = account(APP_2), account(STORAGE_2)


def delta(*changes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "bindingDeltas": [
            {"action": one[0], "role": one[1], "member": one[2]}
            | ({"condition": {"expression": one[3]}} if len(one) > 3 else {})
            for one in changes
        ]
    }


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        pytest.param([("REMOVE", ROLE, MINE)], "access_revoked", id="the registered grant"),
        pytest.param([("remove", ROLE, MINE)], "access_revoked", id="an action in lower case"),
        pytest.param([("REMOVE", ROLE, MINE), ("ADD", ROLE, MINE)], "access_granted", id="removed and added back"),
        pytest.param([("REMOVE", ROLE, MINE), ("ADD", ROLE, MINE, AHEAD)], "expiry_ahead", id="made timed"),
        pytest.param(
            [("REMOVE", ROLE, MINE), ("ADD", ROLE, MINE, PAST)], "access_revoked", id="made timed in the past"
        ),
        pytest.param([("REMOVE", ROLE, MINE), ("ADD", ROLE, MINE, OTHER)], "access_changed", id="made conditional"),
        pytest.param([("REMOVE", ROLE, MINE), ("ADD", DEC, MINE)], "access_reduced", id="swapped for less"),
        pytest.param(
            [("REMOVE", ROLE, MINE), ("ADD", ENCRYPTER_DECRYPTER, MINE)], "access_granted", id="swapped for as much"
        ),
        pytest.param([("REMOVE", ROLE, MINE), ("ADD", ROLE, HIS)], "access_revoked", id="given to another agent"),
        pytest.param([("ADD", ROLE, MINE)], "access_granted", id="given back"),
        pytest.param([("ADD", ROLE, MINE, OTHER)], "access_changed", id="given under a condition"),
        pytest.param([("ADD", ROLE, MINE, AHEAD)], "expiry_ahead", id="given for a time"),
        pytest.param([("ADD", ROLE, MINE, PAST)], None, id="given for a time that is over"),
        pytest.param([("REMOVE", ROLE, MINE, PAST)], None, id="an expired leftover cleaned up"),
        pytest.param([("REMOVE", ENCRYPTER_DECRYPTER, MINE)], "access_changed", id="another way in"),
        pytest.param([("REMOVE", ENCRYPTER_DECRYPTER, MINE, AHEAD)], None, id="a conditional way in"),
        pytest.param([("REMOVE", ENCRYPTER_DECRYPTER, "group:g@y.example")], "access_changed", id="from a group"),
        pytest.param([("REMOVE", "roles/viewer", "group:g@y.example")], None, id="a harmless role from a group"),
        pytest.param([("REMOVE", ROLE, "user:x@y.example")], None, id="from a person"),
        pytest.param([("REMOVE", ROLE, f"deleted:{MINE}?uid=1")], None, id="a dead entry"),
        pytest.param([("REMOVE", ROLE, account(APP))], None, id="from the agent of another instance"),
        pytest.param([("REMOVE", ROLE, account(f"x{APP_2}"))], None, id="from an agent with a longer name"),
        pytest.param([("ADD", "roles/viewer", MINE)], None, id="another role given"),
        pytest.param([("WHAT", ROLE, MINE)], None, id="an unknown action"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_what_changed_is_judged_against_the_registered_grant(
    changes: list[tuple[str, ...]], effect: str | None
) -> None:
    found = access.judge_changes(access.changes_in(delta(*changes)), REGISTER.keys[EXTERNAL], LEVEL, INDEX, AT)
    assert (found.effect if found else None) == effect


def test_a_grant_given_back_under_a_condition_that_is_not_shown_must_be_probed() -> None:
    given = delta(("REMOVE", ROLE, MINE), ("ADD", ROLE, MINE))
    given["bindingDeltas"][1]["condition"] = {"title": "until may"}
    found = access.judge_changes(access.changes_in(given), REGISTER.keys[EXTERNAL], LEVEL, INDEX, AT)
    assert found is not None
    assert (found.effect, found.probe) == ("access_changed", True)


@pytest.mark.parametrize(
    ("bindings", "part"),
    [
        pytest.param([binding(ALL)], None, id="complete for all"),
        pytest.param([binding(TWO)], ONE[0], id="one of three has lost it"),
        pytest.param([binding(ONE)], None, id="two of three have lost it"),
        pytest.param([], None, id="all have lost it"),
        pytest.param([binding(TWO), binding(ONE, condition=AHEAD)], ONE[0], id="the right of one ends"),
    ],
)
def test_a_policy_speaks_of_one_member_only_when_it_is_about_that_one_alone(
    bindings: list[dict[str, Any]], part: str | None
) -> None:
    found = access.judge({"bindings": bindings}, REGISTER.keys[KEY], KEY, INDEX, AT)
    assert found is not None
    assert found.part == part


def test_a_change_speaks_of_its_member_where_the_key_has_others_and_of_the_key_where_it_has_not() -> None:
    def part(*changes: tuple[str, str, str]) -> tuple[str, str | None]:
        found = access.judge_changes(access.changes_in(delta(*changes)), REGISTER.keys[KEY], KEY, INDEX, AT)
        assert found is not None
        return str(found.effect), found.part

    taken, given = [[(action, ENCRYPTER_DECRYPTER, one) for one in ALL] for action in ("REMOVE", "ADD")]
    assert part(taken[0]) == ("access_revoked", ALL[0])
    assert part(taken[0], taken[1]) == ("access_revoked", None), "two in one record: no single one given back is all"
    assert part(given[0]) == ("access_granted", ALL[0])
    only = replace(INDEX, principals={EXTERNAL: {APP_2: access.BOTH}})
    alone = access.judge_changes(
        access.changes_in(delta(("REMOVE", ROLE, MINE))), REGISTER.keys[EXTERNAL], LEVEL, only, AT
    )
    assert alone is not None
    assert alone.part is None


ENCRYPT = "cloudkms.googleapis.com/cryptoKeyVersions.useToEncrypt"
DECRYPT = "cloudkms.googleapis.com/cryptoKeyVersions.useToDecrypt"
USE = [ENCRYPT, DECRYPT]
PUBLIC, GROUP = "principalSet://goog/public:all", "principalSet://goog/group/g@globex.example"


def ours(email: str) -> str:
    return f"principal://iam.googleapis.com/projects/-/serviceAccounts/{email}"


def rule(permissions: list[str], denied: list[str], exempt: list[str] | None = None, **more: Any) -> dict[str, Any]:
    made = {"deniedPermissions": permissions, "deniedPrincipals": denied, "exceptionPrincipals": exempt or []}
    return {"denyRule": made | more}


EXEMPT = [ours(email) for email in (STORAGE, DATABASE, APP)]


@pytest.mark.parametrize(
    ("rules", "effect"),
    [
        pytest.param([rule(USE, [PUBLIC])], "access_revoked", id="everybody"),
        pytest.param([rule([ENCRYPT], [PUBLIC]), rule([DECRYPT], [PUBLIC])], "access_revoked", id="by two rules"),
        pytest.param([rule(USE, [ours(APP)])], "access_revoked", id="one of ours"),
        pytest.param([rule([DECRYPT], [PUBLIC])], "access_reduced", id="one permission"),
        pytest.param(
            [rule([ENCRYPT], [ours(APP)]), rule([DECRYPT], [ours(STORAGE)])], "access_reduced", id="each a half"
        ),
        pytest.param([rule(USE, [PUBLIC], EXEMPT)], None, id="all exempt"),
        pytest.param([rule(USE, [PUBLIC], EXEMPT[:2])], "access_revoked", id="one not exempt"),
        pytest.param([rule(USE, [PUBLIC], [GROUP])], "access_changed", id="a group exempt"),
        pytest.param([rule(USE, [PUBLIC], [*EXEMPT, GROUP])], None, id="all exempt beside a group"),
        pytest.param([rule(USE, [PUBLIC], denialCondition={"expression": "x"})], "access_changed", id="a condition"),
        pytest.param([rule(USE, [PUBLIC], denialCondition={"title": "x"})], "access_changed", id="a hidden condition"),
        pytest.param(None, "access_changed", id="rules that are not shown"),
        pytest.param([rule(USE, [PUBLIC], exceptionPermissions=[ENCRYPT])], "access_reduced", id="a permission spared"),
        pytest.param([rule(["cloudkms.googleapis.com/*.*"], [PUBLIC])], "access_changed", id="a wildcard"),
        pytest.param([rule(["cloudkms.googleapis.com/cryptoKeyVersions.destroy"], [PUBLIC])], None, id="destroy"),
        pytest.param([rule(["storage.googleapis.com/*"], [PUBLIC])], None, id="another service"),
        pytest.param([rule(USE, [ours(APP_2)])], None, id="the agent of another instance"),
        pytest.param([rule(USE, ["principal://goog/subject/x@y.example"])], None, id="a person"),
        pytest.param(["x", {"denyRule": []}], None, id="odd rules"),
        pytest.param(
            [{"deny_rule": {"denied_permissions": USE, "denied_principals": [PUBLIC]}}],
            "access_revoked",
            id="snake case",
        ),
    ],
)
def test_a_deny_policy_hits_whom_it_does_not_name(rules: list[Any] | None, effect: str | None) -> None:
    found = access.judge_denial({"rules": rules}, REGISTER.keys[KEY], INDEX)
    assert (found.effect if found else None) == effect


def test_a_huge_policy_is_read_in_one_pass() -> None:
    crowd = [binding([f"user:u{one}@y.example" for one in range(100)], f"roles/r{other}") for other in range(100)]
    verdict = access.judge({"bindings": [*crowd, binding(ALL)]}, REGISTER.keys[KEY], KEY, INDEX, AT)
    assert verdict
    assert verdict.effect == "access_granted"
