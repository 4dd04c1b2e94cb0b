"""The shape of the catalogue: one row says what one operation of one service means, where it is seen, and why."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from watchdog.clouds.aws.case import Case
from watchdog.signals import Signal

Meaning = Callable[[Case], list[Signal]]

KMS = "kms.amazonaws.com"
ORGANIZATIONS = "organizations.amazonaws.com"
ACCOUNT = "account.amazonaws.com"
CLOUDTRAIL = "cloudtrail.amazonaws.com"
EVENTS = "events.amazonaws.com"
SQS = "sqs.amazonaws.com"
IAM = "iam.amazonaws.com"
EC2 = "ec2.amazonaws.com"


class Seen(StrEnum):
    """Through what an operation can be seen: which stream has to be forwarded to the watch."""

    KEY_ACCOUNT = "forward from the key's account, in the key's Region"
    KEY_ACCOUNT_GLOBAL = "forward from the key's account, in us-east-1"
    MANAGEMENT = "forward from the management account of the customer's organisation, in us-east-1"
    VENDOR = "the vendor's own rule, in the Region of use"
    VENDOR_GLOBAL = "the vendor's own rule, in us-east-1"
    HEARTBEAT = "a scheduled rule of that account and Region, whose target is the vendor's event bus"
    NOTHING = "no record: only a probe can tell"
    NOT_NEEDED = "not forwarded: it changes nothing"


class Witness(StrEnum):
    """Whose account must have recorded an event for it to be genuine (aws.md 1 and 6)."""

    KEY_OWNER = "the account that owns the key"
    KEY_OWNER_OR_CALLER = "the account that owns the key, or the vendor's when it called"
    ORGANIZATION = "the customer's management account or one of its accounts"
    MANAGEMENT = "the customer's management account"
    VENDOR = "an account of the vendor"


class Rule(Struct, frozen=True, kw_only=True):
    """One row. `meaning` is None for what is known to change nothing; `note` then says why."""

    service: str
    operation: str
    effect: str
    note: str
    source: str
    seen: Seen
    meaning: Meaning | None = None
    witness: Witness = Witness.KEY_OWNER


def reading(rules: tuple[Rule, ...]) -> dict[tuple[str, str], Rule]:
    """Index rules by service and operation."""
    return {(rule.service, rule.operation): rule for rule in rules}
