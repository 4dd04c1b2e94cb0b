"""The prober of Azure against Azure in memory, by the real SDKs over HTTPS: each answer, and no more than asked for."""

import ast
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import ServiceRequestError
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from tests.house.tree import ROOT
from tests.key_services.azure import (
    ENCRYPTION_USER,
    POLICY_OF_A_STORE,
    Azure,
    Key,
    Store,
    Vault,
)
from watchdog.clouds.azure.probe import DELETED, LOST, OTHERS, PERMITTED, RECOVERY_LEVEL, UNRESOLVED, judge
from watchdog.health import Health, Mark, Origin, add
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import Answer, Before, Finding, Probed, Question, before
from watchdog.register import Document, Register, RegisteredKey
from watchdog.words import Effect, Fault, Means
from workers.clouds.azure.identities import Clock, Identity, Limits, NoCaller
from workers.clouds.azure.probing import ALGORITHM, AzureProber, said_of
from workers.probes.interface import Canary, Prober

APP = "a9900000-1111-4222-8333-000000000001"
PRINCIPAL = "b5900000-1111-4222-8333-000000000b01"
ACME = "a0000000-1111-4222-8333-00000000acde"
GLOBEX = "b0000000-1111-4222-8333-000000000b01"
MOVED = "c0000000-1111-4222-8333-000000000c01"
HOST, OWN_HOST = "glbx-data-kv.vault.azure.net", "acme-own-kv.vault.azure.net"
KEY, CONTROL = f"https://{HOST}/keys/data-cmk", f"https://{OWN_HOST}/keys/control"
V1, V2, V3 = "1" * 32, "abcdef" * 5 + "22", "9" * 32
BLOB = "https://acmedata.blob.core.windows.net/instance/canary"
SERVER = (
    "/subscriptions/a5ab0000-1111-4222-8333-00000000acde/resourceGroups/rg-acme/providers/"
    "Microsoft.DBforMySQL/flexibleServers/acme-db"
)
STATE_AND_USE = (Question.STATE, Question.USE)


