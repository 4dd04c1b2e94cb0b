"""Small AWS records and wrappers for the tests, in the documented shapes."""

import json
from typing import Any

from tests.watchdog.clouds.aws.world import GLOBEX, KEY, ROLE_ID, VENDOR

AT = "2026-04-02T10:00:00Z"

ADMIN = {
    "type": "AssumedRole",
    "principalId": "AROAGLOBEXADMIN000009:jane",
    "arn": f"arn:aws:sts::{GLOBEX}:assumed-role/KeyAdmin/jane",
    "accountId": GLOBEX,
    "sessionContext": {"sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{GLOBEX}:role/KeyAdmin"}},
}
APPLICATION = {
    "type": "AssumedRole",
    "principalId": f"{ROLE_ID}:i-0abc",
    "arn": f"arn:aws:sts::{VENDOR}:assumed-role/acme-instance-1/i-0abc",
    "accountId": VENDOR,
}


def record(name: str = "DisableKey", **fields: Any) -> dict[str, Any]:
    """Make a CloudTrail record of a successful KMS call by Globex' administrator on its key; fields override."""
    made = {
        "eventVersion": "1.11",
        "userIdentity": ADMIN,
        "eventTime": AT,
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "192.0.2.10",
        "userAgent": "aws-cli/2.31",
        "requestParameters": {"keyId": KEY},
        "responseElements": {"keyId": KEY},
        "eventID": "5f0c7d7a-0000-4000-8000-000000000001",
        "readOnly": False,
        "resources": [{"accountId": GLOBEX, "type": "AWS::KMS::Key", "ARN": KEY}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": GLOBEX,
        "eventCategory": "Management",
    }
    return {name: value for name, value in (made | fields).items() if value is not ...}


def use(name: str = "Decrypt", **fields: Any) -> dict[str, Any]:
    """Make the vendor's copy of a use of Globex' key by the vendor's application."""
    mine = {"userIdentity": APPLICATION, "recipientAccountId": VENDOR, "responseElements": None, "readOnly": True}
    return record(name, **(mine | fields))


def event(detail: dict[str, Any], /, **fields: Any) -> dict[str, Any]:
    """Wrap a record as EventBridge does."""
    made = {
        "version": "0",
        "id": "e0e0e0e0-0000-4000-8000-000000000001",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws." + str(detail.get("eventSource", "kms")).partition(".")[0],
        "account": detail.get("recipientAccountId", GLOBEX),
        "time": detail.get("eventTime", AT),
        "region": detail.get("awsRegion", "eu-west-1"),
        "resources": [],
        "detail": detail,
    }
    return {name: value for name, value in (made | fields).items() if value is not ...}


def notification(message: Any, topic: str, **fields: Any) -> dict[str, Any]:
    """Wrap a message as SNS does."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {"Type": "Notification", "MessageId": "m-1", "TopicArn": topic, "Message": text, "Timestamp": AT} | fields


def raw(content: Any) -> bytes:
    return json.dumps(content).encode()
