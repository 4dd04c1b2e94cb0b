"""Stories on Azure and Google Cloud, from the records as they come in to the notices that go out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.watchdog.clouds.azure import records as azure
from tests.watchdog.clouds.azure import world as azure_world
from tests.watchdog.clouds.gcp import events as gcp
from tests.watchdog.clouds.gcp import world as gcp_world
from tests.watchdog.stories import PAGER, Story
from tests.worlds import MINUTE, T0, agreed
from watchdog import clouds
from watchdog.health import Slot, judge
from watchdog.notices import Facts, KeyFacts, Kind, Notice, Reader
from watchdog.register import Document, Register, RegisteredKey
from watchdog.repair import Step
from watchdog.routing import Routing
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Fault, Means, Stage, Verdict

DAY = timedelta(days=1)
KMS = "cloudkms.googleapis.com"
ROUTING = Routing(on_call={"default": (PAGER,)}, operators=(), customer_mail="mail")


@dataclass
class CloudStory(Story):
    """A story told in records; the repair steps are the cloud's own."""

    cloud: str = "gcp"
    routing: Routing = field(default=ROUTING)

    def __post_init__(self) -> None:
        self.steps = self._steps

    def _steps(
        self, effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
    ) -> Sequence[Step]:
        half = clouds.cloud(self.cloud)
        return half.steps(effect, key, self.register, means=means, subject=subject, cause=cause)

    def meaning(self, record: dict[str, Any]) -> list[Signal]:
        half = clouds.cloud(self.cloud)
        entries = half.unpack(json.dumps(record).encode(), register=self.register).entries
        return [signal for entry in entries for signal in half.meaning(entry.raw, self.register)]

    def hear(self, record: dict[str, Any]) -> list[Notice]:
        return self.push(*self.meaning(record))

    def open_at(self, key: str) -> list[tuple[Slot, str | None]]:
        return [(condition.slot, condition.version) for condition in judge(self.healths[key]).conditions]


def story(cloud: str, document: Document) -> CloudStory:
    return CloudStory(register=Register(agreed(document), 1), cloud=cloud)


def facts(notices: Sequence[Notice]) -> Facts:
    found = notices[0].facts
    assert isinstance(found, Facts)
    return found


def key_of(notices: Sequence[Notice]) -> KeyFacts:
    (key,) = facts(notices).keys
    return key


def commands(notices: Sequence[Notice]) -> list[str]:
    """The commands for the key itself, those of the customer."""
    return [step.command for step in key_of(notices).steps if step.command]


def readers(notices: Sequence[Notice]) -> set[Reader]:
    return {notice.reader for notice in notices}


# -------------------------------------------------------------------------------------------------------- Google Cloud

PAYROLL = gcp_world.KEY
WHERE = "--key=payroll --keyring=acme --location=europe-west3 --project=globex-keys"


def at(minutes: float) -> str:
    return f"{T0 + minutes * MINUTE:%Y-%m-%dT%H:%M:%S}.250000001Z"


def of_google(minutes: float, method: str, resource: str, request: Any = None, **fields: Any) -> dict[str, Any]:
    operation = fields.pop("operation", ...)
    entry = {"timestamp": at(minutes), "insertId": f"i{minutes}{method}{resource[-3:]}", "operation": operation}
    return gcp.audit(method, resource, request, entry=entry, **fields)


def version_call(minutes: float, method: str, version: str) -> dict[str, Any]:
    name = f"{PAYROLL}/cryptoKeyVersions/{version}"
    return of_google(minutes, method, name, {"name": name})


def switched(minutes: float, version: str, state: str) -> dict[str, Any]:
    request = {"cryptoKeyVersion": {"state": state}, "updateMask": "state"}
    return of_google(minutes, "UpdateCryptoKeyVersion", f"{PAYROLL}/cryptoKeyVersions/{version}", request)


def on_google() -> CloudStory:
    return story("gcp", gcp_world.document())


