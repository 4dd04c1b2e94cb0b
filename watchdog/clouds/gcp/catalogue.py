"""The catalogue for people, and the filters that let it be seen: both written from the tables that the decoder uses."""

from collections.abc import Iterable, Sequence

from watchdog.cloud import Row
from watchdog.clouds.gcp import kms, services
from watchdog.clouds.gcp.names import HEARTBEAT
from watchdog.clouds.gcp.platformlog import EVENTS
from watchdog.clouds.gcp.repair import ASSET_TYPES
from watchdog.clouds.gcp.rules import (
    ACCESS_CONTEXT,
    ASSET,
    BILLING,
    IAM,
    KMS,
    LOGGING,
    MANAGEMENT,
    ORGPOLICY,
    PUBSUB,
    RESOURCES,
    USAGE,
    Rule,
    Seen,
    Witness,
)
from watchdog.clouds.gcp.uses import PERIMETER, ROWS, USES, CodeRow

FEEDS = "https://cloud.google.com/asset-inventory/docs/monitor-asset-changes"
MONITORING = f"{kms.DOCS}monitor-state-changes"
STATES = f"{kms.DOCS}key-states"
# Forwarded whole: few records, and new methods of theirs are worth a look (gcp.md 6.2).
WHOLE = (RESOURCES, USAGE, MANAGEMENT, BILLING, ORGPOLICY, ACCESS_CONTEXT)
BY_METHOD = (IAM, LOGGING, ASSET)
PLATFORM_LOGS = f'logName:"{KMS}"'
HEARTBEATS = f'log_id("{HEARTBEAT}")'
AUDIT_LOGS = 'logName:"cloudaudit.googleapis.com"'


def catalogue() -> Sequence[Row]:
    """Return every operation that is watched or ignored with a reason, every failure, and what is never recorded."""
    return [
        *map(_row, (*kms.RULES, kms.ANY_OTHER_WRITE, *services.RULES)),
        *_uses(),
        *map(_failure_row, ROWS),
        *_platform(),
        *ASSETS,
        BEAT,
        *UNSEEN,
    ]


def filters() -> dict[str, str]:
    """Return the filters to install, by purpose: of log sinks, and the asset types of a feed."""
    return {
        "sink-filter": _sink_filter(),
        "billing-sink-filter": _any_of(
            [f'protoPayload.serviceName="{BILLING}"'], _methods((BILLING,), Seen.BILLING_LOG)
        ),
        "vendor-sink-filter": _vendor_filter(),
        "asset-feed-types": ASSET_TYPES,
        "asset-feed-content-types": "resource iam-policy",
    }


def _sink_filter() -> str:
    tests = _pattern(rule.operation for rule in kms.RULES if rule.seen is Seen.TESTS)
    keys = (
        f'(protoPayload.serviceName="{KMS}" AND (log_id("cloudaudit.googleapis.com/activity") '
        'OR log_id("cloudaudit.googleapis.com/policy") OR protoPayload.status.code>0 '
        f'OR protoPayload.methodName=~"{tests}"))'
    )
    whole = " OR ".join(f'"{name}"' for name in WHOLE)
    methods = [
        f'(protoPayload.serviceName="{service}" AND protoPayload.methodName=~"{_pattern(_names(service))}")'
        for service in BY_METHOD
    ]
    parts = "\n OR ".join([keys, f"protoPayload.serviceName=({whole})", *methods])
    return f"({AUDIT_LOGS} AND (\n {parts}\n))\nOR {HEARTBEATS}\nOR {PLATFORM_LOGS}"


def _vendor_filter() -> str:
    """What the vendor has to forward from its own projects and organisation."""
    parts = [
        f'(protoPayload.serviceName="{service}" AND protoPayload.methodName=~"{_pattern(names)}")'
        for service in (IAM, PUBSUB, USAGE, MANAGEMENT)
        if (names := _vendor_names(service))
    ]
    parts.append(f'(protoPayload.serviceName="{KMS}" AND log_id("cloudaudit.googleapis.com/policy"))')
    parts.append(f'protoPayload.serviceName="{ACCESS_CONTEXT}"')
    joined = "\n OR ".join(parts)
    return f"({AUDIT_LOGS} AND (\n {joined}\n))\nOR {HEARTBEATS}"


def _names(service: str) -> list[str]:
    """The operations of a service that a customer's sink has to carry."""
    return [
        rule.operation
        for rule in services.RULES
        if rule.service == service and rule.meaning and rule.seen is not Seen.VENDOR
    ]


def _vendor_names(service: str) -> list[str]:
    return [
        rule.operation
        for rule in services.RULES
        if rule.service == service
        and rule.meaning
        and (rule.seen is Seen.VENDOR or rule.witness in (Witness.EITHER, Witness.VENDOR))
    ]


def _methods(of: Iterable[str], seen: Seen) -> str:
    names = [rule.operation for rule in services.RULES if rule.service in of and rule.seen is seen and rule.meaning]
    return f'protoPayload.methodName=~"{_pattern(names)}"'


def _pattern(names: Iterable[str]) -> str:
    """Match the last segment of a method, short or full: methods are never compared with `=` (gcp.md 6.2)."""
    return f"(?i)(^|[.])({'|'.join(names)})$"


def _any_of(first: list[str], second: str) -> str:
    return f"{AUDIT_LOGS} AND {' AND '.join([*first, second])}"


def _row(rule: Rule) -> Row:
    return Row(
        operation=rule.operation,
        service=rule.service,
        effect=rule.effect,
        seen_through=rule.seen,
        note=rule.note,
        source=rule.source,
    )


