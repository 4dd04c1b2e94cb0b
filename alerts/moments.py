"""Moments as people read them: UTC first, the reader's own time second, what is left third."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from watchdog.notices import Deadline

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """Prints aware moments for one reader. `now` is when the facts were put together, `zone` an IANA name.

    `undated` has phrases for deadlines without a date: a sign in the engine's words, and what to say instead of them.
    """

    now: datetime
    zone: str = "UTC"
    undated: Sequence[tuple[str, str]] = ()

    def moment(self, at: datetime, *, seconds: bool = False) -> str:
        """Return for instance "2026-12-07 14:03 UTC (15:03 Europe/Berlin, in 13 d 22 h)"."""
        utc = at.astimezone(UTC)
        shape = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
        return f"{utc.strftime(shape)} UTC ({self._beside(utc)})"

    def deadline(self, deadline: Deadline) -> str:
        """Return the moment with its bound in words, or what is known instead of a date (impact.md 2.2)."""
        if deadline.at is None:
            return next((phrase for sign, phrase in self.undated if sign in deadline.words), deadline.words)
        at = self.moment(deadline.at)
        worded = {
            "at_least": f"not before {at}",
            "at_most": f"by {at} at the latest",
            "about": f"about {at}",
        }.get(deadline.bound, f"at {at}")
        if deadline.latest is None or deadline.bound == "at_most":
            return worded
        return f"{worded}, by {deadline.latest.astimezone(UTC):%Y-%m-%d %H:%M} UTC at the latest"

    def left(self, at: datetime) -> str:
        """Return "in 3 d 4 h", "12 min ago" or "now"."""
        if abs(at - self.now) < _MINUTE:
            return "now"
        return f"in {length(at - self.now)}" if at > self.now else f"{length(self.now - at)} ago"

    def _beside(self, utc: datetime) -> str:
        local = self._local(utc)
        return f"{local}, {self.left(utc)}" if local else self.left(utc)

    def _local(self, utc: datetime) -> str:
        if self.zone in {"UTC", "Etc/UTC"}:
            return ""
        try:
            local = utc.astimezone(ZoneInfo(self.zone))
        except (KeyError, ValueError, OSError, OverflowError):
            # zoneinfo raises any of these for a name that is no zone: too long, a folder, `../x`, unknown.
            return f'time zone "{self.zone}" unknown, so UTC only'
        same_day = local.date() == utc.date()
        return f"{local:%H:%M} {self.zone}" if same_day else f"{local:%Y-%m-%d %H:%M} {self.zone}"


def length(span: timedelta) -> str:
    """Return a span in its two largest units, rounded down: "13 d 22 h", "1 h 5 min", "12 min"."""
    days, rest = divmod(span, _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes = rest // _MINUTE
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    if days:
        parts = parts[:2]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "less than 1 min"
