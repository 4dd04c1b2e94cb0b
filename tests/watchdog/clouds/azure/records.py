"""Small Azure records and their wrappers for the tests, in the documented shapes."""

import base64
import json
from typing import Any

from tests.watchdog.clouds.azure.world import (
    ADDRESS,
    APP,
    DATA_KEY,
    DATA_VAULT,
    FORWARDED,
    FORWARDER,
    GLOBEX,
    GLOBEX_PRINCIPAL,
    JANE,
    V1,
)

AT = "2026-05-04T08:00:00.1234567Z"
OID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
TENANT = "http://schemas.microsoft.com/identity/claims/tenantid"
CLAIMS = {"oid": JANE, "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "upn": "jane@globex.example"}
VENDOR = {"oid": GLOBEX_PRINCIPAL, "appid": APP, "appidacr": "2"}
NO = "0b1e0000-1111-4222-8333-000000000001"


def _kept(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if value is not ...}


def audit(operation: str = "KeyUpdate", url: str | None = f"{DATA_KEY}/{V1}", **fields: Any) -> dict[str, Any]:
    """A record of a vault's log, by default of Jane's successful call; `properties` adds, ... removes."""
    properties = {
        "id": url,
        "clientInfo": "AZURECLI/2.91.0",
        "httpStatusCode": 200,
        "requestUri": f"{url}?api-version=7.6" if url else ...,
        "isRbacAuthorized": True,
    }
    properties |= fields.pop("properties", {})
    made = {
        "time": AT,
        "category": "AuditEvent",
        "operationName": operation,
        "resultType": "Success",
        "correlationId": NO,
        "callerIpAddress": "203.0.113.9",
        "identity": {"claim": CLAIMS},
        "properties": _kept({name: value for name, value in properties.items() if value is not None}),
        "resourceId": DATA_VAULT.upper(),
        "resultSignature": "OK",
    }
    return _kept(made | fields)


def use(operation: str = "KeyUnwrap", url: str = f"{DATA_KEY}/{V1}", **fields: Any) -> dict[str, Any]:
    """A use of a key by the vendor's principal, from its registered address."""
    return audit(operation, url, **({"identity": {"claim": VENDOR}, "callerIpAddress": ADDRESS} | fields))


def attributes(*, operations: list[str] | None = None, **values: Any) -> dict[str, Any]:
    """The properties of a KeyUpdate that sent these attributes."""
    key: dict[str, Any] = {"type": "RSA", "attributes": values | {"hsmPlatform": "2"}}
    if operations is not None:
        key["operations"] = operations
    return {"keyProperties": key}


def vault_audit(operation: str = "VaultPatch", vault: str = DATA_VAULT, **fields: Any) -> dict[str, Any]:
    """A record of a vault's own management; `settings` are the resulting properties, None leaves them out."""
    name = vault.rpartition("/")[2]
    settings = fields.pop("settings", {})
    result = {
        "sku": {"Family": "A", "Name": "Premium", "Capacity": None},
        "tenantId": GLOBEX,
        "networkAcls": None,
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": 90,
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
    }
    extra = fields.pop("properties", {})
    properties = {
        "requestUri": f"https://management.azure.com{vault}?api-version=2026-02-01",
        "properties": None if settings is None else _kept(result | settings),
        **extra,
    }
    claims = {OID: JANE, UPN: "jane@globex.example", "appid": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"}
    made = {"resourceId": vault.upper(), "identity": {"claim": claims}} | fields
    return audit(operation, f"https://{name}.vault.azure.net/", properties=properties, **made)


def hsm_audit(operation: str, path: str, vault: str, **fields: Any) -> dict[str, Any]:
    """A record of a managed HSM: status and URL at the top, the identity as JSON in text, no id."""
    claim = {
        "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        "http_schemas_microsoft_com_identity": {"claims": {"objectidentifier": JANE}},
        "http_schemas_xmlsoap_org_ws_2005_05_identity": {"claims": {"upn": "jane@globex.example"}},
    }
    if fields.pop("by_vendor", False):
        claim = {
            "appid": APP,
            "http_schemas_microsoft_com_identity": {"claims": {"objectidentifier": GLOBEX_PRINCIPAL}},
        }
    made = {
        "TenantId": GLOBEX,
        "time": "2026-05-04T08:00:00.123Z",
        "resourceId": vault.upper(),
        "operationName": operation,
        "category": "AuditEvent",
        "resultType": "Success",
        "properties": {"PoolType": "M-HSM"},
        "durationMs": 41,
        "callerIpAddress": "203.0.113.9",
        "identity": json.dumps({"claim": claim}),
        "correlationId": NO,
        "httpStatusCode": 200,
        "PoolName": "glbxhsm",
        "requestUri": f"https://glbxhsm.managedhsm.azure.net{path}",
        "resourceType": "managedHSMs",
    }
    return _kept(made | fields)


def change(operation: str, target: str, end: str = "Success", **fields: Any) -> dict[str, Any]:
    """An event of the resource-manager plane, in Event Grid's own schema."""
    kind = {"write": "Write", "delete": "Delete"}.get(operation.rpartition("/")[2].lower(), "Action")
    subscription = "/".join(target.split("/")[:3])
    data = {
        "authorization": {
            "scope": target,
            "action": operation,
            "evidence": {"role": "Owner", "principalId": JANE.replace("-", "")},
        },
        "claims": {OID: JANE, UPN: "jane@globex.example", TENANT: GLOBEX, "ipaddr": "203.0.113.9"},
        "correlationId": NO,
        "resourceUri": target,
        "operationName": operation,
        "status": "Succeeded",
        "subscriptionId": subscription.rpartition("/")[2],
        "tenantId": GLOBEX,
    }
    made = {
        "subject": target,
        "eventType": f"Microsoft.Resources.Resource{kind}{end}",
        "eventTime": AT,
        "id": NO,
        "data": data | fields.pop("data", {}),
        "dataVersion": "2",
        "metadataVersion": "1",
        "topic": subscription,
    }
    return _kept(made | fields)


def activity(operation: str, target: str, **fields: Any) -> dict[str, Any]:
    """A record of the Activity Log in its diagnostic shape; `request` and `response` are bodies, JSON in text."""
    properties: dict[str, Any] = {"entity": target, "message": operation, "statusCode": "OK"}
    for name, field in (("request", "requestbody"), ("response", "responseBody")):
        if name in fields:
            properties[field] = json.dumps(fields.pop(name))
    made = {
        "time": AT,
        "resourceId": target,
        "correlationId": NO,
        "operationName": operation,
        "resultType": "Success",
        "resultSignature": "Succeeded.OK",
        "callerIpAddress": "203.0.113.9",
        "category": "Administrative",
        "tenantId": GLOBEX,
        "identity": {"claims": {OID: JANE, UPN: "jane@globex.example"}},
        "properties": properties,
    }
    return _kept(made | fields)


def topic(kind: str, url: str = f"{DATA_KEY}/{V1}", source: str = DATA_VAULT, **fields: Any) -> dict[str, Any]:
    """An event of the Key Vault topic, in Event Grid's own schema."""
    parts = url.split("/")
    data = {
        "Id": url,
        "VaultName": source.rpartition("/")[2],
        "ObjectType": "Key" if "/keys/" in url else "Vault",
        "ObjectName": parts[4] if len(parts) > 4 else parts[2],
        "Version": parts[5] if len(parts) > 5 else None,
        "NBF": None,
        "EXP": None,
    }
    made = {
        "id": NO,
        "topic": source,
        "subject": data["ObjectName"],
        "eventType": kind if kind.startswith("Microsoft.") else f"Microsoft.KeyVault.{kind}",
        "eventTime": AT,
        "data": data | fields.pop("data", {}),
        "dataVersion": "1",
        "metadataVersion": "1",
    }
    return _kept(made | fields)


def cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """The same event in the CloudEvents schema."""
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "data": event["data"],
    }


def notification(target: str, properties: dict[str, Any] | None, *, deleted: bool = False) -> dict[str, Any]:
    """A resource notification."""
    subscription = "/".join(target.split("/")[:3])
    resource: dict[str, Any] = {"id": target, "name": target.rpartition("/")[2], "type": "Microsoft.KeyVault/vaults"}
    if properties is not None:
        resource["properties"] = properties
    end = "Deleted" if deleted else "CreatedOrUpdated"
    return {
        "id": NO,
        "source": subscription,
        "subject": target,
        "type": f"Microsoft.ResourceNotifications.Resources.{end}",
        "time": AT,
        "specversion": "1.0",
        "data": {"resourceInfo": resource, "operationalInfo": {"resourceEventTime": AT}},
    }


def directory(operation: str, target: str, tenant: str = GLOBEX, **fields: Any) -> dict[str, Any]:
    """A record of an Entra tenant's audit log; `modified` are (name, old, new), `result` its outcome."""
    modified = [
        {"displayName": name, "oldValue": old, "newValue": new} for name, old, new in fields.pop("modified", [])
    ]
    properties = {
        "result": fields.pop("result", "success"),
        "activityDisplayName": operation,
        "operationType": fields.pop("kind", "Update"),
        "initiatedBy": {"user": {"id": JANE, "userPrincipalName": "jane@globex.example", "ipAddress": "203.0.113.9"}},
        "targetResources": [
            {"id": target, "displayName": "acme", "type": "ServicePrincipal", "modifiedProperties": modified}
        ],
    }
    made = {
        "time": AT,
        "resourceId": f"/tenants/{tenant}/providers/Microsoft.aadiam",
        "operationName": operation,
        "category": "AuditLogs",
        "tenantId": tenant,
        "correlationId": NO,
        "properties": properties,
    }
    return _kept(made | fields)


def forwarded(record: Any, source: str = FORWARDER) -> dict[str, Any]:
    """A log record as the customer's forwarder republishes it."""
    return {"specversion": "1.0", "id": NO, "source": source, "type": FORWARDED, "time": AT, "data": record}


def pull(*events: Any) -> dict[str, Any]:
    """The answer of an Event Grid namespace to a pull."""
    return {
        "value": [
            {"brokerProperties": {"lockToken": f"lock-{number}", "deliveryCount": 1}, "event": event}
            for number, event in enumerate(events, start=1)
        ]
    }


def request(kind: str, body: Any, *, subscription: str | None = "TO-ACME-KV", method: str = "POST") -> dict[str, Any]:
    """A request to the webhook."""
    headers = {"content-type": "application/json; charset=utf-8", "aeg-event-type": kind}
    if subscription:
        headers["Aeg-Subscription-Name"] = subscription
    return {"method": method, "path": "/hooks/azure", "headers": headers, "body": body}


def queued(event: Any) -> dict[str, Any]:
    """A message of a storage queue."""
    return {"messageId": "m-1", "dequeueCount": 1, "messageText": base64.b64encode(raw(event)).decode()}


def raw(content: Any) -> bytes:
    return json.dumps(content).encode()