def test_google_enabling_the_other_version_does_not_close_the_loss_of_the_first() -> None:
    told = on_google()
    alarm = told.hear(switched(0, "2", "DISABLED"))
    assert {Reader.ON_CALL, Reader.CUSTOMER} == readers(alarm)
    assert [("2", Effect.KEY_DISABLED)] == [(one.version, one.effect) for one in key_of(alarm).happenings]
    assert [f"gcloud kms keys versions enable 2 {WHERE}"] == commands(alarm)
    assert ("gcp", "globex-keys", "europe-west3") == (
        facts(alarm).cloud, key_of(alarm).account, key_of(alarm).region
    )  # fmt: skip
    assert [] == told.hear(switched(5, "3", "ENABLED"))
    assert [(Slot.DISABLED, "2")] == told.open_at(PAYROLL)
    assert Stage.IMPAIRED is told.stage()
    told.hear(switched(6, "2", "ENABLED"))
    assert Stage.RECOVERING is told.stage()
    closed = told.prove(PAYROLL, T0 + 30 * MINUTE)
    assert (Stage.RESOLVED, {Reader.ON_CALL, Reader.CUSTOMER}) == (told.stage(), readers(closed))


def test_google_a_version_that_is_not_in_use_may_go() -> None:
    told = on_google()
    assert [] == told.hear(version_call(0, "DestroyCryptoKeyVersion", "1"))
    assert {} == told.incidents


def test_google_destroyed_restored_and_enabled_again() -> None:
    told = on_google()
    alarm = told.hear(version_call(0, "DestroyCryptoKeyVersion", "3"))
    assert (Verdict.DOOMED, Stage.DELETION_SCHEDULED) == (key_of(alarm).verdict, told.stage())
    assert [f"gcloud kms keys versions {verb} 3 {WHERE}" for verb in ("restore", "enable")] == commands(alarm)
    assert {PAYROLL} == told.probe_wanted
    half = told.hear(version_call(60, "RestoreCryptoKeyVersion", "3"))
    assert {(Kind.PROGRESS, Reader.ON_CALL), (Kind.PROGRESS, Reader.CUSTOMER), (Kind.CLEAR, Reader.ON_CALL)} == {
        (notice.kind, notice.reader) for notice in half
    }
    assert [f"gcloud kms keys versions enable 3 {WHERE}"] == commands(half)
    assert Fault.CUSTOMER is facts(half).fault
    assert {Kind.RECOVERING} == {notice.kind for notice in told.hear(switched(61, "3", "ENABLED"))}
    told.prove(PAYROLL, T0 + 62 * MINUTE)
    assert (Stage.RESOLVED, 1) == (told.stage(), len(told.incidents))


def test_google_the_asset_feed_adds_the_date_that_the_audit_log_does_not_have() -> None:
    told = on_google()
    told.hear(version_call(0, "DestroyCryptoKeyVersion", "3"))
    name = f"{PAYROLL}/cryptoKeyVersions/3"
    now = {"name": name, "state": "DESTROY_SCHEDULED", "destroyTime": "2026-12-31T09:00:00Z"}
    change = gcp.asset(name, now, {"name": name, "state": "ENABLED"})
    change["asset"]["updateTime"] = at(1)
    dated = told.hear(change)
    assert "deadline earlier" == told.incident.turns[-1].why
    assert [T0 + 30 * DAY] == [one.deadline.at for one in key_of(dated).happenings if one.deadline]
    assert [(Slot.DELETION, "3")] == told.open_at(PAYROLL)


def test_google_a_key_that_terraform_destroys_is_one_incident_that_names_every_version() -> None:
    told = on_google()
    told.hear(version_call(0, "DestroyCryptoKeyVersion", "2"))
    told.hear(version_call(0.05, "DestroyCryptoKeyVersion", "3"))
    request = {"cryptoKey": {"name": PAYROLL}, "updateMask": "rotationPeriod,nextRotationTime"}
    assert [] == told.hear(of_google(0.1, "UpdateCryptoKey", PAYROLL, request))
    assert [(Slot.DELETION, "2"), (Slot.DELETION, "3")] == told.open_at(PAYROLL)
    assert [] == told.wait(T0 + 2 * MINUTE)
    more = told.wait(T0 + 2.05 * MINUTE)
    assert "more versions" == told.incident.turns[-1].why
    verbs = [("restore", "2"), ("enable", "2"), ("restore", "3"), ("enable", "3")]
    assert [f"gcloud kms keys versions {verb} {version} {WHERE}" for verb, version in verbs] == commands(more)
    assert [] == told.wait(T0 + 5 * MINUTE)
    half = told.hear(version_call(9, "RestoreCryptoKeyVersion", "2"))
    assert [] == half  # the other version is as doomed as before
    told.hear(version_call(10, "RestoreCryptoKeyVersion", "3"))
    turned = [notice for notice in told.notices if notice.kind is Kind.PROGRESS]
    wanted = [f"gcloud kms keys versions enable {version} {WHERE}" for version in ("2", "3")]
    assert (wanted, 1) == (commands(turned), len(told.incidents))


