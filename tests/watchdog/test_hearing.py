"""A feed that is set up for certain customers moves nobody else's key, whatever a record says."""

import pytest

from tests.worlds import ACME_KEY, GLOBEX_KEY, T0, document
from watchdog.hearing import heard
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect

REGISTER = Register(document(), 1)


def signal(effect: Effect, key: str | None = None, customer: str | None = None) -> Signal:
    return Signal(effect=effect, reason="It happened.", key=key, customer=customer, event_id="e-1", occurred_at=T0)


@pytest.mark.parametrize(
    ("given", "believed"),
    [
        pytest.param(signal(Effect.KEY_DISABLED, ACME_KEY), True, id="a key of theirs"),
        pytest.param(signal(Effect.KEY_DISABLED, GLOBEX_KEY), False, id="a key of somebody else"),
        pytest.param(signal(Effect.KEY_ENABLED, GLOBEX_KEY), False, id="a recovery of somebody else's key"),
        pytest.param(signal(Effect.USE_SUCCEEDED, GLOBEX_KEY), False, id="a use of somebody else's key"),
        pytest.param(signal(Effect.ATTEMPT_FAILED, GLOBEX_KEY), False, id="a failed attempt takes alarms back"),
        pytest.param(signal(Effect.FEED_TAMPERED, customer="acme"), True, id="their feed"),
        pytest.param(signal(Effect.FEED_TAMPERED, customer="globex"), False, id="somebody else's feed"),
        pytest.param(signal(Effect.FEED_TAMPERED), False, id="the vendor's own feed"),
        pytest.param(signal(Effect.KEY_DISABLED, "arn:aws:kms:::key/left"), False, id="a key that nobody registered"),
        pytest.param(signal(Effect.NO_EFFECT), True, id="nothing"),
        pytest.param(signal(Effect.UNREADABLE), True, id="what cannot be read stays what it is"),
    ],
)
def test_it_believes_only_what_concerns_the_feeds_customers(given: Signal, *, believed: bool) -> None:
    (found,) = heard([given], REGISTER, ("acme",))
    if believed:
        assert found == given
    else:
        assert (found.effect, found.key, found.customer, found.event_id) == (Effect.UNTRUSTED, None, None, "e-1")
        assert found.reason.endswith("set up for others: It happened.")


def test_a_feed_without_customers_is_left_to_the_decoder() -> None:
    signals = [signal(Effect.KEY_DISABLED, GLOBEX_KEY), signal(Effect.FEED_TAMPERED)]
    assert heard(signals, REGISTER, None) is signals


def test_the_believed_half_of_a_record_about_two_customers_stays() -> None:
    found = heard([signal(Effect.KEY_DISABLED, GLOBEX_KEY), signal(Effect.KEY_DISABLED, ACME_KEY)], REGISTER, ["acme"])
    assert [(one.effect, one.key) for one in found] == [(Effect.UNTRUSTED, None), (Effect.KEY_DISABLED, ACME_KEY)]
