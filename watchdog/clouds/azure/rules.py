"""The shape of the catalogue: one row says what one operation means, through which stream it is seen, and why."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

from watchdog.signals import Signal

C = TypeVar("C")

DOCS = "https://learn.microsoft.com/azure/"
KEY_VAULT_LOG = f"{DOCS}key-vault/general/logging"
HSM_LOG = f"{DOCS}key-vault/managed-hsm/logging"
EKM_LOG = f"{DOCS}key-vault/managed-hsm/external-key-management-logging-monitoring"
KEY_VAULT_EVENTS = f"{DOCS}event-grid/event-schema-key-vault"
RESOURCE_EVENTS = f"{DOCS}event-grid/event-schema-subscriptions"
NOTIFICATIONS = f"{DOCS}event-grid/event-schema-resource-notifications"
OPERATIONS = f"{DOCS}role-based-access-control/resource-provider-operations"
SOFT_DELETE = f"{DOCS}key-vault/general/soft-delete-overview"
ENTRA_LOG = "https://learn.microsoft.com/entra/identity/monitoring-health/reference-audit-activities"


class Stream(StrEnum):
    """Where an operation belongs; a row's service."""

    AUDIT = "Key Vault AuditEvent"
    HSM = "Managed HSM AuditEvent"
    TOPIC = "Event Grid Microsoft.KeyVault"
    RESOURCE = "Azure Resource Manager"
    NOTIFICATION = "Event Grid Microsoft.ResourceNotifications"
    DIRECTORY = "Entra audit log"
    DELIVERY = "Event Grid delivery"
    USE = "use of a key"
    NONE = "(no record)"


class Seen(StrEnum):
    """Through what it is seen: what has to be set up for it."""

    AUDIT = "diagnostic setting of the vault or managed HSM, category AuditEvent"
    TOPIC = "event subscription on the vault's Key Vault topic"
    RESOURCE = "event subscription on the customer's subscription, and its Activity Log (with bodies)"
    ACTIVITY = "Activity Log of the subscription or management group only"
    NOTIFICATION = "event subscription on the Resource Notifications topic (preview)"
    DIRECTORY = "diagnostic setting of the customer's Entra tenant, category AuditLogs"
    VENDOR_DIRECTORY = "diagnostic setting of the vendor's Entra tenant, category AuditLogs"
    VENDOR_RESOURCE = "Activity Log of the vendor's own subscription"
    DELIVERY = "the webhook's own deliveries"
    FORWARDER = "the customer's forwarder itself, once its source is registered"
    NOTHING = "no record: only a probe can tell"
    NOT_NEEDED = "need not be forwarded: it changes nothing"


class Rule(Struct, Generic[C], frozen=True, kw_only=True):
    """One row. `meaning` is None for what is known to change nothing; `note` then says why."""

    operation: str
    effect: str
    note: str
    source: str
    seen: Seen
    stream: Stream
    meaning: Callable[[C], list[Signal]] | None = None


def table(rules: Iterable[Rule[C]]) -> dict[str, Rule[C]]:
    """Index rules by their operation in lower case."""
    return {rule.operation.lower(): rule for rule in rules}