def test_google_a_project_that_is_shut_down_has_thirty_days_and_comes_back_without_billing() -> None:
    told = on_google()
    shut = of_google(
        0, "google.cloud.resourcemanager.v3.Projects.DeleteProject", f"projects/{gcp_world.GLOBEX_NUMBER}",
        service="cloudresourcemanager.googleapis.com",
    )  # fmt: skip
    alarm = told.hear(shut)
    assert [PAYROLL, gcp_world.IMPORTED] == sorted(key.id for key in facts(alarm).keys)
    headline = facts(alarm).headline
    assert headline is not None
    assert (T0 + 30 * DAY, Stage.DELETION_SCHEDULED) == (
        headline.at and headline.at.replace(microsecond=0), told.stage()
    )  # fmt: skip
    assert "gcloud projects undelete globex-keys" in [step.command for step in facts(alarm).keys[0].steps]
    back = of_google(
        60, "google.cloud.resourcemanager.v3.Projects.UndeleteProject", f"projects/{gcp_world.GLOBEX_NUMBER}",
        service="cloudresourcemanager.googleapis.com",
    )  # fmt: skip
    half = told.hear(back)
    assert (Stage.IMPAIRED, None) == (told.stage(), facts(half).headline)
    assert [Verdict.UNUSABLE] * 2 == [key.verdict for key in facts(half).keys]
    plan = [step.command or "" for step in facts(half).keys[0].steps]
    assert "gcloud billing projects link globex-keys --billing-account=0A1B2C-3D4E5F-6A7B8C" in plan
    assert "gcloud projects undelete globex-keys" not in plan
    linked = of_google(
        90, "AssignResourceToBillingAccount", gcp_world.GLOBEX_BILLING,
        {"resourceName": f"projects/{gcp_world.GLOBEX_NUMBER}", "billingAccountName": gcp_world.GLOBEX_BILLING},
        service="cloudbilling.googleapis.com",
    )  # fmt: skip
    told.hear(linked)
    assert (Stage.RECOVERING, 1) == (told.stage(), len(told.incidents))


def api(minutes: float, *, first: bool = False, last: bool = False, **fields: Any) -> dict[str, Any]:
    operation = {"id": "operations/acf.p2-9", "producer": "serviceusage.googleapis.com", "first": first, "last": last}
    return of_google(
        minutes, "google.api.serviceusage.v1.ServiceUsage.DisableService",
        f"projects/{gcp_world.GLOBEX_NUMBER}/services/{KMS}", service="serviceusage.googleapis.com",
        operation=operation, **fields,
    )  # fmt: skip


def test_google_an_api_that_could_not_be_switched_off_takes_the_alarm_back_and_waits_for_the_proof() -> None:
    told = on_google()
    alarm = told.hear(api(0, first=True))
    assert (Stage.IMPAIRED, Verdict.UNUSABLE) == (told.stage(), facts(alarm).keys[0].verdict)
    ended = told.hear(api(0.1, last=True, code=9))
    assert ({Kind.RECOVERING}, Stage.RECOVERING) == ({notice.kind for notice in ended}, told.stage())
    assert {PAYROLL, gcp_world.IMPORTED} == told.probe_wanted
    for key in told.incident.subjects:
        told.prove(key, T0 + MINUTE)
    assert Stage.RESOLVED is told.stage()


def test_google_the_same_failure_tells_nobody_when_its_end_comes_first() -> None:
    told = on_google()
    assert [] == told.hear(api(0.1, last=True, code=9))
    assert [] == told.hear(api(0, first=True))


def test_google_an_operation_that_succeeds_is_one_alarm() -> None:
    told = on_google()
    told.hear(api(0, first=True))
    assert [] == told.hear(api(0.1, last=True))
    assert 1 == len(told.incidents)


# --------------------------------------------------------------------------------------------------------------- Azure

DATA, FILES, MAIL = azure_world.DATA_KEY, azure_world.FILES_KEY, azure_world.MAIL_KEY
V1, V2 = azure_world.V1, azure_world.V2
TARGET = "--vault-name glbx-data-kv --name data-cmk"


def on_azure() -> CloudStory:
    return story("azure", azure_world.document())


