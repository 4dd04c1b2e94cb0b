"""Coverage: by which ways a key is watched, how each was last proven, and which has fallen silent.

A feed that answers proves that somebody listens, not that anything would be heard. So every way has a sign of life of
its own (a scheduled event, a forwarder's beat, the record of our own probe), travelling the same path as a loss would.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Cover(StrEnum):
    """How a key is watched (DESIGN.md 3): by its owner's audit records, by the vendor's own ones, or by asking it."""

    FORWARDED = "forwarded"
    SELF_OBSERVED = "self_observed"
    PROBED = "probed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way by which audit records of some keys come in.

    `route` names it for ever and everywhere (`aws:ACCOUNT:REGION`); `words` say it to people, as in "the audit records
    of AWS account 111122223333 in eu-central-1". `beats` is how often a sign of life is due (None: none is agreed, so
    that silence says nothing), `lag` by how much the provider may be late with it, `expects` what the sign is, in words
    with the thing to look at. `customer` is whose way it is (None: the vendor's own). `by_probe`: the sign is the
    record of our own probe, so none is due while the keys of this cloud are not probed.
    """

    cover: Cover
    route: str
    words: str
    customer: str | None
    beats: timedelta | None = None
    lag: timedelta = timedelta()
    expects: str = ""
    by_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """The newest sign of life of a route over one feed. `at` is the record's own time, never later than its receipt."""

    feed: str
    route: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A way that is heard again after it was silent: what happened between `since` and `at` may not have come.

    `feed` is the one that brought the sign. `since` is the last sign before (or when one was first expected).
    """

    way: Way
    feed: str
    since: datetime
    at: datetime
