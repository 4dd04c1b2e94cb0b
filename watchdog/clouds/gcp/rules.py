"""The shape of the catalogue: one row says what one operation of one service means, where it is seen, and why."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from watchdog.clouds.gcp.case import Case
from watchdog.clouds.gcp.names import KMS_SERVICE
from watchdog.signals import Signal

Meaning = Callable[[Case], list[Signal]]

KMS = KMS_SERVICE
RESOURCES = "cloudresourcemanager.googleapis.com"
IAM = "iam.googleapis.com"
USAGE = "serviceusage.googleapis.com"
MANAGEMENT = "servicemanagement.googleapis.com"
BILLING = "cloudbilling.googleapis.com"
ORGPOLICY = "orgpolicy.googleapis.com"
ACCESS_CONTEXT = "accesscontextmanager.googleapis.com"
LOGGING = "logging.googleapis.com"
PUBSUB = "pubsub.googleapis.com"
ASSET = "cloudasset.googleapis.com"


class Seen(StrEnum):
    """Through what an operation can be seen: which sink has to forward which log."""

    KEY_PROJECT = "sink of the key's project, admin activity log"
    USES = "sink of the key's project: DATA_READ log, if the customer writes it, and the policy log"
    TESTS = "sink of the key's project: ADMIN_READ log, if the customer writes it"
    PLACE = "sink of the project, folder or organisation that it is about"
    ORGANIZATION = "sink of the customer's organisation"
    BILLING_LOG = "sink of the billing account itself: no project or organisation sink carries it"
    VENDOR = "the vendor's own sink"
    PLATFORM = "sink of the key's project, platform log of Cloud KMS"
    ASSETS = "Cloud Asset feed"
    HEARTBEAT = "sink of the key's project, heartbeat log"
    NOTHING = "no record: only a probe can tell"
    NOT_NEEDED = "not needed: it changes nothing"


class Witness(StrEnum):
    """In whose log a record must lie to be believed (gcp.md 6.4)."""

    KEY_PROJECT = "the project of the key"
    CALLER = "the project of the key, or the vendor's"
    CUSTOMER = "a registered project, folder, organisation or billing account of the customer"
    VENDOR = "a project of the vendor"
    EITHER = "the customer or the vendor"


class Rule(Struct, frozen=True, kw_only=True):
    """One row. `meaning` is None for what is known to change nothing; `note` then says why.

    `refused` is the meaning of a failure where that says more than "nothing changed".
    """

    service: str
    operation: str
    effect: str
    note: str
    source: str
    seen: Seen
    meaning: Meaning | None = None
    refused: Meaning | None = None
    witness: Witness = Witness.CUSTOMER


def reading(rules: tuple[Rule, ...]) -> dict[tuple[str, str], Rule]:
    """Index rules by service and by the last segment of the method in lower case (gcp.md 3.0, step 3)."""
    return {(rule.service, rule.operation.lower()): rule for rule in rules}