def vault_id(subscription: str, name: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/{name}"


def register(
    *, versions: Sequence[str] = (V1, V2), probe: dict[str, Any] | None = None, key: str = KEY, host: str = HOST,
    follows: bool = False, app: str | None = APP, own_app: str = APP,
) -> Register:  # fmt: skip
    globex, acme = "b5ab0000-1111-4222-8333-000000000b01", "a5ab0000-1111-4222-8333-00000000acde"
    entry = {
        "key": key,
        "cloud": "azure",
        "azure": {"versions": [{"version": one} for one in versions], "follows_latest": follows},
        "probe": {"control": CONTROL, **(probe or {})},
    }
    customer = {
        "id": "globex",
        "azure": {
            "tenant": GLOBEX,
            "subscriptions": [globex],
            "service_principal": {"object_id": PRINCIPAL, "app_id": app} if app else None,
            "containers": [{"id": vault_id(globex, "glbx-data-kv"), "host": host, "purge_protection": True}],
        },
        "instances": [{"id": "globex-1", "keys": [entry]}],
    }
    vendor = {
        "tenant": ACME,
        "subscriptions": [acme],
        "service_principal": {"object_id": "a5900000-1111-4222-8333-0000000000aa", "app_id": own_app},
        "containers": [{"id": vault_id(acme, "acme-own-kv"), "host": OWN_HOST, "purge_protection": True}],
    }
    return Register(
        msgspec.convert({"version": 1, "vendor": {"name": "Acme", "azure": vendor}, "customers": [customer]}, Document)
    )


@dataclass
class World:
    """Azure with a customer's vault, the vendor's own, and a prober that is led there."""

    azure: Azure
    vault: Vault
    own: Vault
    key: Key
    environment: dict[str, str]
    probers: list[AzureProber] = field(default_factory=list)
    ticks: float = 0.0

    def prober(self, limits: Limits | None = None, **environment: str) -> AzureProber:
        made = AzureProber(
            limits or Limits(),
            environment={**self.environment, **environment},
            now=lambda: self.azure.now,
            monotonic=lambda: time.monotonic() + self.ticks,
        )
        self.probers.append(made)
        return made

    def ask(
        self, *questions: Question, prober: AzureProber | None = None, canaries: Sequence[Canary] = (),
        known: Register | None = None,
    ) -> list[Finding]:  # fmt: skip
        known = known or register()
        prober = prober or (self.probers[-1] if self.probers else self.prober())
        return list(prober.ask(the_key(known), known, questions or STATE_AND_USE, canaries))

    def judged(self, look_back: Before | None = None, known: Register | None = None, **asked: Any) -> Probed:
        known = known or register()
        found = self.ask(*Question, known=known, **asked)
        return judge(found, the_key(known), known, look_back or passed(self), at=self.azure.now)

    def asked(self, host: str = HOST) -> list[tuple[str, str]]:
        return [(one.method, one.path) for one in self.azure.calls if one.host == host and one.app]


def the_key(known: Register) -> RegisteredKey:
    return next(iter(known.keys.values()))


def passed(world: World) -> Before:
    return Before(passed_at=world.azure.now - timedelta(minutes=5))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with Azure() as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        vault, own = azure.vault(HOST, GLOBEX), azure.vault(OWN_HOST, ACME)
        key = azure.key(vault, "data-cmk", V1, V2)
        azure.key(own, "control", V3)
        for one, tenant in ((vault, GLOBEX), (own, ACME)):
            azure.grant(one, APP)
            azure.apps[tenant, APP] = ""
        azure.secrets[APP] = "the secret"
        made = World(azure, vault, own, key, {"AZURE_CLIENT_SECRET": "the secret"})
        yield made
        for prober in made.probers:
            prober.close()


def answers(findings: Sequence[Finding], question: Question) -> list[Answer]:
    return [one.answer for one in findings if one.question is question]


# ------------------------------------------------------------------------------------------------------ what is proven


def test_a_prober_keeps_the_contract(world: World) -> None:
    prober: Prober = world.prober()
    assert "azure" == prober.cloud


def test_each_version_in_use_is_read_and_unwrapped_remotely(world: World) -> None:
    found = world.ask()

    assert [(Question.STATE, V1), (Question.STATE, V2), (Question.USE, V1), (Question.USE, V2)] == [
        (one.question, one.version) for one in found
    ]
    assert {Answer.OK} == {one.answer for one in found}
    assert {("POST", f"/keys/data-cmk/{one}/unwrapkey") for one in (V1, V2)} <= set(world.asked())


def test_nothing_but_reads_and_unwraps_is_asked_of_a_vault(world: World) -> None:
    known = register(probe={"canary": True})
    canaries, _ = world.prober().make_canaries(the_key(known), known)
    world.ask(*Question, canaries=canaries)
    world.azure.delete(world.vault, "data-cmk")
    world.ask(*Question, canaries=canaries)

    assert {"GET", "POST"} == {method for method, _ in world.asked()}
    assert all(path.endswith("/unwrapkey") for method, path in world.asked() if method == "POST")


READS = {
    "get_key", "get_deleted_key", "list_properties_of_key_versions", "get_cryptography_client", "unwrap_key", "key_id",
    "from_jwk", "close", "vault_url",
}  # fmt: skip
LOCAL = {"wrap_key"}
"""Only ever called on a client that was made from public material, and has no vault."""


@pytest.mark.parametrize("name", ["probing.py", "identities.py"])
def test_nothing_that_changes_a_key_is_in_the_code_at_all(name: str) -> None:
    tree = ast.parse((ROOT / "workers/clouds/azure" / name).read_text(encoding="utf-8"))
    every = {one for client in (KeyClient, CryptographyClient) for one in dir(client) if not one.startswith("_")}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    asked = [
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "HttpRequest"
    ]
    assert {"purge_deleted_key", "begin_delete_key", "update_key_properties"} <= every
    assert (called | named) & every <= READS | LOCAL | {"send_request"}
    assert {"'GET'"} >= set(asked), "what is asked of stores only reads"


def test_every_question_is_answered(world: World) -> None:
    found = world.ask(*Question)
    assert set(Question) == {one.question for one in found}
    assert [Answer.NOT_ASKED] == answers(found, Question.GRANTS)


def test_the_state_tells_what_pre_flight_looks_at(world: World) -> None:
    world.vault.purge_protection, world.vault.retention = False, 30
    end = world.azure.now + timedelta(days=20)
    world.key.versions[V2].expires = end

    one, other = world.ask(Question.STATE)

    assert "CustomizedRecoverable+Purgeable" == one.detail[RECOVERY_LEVEL]
    assert ("30", "RSA") == (one.detail["recoverable_days"], one.detail["key_type"])
    assert "encrypt decrypt sign verify wrapKey unwrapKey" == one.detail[PERMITTED]
    assert (None, end) == (one.deadline, other.deadline)


def test_without_registered_versions_the_newest_is_asked(world: World) -> None:
    assert [V2] == [one.version for one in world.ask(Question.STATE, known=register(versions=()))]
    follows = register(versions=(V1,), follows=True)
    assert [V1, V2] == [one.version for one in world.ask(Question.STATE, known=follows)]


# ------------------------------------------------------------------------------------------------------------- canaries


def canaries_of(world: World) -> list[Canary]:
    known = register()
    canaries, findings = world.prober().make_canaries(the_key(known), known)
    assert [Answer.OK, Answer.OK] == [one.answer for one in findings]
    return list(canaries)


def test_a_canary_is_made_for_each_version_and_unwrapped_later(world: World) -> None:
    canaries = canaries_of(world)
    assert [(KEY, V1, "RSA-OAEP-256"), (KEY, V2, "RSA-OAEP-256")] == [
        (one.key, one.version, one.algorithm) for one in canaries
    ]

    found = world.ask(Question.USE, Question.CANARY, canaries=canaries)

    assert [Answer.OK] * 4 == [one.answer for one in found]
    posted = [path for method, path in world.asked() if method == "POST"]
    assert 4 == len(posted), "made and proven once each, then unwrapped once each for both questions"


def test_a_canary_is_only_kept_when_the_vault_unwraps_it(world: World) -> None:
    world.key.versions[V1].enabled = False
    known = register()

    canaries, findings = world.prober().make_canaries(the_key(known), known)

    assert [V2] == [one.version for one in canaries]
    assert [(V1, Answer.DISABLED), (V2, Answer.OK)] == [(one.version, one.answer) for one in findings]


def test_a_canary_of_other_material_is_no_proof_of_anything(world: World) -> None:
    one, other = canaries_of(world)
    swapped = [replace(one, ciphertext=other.ciphertext)]
    assert [Answer.NOT_UNDERSTOOD] == answers(world.ask(Question.CANARY, canaries=swapped), Question.CANARY)


def test_an_answer_that_is_not_what_was_wrapped_is_no_proof(world: World) -> None:
    world.azure.trouble((200, b'{"kid": "k", "value": "bm90LWEtcmVhbC1rZXk"}'), host=HOST, path="unwrapkey")
    assert [Answer.NOT_UNDERSTOOD] * 2 == answers(world.ask(), Question.USE)


def test_wrapping_locally_works_with_a_disabled_key_and_so_proves_nothing(world: World) -> None:
    """The trap of azure.md 0.10, shown with the SDK itself: why a remote unwrap is asked for."""
    world.key.versions[V1].enabled = False
    prober = world.prober()
    prober._clock.start()
    with prober._desk.vault(GLOBEX, APP, f"https://{HOST}") as client:
        key = client.client.get_key("data-cmk", V1)
    assert CryptographyClient.from_jwk(key.key).wrap_key(ALGORITHM, b"x" * 32).encrypted_key
    assert Answer.DISABLED in answers(world.ask(prober=prober), Question.USE)


# --------------------------------------------------------------------------------------------- each state, each refusal


@pytest.mark.parametrize("refusal", [None, "Operation get is not allowed on a disabled key.", "Forbidden."])
def test_a_disabled_version_is_found_however_the_vault_answers_to_get(world: World, refusal: str | None) -> None:
    world.vault.get_refuses_disabled = refusal
    world.key.versions[V2].enabled = False

    found = world.ask()

    assert [Answer.OK, Answer.DISABLED] == answers(found, Question.STATE)
    assert [Answer.OK, Answer.DISABLED] == answers(found, Question.USE)
    assert {V2} == {one.version for one in found if one.answer is Answer.DISABLED}


def test_an_expired_version_still_unwraps(world: World) -> None:
    world.key.versions[V1].expires = world.azure.now - timedelta(days=1)
    world.key.versions[V2].begins = world.azure.now + timedelta(days=1)

    found = world.ask()

    assert [Answer.EXPIRED, Answer.NOT_YET_VALID] == answers(found, Question.STATE)
    assert [Answer.OK, Answer.OK] == answers(found, Question.USE)


def test_an_operation_that_the_key_does_not_permit_is_told_apart_from_a_missing_right(world: World) -> None:
    world.key.versions[V1].operations = ("wrapKey",)

    found = world.ask()

    assert [Answer.OK, Answer.OK] == answers(found, Question.STATE)
    used = next(one for one in found if one.question is Question.USE and one.version == V1)
    assert (Answer.DENIED, "operation") == (used.answer, used.detail[LOST])


def test_another_key_in_the_place_of_a_purged_one_proves_nothing_of_it(world: World) -> None:
    """It is enabled and unwraps what is wrapped with it now; the canary remembers which key it is (azure.md 8.12)."""
    known = register(versions=(), probe={"canary": True})
    canaries, _ = world.prober().make_canaries(the_key(known), known)
    world.vault.keys.clear()
    world.azure.key(world.vault, "data-cmk", "7" * 32)

    judged = world.judged(known=known, canaries=canaries)

    assert False is judged.passed
    assert {(Effect.KEY_DESTROYED, V2, Fault.CUSTOMER)} == {
        (one.effect, one.version, one.fault) for one in judged.marks[KEY]
    }


def test_a_newest_version_that_was_rotated_away_is_no_loss(world: World) -> None:
    known = register(versions=(), probe={"canary": True})
    canaries, _ = world.prober().make_canaries(the_key(known), known)
    newer = "8" * 32
    world.key.versions[newer] = replace(world.key.versions[V2], id=newer)

    assert [newer] == [one.version for one in world.ask(Question.STATE, known=known, canaries=canaries)]
    assert True is world.judged(known=known, canaries=canaries).passed


@pytest.mark.parametrize(
    ("permitted", "used"), [(("unwrapKey",), Answer.OK), (("sign",), Answer.DENIED), ((), Answer.DENIED)]
)
def test_a_key_that_does_not_permit_to_wrap_is_asked_all_the_same(
    world: World, permitted: tuple[str, ...], used: Answer
) -> None:
    """The SDK refuses to wrap here with such a key (azure.md 3.2, rows 3 and 3b): that must not end the probe."""
    world.key.versions[V1].operations = permitted

    found = world.ask()

    about = {one.question: one.answer for one in found if one.version == V1}
    assert (Answer.OK, used) == (about[Question.STATE], about[Question.USE])
    if permitted:
        judged = world.judged()
        losses = {(one.effect, one.version) for one in judged.marks[KEY]}
        effect = Effect.ACCESS_REDUCED if used is Answer.OK else Effect.ACCESS_REVOKED
        assert (False, {(effect, V1)}) == (judged.passed, losses)


def test_a_deleted_key_tells_its_purge_date_to_whom_it_may(world: World) -> None:
    world.azure.grant(world.vault, APP, frozenset({"deleted"}))
    world.azure.delete(world.vault, "data-cmk")

    found = world.ask()

    assert [Answer.PENDING_DELETION] * 2 == answers(found, Question.STATE)
    assert {world.azure.now + timedelta(days=90)} == {one.deadline for one in found if one.question is Question.STATE}
    assert [Answer.NOT_FOUND] * 2 == answers(found, Question.USE)


@pytest.mark.parametrize(("may", "known"), [(True, "no"), (False, "unknown")])
def test_a_key_that_is_not_there_is_told_with_what_is_known_of_its_deletion(
    world: World, *, may: bool, known: str
) -> None:
    world.vault.purge_protection = False
    if may:
        world.azure.grant(world.vault, APP, frozenset({"deleted"}))
    world.azure.delete(world.vault, "data-cmk")
    world.azure.purge(world.vault, "data-cmk")

    found = world.ask()

    assert [(Answer.NOT_FOUND, known)] * 2 == [
        (one.answer, one.detail[DELETED]) for one in found if one.question is Question.STATE
    ]


def test_another_key_in_the_place_of_a_purged_one_is_told(world: World) -> None:
    world.azure.key(world.vault, "data-cmk", V3)
    found = world.ask(Question.STATE)
    assert [(Answer.NOT_FOUND, "yes")] * 2 == [(one.answer, one.detail[OTHERS]) for one in found]


def test_a_policy_that_cannot_list_is_enough(world: World) -> None:
    world.vault.rbac, world.vault.roles = False, []
    world.azure.grant(world.vault, APP, POLICY_OF_A_STORE)
    assert {Answer.OK} == {one.answer for one in world.ask()}


@pytest.mark.parametrize(("rbac", "code"), [(True, "ForbiddenByRbac"), (False, "AccessDenied")])
def test_a_missing_right_is_denied(world: World, code: str, *, rbac: bool) -> None:
    world.vault.rbac, world.vault.roles = rbac, []

    found = world.ask(*STATE_AND_USE, Question.CONTROL)

    assert [Answer.DENIED] * 4 == [one.answer for one in found if one.question is not Question.CONTROL]
    assert [Answer.OK, Answer.OK] == answers(found, Question.CONTROL)
    assert code in found[0].words


def test_who_may_unwrap_but_not_read_is_proven_by_a_canary_only(world: World) -> None:
    canaries = canaries_of(world)
    world.vault.roles = []
    world.azure.grant(world.vault, APP, frozenset({"unwrap"}))

    with_canary = world.ask(canaries=canaries)
    without = world.ask()

    assert [Answer.OK] * 2 == answers(with_canary, Question.USE)
    assert [Answer.DENIED] * 2 == answers(without, Question.STATE)
    assert [Answer.NOT_UNDERSTOOD] * 2 == answers(without, Question.USE)
    assert "unwrapping is permitted" in without[-1].words


@pytest.mark.parametrize("code", ["ForbiddenByFirewall", "ForbiddenByConnection"])
def test_a_closed_network_is_a_blocked_path(world: World, code: str) -> None:
    world.vault.firewall = code
    assert {Answer.PATH_BLOCKED} == {one.answer for one in world.ask()}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (429, Answer.THROTTLED),
        (500, Answer.SERVER_FAULT),
        (503, Answer.SERVER_FAULT),
        (408, Answer.SERVER_FAULT),
        (403, Answer.NOT_UNDERSTOOD),
        (302, Answer.NOT_UNDERSTOOD),
    ],
)
def test_a_status_that_says_nothing_of_the_key_stays_that(world: World, status: int, answer: Answer) -> None:
    world.ask()  # so that the challenge is known
    world.azure.trouble((status, b'{"error": {"code": "X", "message": "y"}}'), host=HOST)
    assert {answer} == {one.answer for one in world.ask()}