def of_vault(minutes: float, operation: str, vault: str = azure_world.DATA_VAULT, **fields: Any) -> dict[str, Any]:
    return azure.vault_audit(operation, vault, time=at(minutes), **fields)


def of_key(minutes: float, operation: str, url: str, vault: str, **fields: Any) -> dict[str, Any]:
    return azure.audit(operation, url, time=at(minutes), resourceId=vault.upper(), **fields)


def set_enabled(minutes: float, version: str, *, enabled: bool) -> dict[str, Any]:
    said = azure.attributes(enabled=enabled)
    return of_key(minutes, "KeyUpdate", f"{DATA}/{version}", azure_world.DATA_VAULT, properties=said)


def assignment(minutes: float, verb: str, name: str, **body: Any) -> dict[str, Any]:
    operation = f"Microsoft.Authorization/roleAssignments/{verb}"
    return azure.activity(operation, azure_world.at(azure_world.DATA_VAULT, name), time=at(minutes), **body)


NEW_GRANT = "b6900000-1111-4222-8333-0000000000aa"
GIVEN = {
    "properties": {
        "principalId": azure_world.GLOBEX_PRINCIPAL,
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{azure_world.BUILT_IN}",
    }
}
ASSIGN = (
    f"az role assignment create --assignee-object-id {azure_world.GLOBEX_PRINCIPAL} --assignee-principal-type "
    f'ServicePrincipal --role "Key Vault Crypto Service Encryption User" --scope {azure_world.DATA_VAULT}'
)


def test_azure_enabling_the_other_version_does_not_close_the_loss_of_the_first() -> None:
    told = on_azure()
    alarm = told.hear(set_enabled(0, V1, enabled=False))
    assert [V1] == [one.version for one in key_of(alarm).happenings]
    assert [f"az keyvault key set-attributes {TARGET} --version {V1} --enabled true"] == commands(alarm)
    assert ("azure", azure_world.GLOBEX_SUBSCRIPTION, "westeurope") == (
        facts(alarm).cloud, key_of(alarm).account, key_of(alarm).region
    )  # fmt: skip
    assert [] == told.hear(set_enabled(5, V2, enabled=True))
    assert [(Slot.DISABLED, V1)] == told.open_at(DATA)
    told.hear(set_enabled(6, V1, enabled=True))
    assert Stage.RECOVERING is told.stage()


def test_azure_a_deleted_key_without_purge_protection_leaves_no_time_at_all() -> None:
    told = on_azure()
    alarm = told.hear(of_key(0, "KeyDelete", FILES, azure_world.FILES_VAULT))
    assert (Stage.IRREVERSIBLE_SOON, Verdict.DOOMED) == (told.stage(), key_of(alarm).verdict)
    headline = facts(alarm).headline
    assert headline is not None
    assert (None, "data_irrecoverable") == (headline.at, headline.kind)
    assert "at any moment" in headline.words
    assert headline.latest is not None
    assert timedelta(0) <= headline.latest - (T0 + 30 * DAY) < timedelta(seconds=1)
    assert "az keyvault key recover --vault-name glbx-files-kv --name files-cmk" in commands(alarm)
    told.hear(of_key(9, "KeyRecover", FILES, azure_world.FILES_VAULT))
    assert Stage.RECOVERING is told.stage()


def test_azure_a_deleted_key_with_purge_protection_has_the_retention_of_its_vault() -> None:
    told = on_azure()
    alarm = told.hear(of_key(0, "KeyDelete", DATA, azure_world.DATA_VAULT))
    headline = facts(alarm).headline
    assert headline is not None
    assert headline.at is not None
    assert timedelta(0) <= headline.at - (T0 + 90 * DAY) < timedelta(seconds=1)
    assert "registered retention of 90 days" in headline.source
    assert Stage.DELETION_SCHEDULED is told.stage()


def test_azure_a_key_that_was_disabled_before_it_was_deleted_comes_back_disabled() -> None:
    told = on_azure()
    told.hear(set_enabled(0, V1, enabled=False))
    told.hear(of_key(5, "KeyDelete", DATA, azure_world.DATA_VAULT))
    half = told.hear(of_key(9, "KeyRecover", DATA, azure_world.DATA_VAULT))
    assert {Kind.PROGRESS, Kind.CLEAR} == {notice.kind for notice in half}
    assert [(Slot.DISABLED, V1)] == told.open_at(DATA)


