"""The catalogue for people, and the filters that let it be seen: both written from the tables that the decoder uses."""

import json
from collections.abc import Iterable, Sequence

from watchdog.cloud import Row
from watchdog.clouds.aws import kms, services
from watchdog.clouds.aws.failures import ANYTHING_ELSE, ENCRYPTION, READING, ROWS, Failure
from watchdog.clouds.aws.native import EC2, KEY_EVENTS, KEY_INACCESSIBLE, RDS, SCHEDULED, VOLUME, VOLUME_EVENTS
from watchdog.clouds.aws.native import EVENTS as SCHEDULER
from watchdog.clouds.aws.native import KMS as KMS_EVENTS
from watchdog.clouds.aws.routes import SCHEDULE
from watchdog.clouds.aws.rules import ACCOUNT, CLOUDTRAIL, EVENTS, IAM, KMS, ORGANIZATIONS, SQS, Rule, Seen
from watchdog.clouds.aws.uses import KEY_REVOKED

KMS_DOCS = "https://docs.aws.amazon.com/kms/latest/developerguide/"
API_CALL = "AWS API Call via CloudTrail"
SERVICE_EVENT = "AWS Service Event via CloudTrail"
FAILURES_OF = "the vendor's own trail or rule (ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS)"


def catalogue() -> Sequence[Row]:
    """Return every operation that is watched or ignored with a reason, every failure, and what is never recorded."""
    return [
        *map(_row, (*kms.RULES, kms.ANY_OTHER_WRITE, *services.RULES)),
        *_uses(),
        *map(_failure_row, (*ROWS, ANYTHING_ELSE)),
        *_natives(),
        *UNSEEN,
    ]