def _uses() -> list[Row]:
    found = [
        Row(
            operation=name,
            service=KMS,
            effect="use_succeeded or use_failed",
            seen_through=Seen.USES,
            note="by a registered principal of that very key; strangers and agents of other instances do not count; "
            "successes are many, so the printed sink filter carries refusals only",
            source=kms.AUDIT,
        )
        for name in USES.values()
    ]
    blocked = Row(
        operation=f"(any use, denied: {PERIMETER})",
        service=KMS,
        effect="use_failed: path_blocked",
        seen_through=Seen.USES,
        note="the key stands in metadata.resourceNames; a dry run denies nothing; the organisation says whose fault",
        source=services.DOCS + services.VPC_PAGE,
    )
    return [*found, blocked]


def _failure_row(row: CodeRow) -> Row:
    return Row(
        operation=f"failure {row.code}{': ' + row.example if row.example else ''}",
        service=KMS,
        effect=f"use_failed: {row.failure.cause}",
        seen_through=Seen.USES,
        note=f"fault: {row.failure.fault}; {row.failure.why}",
        source=f"{kms.DOCS}{kms.EKM}" if "EXTERNAL" in row.example else kms.AUDIT,
    )


def _platform() -> list[Row]:
    return [
        Row(
            operation=f"{name} {word}",
            service=f"{KMS} (platform log)",
            effect=outcome.effect,
            seen_through=Seen.PLATFORM,
            note="its log id is not published; a destruction is to be confirmed by a probe before anybody is told",
            source=MONITORING,
        )
        for name, outcomes in EVENTS.items()
        for word, outcome in zip(("succeeded", "failed"), outcomes, strict=True)
    ]


def _asset(kind: str, change: str, effect: str, note: str) -> Row:
    return Row(
        operation=f"{kind}: {change}",
        service=f"{ASSET} (feed)",
        effect=effect,
        seen_through=Seen.ASSETS,
        note=note,
        source=FEEDS,
    )


ASSETS = (
    _asset("CryptoKeyVersion", "to DISABLED", "key_disabled", "also when Cloud EKM did it by itself"),
    _asset("CryptoKeyVersion", "DESTROY_SCHEDULED to DISABLED", "deletion_cancelled", "the version is still disabled"),
    _asset("CryptoKeyVersion", "to DESTROY_SCHEDULED", "key_deletion_scheduled", "with the deadline"),
    _asset(
        "CryptoKeyVersion", "to DESTROYED", "key_destroyed", "external destruction included; no audit record exists"
    ),
    _asset("CryptoKeyVersion", "DISABLED to ENABLED", "key_enabled", ""),
    _asset("CryptoKeyVersion", "destroyed or importing to ENABLED", "key_material_restored", ""),
    _asset(
        "CryptoKeyVersion", "first sight, ENABLED", "rotated", "also by automatic rotation, which no user record tells"
    ),
    _asset("CryptoKeyVersion", "to IMPORT_FAILED", "attempt_failed", ""),
    _asset("CryptoKeyVersion", "to GENERATION_FAILED", "key_changed", ""),
    _asset("CryptoKey or version", "deleted", "key_destroyed", "to be probed"),
    _asset("CryptoKey or version", "neither resource nor policy", "key_changed", "a feed without a content type"),
    _asset("CryptoKey", "its primary version lost its state", "key_disabled", "told for that version"),
    _asset("CryptoKey", "another primary version", "rotated or key_changed", "by the state of the new one"),
    _asset("CryptoKey or above", "policy", kms.POLICY_EFFECTS, "the whole policy, before and after"),
    _asset("EkmConnection", "changed", "key_changed", "every watched key on it"),
    _asset("any", "same state, labels and the like", "no_effect", ""),
    _asset("any", "greeting", "no_effect", "the plain text that a new feed sends first"),
    _asset("any", "export line", "no_effect", "inventory, not a change"),
)


BEAT = Row(
    operation=HEARTBEAT,
    service=f"{LOGGING} (log)",
    effect="no_effect",
    seen_through=Seen.HEARTBEAT,
    note="of a project that is registered with a heartbeat: a sign of life of its way; of other projects nothing",
    source="https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/write",
)


def _unseen(what: str, effect: str, note: str, source: str) -> Row:
    return Row(operation=f"({what})", service=KMS, effect=effect, seen_through=Seen.NOTHING, note=note, source=source)


UNSEEN = (
    _unseen(
        "a scheduled destruction is carried out", "key_destroyed", "no audit record; asset feed, timer, probe", STATES
    ),
    _unseen("automatic rotation makes a version", "rotated", "no user record; the asset feed shows it", STATES),
    _unseen("a timed grant ends", "access_revoked", "no record; the timer set by its beginning", f"{kms.DOCS}iam"),
    _unseen(
        "a member leaves the group that holds the grant",
        "access_revoked",
        "in the customer's Workspace log, often not shared; only a probe tells",
        f"{kms.DOCS}iam",
    ),
    _unseen(
        "the project is suspended for non-payment",
        "container_lost",
        "no record; only a probe tells",
        services.DOCS + services.BILLING_PAGE,
    ),
    _unseen(
        "the external key manager is away, or a pinned certificate ran out",
        "key_store_disconnected",
        "no record but failed uses",
        f"{kms.DOCS}{kms.EKM}",
    ),
    _unseen(
        "a single-tenant HSM is not refreshed for 730 days",
        "expiry_ahead",
        "the instance's disableTime tells",
        f"{kms.DOCS}{kms.HSM}",
    ),
    _unseen(
        "uses of the key while the customer writes no DATA_READ log",
        "nothing",
        "the customer has to switch the log on, and pays for it",
        kms.AUDIT,
    ),
)