STRANGE = b'{"key": {"kid": "https://glbx-data-kv.vault.azure.net/keys/data-cmk/%s"}, "attributes": {"exp": 1e30}}'
STRANGE = STRANGE.replace(b"%s", b"1" * 32)
WORSE = STRANGE.replace(b"1e30", b'"soon"')


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b'{"key": {}}', b'{"key": {"kid": "x"}}', STRANGE, WORSE]
)
def test_an_answer_that_is_none_is_not_understood(world: World, body: bytes) -> None:
    world.azure.trouble((200, body), host=HOST)
    assert {Answer.NOT_UNDERSTOOD} == {one.answer for one in world.ask()}


def test_a_cut_connection_is_unreachable_and_tried_once(world: World) -> None:
    world.ask()
    world.azure.trouble("cut", host=HOST, times=1)
    found = world.ask()
    assert {Answer.UNREACHABLE} == {one.answer for one in found}


def test_what_hangs_ends_in_time_and_leaves_time_for_the_control(world: World) -> None:
    trouble = world.azure.trouble("hang", host=HOST)
    prober = world.prober(Limits(deadline=3, connect=0.5, read=0.7))
    began = time.monotonic()

    found = world.ask(*STATE_AND_USE, Question.CONTROL, prober=prober)

    assert {Answer.UNREACHABLE} == {one.answer for one in found if one.question is not Question.CONTROL}
    assert [Answer.OK, Answer.OK] == answers(found, Question.CONTROL)
    assert time.monotonic() - began < 3
    assert 1 == trouble.met, "what does not answer is asked once"


