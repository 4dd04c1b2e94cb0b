"""Small Google Cloud log entries and wrappers for the tests, in the documented shapes."""

import base64
import json
from typing import Any

from tests.watchdog.clouds.gcp.world import GLOBEX, KEY, SUBSCRIPTION
from watchdog.clouds.gcp.rules import KMS

AT = "2026-04-02T10:00:00.250000001Z"
ADMIN = "jane@globex.example"
MASKED_DISABLE = {"cryptoKeyVersion": {"state": "DISABLED"}, "updateMask": "state"}


def audit(method: str, resource: str | None, request: Any = None, **fields: Any) -> dict[str, Any]:
    """Make the log entry of a call; `log` names its container; other fields override those of the payload."""
    container = fields.pop("log", f"projects/{GLOBEX}")
    kind = fields.pop("kind", "activity")
    entry = fields.pop("entry", {})
    actor = fields.pop("by", ADMIN)
    payload = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "status": {},
        "authenticationInfo": {"principalEmail": actor},
        "requestMetadata": {"callerIp": "198.51.100.7", "callerSuppliedUserAgent": "gcloud/560.0.0"},
        "serviceName": fields.pop("service", KMS),
        "methodName": method,
        "resourceName": resource,
        "request": request,
    }
    code = fields.pop("code", 0)
    if code:
        payload["status"] = {"code": code, "message": fields.pop("message", "refused")}
    payload = {name: value for name, value in (payload | fields).items() if value is not None}
    made = {
        "insertId": "a1b2c3d4e5f6",
        "logName": f"{container}/logs/cloudaudit.googleapis.com%2F{kind}",
        "timestamp": AT,
        "receiveTimestamp": "2026-04-02T10:00:01.5Z",
        "resource": {"type": "audited_resource", "labels": {}},
        "severity": "NOTICE",
        "protoPayload": payload,
    }
    return {name: value for name, value in (made | entry).items() if value is not ...}


def version_update(version: str = "3", request: Any = None, **fields: Any) -> dict[str, Any]:
    """Make an UpdateCryptoKeyVersion of Globex' key; by default it disables a version."""
    return audit("UpdateCryptoKeyVersion", f"{KEY}/cryptoKeyVersions/{version}", request or MASKED_DISABLE, **fields)


def pushed(content: Any, subscription: str | None = SUBSCRIPTION) -> dict[str, Any]:
    """Wrap a message as a Pub/Sub push does."""
    data = content if isinstance(content, bytes) else raw(content)
    message = {"data": base64.b64encode(data).decode(), "messageId": "1", "publishTime": AT, "attributes": {}}
    return {"message": message} | ({"subscription": subscription} if subscription else {})


def asset(
    name: str, now: Any = None, before: Any = None, kind: str = "CryptoKeyVersion", **fields: Any
) -> dict[str, Any]:
    """Make a message of an asset feed: a resource before and after."""

    def side(data: Any) -> dict[str, Any]:
        made = {"assetType": f"{KMS}/{kind}", "name": f"//{KMS}/{name}"}
        return made | ({"resource": {"data": data}} if data is not None else {})

    made = {"asset": side(now) | {"updateTime": AT}, "priorAssetState": "PRESENT", "window": {"startTime": AT}}
    if before is not None:
        made["priorAsset"] = side(before)
    return made | fields


def policy_asset(name: str, now: Any, before: Any = None) -> dict[str, Any]:
    """Make a message of an asset feed about a policy."""
    made = asset(name, kind="CryptoKey")
    made["asset"]["iamPolicy"] = now
    if before is not None:
        made["priorAsset"] = {"name": f"//{KMS}/{name}", "assetType": f"{KMS}/CryptoKey", "iamPolicy": before}
    return made


def raw(content: Any) -> bytes:
    return json.dumps(content).encode()
