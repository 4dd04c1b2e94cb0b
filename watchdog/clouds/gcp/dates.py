"""Times as Google writes them (RFC 3339, up to nanoseconds), and the time limits in conditions of grants."""

import re
from datetime import UTC, datetime, timedelta

STAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,12}))?\s*(?:([Zz])|([+-])(\d{2}):?(\d{2}))?",
    re.ASCII,
)
TIME_LIMIT = re.compile(r"""\s*request\.time\s*<=?\s*timestamp\(\s*(["'])([^"'\\]{1,64})\1\s*\)\s*""")


def moment(value: object) -> datetime | None:
    """Read a timestamp as UTC; None for what is none. Fractions are cut to microseconds; no offset means UTC."""
    found = STAMP.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = found.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, tzinfo=UTC)
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            at = at - offset if sign == "+" else at + offset
    except (ValueError, OverflowError):
        return None
    return at


def time_limit(expression: str) -> datetime | None:
    """Return the end of a condition that is nothing but a time limit, in UTC; None for any other (gcp.md 3.2)."""
    found = TIME_LIMIT.fullmatch(expression) if len(expression) < 400 else None
    return moment(found[2]) if found else None
