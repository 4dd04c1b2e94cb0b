from datetime import UTC, datetime, timedelta, timezone

import pytest

from alerts.moments import Clock, length
from watchdog.notices import Deadline

NOW = datetime(2026, 11, 23, 16, 3, tzinfo=UTC)
AT = datetime(2026, 12, 7, 14, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "printed"),
    [
        ("UTC", "2026-12-07 14:03 UTC (in 13 d 22 h)"),
        ("Europe/Berlin", "2026-12-07 14:03 UTC (15:03 Europe/Berlin, in 13 d 22 h)"),
        ("Pacific/Auckland", "2026-12-07 14:03 UTC (2026-12-08 03:03 Pacific/Auckland, in 13 d 22 h)"),
        ("Asia/Kolkata", "2026-12-07 14:03 UTC (19:33 Asia/Kolkata, in 13 d 22 h)"),
        ("Mars/Base", '2026-12-07 14:03 UTC (time zone "Mars/Base" unknown, so UTC only, in 13 d 22 h)'),
        ("../../etc/passwd", '2026-12-07 14:03 UTC (time zone "../../etc/passwd" unknown, so UTC only, in 13 d 22 h)'),
    ],
)
def test_utc_comes_first_the_readers_time_second_what_is_left_third(zone: str, printed: str) -> None:
    assert Clock(NOW, zone).moment(AT) == printed


def test_summer_time_counts() -> None:
    before, after = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)

    assert "02:30 Europe/Berlin" in Clock(NOW, "Europe/Berlin").moment(before)
    assert "02:30 Europe/Berlin" in Clock(NOW, "Europe/Berlin").moment(after)


def test_a_moment_of_another_zone_is_printed_in_utc() -> None:
    there = datetime(2026, 12, 7, 16, 3, tzinfo=timezone(timedelta(hours=2)))

    assert Clock(NOW).moment(there) == "2026-12-07 14:03 UTC (in 13 d 22 h)"


@pytest.mark.parametrize(
    ("span", "printed"),
    [
        (timedelta(days=13, hours=22, minutes=59), "13 d 22 h"),
        (timedelta(days=1), "1 d"),
        (timedelta(days=2, minutes=5), "2 d"),
        (timedelta(hours=23, minutes=59, seconds=59), "23 h 59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(minutes=4, seconds=59), "4 min"),
        (timedelta(seconds=59), "less than 1 min"),
    ],
)
def test_a_span_is_rounded_down_never_up(span: timedelta, printed: str) -> None:
    assert length(span) == printed


@pytest.mark.parametrize(
    ("away", "printed"),
    [(timedelta(minutes=90), "in 1 h 30 min"), (-timedelta(days=2), "2 d ago"), (timedelta(seconds=30), "now")],
)
def test_what_is_left_or_gone_is_said(away: timedelta, printed: str) -> None:
    assert Clock(NOW).left(NOW + away) == printed


@pytest.mark.parametrize(
    ("bound", "printed"),
    [
        ("exact", "at 2026-12-07 14:03 UTC (in 13 d 22 h)"),
        ("at_least", "not before 2026-12-07 14:03 UTC (in 13 d 22 h)"),
        ("at_most", "by 2026-12-07 14:03 UTC (in 13 d 22 h) at the latest"),
        ("about", "about 2026-12-07 14:03 UTC (in 13 d 22 h)"),
    ],
)
def test_a_bound_is_worded_as_the_impact_table_has_it(bound: str, printed: str) -> None:
    deadline = Deadline(kind="impact", at=AT, words="it stops", source="a document", bound=bound)

    assert Clock(NOW).deadline(deadline) == printed


def test_a_latest_moment_stands_beside_the_earliest() -> None:
    deadline = Deadline(
        kind="data_irrecoverable", at=AT, words="gone", source="x", bound="at_least", latest=AT + timedelta(days=1)
    )

    printed = "not before 2026-12-07 14:03 UTC (in 13 d 22 h), by 2026-12-08 14:03 UTC at the latest"
    assert Clock(NOW).deadline(deadline) == printed


def test_no_date_prints_its_words_and_nothing_like_a_date() -> None:
    deadline = Deadline(kind="impact", at=None, words="not documented by the provider", source="a document")

    assert Clock(NOW).deadline(deadline) == "not documented by the provider"
