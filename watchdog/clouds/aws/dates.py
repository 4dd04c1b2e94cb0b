"""Dates in every spelling that AWS uses, and the two clocks that records start: deletion, expiry (aws.md 3.2)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from watchdog.clouds.aws.fields import text, whole

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# `\s` takes the narrow no-break space that newer Java locales put before AM and PM.
SPELLED = re.compile(
    r"([A-Za-z]{3})[a-z]*\.?\s+(\d{1,2}),?\s+(\d{4}),?\s+(?:at\s+)?"
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*([AP])\.?M\.?)?(?:\s*(?:UTC|GMT|Z))?",
    re.IGNORECASE,
)
EPOCH = re.compile(r"\d{9,13}(?:\.\d+)?")
MILLISECONDS_FROM = 10**11  # as seconds this lies in the year 5138

DEFAULT_WINDOW = 30
LONGEST_WINDOW = 30
SHORTEST_WINDOW = timedelta(days=7)
TOLERANCE = timedelta(hours=1)


class Clock(Struct, frozen=True):
    """A moment with the words that say where it comes from; `at` is None when the record cannot tell."""

    at: datetime | None
    source: str


def moment(value: object) -> datetime | None:
    """Read a date: epoch seconds, ISO 8601, or `Oct 21, 2024, 2:25:29 PM` in its variants. Always UTC; else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(value)
    if not isinstance(value, str):
        return None
    stripped = value.strip()
    if EPOCH.fullmatch(stripped):
        return _epoch(float(stripped))
    if found := SPELLED.fullmatch(stripped):
        return _spelled(found)
    return _iso(stripped)


def later(at: datetime, by: timedelta) -> datetime | None:
    """Add a duration; None where the calendar ends."""
    try:
        return at + by
    except OverflowError:
        return None


def deletion(at: datetime | None, request: Mapping[str, object], response: Mapping[str, object]) -> Clock:
    """Tell when a scheduled key will be deleted: the earlier of the stated date and event time plus window.

    A primary that waits for its replicas has no date yet. A stated date less than the shortest window ahead is
    impossible, so the window counts then (aws.md 3.2).
    """
    if response.get("keyState") == "PendingReplicaDeletion":
        return Clock(None, "the window starts when the last replica is gone (keyState PendingReplicaDeletion)")
    days, origin = window(request, response)
    by_window = later(at, timedelta(days=days)) if at else None
    stated = moment(response.get("deletionDate"))
    earliest = later(at, SHORTEST_WINDOW - TOLERANCE) if at else None
    if stated and earliest and stated < earliest:
        stated = None
    if stated and (by_window is None or stated <= by_window):
        return Clock(stated, "deletionDate in the record")
    return Clock(by_window, f"event time plus {days} days ({origin})")


def window(request: Mapping[str, object], response: Mapping[str, object]) -> tuple[int, str]:
    """Return the waiting period in days and where it stands; the number may be text."""
    for fields, where in ((response, "response"), (request, "request")):
        days = whole(fields.get("pendingWindowInDays"))
        if days is not None and 1 <= days <= LONGEST_WINDOW:
            return days, f"pendingWindowInDays in the {where}"
    return DEFAULT_WINDOW, "the default waiting period of KMS"


def expiry(request: Mapping[str, object]) -> Clock | None:
    """Tell when imported key material ends; None when it does not. The model defaults to EXPIRES (aws.md 3.1)."""
    if text(request.get("expirationModel")) == "KEY_MATERIAL_DOES_NOT_EXPIRE":
        return None
    if request.get("expirationModel") is None and request.get("validTo") is None:
        return None
    return Clock(moment(request.get("validTo")), "validTo in the request")


def _epoch(value: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(value / 1000 if value >= MILLISECONDS_FROM else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _iso(value: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _spelled(found: re.Match[str]) -> datetime | None:
    month, day, year, hour, minute, second, half = found.groups()
    if month.lower() not in MONTHS:
        return None
    try:
        return datetime(
            int(year), MONTHS.index(month.lower()) + 1, int(day), _hour(int(hour), half), int(minute),
            int(second or 0), tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None


def _hour(hour: int, half: str | None) -> int:
    """Turn the hour of a 12-hour clock; AWS' own samples also print 18 PM, which is 18."""
    if half is None or hour > 12:
        return hour
    return hour % 12 + (12 if half in "Pp" else 0)