def filters() -> dict[str, str]:
    """Return the filters to install, by purpose: event patterns, and the selectors of a trail."""
    forwarded = [rule.operation for rule in kms.WATCHED]
    key_events = [name for name in KEY_EVENTS if name != "KMS CMK Rotation"]
    kinds = [API_CALL, SERVICE_EVENT, *key_events]
    return {
        "forward-rule": _text(
            {
                "source": [KMS_EVENTS],
                "detail-type": kinds,
                "$or": [{"resources": ["<KEY_ARN>"]}, {"detail": {"eventName": forwarded}}],
            }
        ),
        "forward-rule-one-key": _text(
            {
                "source": [KMS_EVENTS],
                "detail-type": kinds,
                "$or": [
                    {"resources": ["<KEY_ARN>"]},
                    {"detail": {"eventName": forwarded, "resources": {"ARN": ["<KEY_ARN>"]}}},
                ],
            }
        ),
        "blinding-rule": _text(_pattern((CLOUDTRAIL, EVENTS), Seen.KEY_ACCOUNT)),
        "heartbeat-schedule": SCHEDULE,
        "region-rule": _text(_pattern((ACCOUNT,), Seen.KEY_ACCOUNT_GLOBAL)),
        "organization-rule": _text(_pattern((ORGANIZATIONS,), Seen.MANAGEMENT)),
        "trail-selectors": _text(
            [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": True, "ExcludeManagementEventSources": []}]
        ),
        "vendor-failures-rule": _text(
            {
                "source": [KMS_EVENTS],
                "detail": {"errorCode": [{"exists": True}]},
            }
        ),
        "vendor-stores-rule": _text({"source": [EC2, RDS], "detail-type": [VOLUME, "RDS DB Instance Event"]}),
        "vendor-attach-rule": _text(
            {
                "source": [EC2],
                "detail-type": [API_CALL],
                "detail": {"eventName": ["AttachVolume"], "errorCode": [f"Client.{KEY_REVOKED}"]},
            }
        ),
        "vendor-roles-rule": _text(_pattern((IAM, ORGANIZATIONS), Seen.VENDOR_GLOBAL)),
        # The vendor's own rules, heartbeats among them, are stopped by the same calls as the customer's.
        "vendor-intake-rule": _text(_pattern((EVENTS, SQS), Seen.VENDOR, Seen.KEY_ACCOUNT)),
        # On the bus that customers' rules and schedules send to: all that AWS says goes on to the queue.
        "vendor-bus-rule": _text({"source": [{"prefix": "aws."}]}),
    }


def _pattern(sources: Iterable[str], *seen: Seen) -> dict[str, object]:
    rules = [rule for rule in services.RULES if rule.service in sources and rule.seen in seen]
    kinds = [API_CALL, SERVICE_EVENT] if any(rule.operation.endswith("Result") for rule in rules) else [API_CALL]
    return {
        "source": list(dict.fromkeys(_source(rule.service) for rule in rules)),
        "detail-type": kinds,
        "detail": {"eventName": [rule.operation for rule in rules]},
    }


def _source(service: str) -> str:
    return f"aws.{service.partition('.')[0]}"


def _text(content: object) -> str:
    return json.dumps(content, indent=1)


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
    used = [
        (name, "use_succeeded or use_failed", "by the vendor; a bad key state counts by anybody") for name in ENCRYPTION
    ]
    read = [(name, "use_failed", "failures only: a success works in every key state") for name in READING]
    return [
        Row(
            operation=name,
            service=KMS,
            effect=effect,
            seen_through=FAILURES_OF,
            note=note,
            source=f"{kms.API}API_{name}.html",
        )
        for name, effect, note in sorted(used + read)
    ]


def _failure_row(failure: Failure) -> Row:
    texts = " | ".join(f'"{text}"' for text in failure.texts)
    store = " (key in a custom key store)" if failure.in_store else ""
    page = "IAM/latest/UserGuide/troubleshoot_access-denied.html" if "AccessDenied" in failure.codes else None
    return Row(
        operation=f"failure: {' | '.join(failure.codes)}{store}{': ' + texts if texts else ''}",
        service=KMS,
        effect=f"use_failed: {failure.cause}",
        seen_through=FAILURES_OF,
        note=f"fault: {failure.fault}{', to be probed' if failure.probe else ''}; {failure.why}",
        source=f"https://docs.aws.amazon.com/{page}" if page else f"{KMS_DOCS}key-state.html",
    )


def _natives() -> list[Row]:
    keys = [
        Row(
            operation=name,
            service=KMS_EVENTS,
            effect=effect,
            seen_through=Seen.KEY_ACCOUNT,
            note="native event of EventBridge; the deletion is guaranteed, the others are best effort",
            source=f"{KMS_DOCS}kms-events.html",
        )
        for name, (effect, _) in KEY_EVENTS.items()
    ]
    volumes = Row(
        operation=f"{VOLUME}: {' | '.join(sorted(VOLUME_EVENTS))}",
        service=EC2,
        effect="use_failed",
        seen_through=Seen.VENDOR,
        note="the cause quotes KMS with the key's ARN",
        source="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-cloud-watch-events.html",
    )
    attached = Row(
        operation=f"AttachVolume: Client.{KEY_REVOKED}",
        service="ec2.amazonaws.com",
        effect="use_failed",
        seen_through=Seen.VENDOR,
        note="names the volume only; also when the attacher lacks kms:CreateGrant",
        source="https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html",
    )
    quoted = Row(
        operation="(any call that fails with a KMS error about a watched key)",
        service="(other services)",
        effect="use_failed",
        seen_through=Seen.VENDOR,
        note="such as S3 requests that fail with KMS.DisabledException",
        source=f"{KMS_DOCS}key-state.html",
    )
    databases = Row(
        operation=f"RDS DB Instance Event: {KEY_INACCESSIBLE}",
        service=RDS,
        effect="use_failed",
        seen_through=Seen.VENDOR,
        note="names the database only; starts the 7-day clock of RDS",
        source="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html",
    )
    heartbeat = Row(
        operation=SCHEDULED,
        service=SCHEDULER,
        effect="no_effect",
        seen_through=Seen.HEARTBEAT,
        note="of a registered heartbeat rule: a sign of life of its account and Region; of other rules nothing",
        source="https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html",
    )
    return [*keys, volumes, attached, quoted, databases, heartbeat]


UNSEEN = (
    Row(
        operation="(proxy or HSM behind a custom key store fails, external key revoked)",
        service=KMS,
        effect="use_failed, or nothing",
        seen_through=Seen.NOTHING,
        note="no record; the key state stays Enabled: only a real call tells",
        source=f"{KMS_DOCS}keystore-external.html",
    ),
    Row(
        operation="(end date of imported material comes near)",
        service=KMS,
        effect="expiry_ahead",
        seen_through=Seen.NOTHING,
        note="DescribeKey.ValidTo can be read from the vendor's account",
        source=f"{KMS_DOCS}importing-keys.html",
    ),
    Row(
        operation="(customer's administration of its key without a forward)",
        service=KMS,
        effect="nothing",
        seen_through=Seen.NOTHING,
        note="the vendor's own trail never contains it",
        source=f"{KMS_DOCS}logging-using-cloudtrail.html",
    ),
)
