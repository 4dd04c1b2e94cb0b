"""The checks that are the same on every cloud (`all.*`, responsibility.md 5.1), judged from what is known already."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from watchdog.assessment import fresh_for
from watchdog.preflight import Check, Checked, Outcome
from watchdog.register import Customer, Register, RegisteredKey
from watchdog.words import Fault, Owner

_SOURCE = "responsibility.md 5.1"
_KEY, _VENDOR = Owner.CUSTOMER, Owner.VENDOR

USABLE = Check(
    id="all.usable", title="Encrypt and decrypt work as the vendor", owner=_KEY, hard=True, source=_SOURCE,
)  # fmt: skip
OLD_DATA = Check(
    id="all.old_data_readable", title="What was encrypted before can still be read", owner=_VENDOR, source=_SOURCE
)
SINGLE_PURPOSE = Check(
    id="all.single_purpose", title="The key serves nothing but this instance", owner=_KEY, source=_SOURCE
)
NAMED = Check(
    id="all.named", title="Name, tags or labels of the key say whose it is, and not to delete it", owner=_KEY,
    source=_SOURCE,
)  # fmt: skip
INFRASTRUCTURE = Check(
    id="all.infrastructure_protected", title="Infrastructure code cannot delete the key, nor what holds it", owner=_KEY,
    source=_SOURCE,
)  # fmt: skip
BACKUPS = Check(
    id="all.other_backups", title="Backups or exports exist under a different key", owner=_VENDOR, source=_SOURCE
)
ROTATION = Check(
    id="all.rotation_keeps_versions", title="Rotation keeps old versions until every store has moved", owner=_KEY,
    source=_SOURCE,
)  # fmt: skip
CONTACTS = Check(
    id="all.contacts_verified", title="Owner and deputy answered a test within the last quarter", owner=_VENDOR,
    source=_SOURCE,
)  # fmt: skip
REHEARSED = Check(id="all.rehearsed", title="Loss and recovery were rehearsed", owner=_VENDOR, source=_SOURCE)
FEED = Check(id="all.feed_alive", title="The audit records of the key arrive", owner=_VENDOR, source=_SOURCE)

CHECKS = (
    USABLE, OLD_DATA, SINGLE_PURPOSE, NAMED, INFRASTRUCTURE, BACKUPS, ROTATION, CONTACTS, REHEARSED, FEED
)  # fmt: skip
"""In the order in which they are shown. That rights are no wider than needed is each cloud's own check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastProbe:
    """The last probe of a key. `fault` is whose side a refusal lies on, `principal` as whom it was asked.

    `canary_at` is when it last decrypted what was made before, `stores` are those that it asks.
    """

    at: datetime
    passed: bool | None
    words: str
    fault: Fault = Fault.UNKNOWN
    principal: str | None = None
    canary_at: datetime | None = None
    stores: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One way by which audit records of the key come in, and how it stands, in `words`.

    `alive`: None when that cannot be told. `fix` is what to look at when it is silent, or cannot be told.
    """

    words: str
    alive: bool | None
    fix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a key without asking its cloud. `not_probed` says why it was never probed, as a sentence."""

    at: datetime
    probe: LastProbe | None = None
    not_probed: str = ""
    feeds: tuple[Feed, ...] = ()


def common_checks(key: RegisteredKey, register: Register, facts: Facts) -> list[Checked]:
    """Return every check of `CHECKS`, in that order."""
    return [_JUDGES[check.id](check, key, register, facts) for check in CHECKS]


# ------------------------------------------------------------------------------------------------------------ the probe


def _usable(check: Check, key: RegisteredKey, _register: Register, facts: Facts) -> Checked:
    again = f"byok-watchdog probe {key.id}"
    last = facts.probe
    if last is None:
        return check.said(Outcome.CANNOT_VERIFY, facts.not_probed or "The key has not been probed yet.", again, _VENDOR)
    whom = f" as {last.principal}" if last.principal else ""
    if last.passed is None:
        words = f"The probe of {last.at:%Y-%m-%d %H:%M} UTC could not tell: {last.words}"
        return check.said(Outcome.CANNOT_VERIFY, words, again, _VENDOR)
    if facts.at - last.at >= fresh_for(key):
        words = f"The last probe is of {last.at:%Y-%m-%d %H:%M} UTC, too long ago to tell anything of now."
        return check.said(Outcome.CANNOT_VERIFY, words, again, _VENDOR)
    if last.passed:
        return check.said(Outcome.PASS, f"Proven{whom} at {last.at:%Y-%m-%d %H:%M} UTC.")
    owner = {Fault.CUSTOMER: Owner.CUSTOMER, Fault.PROVIDER: Owner.PROVIDER}.get(last.fault, _VENDOR)
    return check.said(Outcome.FAIL, last.words, f"byok-watchdog status {key.id}", owner)