def test_the_whole_probe_has_one_deadline(world: World) -> None:
    prober = world.prober(Limits(deadline=0, connect=0.5, read=0.5))
    found = world.ask(*STATE_AND_USE, Question.CONTROL, prober=prober)
    assert {Answer.UNREACHABLE} == {one.answer for one in found}
    assert [] == world.azure.calls
    assert "no time was left" in found[0].words


# ------------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("code", "answer", "lost"),
    [
        ("AADSTS700016", Answer.IDENTITY_REFUSED, "principal"),
        ("AADSTS7000229", Answer.IDENTITY_REFUSED, "principal"),
        ("AADSTS7000112", Answer.IDENTITY_REFUSED, "sign_in"),
        ("AADSTS53003", Answer.IDENTITY_REFUSED, "policy"),
        ("AADSTS7000222", Answer.CREDENTIALS, None),
        ("AADSTS7000215", Answer.CREDENTIALS, None),
        ("AADSTS700213", Answer.CREDENTIALS, None),
        ("AADSTS9999999", Answer.NOT_UNDERSTOOD, None),
    ],
)
def test_a_refused_token_is_read_by_its_code(world: World, code: str, answer: Answer, lost: str | None) -> None:
    world.azure.apps[GLOBEX, APP] = code

    found = world.ask(*STATE_AND_USE, Question.CONTROL)

    assert {(answer, lost)} == {(one.answer, one.detail.get(LOST)) for one in found if one.question is Question.STATE}
    assert code in found[0].words
    assert [Answer.OK, Answer.OK] == answers(found, Question.CONTROL)


