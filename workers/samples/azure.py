"""Azure: vaults with one registered key each, and records and events about them, from a seed (azure.md 6.1)."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from watchdog.register import Access, Consumer, KeyEntry, KeyException
from watchdog.register_azure import (
    AzureApp,
    AzureContainer,
    AzureCustomer,
    AzureDiagnosticSetting,
    AzureEventSubscription,
    AzureFeeds,
    AzureForwarder,
    AzureGrant,
    AzureKey,
    AzureServicePrincipal,
    AzureVendor,
    AzureVersion,
)
from workers.samples.chance import START, Chance
from workers.samples.interface import Made

_ROLE = "e147488a-f6f5-4113-8e2d-b22465e65bf6"  # Key Vault Crypto Service Encryption User (azure.md 1)
_CLI, _PORTAL = "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"
_OBJECT_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
_UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
_API = "api-version=7.6"
_PEOPLE, _OTHER_VAULTS = 60, 40  # callers and vaults that a stream of records has: the same few make nearly all of it


def _guid(kind: int, number: int = 0) -> str:
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


VENDOR_TENANT = _guid(0x7E000000)
VENDOR_SUBSCRIPTION = _guid(0x5B000000)
APP, APP_OBJECT = _guid(0xA9900000), _guid(0xA9900001)
ADDRESS = "198.51.100.20"
FORWARDED = "example.keyvault.record"
"""The type of the CloudEvents in which a customer's forwarder passes on the records of its vault's log."""

NAMESPACE = (
    f"/subscriptions/{VENDOR_SUBSCRIPTION}/resourceGroups/rg-intake/providers/Microsoft.EventGrid/namespaces/intake"
)


@dataclass(frozen=True, slots=True)
class Vault:
    """Vault number N of customer number N, with one registered key in it: every id follows from the number.

    `label` names things for people; by default it is made from the number. By default nothing protects from purging.
    """

    number: int
    label: str = ""
    purge_protection: bool = False

    @property
    def stem(self) -> str:
        """What the names of everything of this customer begin with; also the customer's id."""
        return self.label or f"az-party-{self.number:06}"

    @property
    def name(self) -> str:
        """Name of the vault, and first part of its host."""
        return f"kv-{self.stem}"

    @property
    def tenant(self) -> str:
        """The customer's tenant."""
        return _guid(0x7E000001, self.number)

    @property
    def subscription(self) -> str:
        """The customer's subscription."""
        return _guid(0x5B000001, self.number)

    @property
    def principal(self) -> str:
        """Object id of the vendor's application in this tenant."""
        return _guid(0x59000001, self.number)

    @property
    def group(self) -> str:
        """Id of the resource group in which everything of this customer lies."""
        return f"/subscriptions/{self.subscription}/resourceGroups/rg-keys"

    @property
    def id(self) -> str:
        """Resource id of the vault."""
        return f"{self.group}/providers/Microsoft.KeyVault/vaults/{self.name}"

    @property
    def host(self) -> str:
        """DNS name of the vault."""
        return f"{self.name}.vault.azure.net"

    @property
    def key_name(self) -> str:
        """Name of the registered key."""
        return f"{self.stem}-prod"

    @property
    def key(self) -> str:
        """Id of the registered key, without a version."""
        return f"https://{self.host}/keys/{self.key_name}"

    @property
    def version(self) -> str:
        """The version that data is encrypted under."""
        return f"{0xC0FFEE << 64 | self.number:032x}"

    @property
    def grant(self) -> str:
        """Id of the role assignment that lets the vendor use the keys of the vault."""
        return f"{self.id}/providers/Microsoft.Authorization/roleAssignments/{_guid(0x69000001, self.number)}"

    @property
    def forwarder(self) -> str:
        """What passes the log on: resource id, and `source` of its CloudEvents."""
        return f"{self.group}/providers/Microsoft.Web/sites/{self.name}-forwarder"

    def side(self) -> AzureCustomer:
        """Return the customer's Azure section of the register."""
        grant = AzureGrant(kind="role_assignment", scope=self.id, principal=self.principal, id=self.grant, role=_ROLE)
        hub = f"{self.group}/providers/Microsoft.EventHub/namespaces/{self.name}-log"
        events = f"/subscriptions/{self.subscription}/providers/Microsoft.EventGrid/eventSubscriptions/{self.name}"
        return AzureCustomer(
            tenant=self.tenant,
            subscriptions=[self.subscription],
            service_principal=AzureServicePrincipal(object_id=self.principal, app_id=APP),
            containers=[
                AzureContainer(
                    id=self.id, host=self.host, purge_protection=self.purge_protection, location="westeurope"
                )
            ],
            grants=[grant],
            feeds=AzureFeeds(
                diagnostic_settings=[
                    AzureDiagnosticSetting(id=f"{self.id}/providers/Microsoft.Insights/diagnosticSettings/to-vendor")
                ],
                event_subscriptions=[AzureEventSubscription(id=events, name=self.name.upper())],
                event_hubs=[hub],
                forwarders=[AzureForwarder(id=self.forwarder, source=self.forwarder, type=FORWARDED)],
            ),
        )

    def entry(self, exception: KeyException, *, name: str = "", consumers: Sequence[Consumer] = ()) -> KeyEntry:
        """Return the key as it stands in the register."""
        return KeyEntry(
            key=self.key,
            cloud="azure",
            name=name,
            exception=exception,
            access=[Access(principal=self.principal, operations=["get", "wrapKey", "unwrapKey"])],
            consumers=list(consumers),
            azure=AzureKey(versions=[AzureVersion(version=self.version)]),
        )


