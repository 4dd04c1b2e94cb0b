"""Times are read in every spelling that occurs, and a condition is a time limit only when it is nothing else."""

from datetime import UTC, datetime

import pytest

from watchdog.clouds.gcp.dates import moment, time_limit


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-04-02T10:00:00Z", (2026, 4, 2, 10, 0, 0)),
        ("2026-04-02T10:00:00.5Z", (2026, 4, 2, 10, 0, 0, 500000)),
        ("2026-04-02T10:00:00.123456789Z", (2026, 4, 2, 10, 0, 0, 123456)),
        ("2026-04-02t10:00:00z", (2026, 4, 2, 10, 0, 0)),
        ("2026-04-02T12:00:00+02:00", (2026, 4, 2, 10, 0, 0)),
        ("2026-04-02T00:30:00-09:30", (2026, 4, 2, 10, 0, 0)),
        ("2026-04-02T10:00:00", (2026, 4, 2, 10, 0, 0)),
        ("2028-02-29T23:59:59Z", (2028, 2, 29, 23, 59, 59)),
    ],
)
def test_a_time_is_read_in_every_spelling(written: str, meant: tuple[int, ...]) -> None:
    assert moment(written) == datetime(*meant, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year to microsecond


@pytest.mark.parametrize(
    "written",
    [None, 5, "", "soon", "0000-00-00T00:00:00Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-04-02",
     "2026-04-02T24:00:01Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-04-02T10:00:00Zx"],
)  # fmt: skip
def test_what_is_no_time_is_none(written: object) -> None:
    assert moment(written) is None


@pytest.mark.parametrize(
    ("expression", "hour"),
    [
        ('request.time < timestamp("2026-04-02T10:00:00Z")', 10),
        ("request.time <= timestamp('2026-04-02T10:00:00Z')", 10),
        ('  request.time<timestamp( "2026-04-02T12:00:00+02:00" )  ', 10),
        ('request.time > timestamp("2026-04-02T10:00:00Z")', None),
        ('request.time < timestamp("2026-04-02T10:00:00Z") && true', None),
        ('!(request.time < timestamp("2026-04-02T10:00:00Z"))', None),
        ("request.time < timestamp(\"2026-04-02T10:00:00Z')", None),
        ('request.time < timestamp("tomorrow")', None),
        ("resource.name == 'x'", None),
        ("", None),
    ],
)
def test_a_condition_is_a_time_limit_only_when_it_is_nothing_else(expression: str, hour: int | None) -> None:
    found = time_limit(expression)
    assert (found.hour if found else None) == hour