def test_a_wrong_secret_of_ours_is_nobody_elses_doing(world: World) -> None:
    found = world.ask(prober=world.prober(AZURE_CLIENT_SECRET="another secret"))
    assert {Answer.CREDENTIALS} == {one.answer for one in found}
    assert not any("another secret" in one.words for one in found)


def test_a_tenant_that_is_not_there_refuses_the_identity(world: World) -> None:
    del world.azure.apps[GLOBEX, APP]
    assert {(Answer.IDENTITY_REFUSED, "tenant")} == {
        (one.answer, one.detail[LOST]) for one in world.ask(Question.STATE)
    }


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ((429, b'{"error": "temporarily_unavailable", "error_description": "AADSTS90055: slow"}'), Answer.THROTTLED),
        ((503, b"busy"), Answer.SERVER_FAULT),
        ("cut", Answer.UNREACHABLE),
        ("hang", Answer.UNREACHABLE),
    ],
)
def test_a_token_service_in_trouble_says_nothing_of_the_key(world: World, how: Any, answer: Answer) -> None:
    world.azure.trouble(how, host="login.")
    prober = world.prober(Limits(deadline=5, connect=0.5, read=0.5))
    for _ in range(2):  # also when MSAL repeats what it heard
        assert {answer} == {one.answer for one in world.ask(Question.STATE, prober=prober)}