def _old_data(check: Check, key: RegisteredKey, _register: Register, facts: Facts) -> Checked:
    last = facts.probe
    declare = (
        "Set `canary: true` or `consumers:` in the key's `probe:` of the register, import it, and run "
        f"`byok-watchdog register check --key {key.id}`."
    )
    if last is None or last.passed is None:
        return check.said(Outcome.CANNOT_VERIFY, "No probe has told.", f"byok-watchdog probe {key.id}")
    if last.canary_at is None and not last.stores:
        words = "The probe decrypts only what it has just encrypted: no canary is kept, and no store is asked."
        return check.said(Outcome.CANNOT_VERIFY, words, declare)
    means = [
        *([f"a ciphertext made earlier (decrypted {last.canary_at:%Y-%m-%d %H:%M} UTC)"] if last.canary_at else []),
        *last.stores,
    ]
    words = f"Tried with {', '.join(means)}."
    if last.passed:
        return check.said(Outcome.PASS, words)
    # A probe that fails tells that something is wrong, which need not be the old data.
    return check.said(Outcome.CANNOT_VERIFY, f"The last probe failed: {last.words}", f"byok-watchdog status {key.id}")


# --------------------------------------------------------------------------------------------- what only people can say


def _only_said(check: Check, words: str, ask: str) -> Checked:
    """Return what no provider tells: the answer of people is kept in the register, and shown."""
    return check.said(Outcome.CANNOT_VERIFY, words, ask)


def _single_purpose(check: Check, key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    words = f"The register has one instance for it, {key.instance.id}; what else its owner uses it for cannot be seen."
    return _only_said(check, words, "Ask the key's owner whether anything else uses the key.")


def _named(check: Check, key: RegisteredKey, register: Register, _facts: Facts) -> Checked:
    purpose = key.instance.purpose or "(the register has no purpose: customers.instances.purpose)"
    tags = f"vendor={register.vendor.name}, purpose={purpose}, contact={register.vendor.emergency_contact or '...'}"
    return _only_said(check, "Tags and labels are not read.", f"Ask the key's owner to tag it: do-not-delete, {tags}.")


def _infrastructure(check: Check, _key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    return _only_said(check, "Nobody but the key's owner knows the code that made it.",
        "Ask the key's owner to set `prevent_destroy` (Terraform, or its equal) on the key and on what holds it.",
    )  # fmt: skip


def _backups(check: Check, key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    stores = ", ".join(one.name or one.id for one in key.entry.consumers) or "no store is registered"
    return _only_said(check, f"No provider tells under which keys copies lie elsewhere ({stores}).",
        "Export regularly under a key of your own: it is the only way back after a destruction.",
    )  # fmt: skip


def _rotation(check: Check, key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    known = f" Registered in use: {', '.join(key.versions)}." if key.versions else ""
    return _only_said(check, f"What will be done at the next rotation cannot be seen.{known}",
        "Ask the key's owner to disable no old version until you have confirmed that every store has moved.",
    )  # fmt: skip


def _rehearsed(check: Check, _key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    return _only_said(check, "No rehearsal is recorded here.", "Rehearse loss and recovery with the key's owner.")


def _contacts(check: Check, key: RegisteredKey, _register: Register, _facts: Facts) -> Checked:
    if not key.customer_owned:
        return check.said(Outcome.PASS, "The key is the vendor's own: its on-call hears of it, no customer has to.")
    customer = key.customer
    if len({one.email.lower() for one in customer.contacts}) < 2:
        return check.said(Outcome.FAIL, f"{_counted(customer)} Nobody is left when that person is away.", _SECOND)
    names = ", ".join(f"{one.name} ({one.role})" for one in customer.contacts)
    return _only_said(
        check, f"Whether they still answer was not tried: {names}.", "Write to each, and wait for answers."
    )


_SECOND = "Ask the customer for a deputy or a list with another address, and add it to customers.contacts."


def _counted(customer: Customer) -> str:
    return "The register names no contact." if not customer.contacts else "The register names one address only."


# ------------------------------------------------------------------------------------------------------------- the feed


def _feed(check: Check, _key: RegisteredKey, _register: Register, facts: Facts) -> Checked:
    if not facts.feeds:
        words = "No way is known by which audit records of this key come in: only probes tell of a loss."
        return check.said(Outcome.CANNOT_VERIFY, words, _FORWARD)
    outcome, shown = Outcome.FAIL, [one for one in facts.feeds if one.alive is False]
    if not shown:
        outcome, shown = Outcome.PASS, [one for one in facts.feeds if one.alive]
    if not shown:
        outcome, shown = Outcome.CANNOT_VERIFY, list(facts.feeds)
    words = ". ".join(one.words[:1].upper() + one.words[1:] for one in shown)
    fix = next((one.fix for one in shown if one.fix), _FORWARD)
    return check.said(outcome, f"{words}.", None if outcome is Outcome.PASS else fix)


_FORWARD = "Let the customer forward its audit records, with a sign of life: see deploy/ and `byok-watchdog catalogue`."


_JUDGES: Mapping[str, Callable[[Check, RegisteredKey, Register, Facts], Checked]] = {
    USABLE.id: _usable,
    OLD_DATA.id: _old_data,
    SINGLE_PURPOSE.id: _single_purpose,
    NAMED.id: _named,
    INFRASTRUCTURE.id: _infrastructure,
    BACKUPS.id: _backups,
    ROTATION.id: _rotation,
    CONTACTS.id: _contacts,
    REHEARSED.id: _rehearsed,
    FEED.id: _feed,
}