def vendor() -> AzureVendor:
    """Return the vendor's Azure section of the register: one application serves every vault."""
    return AzureVendor(
        tenant=VENDOR_TENANT,
        subscriptions=[VENDOR_SUBSCRIPTION],
        addresses=[ADDRESS],
        apps=[AzureApp(app_id=APP, object_id=APP_OBJECT, name="example-dedicated-cloud")],
    )


# ------------------------------------------------------------------------------------------------------------ records


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who calls, from where, with what."""

    claims: dict[str, Any]
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A vault as its own log and its URLs name it."""

    id: str
    host: str


_AGENTS = (
    "AZURECLI/2.91.0 azsdk-python-azure-keyvault-keys/4.11.3 Python/3.12.8 (Linux-6.8.0-x86_64-with-glibc2.39)",
    "azsdk-net-Security.KeyVault.Secrets/4.7.0 (.NET 8.0.11; Microsoft Windows 10.0.20348)",
    "HashiCorp Terraform/1.9.8 terraform-provider-azurerm/4.14.0 pid-222c6c49-1b0a-5959-a213-6608f9eb8820",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0",
)
_READS = (
    ("SecretGet", "secrets"),
    ("SecretGet", "secrets"),
    ("SecretGet", "secrets"),
    ("SecretList", "secrets"),
    ("CertificateGet", "certificates"),
    ("CertificateList", "certificates"),
    ("KeyGet", "keys"),
    ("KeyList", "keys"),
    ("KeyListVersions", "keys"),
)
_WORK = (
    ("KeyUnwrap", "keys"),
    ("KeyWrap", "keys"),
    ("KeySign", "keys"),
    ("KeyDecrypt", "keys"),
    ("SecretSet", "secrets"),
    ("SecretUpdate", "secrets"),
    ("SecretDelete", "secrets"),
    ("CertificateCreate", "certificates"),
    ("KeyUpdate", "keys"),
    ("KeyRotate", "keys"),
    ("KeyDelete", "keys"),
)
_RESOURCES = (
    ("Microsoft.Compute/virtualMachines", "write"),
    ("Microsoft.Compute/virtualMachines", "start/action"),
    ("Microsoft.Storage/storageAccounts", "write"),
    ("Microsoft.Storage/storageAccounts", "listKeys/action"),
    ("Microsoft.Network/networkSecurityGroups", "write"),
    ("Microsoft.Web/sites", "restart/action"),
    ("Microsoft.Resources/deployments", "write"),
    ("Microsoft.Resources/tags", "write"),
    ("Microsoft.ContainerService/managedClusters", "delete"),
)
_OBJECTS = ("SecretNewVersionCreated", "SecretNearExpiry", "CertificateNearExpiry", "CertificateNewVersionCreated")