def test_what_msal_repeats_without_asking_is_read_as_what_it_was(world: World) -> None:
    """Two threads may share an identity: the second one hears MSAL's own memory, which has no status."""
    world.azure.trouble((429, b'{"error": "slow_down", "error_description": "slow"}'), host="login.", path="token")
    clock = Clock(Limits())
    clock.start()
    identity = Identity(GLOBEX, APP, clock, world.environment)
    for _ in range(2):
        with pytest.raises(NoCaller) as raised:
            identity.get_token_info("https://vault.azure.net/.default")
        assert Answer.THROTTLED is raised.value.said.answer


def test_a_vault_that_trusts_another_tenant_is_told_without_a_token_for_it(world: World) -> None:
    world.vault.tenant = MOVED
    world.azure.apps[MOVED, APP] = ""

    found = world.ask(Question.STATE)

    assert {(Answer.IDENTITY_REFUSED, "tenant")} == {(one.answer, one.detail[LOST]) for one in found}
    assert f"trusts tenant {MOVED}" in found[0].words
    assert not any(f"/{MOVED}/" in one.path for one in world.azure.calls)

    world.vault.tenant = GLOBEX
    assert {Answer.OK} == {one.answer for one in world.ask(Question.STATE)}, "what the SDK keeps must not outlive it"


def test_a_token_that_is_not_accepted_is_made_anew_once(world: World) -> None:
    world.ask()
    world.azure.refuse_issued()
    assert {Answer.OK} == {one.answer for one in world.ask()}


def test_a_vault_that_accepts_no_token_refuses_the_identity(world: World) -> None:
    world.azure.trouble((401, b'{"error": {"code": "Unauthorized"}}'), host=HOST)
    assert {Answer.IDENTITY_REFUSED} == {one.answer for one in world.ask(Question.STATE)}


def test_a_token_that_still_counts_does_not_hide_for_long_that_its_principal_is_gone(world: World) -> None:
    world.ask()
    world.azure.apps[GLOBEX, APP] = "AADSTS700016"
    assert {Answer.OK} == {one.answer for one in world.ask()}
    world.ticks += 600
    assert {Answer.IDENTITY_REFUSED} == {one.answer for one in world.ask()}


def test_the_probes_own_application_is_asked_as(world: World) -> None:
    other = "a9900000-1111-4222-8333-000000000002"
    world.azure.apps[GLOBEX, other] = world.azure.apps[ACME, other] = ""
    world.azure.secrets[other] = "the secret"
    world.azure.grant(world.vault, other)

    world.ask(Question.STATE, known=register(probe={"principal": other}))

    assert {other} == {one.app for one in world.azure.calls if one.host == HOST and one.app}


