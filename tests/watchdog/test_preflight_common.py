"""The checks that are the same on every cloud, from plain facts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.worlds import ACME_KEY, T0, VENDOR_KEY, document, key, stores
from watchdog.preflight import Checked, Outcome
from watchdog.preflight_common import CHECKS, Facts, Feed, LastProbe, common_checks
from watchdog.register import Contact, Document, Register
from watchdog.words import Fault, Owner

PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
PROBE = LastProbe(at=T0 - timedelta(minutes=3), passed=True, words="The key is usable.")
FEED = Feed(words="the records of account 1", alive=True, fix="look at the rule")


def found(of: Document | None = None, arn: str = ACME_KEY, **facts: Any) -> dict[str, Checked]:
    register = Register(of or document())
    every = common_checks(register.keys[arn], register, Facts(**{"at": T0, **facts}))
    assert [one.id for one in every] == [one.id for one in CHECKS], "every check, always in one order"
    return {one.id: one for one in every}


@pytest.mark.parametrize(
    ("probe", "outcome", "owner", "words"),
    [
        (PROBE, PASS, Owner.CUSTOMER, "Proven at 2026-12-01 08:57 UTC."),
        (replace(PROBE, principal="role/acme"), PASS, Owner.CUSTOMER, "Proven as role/acme at"),
        (replace(PROBE, passed=False, fault=Fault.CUSTOMER), FAIL, Owner.CUSTOMER, "The key is usable."),
        (replace(PROBE, passed=False, fault=Fault.PROVIDER), FAIL, Owner.PROVIDER, "The key is usable."),
        (replace(PROBE, passed=False, fault=Fault.UNKNOWN), FAIL, Owner.VENDOR, "The key is usable."),
        (replace(PROBE, passed=None), UNTOLD, Owner.VENDOR, "could not tell: The key is usable."),
        (replace(PROBE, at=T0 - timedelta(hours=1)), UNTOLD, Owner.VENDOR, "too long ago"),
        (None, UNTOLD, Owner.VENDOR, "not been probed yet"),
    ],
)
def test_a_key_is_usable_when_the_last_probe_proves_it_now(
    probe: LastProbe | None, outcome: Outcome, owner: Owner, words: str
) -> None:
    one = found(probe=probe)["all.usable"]
    assert (one.outcome, one.owner, one.hard, words in one.words) == (outcome, owner, True, True), one.words
    assert (one.fix is None) is (outcome is PASS)


def test_why_a_key_is_never_probed_is_said() -> None:
    assert found(not_probed="Not probed: no credentials.")["all.usable"].words == "Not probed: no credentials."


def test_old_data_is_readable_when_a_canary_or_a_store_was_tried() -> None:
    plain = found(probe=PROBE)["all.old_data_readable"]
    assert (plain.outcome, plain.owner) == (UNTOLD, Owner.VENDOR)
    assert "canary: true" in (plain.fix or "")
    canary = replace(PROBE, canary_at=T0 - timedelta(hours=2))
    assert found(probe=canary)["all.old_data_readable"].words == (
        "Tried with a ciphertext made earlier (decrypted 2026-12-01 07:00 UTC)."
    )
    store = found(probe=replace(PROBE, stores=("file store",)))["all.old_data_readable"]
    assert (store.outcome, store.words) == (PASS, "Tried with file store.")
    lost = found(probe=replace(canary, passed=False))["all.old_data_readable"]
    assert lost.outcome is UNTOLD, "a probe that fails need not have failed at the old data"


@pytest.mark.parametrize(
    "check",
    ["single_purpose", "named", "infrastructure_protected", "other_backups", "rotation_keeps_versions", "rehearsed"],
)
def test_what_only_people_can_say_is_not_verified_and_says_whom_to_ask(check: str) -> None:
    one = found()[f"all.{check}"]
    assert (one.outcome, one.hard) == (UNTOLD, False)
    assert one.fix


def test_the_label_that_is_asked_for_says_what_the_register_says() -> None:
    facts = msgspec.to_builtins(document(key(ACME_KEY, *stores())))
    facts["customers"][0]["instances"][0]["purpose"] = "order handling"
    fix = found(msgspec.convert(facts, Document))["all.named"].fix
    assert fix is not None
    assert "vendor=Example Vendor, purpose=order handling, contact=+1 555 0100, any hour" in fix


def test_two_addresses_are_needed_and_whether_they_answer_is_not_known() -> None:
    one = found()["all.contacts_verified"]
    assert (one.outcome, one.owner) == (UNTOLD, Owner.VENDOR)
    assert "Alice Ahlberg (key_owner), Bob Berg (deputy)" in one.words
    same = document()
    twice = [Contact(name=name, email=email) for name, email in (("A", "x@acme.example"), ("B", "X@acme.example"))]
    same = msgspec.structs.replace(
        same, customers=[msgspec.structs.replace(same.customers[0], contacts=twice), *same.customers[1:]]
    )
    assert found(same)["all.contacts_verified"].outcome is FAIL
    assert found(arn=VENDOR_KEY)["all.contacts_verified"].outcome is PASS


@pytest.mark.parametrize(
    ("feeds", "outcome"),
    [
        ((), UNTOLD),
        ((FEED,), PASS),
        ((replace(FEED, alive=None),), UNTOLD),
        ((FEED, replace(FEED, alive=None)), PASS),
        ((FEED, replace(FEED, alive=False)), FAIL),
    ],
)
def test_a_feed_is_alive_when_one_way_is_proven_and_none_is_silent(feeds: tuple[Feed, ...], outcome: Outcome) -> None:
    one = found(feeds=feeds)["all.feed_alive"]
    assert (one.outcome, one.owner) == (outcome, Owner.VENDOR), "nobody is blamed: that nothing comes tells not why"


def test_a_silent_feed_is_named_with_what_to_look_at() -> None:
    silent = Feed(words="no sign has come from account 2", alive=False, fix="look at the rule of account 2")
    one = found(feeds=(FEED, silent))["all.feed_alive"]
    assert (one.words, one.fix) == ("No sign has come from account 2.", "look at the rule of account 2")
