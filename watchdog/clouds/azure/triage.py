"""Triage: which entries no register, or not this register, could care about; cheap, and never wiser than the rules."""

from msgspec import UNSET, Struct

from watchdog.clouds.azure.audit import HARMLESS, OTHER_OBJECTS, READING
from watchdog.clouds.azure.fields import text, whole
from watchdog.clouds.azure.ids import canonical, name_of, place
from watchdog.clouds.azure.topic import is_copy

# Log categories of Azure that carry neither key operations, nor changes of resources, nor of directory objects.
UNWANTED = frozenset(
    {
        "alert",
        "allmetrics",
        "autoscale",
        "azurepolicyevaluationdetails",
        "managedidentitysigninlogs",
        "noninteractiveusersigninlogs",
        "policy",
        "provisioninglogs",
        "recommendation",
        "resourcehealth",
        "riskyusers",
        "security",
        "servicehealth",
        "serviceprincipalsigninlogs",
        "signinlogs",
        "userriskevents",
    }
)
# Of Event Grid's own events only these can be about a vault, a role or the watch; any other source may be a forwarder.
KEPT_EVENTS = (
    "Microsoft.KeyVault.",
    "Microsoft.Resources.",
    "Microsoft.ResourceNotifications.Resources.",
    "Microsoft.EventGrid.Subscription",
)
NEVER = frozenset(rule.operation.lower() for rule in HARMLESS)


class Called(Struct, gc=False, rename="camel"):
    """The few fields that triage reads of a log record's properties."""

    id: object = None
    request_uri: object = None
    http_status_code: object = None


class Narrow(Struct, gc=False, rename="camel"):
    """The few fields that triage reads of each entry; none of them is required."""

    event_type: object = None
    type: object = None
    operation_name: object = None
    category: object = None
    resource_id: object = None
    metric_name: object = UNSET
    request_uri: object = None
    http_status_code: object = None
    properties: Called | None = None


def why_dropped(row: Narrow) -> str | None:
    """Say why an entry cannot concern any register; None when it may, or when whether to believe it must be judged."""
    kind = text(row.event_type) or (text(row.type) if row.operation_name is None else None)
    if kind:
        unwanted = kind.startswith("Microsoft.") and not kind.startswith(KEPT_EVENTS)
        return f"an event of a type that cannot concern a key ({kind})" if unwanted else None
    if row.metric_name is not UNSET:
        return "a metric"
    category = (text(row.category) or "").lower()
    if category in UNWANTED:
        return f"a record of the category {category}"
    operation = text(row.operation_name) or ""
    if "/" in operation:
        return "reads only" if operation.lower().endswith("/read") else None
    return _of_vault(row, operation) if operation and category in ("", "auditevent") else None


def _of_vault(row: Narrow, operation: str) -> str | None:
    if not (is_harmless(operation) or (operation == "KeyGet" and _succeeded(row))):
        return None
    vault = canonical(row.resource_id)
    properties = row.properties or Called()
    for url in (properties.id, properties.request_uri, row.request_uri):
        named = place(url)
        if named and named.parts[:1] != ("subscriptions",) and named.host.partition(".")[0] != name_of(vault or ""):
            return None  # it does not agree with itself
    return "reads only, or not about a key"


def is_harmless(operation: str) -> bool:
    """Whether an operation of a vault's log changes nothing, whatever it is called on."""
    if is_copy(operation):
        return False
    known = operation.lower()
    if known in NEVER or OTHER_OBJECTS.fullmatch(operation) is not None:
        return True
    return known != "keyget" and READING.fullmatch(operation) is not None


def _succeeded(row: Narrow) -> bool:
    properties = row.properties or Called()
    status = whole(properties.http_status_code)
    if status is None:
        status = whole(row.http_status_code)
    return status is not None and 200 <= status < 300
