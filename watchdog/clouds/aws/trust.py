"""Authenticity: whether the account, the source and the topic of an entry may say what it says (aws.md 1 and 6)."""

import re
from enum import Enum, auto

from msgspec import Struct

from watchdog.clouds.aws.arns import in_text
from watchdog.clouds.aws.case import Case, named
from watchdog.clouds.aws.index import Index, account_of
from watchdog.clouds.aws.record import Reading
from watchdog.clouds.aws.rules import Witness
from watchdog.register import RegisteredKey

ACCOUNT_ID = re.compile(rb"(?<![0-9A-Za-z_-])[0-9]{12}(?![0-9A-Za-z_-])")


class DistrustedError(Exception):
    """An entry claims what the account that recorded it cannot know; the text says which."""


class Origin(Enum):
    """Where an entry comes from, as far as its envelope shows."""

    GENUINE = auto()
    FORGED = auto()
    STRANGER = auto()  # another account about things that are not ours: no effect


class Judgement(Struct, frozen=True):
    """Whether an entry may speak, and why not."""

    origin: Origin
    why: str = ""


GENUINE = Judgement(Origin.GENUINE)


def origin_of(reading: Reading, raw: bytes, index: Index) -> Judgement:
    """Judge the wrappers of an entry. Bare records have none: only `witnessed` speaks against them."""
    if reading.topic is not None and reading.topic not in index.topics:
        return Judgement(Origin.FORGED, f"the SNS topic {reading.topic or '(none)'} is not registered")
    if reading.envelope is not None:
        judged = _envelope(reading, raw, index)
        if judged is not GENUINE:
            return judged
    return _topic(reading, index)


def mentions_us(raw: bytes, index: Index) -> bool:
    """Whether a text names a registered account or a watched key."""
    if any(index.is_registered(found.decode()) for found in ACCOUNT_ID.findall(raw)):
        return True
    return bool(named(in_text(raw.decode("utf-8", "replace")), index).keys)


def witnessed(witness: Witness, case: Case, key: RegisteredKey) -> bool:
    """Whether the account that recorded a change of this key can know of it."""
    recorder = case.recorder
    if recorder is None:
        return True
    owns = recorder == account_of(key)
    match witness:
        case Witness.KEY_OWNER:
            return owns
        case Witness.KEY_OWNER_OR_CALLER:
            return owns or (recorder in case.index.vendor_accounts and case.party.account == recorder)
        case Witness.ORGANIZATION:
            return owns or case.index.is_customers(recorder, key.customer.id)
        case Witness.MANAGEMENT:
            return key.customer.id in case.index.managers.get(recorder, ())
        case Witness.VENDOR:
            return recorder in case.index.vendor_accounts


def may_carry(case: Case, customer: str | None) -> bool:
    """Whether the account that recorded a change of a feed can know of it: its owner's, or the vendor's own."""
    if case.recorder is None:
        return True
    if customer is None:
        return case.recorder in case.index.vendor_accounts
    return case.index.is_customers(case.recorder, customer)


def is_others(account: str | None, key: RegisteredKey, index: Index) -> bool:
    """Whether an account belongs to another customer: its feed never speaks for this customer's key."""
    owners = index.customers_of.get(account or "", set())
    return bool(owners) and key.customer.id not in owners and account not in index.vendor_accounts


def _envelope(reading: Reading, raw: bytes, index: Index) -> Judgement:
    envelope, record = reading.envelope, reading.record
    if envelope is None:
        return GENUINE
    if not index.is_registered(envelope.account):
        if mentions_us(raw, index):
            return Judgement(Origin.FORGED, f"the event came from account {envelope.account}, which is not registered")
        return Judgement(Origin.STRANGER, "an event of an account that is not registered, about nothing registered")
    if not envelope.source.startswith("aws."):
        return Judgement(Origin.FORGED, f"the source {envelope.source!r} is not one that only AWS can use")
    if record is None:
        return GENUINE
    expected = f"aws.{record.source.partition('.')[0]}"
    if envelope.source != expected:
        return Judgement(Origin.FORGED, f"the envelope says {envelope.source}, the record {record.source}")
    if record.recipient not in (None, envelope.account):
        why = f"the envelope is of account {envelope.account}, the record of account {record.recipient}"
        return Judgement(Origin.FORGED, why)
    return GENUINE


def _topic(reading: Reading, index: Index) -> Judgement:
    """A customer's topic carries what its own accounts recorded: whoever owns it can publish any text to it."""
    customer = index.topics.get(reading.topic or "")
    if customer is None or (reading.envelope is None and reading.record is None):
        return GENUINE
    account = reading.envelope.account if reading.envelope else reading.record.recipient if reading.record else None
    if index.is_customers(account, customer):
        return GENUINE
    return Judgement(Origin.FORGED, f"a topic of customer {customer} cannot carry events of account {account}")
