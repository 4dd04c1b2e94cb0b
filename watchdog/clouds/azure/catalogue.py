"""The catalogue for people, and the filters that let it be seen: both written from the tables that the decoder uses."""

import json
from collections.abc import Iterable, Sequence

from watchdog.cloud import Row
from watchdog.clouds.azure import audit, directory, failures, feeds, resources, topic
from watchdog.clouds.azure.forwarder import HEARTBEAT, forwarder
from watchdog.clouds.azure.record import DELETION, TOPIC_PREFIX, VALIDATION
from watchdog.clouds.azure.rules import DOCS, EKM_LOG, KEY_VAULT_LOG, C, Rule, Seen, Stream

ERRORS = f"{DOCS}key-vault/general/rest-error-codes"
FILTERING = f"{DOCS}event-grid/event-filtering"
VALUES_PER_SUBSCRIPTION = (
    25  # of all advanced filters together: https://learn.microsoft.com/azure/event-grid/event-filtering
)
OUTCOMES = ("Success", "Failure", "Cancel")
KINDS = ("Write", "Delete", "Action")


def catalogue() -> Sequence[Row]:
    """Return every operation that is watched or ignored with a reason, every failure, and what is never recorded."""
    return [
        *_rows((*audit.RULES, audit.ANY_OTHER_OBJECT, audit.ANY_OTHER_READ, audit.ANY_OTHER)),
        *_rows((*topic.RULES, topic.ANY_OTHER)),
        *_copies(),
        *_rows(resources.RULES),
        *_rows((resources.ANY_KEY_OPERATION, resources.ANY_OTHER_OF_VAULT, resources.ANY_OTHER_FEED)),
        *_rows(resources.NOTIFICATION_RULES),
        *_rows(directory.RULES),
        *DELIVERIES,
        *map(_failure, failures.ROWS),
        _failure(failures.Row(evidence="(anything else)", applies=bool, failure=failures.ANYTHING_ELSE)),
        *UNSEEN,
    ]


def filters() -> dict[str, str]:
    """Return the filters to install, by purpose: event subscriptions, diagnostic settings, the forwarder's program."""
    return {
        "event-subscription-key-vault": _text(
            {"advancedFilters": [_condition("StringNotBeginsWith", "eventType", others_of_the_topic())]}
        ),
        "event-subscription-resource-manager": _text(
            {
                "includedEventTypes": [
                    f"Microsoft.Resources.Resource{kind}{end}" for kind in KINDS for end in OUTCOMES
                ],
                "advancedFilters": [_condition("StringBeginsWith", "data.operationName", operation_prefixes())],
            }
        ),
        "event-subscription-resource-notifications": _text(
            {
                "includedEventTypes": [rule.operation for rule in resources.NOTIFICATION_RULES],
                "advancedFilters": [
                    _condition("StringIn", "data.resourceInfo.type", [resources.VAULTS, resources.HSMS]),
                ],
            }
        ),
        "diagnostic-setting-vault": _text({"logs": [{"category": feeds.AUDIT_CATEGORY, "enabled": True}]}),
        "diagnostic-setting-subscription": _text({"logs": [{"category": "Administrative", "enabled": True}]}),
        "diagnostic-setting-entra": _text({"logs": [{"category": "AuditLogs", "enabled": True}]}),
        "forwarder": forwarder(),
    }


def operation_prefixes() -> list[str]:
    """Return what the names of the watched resource-manager operations begin with.

    By type of resource, not one by one: an event subscription takes 25 values, and an operation that nobody knows yet
    must come through too.
    """
    watched = [rule.operation for rule in resources.RULES if rule.meaning and rule.seen is not Seen.VENDOR_RESOURCE]
    return list(dict.fromkeys(_type_of(operation) for operation in watched))


def _type_of(operation: str) -> str:
    """Return provider and type; of the vault's own provider the provider alone."""
    provider, kind = operation.split("/")[:2]
    if provider == "Microsoft.KeyVault":
        return f"{provider}/"
    if provider == "Microsoft.Resources":
        return f"{resources.GROUPS}/"
    return f"{provider}/{kind}/"


def others_of_the_topic() -> list[str]:
    """Return what those types of the Key Vault topic begin with that are about no key; unknown ones come through."""
    quiet = [rule.operation for rule in topic.RULES if rule.meaning is None]
    beginnings = (f"{TOPIC_PREFIX}Secret", f"{TOPIC_PREFIX}Certificate")
    return [beginning for beginning in beginnings if any(operation.startswith(beginning) for operation in quiet)]