def test_the_machines_identity_stands_for_the_application_in_every_tenant(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{world.azure.port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    world.azure.secrets[APP] = "machine-token"
    world.environment = {}

    found = world.ask(*STATE_AND_USE, Question.CONTROL)

    assert {Answer.OK} == {one.answer for one in found}
    assert "api://AzureADTokenExchange" in {one.path for one in world.azure.calls if one.host == "machine"}


def test_a_token_file_stands_for_the_application(world: World, tmp_path: Any) -> None:
    (tmp_path / "token").write_text("projected")
    world.azure.secrets[APP] = "projected"
    world.environment = {"AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
    assert {Answer.OK} == {one.answer for one in world.ask()}


@pytest.mark.parametrize(
    "environment",
    [{"AZURE_FEDERATED_TOKEN_FILE": "/nowhere/token"}, {"AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere/certificate.pem"}],
    ids=["token file", "certificate"],
)
def test_an_identity_that_cannot_be_read_is_ours_to_mend(world: World, environment: dict[str, str]) -> None:
    world.environment = environment
    assert {Answer.CREDENTIALS} == {one.answer for one in world.ask(Question.STATE)}


def test_a_managed_identity_without_an_application_is_not_asked_in_a_tenant_that_is_not_its_own(world: World) -> None:
    """It has tokens of its own tenant only: the refusal would look like one of the customer's."""
    world.environment = {}
    found = world.ask(known=register(app=None))
    assert {Answer.NOT_UNDERSTOOD} == {one.answer for one in found}
    assert "no application is registered" in found[0].words
    assert [] == world.azure.calls


def test_the_control_is_asked_with_the_credentials_of_the_key(world: World) -> None:
    world.ask(Question.CONTROL, known=register(own_app="a9900000-1111-4222-8333-000000000002"))
    assert {APP} == {one.app for one in world.azure.calls if one.host == OWN_HOST and one.app}


# ------------------------------------------------------------------------------------------------------------ transport


def test_a_certificate_of_nobody_we_know_is_not_talked_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    found = world.ask(Question.STATE)
    assert {Answer.UNREACHABLE} == {one.answer for one in found}
    assert [] == world.azure.calls


def test_a_challenge_for_another_resource_gets_no_token(world: World) -> None:
    """A host that is not of the resource which its challenge names would get a token for everybody's vaults."""
    host = "acmedata.blob.core.windows.net"
    world.azure.trouble((401, b"{}"), host=host)
    world.azure.challenges[host] = 'Bearer authorization="https://x/y", resource="https://vault.azure.net"'
    found = world.ask(Question.STATE, known=register(key=f"https://{host}/keys/data-cmk", host=host))
    assert {Answer.NOT_UNDERSTOOD} == {one.answer for one in found}
    assert [] == [one for one in world.azure.calls if "oauth2" in one.path]


def test_a_name_that_leads_nowhere_is_unreachable_and_said() -> None:
    error = ServiceRequestError("no", error=socket.gaierror(-2, "Name or service not known"))
    said = said_of(error, "get key")
    assert (Answer.UNREACHABLE, "yes") == (said.answer, said.detail[UNRESOLVED])
    assert UNRESOLVED not in said_of(ServiceRequestError("no", error=TimeoutError()), "get key").detail


def test_a_double_on_loopback_needs_no_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    host = world.azure.direct.removeprefix("https://")
    world.azure.vaults[host] = world.vault
    known = register(key=f"{world.azure.direct}/keys/data-cmk", host="127.0.0.1", probe={"control": None})
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("https_proxy")
    prober = world.prober(AZURE_AUTHORITY_HOST=world.azure.direct)
    assert {Answer.OK} == {one.answer for one in world.ask(prober=prober, known=known)}


def test_plain_http_is_not_asked(world: World) -> None:
    known = register(key=KEY.replace("https://", "http://"))
    assert {Answer.NOT_UNDERSTOOD} == {one.answer for one in world.ask(known=known)}
    assert [] == world.azure.calls


def test_a_vault_is_challenged_once_and_its_connection_kept(world: World) -> None:
    world.ask()
    first = len(world.azure.calls)
    world.ask()
    again = world.azure.calls[first:]
    assert {HOST} == {one.host for one in again}
    assert 4 == len(again), "two reads and two unwraps, and nothing else"


def test_many_threads_ask_at_once(world: World) -> None:
    prober = world.prober()
    found: list[set[Answer]] = []

    def ask() -> None:
        found.append({one.answer for one in world.ask(*STATE_AND_USE, Question.CONTROL, prober=prober)})

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [{Answer.OK}] * 6 == found


# --------------------------------------------------------------------------------------------------------------- stores

STORES = {
    "consumers": [
        {"consumer": "files", "kind": "blob", "target": BLOB},
        {"consumer": "db", "kind": "azure_database_state", "target": SERVER},
    ]
}


def with_stores(world: World) -> Register:
    under = (HOST, "data-cmk")
    world.azure.blobs[BLOB] = Store(under)
    encryption = {"primaryKeyURI": f"{KEY}/{V2}", "type": "AzureKeyVault"}
    world.azure.databases[SERVER] = Store(under, {"state": "Ready", "dataEncryption": encryption})
    return register(probe=STORES)


def test_the_stores_are_asked_in_the_vendors_tenant(world: World) -> None:
    found = world.ask(Question.CONSUMER, known=with_stores(world))
    assert [("files", Answer.OK), ("db", Answer.OK)] == [(one.subject, one.answer) for one in found]


def test_the_stores_say_that_their_key_is_gone(world: World) -> None:
    known = with_stores(world)
    world.azure.delete(world.vault, "data-cmk")

    files, db = world.ask(Question.CONSUMER, known=known)

    assert (Answer.UNAVAILABLE, "read blob: 403 KeyVaultEncryptionKeyNotFound") == (files.answer, files.words)
    assert (Answer.UNAVAILABLE, "state Inaccessible") == (db.answer, db.words)


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [
        ((403, "AuthorizationPermissionMismatch"), Answer.NOT_UNDERSTOOD),
        ((409, "BlobUsesCustomerSpecifiedEncryption"), Answer.NOT_UNDERSTOOD),
        ((503, "ServerBusy"), Answer.THROTTLED),
        ((500, "InternalError"), Answer.SERVER_FAULT),
        ((403, "KeyVaultAccessTokenCannotBeAcquired"), Answer.UNAVAILABLE),
    ],
)
def test_what_a_store_refuses_for_its_own_reasons_is_no_lost_key(
    world: World, refusal: tuple[int, str], answer: Answer
) -> None:
    known = with_stores(world)
    world.azure.blobs[BLOB].refusal = refusal
    assert answer is world.ask(Question.CONSUMER, known=known)[0].answer


@pytest.mark.parametrize(
    ("properties", "answer"),
    [
        ({"state": "Ready", "dataEncryption": {"primaryKeyURI": KEY.replace("data-cmk", "other")}}, "not_understood"),
        ({"state": "Ready", "dataEncryption": {"type": "SystemManaged"}}, "not_understood"),
        ({"state": "Ready", "dataEncryption": {"primaryKeyURI": KEY, "primaryEncryptionKeyStatus": "Invalid"}},
         "unavailable"),
        ({"state": "Stopped", "dataEncryption": {"primaryKeyURI": KEY}}, "not_understood"),
        ({}, "not_understood"),
    ],
)  # fmt: skip
def test_a_database_is_read_by_its_state_and_its_key(world: World, properties: dict[str, Any], answer: str) -> None:
    known = with_stores(world)
    world.azure.databases[SERVER] = Store(None, properties)
    assert answer == world.ask(Question.CONSUMER, known=known)[1].answer


@pytest.mark.parametrize(
    "target", ["https://evil.example.com/instance/canary", "http://acmedata.blob.core.windows.net/a/b", "s3://a/b"]
)
def test_a_token_for_storage_goes_to_storage_only(world: World, target: str) -> None:
    known = register(probe={"consumers": [{"consumer": "files", "kind": "blob", "target": target}]})
    assert [Answer.NOT_UNDERSTOOD] == answers(world.ask(Question.CONSUMER, known=known), Question.CONSUMER)
    assert [] == world.azure.calls


# --------------------------------------------------------------------------- look alike, and three different outcomes


def test_a_revocation_by_the_customer_is_the_customers(world: World) -> None:
    world.azure.revoke(world.vault, APP)

    probed = world.judged()

    assert (False, Fault.CUSTOMER) == (probed.passed, probed.fault)
    assert {Effect.ACCESS_REVOKED} == {mark.effect for mark in probed.marks[KEY]}


def test_a_fault_of_the_vendors_own_is_told_to_the_vendor_only(world: World) -> None:
    """The same refusal from the same vault, but the control key refuses too: our own roles are gone."""
    world.azure.revoke(world.vault, APP)
    world.azure.revoke(world.own, APP)

    probed = world.judged()

    assert (None, Fault.VENDOR) == (probed.passed, probed.fault)
    assert [VENDOR_WATCH] == list(probed.marks)


def test_an_outage_of_the_provider_is_nobodys_revocation(world: World) -> None:
    """The same refusal again, but the control key gives no answer: nothing can be concluded."""
    world.azure.revoke(world.vault, APP)
    world.azure.trouble((503, b"{}"), host=OWN_HOST)

    probed = world.judged()

    assert (None, Fault.PROVIDER) == (probed.passed, probed.fault)
    assert KEY not in probed.marks


@pytest.mark.parametrize(
    ("code", "passes", "fault", "marked"),
    [
        ("AADSTS700016", False, Fault.CUSTOMER, KEY),
        ("AADSTS7000222", None, Fault.VENDOR, VENDOR_WATCH),
    ],
)
def test_two_refusals_of_a_token_are_two_faults(
    world: World, code: str, passes: bool | None, fault: Fault, marked: str
) -> None:  # fmt: skip
    world.azure.apps[GLOBEX, APP] = code
    probed = world.judged()
    assert (passes, fault, [marked]) == (probed.passed, probed.fault, list(probed.marks))


def test_a_removed_application_is_named_as_the_repair_knows_it(world: World) -> None:
    world.azure.apps[GLOBEX, APP] = "AADSTS700016"
    (mark, _) = world.judged().marks[KEY]
    assert (Means.IDENTITY, f"service principal {PRINCIPAL}") == (mark.means, mark.subject)


def test_a_firewall_against_our_check_is_no_loss_while_the_stores_work(world: World) -> None:
    known = with_stores(world)
    world.vault.firewall = "ForbiddenByFirewall"

    healthy = world.judged(known=known)
    world.vault.bypass = False
    cut = world.judged(known=known)

    assert (None, {}) == (healthy.passed, dict(healthy.marks))
    assert "files" in healthy.words
    assert (False, Fault.CUSTOMER) == (cut.passed, cut.fault)
    assert {Effect.PATH_BLOCKED} == {mark.effect for mark in cut.marks[KEY]}


def test_a_role_that_comes_back_is_proven_by_two_successes_ten_minutes_apart(world: World) -> None:
    """A story: the role is taken, given back with the delay that roles have, and proven only the second time."""
    world.azure.role_delay = timedelta(minutes=4)
    health = Health(subject=KEY)
    told: list[tuple[int, bool | None]] = []
    began: datetime = world.azure.now
    proof = Mark(id="p", at=began - timedelta(minutes=5), origin=Origin.PROBE, effect=None, reason="")
    health = add(health, [proof])
    for minute in range(0, 60, 5):
        world.azure.now = began + timedelta(minutes=minute)
        if minute == 5:
            world.azure.revoke(world.vault, APP)
        if minute == 25:
            world.azure.grant(world.vault, APP, ENCRYPTION_USER)
        probed = world.judged(before(health))
        health = add(health, probed.marks.get(KEY, ()))
        told.append((minute, probed.passed))

    assert [
        (0, True), (5, True), (10, False), (15, False), (20, False), (25, False), (30, None), (35, None), (40, True),
        (45, True), (50, True), (55, True),
    ] == told  # fmt: skip
