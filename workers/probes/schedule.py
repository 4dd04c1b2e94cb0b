"""The schedule of probes: every key has turns of its own, spread evenly over its interval, and what moves them."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from watchdog.probing import Probed
from watchdog.register import RegisteredKey
from watchdog.register_probe import KeyProbe
from workers.store.interface import ProbePlan

BACK_OFF = timedelta(minutes=15)
"""The longest that a key waits which could not be told: one answer then comes before the last proof is stale."""

_PLAIN = KeyProbe()
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Next:
    """When a key is probed next, and whether that is a confirmation that somebody waits for."""

    at: datetime
    wanted: bool


def probe_of(key: RegisteredKey) -> KeyProbe:
    """Return how a key is probed; one of which the register says nothing is probed plainly."""
    return key.entry.probe or _PLAIN


def plans(keys: Iterable[RegisteredKey], *, now: datetime) -> Iterator[ProbePlan]:
    """Yield the row of each key, its first turn after `now`: together they are an even load from the beginning."""
    for key in keys:
        probe = probe_of(key)
        every = timedelta(seconds=probe.every_seconds)
        yield ProbePlan(
            key=key.id, cloud=key.cloud, account=account_of(key.cloud, key.id), every=every,
            due_at=None if probe.off else turn_after(key.id, every, now),
        )  # fmt: skip


def account_of(cloud: str, key: str) -> str:
    """Return within which the provider counts requests: AWS account, Azure vault, Google Cloud project."""
    place = {"aws": (":", 4), "azure": ("/", 2), "gcp": ("/", 1)}[cloud]
    parts = key.split(place[0])
    return parts[place[1]] if len(parts) > place[1] else key


def turn_after(key: str, every: timedelta, after: datetime) -> datetime:
    """Return a key's first turn after a moment. Turns hang on its name only, so however late one comes, the next do not
    bunch up; and any number of keys spread over the interval by themselves.
    """  # noqa: D205 - one thought
    phase = every * (zlib.crc32(key.encode()) / 2**32)
    turns = (after - _BEGIN - phase) // every
    return _BEGIN + phase + (turns + 1) * every


def next_probe(key: str, every: timedelta, probed: Probed, failures: int) -> Next:
    """Return when a key is probed after a probe; `failures`: how often in a row, this one too, it could not be told.

    A turn that comes within half an interval of the probe is left out.
    """
    wait = every if not failures else min(every * 2 ** min(failures - 1, 10), max(every, BACK_OFF))
    turn = turn_after(key, every, probed.at + wait - every / 2)
    if probed.again_after is not None and probed.at + probed.again_after < turn:
        return Next(probed.at + probed.again_after, wanted=True)
    return Next(turn, wanted=False)
