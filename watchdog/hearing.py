"""Hearing: of whom a feed may speak, when the installation says that it carries certain customers' records only.

The decoders judge what a record itself can prove. Some paths are open to whoever may publish there (a topic of an Event
Grid namespace, a folder): what comes by such a path is believed only for the customers that it was set up for.
"""

from collections.abc import Collection, Sequence

from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import NOT_A_SIGNAL, Effect


def heard(signals: Sequence[Signal], register: Register, customers: Collection[str] | None) -> Sequence[Signal]:
    """Return the signals with those about others than `customers` (None: everybody) turned into `untrusted`."""
    if customers is None:
        return signals
    return [signal if _may_speak(signal, register, customers) else _distrusted(signal) for signal in signals]


def _may_speak(signal: Signal, register: Register, customers: Collection[str]) -> bool:
    if signal.effect is Effect.NO_EFFECT or signal.effect in NOT_A_SIGNAL:
        return True
    key = register.keys.get(signal.key) if signal.key is not None else None
    return (key.customer.id if key is not None else signal.customer) in customers


def _distrusted(signal: Signal) -> Signal:
    """Keep what tells people where to look, and nothing by which it could change a key's health."""
    reason = f"Not believed, because it came by a feed that is set up for others: {signal.reason}"
    return Signal(effect=Effect.UNTRUSTED, reason=reason, event_id=signal.event_id)
