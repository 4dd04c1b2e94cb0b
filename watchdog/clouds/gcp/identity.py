"""Who acted: one of the vendor's people or accounts, or somebody else, by the identity that the record shows."""

import re

from watchdog.clouds.gcp.index import Index
from watchdog.clouds.gcp.record import Record
from watchdog.signals import Actor

NUMBER_FIRST = re.compile(r"(\d+)(?:-compute)?")
NUMBER_IN_AGENT = re.compile(r"(?:service|bq)-(\d+)")
OF_PROJECT = ".iam.gserviceaccount.com"
APP_ENGINE = "appspot.gserviceaccount.com"
AGENTS = (".gserviceaccount.com",)


def caller(record: Record) -> str | None:
    """Return the e-mail of who called; federated callers have none (gcp.md 6.1)."""
    if record.email:
        return record.email
    kind, _, email = (record.subject or "").partition(":")
    return email if kind in ("serviceAccount", "user") and email else None


def is_vendors(record: Record, index: Index) -> bool:
    """Whether the acting principal is one of the vendor's: its domains, or accounts of its projects (gcp.md 3.0)."""
    return is_vendors_account(caller(record) or "", index)


def is_vendors_account(email: str, index: Index) -> bool:
    """Whether an account is one of the vendor's."""
    local, at, domain = email.lower().rpartition("@")
    if not at:
        return False
    if domain in index.vendor_domains:
        return True
    if domain == APP_ENGINE:
        return local in index.vendor_projects
    if not domain.endswith(AGENTS):
        return False
    number = NUMBER_IN_AGENT.fullmatch(local) or NUMBER_FIRST.fullmatch(local)
    if number and number[1] in index.vendor_numbers:
        return True
    return domain.endswith(OF_PROJECT) and domain.removesuffix(OF_PROJECT) in index.vendor_projects


def actor_of(record: Record) -> Actor | None:
    """Return the actor as the audit log names it, text unchanged; None when the record names nobody."""
    name = record.email or record.subject
    return Actor(name=name, address=record.address, agent=record.agent) if name else None