def _condition(operator: str, key: str, values: list[str]) -> dict[str, object]:
    return {"operatorType": operator, "key": key, "values": values}


def _text(content: object) -> str:
    return json.dumps(content, indent=1)


def _rows(rules: Iterable[Rule[C]]) -> list[Row]:
    return [
        Row(
            operation=rule.operation,
            service=rule.stream,
            effect=rule.effect,
            seen_through=rule.seen,
            note=rule.note,
            source=rule.source,
        )
        for rule in rules
    ]


def _copies() -> list[Row]:
    """List each event of the topic once more, as its copy in the vault's own log."""
    return [
        Row(
            operation=f"{rule.operation.removeprefix(TOPIC_PREFIX)}{topic.COPY}",
            service=Stream.AUDIT,
            effect=rule.effect,
            seen_through=Seen.AUDIT if rule.meaning else Seen.NOT_NEEDED,
            note=f"a copy of the event, written without any subscription too; {rule.note}",
            source=KEY_VAULT_LOG,
        )
        for rule in topic.RULES
    ]


def _failure(row: failures.Row) -> Row:
    told = row.failure
    return Row(
        operation=f"failure: {row.evidence}",
        service=Stream.USE,
        effect=f"use_failed: {told.cause}",
        seen_through=Seen.AUDIT,
        note=f"fault: {told.fault}{', to be probed' if told.probe else ''}; {told.why}",
        source=ERRORS,
    )


DELIVERIES = (
    Row(
        operation=DELETION,
        service=Stream.DELIVERY,
        effect="feed_tampered",
        seen_through=Seen.DELIVERY,
        note="aeg-event-type SubscriptionDeletion: Event Grid itself says that the subscription is gone",
        source=f"{DOCS}event-grid/delivery-properties",
    ),
    Row(
        operation=VALIDATION,
        service=Stream.DELIVERY,
        effect="no_effect",
        seen_through=Seen.DELIVERY,
        note="a handshake; untrusted for a subscription that nobody registered",
        source=f"{DOCS}event-grid/end-point-validation-event-grid-events-schema",
    ),
    Row(
        operation=HEARTBEAT,
        service=Stream.DELIVERY,
        effect="no_effect",
        seen_through=Seen.FORWARDER,
        note="every five minutes, the sign that the forwarder lives; untrusted from one that nobody registered",
        source=f"{DOCS}event-grid/cloud-event-schema",
    ),
)


def _unseen(operation: str, effect: str, note: str, source: str) -> Row:
    return Row(
        operation=operation,
        service=Stream.NONE,
        effect=effect,
        seen_through=Seen.NOTHING,
        note=note,
        source=source,
    )


UNSEEN = (
    _unseen(
        "(key purged by the clock)",
        "key_destroyed",
        "no record when the retention of a deleted key ends: the deadline of its deletion runs",
        f"{DOCS}key-vault/general/soft-delete-overview",
    ),
    _unseen(
        "(expiry of an older version)",
        "key_expired",
        "the topic covers the current version only, and versions newer than its subscription: computed from attributes",
        f"{DOCS}key-vault/general/event-grid-overview",
    ),
    _unseen(
        "(subscription disabled, expired, deleted)",
        "container_lost",
        "most causes leave no record; a probe fails",
        f"{DOCS}cost-management-billing/manage/subscription-states",
    ),
    _unseen(
        "(vault's subscription moved to another tenant)",
        "access_revoked",
        "the stream may stop with it",
        f"{DOCS}key-vault/general/move-subscription",
    ),
    _unseen(
        "(key operations without a diagnostic setting)",
        "nothing",
        "neither Event Grid nor the Activity Log carries disabling, deleting, purging or recovering a key",
        KEY_VAULT_LOG,
    ),
    _unseen(
        "(management-group scope in Event Grid)",
        "access_changed",
        "assignments and denials there are in the Activity Log only",
        f"{DOCS}event-grid/event-schema-subscriptions",
    ),
    _unseen(
        "(external key or HSM behind a managed HSM)",
        "use_failed, or nothing",
        "what its owner does there leaves no record in Azure until the next use",
        EKM_LOG,
    ),
)
