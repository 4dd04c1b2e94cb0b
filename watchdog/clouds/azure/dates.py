"""Times as Azure writes them: 0 to 9 digits of a second, an offset or Z, and seconds since 1970 (azure.md 6.1)."""

from datetime import UTC, datetime, timedelta

from watchdog.clouds.azure.fields import text


def moment(value: object) -> datetime | None:
    """Read a time; always UTC, without an offset taken as UTC; None when it is none."""
    try:
        read = datetime.fromisoformat((text(value) or "").strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def seconds(value: object) -> datetime | None:
    """Read `exp` or `nbf`: seconds as a number, a float or text (azure.md 3.4); None when unset or unreadable."""
    if isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(float(value), UTC)  # type: ignore[arg-type]  # anything else raises TypeError
    except (TypeError, ValueError, OverflowError, OSError):
        return moment(value)


def after(at: datetime, days: int) -> datetime | None:
    """Add days, in whole seconds; None where the calendar ends."""
    try:
        return at.replace(microsecond=0) + timedelta(days=days)
    except OverflowError:
        return None