def test_azure_a_purged_key_is_lost_and_its_backup_brings_it_back() -> None:
    told = on_azure()
    told.hear(of_key(0, "KeyDelete", FILES, azure_world.FILES_VAULT))
    purged = told.hear(of_key(5, "KeyPurge", FILES.replace("/keys/", "/deletedkeys/"), azure_world.FILES_VAULT))
    assert (Stage.LOST, Verdict.DESTROYED) == (told.stage(), key_of(purged).verdict)
    told.hear(of_key(60, "KeyRestore", FILES, azure_world.FILES_VAULT))
    assert Stage.RECOVERING is told.stage()
    told.prove(FILES, T0 + 90 * MINUTE)
    assert (Stage.RESOLVED, None) == (told.stage(), told.incident.resolved_by)


def test_azure_a_vault_is_recovered_without_its_role_assignments() -> None:
    told = on_azure()
    alarm = told.hear(of_vault(0, "VaultDelete"))
    headline = facts(alarm).headline
    assert headline is not None
    assert (T0 + 90 * DAY, Stage.DELETION_SCHEDULED) == (headline.at, told.stage())
    # The same deletion by the other plane, later and without the date.
    assert [] == told.hear(azure.activity("Microsoft.KeyVault/vaults/delete", azure_world.DATA_VAULT, time=at(1)))
    half = told.hear(of_vault(60, "VaultRecover"))
    assert {(Kind.PROGRESS, Reader.ON_CALL), (Kind.PROGRESS, Reader.CUSTOMER), (Kind.CLEAR, Reader.ON_CALL)} == {
        (notice.kind, notice.reader) for notice in half
    }
    assert (Stage.IMPAIRED, None) == (told.stage(), facts(half).headline)
    assert [ASSIGN] == commands(half)
    told.hear(assignment(70, "write", NEW_GRANT, request=GIVEN))
    assert (Stage.RECOVERING, 1) == (told.stage(), len(told.incidents))


def test_azure_a_vault_with_access_policies_is_recovered_whole() -> None:
    told = on_azure()
    files = azure_world.FILES_VAULT
    alarm = told.hear(of_vault(0, "VaultDelete", files, settings={"enablePurgeProtection": None}))
    assert Stage.IRREVERSIBLE_SOON is told.stage()
    assert [FILES, MAIL] == [key.id for key in facts(alarm).keys]
    told.hear(of_vault(60, "VaultRecover", files))
    assert Stage.RECOVERING is told.stage()


def test_azure_a_role_assignment_is_removed_and_given_back() -> None:
    told = on_azure()
    alarm = told.hear(assignment(0, "delete", azure_world.DATA_GRANT))
    assert [(Effect.ACCESS_REVOKED, Means.IAM_BINDING)] == [(one.effect, one.means) for one in key_of(alarm).happenings]
    assert [ASSIGN] == commands(alarm)
    told.hear(assignment(9, "write", NEW_GRANT, request=GIVEN))
    assert Stage.RECOVERING is told.stage()
    told.prove(DATA, T0 + 30 * MINUTE)
    assert Stage.RESOLVED is told.stage()


def test_azure_a_firewall_is_closed_and_opened_again() -> None:
    told = on_azure()
    closed = {"networkAcls": {"defaultAction": "Deny", "bypass": "None"}}
    alarm = told.hear(of_vault(0, "VaultPatch", settings=closed))
    assert ([Effect.PATH_BLOCKED], Stage.IMPAIRED) == (
        [one.effect for one in key_of(alarm).happenings], told.stage()
    )  # fmt: skip
    (command,) = commands(alarm)
    assert command.startswith("az keyvault update --name glbx-data-kv")
    opened = {"networkAcls": {"defaultAction": "Allow", "bypass": "AzureServices"}}
    told.hear(of_vault(9, "VaultPatch", settings=opened))
    assert Stage.RECOVERING is told.stage()


def test_azure_a_cancelled_subscription_has_no_date_until_it_is_active_again() -> None:
    told = on_azure()
    place = f"/subscriptions/{azure_world.GLOBEX_SUBSCRIPTION}"
    alarm = told.hear(azure.change("Microsoft.Subscription/cancel/action", place, eventTime=at(0)))
    assert Stage.DELETION_SCHEDULED is told.stage()
    headline = facts(alarm).headline
    assert headline is not None
    assert (None, False) == (headline.at, "any moment" in headline.words)
    told.hear(azure.change("Microsoft.Subscription/enable/action", place, eventTime=at(60)))
    assert Stage.RECOVERING is told.stage()