class AzureCorpus:
    """Makes records of vaults' logs, and events of Event Grid, one after the other (see `interface.Maker`).

    The noise is that of the customer `around`: its other vaults and resources, and the rest of its registered vault.
    """

    def __init__(self, seed: int, *, start: datetime = START, around: Vault = Vault(0)) -> None:
        self._chance = Chance(seed, start)
        self._around = around
        self._own = _Place(around.id, around.host)
        self._callers = [self._new_caller(around) for _ in range(_PEOPLE)]
        self._vaults = [self._another_vault() for _ in range(_OTHER_VAULTS)]

    # -------------------------------------------------------------------------------------------------- the vault's log

    def records(self, count: int) -> Iterator[Made]:
        """Yield so many records of noise."""
        for _ in range(count):
            yield self.noise()

    def noise(self) -> Made:
        """One log record that concerns no registered key: mostly readings, one in ten from the registered vault."""
        chance = self._chance
        vault = self._own if chance.below(10) == 0 else chance.one_of(self._vaults)
        drawn = chance.share()
        if drawn < 0.08:
            return self._challenge(vault)
        if drawn < 0.12:
            return self._record("VaultGet", vault, _management(vault.id), {"id": f"https://{vault.host}/"})
        operation, kind = chance.one_of(_READS if drawn < 0.7 else _WORK)
        thing = f"https://{vault.host}/{kind}/{chance.word()}-{chance.below(900)}"
        # Wherever the name of a key would do, the log has the version too (azure.md 6.1).
        about = thing if operation in ("KeyDelete", "KeyGet") else f"{thing}/{chance.hex(32)}"
        named: Made = {} if operation.endswith(("List", "Versions")) else {"id": about}
        if operation == "KeyUpdate":
            named["keyProperties"] = _written(enabled=chance.below(2) == 0)
        record = self._record(operation, vault, f"{thing}?{_API}", named)
        return _refused(record, 403, "Forbidden") if drawn > 0.97 else record

    def use(self, key: Vault, at: datetime | None = None) -> Made:
        """A successful use of the registered key by the vendor's application."""
        return self._by_vendor(key, self._chance.one_of(("KeyUnwrap", "KeyUnwrap", "KeyWrap")), at)

    def failed_use(self, key: Vault, at: datetime | None = None) -> Made:
        """A use by the vendor's application that is refused because the version is disabled (azure.md 4)."""
        told = "Operation unwrapKey is not allowed on a disabled key."
        return _refused(self._by_vendor(key, "KeyUnwrap", at), 403, "Forbidden", told)

    def change(
        self,
        operation: str,
        key: Vault,
        *,
        about: str | None = None,
        at: datetime | None = None,
        **properties: object,
    ) -> Made:
        """A successful call on the registered key by somebody of its own tenant; `about` is another URL of it."""
        url = about or key.key
        caller = self._caller_in(key)
        return self._record(operation, _of(key), f"{url}?{_API}", {"id": url} | properties, at=at, caller=caller)

    def disabled(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody disables the version in use."""
        return self._updated(key, at, enabled=False)

    def enabled(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody enables the version in use."""
        return self._updated(key, at, enabled=True)

    def deletion_scheduled(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody deletes the key, with all its versions; the id has no version (azure.md 6.1)."""
        return self.change("KeyDelete", key, at=at)

    def deletion_cancelled(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody recovers the deleted key."""
        made = self.change("KeyRecover", key, at=at)
        made["properties"]["requestUri"] = f"https://{key.host}/deletedkeys/{key.key_name}/recover?{_API}"
        return made

    def destroyed(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody purges the deleted key."""
        about = f"https://{key.host}/deletedkeys/{key.key_name}"
        return _ended(self.change("KeyPurge", key, about=about, at=at), 204, "No Content")

    # ------------------------------------------------------------------------------------------- events of Event Grid

    def noise_event(self) -> Made:
        """One event, in Event Grid's own schema, that concerns no registered key."""
        chance = self._chance
        if chance.below(3):
            kind, verb = chance.one_of(_RESOURCES)
            target = f"{self._around.group}/providers/{kind}/{chance.word()}-{chance.below(900)}"
            return self._resource_event(self._around, f"{kind}/{verb}", target)
        kind = chance.one_of(_OBJECTS)
        vault = self._own if chance.below(10) == 0 else chance.one_of(self._vaults)
        collection = "secrets" if kind.startswith("Secret") else "certificates"
        return self._topic_event(kind, vault, collection, f"{chance.word()}-{chance.below(900)}", chance.hex(32))

    def vault_deleted(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody deletes the vault with everything in it: `container_lost`."""
        return self._resource_event(key, "Microsoft.KeyVault/vaults/delete", key.id, at)

    def grant_deleted(self, key: Vault, at: datetime | None = None) -> Made:
        """Somebody deletes the role assignment by which the vendor uses the key: `access_revoked`."""
        return self._resource_event(key, "Microsoft.Authorization/roleAssignments/delete", key.grant, at)

    def near_expiry(self, key: Vault, expires: datetime, at: datetime | None = None) -> Made:
        """The version in use comes near its expiry: `expiry_ahead`."""
        made = self._topic_event("KeyNearExpiry", _of(key), "keys", key.key_name, key.version, at)
        made["data"]["EXP"] = int(expires.timestamp())
        return made

    # ---------------------------------------------------------------------------------------------------------- inside

    def _updated(self, key: Vault, at: datetime | None, *, enabled: bool) -> Made:
        about = f"{key.key}/{key.version}"
        return self.change("KeyUpdate", key, about=about, at=at, keyProperties=_written(enabled=enabled))

    def _by_vendor(self, key: Vault, operation: str, at: datetime | None) -> Made:
        about = f"{key.key}/{key.version}"
        claims = {"appid": APP, "appidacr": "2", "oid": key.principal, "tid": key.tenant}
        caller = _Caller(claims, ADDRESS, "")
        verb = "unwrapkey" if operation == "KeyUnwrap" else "wrapkey"
        return self._record(operation, _of(key), f"{about}/{verb}?{_API}", {"id": about}, at=at, caller=caller)

    def _challenge(self, vault: _Place) -> Made:
        """Make the first leg of every login: 401, with nobody's name in it (azure.md 4)."""
        made = self._record("Authentication", vault, f"https://{vault.host}/secrets?{_API}", {})
        made["identity"] = {}
        return _refused(made, 401, "Unauthorized")

    def _record(
        self, operation: str, vault: _Place, url: str, properties: Made, *, at: datetime | None = None,
        caller: _Caller | None = None,
    ) -> Made:  # fmt: skip
        moment = self._chance.moment()
        caller = caller or self._chance.one_of(self._callers)
        return {
            "time": self._time(at or moment),
            "category": "AuditEvent",
            "operationName": operation,
            "operationVersion": "7.6",
            "resultType": "Success",
            "resultSignature": "OK",
            "resultDescription": "",
            "correlationId": self._chance.uuid(),
            "durationMs": str(self._chance.between(9, 240)),
            "callerIpAddress": caller.address,
            "identity": {"claim": caller.claims},
            "properties": {
                "clientInfo": caller.agent,
                "requestUri": url,
                "httpStatusCode": 200,
                "isRbacAuthorized": True,
                "isAddressAuthorized": True,
                "addressAuthorizationType": "PublicInternet",
                "tlsVersion": "TLS1_3",
                **properties,
            },
            "resourceId": vault.id.upper(),
        }

    def _resource_event(self, of: Vault, operation: str, target: str, at: datetime | None = None) -> Made:
        verb = operation.rpartition("/")[2]
        kind = {"write": "Write", "delete": "Delete"}.get(verb, "Action")
        moment, caller = self._chance.moment(), self._caller_in(of)
        claims = {_OBJECT_ID: caller.claims["oid"], _UPN: caller.claims["upn"], "appid": _PORTAL}
        return {
            "id": self._chance.uuid(),
            "topic": f"/subscriptions/{of.subscription}",
            "subject": target,
            "eventType": f"Microsoft.Resources.Resource{kind}Success",
            "eventTime": self._time(at or moment),
            "data": {
                "authorization": {"scope": target, "action": operation, "evidence": {"role": "Owner"}},
                "claims": claims,
                "correlationId": self._chance.uuid(),
                "httpRequest": {"clientIpAddress": caller.address, "method": "DELETE" if verb == "delete" else "PUT"},
                "resourceProvider": operation.partition("/")[0],
                "resourceUri": target,
                "operationName": operation,
                "status": "Succeeded",
                "subscriptionId": of.subscription,
                "tenantId": of.tenant,
            },
            "dataVersion": "2",
            "metadataVersion": "1",
        }

    def _topic_event(
        self, kind: str, vault: _Place, collection: str, name: str, version: str, at: datetime | None = None
    ) -> Made:
        moment = self._chance.moment()
        return {
            "id": self._chance.uuid(),
            "topic": vault.id,
            "subject": name,
            "eventType": f"Microsoft.KeyVault.{kind}",
            "eventTime": self._time(at or moment),
            "data": {
                "Id": f"https://{vault.host}/{collection}/{name}/{version}",
                "VaultName": vault.host.partition(".")[0],
                "ObjectType": {"keys": "Key", "secrets": "Secret"}.get(collection, "Certificate"),
                "ObjectName": name,
                "Version": version,
                "NBF": None,
                "EXP": None,
            },
            "dataVersion": "1",
            "metadataVersion": "1",
        }

    def _caller_in(self, vault: Vault) -> _Caller:
        at_home = vault.tenant == self._around.tenant
        return self._chance.one_of(self._callers) if at_home else self._new_caller(vault)

    def _new_caller(self, of: Vault) -> _Caller:
        claims = {
            "oid": self._chance.uuid(),
            "appid": _CLI,
            "tid": of.tenant,
            "upn": f"{self._chance.word()}.{self._chance.letters(5)}@{of.stem}.example",
            "ipaddr": f"203.0.113.{self._chance.between(1, 254)}",
        }
        return _Caller(claims, claims["ipaddr"], self._chance.one_of(_AGENTS))

    def _another_vault(self) -> _Place:
        name = f"kv-{self._chance.word()}-{self._chance.letters(8)}"
        return _Place(f"{self._around.group}/providers/Microsoft.KeyVault/vaults/{name}", f"{name}.vault.azure.net")

    def _time(self, at: datetime) -> str:
        """Write a time with seven digits of a second, as Azure does."""
        return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}{self._chance.below(10)}Z"


def _of(key: Vault) -> _Place:
    return _Place(key.id, key.host)


def _management(resource: str) -> str:
    return f"https://management.azure.com{resource}?api-version=2026-02-01"


def _written(*, enabled: bool) -> Made:
    return {"type": "RSA", "kid": "", "size": 3072, "attributes": {"enabled": enabled}}


def _refused(record: Made, status: int, signature: str, told: str = "") -> Made:
    """Make a call a refused one; `resultType` says "Success" all the same (azure.md 3.3)."""
    record["resultDescription"] = told
    return _ended(record, status, signature)


def _ended(record: Made, status: int, signature: str) -> Made:
    record["resultSignature"] = signature
    record["properties"]["httpStatusCode"] = status
    return record


# --------------------------------------------------------------------------------------------------------- deliveries


def log_lines(records: Iterable[Made]) -> bytes:
    """Write log records as a storage account holds them: JSON lines."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def hub_message(records: Sequence[Made]) -> bytes:
    """Write log records as an event hub hands them on: one object with a list."""
    return msgspec.json.encode({"records": records})


def forwarded(record: Made, key: Vault) -> Made:
    """Wrap a log record as the customer's forwarder publishes it: one CloudEvent (azure.md 6.6)."""
    return {
        "specversion": "1.0",
        "id": record["correlationId"],
        "source": key.forwarder,
        "type": FORWARDED,
        "subject": key.name,
        "time": record["time"],
        "datacontenttype": "application/json",
        "data": record,
    }


def cloud_event(event: Made) -> Made:
    """Write an event of Event Grid's own schema in that of CloudEvents."""
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "data": event["data"],
    }


def event_batch(events: Sequence[Made]) -> bytes:
    """Write events as a webhook or a pull hands them out: a list."""
    return msgspec.json.encode(events)


def queue_text(event: Made) -> str:
    """Write an event as a storage queue holds it: base64 of its JSON."""
    return base64.b64encode(msgspec.json.encode(event)).decode()
